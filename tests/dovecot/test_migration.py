"""From another tool to imapmesh: its configuration becomes a topology, its state spares fetching what both sides hold.

The tools are Debian's own, run on the same real servers: sync with them, import, run imapmesh.
"""

import json
import os
import shutil
import stat
import subprocess
import unittest

import dovecot
import mail
from mesh import BINARIES, MeshTest

# Two of each cannot be told apart by their header, and those of the last kind have no header that tells anything.
HARD = [
    b"From: a@example.org\r\nSubject: no id\r\n\r\nfirst\r\n",
    b"From: a@example.org\r\nSubject: no id\r\n\r\nfirst\r\n",
    b"From: a@example.org\r\nSubject: no id\r\n\r\nsecond\r\n",
    b"Message-ID: <twin@example.org>\r\nSubject: twin\r\n\r\none\r\n",
    b"Message-ID: <twin@example.org>\r\nSubject: twin\r\n\r\nother\r\n",
    b"X-Nothing: known\r\n\r\nbody\r\n",
    b"X-Nothing: known\r\n\r\nbody\r\n",
]


class MigrationTest(MeshTest):
    program = ""
    separators = ("/", ".")
    options = [{}, {}]

    def setUp(self):
        super().setUp()
        if shutil.which(self.program) is None:
            self.fail(f"{self.program} is not installed (tools/install_packages)")
        for name, separator, options in zip(("near", "far"), self.separators, self.options):
            self.server(name, separator=separator, **options)
        self.state_path = self.scratch / "state" / "state.db"

    def carries(self, flag):
        """Whether the tool itself carries a flag."""
        return True

    def fill(self):
        """Mail on both sides, of every awkward kind, in mailboxes with awkward names; how many messages in all."""
        def with_flags_and_dates(contents, seed=0):
            return [(content, " ".join(flag for flag in flags.split() if self.carries(flag)), date)
                    for content, flags, date in mail.with_flags_and_dates(contents, seed)]

        ordinary = [mail.ordinary(number) for number in range(30)]
        with mail.Account(self.servers["near"]) as near, mail.Account(self.servers["far"]) as far:
            near.append_many("INBOX", with_flags_and_dates(ordinary[:15] + HARD))
            far.append_many("INBOX", with_flags_and_dates(ordinary[15:], seed=1))
            far.create("Entwürfe/Alt")
            far.append_many("Entwürfe/Alt", with_flags_and_dates(HARD, seed=2))
            near.create("Lists")
            near.append_many("Lists", with_flags_and_dates(
                [mail.ordinary(number, seed=3) for number in range(20)], seed=3))
        return 30 + 2 * len(HARD) + 20

    def sync_with_tool(self):
        done = subprocess.run([str(part) for part in self.command()], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def write_private(self, name, text):
        path = self.scratch / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def import_it(self, *arguments, expect=0):
        """The JSON that the import command prints."""
        self.require_binaries()
        done = subprocess.run([str(BINARIES / "imapmesh"), "--json", *map(str, arguments)], capture_output=True,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        self.assertNotIn(dovecot.PASSWORD, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def assert_nothing_moved(self, run):
        for replica in run.report["replicas"]:
            done = {key: replica[key] for key in ("messages_fetched", "messages_appended", "messages_expunged",
                                                  "messages_copied_server_side", "flags_changed")}
            self.assertEqual(set(done.values()), {0}, run)

    def count(self):
        return {name: sum(map(len, found.values())) for name, found in self.snapshots().items()}

    def assert_changes_flow(self):
        """A new message, a flag and a deletion, made here and there, arrive; nothing else does."""
        before = self.count()
        with self.account("near") as near, self.account("far") as far:
            near.append("INBOX", mail.ordinary(999), "\\Flagged")
            far.store("Lists", far.uids("Lists")[:3], "+FLAGS", "\\Answered")
            near.expunge("Lists", near.uids("Lists")[-2:])
        run = self.run_once()
        self.assertEqual(sum(replica["messages_appended"] for replica in run.report["replicas"]), 1, run)
        self.assertEqual(sum(replica["messages_expunged"] for replica in run.report["replicas"]), 2, run)
        self.assertEqual(self.count(), {name: number - 1 for name, number in before.items()})


class FromInterimap(MigrationTest):
    program = "interimap"

    def configuration(self, first=""):
        text = f"database = {self.scratch}/interimap.db\n{first}"
        for section, name in (("local", "near"), ("remote", "far")):
            server = self.servers[name]
            text += (f"\n[{section}]\ntype = imap\nhost = 127.0.0.1\nport = {server.port}\nSTARTTLS = NO\n"
                     f"username = {server.username}\npassword = {dovecot.PASSWORD}\n")
        return self.write_private("home.conf", text)

    def command(self):
        return ["interimap", f"--config={self.scratch}/home.conf", "--quiet"]

    def import_all(self, *arguments):
        return self.import_it("import-interimap", self.scratch / "home.conf", self.scratch / "interimap.db", "--state",
                              self.state_path, "--output", self.topology_path, *arguments)

    def test_nothing_is_copied_and_no_body_is_fetched(self):
        self.configuration()
        messages = self.fill()
        self.sync_with_tool()
        self.assertEqual(self.count(), {"near": messages, "far": messages})

        taken = self.import_all()
        self.assertEqual((taken["messages"], taken["mailboxes"]), (messages, 3), taken)
        run = self.run_once()

        self.assert_nothing_moved(run)
        self.check()
        self.assert_quiet()
        self.assert_changes_flow()
        self.check()

    def test_without_the_database_content_is_fetched_to_tell_messages_apart(self):
        self.configuration()
        messages = self.fill()
        self.sync_with_tool()

        self.import_it("import-interimap", self.scratch / "home.conf", "--output", self.topology_path)
        run = self.run_once()

        self.assertGreater(sum(replica["messages_fetched"] for replica in run.report["replicas"]), 0)
        self.assertEqual(self.count(), {"near": messages, "far": messages})

    def test_what_was_deleted_since_the_last_run_is_deleted_on_the_other_side_too(self):
        self.configuration()
        messages = self.fill()
        self.sync_with_tool()
        with self.account("near") as near, self.account("far") as far:
            near.expunge("INBOX", near.uids("INBOX")[:2])
            far.expunge("Lists", far.uids("Lists")[:3])
            far.append("Lists", mail.ordinary(500))

        self.import_all()
        run = self.run_once()

        self.assertEqual(sum(replica["messages_appended"] for replica in run.report["replicas"]), 1, run)
        self.assertEqual(self.count(), {"near": messages - 4, "far": messages - 4})
        self.check()
        self.assert_quiet()

    def test_a_mailbox_that_was_wiped_is_filled_again(self):
        self.configuration()
        with self.account("near") as near:
            near.append_many("INBOX", [(mail.ordinary(number), "", 1_700_000_000) for number in range(60)])
        self.sync_with_tool()
        with self.account("far") as far:
            far.expunge("INBOX", far.uids("INBOX"))

        self.import_all()
        run = self.run_once()

        self.assertIn("more than the brake lets pass", run.output)
        self.assertEqual(self.count(), {"near": 60, "far": 60})

    def test_the_topology_is_private_and_the_password_in_a_file_of_its_own(self):
        self.configuration('list-mailbox = INBOX "Lists\\x00%" Lists\nignore-mailbox = ^virtual(?:\\x00|$)\n')
        self.fill()
        self.sync_with_tool()
        taken = self.import_all("--name", "taken")
        text = self.topology_path.read_text()
        for expected in ('include: "INBOX"', 'include: "Lists/%"', 'exclude: "virtual/*"', 'exclude: "virtual"',
                         'password_file: "taken-remote.password"'):
            self.assertIn(expected, text)
        for path in taken["written"]:
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(self.client("check", str(self.topology_path)).code, 0)

    def test_what_is_in_the_way_is_refused_and_nothing_is_written(self):
        config = self.configuration()
        self.fill()
        self.sync_with_tool()
        self.import_all()
        again = self.import_it("import-interimap", config, self.scratch / "interimap.db", "--state", self.state_path,
                               "--output", self.topology_path, expect=2)
        self.assertIn("exists already", again["errors"][0])
        self.run_once()
        used = self.import_it("import-interimap", config, self.scratch / "interimap.db", "--state", self.state_path,
                              "--output", self.scratch / "other.textproto", expect=1)
        self.assertIn("there is a state already", used["errors"][0])
        self.assertFalse((self.scratch / "other.textproto").exists())
        bad = self.write_private("bad.conf", "[local]\ntype = pop3\nnonsense = 1\n")
        errors = self.import_it("import-interimap", bad, expect=2)["errors"]
        self.assertTrue(any("bad.conf" in error and "[remote]" in error for error in errors), errors)



class FromMbsync(MigrationTest):
    """mbsync adds a header to every copy and gives it today's date: only its state tells that copies are the same."""

    program = "mbsync"

    def carries(self, flag):
        return flag.startswith("\\")

    def stores(self):
        text = ""
        for name in ("near", "far"):
            server = self.servers[name]
            text += (f"IMAPStore {name}\nHost 127.0.0.1\nPort {server.port}\nUser {server.username}\n"
                     f"PassCmd \"cat {self.scratch}/secret\"\nSSLType None\nAuthMechs LOGIN\n\n")
        self.write_private("secret", dovecot.PASSWORD + "\n")
        return text

    def configuration(self, channels=None, first=None):
        first = first if first is not None else f"SyncState {self.scratch}/mbsync/\nCreate Both\nExpunge Both\n\n"
        (self.scratch / "mbsync").mkdir(exist_ok=True)
        channels = channels or "Channel all\nFar :far:\nNear :near:\nPatterns *\n"
        return self.write_private(".mbsyncrc", first + self.stores() + channels)

    def command(self):
        return ["mbsync", "-q", "-c", self.scratch / ".mbsyncrc", "-a"]

    def import_all(self, *arguments, expect=0):
        return self.import_it("import-mbsync", self.scratch / ".mbsyncrc", "--state", self.state_path, "--output",
                              self.topology_path, *arguments, expect=expect)

    def assert_imported_in_agreement(self, messages):
        taken = self.import_all()
        self.assertEqual(taken["messages"], messages, taken)
        before = self.count()
        run = self.run_once()
        self.assert_nothing_moved(run)
        self.assertEqual(self.count(), before)
        again = self.run_once()
        self.assertEqual({replica["mailboxes_selected"] for replica in again.report["replicas"]}, {0}, again)
        return taken

    def test_nothing_is_copied_and_no_body_is_fetched(self):
        self.configuration()
        messages = self.fill()
        self.sync_with_tool()
        # mbsync leaves the messages that are marked \\Deleted on neither side.
        counts = self.count()
        self.assertEqual(counts["near"], counts["far"])
        self.assertGreater(counts["near"], messages * 0.7)
        taken = self.assert_imported_in_agreement(counts["near"])
        self.assertIn("policy {", taken["topology"])  # Remove None: deleted mailboxes are kept
        self.assert_changes_flow()

    def test_a_state_beside_the_channel_and_single_mailboxes_with_other_names(self):
        self.configuration(
            f"Channel inbox\nFar :far:\nNear :near:\nSync All\nExpunge Both\nSyncState {self.scratch}/mbsync/inbox-\n\n"
            "Channel other\nFar :far:Entwürfe\nNear :near:Drafts\nSync All\nExpunge Both\nCreate Both\n"
            f"SyncState {self.scratch}/mbsync/other-\n\n".replace("Entwürfe", "Entw&APw-rfe"), first="")
        with self.account("near") as near, self.account("far") as far:
            near.append_many("INBOX", [(mail.ordinary(number), "\\Seen", 1_700_000_000) for number in range(10)])
            far.create("Entwürfe")
            far.append_many("Entwürfe", [(content, "", 1_710_000_000) for content in HARD])
        self.sync_with_tool()
        taken = self.assert_imported_in_agreement(10 + len(HARD))
        self.assertIn('here: "Drafts"', taken["topology"])
        with self.account("near") as near:
            near.append("Drafts", mail.ordinary(77))
        self.run_once()
        with self.account("far") as far:
            self.assertEqual(len(far.messages("Entwürfe")), len(HARD) + 1)

    def test_one_way_and_without_expunge(self):
        self.configuration("Channel archive\nFar :far:\nNear :near:\nPatterns * !Trash\nSync Pull\n",
                           first=f"SyncState {self.scratch}/mbsync/\nCreate Near\n\n")
        with self.account("far") as far:
            far.append_many("INBOX", [(content, "\\Seen", 1_700_000_000) for content in HARD])
        self.sync_with_tool()
        taken = self.import_all()
        for expected in ("direction: A_TO_B", "deletes: KEEP", 'exclude: "Trash"'):
            self.assertIn(expected, taken["topology"])
        self.assertTrue(any("without Expunge" in warning for warning in taken["warnings"]), taken["warnings"])
        self.assert_nothing_moved(self.run_once())

    def test_what_has_no_counterpart_is_named_with_its_line(self):
        self.configuration(
            "MaildirStore disk\nPath ~/Mail/\n\nChannel home\nFar :far:\nNear :disk:\nPatterns *\n\n"
            "Channel all\nFar :far:\nNear :near:\nPatterns *\nMaxMessages 100\nCopyArrivalDate no\n\nGroup g all\n")
        lines = (self.scratch / ".mbsyncrc").read_text().splitlines()
        warnings = self.import_all()["warnings"]
        for what, where in (("is a Maildir", "Near :disk:"), ("maxmessages", "MaxMessages 100"), ("group g", "Group g all")):
            place = f".mbsyncrc:{lines.index(where) + 1}: "
            self.assertTrue(any(place in warning and what in warning for warning in warnings), (what, warnings))

    def test_an_interrupted_run_is_named_and_its_mailbox_recognised_by_headers(self):
        self.configuration()
        with self.account("near") as near:
            near.append_many("INBOX", [(mail.ordinary(number), "", 1_700_000_000) for number in range(5)])
        self.sync_with_tool()
        state = next((self.scratch / "mbsync").glob(":far:INBOX*INBOX"))
        state.with_name(state.name + ".journal").write_text("4\n")
        taken = self.import_all()
        self.assertTrue(any("interrupted" in warning for warning in taken["warnings"]), taken)
        self.run_once()
        self.assertEqual(self.count(), {"near": 5, "far": 5})
