"""Names of mailboxes that clash, and INBOX: what RFC 3501 makes of it when it is renamed, and its children."""

import unicodedata

import courier
import cyrus
import mail
from mesh import CONFLICTS, MeshTest


class NamesTest(MeshTest):
    def setUp(self):
        super().setUp()
        self.start()
        self.accounts = {name: self.account(name) for name in self.servers}

    def start(self):
        self.triangle({"separator": "."}, {"separator": "/"}, {"separator": "/"})

    def put(self, name, mailbox, numbers, seed=0, flags=""):
        account = self.accounts[name]
        if mailbox not in account.mailboxes():
            account.create(mailbox)
        account.append_many(mailbox, [(mail.ordinary(number, seed), flags, 1_700_000_000 + number)
                                      for number in numbers])

    def conflicts(self):
        daemon = self.daemon()
        listed = self.client("--json", "conflicts", "list", expect=None)
        daemon.stop()
        return listed.get("conflicts", [])


class RenamedInbox(NamesTest):
    """RFC 3501 section 6.3.5: RENAME of INBOX moves its messages into the new mailbox and leaves INBOX empty."""

    def start(self):
        """Of Dovecot's storages only sdbox renames an INBOX; a Maildir refuses, in both layouts."""
        self.server("laptop", storage="sdbox")
        self.server("desktop", storage="maildir", separator="/")
        self.server("server", storage="maildir", separator=".")
        self.write_topology([("laptop", "server"), ("laptop", "desktop"), ("desktop", "server")])

    def test_the_messages_move_and_the_brake_does_not_hold(self):
        self.put("laptop", "INBOX", range(80), flags="\\Seen")
        self.run_once()
        before = self.check()
        self.accounts["laptop"].rename("INBOX", "Old mail")
        run = self.run_once()
        found = self.check()
        self.assertEqual(found["Old mail"], before["INBOX"])
        self.assertEqual(found["INBOX"], [])
        for replica in run.report["replicas"]:  # the servers moved them
            self.assertEqual((replica["messages_fetched"], replica["messages_appended"]), (0, 0), run)
        self.assertEqual(self.conflicts(), [])
        self.assert_quiet(found)

    def test_with_mail_that_arrives_everywhere_meanwhile(self):
        self.put("desktop", "INBOX", range(20))
        self.run_once()
        self.accounts["laptop"].rename("INBOX", "Old mail")
        for number, name in enumerate(self.servers):
            self.put(name, "INBOX", [100 + number])
        self.run_once()
        found = self.check()
        self.assertEqual((len(found["Old mail"]), len(found["INBOX"])), (20, 3))
        self.assert_quiet(found)

    def test_what_was_deleted_and_changed_before_the_next_look(self):
        self.put("server", "INBOX", range(10))
        self.run_once()
        laptop = self.accounts["laptop"]
        laptop.rename("INBOX", "Old mail")
        laptop.expunge("Old mail", laptop.uids("Old mail")[0])
        laptop.store("Old mail", laptop.uids("Old mail")[0], "+FLAGS", "\\Flagged")
        self.run_once()
        found = self.check()
        self.assertEqual((len(found["Old mail"]), found["INBOX"]), (9, []))
        self.assertEqual([sorted(message.flags) for message in found["Old mail"] if message.flags], [["\\flagged"]])
        self.assert_quiet(found)

    def test_under_the_running_daemon(self):
        self.put("server", "INBOX", range(5))
        self.run_once()
        self.daemon()
        self.wait_for(lambda: self.client("--json", "status").get("converged"), "convergence")
        self.accounts["laptop"].rename("INBOX", "Old mail")
        self.wait_for(lambda: all("Old mail" in account.mailboxes() and len(account.uids("Old mail")) == 5
                                  and not account.uids("INBOX") for account in self.accounts.values()), "the move")
        # Dovecot answers "Mailbox was deleted under us" to a SELECT in that instant: listed, and over with the next look.
        self.wait_for(lambda: self.client("sync", expect=None).code == 0, "a sync without a problem")
        self.check()


class RenamedInboxWithoutIdentity(RenamedInbox):
    """The same where no server tells what a mailbox was called before: by its UIDVALIDITY and what is in it."""

    def start(self):
        other = "imap_id_send = name Other\n"
        self.server("laptop", storage="sdbox", settings=other)
        self.server("desktop", storage="maildir", settings=other)
        self.server("server", storage="sdbox", settings=other)
        self.write_topology([("laptop", "server"), ("laptop", "desktop"), ("desktop", "server")])


class RenamedInboxElsewhere(NamesTest):
    """Cyrus 3.6 dies of a RENAME of INBOX, Courier refuses it: neither is told to."""

    def start(self):
        self.server("laptop", storage="sdbox")
        for name, kind in (("cyrus", cyrus), ("courier", courier)):
            if not kind.available():
                self.skipTest(f"{name} is not unpacked (tools/install_packages)")
            server = getattr(kind, name.title())(name, self.scratch / name)
            self.addCleanup(server.stop)
            self.servers[name] = server
        self.write_topology([("laptop", "cyrus"), ("laptop", "courier")])

    def test_the_messages_move(self):
        self.put("laptop", "INBOX", range(12), flags="\\Seen")
        self.run_once()
        before = self.check()
        self.accounts["laptop"].rename("INBOX", "Old mail")
        self.run_once()
        found = self.check()
        self.assertEqual((found["Old mail"], found["INBOX"]), (before["INBOX"], []))


class InboxChildren(NamesTest):
    def test_they_are_mailboxes_like_others(self):
        self.put("server", "INBOX/Work", range(3))
        self.put("laptop", "INBOX/Work/Deep", range(3), seed=1)
        self.run_once()
        found = self.check()
        self.assertEqual((len(found["INBOX/Work"]), len(found["INBOX/Work/Deep"])), (3, 3))
        self.assert_quiet(found)
        self.accounts["desktop"].rename("INBOX/Work", "INBOX/Job")
        self.run_once()
        moved = self.check()
        self.assertEqual((moved["INBOX/Job"], moved["INBOX/Job/Deep"]), (found["INBOX/Work"], found["INBOX/Work/Deep"]))
        self.assertNotIn("INBOX/Work", moved)
        self.accounts["laptop"].delete("INBOX/Job/Deep")
        self.run_once()
        self.assertNotIn("INBOX/Job/Deep", self.check())
        self.assert_quiet()


class Spellings(NamesTest):
    NFC = unicodedata.normalize("NFC", "Entwürfe")
    NFD = unicodedata.normalize("NFD", "Entwürfe")

    def test_one_name_in_two_spellings_made_on_two_replicas_is_a_recorded_conflict(self):
        self.put("laptop", self.NFC, range(3))
        self.put("server", self.NFD, range(3, 5))
        self.run_once()
        found = self.check()
        self.assertEqual((len(found[self.NFC]), len(found[self.NFD])), (3, 2))
        self.assert_quiet(found)
        conflict, = self.conflicts()
        self.assertEqual((conflict["kind"], conflict.get("open", False)), ("MAILBOX_TWO_SPELLINGS", False))
        self.assertIn("both are kept", conflict["outcome"])

    def test_names_that_differ_in_case(self):
        self.put("laptop", "Projects", range(3))
        self.put("server", "projects", range(3, 5))
        self.run_once()
        found = self.check()
        self.assertEqual((len(found["Projects"]), len(found["projects"])), (3, 2))
        conflict, = self.conflicts()
        self.assertEqual(conflict["kind"], "MAILBOX_TWO_SPELLINGS")
        self.assert_quiet(found)


class EscapedNames(NamesTest):
    def test_status_shows_what_a_mailbox_is_called_where_its_name_is_illegal(self):
        self.put("server", "v1.2", range(2))
        self.run_once()
        daemon = self.daemon()
        self.wait_for(lambda: self.client("--json", "status", expect=None).get("converged"), "convergence")
        status = self.client("--json", "status")
        text = self.client("status").output
        daemon.stop()
        mailbox = next(each for each in status["mailboxes"] if each["mailbox"] == "v1.2")
        self.assertEqual({copy["replica"]: copy["name_here"] for copy in mailbox["copies"]},
                         {"laptop": "v1=2E2", "desktop": "v1.2", "server": "v1.2"})
        self.assertIn("v1=2E2", text)


class Gone(NamesTest):
    """A mailbox of many messages deleted at one replica: held until somebody decides."""

    def delete_home(self):
        self.put("server", "Home", range(60))
        self.run_once()
        before = self.check()
        self.accounts["laptop"].delete("Home")
        self.run_once(expect=CONFLICTS)
        conflict, = self.conflicts()
        self.assertEqual(conflict["kind"], "MAILBOX_GONE")
        return before, str(conflict["id"])

    def decide(self, number, decision):
        daemon = self.daemon()
        self.client("conflicts", "resolve", number, decision)
        self.wait_for(lambda: self.client("--json", "status", expect=None).get("converged"), "convergence")
        daemon.stop()

    def test_approved_it_is_deleted_everywhere(self):
        before, number = self.delete_home()
        self.decide(number, "--approve")
        del before["Home"]
        self.check(before)
        self.assert_quiet(before)

    def test_rejected_it_is_put_back(self):
        before, number = self.delete_home()
        self.decide(number, "--reject")
        self.check(before)
        self.assert_quiet(before)

    def test_while_it_is_held_new_mail_elsewhere_is_not_lost(self):
        before, number = self.delete_home()
        self.put("desktop", "Home", [100])
        self.run_once(expect=None)
        self.assertEqual(len(mail.snapshot(self.servers["server"])["Home"]), 61)
        self.decide(number, "--approve")
        found = self.check()
        self.assertEqual(len(found.get("Home", [])), 1)
