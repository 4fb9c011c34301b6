"""Namespaces that are not the account's own, and parents that are no mailboxes: on Dovecot, and on Cyrus where it differs."""

import imaplib
import shutil
import subprocess
import time

import cyrus
import dovecot
import mail
from mesh import CONVERGED, PARTIAL, MeshTest

PUBLIC = """
namespace public {{
  type = public
  separator = /
  prefix = Public/
  location = maildir:{folder}/public:LAYOUT=fs
  subscriptions = no
  list = yes
}}
namespace others {{
  type = shared
  separator = /
  prefix = Users/%%u/
  location = maildir:%%h/Maildir:LAYOUT=fs
  subscriptions = no
  list = yes
}}
mail_plugins = acl zlib
plugin {{
  acl = vfile
  acl_shared_dict = file:{folder}/shared.db
}}
protocol imap {{
  mail_plugins = acl imap_acl zlib imap_zlib
}}
"""


class ForeignNamespaces(MeshTest):
    """"own" is an ordinary server; "office" also shows public mailboxes and those that a colleague shares."""

    PUBLIC, COLLEAGUE = "Public/Team", "Users/bob/Projects"

    def setUp(self):
        super().setUp()
        self.server("own")
        self.start_office()
        with self.account("own") as account:
            account.create("Work")
            account.append("Work", mail.ordinary(1), "", 1_700_000_000)
        for number, mailbox in enumerate((self.PUBLIC, self.COLLEAGUE)):
            with self.account("office") as account:
                self.assertIn(mailbox, account.mailboxes())
                account.append(mailbox, mail.ordinary(100 + number), "", 1_700_000_000)

    def start_office(self):
        folder = self.scratch / "shared"
        self.make_public(folder / "public")
        if dovecot.ROOT:
            shutil.chown(folder, dovecot.MAIL_USER, dovecot.MAIL_GROUP)
        office = self.server("office", storage="maildir", separator="/", settings=PUBLIC.format(folder=folder))
        with mail.Account(office, "bob") as bob:
            bob.create("Projects")
            bob.client.setacl("Projects", "office", "lrswipkxte")

    def make_public(self, folder):
        """Nobody but an administrator makes mailboxes there."""
        for part in ("", "Team", "Team/cur", "Team/new", "Team/tmp"):
            (folder / part).mkdir(parents=True)
        (folder / "Team" / "dovecot-acl").write_text("anyone lrwstipekxa\n")
        for path in [folder, *folder.rglob("*")]:
            if dovecot.ROOT:
                shutil.chown(path, dovecot.MAIL_USER, dovecot.MAIL_GROUP)

    def mesh(self, extra="", edge=""):
        self.write_topology([("own", "office", edge)])
        marker = 'replica {\n  name: "office"\n'
        self.write_text(self.topology_path.read_text().replace(marker, marker + extra))

    def of_office(self):
        found = mail.snapshot(self.servers["office"])
        return {name: [message.digest for message in messages] for name, messages in found.items()}

    def test_they_are_left_alone(self):
        self.mesh()
        self.run_once()
        self.assertEqual(sorted(mail.snapshot(self.servers["own"])), ["INBOX", "Work"])
        office = self.of_office()
        self.assertEqual([len(office[name]) for name in ("Work", self.PUBLIC, self.COLLEAGUE)], [1, 1, 1])
        # Nor is anything said of them, nor changed by what happens to a mailbox of the mesh with such a name.
        self.assertEqual(self.run_once().code, CONVERGED)

    def test_a_name_map_brings_in_what_it_names_and_nothing_else(self):
        self.mesh(f'  name_map {{ mesh: "Team" here: "{self.PUBLIC}" }}\n'
                  f'  name_map {{ mesh: "Bob" here: "{self.COLLEAGUE}" }}\n')
        self.run_once()
        own = mail.snapshot(self.servers["own"])
        self.assertEqual(sorted(own), ["Bob", "INBOX", "Team", "Work"])
        self.assertEqual((len(own["Team"]), len(own["Bob"])), (1, 1))
        with self.account("own") as account:
            for mailbox in ("Team", "Bob"):
                account.append(mailbox, mail.ordinary(200), "\\Flagged", 1_710_000_000)
        self.run_once()
        office = self.of_office()
        self.assertEqual((len(office[self.PUBLIC]), len(office[self.COLLEAGUE])), (2, 2))
        self.assertNotIn("Team", office)
        self.assertEqual(self.run_once().code, CONVERGED)

    def test_a_namespace_prefix_is_all_that_takes_part_then(self):
        """What cannot be made there, since only an administrator may, is a listed problem."""
        self.mesh(f'  namespace_prefix: "{self.PUBLIC.split("/")[0]}"\n',
                  'mailboxes { include: "Team" include: "Work" }')
        run = self.run_once(expect=PARTIAL)
        own = mail.snapshot(self.servers["own"])
        self.assertEqual(sorted(own), ["INBOX", "Team", "Work"])
        self.assertEqual(own["Team"], mail.snapshot(self.servers["office"])[self.PUBLIC])
        self.assertNotIn("Work", self.of_office())
        self.assertEqual(run.report["refused"], 1, run)


class Remembered(MeshTest):
    """The namespaces that a server told at an earlier start are believed only while they fit what it lists."""

    def setUp(self):
        super().setUp()
        self.server("own", storage="maildir", separator="/")
        self.office = self.server("office", storage="maildir", separator=".")
        self.write_topology([("own", "office")])

    def move_namespace(self, prefix):
        config = self.office.folder / "dovecot.conf"
        text = config.read_text()
        self.assertIn("  prefix = \n", text)
        config.write_text(text.replace("  prefix = \n", f"  prefix = {prefix}\n"))
        subprocess.run([dovecot.find_program("doveadm"), "-c", config, "reload"], check=True)
        self.office.prefix = prefix
        time.sleep(0.5)

    def names_of_office(self):
        with mail.Account(self.office) as account:
            return sorted(line.decode().rsplit(" ", 1)[1] for line in account.client.list()[1])

    def test_mailboxes_below_another_prefix_are_the_same(self):
        with self.account("own") as account:
            account.create("Work")
            account.append("Work", mail.ordinary(1), "", 1_700_000_000)
        self.run_once()
        self.run_once()  # by what is remembered
        self.move_namespace("INBOX.")
        run = self.run_once()
        self.assertEqual([replica["messages_expunged"] for replica in run.report["replicas"]], [0, 0], run)
        self.assertEqual(sorted(mail.snapshot(self.servers["own"])), ["INBOX", "Work"])
        self.assertEqual(self.names_of_office(), ["INBOX", "INBOX.Work"])
        self.assertEqual(self.run_once().code, CONVERGED)

    def test_a_new_mailbox_goes_below_the_prefix_of_today(self):
        """Nothing but INBOX is listed, which is called so with any prefix."""
        self.run_once()
        self.run_once()
        self.move_namespace("INBOX.")
        with self.account("own") as account:
            account.create("Work")
        self.run_once()
        self.assertEqual(self.names_of_office(), ["INBOX", "INBOX.Work"])


class ForeignNamespacesOfCyrus(ForeignNamespaces):
    PUBLIC, COLLEAGUE = "Shared Folders/Team", "Other Users/bob/Projects"

    def start_office(self):
        if not cyrus.available():
            self.skipTest("Cyrus is not unpacked (tools/install_packages)")
        office = cyrus.Cyrus("office", self.scratch / "office")
        self.addCleanup(office.stop)
        self.servers["office"] = office
        admin = imaplib.IMAP4("127.0.0.1", office.port)
        admin.login("admin", dovecot.PASSWORD)
        for mailbox in ("user/bob", "user/bob/Projects", "Team"):
            self.assertEqual(admin.create(mailbox)[0], "OK")
        for mailbox in ("Team", "user/bob/Projects"):
            self.assertEqual(admin.setacl(mailbox, "office", "lrswipkxtecda")[0], "OK")
        admin.logout()


class FurtherNamespaces(MeshTest):
    """An account with two namespaces of its own: the second one's mailboxes keep their whole names in the mesh."""

    ARCHIVE = """
namespace archive {
  type = private
  separator = /
  prefix = Archive/
  location = maildir:~/archive:LAYOUT=fs
  subscriptions = yes
  list = yes
}
"""

    def test_they_take_part(self):
        self.server("own")
        self.server("office", storage="maildir", separator="/", prefix="INBOX/", settings=self.ARCHIVE)
        self.write_topology([("own", "office")])
        office = self.account("office").client
        for mailbox in ("INBOX/Work", "Archive/2020"):
            self.assertEqual(office.create(mailbox)[0], "OK")
            self.assertEqual(office.append(mailbox, None, None, mail.ordinary(1, mailbox))[0], "OK")
        self.run_once()
        found = mail.snapshot(self.servers["own"])
        self.assertEqual({name: len(messages) for name, messages in found.items()},
                         {"INBOX": 0, "Work": 1, "Archive/2020": 1})
        with self.account("own") as account:
            account.append("Archive/2020", mail.ordinary(2), "", 1_700_000_000)
            account.create("Archive/2021")
        self.run_once()
        self.assertEqual(office.status("Archive/2020", "(MESSAGES)")[1], [b"Archive/2020 (MESSAGES 2)"])
        self.assertEqual(office.status("Archive/2021", "(MESSAGES)")[0], "OK")
        for replica in self.run_once().report["replicas"]:
            self.assertEqual((replica["mailboxes_selected"], replica["messages_appended"]), (0, 0))


class Parents(MeshTest):
    """A level without a mailbox of its own: \\Noselect in Dovecot's folders, \\NonExistent elsewhere, or not listed."""

    def setUp(self):
        super().setUp()
        self.server("folders", storage="maildir", separator="/")
        self.other = self.start_other()
        self.write_topology([("folders", self.other)])
        with self.account("folders") as account:
            account.create("A/B")
            account.append("A/B", mail.ordinary(1), "", 1_700_000_000)
        self.run_once()
        self.accounts = {name: self.account(name) for name in self.servers}

    def start_other(self):
        self.server("dots", storage="maildir", separator=".")
        return "dots"

    def names(self):
        found = self.check()
        self.assert_quiet(found)
        return sorted(found)

    def test_they_are_not_made_for_their_children(self):
        self.assertEqual(self.names(), ["A/B", "INBOX"])

    def test_one_that_becomes_a_mailbox_becomes_one_everywhere(self):
        for name in (self.other, "folders"):
            self.accounts[name].create("A" if name == self.other else "A/B/C/D")
            self.run_once()
        self.assertEqual(self.names(), ["A", "A/B", "A/B/C/D", "INBOX"])
        self.accounts["folders"].create("A/B/C")
        self.run_once()
        self.assertEqual(self.names(), ["A", "A/B", "A/B/C", "A/B/C/D", "INBOX"])

    def test_one_that_is_deleted_leaves_its_children(self):
        for deleter in ("folders", self.other):
            self.accounts[self.other].create("A")
            self.run_once()
            self.assertEqual(self.names(), ["A", "A/B", "INBOX"])
            self.accounts[deleter].delete("A")
            self.run_once()
            self.assertEqual(self.names(), ["A/B", "INBOX"])
        self.assertEqual(len(mail.snapshot(self.servers["folders"])["A/B"]), 1)

    def test_the_last_child_takes_it_along(self):
        self.accounts[self.other].delete("A/B")
        self.run_once()
        self.assertEqual(self.names(), ["INBOX"])

    def test_it_is_renamed_with_its_children(self):
        self.accounts["folders"].rename("A", "C")
        run = self.run_once()
        self.assertEqual(self.names(), ["C/B", "INBOX"])
        self.assertEqual([replica["messages_appended"] for replica in run.report["replicas"]], [0, 0], run)


class ParentsWithCyrus(MeshTest):
    """Cyrus makes a parent with its first child, and deletes none that has children."""

    def test_one_that_is_deleted_waits_there_for_its_children(self):
        if not cyrus.available():
            self.skipTest("Cyrus is not unpacked (tools/install_packages)")
        self.server("folders", storage="maildir", separator="/")
        server = cyrus.Cyrus("cyrus", self.scratch / "cyrus")
        self.addCleanup(server.stop)
        self.servers["cyrus"] = server
        self.write_topology([("folders", "cyrus")])
        with self.account("folders") as account:
            account.create("A/B")
            account.append("A/B", mail.ordinary(1), "", 1_700_000_000)
        self.run_once()
        self.assertEqual(sorted(self.check()), ["A", "A/B", "INBOX"])
        with self.account("folders") as account:
            account.delete("A")
        run = self.run_once(expect=PARTIAL)
        self.assertIn("[HASCHILDREN]", run.output)
        self.assertEqual({name: sorted(found) for name, found in self.snapshots().items()},
                         {"folders": ["A/B", "INBOX"], "cyrus": ["A", "A/B", "INBOX"]})
        # It waits for the last child.
        with self.account("cyrus") as account:
            account.delete("A/B")
        self.run_once()
        self.assertEqual(sorted(self.check()), ["INBOX"])
        self.assert_quiet()
