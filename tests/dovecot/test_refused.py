"""Messages that a server refuses, for good or for a while: listed with its answer, and not sent again and again."""

import time

import courier
import cyrus
import liar
import mail
import proxy
from mesh import CONVERGED, PARTIAL, MeshTest

LIMIT = """
protocol imap {
  mail_plugins = $mail_plugins quota
}
plugin {
  quota = maildir:User quota
  quota_max_mail_size = 20k
}
"""


class RefusedForGood(MeshTest):
    """The server takes no message of over 20 kB; the laptop has one."""

    def setUp(self):
        super().setUp()
        self.server("laptop")
        self.server("server", settings=LIMIT)
        self.write_topology([("laptop", "server")])
        with mail.Account(self.servers["laptop"]) as account:
            account.append_many("INBOX", [(mail.ordinary(number), "", 1_700_000_000 + number) for number in range(5)])
            account.append("INBOX", mail.ordinary(50, size=60_000), "", 1_700_000_050)
        self.refused = self.run_once(expect=PARTIAL)

    def count(self):
        return len(self.snapshots(["server"])["server"]["INBOX"])

    def change_server(self, settings):
        server = self.servers["server"]
        server.stop()
        server.settings = settings
        server._write_config()
        server.start()

    def conflict(self):
        return self.client("--json", "conflicts", "list", "--open")["conflicts"][0]

    def test_is_shown_and_not_sent_again(self):
        self.assertEqual(self.count(), 5)
        self.assertEqual((self.refused.report["refused"], self.refused.report["conflicts_open"]), (1, 1), self.refused)
        again = self.run_once(expect=PARTIAL)
        self.assertEqual(again.replica("laptop")["messages_fetched"], 0, again)
        self.daemon()
        conflict = self.conflict()
        self.assertEqual((conflict["kind"], conflict["replica_a"], conflict["mailbox"]), ("REFUSED", "server", "INBOX"))
        self.assertEqual(conflict["choices"], ["RETRY", "LEAVE"])
        self.assertIn("Message 50", conflict["subject"])
        self.assertIn("[LIMIT]", conflict["change_a"])
        self.assertEqual(self.client("sync", expect=None).code, PARTIAL)
        status = self.client("--json", "status")
        self.assertEqual([problem["operation"] for problem in status["problems"]], ["APPEND"])
        traced = self.client("--json", "trace", "<50.0@generated.example>")["messages"][0]
        because = next(copy["because"] for copy in traced["copies"] if copy["replica"] == "server")
        self.assertIn("refused", because)
        self.assertIn("[LIMIT]", because)

    def test_decided_to_leave_it_the_rest_is_in_agreement(self):
        self.daemon()
        self.client("conflicts", "resolve", str(self.conflict()["id"]), "--leave")
        self.client("sync", expect=CONVERGED)
        self.assertFalse(self.client("--json", "status").get("problems"))
        traced = self.client("--json", "trace", "<50.0@generated.example>")["messages"][0]
        because = next(copy["because"] for copy in traced["copies"] if copy["replica"] == "server")
        self.assertIn("it was decided to leave it so", because)

    def test_left_out_over_restarts(self):
        daemon = self.daemon()
        self.client("conflicts", "resolve", str(self.conflict()["id"]), "--leave")
        daemon.stop()
        run = self.run_once(expect=CONVERGED)
        self.assertEqual(run.replica("laptop")["messages_fetched"], 0, run)

    def test_decided_to_send_it_once_more(self):
        self.daemon()
        self.client("conflicts", "resolve", str(self.conflict()["id"]), "--retry")
        self.wait_for(lambda: self.client("--json", "conflicts", "list", "--open").get("conflicts"), "refused again")
        self.change_server("")
        self.client("conflicts", "resolve", str(self.conflict()["id"]), "--retry")
        self.wait_for(lambda: self.count() == 6, "the message at the server")
        self.client("sync", expect=CONVERGED)
        self.check()

    def test_a_server_that_is_another_now_is_asked_again(self):
        self.change_server("imap_capability = +XNEW\n")
        self.run_once(expect=CONVERGED)
        self.check()

    def test_what_is_gone_needs_no_decision(self):
        with mail.Account(self.servers["laptop"]) as account:
            account.expunge("INBOX", account.find("INBOX", mail.digest(mail.ordinary(50, size=60_000))))
        self.run_once(expect=CONVERGED)
        self.check()


QUOTA = """
protocol imap {
  mail_plugins = $mail_plugins quota
}
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=%dK
}
"""


class OverQuota(MeshTest):
    """What does not fit now may fit later: no decision is asked for, and the next sync tries again."""

    def test_the_rest_goes_on_and_it_is_tried_again_when_there_is_room(self):
        self.server("laptop")
        server = self.server("server", settings=QUOTA % 40)
        self.write_topology([("laptop", "server")])
        with self.account("laptop") as account:
            account.create("Small")
            account.append("INBOX", mail.ordinary(50, size=60_000), "", 1_700_000_050)
            account.append_many("Small", [(mail.ordinary(number), "", 1_700_000_000 + number) for number in range(5)])
        run = self.run_once(expect=PARTIAL)
        self.assertEqual((run.report["refused"], run.report["conflicts_open"]), (1, 0), run)
        self.assertIn("[OVERQUOTA]", run.output)
        self.assertLess(run.replica("server")["commands"], 40, "no tight loop")
        found = mail.snapshot(server)
        self.assertEqual((len(found["INBOX"]), len(found["Small"])), (0, 5))
        daemon = self.daemon()
        self.wait_for(lambda: self.client("--json", "status", expect=None).get("problems"), "the problem")
        problem, = self.client("--json", "status", expect=None)["problems"]
        self.assertEqual((problem["replica"], problem["mailbox"], problem["operation"]), ("server", "INBOX", "APPEND"))
        self.assertIn("[OVERQUOTA]", problem["answer"])
        edge, = self.client("--json", "status")["edges"]
        self.assertEqual(edge["pending_additions"], 1)
        self.assertIn("[OVERQUOTA]", edge["last_error"])
        daemon.stop()
        server.stop()
        server.settings = QUOTA % 4000
        server._write_config()
        server.start()
        self.run_once()
        self.check()
        self.assert_quiet()


    def test_a_daemon_tries_again_by_and_by(self):
        """Room is made where the mesh does not look: nothing tells of it."""
        self.server("laptop")
        server = self.server("server", settings=QUOTA % 100)
        self.write_topology([("laptop", "server", 'mailboxes { exclude: "Own" }')],
                            extra="policy { poll_interval_s: 1 }\n")
        with self.account("server") as account:
            account.create("Own")
            account.append("Own", mail.ordinary(1, size=60_000))
        with self.account("laptop") as account:
            account.append("INBOX", mail.ordinary(50, size=60_000), "", 1_700_000_050)
        daemon = self.daemon()
        self.wait_for(lambda: self.client("--json", "status", expect=None).get("problems"), "the problem")
        time.sleep(8)  # tried again after 1, 2 and 4 seconds
        attempts = daemon.log().count("[OVERQUOTA]")
        self.assertGreaterEqual(attempts, 2)
        self.assertLessEqual(attempts, 6, "no tight loop")
        with self.account("server") as account:
            account.expunge("Own", account.uids("Own"))
        self.wait_for(lambda: len(mail.snapshot(server)["INBOX"]) == 1, "the message", limit_s=40)
        self.wait_for(lambda: self.client("--json", "status").get("converged"), "convergence")
        self.assertFalse(self.client("--json", "status").get("problems"))


class RefusedMailbox(MeshTest):
    """A server that would not make a mailbox, beside one that is slow."""

    def test_the_slow_one_gets_all_and_nothing_is_fetched_in_vain(self):
        self.server("laptop")
        strict = self.server("strict", compress=False)
        slow = self.server("slow", compress=False)
        with self.account("laptop") as account:
            for number in range(30):
                account.create(f"Lists/{number}")
                account.append(f"Lists/{number}", mail.ordinary(number), "", 1_700_000_000)
            account.create("Refused")
            account.append("Refused", mail.ordinary(100), "", 1_700_000_000)
        refusing = liar.Liar(strict.port, None, lambda line: line.replace(b'CREATE "Refused"', b'CREATE "a//b"'))
        delaying = proxy.Proxy(slow.port, lambda: proxy.Fault("delay", 0, 0.15))
        for server, between in ((strict, refusing), (slow, delaying)):
            self.addCleanup(between.close)
        self.write_topology([("laptop", "strict"), ("laptop", "slow")])
        text = self.topology_path.read_text()
        for server, between in ((strict, refusing), (slow, delaying)):
            text = text.replace(f"port: {server.port} ", f"port: {between.port} ")
        self.write_text(text)
        run = self.run_once(expect=PARTIAL)
        self.assertEqual(mail.snapshot(slow), mail.snapshot(self.servers["laptop"]), run)
        self.assertEqual(len(mail.snapshot(strict)), 31)
        self.assertEqual(run.report["refused"], 1, run)
        self.assertLessEqual(run.replica("laptop")["messages_fetched"], 62, run)  # once for each
        self.assertLess(run.replica("laptop")["commands"] + run.replica("strict")["commands"], 400, run)
        self.assertLess(run.report["rounds"], 100, run)


class BareLineFeeds(MeshTest):
    """No server here gives one away: one whose bodies have a line that ends in LF alone is played by a proxy."""

    ODD = mail.ordinary(7).replace(b"end of 7\r\n", b"end of 7\r\nLINE-FEED\r\nlast\r\n")

    def start(self, target):
        source = self.server("source", compress=False)
        odd = liar.Liar(source.port, self.size, None, heads=True, body=lambda content: self.bare(content))
        self.addCleanup(odd.close)
        self.servers["target"] = target
        self.write_topology([("source", "target")])
        self.write_text(self.topology_path.read_text().replace(f"port: {source.port}", f"port: {odd.port}"))
        with self.account("source") as account:
            account.append_many("INBOX", [(mail.ordinary(number), "", 1_700_000_000) for number in range(5)])
            account.append("INBOX", self.ODD, "", 1_700_000_000)

    @staticmethod
    def bare(content):
        return content.replace(b"LINE-FEED\r\n", b"LINE-FEED\n")

    def size(self, line):
        true = b"RFC822.SIZE %d" % len(self.ODD)
        return line.replace(true, b"RFC822.SIZE %d" % (len(self.ODD) - 1))

    def test_dovecot_makes_line_ends_of_them_and_it_is_not_sent_again(self):
        self.start(self.server("target"))
        self.run_once()
        found = mail.snapshot(self.servers["target"])["INBOX"]
        self.assertEqual(len(found), 6)
        self.assertIn(mail.digest(self.ODD), {message.digest for message in found})
        again = self.run_once()
        for replica in again.report["replicas"]:
            self.assertEqual((replica["messages_fetched"], replica["messages_appended"]), (0, 0), again)

    def test_cyrus_refuses_it_and_the_rest_arrives(self):
        if not cyrus.available():
            self.skipTest("Cyrus is not unpacked (tools/install_packages)")
        target = cyrus.Cyrus("target", self.scratch / "target")
        self.addCleanup(target.stop)
        self.start(target)
        run = self.run_once(expect=PARTIAL)
        self.assertEqual((len(mail.snapshot(target)["INBOX"]), run.report["refused"]), (5, 1), run)
        self.assertIn("bare newlines", run.output)
        again = self.run_once(expect=PARTIAL)
        self.assertEqual(again.replica("target")["messages_appended"], 0, again)


class WhatCyrusRefuses(MeshTest):
    """NUL, a bare LF, 8-bit characters in a header, no header at all: each is refused alone and named."""

    def setUp(self):
        super().setUp()
        for kind in (cyrus, courier):
            if not kind.available():
                self.skipTest("Cyrus or Courier is not unpacked (tools/install_packages)")
        source = courier.Courier("source", self.scratch / "source")  # gives files as they are
        self.addCleanup(source.stop)
        strict = cyrus.Cyrus("strict", self.scratch / "strict", settings="reject8bit: yes\n")
        self.addCleanup(strict.stop)
        self.servers.update(source=source, strict=strict)
        self.write_topology([("source", "strict")])

    def deliver(self, name, content):
        """As a mail transfer agent does, without IMAP."""
        path = self.servers["source"].home / "Maildir" / "new" / f"1700000000.{name}.host"
        path.write_bytes(content)
        path.chmod(0o666)

    def test_each_is_listed_with_its_reason_and_the_rest_arrives(self):
        head = b"From: a@example.org\nSubject: %s\nMessage-ID: <%s@refused.example>\n\nbody\n"
        self.deliver("nul", (head % (b"nul", b"nul")).replace(b"body", b"bo\0dy"))
        self.deliver("eight", (head % (b"\xe4\xf6\xfc", b"eight")))
        self.deliver("nothing", b"no header at all\n")
        for number in range(5):
            self.deliver(f"good{number}", head % (b"good", b"good%d" % number))
        run = self.run_once(expect=PARTIAL)
        arrived = len(mail.snapshot(self.servers["strict"])["INBOX"])
        self.assertEqual(arrived + run.report["refused"], 8, run)
        self.assertEqual(run.report["refused"], 3, run)
        again = self.run_once(expect=PARTIAL)
        self.assertEqual(again.replica("strict")["messages_appended"], 0, again)
        self.assertLess(again.replica("strict")["commands"], 60, again)
        self.daemon()
        self.wait_for(lambda: self.client("--json", "status", expect=None).get("rounds"), "a round")
        problems = self.client("--json", "status", expect=None)["problems"]
        self.assertEqual({problem["operation"] for problem in problems}, {"APPEND"})
        answers = " ".join(problem["answer"] for problem in problems)
        for reason in ("non-ASCII characters in headers", "NUL characters", "invalid header"):
            self.assertIn(reason, answers)
