"""Mail that both sides hold already, but brought by other tools: recognised as the same where it is, kept apart where not."""

import re

import mail
from mesh import MeshTest


def as_another_tool_left_it(content, number):
    """The same message with a trace header and an X- field more, as mbsync or another delivery leaves it."""
    return (b"Received: from relay.example.org by mx.example.org;\r\n\tFri, 01 Mar 2024 10:00:00 +0000\r\n"
            b"X-TUID: " + str(number).encode() + b"\r\n" + content)


def as_another_delivery_left_it(content, number):
    """The same message by another way: what each host on it adds (RFC 5321 section 4.4, RFC 6376, RFC 8601, RFC 8617)."""
    return (b"Return-Path: <bounce%d@relay.example.org>\r\nDelivered-To: other@example.org\r\n"
            b"Received: from a by b;\r\n\tFri, 01 Mar 2024 10:00:00 +0000\r\nReceived-SPF: pass\r\n"
            b"ARC-Seal: i=1; cv=none\r\nDKIM-Signature: v=1; a=rsa-sha256; d=relay.example.org;\r\n\tb=%d\r\n"
            b"Authentication-Results: mx.example.org; dkim=pass\r\nX-Spam-Status: No\r\n" % (number, number)) + content


def with_another_body(content):
    return re.sub(rb"\r\n\r\n.*", b"\r\n\r\nSomething else altogether.\r\n", content, flags=re.DOTALL)


class Adoption(MeshTest):
    def pair(self, here, there):
        """Two replicas, one edge; what each holds: [(content, internal date)]."""
        for name, messages in (("a", here), ("b", there)):
            with mail.Account(self.server(name)) as account:
                account.append_many("INBOX", [(content, "\\Seen", date) for content, date in messages])
        self.write_topology([("a", "b")])

    def appended(self, run):
        return [replica["messages_appended"] for replica in run.report["replicas"]]

    def counts(self):
        return [len(found["INBOX"]) for found in self.snapshots().values()]

    def test_another_internaldate_and_added_headers_are_the_same_message(self):
        contents = [mail.ordinary(number) for number in range(20)]
        self.pair([(content, 1_700_000_000 + number) for number, content in enumerate(contents)],
                  [(as_another_tool_left_it(content, number), 1_710_000_000) for number, content in enumerate(contents)])
        run = self.run_once()
        self.assertEqual(self.appended(run), [0, 0], run)
        self.assertEqual(self.counts(), [20, 20])
        again = self.run_once()
        for replica in again.report["replicas"]:
            self.assertEqual((replica["mailboxes_selected"], replica["messages_fetched"]), (0, 0), again)

    def test_what_hosts_on_the_way_add_makes_no_other_message(self):
        contents = [mail.ordinary(number) for number in range(5)]
        self.pair([(content, 1_700_000_000) for content in contents],
                  [(as_another_delivery_left_it(content, number), 1_710_000_000)
                   for number, content in enumerate(contents)])
        self.assertEqual(self.appended(self.run_once()), [0, 0])
        self.assertEqual(self.counts(), [5, 5])

    def test_what_was_adopted_is_one_message_from_then_on(self):
        content = mail.ordinary(1)
        self.pair([(content, 1_700_000_000)], [(as_another_tool_left_it(content, 1), 1_710_000_000)])
        self.run_once()
        with self.account("a") as account:
            account.store("INBOX", account.uids("INBOX"), "+FLAGS", "\\Flagged")
        self.run_once()
        for found in self.snapshots().values():
            self.assertEqual([message.flags for message in found["INBOX"]], [{"\\seen", "\\flagged"}])
        with self.account("b") as account:
            account.expunge("INBOX", account.uids("INBOX"))
        self.run_once()
        self.assertEqual(self.counts(), [0, 0])

    def test_one_message_id_with_other_content_is_two_messages(self):
        content = mail.ordinary(1)
        other = with_another_body(content)
        self.pair([(content, 1_700_000_000)], [(other, 1_710_000_000)])
        self.run_once()
        for found in self.snapshots().values():
            self.assertEqual({message.digest for message in found["INBOX"]},
                             {mail.digest(content), mail.digest(other)})
        self.check()
        self.assert_quiet()
        daemon = self.daemon()
        recorded, = self.client("--json", "conflicts", "list")["conflicts"]
        daemon.stop()
        self.assertEqual((recorded["kind"], recorded["mailbox"], recorded["message_id"]),
                         ("IDENTITY_IN_DOUBT", "INBOX", "<1.0@generated.example>"))
        self.assertFalse(recorded.get("open"))
        self.assertIn("both are kept", recorded["outcome"])
