"""Annotations of mailboxes (METADATA, RFC 5464) on real servers: kept in agreement where both sides have them."""

import imaplib
import re

import cyrus
import mail
from mesh import MeshTest

for command in ("GETMETADATA", "SETMETADATA"):
    imaplib.Commands[command] = ("AUTH", "SELECTED")

SETTINGS = """
mail_attribute_dict = file:%h/dovecot-attributes
protocol imap {
  imap_metadata = yes
}
"""
COMMENT, SHARED, COLOR = "/private/comment", "/shared/comment", "/private/vendor/example/color"
OWN = re.compile(rb"/(private|shared)/(vendor/cmu|vendor/vendor\.dovecot|specialuse)")


class Annotations:
    """One account's, by IMAP."""

    def __init__(self, account):
        self.account = account

    def set(self, mailbox, entry, value):
        """value: bytes, or None to remove it; a literal, so that it may be anything."""
        client = self.account.client
        if value is not None:
            tag = client._new_tag()
            client.send(tag + b" SETMETADATA " + self.account._here(mailbox).encode()
                        + b" (%s {%d+}\r\n%s)\r\n" % (entry.encode(), len(value), value))
            while not (line := client.readline()).startswith(tag):
                pass
            assert line.split()[1] == b"OK", line
        else:
            self.account._ok(client._simple_command("SETMETADATA", self.account._here(mailbox), f"({entry} NIL)"))

    def all(self, mailbox):
        """{entry: value} without what servers set themselves."""
        client = self.account.client
        client.untagged_responses.pop("METADATA", None)
        self.account._ok(client._simple_command("GETMETADATA", "(DEPTH infinity)", self.account._here(mailbox),
                                                "(/private /shared)"))
        text = b""
        for part in client.untagged_responses.pop("METADATA", []):
            text += part[0] + b"\r\n" + part[1] if isinstance(part, tuple) else part
        return _entries(text)


def _entries(text):
    found = {}
    position = text.find(b"(") + 1 if b"(" in text else len(text)
    name_pattern = re.compile(rb'\s*"?(/[^\s"]+)"?\s+')
    while match := name_pattern.match(text, position):
        position = match.end()
        literal = re.compile(rb"\{(\d+)\}\r\n").match(text, position)
        quoted = re.compile(rb'"((?:[^"\\]|\\.)*)"').match(text, position)
        if literal:
            value = text[literal.end():literal.end() + int(literal.group(1))]
            position = literal.end() + int(literal.group(1))
        elif quoted:
            value, position = re.sub(rb"\\(.)", rb"\1", quoted.group(1)), quoted.end()
        else:
            value, position = b"", position + 3  # NIL
        if value and not OWN.match(match.group(1)):
            found[match.group(1).decode()] = value
    return found


class Metadata(MeshTest):
    def annotations(self, name):
        return Annotations(self.account(name))

    def pair(self, far=SETTINGS, edge=""):
        self.server("near", settings=SETTINGS)
        self.server("far", settings=far)
        self.write_topology([("near", "far", edge)])

    def both(self, mailbox):
        return [self.annotations(name).all(mailbox) for name in ("near", "far")]

    def test_values_and_removals_arrive_both_ways_and_in_new_mailboxes(self):
        self.pair()
        long = "Zeile mit ä\r\n".encode() * 500
        with self.account("near") as near:
            near.create("Lists/Böse")
            near.append("INBOX", mail.ordinary(1))
            Annotations(near).set("INBOX", COMMENT, b"mine")
            Annotations(near).set("Lists/Böse", SHARED, long)
        self.annotations("far").set("INBOX", COLOR, b'#"1\\2')
        self.run_once()
        self.assertEqual(self.both("INBOX"), [{COMMENT: b"mine", COLOR: b'#"1\\2'}] * 2)
        self.assertEqual(self.both("Lists/Böse"), [{SHARED: long}] * 2)

        self.annotations("far").set("INBOX", COMMENT, None)
        self.annotations("far").set("INBOX", COLOR, b"green")
        self.run_once()
        self.assertEqual(self.both("INBOX"), [{COLOR: b"green"}] * 2)
        self.assert_quiet()

    def test_in_agreement_they_cost_no_more_than_a_question_for_each_mailbox(self):
        self.pair()
        self.annotations("near").set("INBOX", COMMENT, b"mine")
        self.run_once()
        quiet = self.run_once()
        for replica in quiet.report["replicas"]:
            self.assertLessEqual(replica["bytes_received"], 2500, quiet)
            self.assertEqual(replica["mailboxes_selected"], 0, quiet)

    def test_of_two_values_the_first_replicas_holds_and_a_conflict_is_recorded(self):
        self.pair()
        self.annotations("near").set("INBOX", COMMENT, b"before")
        self.run_once()
        self.annotations("near").set("INBOX", COMMENT, b"near's")
        self.annotations("far").set("INBOX", COMMENT, b"far's")
        run = self.run_once()
        self.assertEqual(self.both("INBOX"), [{COMMENT: b"near's"}] * 2)
        self.assertEqual(run.report["conflicts_resolved"], 1, run)
        self.assert_quiet()

    def test_an_asked_sync_of_a_running_daemon_finds_them(self):
        self.pair()
        self.daemon()
        self.client("sync")
        self.annotations("far").set("INBOX", COMMENT, b"changed")
        self.client("sync")
        self.assertEqual(self.both("INBOX"), [{COMMENT: b"changed"}] * 2)

    def test_a_side_without_annotations_is_no_matter(self):
        self.pair(far="")
        with self.account("near") as near:
            near.append("INBOX", mail.ordinary(1))
            Annotations(near).set("INBOX", COMMENT, b"mine")
        self.run_once()
        self.check()
        self.assert_quiet()
        self.assertEqual(self.annotations("near").all("INBOX"), {COMMENT: b"mine"})

    def test_they_go_where_flags_go(self):
        self.pair(edge="direction: A_TO_B")
        self.annotations("far").set("INBOX", COLOR, b"far's own")
        self.annotations("near").set("INBOX", COMMENT, b"mine")
        self.run_once()
        self.assertEqual(self.both("INBOX"), [{COMMENT: b"mine"}, {COMMENT: b"mine", COLOR: b"far's own"}])

    def test_a_mailbox_that_is_made_again_loses_nothing(self):
        """Its new copy has no annotations: that is no removal."""
        self.pair()
        with self.account("near") as near:
            near.create("Box")
            near.append("Box", mail.ordinary(1))
            Annotations(near).set("Box", COMMENT, b"kept")
        self.run_once()
        with self.account("far") as far:
            far.delete("Box")
            far.create("Box")
        self.run_once(expect=None)
        self.assertEqual(self.annotations("near").all("Box"), {COMMENT: b"kept"})

    def test_a_triangle(self):
        self.triangle(*({"settings": SETTINGS} for _ in range(3)))
        self.annotations("laptop").set("INBOX", COMMENT, b"one")
        self.run_once()
        self.annotations("server").set("INBOX", COMMENT, b"two")
        self.run_once()
        for name in ("laptop", "desktop", "server"):
            self.assertEqual(self.annotations(name).all("INBOX"), {COMMENT: b"two"})
        self.assert_quiet()

    def test_cyrus_takes_comments_refuses_the_rest_and_keeps_its_own(self):
        if not cyrus.available():
            self.skipTest("Cyrus is not unpacked (tools/install_packages)")
        self.server("near", settings=SETTINGS)
        far = cyrus.Cyrus("far", self.scratch / "far")
        self.started_servers.append(far)
        self.servers["far"] = far
        self.write_topology([("near", "far")])
        self.annotations("near").set("INBOX", COMMENT, b"mine")
        self.annotations("near").set("INBOX", COLOR, b"blue")
        run = self.run_once()
        self.assertIn(f"annotation {COLOR} is not set", run.output)
        self.assertEqual(self.both("INBOX"), [{COMMENT: b"mine", COLOR: b"blue"}, {COMMENT: b"mine"}])
        self.annotations("far").set("INBOX", COMMENT, None)
        self.run_once()
        self.assertEqual(self.both("INBOX"), [{COLOR: b"blue"}, {}])
