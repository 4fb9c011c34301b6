"""What servers cannot or may not store: flags, and messages where the account lacks rights (RFC 4314, READ-ONLY)."""

import contextlib
import imaplib
import pathlib
import unittest

import cyrus
import dovecot
import mail
from mesh import CONVERGED, PARTIAL, MeshTest

ALL = "lrwstipekxa"


def without(rights):
    return "".join(right for right in ALL if right not in rights)


class LimitsTest(MeshTest):
    """"free" and "far" store everything; "bound" is a Dovecot whose mailboxes have the rights that a test gives them.

    They stand in a chain, with "bound" in the middle: what it cannot store must pass through.
    """

    def start(self):
        self.acls = self.scratch / "acls"
        self.acls.mkdir()
        self.acls.chmod(0o755)
        self.server("free")
        self.server("bound", settings=f"""
mail_plugins = acl zlib
plugin {{
  acl = vfile:{self.acls}:cache_secs=0
}}
protocol imap {{
  mail_plugins = acl imap_acl zlib imap_zlib
}}
""", storage="maildir")
        self.server("far")
        self.write_topology([("free", "bound"), ("bound", "far")])

    def give(self, mailbox, rights):
        path = self.acls / mailbox
        path.write_text(f"owner {rights}\n")
        path.chmod(0o644)

    def fill(self, mailbox="Work", count=4):
        with self.account("free") as account:
            account.create(mailbox)
            account.append_many(mailbox, [(mail.ordinary(number, mailbox), "\\Seen", 1_700_000_000)
                                          for number in range(count)])
        self.run_once()
        self.check()

    def flags(self, name, mailbox="Work"):
        """Of each message, in the order of content."""
        return [sorted(message.flags) for message in mail.snapshot(self.servers[name])[mailbox]]

    def store(self, name, change, flags, mailbox="Work"):
        with self.account(name) as account:
            account.store(mailbox, account.uids(mailbox), change, flags)

    def problems(self):
        daemon = self.daemon()
        found = {}

        def settled():
            found.update(self.client("status", "--json", expect=None))
            return found.get("rounds", 0) and not found.get("syncing") and all(
                replica.get("state") == "UP" for replica in found["replicas"])

        self.wait_for(settled, "a round")
        daemon.stop()
        return found.get("problems", [])

    def assert_nothing_is_tried(self, run, expect_selected=None):
        for replica in run.report["replicas"]:
            self.assertEqual((replica["messages_appended"], replica["messages_fetched"], replica["flags_changed"],
                              replica["messages_expunged"]), (0, 0, 0, 0), run)


class Flags(LimitsTest):
    def test_what_a_server_does_not_keep_is_kept_for_the_others_and_stored_later(self):
        self.start()
        self.fill()
        self.give("Work", without("w"))  # PERMANENTFLAGS (\Deleted \Seen)
        self.store("free", "+FLAGS", "\\Flagged $Work")
        self.store("free", "-FLAGS", "\\Seen")
        self.run_once()
        self.assertEqual(self.flags("far"), [["$work", "\\flagged"]] * 4)
        self.assertEqual(self.flags("bound"), [[]] * 4)  # \Seen can be taken away, nothing else stored
        self.assertEqual(self.flags("free"), [["$work", "\\flagged"]] * 4)

        self.assert_nothing_is_tried(self.run_once())
        problem, = [problem for problem in self.problems() if problem["replica"] == "bound"]
        self.assertEqual((problem["mailbox"], problem["operation"]), ("Work", "STORE"))
        self.assertIn("$Work", problem["answer"])
        self.assertIn("\\Flagged", problem["answer"])
        self.assertIn("4 messages", problem["message"])

        self.give("Work", ALL)
        self.run_once()
        self.check()
        self.assertEqual(self.flags("bound"), [["$work", "\\flagged"]] * 4)
        self.assertEqual(self.problems(), [])
        self.assert_quiet()

    def test_new_mail_arrives_without_the_flags_that_cannot_be_kept(self):
        self.start()
        self.fill()
        self.give("Work", without("ws"))
        with self.account("free") as account:
            account.append("Work", mail.ordinary(100), "\\Seen \\Answered $Forwarded", 1_700_000_100)
        self.run_once()
        of_new = {name: [sorted(message.flags) for message in mail.snapshot(self.servers[name])["Work"]
                         if message.digest == mail.digest(mail.ordinary(100))] for name in self.servers}
        self.assertEqual(of_new, {"free": [["$forwarded", "\\answered", "\\seen"]], "bound": [[]],
                                  "far": [["$forwarded", "\\answered", "\\seen"]]})
        self.assert_nothing_is_tried(self.run_once())

    def test_flags_that_vanish_with_new_limits_are_nobodys_removal_and_real_removals_pass(self):
        self.start()
        self.fill()
        self.store("free", "+FLAGS", "Keep Drop")
        self.run_once()
        self.check()
        self.give("Work", without("w"))
        self.store("far", "-FLAGS", "Drop")
        self.run_once()
        self.assertEqual(self.flags("free"), [["\\seen", "keep"]] * 4)
        self.assertEqual(self.flags("bound"), [["\\seen", "drop", "keep"]] * 4)  # neither can be taken away there
        self.give("Work", ALL)
        self.store("bound", "-FLAGS", "Keep")  # somebody's
        self.run_once()
        self.check()
        self.assertEqual(self.flags("bound"), [["\\seen"]] * 4)
        self.assert_quiet()

    def test_trace_and_plan_tell(self):
        self.start()
        self.fill(count=1)
        self.give("Work", without("w"))
        self.run_once()
        daemon = self.daemon()
        with self.account("free") as account:
            account.append("Work", mail.ordinary(7, message_id="<limited@generated.example>"), "$Work", 1_700_000_000)
        self.wait_for(lambda: len(mail.snapshot(self.servers["far"])["Work"]) == 2, "the message")

        def because():
            traced = self.client("--json", "trace", "limited@generated.example")
            return {copy["replica"]: copy["because"] for copy in traced["messages"][0]["copies"]}

        self.wait_for(lambda: "not storable here: +$Work" in because()["bound"], "the reason")
        self.assertNotIn("not storable", because()["far"])
        daemon.stop()

    def test_the_27th_keyword_of_a_maildir_is_kept_by_the_index(self):
        self.start()
        self.fill(count=1)
        keywords = [f"keyword{number:02}" for number in range(40)]
        self.store("free", "+FLAGS", " ".join(keywords))
        self.run_once()
        self.check()
        self.assertEqual(self.flags("bound"), [["\\seen"] + keywords])
        self.assert_quiet()


class Keywords(MeshTest):
    """A keyword is an atom (RFC 3501 section 9): tags of notmuch and the like make use of that."""

    NAMES = ["to/do", "a.b:c", "$MDNSent", "$Forwarded", "#1", "x=y&z", "under_score", "'quoted'", "<angle>", "50" * 25]

    def test_of_any_name_survive(self):
        self.triangle({"storage": "sdbox"}, {"storage": "maildir"}, {"storage": "mbox"})
        with self.account("laptop") as account:
            for number, name in enumerate(self.NAMES):
                account.append("INBOX", mail.ordinary(number), name, 1_700_000_000)
        self.run_once()
        with self.account("server") as account:
            account.store("INBOX", account.uids("INBOX")[0], "+FLAGS", " ".join(self.NAMES))
        self.run_once()
        found = self.check()
        self.assertEqual(set().union(*(message.flags for message in found["INBOX"])),
                         {name.lower() for name in self.NAMES})
        self.assert_quiet(found)

    def test_one_that_is_too_long_for_a_server_is_kept_for_the_others(self):
        """Dovecot answers NO [CANNOT] beyond mail_max_keyword_length, though PERMANENTFLAGS has \\*."""
        for name in ("free", "bound", "far"):
            self.server(name, settings="" if name == "bound" else "mail_max_keyword_length = 100\n")
        self.write_topology([("free", "bound"), ("bound", "far")])
        long = "l" * 80
        with self.account("free") as account:
            account.append_many("INBOX", [(mail.ordinary(number), "", 1_700_000_000) for number in range(3)])
        self.run_once()
        with self.account("free") as account:
            account.store("INBOX", account.uids("INBOX")[0], "+FLAGS", f"{long} short")
            account.append("INBOX", mail.ordinary(3), long, 1_700_000_000)
        run = self.run_once(expect=PARTIAL)
        flags = {name: sorted(sorted(message.flags) for message in found["INBOX"] if message.flags)
                 for name, found in self.snapshots().items()}
        self.assertEqual(flags["free"], [[long], [long, "short"]])
        self.assertEqual(flags["far"], flags["free"])
        self.assertEqual(flags["bound"], [["short"]], run)  # what can be stored is
        self.assertEqual(run.report["refused"], 2, run)
        self.assertEqual(len(mail.snapshot(self.servers["bound"])["INBOX"]), 4)
        again = self.run_once(expect=PARTIAL)
        self.assertLess(again.replica("bound")["commands"], 40, again)
        self.assertEqual(sorted(sorted(message.flags) for message in mail.snapshot(self.servers["free"])["INBOX"]
                                if message.flags), [[long], [long, "short"]])


class Rights(LimitsTest):
    def test_a_read_only_mailbox_is_a_source_of_mail_only(self):
        self.start()
        self.fill()
        with self.account("bound") as account:
            account.append("Work", mail.ordinary(50), "$Own", 1_700_000_100)
        self.give("Work", "lr")
        with self.account("free") as account:
            account.append("Work", mail.ordinary(51), "", 1_700_000_200)
            account.expunge("Work", account.find("Work", mail.digest(mail.ordinary(0, "Work"))))
        run = self.run_once(expect=PARTIAL)
        digests = {name: {message.digest for message in mail.snapshot(self.servers[name])["Work"]}
                   for name in self.servers}
        self.assertEqual(digests["free"], digests["far"])
        self.assertIn(mail.digest(mail.ordinary(50)), digests["free"])
        self.assertNotIn(mail.digest(mail.ordinary(51)), digests["bound"])
        self.assertIn(mail.digest(mail.ordinary(0, "Work")), digests["bound"])
        self.assertEqual(run.report["refused"], 2, run)

        again = self.run_once(expect=PARTIAL)
        self.assert_nothing_is_tried(again)
        problems = {problem["operation"]: problem for problem in self.problems()}
        self.assertIn("read-only", problems["APPEND"]["answer"])
        self.assertIn("read-only", problems["EXPUNGE"]["answer"])

        self.give("Work", ALL)
        self.run_once()
        self.check()
        self.assert_quiet()

    def test_without_the_right_to_add_the_rest_goes_on(self):
        self.start()
        self.fill()
        self.fill("Home")
        self.give("Work", without("i"))
        with self.account("free") as account:
            for mailbox in ("Work", "Home"):
                account.append_many(mailbox, [(mail.ordinary(number, "more"), "", 1_700_000_000)
                                              for number in range(30)])
            account.store("Work", account.uids("Work")[0], "+FLAGS", "\\Flagged")
        run = self.run_once(expect=PARTIAL)
        self.assertLess(run.replica("bound")["commands"], 40, run)  # one attempt, not thirty
        self.assertEqual(len(self.flags("bound", "Home")), 34)
        self.assertEqual(len(self.flags("far", "Work")), 34)
        self.assertEqual(sum("\\flagged" in flags for flags in self.flags("bound")), 1)
        problem, = self.problems()
        self.assertIn("30 messages", problem["message"])
        self.assertIn("NOPERM", problem["answer"])
        self.give("Work", ALL)
        self.run_once()
        self.check()
        self.assert_quiet()

    def test_rights_that_are_given_are_noticed_by_a_daemon(self):
        self.start()
        self.write_text(self.topology_path.read_text() + "policy { poll_interval_s: 1 }\n")
        self.fill()
        self.give("Work", without("iw"))
        self.daemon()
        with self.account("free") as account:
            account.append("Work", mail.ordinary(100), "", 1_700_000_100)
            account.store("Work", account.uids("Work")[0], "+FLAGS", "$Work")
        self.wait_for(lambda: len(self.client("--json", "status").get("problems", [])) == 2, "the problems")
        self.give("Work", ALL)
        self.wait_for(lambda: not self.client("--json", "status").get("problems"), "none any more", limit_s=60)
        self.wait_for(lambda: self.client("--json", "status").get("converged"), "convergence")
        self.check()
        self.assertIn(["$work", "\\seen"], self.flags("bound"))

    def test_an_expunge_that_is_ignored_is_not_taken_for_done(self):
        self.start()
        self.fill()
        self.give("Work", without("e"))  # Dovecot: "OK Expunge ignored: Permission denied"
        with self.account("free") as account:
            account.expunge("Work", account.uids("Work")[:2])
        self.run_once(expect=PARTIAL)
        self.assertEqual((len(self.flags("far")), len(self.flags("bound"))), (2, 4))
        self.assertEqual(self.flags("bound"), [["\\seen"]] * 4)  # not left marked
        self.run_once(expect=PARTIAL)
        self.assertEqual((len(self.flags("free")), len(self.flags("bound"))), (2, 4))
        self.give("Work", ALL)
        self.run_once()
        self.check()
        self.assertEqual(len(self.flags("bound")), 2)
        self.assert_quiet()

    def test_without_the_right_to_mark_deleted(self):
        self.start()
        self.fill()
        self.give("Work", without("t"))
        with self.account("far") as account:
            account.expunge("Work", account.uids("Work")[:1])
        self.run_once(expect=PARTIAL)
        self.assertEqual((len(self.flags("free")), len(self.flags("bound"))), (3, 4))
        self.assert_nothing_is_tried(self.run_once(expect=PARTIAL))
        self.give("Work", ALL)
        self.run_once()
        self.check()


class CyrusRights(MeshTest):
    """Cyrus says READ-WRITE with PERMANENTFLAGS (), and "NO Permission denied" without a code."""

    def setUp(self):
        super().setUp()
        if not cyrus.available():
            raise unittest.SkipTest("Cyrus is not unpacked (tools/install_packages)")
        self.server("free")
        bound = cyrus.Cyrus("bound", self.scratch / "bound")
        self.addCleanup(bound.stop)
        self.servers["bound"] = bound
        self.write_topology([("free", "bound")])
        with self.account("free") as account:
            account.create("Work")
            account.append_many("Work", [(mail.ordinary(number), "", 1_700_000_000) for number in range(4)])
        self.run_once()
        self.check()

    def give(self, rights):
        admin = imaplib.IMAP4("127.0.0.1", self.servers["bound"].port)
        admin.login("admin", dovecot.PASSWORD)
        typ, answer = admin.setacl("user/bound/Work", "bound", rights)
        self.assertEqual(typ, "OK", answer)
        admin.logout()

    def test_rights_that_go_and_come_back(self):
        self.give("lrs")
        with self.account("free") as account:
            uids = account.uids("Work")
            account.store("Work", uids, "+FLAGS", "\\Seen \\Flagged Label")
            account.append("Work", mail.ordinary(100), "", 1_700_000_000)
            account.expunge("Work", uids[0])
        self.run_once(expect=PARTIAL)
        found = mail.snapshot(self.servers["bound"])["Work"]
        self.assertEqual([sorted(message.flags) for message in found], [["\\seen"]] * 3 + [[]]
                         if not found[-1].flags else [sorted(message.flags) for message in found])
        self.assertEqual(len(mail.snapshot(self.servers["free"])["Work"]), 4)
        self.give("lrswipkxtecda")
        self.run_once()
        self.check()
        self.assert_quiet()
