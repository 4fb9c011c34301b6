"""Servers of every tier in one mesh: QRESYNC; CONDSTORE without it; neither. Dovecots that hide what they can."""

import imaplib
import re
import unittest

import courier
import cyrus
import dovecot
import liar
import mail
from mesh import PARTIAL, MeshTest, _run, slow


imaplib.Commands["SETMETADATA"] = ("AUTH", "SELECTED")


def without(*words):
    """What a Dovecot announces that lacks these."""
    return " ".join(word for word in dovecot.CAPABILITY.split() if word not in words)


NO_QRESYNC = without("QRESYNC", "NOTIFY")
PLAIN = without("QRESYNC", "CONDSTORE", "NOTIFY")
# RFC 3501 and nothing else.
BARE = "IMAP4rev1"

FEW = [mail.ordinary(number) for number in range(24)]

# Some servers make the parent of a mailbox, some do not.
MAILBOXES = ["INBOX", "Archive", "Archive/2024", "Entwürfe"]


class TierTest(MeshTest):
    def start(self, edges=None, **capabilities):
        """Servers by name, each with what it announces ("" for all), joined each with each."""
        for name, capability in capabilities.items():
            self.server(name, capability=capability, storage="maildir")
        names = list(capabilities)
        edges = edges or [(a, b) for i, a in enumerate(names) for b in names[i + 1:]]
        self.write_topology(edges)

    def start_cyrus(self, name, **options):
        if not cyrus.available():
            raise unittest.SkipTest("Cyrus is not unpacked (tools/install_packages)")
        return self.take(cyrus.Cyrus(name, self.scratch / name, **options))

    def start_courier(self, name, **options):
        if not courier.available():
            raise unittest.SkipTest("Courier is not unpacked (tools/install_packages)")
        return self.take(courier.Courier(name, self.scratch / name, **options))

    def take(self, server):
        """A server of another kind into the mesh."""
        self.addCleanup(server.stop)
        self.servers[server.name] = server
        return server

    def tiers(self):
        """{replica: tier} as a running daemon shows it."""
        daemon = self.daemon()
        status = {}

        def all_up():
            status.update(self.client("status", "--json", expect=None))
            return all(replica.get("tier") for replica in status["replicas"])

        self.wait_for(all_up, "every replica is up")
        daemon.stop()
        return {replica["name"]: replica["tier"] for replica in status["replicas"]}

    def assert_at_rest(self, expected=None, plain=()):
        """A further run changes nothing and fetches nothing; only those of tier PLAIN are looked into."""
        run = self.run_once()
        self.check(expected)
        quiet = _run(run.report, must_be_quiet=True)
        for replica in quiet["replicas"]:
            if replica["replica"] in plain:
                replica["mailboxesSelected"] = 0
        self.check_history({"runs": [quiet]})
        return run

    def fill(self, name, contents=None, mailboxes=None, seed=0):
        contents = contents or mail.broken(seed) + [mail.ordinary(number, seed) for number in range(40)]
        messages = mail.with_flags_and_dates(contents, seed)
        with mail.Account(self.servers[name]) as account:
            there = set(account.mailboxes())
            for mailbox in mailboxes or MAILBOXES:
                if mailbox not in there:
                    account.create(mailbox)
            for number, (content, flags, epoch) in enumerate(messages):
                account.append((mailboxes or MAILBOXES)[number % len(mailboxes or MAILBOXES)], content, flags, epoch)

    def everything(self, plain=(), contents=None, unmarked=False):
        """First sync, flags set and removed, arrivals, expunges and moves at each replica in turn.

        unmarked: no message is marked \\Deleted, for servers that could not expunge others then.
        """
        names = list(self.servers)
        self.fill(names[0], contents)
        if unmarked:
            with mail.Account(self.servers[names[0]]) as account:
                for mailbox in MAILBOXES:
                    account.store(mailbox, account.uids(mailbox), "-FLAGS", "\\Deleted")
        expected = mail.snapshot(self.servers[names[0]])
        self.run_once()
        self.check(expected)
        self.assert_at_rest(expected, plain)
        for number, name in enumerate(names):
            with mail.Account(self.servers[name]) as account:
                uids = account.uids("INBOX")
                account.store("INBOX", uids[0], "+FLAGS", "\\Answered Changed")
                account.store("INBOX", uids[1], "FLAGS", "")
                account.append("INBOX", mail.ordinary(1000 + number), "\\Flagged", 1_711_000_000 + number)
                account.expunge("Archive/2024", account.uids("Archive/2024")[0])
                account.copy("INBOX", uids[2], "Archive/2024")
                account.expunge("INBOX", [uids[2], uids[3]])
            expected = mail.snapshot(self.servers[name])
            self.run_once()
            self.check(expected)
            self.assert_at_rest(expected, plain)


class WithoutUidplus(TierTest):
    """New UIDs are found by looking, and EXPUNGE is sent only while it takes nothing else along."""

    NO_UIDPLUS = without("UIDPLUS", "MOVE", "MULTIAPPEND")

    def pair(self, count=20):
        """Two servers, one without UIDPLUS, that agree on some messages, none of them marked \\Deleted."""
        self.start(full="", poor=self.NO_UIDPLUS)
        self.fill("full", [mail.ordinary(number) for number in range(count)], ["INBOX"])
        with mail.Account(self.servers["full"]) as account:
            account.store("INBOX", account.uids("INBOX"), "-FLAGS", "\\Deleted")
        self.run_once()

    def test_an_expunge_arrives(self):
        self.pair()
        with self.account("full") as account:
            account.expunge("INBOX", account.uids("INBOX")[3:7])
        expected = mail.snapshot(self.servers["full"])
        self.run_once()
        self.check(expected)
        self.assert_at_rest(expected)

    def test_while_another_message_is_marked_nothing_is_expunged(self):
        self.pair()
        with self.account("full") as account:
            uids = account.uids("INBOX")
            account.store("INBOX", uids[0], "+FLAGS", "\\Deleted")
            account.expunge("INBOX", uids[5])
        run = self.run_once(expect=PARTIAL)
        self.assertIn("UIDPLUS", run.output)
        self.assertEqual(len(mail.snapshot(self.servers["poor"])["INBOX"]), 20)
        # Then the mark is taken away, and the expunge that waited is done.
        with self.account("full") as account:
            account.store("INBOX", uids[0], "-FLAGS", "\\Deleted")
        expected = mail.snapshot(self.servers["full"])
        self.run_once()
        self.check(expected)

    def test_copies_and_moves_without_a_word_of_the_new_uids(self):
        self.pair()
        with self.account("full") as account:
            account.create("Work")
            uids = account.uids("INBOX")
            account.copy("INBOX", uids[:3], "Work")
            account.move("INBOX", uids[5:9], "Work")
        expected = mail.snapshot(self.servers["full"])
        self.run_once()
        self.check(expected)
        self.assert_at_rest(expected)

    def test_mail_that_is_there_twice_arrives_twice(self):
        self.start(full="", poor=self.NO_UIDPLUS)
        with self.account("full") as account:
            for _ in range(3):
                account.append("INBOX", mail.ordinary(1), "\\Seen", 1_700_000_000)
        expected = mail.snapshot(self.servers["full"])
        self.run_once()
        self.check(expected)
        self.assert_at_rest(expected)

    def test_over_a_thousand_expunges_do_not_hinder_each_other(self):
        self.start(full="", poor=without("UIDPLUS"))
        with self.account("full") as account:
            account.append_many("INBOX", [(mail.ordinary(number), "", 1_700_000_000) for number in range(2600)])
        self.run_once()
        with self.account("full") as account:
            account.expunge("INBOX", account.uids("INBOX")[:1250])
        expected = mail.snapshot(self.servers["full"])
        self.run_once()
        self.check(expected)


class Tiers(TierTest):
    def test_a_triangle_of_the_three_tiers(self):
        self.start(full="", condstore=NO_QRESYNC, plain=PLAIN)
        self.everything(plain=["plain"])
        self.assertEqual(self.tiers(), {"full": "QRESYNC", "condstore": "CONDSTORE", "plain": "PLAIN"})

    @slow(600)
    def test_each_capability_that_is_used_missing_alone(self):
        """What is used where it is offered has a way without it, whatever else the server can."""
        for word in ("LIST-STATUS", "MULTIAPPEND", "LITERAL+", "UIDPLUS", "MOVE", "ENABLE", "NAMESPACE", "ESEARCH",
                     "UNSELECT", "IDLE", "ID", "SPECIAL-USE", "SASL-IR"):
            with self.subTest(word):
                self.setUp()
                gone = (word, "QRESYNC") if word == "ENABLE" else (word,)  # QRESYNC is there by ENABLE alone
                self.start(full="", poor=without(*gone))
                self.everything(contents=FEW, unmarked=word == "UIDPLUS")
                self.doCleanups()

    def test_condstore_asks_for_uids_only_when_counts_say_so(self):
        self.start(full="", condstore=NO_QRESYNC)
        self.fill("full", mailboxes=["INBOX"])
        self.run_once()
        with self.account("condstore") as account:
            account.store("INBOX", account.uids("INBOX")[0], "+FLAGS", "\\Answered")
        expected = mail.snapshot(self.servers["condstore"])
        run = self.run_once()
        self.check(expected)
        self.assertEqual(run.replica("condstore")["mailboxes_selected"], 1, run)

    def test_a_deletion_alone_is_seen_without_mod_sequences_for_it(self):
        self.start(full="", condstore=NO_QRESYNC, plain=PLAIN)
        self.fill("full")
        self.run_once()
        for name in ("condstore", "plain"):
            with self.account(name) as account:
                account.expunge("INBOX", account.uids("INBOX")[:2])
            expected = mail.snapshot(self.servers[name])
            self.run_once()
            self.check(expected)

    def test_a_wiped_plain_server_is_held_by_the_brake(self):
        self.start(full="", plain=PLAIN)
        self.fill("full", [mail.ordinary(number) for number in range(80)], ["INBOX"])
        self.run_once()
        expected = mail.snapshot(self.servers["full"])
        with self.account("plain") as account:
            account.expunge("INBOX", account.uids("INBOX")[:70])
        self.run_once(expect=3)
        self.assertEqual(mail.snapshot(self.servers["full"]), expected)

    def test_all_hold_the_same_mail_already(self):
        self.start(full="", condstore=NO_QRESYNC, plain=PLAIN)
        for name in self.servers:
            self.fill(name)
        expected = mail.snapshot(self.servers["full"])
        run = self.run_once()
        self.assertEqual([replica["messages_appended"] for replica in run.report["replicas"]], [0, 0, 0], run)
        self.check(expected)
        self.assert_at_rest(expected, plain=["plain"])


class LikeGmail(TierTest):
    """CONDSTORE without QRESYNC, no MULTIAPPEND, LITERAL- (RFC 7888), its own identities of messages, labels below a
    parent that is no mailbox."""

    CAPABILITY = ("IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID CHILDREN UIDPLUS ENABLE MOVE CONDSTORE ESEARCH "
                  "LIST-EXTENDED LIST-STATUS LITERAL- SPECIAL-USE APPENDLIMIT=35651584")
    SETTINGS = "imap_id_send = name GImap\n" + "".join(
        'namespace inbox {\n  mailbox "[Gmail]/%s" {\n    auto = create\n    special_use = \\%s\n  }\n}\n' % names
        for names in (("Sent Mail", "Sent"), ("Trash", "Trash"), ("All Mail", "All")))

    def start_gmail(self):
        self.sent = []

        def command(line):
            self.sent.append(line)
            return line.replace(b"X-GM-MSGID", b"X-GUID")

        def answer(line):
            line = line.replace(b"UIDPLUS", b"UIDPLUS X-GM-EXT-1")
            return re.sub(rb'X-GUID "?([0-9a-f]{12})[0-9a-f]*"?', lambda found: b"X-GM-MSGID %d" % int(found[1], 16), line)

        self.server("near", storage="sdbox", settings=SPECIAL_USE % "Sent")
        server = self.server("gmail", storage="maildir", separator="/", compress=False, capability=self.CAPABILITY,
                             settings=self.SETTINGS)
        proxy = liar.Liar(server.port, answer, command, heads=True)
        self.addCleanup(proxy.close)
        self.write_topology([("near", "gmail", 'mailboxes { exclude: "[Gmail]/All Mail" }')])
        self.write_text(self.topology_path.read_text().replace(f"port: {server.port} ", f"port: {proxy.port} "))

    def test_mail_flags_moves_and_roles(self):
        self.start_gmail()
        with mail.Account(self.servers["near"]) as account:
            for mailbox in ("Sent", "Work"):
                account.create(mailbox)
                account.append_many(mailbox, [(mail.ordinary(number, mailbox), "\\Seen Label", 1_700_000_000 + number)
                                              for number in range(6)])
            account.append("Work", mail.ordinary(77, size=9000), "", 1_700_000_000)
        with mail.Account(self.servers["gmail"]) as account:
            account.append("[Gmail]/Sent Mail", mail.ordinary(1, "theirs"), "\\Seen", 1_700_000_000)
        self.run_once()
        # Over 4,096 bytes a literal waits to be asked for.
        appended = [line for line in self.sent if b" APPEND " in line]
        self.assertEqual(len(appended), 13)
        self.assertTrue([line for line in appended if b"{458+}" in line], appended)
        self.assertEqual([line[-9:] for line in appended if b"{9" in line], [b" {9028}\r\n"])
        with mail.Account(self.servers["gmail"]) as account:
            account.move("Work", account.uids("Work")[:2], "[Gmail]/Trash")
            account.expunge("Work", account.uids("Work")[:1])
            account.store("[Gmail]/Sent Mail", account.uids("[Gmail]/Sent Mail")[:1], "+FLAGS", "\\Flagged")
        run = self.run_once()
        self.assertEqual([(replica["messages_fetched"], replica["messages_appended"])
                          for replica in run.report["replicas"]], [(0, 0), (0, 0)], run)
        near, gmail = (mail.snapshot(self.servers[name]) for name in ("near", "gmail"))
        self.assertEqual(sorted(near), ["INBOX", "Sent", "Work", "[Gmail]/Trash"])
        self.assertEqual((near["Work"], near["[Gmail]/Trash"]), (gmail["Work"], gmail["[Gmail]/Trash"]))
        self.assertEqual((len(near["Sent"]), near["Sent"]), (7, gmail["[Gmail]/Sent Mail"]))
        self.assertEqual((len(gmail["Work"]), len(gmail["[Gmail]/Trash"]), gmail["[Gmail]/All Mail"]), (4, 2, []))
        for replica in self.run_once().report["replicas"]:
            self.assertEqual(replica["mailboxes_selected"], 0)
        self.assertEqual(self.tiers(), {"near": "QRESYNC", "gmail": "CONDSTORE"})


# Cyrus refuses a message without any header ("Message contains invalid header"); Courier ends the last line.
NO_HEADER = b"no header at all"
CARRIED = [content for content in mail.broken() if content.endswith(b"\r\n") and not content.startswith(NO_HEADER)]
CARRIED += [mail.ordinary(number) for number in range(40)]


SPECIAL_USE = """
namespace inbox {
  mailbox Sent {
    special_use = \\%s
  }
}
"""


class Kinds(TierTest):
    """Servers of other makers in one mesh with Dovecots."""

    def join(self):
        names = list(self.servers)
        self.write_topology([(a, b) for i, a in enumerate(names) for b in names[i + 1:]])

    def test_dovecot_cyrus_and_courier(self):
        self.server("dovecot")
        self.start_cyrus("cyrus")
        self.start_courier("courier")
        self.join()
        self.everything(plain=["courier"], contents=CARRIED)
        self.assertEqual(self.tiers(), {"dovecot": "QRESYNC", "cyrus": "QRESYNC", "courier": "PLAIN"})

    def all_three(self):
        self.server("dovecot", separator=".", storage="maildir", settings=SPECIAL_USE % "Sent")
        self.start_cyrus("cyrus")
        self.start_courier("courier")
        self.join()

    def put(self, name, mailbox, count=6):
        with mail.Account(self.servers[name]) as account:
            if mailbox not in account.mailboxes():
                account.create(mailbox)
            for number in range(count):
                account.append(mailbox, mail.ordinary(number, mailbox + name), "\\Seen", 1_700_000_000 + number)

    def assert_nothing_was_sent(self, run):
        for replica in run.report["replicas"]:
            self.assertEqual((replica["messages_fetched"], replica["messages_appended"]), (0, 0), run)

    def test_moves_renames_and_deletions_made_on_each_of_the_three(self):
        self.all_three()
        for mailbox in ("Work", "Work/2023", "Home"):
            self.put("dovecot", mailbox)
        self.run_once()
        expected = self.check()
        old = "Work"
        for name, new in (("dovecot", "Job"), ("cyrus", "Old/Job"), ("courier", "Büro"), ("cyrus", "Work")):
            with mail.Account(self.servers[name]) as account:
                account.rename(old, new)
                for mailbox in (old, old + "/2023"):
                    expected[new + mailbox.removeprefix(old)] = expected.pop(mailbox)
                uids = account.uids("Home")[:1]
                account.copy("Home", uids, new)  # what a move is where there is no MOVE
                account.expunge("Home", uids)
            run = self.run_once()
            self.assert_nothing_was_sent(run)
            found = self.check()
            self.assertEqual(len(found[new]), len(expected[new]) + 1)
            self.assertEqual(found[new + "/2023"], expected[new + "/2023"])
            self.assertFalse([mailbox for mailbox in found if mailbox == old or mailbox.startswith(old + "/")])
            expected, old = found, new
        for name, mailbox in (("courier", "Work/2023"), ("cyrus", "Home")):
            with mail.Account(self.servers[name]) as account:
                account.delete(mailbox)
            self.run_once()
            self.assertNotIn(mailbox, self.check())
        self.assert_at_rest(plain=["courier"])

    def test_roles_join_what_is_called_otherwise(self):
        self.all_three()
        self.put("dovecot", "Sent", 1)
        self.put("cyrus", "Sent Items", 2)
        with mail.Account(self.servers["cyrus"]) as account:
            account._ok(account.client._simple_command(
                "SETMETADATA", '"Sent Items"', '(/private/specialuse "\\\\Sent")'))
        self.run_once()
        counts = {name: {mailbox: len(found) for mailbox, found in each.items() if mailbox != "INBOX"}
                  for name, each in self.snapshots().items()}
        # Courier knows no roles: it has the one name or the other, as it came first.
        self.assertIn(counts.pop("courier"), ({"Sent": 3}, {"Sent Items": 3}))
        self.assertEqual(counts, {"dovecot": {"Sent": 3}, "cyrus": {"Sent Items": 3}})

    def test_cyrus_and_a_bare_server(self):
        self.start_cyrus("cyrus")
        self.server("bare", capability=BARE)
        self.join()
        self.everything(plain=["bare"], contents=CARRIED, unmarked=True)

    def known_again(self, source, copy, contents):
        """A first sync into an empty Dovecot, which reads header fields in bodies, knows each message by what the servers
        tell of them: a replica that holds the same mail adds nothing."""
        self.server("empty")
        for server in (source, copy):
            with mail.Account(server) as account:
                for number, content in enumerate(contents):
                    account.append("INBOX", content, "\\Seen", 1_700_000_000 + number)
        self.write_topology([(source.name, "empty")], replicas=[source.name, "empty"])
        first = self.run_once()
        self.assertEqual(first.replica(source.name)["messages_fetched"], len(contents), first)
        self.write_topology([(source.name, "empty"), ("empty", copy.name)])
        second = self.run_once()
        self.assertEqual([replica["messages_appended"] for replica in second.report["replicas"]], [0, 0, 0], second)

    def test_dovecot_tells_the_header_fields_that_are_in_a_body(self):
        self.known_again(self.server("source", storage="maildir"), self.server("copy", storage="sdbox"),
                         mail.broken() + CARRIED[-40:] + mail.corpus())

    def test_cyrus_tells_the_header_fields_that_are_in_a_body(self):
        self.known_again(self.start_cyrus("source"), self.start_cyrus("copy"), CARRIED)

    def test_courier_tells_the_header_fields_that_are_in_a_body(self):
        self.known_again(self.start_courier("source"), self.start_courier("copy"), CARRIED)
