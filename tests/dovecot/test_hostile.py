"""A server whose words are chosen to harm whoever reads them: none reaches a terminal, a log or a client raw."""

import json
import pathlib
import re
import shutil
import socket
import threading

import dovecot
import mail
from mesh import PARTIAL, MeshTest

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202e]")
ESCAPES = "\x1b[2J\x1b]0;owned\x07"


class Escapes(MeshTest):
    def assert_harmless(self, text, where):
        found = CONTROLS.search(text)
        self.assertIsNone(found, f"{where}: {text[max(0, found.start() - 80):found.end() + 80]!r}" if found else "")

    def new_folder(self, server, mailbox):
        """Makes a mailbox on the disk: Dovecot makes none with control characters in its name, but lists it."""
        folder = server.home / "Maildir" / mail.encode_name(mailbox)
        for part in ("", "cur", "new", "tmp"):
            (folder / part).mkdir(parents=True)
        for path in (server.home / "Maildir", folder, *folder.iterdir()):
            if dovecot.ROOT:
                shutil.chown(path, dovecot.MAIL_USER, dovecot.MAIL_GROUP)
        return folder

    def test_terminal_escapes_in_mailbox_names_subjects_and_flags(self):
        laptop, desktop, *_ = self.triangle({"storage": "maildir"})
        evil = f"evil {ESCAPES}"
        folder = self.new_folder(laptop, evil)
        with mail.Account(laptop) as account:
            self.assertIn(evil, account.mailboxes())
            account.append(evil, mail.ordinary(1).replace(b"Message 1", b"x " + ESCAPES.encode()), "", 1_700_000_000)
            account.append("INBOX", mail.ordinary(2, message_id=f"<{ESCAPES}@x>"), "", 1_700_000_000)
        run = self.run_once(expect=None, arguments=["--log-level", "debug"])
        with mail.Account(desktop) as account:  # which refuses such a name: it is escaped there
            self.assertTrue(any("owned" in name for name in account.mailboxes()), f"{account.mailboxes()} {folder}")
        self.assert_harmless(run.output, "the log of --once")
        self.assert_harmless((self.scratch / "report.json").read_text(), "the report")
        daemon = self.daemon(["--log-level", "debug", "--log-format", "json"])
        with mail.Account(laptop) as account:
            account.append(evil, mail.ordinary(3), "", 1_700_000_000)
        for command in (["sync"], ["status"], ["plan"], ["conflicts", "list"], ["--json", "status"], ["--json", "sync"]):
            output = self.client(*command, expect=None)
            text = output.output if hasattr(output, "output") else json.dumps(output, ensure_ascii=False)
            self.assert_harmless(text, " ".join(command))
            if command == ["--json", "status"]:
                self.assertIn("owned", text, "the name that it has there is shown")
        daemon.stop()
        self.assert_harmless(daemon.log(), "the daemon's log")

    def test_terminal_escapes_in_what_a_server_says(self):
        self.server("laptop")
        self.server("server")
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        threading.Thread(target=self.greet, args=(listener,), daemon=True).start()
        self.write_topology([("laptop", "server")])
        text = self.topology_path.read_text()
        evil = (f'replica {{\n  name: "evil"\n  imap {{ host: "127.0.0.1" port: {listener.getsockname()[1]} '
                'security: PLAINTEXT }\n  auth { username: "a" password: "b" }\n}\nedge { a: "evil" b: "server" }\n')
        self.write_text(text + evil)
        run = self.run_once(expect=PARTIAL, arguments=["--log-level", "debug"])
        self.assertIn("owned", run.output)
        self.assert_harmless(run.output, "the log")
        self.assert_harmless(pathlib.Path(self.scratch / "report.json").read_text(), "the report")

    @staticmethod
    def greet(listener):
        while True:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(f"* BYE {ESCAPES} go away\r\n".encode())
            except OSError:
                return
