"""A server that numbers its mail anew, or is brought back from a backup: nothing is sent, nothing doubled, nothing lost."""

import shutil
import time

import dovecot
import mail
from mesh import MeshTest


class Restored(MeshTest):
    def setUp(self):
        super().setUp()
        self.triangle({"storage": "maildir"}, {"storage": "sdbox"}, {"storage": "maildir"})
        with self.account("server") as account:
            account.create("Work")
            for mailbox in ("INBOX", "Work"):
                contents = [mail.ordinary(number, mailbox) for number in range(30)]
                account.append_many(mailbox, mail.with_flags_and_dates(contents, mailbox))
        self.run_once()
        self.expected = self.check()

    def validity(self, mailbox):
        with self.account("server") as account:
            return account.client.status(mailbox, "(UIDVALIDITY)")[1]

    def renumber(self):
        """Dovecot has lost what it knew of the server's Maildirs: UIDVALIDITY and UIDs are others."""
        server = self.servers["server"]
        before = [self.validity(mailbox) for mailbox in ("INBOX", "Work")]
        server.stop()
        maildir = server.home / "Maildir"
        for pattern in ("dovecot-uidlist", "dovecot.index*", "dovecot-uidvalidity*", "dovecot.list.index*"):
            for path in maildir.rglob(pattern):
                path.unlink()
        time.sleep(1.1)  # it is the time in seconds
        server.start()
        after = [self.validity(mailbox) for mailbox in ("INBOX", "Work")]
        self.assertFalse(set(map(str, before)) & set(map(str, after)))

    def assert_nothing_was_sent(self, run):
        for replica in run.report["replicas"]:
            self.assertEqual((replica["messages_appended"], replica["messages_expunged"]), (0, 0), run)

    def test_another_uidvalidity_is_identified_again_without_a_download(self):
        self.renumber()
        run = self.run_once()
        self.check(self.expected)
        self.assert_nothing_was_sent(run)
        self.assertEqual([replica["messages_fetched"] for replica in run.report["replicas"]], [0, 0, 0], run)
        self.assert_quiet(self.expected)
        # The mapping holds: what is done now reaches the same messages.
        with self.account("server") as account:
            account.expunge("INBOX", account.find("INBOX", mail.digest(mail.ordinary(3, "INBOX"))))
        with self.account("laptop") as account:
            account.store("Work", account.find("Work", mail.digest(mail.ordinary(4, "Work"))), "+FLAGS", "\\Flagged")
        self.run_once()
        found = self.check(deleted=[("INBOX", mail.digest(mail.ordinary(3, "INBOX")))])
        self.assertEqual(len(found["INBOX"]), len(self.expected["INBOX"]) - 1)

    def test_mail_without_message_id_or_with_anothers_is_told_apart_by_its_content(self):
        with self.account("laptop") as account:
            account.append_many("Work", mail.with_flags_and_dates(mail.broken(1) + mail.broken(1)[:3]))
        self.run_once()
        expected = self.check()
        self.renumber()
        run = self.run_once()
        self.check(expected)
        self.assert_nothing_was_sent(run)
        self.assert_quiet(expected)

    def test_changes_made_elsewhere_meanwhile_arrive(self):
        self.renumber()
        with self.account("laptop") as account:
            account.expunge("INBOX", account.find("INBOX", mail.digest(mail.ordinary(5, "INBOX"))))
            account.append("INBOX", mail.ordinary(500), "", 1_710_000_000)
        self.run_once()
        found = self.check(deleted=[("INBOX", mail.digest(mail.ordinary(5, "INBOX")))])
        self.assertEqual(len(found["INBOX"]), len(self.expected["INBOX"]))
        self.assert_quiet(found)

    def test_from_a_backup_what_came_since_is_put_back_and_what_went_stays_away(self):
        server = self.servers["server"]
        server.stop()
        backup = self.scratch / "backup"
        shutil.copytree(server.home / "Maildir", backup)
        server.start()
        with self.account("laptop") as account:
            account.append_many("INBOX", [(mail.ordinary(number, "since"), "\\Seen", 1_710_000_000)
                                          for number in range(5)])
            account.expunge("Work", account.find("Work", mail.digest(mail.ordinary(7, "Work"))))
            account.create("New")
            account.append("New", mail.ordinary(1, "New"), "", 1_710_000_000)
        self.run_once()
        since = self.check()
        server.stop()
        shutil.rmtree(server.home / "Maildir")
        shutil.copytree(backup, server.home / "Maildir")
        self.give_to_its_user(server)
        server.start()
        self.run_once()
        found = self.check()
        for mailbox in ("INBOX", "New"):
            self.assertEqual(found[mailbox], since[mailbox])
        # The deletion was seen before, so it holds; where the restored copy brings it back in doubt mail is kept.
        self.assertLessEqual(len(found["Work"]) - len(since["Work"]), 1)
        self.assert_quiet(found)

    def give_to_its_user(self, server):
        if not dovecot.ROOT:
            return
        for path in [server.home / "Maildir", *(server.home / "Maildir").rglob("*")]:
            shutil.chown(path, dovecot.MAIL_USER, dovecot.MAIL_GROUP)
