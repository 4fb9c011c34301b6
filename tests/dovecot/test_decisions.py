"""Conflicts shown and decided, and messages traced, by the client against a running daemon."""

import mail
from mesh import BAD_USAGE, CONFLICTS, FAILED, MeshTest


class DecisionsTest(MeshTest):
    def setUp(self):
        super().setUp()
        with mail.Account(self.server("laptop")) as account:
            account.append_many("INBOX", [(mail.ordinary(number), "", 1_700_000_000 + number) for number in range(60)])
        self.server("server")
        self.laptop, self.server_ = self.account("laptop"), self.account("server")

    def started(self, extra=""):
        self.write_topology([("laptop", "server")], extra=extra)
        self.daemon()
        self.converged()

    def converged(self):
        self.wait_for(lambda: self.client("--json", "status")["converged"], "convergence")

    def open_conflict(self):
        found = []
        self.wait_for(lambda: found or found.extend(self.client("--json", "conflicts", "list", "--open")["conflicts"]),
                      "an open conflict")
        return found[0]


class Brake(DecisionsTest):
    def held(self):
        """40 of 60 messages are deleted at the laptop: the brake holds them back from the server."""
        self.started()
        self.laptop.expunge("INBOX", self.laptop.uids("INBOX")[:40])
        conflict = self.open_conflict()
        self.assertEqual((conflict["kind"], conflict["held"]), ("BRAKE", 40))
        self.assertEqual(len(self.server_.uids("INBOX")), 60)
        return str(conflict["id"])

    def test_mass_deletion_is_held_shown_and_rejected(self):
        number = self.held()
        shown = self.client("conflicts", "show", number)
        self.assertIn("BRAKE, OPEN", shown.output)
        self.assertIn("--reject", shown.output)
        self.client("sync", expect=CONFLICTS)
        # Given decisions that do not fit, when they are made, then nothing happens and the text tells what would fit
        self.assertIn("approve", self.client("conflicts", "resolve", number, "--restore", expect=BAD_USAGE).output)
        self.client("conflicts", "resolve", number, "--approve", "--reject", expect=BAD_USAGE)
        self.client("conflicts", "resolve", number, expect=BAD_USAGE)
        self.client("conflicts", "resolve", "999", "--approve", expect=BAD_USAGE)
        self.client("conflicts", "show", "999", expect=BAD_USAGE)
        run = self.client("conflicts", "resolve", "first", "--approve", expect=BAD_USAGE)
        self.assertIn("first is not the number of a conflict", run.output)
        self.assertEqual(len(self.server_.uids("INBOX")), 60)
        # When they are rejected, then the mail is put back
        resolved = self.client("--json", "conflicts", "resolve", number, "--reject")
        self.assertFalse(resolved["conflict"]["open"])
        self.wait_for(lambda: len(self.laptop.uids("INBOX")) == 60, "the mail put back")
        self.converged()
        self.check()
        self.client("conflicts", "resolve", number, "--approve", expect=FAILED)
        self.assertIn("resolved", self.client("conflicts", "show", number).output)

    def test_mass_deletion_is_approved(self):
        number = self.held()
        self.client("conflicts", "resolve", number, "--approve")
        self.wait_for(lambda: len(self.server_.uids("INBOX")) == 20, "the deletions at the server")
        self.converged()
        self.check()


class Trace(DecisionsTest):
    def test_where_a_message_is_and_why_it_is_not_where_it_is_not(self):
        self.started()
        self.client("pause", "laptop:server")
        content = mail.ordinary(777)
        self.laptop.append("INBOX", content, "\\Flagged", 1_710_000_000)
        message_id = next(line.split(b":", 1)[1].strip().decode() for line in content.split(b"\r\n")
                          if line.lower().startswith(b"message-id:"))
        self.wait_for(lambda: self.client("trace", message_id, expect=None).code == 0, "the message is known")

        copies = {copy["replica"]: copy for copy in self.trace(message_id)["copies"]}
        self.assertTrue(copies["laptop"]["present"])
        self.assertEqual([copies["laptop"]["uid"]], self.laptop.find("INBOX", mail.digest(content)))
        self.assertIn("\\flagged", [flag.lower() for flag in copies["laptop"]["flags"]])
        self.assertFalse(copies["server"]["present"])
        self.assertIn("paused", copies["server"]["because"])

        self.client("resume", "laptop:server")
        self.converged()
        there = {copy["replica"]: copy for copy in self.trace(message_id)["copies"]}["server"]
        self.assertTrue(there["present"])
        self.assertEqual(there["edge"], "laptop:server")
        text = self.client("trace", message_id.strip("<>")).output  # without the brackets
        self.assertIn("APPEND along laptop:server", text)
        run = self.client("trace", "<nobody@nowhere.example>", expect=BAD_USAGE)
        self.assertIn("nobody@nowhere.example", run.output)

    def trace(self, message_id):
        messages = self.client("--json", "trace", message_id)["messages"]
        self.assertEqual([message["mailbox"] for message in messages], ["INBOX"])
        return messages[0]


class Status(DecisionsTest):
    def test_what_is_pending_on_an_edge_and_what_a_server_is_like(self):
        self.started()
        replica = self.client("--json", "status")["replicas"][0]
        self.assertIn("Dovecot", replica["server_software"])
        self.assertEqual(replica["tier"], "QRESYNC")
        self.assertGreater(replica["connections"], 0)
        self.assertGreater(replica["round_trip_ms"], 0)
        self.assertGreater(replica["counters"]["bytes_received"], 0)
        edge = self.client("--json", "status")["edges"][0]
        self.assertGreater(edge["last_sync_unix_ms"], 0)
        self.assertEqual((edge["pending"], edge["oldest_pending_unix_ms"]), (0, 0))
        self.assertIn("ROUND TRIP", self.client("status").output)
