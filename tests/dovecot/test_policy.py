"""Nothing flows along an edge, in a direction, for a mailbox or of a kind that the topology does not admit."""

import time

import mail
from mesh import MeshTest


class Policy(MeshTest):
    def pair(self, edge, mailboxes=("INBOX",)):
        """Two replicas that hold the same ten messages in each mailbox, joined by one edge with these fields."""
        for name in ("a", "b"):
            with mail.Account(self.server(name)) as account:
                for mailbox in mailboxes:
                    if mailbox != "INBOX":
                        account.create(mailbox)
                    account.append_many(mailbox, [(mail.ordinary(number, mailbox), "", 1_700_000_000 + number)
                                                  for number in range(10)])
        self.write_topology([("a", "b", edge)])
        self.run_once()
        return self.account("a"), self.account("b")

    def digests(self, name, mailbox="INBOX"):
        return sorted(message.digest for message in mail.snapshot(self.servers[name]).get(mailbox, []))

    def test_a_direction(self):
        a, b = self.pair("direction: A_TO_B")
        a.append("INBOX", mail.ordinary(100), "", 1_710_000_000)
        b.append("INBOX", mail.ordinary(200), "", 1_710_000_001)
        b.store("INBOX", b.uids("INBOX")[0], "+FLAGS", "\\Flagged")
        before = mail.snapshot(self.servers["a"])
        self.run_once()
        self.assertEqual(mail.snapshot(self.servers["a"]), before)
        self.assertEqual(len(self.digests("b")), 12)
        self.assert_nothing_left()

    def test_excluded_mailboxes(self):
        a, b = self.pair('mailboxes { exclude: "Spam/*" exclude: "Drafts" }')
        for mailbox in ("Spam/Today", "Drafts", "Work"):
            a.create(mailbox)
            a.append(mailbox, mail.ordinary(100, mailbox), "", 1_710_000_000)
        self.run_once()
        self.assertEqual(sorted(mail.snapshot(self.servers["b"])), ["INBOX", "Work"])
        del b
        self.assert_nothing_left()

    def test_included_mailboxes(self):
        a, _ = self.pair('mailboxes { include: "INBOX" include: "Lists/%" }')
        for mailbox in ("Lists/one", "Lists/two/deep", "Other"):
            a.create(mailbox)
            a.append(mailbox, mail.ordinary(100, mailbox), "", 1_710_000_000)
        self.run_once()
        self.assertEqual(sorted(mail.snapshot(self.servers["b"])), ["INBOX", "Lists/one"])
        self.assert_nothing_left()

    def test_no_flags(self):
        a, _ = self.pair("flags: NONE")
        a.store("INBOX", a.uids("INBOX")[:3], "+FLAGS", "\\Flagged kw")
        a.append("INBOX", mail.ordinary(100), "\\Seen", 1_710_000_000)
        self.run_once()
        found = mail.snapshot(self.servers["b"])["INBOX"]
        self.assertEqual(len(found), 11)
        self.assertFalse(any({"\\flagged", "kw"} & message.flags for message in found))
        self.assert_nothing_left()

    def test_deletions_kept(self):
        a, _ = self.pair("deletes: KEEP")
        a.expunge("INBOX", a.uids("INBOX")[:3])
        self.run_once()
        self.assertEqual((len(self.digests("a")), len(self.digests("b"))), (7, 10))
        self.assert_nothing_left()
        self.assertEqual((len(self.digests("a")), len(self.digests("b"))), (7, 10))

    def test_a_paused_edge(self):
        a, _ = self.pair("")
        self.write_topology([("a", "b", "paused: true")])
        a.append("INBOX", mail.ordinary(100), "", 1_710_000_000)
        self.run_once(expect=None)
        self.assertEqual(len(self.digests("b")), 10)
        self.write_topology([("a", "b")])
        self.run_once()
        self.check()

    def test_an_interval_holds_changes_back_until_it_is_over_or_a_sync_is_asked_for(self):
        a, b = self.pair("interval_s: 4")
        self.daemon()
        self.wait_for(lambda: self.client("--json", "status").get("converged"), "convergence")
        time.sleep(1)  # the edge rests now
        a.append("INBOX", mail.ordinary(100), "", 1_710_000_000)
        time.sleep(1.2)
        self.assertEqual(len(b.uids("INBOX")), 10)
        self.wait_for(lambda: len(b.uids("INBOX")) == 11, "mail after the interval", 8)
        time.sleep(1)
        a.append("INBOX", mail.ordinary(101), "", 1_710_000_000)
        self.client("sync")
        self.assertEqual(len(b.uids("INBOX")), 12)

    def test_what_may_not_pass_one_edge_goes_round_by_others(self):
        for name in ("a", "b", "c"):
            self.server(name)
        self.write_topology([("a", "b", "direction: B_TO_A"), ("b", "c"), ("c", "a")])
        with self.account("a") as account:
            account.append_many("INBOX", mail.with_flags_and_dates(self.broken()))
        expected = mail.snapshot(self.servers["a"])
        self.run_once()
        self.check(expected)
        self.assert_quiet(expected)

    def assert_nothing_left(self):
        """What the policy holds back is not work: a further run does nothing at all."""
        before = self.snapshots()
        run = self.run_once()
        self.assertEqual(self.snapshots(), before)
        for replica in run.report["replicas"]:
            self.assertEqual((replica["messages_appended"], replica["messages_fetched"], replica["mailboxes_selected"],
                              replica["flags_changed"], replica["messages_expunged"]), (0, 0, 0, 0, 0), run)
