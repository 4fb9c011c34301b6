"""Servers that lie: QRESYNC that does not tell all, fixed sets of keywords; and how the topology works round them."""

import re

import dovecot
import liar
import mail
from mesh import CONFLICTS, PARTIAL, MeshTest


class LiesTest(MeshTest):
    def start(self, answer=None, command=None, extra="", heads=False, settings=""):
        """"honest" and "liar", joined; the liar is a Dovecot behind a proxy."""
        self.server("honest")
        server = self.server("liar", compress=False, storage="maildir", settings=settings)
        self.proxy = liar.Liar(server.port, answer, command, heads)
        self.addCleanup(self.proxy.close)
        text = 'name: "test"\n'
        text += f'replica {{\n  name: "honest"\n{self.servers["honest"].endpoint()}}}\n'
        text += (f'replica {{\n  name: "liar"\n  imap {{ host: "127.0.0.1" port: {self.proxy.port} '
                 f'security: PLAINTEXT }}\n  auth {{ username: "liar" password: "{dovecot.PASSWORD}" }}\n{extra}}}\n')
        self.write_text(text + 'edge { a: "honest" b: "liar" }\n')

    def fill(self, count=20, flags="\\Seen"):
        with self.account("honest") as account:
            account.append_many("INBOX", [(mail.ordinary(number), flags, 1_700_000_000) for number in range(count)])
        self.run_once()
        self.check()

    def status(self):
        daemon = self.daemon()
        status = {}

        def settled():
            status.update(self.client("status", "--json", expect=None))
            return status.get("rounds", 0) and not status.get("syncing") and all(
                replica.get("state") == "UP" for replica in status["replicas"])

        self.wait_for(settled, "a round")
        daemon.stop()
        return next(replica for replica in status["replicas"] if replica["name"] == "liar")


class Resync(LiesTest):
    def change(self):
        """An expunge, flags and an arrival at the liar: what a client does there directly."""
        with self.account("liar") as account:
            uids = account.uids("INBOX")
            account.expunge("INBOX", uids[2:5])
            account.store("INBOX", uids[0], "+FLAGS", "\\Flagged")
            account.append("INBOX", mail.ordinary(100), "", 1_700_000_000)
        return mail.snapshot(self.servers["liar"])

    def test_without_vanished_the_mailbox_is_compared_in_full(self):
        self.start(answer=lambda line: b"" if line.startswith(b"* VANISHED (EARLIER)") else line)
        self.fill()
        expected = self.change()
        run = self.run_once()
        self.check(expected)
        self.assertIn("did not tell of 3 expunged messages", run.output)

    def test_a_highestmodseq_that_goes_back_is_no_base_for_changes(self):
        lying = []

        def answer(line):
            if not lying:
                return line
            line = re.sub(rb"OK \[HIGHESTMODSEQ \d+", b"OK [HIGHESTMODSEQ 1", line)  # of SELECT; STATUS tells the truth
            return b"" if line.startswith(b"* VANISHED (EARLIER)") else line

        self.start(answer=answer)
        self.fill()
        lying.append(True)
        expected = self.change()
        run = self.run_once()
        self.check(expected)
        self.assertIn("HIGHESTMODSEQ went back", run.output)
        with self.account("liar") as account:
            account.store("INBOX", account.uids("INBOX")[1], "+FLAGS", "\\Answered")
            account.append("INBOX", mail.ordinary(101), "", 1_700_000_000)
        expected = mail.snapshot(self.servers["liar"])
        self.run_once()
        self.check(expected)

    def test_no_modseqs_though_qresync_is_enabled(self):
        self.start(answer=lambda line: re.sub(rb"\* OK \[HIGHESTMODSEQ \d+\]", b"* OK [NOMODSEQ]",
                                              re.sub(rb" HIGHESTMODSEQ \d+", b"", line)
                                              if line.startswith(b"* STATUS") else line))
        self.fill()
        expected = self.change()
        self.run_once()
        self.check(expected)
        self.assertIn("NOMODSEQ", " ".join(self.status()["quirks"]))

    def test_a_wiped_mailbox_without_vanished_is_held_by_the_brake(self):
        self.start(answer=lambda line: b"" if line.startswith(b"* VANISHED (EARLIER)") else line)
        self.fill(80)
        expected = mail.snapshot(self.servers["honest"])
        with self.account("liar") as account:
            account.expunge("INBOX", account.uids("INBOX")[:70])
        self.run_once(expect=CONFLICTS)
        self.assertEqual(mail.snapshot(self.servers["honest"]), expected)


class OneUidvalidity(LiesTest):
    """A server that has one UIDVALIDITY for all mailboxes and keeps it through a rename, and tells no identity."""

    MAILBOXES = ("Work", "Work/2023", "Home")

    @staticmethod
    def answer(line):
        return re.sub(rb"\b(UIDVALIDITY|APPENDUID|COPYUID) \d+", rb"\1 7", line)

    def setUp(self):
        super().setUp()
        self.start(self.answer, extra='  ignore_capabilities: "QRESYNC"\n', settings="imap_id_send = name Other\n")
        with self.account("honest") as account:
            for mailbox in self.MAILBOXES:
                account.create(mailbox)
                account.append_many(mailbox, [(mail.ordinary(number, mailbox), "", 1_700_000_000 + number)
                                              for number in range(6)])
        self.run_once()
        self.expected = self.check()

    def assert_carried(self):
        run = self.run_once()
        for replica in run.report["replicas"]:
            self.assertEqual((replica["messages_fetched"], replica["messages_appended"],
                              replica["messages_copied_server_side"]), (0, 0, 0), run)
        self.check(self.expected)
        self.assert_quiet(self.expected)

    def test_a_rename_with_children(self):
        with self.account("liar") as account:
            account.rename("Work", "Job")
        for name in ("Work", "Work/2023"):
            self.expected[name.replace("Work", "Job")] = self.expected.pop(name)
        self.assert_carried()

    def test_one_that_was_deleted_gives_its_name_to_another(self):
        with self.account("liar") as account:
            account.delete("Home")
            account.rename("Work/2023", "Home")
        self.expected["Home"] = self.expected.pop("Work/2023")
        self.assert_carried()


class OneUidvalidityWithIdentity(LiesTest):
    def test_a_mailbox_made_anew_is_not_taken_for_the_old_one(self):
        self.start(OneUidvalidity.answer, extra='  ignore_capabilities: "QRESYNC"\n')
        with self.account("honest") as account:
            account.create("Home")
            account.append_many("Home", [(mail.ordinary(number), "", 1_700_000_000) for number in range(6)])
        self.run_once()
        self.check()
        with self.account("liar") as account:
            account.delete("Home")
            account.create("Home")
            account.append_many("Home", [(mail.ordinary(number, "new"), "", 1_700_000_000) for number in range(6)])
        self.run_once()
        found = {message.digest for message in self.check()["Home"]}
        self.assertTrue({mail.digest(mail.ordinary(number, "new")) for number in range(6)} <= found)
        self.assert_quiet()


class IgnoredCapabilities(LiesTest):
    def test_what_is_ignored_is_not_used_and_status_says_so(self):
        sent = []

        def command(line):
            sent.append(line.upper())
            return line

        self.start(command=command, extra='  ignore_capabilities: "qresync"\n  ignore_capabilities: "MOVE"\n')
        self.fill()
        with self.account("honest") as account:
            account.create("Work")
            account.move("INBOX", account.uids("INBOX")[:5], "Work")
            account.expunge("INBOX", account.uids("INBOX")[:1])
        expected = mail.snapshot(self.servers["honest"])
        self.run_once()
        self.check(expected)
        replica = self.status()
        self.assertEqual(replica["tier"], "CONDSTORE")
        self.assertIn("MOVE, QRESYNC", " ".join(replica["quirks"]))
        self.assertNotIn("QRESYNC", replica["capabilities"])
        self.assertFalse([line for line in sent if b"QRESYNC" in line or b" MOVE " in line])

    def test_a_server_that_was_remembered_with_them(self):
        self.start()
        self.fill()
        text = self.topology_path.read_text()
        self.write_text(text.replace('  name: "liar"\n', '  name: "liar"\n  ignore_capabilities: "CONDSTORE"\n'))
        with self.account("liar") as account:
            account.store("INBOX", account.uids("INBOX")[0], "+FLAGS", "\\Flagged")
        expected = mail.snapshot(self.servers["liar"])
        self.run_once()
        self.check(expected)
        self.assertEqual(self.status()["tier"], "PLAIN")


class Keywords(LiesTest):
    """A server that keeps $Label1 and $Label2 and no other keyword: it takes what it is told, and forgets."""

    LABELS = (b"$Label1", b"$Label2")

    def answer(self, line):
        if b"[PERMANENTFLAGS" in line:
            return b"* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Label1 $Label2)] Limited\r\n"
        return line

    def command(self, line):
        store = re.match(rb"(\S+ UID STORE \S+ (?:\(.*?\) )?[+-]FLAGS(?:\.SILENT)? )\((.*)\)\r\n$", line)
        append = re.match(rb"(\S+ APPEND \S+ )\((.*?)\)( .*)$", line, re.DOTALL)
        found = store or append
        if not found:
            return line
        kept = [flag for flag in found.group(2).split() if flag.startswith(b"\\") or flag in self.LABELS]
        return found.group(1) + b"(" + b" ".join(kept) + b")" + (
            b"\r\n" if store else found.group(3))

    def flags(self, name):
        return sorted(sorted(message.flags) for message in mail.snapshot(self.servers[name])["INBOX"])

    def test_a_fixed_set_of_keywords(self):
        self.start(self.answer, self.command)
        self.fill(3)
        with self.account("honest") as account:
            account.store("INBOX", account.uids("INBOX"), "+FLAGS", "$Label1 Other")
        self.run_once()
        self.assertEqual(self.flags("liar"), [["$label1", "\\seen"]] * 3)
        self.assertEqual(self.flags("honest"), [["$label1", "\\seen", "other"]] * 3)
        with self.account("liar") as account:
            account.store("INBOX", account.uids("INBOX"), "-FLAGS", "$Label1 \\Seen")
        self.run_once()
        self.assertEqual(self.flags("honest"), [["other"]] * 3)

    def test_keyword_map_joins_other_names_both_ways(self):
        self.start(self.answer, self.command, extra='  keyword_map { mesh: "Work" here: "$Label1" }\n'
                                                    '  keyword_map { mesh: "Home" here: "$Label2" }\n')
        self.fill(3)
        with self.account("honest") as account:
            account.store("INBOX", account.uids("INBOX"), "+FLAGS", "Work $Label1")
        self.run_once()
        self.assertEqual(self.flags("liar"), [["$label1", "\\seen"]] * 3)
        # The mesh's own $Label1 has no name there: it is kept for the others.
        self.assertEqual(self.flags("honest"), [["$label1", "\\seen", "work"]] * 3)
        with self.account("liar") as account:
            account.store("INBOX", account.uids("INBOX"), "-FLAGS", "$Label1")
            account.store("INBOX", account.uids("INBOX"), "+FLAGS", "$Label2")
        self.run_once()
        self.assertEqual(self.flags("honest"), [["$label1", "\\seen", "home"]] * 3)
        self.run_once()
        self.assertEqual(self.flags("liar"), [["$label2", "\\seen"]] * 3)


class Recent(LiesTest):
    def test_is_never_stored_nor_carried(self):
        """\\Recent is the server's own (RFC 3501 section 2.3.2), set on all that is new."""
        sent, told = [], []

        def command(line):
            sent.append(line)
            return line

        def answer(line):
            told.append(line)
            return line

        self.start(answer, command, heads=True)
        with self.account("liar") as account:
            account.append("INBOX", mail.ordinary(1), "\\Flagged", 1_700_000_000)
        self.fill(3)
        with self.account("honest") as account:
            account.append("INBOX", mail.ordinary(10), "", 1_700_000_000)
        self.run_once()
        self.check()
        self.assertTrue([line for line in told if b"FETCH" in line and b"\\Recent" in line], "the server told of it")
        self.assertFalse([line for line in sent if b"recent" in line.lower()])
        daemon = self.daemon()
        self.wait_for(lambda: self.client("--json", "status").get("converged"), "convergence")
        for number in (0, 1, 10):
            traced = self.client("--json", "trace", f"<{number}.0@generated.example>")
            self.assertNotIn("ecent", str(traced))
        daemon.stop()
        self.assert_quiet()


class Sizes(LiesTest):
    """A server that counts a line's end as one byte in RFC822.SIZE, and sends two."""

    def answer(self, line):
        return re.sub(rb"RFC822\.SIZE (\d+)", lambda found: b"RFC822.SIZE %d" % (int(found.group(1)) - 8), line)

    def test_what_both_hold_is_adopted(self):
        self.start(self.answer, heads=True)
        contents = [mail.ordinary(number) for number in range(10)] + mail.broken()[:2]
        for name in ("honest", "liar"):
            with self.account(name) as account:
                account.append_many("INBOX", [(content, "", 1_700_000_000) for content in contents])
        run = self.run_once()
        self.assertEqual([replica["messages_appended"] for replica in run.report["replicas"]], [0, 0], run)
        self.check()
        with self.account("honest") as account:
            account.append("INBOX", mail.ordinary(100), "", 1_700_000_000)
            account.expunge("INBOX", account.uids("INBOX")[3])
        expected = mail.snapshot(self.servers["honest"])
        self.run_once()
        self.check(expected)
        self.assert_quiet(expected)


class InAnyCase(LiesTest):
    """A server that takes names that differ in case for one."""

    def command(self, line):
        self.names = getattr(self, "names", {})

        def known(found):
            return b'"' + self.names.setdefault(found.group(1).lower(), found.group(1)) + b'"'

        return re.sub(rb'"([A-Za-z]+)"', known, line)

    def test_the_second_of_two_names_is_a_problem_there_and_both_are_kept_elsewhere(self):
        self.start(command=self.command, heads=True)
        self.server("third")
        text = self.topology_path.read_text()
        self.write_text(text + f'replica {{\n  name: "third"\n{self.servers["third"].endpoint()}}}\n'
                               'edge { a: "honest" b: "third" }\n')
        with self.account("liar") as account:
            account.create("Work")
            account.append("Work", mail.ordinary(1), "", 1_700_000_000)
        self.run_once()
        with self.account("third") as account:
            account.create("work")
            account.append("work", mail.ordinary(2), "", 1_700_000_000)
        run = self.run_once(expect=PARTIAL)
        found = {name: {mailbox: {message.digest for message in messages} for mailbox, messages in each.items()}
                 for name, each in self.snapshots().items()}
        one, two = {mail.digest(mail.ordinary(1))}, {mail.digest(mail.ordinary(2))}
        for name in ("honest", "third"):
            self.assertEqual((found[name]["Work"], found[name]["work"]), (one, two))
        self.assertEqual(found["liar"], {"INBOX": set(), "Work": one})
        self.assertEqual(run.report["refused"], 1, run)
        daemon = self.daemon()
        self.wait_for(lambda: self.client("--json", "status", expect=None).get("rounds"), "a round")
        problem, = self.client("--json", "status", expect=None)["problems"]
        daemon.stop()
        self.assertEqual((problem["replica"], problem["mailbox"], problem["operation"]), ("liar", "work", "CREATE"))
