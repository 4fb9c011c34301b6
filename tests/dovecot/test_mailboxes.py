"""Mailboxes on real servers: their names, and what happens when they are made, renamed and deleted."""

import mail
from mesh import MeshTest


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

    def assert_quiet_run(self):
        run = self.run_once()
        for replica in run.report["replicas"]:
            self.assertEqual((replica["messages_appended"], replica["messages_fetched"], replica["mailboxes_selected"],
                              replica["flags_changed"], replica["messages_expunged"]), (0, 0, 0, 0, 0), run)
