"""The triangle in single runs: first sync, quiescence, adoption, and every kind of change made anywhere."""

import mail
from mesh import PARTIAL, MeshTest, _run, union

MAILBOXES = ["INBOX", "Archive/2024", "Lists/imapmesh", "Entwürfe"]


class FirstSync(MeshTest):
    def check_first_sync(self, contents):
        laptop, *_ = self.triangle()
        with mail.Account(laptop) as account:
            mail.spread(account, mail.with_flags_and_dates(contents), MAILBOXES)
        expected = mail.snapshot(laptop)
        self.assertEqual(sum(map(len, expected.values())), len(contents))
        first = self.run_once()
        self.assertTrue(first.report["converged"], first)
        self.check(expected)
        history = {"runs": [_run(first.report, bodies_to_fetch=len(contents))]}
        self.check_history(history)
        again = self.assert_quiet(expected)
        for replica in again.report["replicas"]:
            self.assertEqual(replica["mailboxes_selected"], 0, again)

    def test_generated_and_broken_mail_arrives_everywhere_once(self):
        self.check_first_sync(self.broken() + [mail.ordinary(number) for number in range(150)])

    def test_the_corpus_arrives_everywhere_byte_for_byte(self):
        if not mail.corpus():
            self.skipTest("no ../shared/corpus")
        self.check_first_sync(self.carried(mail.corpus()))

    def test_each_replica_brings_its_own_mail(self):
        for seed, server in enumerate(self.triangle()):
            with mail.Account(server) as account:
                own = [mail.ordinary(number, seed) for number in range(30)] + self.broken(seed)
                mail.spread(account, mail.with_flags_and_dates(own, seed), MAILBOXES + [f"Only/{server.name}"], seed)
        expected = union(*self.snapshots().values())
        self.run_once()
        self.check(expected)
        self.assert_quiet(expected)

    def test_equal_messages_keep_their_number(self):
        laptop, desktop, _ = self.triangle()
        twin = (mail.ordinary(1), "\\Seen", 1_700_000_000)
        with mail.Account(laptop) as account:
            account.append_many("INBOX", [twin, twin, twin])
        with mail.Account(desktop) as account:
            account.append_many("INBOX", [twin])
        expected = mail.snapshot(laptop)
        self.run_once()
        self.check(expected)
        self.assert_quiet(expected)

    def test_empty_accounts_converge(self):
        self.triangle()
        self.run_once()
        self.check({"INBOX": []})

    def test_every_way_to_reach_a_server(self):
        self.triangle(server={"tls": True}, kinds={"laptop": "tunnel", "desktop": "unix_socket", "server": "tls"})
        messages = mail.with_flags_and_dates(self.broken() + [mail.ordinary(number) for number in range(20)])
        with mail.Account(self.servers["server"]) as account:
            mail.spread(account, messages, MAILBOXES)
        expected = mail.snapshot(self.servers["server"])
        self.run_once()
        self.check(expected)
        self.assert_quiet(expected)

    def test_starttls_and_a_server_without_compression(self):
        self.server("laptop", tls=True, compress=False)
        self.server("server", compress=False)
        self.write_topology([("laptop", "server")], kinds={"laptop": "starttls"})
        with self.account("laptop") as account:
            account.append_many("INBOX", mail.with_flags_and_dates(self.broken()))
        self.run_once()
        self.check(mail.snapshot(self.servers["laptop"]))


class Adoption(MeshTest):
    def test_replicas_that_hold_the_same_mail_are_adopted_without_copying(self):
        messages = mail.with_flags_and_dates(self.broken() + [mail.ordinary(number) for number in range(100)])
        for server in self.triangle():
            with mail.Account(server) as account:
                mail.spread(account, messages, MAILBOXES)
        expected = mail.snapshot(self.servers["laptop"])
        run = self.run_once()
        for replica in run.report["replicas"]:
            self.assertEqual(replica["messages_appended"], 0, run)
            self.assertEqual(replica["messages_copied_server_side"], 0, run)
        self.check(expected)
        self.assert_quiet(expected)

    def test_ordinary_mail_is_adopted_without_fetching_a_body(self):
        messages = mail.with_flags_and_dates([mail.ordinary(number) for number in range(100)])
        for server in self.triangle():
            with mail.Account(server) as account:
                account.append_many("INBOX", messages)
        run = self.run_once()
        for replica in run.report["replicas"]:
            self.assertEqual(replica["messages_fetched"], 0, run)
            self.assertEqual(replica["messages_appended"], 0, run)

    def test_a_lost_state_file_costs_no_message(self):
        laptop, *_ = self.triangle()
        with mail.Account(laptop) as account:
            mail.spread(account, mail.with_flags_and_dates(self.broken()), MAILBOXES)
        expected = mail.snapshot(laptop)
        self.run_once()
        for path in self.scratch.glob("state.db*"):
            path.unlink()
        run = self.run_once()
        for replica in run.report["replicas"]:
            self.assertEqual(replica["messages_appended"], 0, run)
        self.check(expected)
        self.assert_quiet(expected)


class Changes(MeshTest):
    """Twelve messages known to all three replicas; then somebody does something."""

    def setUp(self):
        super().setUp()
        servers = self.triangle()
        with mail.Account(servers[0]) as account:
            account.create("Work")
            account.append_many("INBOX", [(mail.ordinary(number), "", 1_700_000_000 + number) for number in range(12)])
        self.run_once()
        self.laptop, self.desktop, self.server_ = (self.account(server) for server in servers)
        self.digests = [mail.digest(mail.ordinary(number)) for number in range(12)]

    def uid(self, account, number, mailbox="INBOX"):
        return account.find(mailbox, self.digests[number])

    def flags_now(self, number, mailbox="INBOX"):
        """After a run: the flags of one message, equal everywhere."""
        self.run_once()
        found = self.check()
        self.assert_quiet()
        return next(message.flags for message in found[mailbox] if message.digest == self.digests[number])

    def test_flags_and_keywords_set_anywhere_arrive(self):
        for account, flags in ((self.laptop, "\\Flagged"), (self.desktop, "$Label1"), (self.server_, "\\Draft Later")):
            account.store("INBOX", self.uid(account, 0), "+FLAGS", flags)
        self.assertEqual(self.flags_now(0), {"\\flagged", "$label1", "\\draft", "later"})

    def test_a_flag_taken_away_stays_away_while_another_is_added_elsewhere(self):
        self.laptop.store("INBOX", self.uid(self.laptop, 1), "+FLAGS", "\\Seen")
        self.assertEqual(self.flags_now(1), {"\\seen"})
        self.laptop.store("INBOX", self.uid(self.laptop, 1), "-FLAGS", "\\Seen")
        self.desktop.store("INBOX", self.uid(self.desktop, 1), "+FLAGS", "\\Answered")
        self.assertEqual(self.flags_now(1), {"\\answered"})

    def test_an_expunge_goes_everywhere_and_nothing_comes_back(self):
        self.desktop.expunge("INBOX", self.uid(self.desktop, 2))
        self.run_once()
        found = self.check(deleted=[("INBOX", self.digests[2])])
        self.assertEqual(len(found["INBOX"]), 11)
        self.assert_quiet()

    def test_expunges_of_different_messages_on_all_replicas_at_once(self):
        for number, account in enumerate((self.laptop, self.desktop, self.server_)):
            account.expunge("INBOX", self.uid(account, number))
        self.run_once()
        found = self.check(deleted=[("INBOX", digest) for digest in self.digests[:3]])
        self.assertEqual(len(found["INBOX"]), 9)
        self.assert_quiet()

    def test_new_mail_on_all_replicas_at_once(self):
        for number, account in enumerate((self.laptop, self.desktop, self.server_)):
            account.append("INBOX", mail.ordinary(100 + number), "\\Seen", 1_710_000_000 + number)
        self.run_once()
        self.assertEqual(len(self.check()["INBOX"]), 15)
        self.assert_quiet()

    def test_the_same_mail_delivered_to_two_replicas_is_one_message(self):
        for account in (self.laptop, self.desktop):
            account.append("INBOX", mail.ordinary(200), "", 1_710_000_000)
        self.run_once()
        self.assertEqual(len(self.check()["INBOX"]), 13)
        self.assert_quiet()

    def test_a_new_mailbox_with_and_without_mail(self):
        self.server_.create("Projects/2025")
        self.desktop.create("Später")
        self.desktop.append("Später", mail.ordinary(300), "\\Flagged", 1_710_000_000)
        self.run_once()
        found = self.check()
        self.assertEqual(sorted(found), ["INBOX", "Projects/2025", "Später", "Work"])
        self.assertEqual(len(found["Später"]), 1)
        self.assert_quiet()

    def test_a_move_is_a_move_elsewhere_too(self):
        self.laptop.move("INBOX", self.uid(self.laptop, 3), "Work")
        run = self.run_once()
        found = self.check(deleted=[("INBOX", self.digests[3])])
        self.assertEqual((len(found["INBOX"]), len(found["Work"])), (11, 1))
        moved = [(replica["messages_appended"], replica["messages_copied_server_side"], replica["messages_expunged"])
                 for replica in run.report["replicas"]]
        self.assertEqual(moved, [(0, 0, 0), (0, 1, 1), (0, 1, 1)], run)
        self.assert_quiet()

    def test_a_flag_set_on_one_replica_follows_a_move_made_on_another(self):
        self.laptop.move("INBOX", self.uid(self.laptop, 3), "Work")
        self.desktop.store("INBOX", self.uid(self.desktop, 4), "+FLAGS", "\\Flagged")
        self.laptop.store("Work", self.uid(self.laptop, 3, "Work"), "+FLAGS", "$Label2")
        self.assertEqual(self.flags_now(3, "Work"), {"$label2"})
        self.assertEqual(self.flags_now(4), {"\\flagged"})

    def test_a_message_moved_here_and_copied_there_from_the_same_mailbox(self):
        self.laptop.create("Other")
        self.run_once()
        self.laptop.copy("INBOX", self.uid(self.laptop, 5), "Other")
        self.laptop.move("INBOX", self.uid(self.laptop, 5), "Work")
        self.run_once()
        found = self.check(deleted=[("INBOX", self.digests[5])])
        self.assertEqual([len(found[name]) for name in ("INBOX", "Other", "Work")], [11, 1, 1])
        self.assert_quiet()

    def test_a_copy_is_a_copy_elsewhere_too(self):
        self.desktop.copy("INBOX", self.uid(self.desktop, 4), "Work")
        run = self.run_once()
        found = self.check()
        self.assertEqual((len(found["INBOX"]), len(found["Work"])), (12, 1))
        self.assertEqual([replica["messages_appended"] for replica in run.report["replicas"]], [0, 0, 0], run)
        self.assert_quiet()

    def test_moves_into_a_new_mailbox(self):
        self.server_.create("Done")
        self.server_.move("INBOX", self.uid(self.server_, 5) + self.uid(self.server_, 6), "Done")
        self.run_once()
        found = self.check(deleted=[("INBOX", digest) for digest in self.digests[5:7]])
        self.assertEqual((len(found["INBOX"]), len(found["Done"])), (10, 2))
        self.assert_quiet()

    def test_different_changes_on_several_replicas_at_once(self):
        self.laptop.move("INBOX", self.uid(self.laptop, 0), "Work")
        self.desktop.expunge("INBOX", self.uid(self.desktop, 1))
        self.server_.store("INBOX", self.uid(self.server_, 2), "+FLAGS", "\\Flagged Urgent")
        self.server_.append("Work", mail.ordinary(400), "", 1_710_000_000)
        self.desktop.copy("INBOX", self.uid(self.desktop, 3), "Work")
        self.run_once()
        found = self.check(deleted=[("INBOX", digest) for digest in self.digests[:2]])
        self.assertEqual((len(found["INBOX"]), len(found["Work"])), (10, 3))
        self.assert_quiet()

    def test_flags_changed_on_one_replica_follow_a_message_that_was_moved_on_another(self):
        self.server_.store("INBOX", self.uid(self.server_, 7), "+FLAGS", "\\Flagged Old")
        self.run_once()
        self.laptop.move("INBOX", self.uid(self.laptop, 7), "Work")
        self.desktop.store("INBOX", self.uid(self.desktop, 7), "+FLAGS", "\\Seen")
        self.desktop.store("INBOX", self.uid(self.desktop, 7), "-FLAGS", "\\Flagged")
        run = self.run_once()
        found = self.check(deleted=[("INBOX", self.digests[7])])
        self.assertEqual((len(found["INBOX"]), len(found["Work"])), (11, 1))
        self.assertEqual(found["Work"][0].flags, {"\\seen", "old"})
        self.assertEqual(run.report["conflicts_resolved"], 0, run)
        self.assert_quiet()

    def test_flags_set_on_a_message_that_was_moved_are_kept(self):
        self.laptop.move("INBOX", self.uid(self.laptop, 7), "Work")
        self.laptop.store("Work", self.uid(self.laptop, 7, "Work"), "+FLAGS", "\\Seen Later")
        self.assertEqual(self.flags_now(7, "Work"), {"\\seen", "later"})

    def test_one_message_moved_to_the_same_mailbox_on_two_replicas(self):
        for account in (self.laptop, self.server_):
            account.move("INBOX", self.uid(account, 7), "Work")
        self.run_once(expect=None)
        found = self.check(deleted=[("INBOX", self.digests[7])])
        self.assertEqual((len(found["INBOX"]), len(found["Work"])), (11, 1))
        self.assert_quiet()

    def test_one_message_flagged_apart_and_moved_on_two_replicas(self):
        for account, flag in ((self.laptop, "\\Seen"), (self.server_, "\\Flagged")):
            account.store("INBOX", self.uid(account, 7), "+FLAGS", flag)
            account.move("INBOX", self.uid(account, 7), "Work")
        self.run_once(expect=None)
        found = self.check()
        self.assertEqual((len(found["INBOX"]), len(found["Work"])), (11, 1))
        self.assert_quiet()

    def test_a_replica_that_is_down_does_not_stop_the_rest_and_catches_up(self):
        self.servers["desktop"].stop()
        self.laptop.append("INBOX", mail.ordinary(500), "", 1_710_000_000)
        self.server_.store("INBOX", self.uid(self.server_, 9), "+FLAGS", "\\Flagged")
        self.laptop.expunge("INBOX", self.uid(self.laptop, 10))
        run = self.run_once(expect=PARTIAL)
        self.assertFalse(run.replica("desktop")["reachable"], run)
        self.assertIn("desktop", run.output)
        self.assertTrue(run.replica("desktop")["last_error"], run)
        self.check(replicas=["laptop", "server"])
        self.servers["desktop"].start()
        self.run_once()
        found = self.check(deleted=[("INBOX", self.digests[10])])
        self.assertEqual(len(found["INBOX"]), 12)
        self.assert_quiet()
