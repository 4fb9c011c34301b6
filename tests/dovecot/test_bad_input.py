"""Bad input and bad servers: a message with replica, attempt, answer and remedy, the right exit code, the rest goes on."""

import base64
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import threading

import dovecot
import mail
from mesh import BAD_USAGE, BINARIES, FAILED, PARTIAL, MeshTest


class BadReplica(MeshTest):
    """The desktop is bad in some way; laptop and server must be synced all the same."""

    def check_bad_desktop(self, block, expected_words, setup=None):
        self.server("laptop")
        self.server("server")
        text = 'name: "test"\n'
        for name in ("laptop", "server"):
            text += f'replica {{\n  name: "{name}"\n{self.servers[name].endpoint()}}}\n'
        text += f'replica {{\n  name: "desktop"\n{block}}}\n'
        for a, b in (("laptop", "server"), ("laptop", "desktop"), ("desktop", "server")):
            text += f'edge {{ a: "{a}" b: "{b}" }}\n'
        self.write_text(text)
        with self.account("laptop") as account:
            account.append_many("INBOX", mail.with_flags_and_dates(self.broken()))
        expected = mail.snapshot(self.servers["laptop"])
        run = self.run_once(expect=PARTIAL, timeout_s=90)
        self.check(expected, replicas=["laptop", "server"])
        self.assertFalse(run.report["converged"], run)
        self.assertFalse(run.replica("desktop")["reachable"], run)
        self.assertTrue(run.replica("laptop")["reachable"], run)
        self.assertNotIn(dovecot.PASSWORD, run.output)
        error = run.replica("desktop")["last_error"]
        for words in ["desktop"] + expected_words:
            self.assertRegex(run.output, re.compile(words, re.IGNORECASE), error)
        self.assertGreater(len(error), 20, run)
        return run

    def desktop(self, **options):
        """The third server, kept out of self.servers: it is not to be compared."""
        server = dovecot.Dovecot("desktop", self.scratch / "desktop", **options)
        self.addCleanup(server.stop)
        return server

    def test_wrong_password(self):
        server = self.desktop()
        block = server.endpoint().replace(dovecot.PASSWORD, "wrong-secret")
        run = self.check_bad_desktop(block, [str(server.port), "AUTHENTICATIONFAILED|Authentication failed",
                                             "password"])
        self.assertNotIn("wrong-secret", run.output)

    def test_refused_connection(self):
        port = self.deaf_port()
        self.check_bad_desktop(
            f'  imap {{ host: "127.0.0.1" port: {port} security: PLAINTEXT }}\n'
            '  auth { username: "a" password: "b" }\n', [f"127.0.0.1.*{port}", "refused"])

    def test_host_that_does_not_resolve(self):
        self.check_bad_desktop('  imap { host: "no-such-host.invalid" }\n  auth { username: "a" password: "b" }\n',
                               ["no-such-host.invalid"])

    def test_certificate_that_does_not_verify(self):
        server = self.desktop(tls=True)
        block = re.sub(r"  tls \{.*\}\n", "", server.endpoint("tls"))
        self.check_bad_desktop(block, ["certificate", str(server.tls_port), "ca_file|pin_sha256"])

    def test_a_pin_decides_instead_of_the_authorities(self):
        server = self.desktop(tls=True)
        unpinned = re.sub(r"  tls \{.*\}\n", "", server.endpoint("tls"))
        other = base64.b64encode(bytes(32)).decode()
        self.check_bad_desktop(unpinned + f'  tls {{ pin_sha256: "{other}" }}\n', ["another key", "pin_sha256"])
        pin = re.search(r"its pin is ([A-Za-z0-9+/]{43}=)", self.run_once(expect=PARTIAL).output).group(1)
        text = self.topology_path.read_text()
        self.write_text(text.replace(other, pin))
        self.run_once()
        self.check(mail.snapshot(self.servers["laptop"]))

    def test_certificate_for_another_name(self):
        server = self.desktop(tls=True)
        block = server.endpoint("tls").replace("tls {", 'tls { server_name: "mail.example.org"')
        self.check_bad_desktop(block, ["certificate", "mail.example.org"])

    def test_starttls_that_the_server_does_not_offer(self):
        self.check_bad_desktop(self.desktop().endpoint("starttls").replace(
            "  tls {", "  # tls {"), ["STARTTLS"])

    def test_tunnel_command_that_does_not_exist(self):
        self.check_bad_desktop('  tunnel { command: "/no/such/doveadm exec imap" }\n',
                               ["/no/such/doveadm", "not found|127|No such file"])

    def test_tunnel_command_that_fails(self):
        self.check_bad_desktop('  tunnel { command: "echo broken configuration >&2; exit 75" }\n',
                               ["exit|75|ended|closed"])

    def test_unix_socket_that_does_not_exist(self):
        self.check_bad_desktop('  unix_socket { path: "/no/such/imap.sock" }\n  auth { username: "a" password: "b" }\n',
                               ["/no/such/imap.sock", "No such file"])

    def test_server_that_speaks_no_imap(self):
        port = self.serve(b"220 mail.example.org ESMTP Postfix\r\n")
        self.check_bad_desktop(f'  imap {{ host: "127.0.0.1" port: {port} security: PLAINTEXT }}\n'
                               '  auth { username: "a" password: "b" }\n', ["220 mail.example.org ESMTP", "IMAP"])

    def test_server_that_closes_at_once(self):
        port = self.serve(b"")
        self.check_bad_desktop(f'  imap {{ host: "127.0.0.1" port: {port} security: PLAINTEXT }}\n'
                               '  auth { username: "a" password: "b" }\n', [str(port), "closed|end of|eof"])

    def test_server_that_says_bye(self):
        port = self.serve(b"* BYE too busy today\r\n")
        self.check_bad_desktop(f'  imap {{ host: "127.0.0.1" port: {port} security: PLAINTEXT }}\n'
                               '  auth { username: "a" password: "b" }\n', ["too busy today"])

    def test_server_without_qresync_takes_part(self):
        words = [word for word in dovecot.CAPABILITY.split() if word not in ("QRESYNC", "CONDSTORE", "UIDPLUS")]
        self.triangle(desktop={"capability": " ".join(words), "compress": False})
        with self.account("laptop") as account:
            account.append("INBOX", mail.ordinary(1), "\\Seen", 1_700_000_000)
        expected = mail.snapshot(self.servers["laptop"])
        self.run_once()
        self.check(expected)

    def serve(self, greeting):
        """A server that sends one thing and closes; its port."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.sendall(greeting)
                        connection.shutdown(socket.SHUT_WR)
                        connection.settimeout(2)
                        connection.recv(1000)
                    except OSError:
                        pass

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]


class BadState(MeshTest):
    def test_a_full_disk_for_the_state_file(self):
        laptop, *_ = self.triangle()
        with mail.Account(laptop) as account:
            account.append_many("INBOX", ((mail.ordinary(number), "", 1_700_000_000 + number) for number in range(3000)))
        expected = mail.snapshot(laptop)
        preexec = None
        small = self.scratch / "small"
        small.mkdir()
        if os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(small)],
                                                capture_output=True).returncode == 0:
            self.addCleanup(subprocess.run, ["umount", "-l", str(small)], check=True)
            full_state = small / "state.db"
        else:
            full_state = self.scratch / "limited.db"

            def preexec():
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails as on a full disk
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        whole_state, self.state_path = self.state_path, full_state
        run = self.run_once(expect=FAILED, preexec=preexec)
        self.assertRegex(run.output, re.compile("full|disk|space|too large|I/O", re.IGNORECASE))
        self.assertIn(str(full_state), run.output)
        # With room again nothing is lost or twice, though the state is gone.
        self.state_path = whole_state
        self.run_once()
        self.check(expected)

    def test_a_state_file_in_a_folder_that_cannot_be_made(self):
        self.triangle()
        self.state_path = pathlib.Path("/dev/null/imapmesh/state.db")
        run = self.run_once(expect=FAILED)
        self.assertIn("/dev/null/imapmesh", run.output)

    def test_a_state_file_that_is_none(self):
        self.triangle()
        self.state_path.write_text("this is not SQLite\n" * 100)
        run = self.run_once(expect=FAILED)
        self.assertIn(str(self.state_path), run.output)

    def test_a_second_daemon_on_the_same_state_is_refused(self):
        self.triangle()
        self.daemon()
        run = self.run_once(expect=None)
        self.assertIn(run.code, (FAILED, BAD_USAGE), run)
        self.assertIn(str(self.state_path), run.output)
        self.assertRegex(run.output, re.compile("in use|already|another|second|lock", re.IGNORECASE))


REPLICA = 'replica {\n  name: "%s"\n  tunnel { command: "%s" }\n}\n'
TWO = 'name: "test"\n' + REPLICA % ("a", "a") + REPLICA % ("b", "b")
EDGE = 'edge { a: "a" b: "b" }\n'


class BadTopology(MeshTest):
    def refused(self, text, words):
        """Both programs refuse the file with exit code 2 and say where and what."""
        self.write_text(text)
        run = self.run_once(expect=BAD_USAGE)
        checked = self.run_command([str(BINARIES / "imapmesh"), "check", str(self.topology_path)])
        self.assertEqual(checked.code, BAD_USAGE, checked)
        for output in (run.output, checked.output):
            self.assertRegex(output, re.compile(r"topology\.textproto:\d+:\d+"), output)
            for word in words:
                self.assertRegex(output, re.compile(word, re.IGNORECASE))
        return checked

    def test_unknown_replica_in_an_edge(self):
        self.refused(TWO + 'edge { a: "a" b: "nowhere" }\n', ["nowhere"])

    def test_edge_to_itself(self):
        self.refused(TWO + EDGE + 'edge { a: "a" b: "a" }\n', ["itself|same replica"])

    def test_the_same_pair_twice(self):
        self.refused(TWO + EDGE + 'edge { a: "b" b: "a" }\n', ["twice|already|duplicate"])

    def test_duplicate_names(self):
        self.refused(TWO + REPLICA % ("a", "c") + EDGE, ["twice|already|duplicate|unique"])

    def test_two_replicas_that_are_one_account(self):
        block = 'replica {\n  name: "%s"\n  imap { host: "h" }\n  auth { username: "u" password: "p" }\n}\n'
        self.refused('name: "test"\n' + block % "a" + block % "b" + EDGE, ["same account"])

    def test_no_endpoint(self):
        self.refused('name: "test"\nreplica {\n  name: "a"\n}\n' + REPLICA % ("b", "b") + EDGE, ["endpoint|imap, tunnel"])

    def test_port_out_of_range(self):
        self.refused('name: "test"\nreplica {\n  name: "a"\n  imap { host: "h" port: 70000 }\n'
                     '  auth { username: "u" password: "p" }\n}\n' + REPLICA % ("b", "b") + EDGE, ["port", "65535"])

    def test_plaintext_to_another_host(self):
        self.refused('name: "test"\nreplica {\n  name: "a"\n  imap { host: "mail.example.org" security: PLAINTEXT }\n'
                     '  auth { username: "u" password: "p" }\n}\n' + REPLICA % ("b", "b") + EDGE, ["allow_plaintext"])

    def test_an_empty_graph(self):
        self.refused("", ["empty|no replica|replica"])

    def test_a_syntax_error(self):
        self.refused(TWO + "edge { a: \n", [])

    def test_an_unknown_field(self):
        self.refused(TWO + 'edge { a: "a" b: "b" colour: "red" }\n', ["colour"])

    def test_all_errors_are_told_at_once(self):
        checked = self.refused(TWO + 'edge { a: "a" b: "nowhere" }\nedge { a: "b" b: "b" }\n'
                               'edge { a: "gone" b: "b" }\n', ["nowhere", "gone"])
        self.assertGreaterEqual(len(re.findall(r"topology\.textproto:\d+:\d+", checked.output)), 3, checked)

    def test_a_file_that_does_not_exist(self):
        self.topology_path = self.scratch / "missing.textproto"
        run = self.run_once(expect=BAD_USAGE)
        self.assertIn("missing.textproto", run.output)

    def test_an_unknown_option(self):
        self.triangle()
        self.run_once(expect=BAD_USAGE, arguments=["--no-such-option"])
