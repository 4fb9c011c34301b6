"""A message that a server will never take: a conflict that is listed and decided, and not sent again and again."""

import mail
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
