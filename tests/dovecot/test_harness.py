"""The harness itself: real Dovecots start in every kind, and the oracle sees what users did."""

import subprocess
import unittest

import dovecot
import mail
from mesh import MeshTest

NAMES = ["Archive/2024", "Entwürfe", "受信箱/仕事", "Входящие", "R&D", "עברית", "emoji 📬"]


class Harness(MeshTest):
    def test_every_kind_of_storage_keeps_what_is_put_in(self):
        for storage in ("maildir", "sdbox", "mbox"):
            for separator in "/.":
                with self.subTest(storage=storage, separator=separator):
                    server = self.server(f"{storage}{ord(separator)}", storage=storage, separator=separator)
                    contents = mail.broken() + [mail.ordinary(1)]
                    if storage == "mbox":
                        contents = mail.carried_by_mbox(contents)
                    messages = mail.with_flags_and_dates(contents)
                    with mail.Account(server) as account:
                        mail.spread(account, messages, ["INBOX"] + NAMES)
                    found = mail.snapshot(server)
                    self.assertEqual(sorted(found), sorted(["INBOX"] + NAMES))
                    self.assertEqual(
                        sorted((mail.digest(content), epoch, frozenset(flags.lower().split()))
                               for content, flags, epoch in messages),
                        sorted((message.digest, message.date, message.flags)
                               for mailbox in found.values() for message in mailbox))

    def test_the_users_actions(self):
        server = self.server("one")
        with mail.Account(server) as account:
            account.create("Work")
            account.append_many("INBOX", mail.with_flags_and_dates([mail.ordinary(n) for n in range(5)]))
            first, second, third, *_ = account.uids("INBOX")
            account.store("INBOX", first, "+FLAGS", "\\Flagged kw")
            account.move("INBOX", second, "Work")
            account.copy("INBOX", first, "Work")
            account.expunge("INBOX", third)
            account.rename("Work", "Done")
        found = mail.snapshot(server)
        self.assertEqual({name: len(messages) for name, messages in found.items()}, {"INBOX": 3, "Done": 2})
        self.assertTrue(any({"kw", "\\flagged"} <= message.flags for message in found["INBOX"]))

    def test_the_tunnel_is_preauthenticated(self):
        server = self.server("one")
        with mail.Account(server) as account:
            account.create("Work")
        done = subprocess.run(server.tunnel_command(), shell=True, input=b'a LIST "" "*"\r\nb LOGOUT\r\n',
                              capture_output=True)
        self.assertTrue(done.stdout.startswith(b"* PREAUTH"), done)
        self.assertIn(b"Work", done.stdout)

    def test_a_stopped_server_refuses_connections_and_starts_again(self):
        server = self.server("one")
        server.stop()
        with self.assertRaises(OSError):
            mail.Account(server)
        server.start()
        self.assertEqual(mail.snapshot(server), {"INBOX": []})

    def test_capabilities_can_be_taken_away(self):
        words = [word for word in dovecot.CAPABILITY.split() if word not in ("QRESYNC", "CONDSTORE")]
        server = self.server("poor", capability=" ".join(words), compress=False)
        with mail.Account(server) as account:
            self.assertNotIn(b"QRESYNC", account.client.capability()[1][0])

    def test_the_checker_sees_what_differs(self):
        messages = mail.with_flags_and_dates(self.broken())
        for name in ("laptop", "server"):
            with mail.Account(self.server(name)) as account:
                account.append_many("INBOX", messages)
        expected = mail.snapshot(self.servers["laptop"])
        self.check(expected)
        self.check()
        with self.account("server") as account:
            account.append_many("INBOX", messages[:1])
            with self.assertRaisesRegex(AssertionError, "no duplicates: server: INBOX"):
                self.check(expected)
            account.expunge("INBOX", account.uids("INBOX")[-2:])
            with self.assertRaisesRegex(AssertionError, "no loss: server: INBOX"):
                self.check(expected)
        with self.assertRaisesRegex(AssertionError, "convergence: server: INBOX"):
            self.check()


class Corpus(unittest.TestCase):
    def test_the_corpus_is_whole_when_it_is_there(self):
        if not mail.CORPUS.is_dir():
            self.skipTest("no ../shared/corpus")
        self.assertEqual(len(mail.corpus()), 306)
