"""Mailboxes on real servers: their names, and what happens when they are made, renamed and deleted."""

import shutil

import courier
import cyrus
import mail
from mesh import CONFLICTS, MeshTest


class Names(MeshTest):
    """What a mailbox of the mesh is called on each server."""

    def test_a_name_map_joins_mailboxes_of_different_names(self):
        for name, sent in (("a", "Sent"), ("b", "Sent Items")):
            with self.account(self.server(name)) as account:
                for mailbox in (sent, sent + "/2024"):
                    account.create(mailbox)
                    account.append(mailbox, mail.ordinary(1, mailbox[-4:] + name), "", 1_700_000_000)
        self.write_topology([("a", "b")])
        text = self.topology_path.read_text()
        marker = 'replica {\n  name: "b"\n'
        self.write_text(text.replace(marker, marker + '  name_map { mesh: "Sent" here: "Sent Items" }\n'))

        self.run_once()

        a, b = mail.snapshot(self.servers["a"]), mail.snapshot(self.servers["b"])
        self.assertEqual(sorted(a), ["INBOX", "Sent", "Sent/2024"])
        self.assertEqual(sorted(b), ["INBOX", "Sent Items", "Sent Items/2024"])
        self.assertEqual((a["Sent"], a["Sent/2024"]), (b["Sent Items"], b["Sent Items/2024"]))
        self.assertEqual((len(a["Sent"]), len(a["Sent/2024"])), (2, 2))
        self.assert_quiet_run()

    def test_a_name_map_given_later_deletes_nothing(self):
        for name, sent in (("a", "Sent"), ("b", "Sent Items")):
            with self.account(self.server(name)) as account:
                account.create(sent)
                account.append_many(sent, [(mail.ordinary(number, name), "", 1_700_000_000) for number in range(60)])
        self.write_topology([("a", "b")])
        self.run_once()
        before = self.check()
        text = self.topology_path.read_text()
        marker = 'replica {\n  name: "b"\n'
        self.write_text(text.replace(marker, marker + '  name_map { mesh: "Sent" here: "Sent Items" }\n'))

        self.run_once()

        a, b = mail.snapshot(self.servers["a"]), mail.snapshot(self.servers["b"])
        self.assertEqual(len(before["Sent"]), 60)
        self.assertEqual(len(a["Sent"]), 120)  # both, under the one name
        self.assertEqual(a["Sent"], b["Sent Items"])
        for mailbox, messages in before.items():
            self.assertTrue(set(messages) <= set(a[mailbox]), mailbox)
        self.assert_quiet_run()

    def test_two_accounts_in_one_local_server(self):
        for name in ("work", "private"):
            with self.account(self.server(name, separator="." if name == "work" else "/")) as account:
                account.create("Lists/lkml")
                for mailbox in ("INBOX", "Lists/lkml"):
                    account.append_many(mailbox, [(mail.ordinary(number, name + mailbox), "", 1_700_000_000)
                                                  for number in range(5)])
        local = self.server("local")
        with self.account(local) as account:
            account.append("INBOX", mail.ordinary(1, "own"), "", 1_700_000_000)
        text = 'name: "test"\n'
        for name in ("work", "private"):
            text += f'replica {{\n  name: "{name}"\n{self.servers[name].endpoint()}}}\n'
            text += (f'replica {{\n  name: "local-{name}"\n{local.endpoint()}'
                     f'  namespace_prefix: "Accounts/{name.title()}"\n}}\n')
            text += f'edge {{ a: "{name}" b: "local-{name}" }}\n'
        self.write_text(text)

        self.run_once()

        found = mail.snapshot(local)
        for name in ("work", "private"):
            there = mail.snapshot(self.servers[name])
            below = f"Accounts/{name.title()}/"
            self.assertEqual({mailbox.removeprefix(below): messages for mailbox, messages in found.items()
                              if mailbox.startswith(below)}, there)
        self.assertEqual(len(found["INBOX"]), 1)
        self.assert_quiet_run()

        # What is done in the local server goes to the account that it belongs to.
        with self.account(local) as account:
            account.append("Accounts/Work/INBOX", mail.ordinary(100), "\\Seen", 1_710_000_000)
            account.create("Accounts/Private/New")
        self.run_once()
        self.assertEqual(len(mail.snapshot(self.servers["work"])["INBOX"]), 6)
        self.assertIn("New", mail.snapshot(self.servers["private"]))
        self.assertNotIn("New", mail.snapshot(self.servers["work"]))
        self.assert_quiet_run()

    def test_special_uses_join_what_is_called_otherwise(self):
        roles = "namespace inbox {\n  mailbox %s {\n    special_use = \\%s\n  }\n}\n"
        self.server("a", settings=roles % ("Sent", "Sent") + roles % ("Trash", "Trash"))
        self.server("b", settings=roles % ('"Sent Items"', "Sent") + roles % ("Trash", "Trash"))
        for name, sent in (("a", "Sent"), ("b", "Sent Items")):
            with self.account(name) as account:
                for mailbox in (sent, "Trash"):
                    account.create(mailbox)
                    account.append(mailbox, mail.ordinary(1, mailbox[:4] + name), "", 1_700_000_000)
        self.write_topology([("a", "b")])

        self.run_once()

        a, b = mail.snapshot(self.servers["a"]), mail.snapshot(self.servers["b"])
        self.assertEqual((sorted(a), sorted(b)), (["INBOX", "Sent", "Trash"], ["INBOX", "Sent Items", "Trash"]))
        self.assertEqual((len(a["Sent"]), a["Sent"]), (2, b["Sent Items"]))
        self.assert_quiet_run()

    def test_a_name_map_is_stronger_than_special_uses(self):
        roles = "namespace inbox {\n  mailbox %s {\n    special_use = \\Sent\n  }\n}\n"
        for name, sent in (("a", "Sent"), ("b", "Sent Items")):
            self.server(name, settings=roles % f'"{sent}"')
            with self.account(name) as account:
                account.create(sent)
                account.append(sent, mail.ordinary(1, name), "", 1_700_000_000)
        self.write_topology([("a", "b")])
        marker = 'replica {\n  name: "b"\n'
        self.write_text(self.topology_path.read_text().replace(
            marker, marker + '  name_map { mesh: "Old/Sent" here: "Sent Items" }\n'))

        self.run_once()

        counts = [{name: len(found) for name, found in mail.snapshot(self.servers[server]).items()} for server in "ab"]
        self.assertEqual(counts, [{"INBOX": 0, "Sent": 1, "Old/Sent": 1}, {"INBOX": 0, "Sent": 1, "Sent Items": 1}])
        self.assert_quiet_run()

    def assert_quiet_run(self):
        run = self.run_once()
        for replica in run.report["replicas"]:
            self.assertEqual((replica["messages_appended"], replica["messages_fetched"], replica["mailboxes_selected"],
                              replica["flags_changed"], replica["messages_expunged"]), (0, 0, 0, 0, 0), run)


class Triangle(MeshTest):
    """Three replicas in agreement; then mailboxes change on one of them, or on several at once."""

    MAILBOXES = ("INBOX", "Work", "Work/2023", "Work/2023/Q1", "Home")
    MESSAGES = 6

    def setUp(self):
        super().setUp()
        self.triangle({"separator": "."}, {"separator": "/"}, {"separator": "/"})
        with self.account("server") as account:
            for mailbox in self.MAILBOXES:
                if mailbox != "INBOX":
                    account.create(mailbox)
                account.append_many(mailbox, [(mail.ordinary(number, mailbox), "\\Seen", 1_700_000_000 + number)
                                              for number in range(self.MESSAGES)])
            account.subscribe("Work")
        self.run_once()
        self.expected = self.check()
        self.accounts = {name: self.account(name) for name in self.servers}

    def settle(self, expected=None, code=0):
        run = self.run_once(expect=code)
        self.check(self.expected if expected is None else expected)
        return run

    def conflicts(self):
        """(kind, mailbox, open) of the recorded conflicts."""
        daemon = self.daemon()
        listed = self.client("--json", "conflicts", "list", expect=None)
        daemon.stop()
        return [(conflict["kind"], conflict["mailbox"], conflict.get("open", False))
                for conflict in listed.get("conflicts", [])]

    def moved(self, old, new):
        return {new + name.removeprefix(old) if name == old or name.startswith(old + "/") else name: messages
                for name, messages in self.expected.items()}

    def assert_carried_as_rename(self, run):
        for replica in run.report["replicas"]:
            self.assertEqual((replica["messages_fetched"], replica["messages_appended"],
                              replica["messages_copied_server_side"], replica["messages_expunged"]), (0, 0, 0, 0), run)

    def test_a_rename_is_carried_with_children_and_without_a_message(self):
        for name, old, new in (("server", "Work", "Job"), ("laptop", "Job", "Old/Job"), ("desktop", "Old/Job", "Work")):
            self.accounts[name].rename(old, new)
            self.expected = self.moved(old, new)
            run = self.settle()
            self.assert_carried_as_rename(run)
            for account in self.accounts.values():
                self.assertEqual(account.subscriptions(), [new], account.server.name)
        self.assert_quiet(self.expected)

    def test_mail_and_flags_that_come_with_a_rename(self):
        server, laptop = self.accounts["server"], self.accounts["laptop"]
        server.rename("Work", "Job")
        server.append("Job", mail.ordinary(100), "", 1_710_000_000)
        laptop.store("Work", laptop.uids("Work")[0], "+FLAGS", "\\Flagged")
        laptop.append("Work", mail.ordinary(101), "", 1_710_000_001)
        self.run_once()
        found = self.check()
        self.assertNotIn("Work", found)
        self.assertEqual(len(found["Job"]), self.MESSAGES + 2)
        self.assertEqual(sum("\\flagged" in message.flags for message in found["Job"]), 1)
        self.assert_quiet(found)

    def test_names_that_are_swapped(self):
        server = self.accounts["server"]
        server.rename("Home", "Away")
        server.rename("Work", "Home")
        server.rename("Away", "Work")
        expected = self.moved("Work", "Home")
        expected["Work"] = self.expected["Home"]
        self.assert_carried_as_rename(self.settle(expected))
        self.assert_quiet(expected)

    def test_one_that_was_deleted_gives_its_name_to_another(self):
        server = self.accounts["server"]
        server.delete("Home")
        server.rename("Work", "Home")
        gone = [("Home", message.digest) for message in self.expected.pop("Home")]
        self.expected = self.moved("Work", "Home")
        self.run_once()
        self.check(self.expected, deleted=gone)
        self.assert_quiet(self.expected)
        self.assertEqual(self.conflicts(), [])

    def test_one_that_is_held_after_its_deletion_makes_room_for_another(self):
        with self.account("server") as account:
            account.append_many("Home", [(mail.ordinary(number, "more"), "", 1_700_000_000) for number in range(60)])
        self.run_once()
        held = self.check()["Home"]
        self.accounts["laptop"].delete("Home")
        self.run_once(expect=CONFLICTS)
        self.accounts["laptop"].rename("Work", "Home")
        self.run_once(expect=CONFLICTS)
        for name in ("server", "desktop"):
            found = mail.snapshot(self.servers[name])
            self.assertEqual((found["Home"], found["Home (deleted)"]), (self.expected["Work"], held))

    def test_a_rename_while_a_replica_is_down_reaches_it_later(self):
        self.servers["desktop"].stop()
        self.accounts["server"].rename("Work", "Job")
        self.run_once(expect=None)
        self.servers["desktop"].start()
        self.expected = self.moved("Work", "Job")
        self.assert_carried_as_rename(self.settle())
        self.assert_quiet(self.expected)

    def test_of_two_different_renames_one_holds_and_a_conflict_tells(self):
        self.accounts["server"].rename("Home", "House")
        self.accounts["laptop"].rename("Home", "Flat")
        self.run_once()
        found = self.check()
        self.assertEqual(len({"Home", "House", "Flat"} & set(found)), 1)
        self.assertEqual(found.get("House", found.get("Flat")), self.expected["Home"])
        self.assert_quiet(found)
        self.assertEqual([kind for kind, _, _ in self.conflicts()], ["MAILBOX_RENAMED_TWICE"])

    def test_the_deletion_of_an_empty_mailbox_goes_everywhere(self):
        self.accounts["desktop"].create("Empty")
        self.run_once()
        self.accounts["laptop"].delete("Empty")
        self.settle()
        self.assert_quiet(self.expected)

    def test_the_deletion_of_a_small_mailbox_goes_everywhere(self):
        self.accounts["laptop"].delete("Work/2023/Q1")
        self.accounts["laptop"].delete("Home")
        gone = [(name, message.digest) for name in ("Work/2023/Q1", "Home") for message in self.expected.pop(name)]
        self.settle()
        self.check(self.expected, deleted=gone, quiet=self.run_once())

    def test_what_was_moved_out_before_is_not_lost(self):
        laptop = self.accounts["laptop"]
        laptop.move("Home", laptop.uids("Home"), "Work")
        laptop.delete("Home")
        self.expected["Work"] = self.expected["Work"] + self.expected.pop("Home")
        run = self.settle()
        self.assertEqual([replica["messages_fetched"] for replica in run.report["replicas"]], [0, 0, 0], run)
        self.assert_quiet(self.expected)

    def test_a_deletion_loses_against_new_mail(self):
        self.accounts["laptop"].delete("Home")
        self.accounts["server"].append("Home", mail.ordinary(100), "", 1_710_000_000)
        self.run_once()
        found = self.check()
        self.assertEqual(len(found["Home"]), self.MESSAGES + 1)
        self.assert_quiet(found)
        self.assertEqual(self.conflicts(), [("MAILBOX_DELETED_AND_FILLED", "Home", False)])

    def test_a_deletion_loses_against_a_rename(self):
        self.accounts["laptop"].delete("Home")
        self.accounts["server"].rename("Home", "House")
        self.run_once()
        self.expected["House"] = self.expected.pop("Home")
        self.check(self.expected)
        self.assert_quiet(self.expected)
        self.assertEqual([kind for kind, _, _ in self.conflicts()], ["MAILBOX_DELETED_AND_RENAMED"])

    def test_mail_that_a_replica_had_while_it_was_down_keeps_the_mailbox(self):
        self.accounts["desktop"].append("Home", mail.ordinary(100), "", 1_710_000_000)
        self.servers["desktop"].stop()
        self.accounts["laptop"].delete("Home")
        self.run_once(expect=None)
        self.assertNotIn("Home", mail.snapshot(self.servers["server"]))
        self.servers["desktop"].start()
        self.run_once()
        found = self.check()
        self.assertEqual(len(found["Home"]), 1)
        self.assert_quiet(found)

    def test_the_brake_holds_a_full_mailbox(self):
        with self.account("server") as account:
            account.append_many("Home", [(mail.ordinary(number, "more"), "", 1_700_000_000) for number in range(60)])
        self.run_once()
        before = self.check()
        self.accounts["laptop"].delete("Home")
        self.run_once(expect=CONFLICTS)
        for name in ("server", "desktop"):
            self.assertEqual(mail.snapshot(self.servers[name]), before)
        again = self.run_once(expect=CONFLICTS)
        self.assertEqual([replica["messages_appended"] for replica in again.report["replicas"]], [0, 0, 0], again)
        self.assertEqual(self.conflicts(), [("MAILBOX_GONE", "Home", True)])

    def test_a_server_set_up_anew_deletes_nothing(self):
        laptop = self.servers["laptop"]
        laptop.stop()
        shutil.rmtree(laptop.home / "Maildir")
        laptop.start()
        self.run_once()
        self.check(self.expected)
        self.assert_quiet(self.expected)

    def test_a_mailbox_deleted_under_the_running_daemon(self):
        daemon = self.daemon()
        self.wait_for(lambda: self.client("--json", "status").get("converged"), "convergence")
        self.accounts["laptop"].delete("Home")
        self.wait_for(lambda: all("Home" not in account.mailboxes() for account in self.accounts.values()), "the deletion")
        self.accounts["server"].rename("Work", "Job")
        self.wait_for(lambda: all("Job/2023/Q1" in account.mailboxes() for account in self.accounts.values()), "the rename")
        self.accounts["desktop"].subscribe("INBOX")
        self.wait_for(lambda: all("INBOX" in account.subscriptions() for account in self.accounts.values()),
                      "the subscription")
        daemon.stop()
        self.assertNotIn("rror", daemon.log())

    def test_the_brake_holds_many_small_mailboxes_at_once(self):
        with self.account("server") as account:
            for number in range(12):
                account.create(f"Lists/{number}")
                account.append_many(f"Lists/{number}", [(mail.ordinary(n, f"list {number}"), "", 1_700_000_000)
                                                        for n in range(5)])
        self.run_once()
        before = self.check()
        for number in range(12):
            self.accounts["laptop"].delete(f"Lists/{number}")
        self.run_once(expect=CONFLICTS)
        self.assertEqual(mail.snapshot(self.servers["server"]), before)

    def test_deletions_kept_by_policy(self):
        text = self.topology_path.read_text()
        self.write_text(text + "policy { mailbox_deletes: KEEP }\n")
        self.accounts["laptop"].delete("Home")
        self.run_once()
        self.run_once()
        for name in ("server", "desktop"):
            self.assertEqual(mail.snapshot(self.servers[name]), self.expected)
        self.assertNotIn("Home", mail.snapshot(self.servers["laptop"]))

    def test_deletions_that_are_asked_about(self):
        text = self.topology_path.read_text()
        self.write_text(text + "policy { mailbox_deletes: ASK }\n")
        self.accounts["laptop"].delete("Home")
        self.run_once(expect=CONFLICTS)
        self.assertEqual(mail.snapshot(self.servers["server"]), self.expected)
        self.assertEqual(self.conflicts(), [("MAILBOX_GONE", "Home", True)])

    def test_a_mailbox_made_again_is_new(self):
        self.accounts["laptop"].delete("Home")
        self.run_once()
        self.accounts["server"].create("Home")
        self.accounts["server"].append("Home", mail.ordinary(100), "", 1_710_000_000)
        self.run_once()
        found = self.check()
        self.assertEqual(len(found["Home"]), 1)
        self.assert_quiet(found)

    def test_subscriptions_are_merged(self):
        self.accounts["laptop"].subscribe("Home")
        self.accounts["desktop"].subscribe("Work", False)
        self.settle()
        for account in self.accounts.values():
            self.assertEqual(account.subscriptions(), ["Home"], account.server.name)
        self.assert_quiet(self.expected)

    def test_names_with_the_other_servers_separator(self):
        self.accounts["server"].create("v1.2/notes.txt")
        self.accounts["server"].append("v1.2/notes.txt", mail.ordinary(100), "", 1_710_000_000)
        self.run_once()
        self.accounts["server"].rename("v1.2", "v2.0")
        run = self.run_once()
        self.assert_carried_as_rename(run)
        with mail.Account(self.servers["laptop"]) as laptop:
            self.assertIn("v2=2E0/notes=2Etxt", laptop.mailboxes())
        self.assertIn("v2.0/notes.txt", mail.snapshot(self.servers["desktop"]))

    def test_two_mailboxes_that_come_by_one_name_are_both_kept(self):
        self.accounts["server"].rename("Home", "New")
        self.accounts["laptop"].create("New")
        self.accounts["laptop"].append("New", mail.ordinary(100), "", 1_710_000_000)
        self.run_once()
        found = self.check()
        self.assertNotIn("Home", found)
        new = sorted((name for name in found if name.startswith("New")), key=len)
        self.assertEqual(len(new), 2, found.keys())
        self.assertEqual(sorted(len(found[name]) for name in new), [1, self.MESSAGES])
        self.assert_quiet(found)
        self.assertEqual([kind for kind, _, _ in self.conflicts()], ["MAILBOX_NAME_TAKEN"])


class AtCyrus(MeshTest):
    """Cyrus keeps a UIDVALIDITY through a rename, and gives one to all mailboxes that are made within a second."""

    def setUp(self):
        super().setUp()
        if not cyrus.available():
            self.skipTest("Cyrus is not unpacked (tools/install_packages)")
        self.server("dovecot", separator=".")
        server = cyrus.Cyrus("cyrus", self.scratch / "cyrus")
        self.addCleanup(server.stop)
        self.servers["cyrus"] = server
        self.write_topology([("dovecot", "cyrus")])
        with self.account("dovecot") as account:
            for mailbox in ("Work", "Work/2023", "Home"):
                account.create(mailbox)
                account.append_many(mailbox, [(mail.ordinary(number, mailbox), "\\Seen", 1_700_000_000 + number)
                                              for number in range(6)])
            account.subscribe("Work")
        self.run_once()
        self.expected = self.check()

    def assert_carried(self, run):
        for replica in run.report["replicas"]:
            self.assertEqual((replica["messages_fetched"], replica["messages_appended"],
                              replica["messages_copied_server_side"]), (0, 0, 0), run)
        self.check(self.expected)
        self.assert_quiet(self.expected)

    def test_a_rename_is_carried_with_children_and_without_a_message(self):
        with self.account("cyrus") as account:
            account.rename("Work", "Job")
        for name in ("Work", "Work/2023"):
            self.expected[name.replace("Work", "Job")] = self.expected.pop(name)
        run = self.run_once()
        self.assertEqual([replica["messages_expunged"] for replica in run.report["replicas"]], [0, 0], run)
        self.assert_carried(run)
        for name in self.servers:
            with self.account(name) as account:
                self.assertIn("Job", account.subscriptions(), name)

    def test_one_that_was_deleted_gives_its_name_to_another(self):
        with self.account("cyrus") as account:
            account.delete("Home")
            account.rename("Work/2023", "Home")
        self.expected["Home"] = self.expected.pop("Work/2023")
        self.assert_carried(self.run_once())

    def test_names_that_are_swapped(self):
        with self.account("cyrus") as account:
            account.rename("Home", "Away")
            account.rename("Work/2023", "Home")
            account.rename("Away", "Work/2023")
        self.expected["Home"], self.expected["Work/2023"] = self.expected["Work/2023"], self.expected["Home"]
        self.assert_carried(self.run_once())

    def test_names_that_it_cannot_have_are_escaped_there(self):
        names = ["Read!", "100%", "a;b/c|d", 'say "hello"', "back\\slash", "x=21y"]
        with self.account("dovecot") as account:
            for name in names:
                account.create(name)
                account.append(name, mail.ordinary(1, name), "", 1_700_000_000)
        self.run_once()
        with self.account("cyrus") as account:
            there = account.mailboxes()
            for name in ("Read=21", "100=25", "a=3Bb/c=7Cd", "say =22hello=22", "back=5Cslash", "x=3D21y"):
                self.assertIn(name, there)
            account.append("Read=21", mail.ordinary(2), "", 1_700_000_000)
            account.create("New=21")
        self.run_once()
        found = mail.snapshot(self.servers["dovecot"])
        self.assertEqual(([len(found[name]) for name in names], found["New!"]), ([2, 1, 1, 1, 1, 1], []))
        self.state_path.unlink()  # nothing of it has to be remembered
        self.run_once()
        self.assertEqual(mail.snapshot(self.servers["dovecot"]), found)
        daemon = self.daemon()
        self.wait_for(lambda: self.client("--json", "status", expect=None).get("converged"), "convergence")
        self.assertIn("mailbox Read! is called Read=21 there", self.client("status").output)
        daemon.stop()


class AtCourier(MeshTest):
    """Courier has no name beyond the Basic Multilingual Plane, and tells it by refusing alone."""

    NAME, THERE = "smile \U0001F600", "smile =F0=9F=98=80"

    def setUp(self):
        super().setUp()
        if not courier.available():
            self.skipTest("Courier is not unpacked (tools/install_packages)")
        self.server("dovecot", separator="/")
        server = courier.Courier("courier", self.scratch / "courier")
        self.addCleanup(server.stop)
        self.servers["courier"] = server
        self.write_topology([("dovecot", "courier")])
        with self.account("dovecot") as account:
            for mailbox in (self.NAME, self.NAME + "/in"):
                account.create(mailbox)
                account.append(mailbox, mail.ordinary(1, mailbox), "", 1_700_000_000)
        self.run_once()

    def here(self):
        return mail.snapshot(self.servers["dovecot"])

    def there(self):
        return {name.replace(self.THERE, self.NAME): found
                for name, found in mail.snapshot(self.servers["courier"]).items()}

    def test_a_name_that_is_refused_is_spelled_otherwise(self):
        self.assertEqual(self.there(), self.here())
        with self.account("courier") as account:
            self.assertIn(self.THERE + "/in", account.mailboxes())
            account.append(self.THERE, mail.ordinary(2), "\\Flagged", 1_700_000_000)
        self.run_once()
        self.assertEqual((len(self.here()[self.NAME]), self.there()), (2, self.here()))
        self.assertEqual(self.run_once().replica("dovecot")["mailboxes_selected"], 0)
        daemon = self.daemon()
        self.wait_for(lambda: self.client("--json", "status", expect=None).get("converged"), "convergence")
        self.assertIn(f"mailbox {self.NAME} is called INBOX.{self.THERE} there", self.client("status").output)
        daemon.stop()

    def test_a_lost_state_finds_it_again(self):
        before = self.here()
        for order in (("dovecot", "courier"), ("courier", "dovecot")):
            self.state_path.unlink()
            self.write_topology([("dovecot", "courier")], replicas=order)
            run = self.run_once()
            self.assertEqual([replica["messages_appended"] for replica in run.report["replicas"]], [0, 0], run)
            self.assertEqual((self.here(), self.there()), (before, before))

    def test_it_is_renamed_and_deleted(self):
        with self.account("dovecot") as account:
            account.rename(self.NAME, "laugh \U0001F604")
        self.run_once()
        with self.account("courier") as account:
            self.assertEqual(account.mailboxes(), ["INBOX", "laugh =F0=9F=98=84", "laugh =F0=9F=98=84/in"])
        with self.account("dovecot") as account:
            account.delete("laugh \U0001F604/in")
        self.run_once()
        with self.account("courier") as account:
            self.assertEqual(account.mailboxes(), ["INBOX", "laugh =F0=9F=98=84"])
        self.assertEqual(self.run_once().replica("dovecot")["mailboxes_selected"], 0)


class WithoutIdentity(MeshTest):
    """Servers that do not tell what a mailbox was called before."""

    def setUp(self):
        super().setUp()
        for name in ("a", "b"):
            self.server(name, settings="imap_id_send = name Other\n")
        with self.account("a") as account:
            account.create("Work")
            account.append_many("Work", [(mail.ordinary(number), "", 1_700_000_000) for number in range(10)])
        self.write_topology([("a", "b")])
        self.run_once()

    def test_a_rename_is_recognised_by_what_is_in_the_mailbox(self):
        expected = self.check()
        with self.account("a") as account:
            account.rename("Work", "Job")
            account.append("Job", mail.ordinary(100), "", 1_710_000_000)
        run = self.run_once()
        self.assertEqual((run.replica("b")["messages_appended"], run.replica("b")["messages_copied_server_side"],
                          run.replica("b")["messages_expunged"]), (1, 0, 0), run)
        found = self.check()
        self.assertEqual((sorted(found), len(found["Job"])), (["INBOX", "Job"], len(expected["Work"]) + 1))
        self.assert_quiet(found)

    def test_another_mailbox_is_not_taken_for_a_renamed_one(self):
        with self.account("a") as account:
            account.delete("Work")
            account.create("Job")
            account.append_many("Job", [(mail.ordinary(number, "other"), "", 1_700_000_000) for number in range(10)])
        self.run_once()
        found = self.check()
        self.assertEqual((sorted(found), len(found["Job"])), (["INBOX", "Job"], 10))
        self.assert_quiet(found)
