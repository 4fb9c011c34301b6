"""Replicas of different kinds: storage, hierarchy separators, names in several scripts, INBOX in any case."""

import mail
from mesh import CONVERGED, MeshTest

NAMES = ["INBOX", "Entwürfe", "受信箱/仕事", "Входящие/Работа", "R&D", "עברית", "emoji 📬", "With space/and (parens)",
         "quo\"te", "back\\slash", "tilde~", "Ünï/çødé/deep"]
PLAIN = ["INBOX", "Archive/2024", "Entwürfe"]
MAILDIR = {"storage": "maildir"}  # said where a test relies on it: the default may be another (run.py --kinds)


class Kinds(MeshTest):
    def converge(self, laptop, desktop, server, names, contents=None):
        contents = contents or mail.broken() + [mail.ordinary(number) for number in range(40)]
        servers = self.triangle(laptop, desktop, server)
        with mail.Account(servers[0]) as account:
            mail.spread(account, mail.with_flags_and_dates(contents), names)
        expected = mail.snapshot(servers[0])
        self.run_once()
        self.check(expected)
        self.assert_quiet(expected)
        # Then a change at the last one, in each mailbox, and a move and an expunge.
        with mail.Account(servers[2]) as account:
            for name in names:
                account.append(name, mail.ordinary(1000, name), "\\Flagged kw", 1_711_000_000)
            uids = account.uids(names[-1])
            account.move(names[-1], uids[-1], "INBOX")
            account.expunge("INBOX", account.uids("INBOX")[0])
        self.run_once()
        expected = mail.snapshot(servers[2])
        self.check(expected)
        self.assert_quiet(expected)

    def test_maildir_and_sdbox(self):
        self.converge(MAILDIR, {"storage": "sdbox"}, {"storage": "maildir", "separator": "."}, NAMES)

    def test_sdbox_with_both_separators(self):
        self.converge({"storage": "sdbox"}, {"storage": "sdbox", "separator": "."}, {"storage": "sdbox"}, PLAIN)

    def test_mbox_everywhere(self):
        mbox = {"storage": "mbox"}
        self.converge(mbox, {"storage": "mbox", "separator": "."}, mbox, PLAIN,
                      mail.carried_by_mbox(mail.broken()) + [mail.ordinary(number) for number in range(20)])

    def test_mbox_between_maildir_and_sdbox(self):
        self.converge(MAILDIR, {"storage": "mbox"}, {"storage": "sdbox", "separator": "."}, PLAIN,
                      mail.carried_by_mbox(mail.broken()) + [mail.ordinary(number) for number in range(20)])

    def test_scripts_in_names_between_separators(self):
        self.converge(MAILDIR, {"separator": "."}, {"storage": "sdbox", "separator": "/"}, NAMES)

    def test_a_namespace_with_a_prefix_of_the_servers_own(self):
        self.converge(MAILDIR, {"separator": ".", "prefix": "INBOX."}, MAILDIR, PLAIN)

    def test_what_mbox_changes_is_not_copied_again_and_again(self):
        laptop, _, server = self.triangle(MAILDIR, {"storage": "mbox"}, MAILDIR)
        with mail.Account(laptop) as account:
            account.append_many("INBOX", mail.with_flags_and_dates(mail.broken()))
        expected = mail.snapshot(laptop)
        self.run_once(expect=None)
        for _ in range(3):
            run = self.run_once(expect=None)
            self.assertIn(run.code, (CONVERGED, 4), run)
            self.assertEqual(sum(replica["messages_appended"] for replica in run.report["replicas"]), 0, run)
        self.check(expected, replicas=["laptop", "server"])
        self.assertEqual(len(mail.snapshot(self.servers["desktop"])["INBOX"]), len(expected["INBOX"]))

    def test_inbox_in_any_case_is_one_mailbox(self):
        servers = self.triangle()
        for number, (server, spelling) in enumerate(zip(servers, ("inbox", "Inbox", "INBOX"))):
            with mail.Account(server) as account:
                account.client.append(spelling, None, mail.format_date(1_700_000_000 + number), mail.ordinary(number))
        self.run_once()
        found = self.check()
        self.assertEqual({name: len(messages) for name, messages in found.items()}, {"INBOX": 3})

    def test_a_hundred_mailboxes(self):
        servers = self.triangle()
        with mail.Account(servers[0]) as account:
            for number in range(100):
                account.create(f"Box/{number:03}")
                account.append(f"Box/{number:03}", mail.ordinary(number), "", 1_700_000_000 + number)
        expected = mail.snapshot(servers[0])
        self.run_once()
        self.check(expected)
        run = self.assert_quiet(expected)
        self.assertEqual([replica["mailboxes_selected"] for replica in run.report["replicas"]], [0, 0, 0], run)
