"""Conflicts on real servers: recorded with both sides, decided by policy or by a person, carried out everywhere."""

import re

import mail
from mesh import CONFLICTS, CONVERGED, MeshTest

TRIANGLE_ASKS = "policy { delete_vs_change: ASK }\n"


def message_id(content):
    return re.search(rb"Message-ID: (\S+)", content).group(1).decode()


class ConflictTest(MeshTest):
    """A triangle that holds the same messages, and a person with the client."""

    messages = 12

    def setUp(self):
        super().setUp()
        servers = self.triangle()
        with mail.Account(servers[0]) as account:
            account.create("Work")
            account.append_many("INBOX", [(mail.ordinary(number), "", 1_700_000_000 + number)
                                          for number in range(self.messages)])
        self.run_once()
        self.laptop, self.desktop, self.server_ = (self.account(server) for server in servers)
        self.digests = [mail.digest(mail.ordinary(number)) for number in range(self.messages)]

    def uid(self, account, number, mailbox="INBOX"):
        return account.find(mailbox, self.digests[number])

    def policy(self, text):
        self.write_text(self.topology_path.read_text() + text)

    def counts(self, mailbox="INBOX"):
        return [len(found.get(mailbox, [])) for found in self.snapshots().values()]

    def open_conflicts(self):
        return self.client("--json", "conflicts", "list", "--open").get("conflicts", [])

    def decide(self, *decision):
        """Through the running daemon; returns once the decision is carried out."""
        conflict = next(conflict for conflict in self.open_conflicts() if conflict.get("open"))
        self.client("conflicts", "resolve", str(conflict["id"]), *decision)
        self.client("sync", expect=None)


class DeletionAgainstChange(ConflictTest):
    def conflict(self):
        """Deleted at the laptop, flagged at the desktop, neither knowing of the other."""
        self.policy(TRIANGLE_ASKS)
        self.laptop.expunge("INBOX", self.uid(self.laptop, 3))
        self.desktop.store("INBOX", self.uid(self.desktop, 3), "+FLAGS", "\\Flagged")
        self.run_once(expect=CONFLICTS)
        self.assertEqual(self.counts(), [11, 12, 12])

    def test_asked_the_message_stays_as_it_is_and_holds_nothing_else(self):
        self.conflict()
        self.laptop.append("INBOX", mail.ordinary(100), "", 1_710_000_000)
        self.server_.store("INBOX", self.uid(self.server_, 5), "+FLAGS", "\\Seen")
        self.run_once(expect=CONFLICTS)
        self.assertEqual(self.counts(), [12, 13, 13])
        run = self.run_once(expect=CONFLICTS)
        self.assertEqual([replica["mailboxes_selected"] for replica in run.report["replicas"]], [0, 0, 0], run)

    def test_the_record_names_message_sides_and_choices(self):
        self.conflict()
        self.daemon()
        conflict = self.open_conflicts()[0]
        self.assertEqual(conflict["kind"], "DELETE_VS_CHANGE")
        self.assertEqual((conflict["replica_a"], conflict["replica_b"]), ("laptop", "desktop"))
        self.assertIn("Message 3", conflict["subject"])
        self.assertTrue(conflict["sender"])
        self.assertTrue(conflict["message_id"])
        self.assertEqual((conflict["change_a"], conflict["change_b"]), ("deleted", "flags changed: +\\Flagged"))
        self.assertGreater(conflict["change_a_unix_ms"], 0)
        self.assertGreater(conflict["change_b_unix_ms"], 0)

    def test_trace_names_the_conflict_that_holds_it(self):
        self.conflict()
        self.daemon()
        number = self.open_conflicts()[0]["id"]
        traced = self.client("--json", "trace", message_id(mail.ordinary(3)))["messages"][0]
        copies = {copy["replica"]: copy for copy in traced["copies"]}
        self.assertEqual({name: copy.get("present", False) for name, copy in copies.items()},
                         {"laptop": False, "desktop": True, "server": True})
        for copy in copies.values():
            self.assertIn(f"waits for the decision of conflict {number}", copy["because"])
            self.assertFalse(copy.get("pending"))
        self.assertIn("somebody deleted or moved it there", copies["laptop"]["because"])

    def test_decided_to_delete(self):
        self.conflict()
        self.daemon()
        self.decide("--delete")
        self.check(deleted=[("INBOX", self.digests[3])])
        self.assertEqual(self.counts(), [11, 11, 11])

    def test_decided_to_restore(self):
        self.conflict()
        self.daemon()
        self.decide("--restore")
        self.check()
        self.assertEqual(self.counts(), [12, 12, 12])

    def test_decided_for_a_side(self):
        self.conflict()
        self.daemon()
        self.decide("--keep", "desktop")
        self.check()
        self.assertEqual(self.counts(), [12, 12, 12])

    def test_a_change_that_only_shows_after_the_decision_is_asked_about_anew(self):
        self.conflict()
        daemon = self.daemon()
        self.servers["server"].kill()
        self.wait_for(lambda: self.client("--json", "status")["replicas"][2]["state"] == "DOWN", "the server's end")
        self.client("conflicts", "resolve", str(self.open_conflicts()[0]["id"]), "--delete")
        self.wait_for(lambda: not self.uid(self.desktop, 3), "the deletion where it can be carried out")
        daemon.stop()
        self.servers["server"].start()
        server = self.account("server")
        server.store("INBOX", self.uid(server, 3), "+FLAGS", "\\Answered")
        run = self.run_once(expect=CONFLICTS)
        self.assertEqual(run.report["conflicts_open"], 1, run)
        self.assertEqual(self.counts(), [11, 11, 12])
        self.run_once(expect=CONFLICTS)  # once recorded, it is not recorded again
        self.daemon()
        again, = self.open_conflicts()
        self.assertEqual((again["replica_a"], again["replica_b"]), ("laptop", "server"))
        self.decide("--delete")
        self.check(deleted=[("INBOX", self.digests[3])])
        self.assertEqual(self.counts(), [11, 11, 11])

    def test_change_wins(self):
        self.policy("policy { delete_vs_change: CHANGE_WINS }\n")
        self.laptop.expunge("INBOX", self.uid(self.laptop, 3))
        self.desktop.store("INBOX", self.uid(self.desktop, 3), "+FLAGS", "\\Flagged")
        run = self.run_once()
        self.assertEqual(run.report["conflicts_resolved"], 1, run)
        self.check()
        self.assertEqual(self.counts(), [12, 12, 12])
        self.assert_quiet()


class OneEdge(ConflictTest):
    """An edge's own policy counts for what arrives along it."""

    def test_asks_where_the_others_decide(self):
        self.write_topology([("laptop", "server", "delete_vs_change: ASK"), ("laptop", "desktop")])
        self.server_.store("INBOX", self.uid(self.server_, 3), "+FLAGS", "\\Flagged")
        self.desktop.store("INBOX", self.uid(self.desktop, 4), "+FLAGS", "\\Flagged")
        self.laptop.expunge("INBOX", self.uid(self.laptop, 3) + self.uid(self.laptop, 4))
        self.run_once(expect=CONFLICTS)
        self.assertEqual(self.counts(), [10, 11, 11])
        self.assertEqual([len(self.uid(account, 4)) for account in (self.laptop, self.desktop, self.server_)], [0] * 3)
        self.daemon()
        asked, = self.open_conflicts()
        self.assertEqual((asked["replica_b"], asked["policy"]), ("server", "ASK"))
        self.decide("--delete")
        self.assertEqual(self.counts(), [10, 10, 10])
        self.check()


class Keywords(ConflictTest):
    def test_of_junk_and_not_junk_the_newer_stays(self):
        self.laptop.store("INBOX", self.uid(self.laptop, 2), "+FLAGS", "$Junk")
        self.run_once()
        self.desktop.store("INBOX", self.uid(self.desktop, 2), "+FLAGS", "$NotJunk")
        self.run_once()
        found = self.check()
        flags = next(message.flags for message in found["INBOX"] if message.digest == self.digests[2])
        self.assertEqual(flags, {"$notjunk"})
        self.assert_quiet()

    def test_set_apart_they_are_a_conflict_with_one_outcome(self):
        self.laptop.store("INBOX", self.uid(self.laptop, 2), "+FLAGS", "$Junk")
        self.desktop.store("INBOX", self.uid(self.desktop, 2), "+FLAGS", "$NotJunk")
        run = self.run_once()
        self.assertEqual(run.report["conflicts_resolved"], 1, run)
        found = self.check()
        flags = next(message.flags for message in found["INBOX"] if message.digest == self.digests[2])
        self.assertEqual(len(flags), 1)
        self.assert_quiet()


class Brake(ConflictTest):
    messages = 100

    def expunge_most(self):
        self.laptop.expunge("INBOX", sorted(self.laptop.uids("INBOX"))[:80])
        self.run_once(expect=CONFLICTS)
        self.assertEqual(self.counts(), [20, 100, 100])

    def test_approved(self):
        self.expunge_most()
        self.daemon()
        self.decide("--approve")
        self.assertEqual(self.counts(), [20, 20, 20])
        self.check()

    def test_rejected_the_mail_is_put_back(self):
        self.expunge_most()
        self.daemon()
        self.decide("--reject")
        self.assertEqual(self.counts(), [100, 100, 100])
        self.check()

    def test_trace_names_the_brake(self):
        gone = sorted(self.laptop.uids("INBOX"))[0]
        number = next(number for number in range(self.messages)
                      if gone in self.laptop.find("INBOX", self.digests[number]))
        self.expunge_most()
        self.daemon()
        conflict = self.open_conflicts()[0]["id"]
        traced = self.client("--json", "trace", message_id(mail.ordinary(number)))["messages"][0]
        because = next(copy["because"] for copy in traced["copies"] if copy["replica"] == "laptop")
        self.assertIn(f"held by the brake until someone decides conflict {conflict}", because)

    def test_held_over_restarts_while_the_rest_goes_on(self):
        self.expunge_most()
        self.desktop.append("INBOX", mail.ordinary(1000), "", 1_710_000_000)
        self.run_once(expect=CONFLICTS)
        self.assertEqual(self.counts(), [21, 101, 101])

    def test_mail_that_was_moved_is_not_held(self):
        self.laptop.move("INBOX", sorted(self.laptop.uids("INBOX"))[:80], "Work")
        run = self.run_once()
        self.assertEqual(run.code, CONVERGED, run)
        self.assertEqual((self.counts(), self.counts("Work")), ([20] * 3, [80] * 3))
        self.check()
        self.assert_quiet()


class Trace(ConflictTest):
    def test_where_a_message_is_and_how_it_came(self):
        self.daemon()
        traced = self.client("--json", "trace", message_id(mail.ordinary(4)))["messages"][0]
        copies = {copy["replica"]: copy for copy in traced["copies"]}
        self.assertTrue(all(copy["present"] for copy in copies.values()), traced)
        self.assertIn("laptop:", copies["server"]["edge"] + copies["desktop"]["edge"])

    def test_why_it_is_not_there(self):
        self.write_text(self.topology_path.read_text().replace('b: "server" ', 'b: "server" paused: true '))
        self.laptop.append("INBOX", mail.ordinary(200), "", 1_710_000_000)
        self.run_once(expect=None)
        self.daemon()
        traced = self.client("--json", "trace", message_id(mail.ordinary(200)))["messages"][0]
        copies = {copy["replica"]: copy for copy in traced["copies"]}
        self.assertFalse(copies["server"].get("present"), traced)
        self.assertIn("is paused", copies["server"]["because"])
