"""The server's own identity of messages and mailboxes (EMAILID and MAILBOXID of RFC 8474, X-GM-MSGID, Dovecot's X-GUID).

Messages without a Message-ID are told to be the same by nothing else; an empty mailbox that was renamed by its
UIDVALIDITY, where that is its alone.
Debian has no server with X-GM-MSGID, and none whose MAILBOXID can be used: a Dovecot behind a proxy stands for them.
"""

import hashlib
import re

import cyrus
import dovecot
import liar
import mail
from mesh import MeshTest

OTHER = "imap_id_send = name Other\n"  # so that imapmesh does not ask for X-GUID
WITHOUT_ID = [b"From: a@example.org\r\nSubject: no Message-ID %d\r\n\r\nbody of %d\r\n" % (n, n) for n in range(4)]


def gmail_number(guid):
    return str(int(hashlib.sha256(guid).hexdigest()[:15], 16)).encode()


class IdentityTest(MeshTest):
    def start(self, name, answer=None, command=None):
        """"near", and `name` behind a proxy."""
        self.server("near")
        if answer is None:
            self.server(name, settings=OTHER)
            self.write_topology([("near", name)])
            return
        server = self.server(name, compress=False, settings=OTHER)
        proxy = liar.Liar(server.port, answer, command, heads=True)
        self.addCleanup(proxy.close)
        self.write_topology([("near", name)])
        self.write_text(self.topology_path.read_text().replace(f"port: {server.port}", f"port: {proxy.port}"))

    def move_in_server(self, name):
        """Messages appended to the near server when some were moved at the other one, where they came from."""
        with self.account(name) as account:
            account.create("Work")
            account.append_many("INBOX", [(content, "", 1_700_000_000) for content in WITHOUT_ID])
        self.run_once()
        with self.account(name) as account:
            account.move("INBOX", account.uids("INBOX")[1:3], "Work")
        run = self.run_once()
        found = self.check()
        self.assertEqual((len(found["INBOX"]), len(found["Work"])), (2, 2))
        self.assert_quiet(found)
        return run.replica("near")["messages_appended"]

    def rename_an_empty_mailbox(self, name):
        """Whether the near server's mailbox is the same afterwards."""
        with self.account("near") as account:
            account.create("Empty")
        self.run_once()
        before = self.guid("Empty")
        with self.account(name) as account:
            account.rename("Empty", "Void")
        self.run_once()
        self.assertEqual(sorted(self.check()), ["INBOX", "Void"])
        return self.guid("Void") == before

    def guid(self, mailbox):
        with self.account("near") as account:
            return re.search(rb"X-GUID (\S+)\)", account.client.status(mailbox, "(X-GUID)")[1][0]).group(1)


class Messages(IdentityTest):
    def test_without_one_a_message_without_message_id_is_sent_again(self):
        self.start("plain")
        self.assertEqual(self.move_in_server("plain"), 2)

    def test_x_guid_of_dovecot(self):
        self.server("near")
        self.server("far")
        self.write_topology([("near", "far")])
        self.assertEqual(self.move_in_server("far"), 0)

    def test_emailid_of_cyrus(self):
        if not cyrus.available():
            self.skipTest("Cyrus is not unpacked (tools/install_packages)")
        self.server("near")
        server = cyrus.Cyrus("cyrus", self.scratch / "cyrus")
        self.addCleanup(server.stop)
        self.servers["cyrus"] = server
        self.write_topology([("near", "cyrus")])
        self.assertEqual(self.move_in_server("cyrus"), 0)

    def test_x_gm_msgid(self):
        asked = []

        def command(line):
            asked.append(line)
            return line.replace(b"X-GM-MSGID", b"X-GUID")

        def answer(line):
            line = line.replace(b"UIDPLUS", b"UIDPLUS X-GM-EXT-1")
            return re.sub(rb'X-GUID "?([^ )"]+)"?', lambda found: b"X-GM-MSGID " + gmail_number(found.group(1)), line)

        self.start("gmail", answer, command)
        self.assertEqual(self.move_in_server("gmail"), 0)
        self.assertTrue([line for line in asked if b"X-GM-MSGID" in line])


def one_validity(line):
    """As of a server that gives one UIDVALIDITY to all mailboxes that are made within a second."""
    return re.sub(rb"UIDVALIDITY \d+", b"UIDVALIDITY 1700000000", line)


class Mailboxes(IdentityTest):
    def test_without_one_an_empty_mailbox_that_is_renamed_is_known_by_its_uidvalidity(self):
        self.start("plain")
        self.assertTrue(self.rename_an_empty_mailbox("plain"))

    def test_without_either_it_is_another(self):
        self.start("plain", one_validity)
        self.assertFalse(self.rename_an_empty_mailbox("plain"))

    def test_mailboxid(self):
        def answer(line):
            line = one_validity(line).replace(b"UIDPLUS", b"UIDPLUS OBJECTID")
            item = rb"MAILBOXID (\1)" if line.startswith(b"* STATUS") else rb"EMAILID (\1)"
            return re.sub(rb'X-GUID "?([0-9a-f]{32})"?', item, line)

        def command(line):
            return line.replace(b"MAILBOXID", b"X-GUID").replace(b"EMAILID", b"X-GUID")

        self.start("objects", answer, command)
        self.assertTrue(self.rename_an_empty_mailbox("objects"))
