"""Servers that lie: QRESYNC that does not tell all, fixed sets of keywords; and how the topology works round them."""

import re

import dovecot
import liar
import mail
from mesh import CONFLICTS, MeshTest


class LiesTest(MeshTest):
    def start(self, answer=None, command=None, extra=""):
        """"honest" and "liar", joined; the liar is a Dovecot behind a proxy."""
        self.server("honest")
        server = self.server("liar", compress=False, storage="maildir")
        self.proxy = liar.Liar(server.port, answer, command)
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
