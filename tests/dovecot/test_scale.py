"""Memory stays bounded whatever the size of mailboxes and messages."""

import mail
from mesh import MeshTest, measures_memory, slow

MEMORY_LIMIT_KB = 150 * 1000


class Scale(MeshTest):
    @measures_memory
    @slow(420)
    def test_ten_thousand_messages_into_two_empty_replicas(self):
        laptop, *_ = self.triangle()
        with mail.Account(laptop) as account:
            account.append_many("INBOX", ((mail.ordinary(number, size=4000), "\\Seen" if number % 3 else "",
                                           1_500_000_000 + number) for number in range(10_000)), batch=500)
        expected = mail.snapshot(laptop)
        self.assertEqual(len(expected["INBOX"]), 10_000)
        run = self.run_once(timeout_s=240)
        print(f"10,000 messages: {run.report['wall_s']:.1f} s, {run.memory_kb / 1000:.0f} MB")
        self.assertLess(run.memory_kb, MEMORY_LIMIT_KB, run)
        source = run.replica("laptop")  # each message is read once there: to know it by, and to bring it
        self.assertEqual(source["messages_fetched"], 10_000)
        self.assertLess(source["bytes_received"], 1.2 * sum(message.size for message in expected["INBOX"]))
        self.check(expected)
        again = self.assert_quiet()
        self.assertLess(again.memory_kb, MEMORY_LIMIT_KB)

    @measures_memory
    @slow(300)
    def test_a_message_of_200_megabytes(self):
        laptop, *_ = self.triangle()
        head = b"From: a@example.org\r\nSubject: large\r\nMessage-ID: <large@example.org>\r\n\r\n"
        line = bytes(range(33, 109)) + b"\r\n"
        with mail.Account(laptop) as account:
            account.append("INBOX", head + line * (200_000_000 // len(line)), "\\Flagged", 1_700_000_000)
            account.append("INBOX", mail.ordinary(1), "", 1_700_000_001)
        expected = mail.snapshot(laptop)
        run = self.run_once(timeout_s=200)
        print(f"200 MB: {run.report['wall_s']:.1f} s, {run.memory_kb / 1000:.0f} MB")
        self.assertLess(run.memory_kb, MEMORY_LIMIT_KB, run)
        self.check(expected)
