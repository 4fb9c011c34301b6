"""Steering a running daemon: replicas and edges added and removed, pauses over restarts, parts synced by name, a login
that is refused, and why a message is not where it is not."""

import re

import mail
from mesh import CONVERGED, PARTIAL, MeshTest

DATE = 1_710_000_000


class SteeringTest(MeshTest):
    def setUp(self):
        super().setUp()
        self.triangle()
        with mail.Account(self.servers["laptop"]) as account:
            account.append_many("INBOX", [(mail.ordinary(number), "", DATE + number) for number in range(5)])
        self.laptop, self.desktop, self.server_ = (self.account(name) for name in ("laptop", "desktop", "server"))

    def status(self):
        return self.client("--json", "status")

    def converged(self):
        self.wait_for(lambda: self.status()["converged"], "convergence")

    def started(self):
        daemon = self.daemon()
        self.converged()
        return daemon

    def counts(self):
        return [len(account.uids("INBOX")) for account in (self.laptop, self.desktop, self.server_)]

    def replica(self, name):
        return next(replica for replica in self.status()["replicas"] if replica["name"] == name)

    def because(self, number, replica):
        traced = self.client("--json", "trace", f"<{number}.0@generated.example>")["messages"][0]
        return next(copy for copy in traced["copies"] if copy["replica"] == replica)["because"]


class Reload(SteeringTest):
    def test_a_replica_that_is_removed_keeps_its_mail_and_one_that_is_added_gets_it(self):
        self.started()
        self.write_topology([("laptop", "server")], replicas=["laptop", "server"])
        self.client("reload")
        self.laptop.expunge("INBOX", self.laptop.uids("INBOX")[0])
        self.wait_for(lambda: self.counts() == [4, 5, 4], "the deletion at those that are left")
        self.assertEqual([replica["name"] for replica in self.status()["replicas"]], ["laptop", "server"])
        # Back again it is told of the deletion that it missed, and of nothing else.
        self.write_topology([("laptop", "server"), ("laptop", "desktop")])
        self.client("reload")
        self.wait_for(lambda: self.counts() == [4, 4, 4], "the deletion at the one that is back")
        self.check()

    def test_an_edge_that_is_changed(self):
        self.started()
        self.write_topology([("laptop", "server"), ("laptop", "desktop", "direction: A_TO_B")])
        self.client("reload")
        self.desktop.append("INBOX", mail.ordinary(100), "", DATE)
        self.laptop.append("INBOX", mail.ordinary(101), "", DATE)
        self.wait_for(lambda: self.counts() == [6, 7, 6], "what still may pass")
        self.client("sync")
        self.assertEqual(self.counts(), [6, 7, 6])
        self.assertIn("(direction)", self.because(100, "server"))


class Pause(SteeringTest):
    def test_a_pause_outlives_the_daemon(self):
        daemon = self.started()
        self.client("pause", "laptop:server")
        self.client("pause", "desktop:server")
        daemon.stop()
        self.daemon()
        self.laptop.append("INBOX", mail.ordinary(100), "", DATE)
        self.wait_for(lambda: self.counts() == [6, 6, 5], "the edge that is not paused")
        self.client("sync", expect=None)
        self.assertEqual(self.counts(), [6, 6, 5])
        self.assertIn("paused", self.because(100, "server"))
        self.client("resume", "laptop:server")
        self.wait_for(lambda: self.counts() == [6, 6, 6], "what has waited")


class Sync(SteeringTest):
    def test_of_a_replica_an_edge_and_a_mailbox(self):
        self.started()
        for scope in (["--replica", "server"], ["--edge", "server:laptop"], ["--mailbox", "INBOX"]):
            self.laptop.append("INBOX", mail.ordinary(len(self.laptop.uids("INBOX")) + 100), "", DATE)
            report = self.client("--json", "sync", *scope)
            self.assertTrue(report["converged"], report)
            self.assertEqual(len(set(self.counts())), 1)
        # Of the other way round: nothing else is waited for, or asked again.
        self.servers["server"].kill()
        self.wait_for(lambda: self.replica("server")["state"] == "DOWN", "the server's end")
        self.laptop.append("INBOX", mail.ordinary(110), "", DATE)
        report = self.client("--json", "sync", "--edge", "desktop:laptop")
        self.assertEqual(([replica["name"] for replica in report["replicas"]], report["converged"]),
                         (["laptop", "desktop"], True), report)
        self.assertEqual([len(account.uids("INBOX")) for account in (self.laptop, self.desktop)], [9, 9])
        report = self.client("--json", "sync", "--replica", "laptop", expect=PARTIAL)
        self.assertFalse(report["converged"], report)
        for scope in (["--replica", "nobody"], ["--edge", "laptop:nobody"], ["--mailbox", "Nothing"]):
            self.assertIn("there is no", self.client("sync", *scope, expect=None).output)

    def test_two_hundred_syncs_while_mail_comes_and_goes_all_answer_converged(self):
        self.started()
        accounts = (self.laptop, self.desktop, self.server_)
        for number in range(200):
            account = accounts[number % 3]
            account.append("INBOX", mail.ordinary(200 + number), "", DATE)
            if number % 4 == 1:
                account.expunge("INBOX", account.uids("INBOX")[-2])
            if number % 5 == 2:
                account.store("INBOX", account.uids("INBOX")[0], "+FLAGS" if number % 2 else "-FLAGS", "\\Answered")
            report = self.client("--json", "sync")
            self.assertTrue(report["converged"], (number, report))
        self.check()

    def test_many_syncs_while_the_engines_own_changes_are_pushed_back_to_it_all_answer_converged(self):
        self.started()
        for number in range(20):
            self.laptop.append("INBOX", mail.ordinary(200 + number), "", DATE)
            self.server_.store("INBOX", self.server_.uids("INBOX")[number % 5], "+FLAGS", f"Round{number % 3}")
            report = self.client("--json", "sync")
            self.assertTrue(report["converged"], report)


class Down(SteeringTest):
    def test_lag_pending_and_since_when(self):
        daemon = self.started()
        self.servers["server"].stop()
        self.wait_for(lambda: self.replica("server")["state"] == "DOWN", "the server's end")
        since = self.replica("server")["state_since_unix_ms"]
        self.laptop.append("INBOX", mail.ordinary(100), "", DATE)
        self.wait_for(lambda: self.edge()["pending_additions"] == 1, "the addition that waits")
        self.laptop.store("INBOX", self.laptop.uids("INBOX")[0], "+FLAGS", "\\Flagged")
        self.laptop.expunge("INBOX", self.laptop.uids("INBOX")[1])
        self.laptop.create("New")
        self.wait_for(lambda: self.edge()["pending"] == 4, "what else waits")
        edge = self.edge()
        self.assertEqual((edge["state"], edge["pending_additions"], edge["pending_flags"], edge["pending_deletions"],
                          edge["pending_mailboxes"]), ("UNREACHABLE", 1, 1, 1, 1), edge)
        self.assertGreater(edge["last_sync_unix_ms"], 0)
        self.assertGreater(edge["oldest_pending_unix_ms"], 0)
        self.assertTrue(edge["last_error"])
        self.wait_for(lambda: self.replica("server")["lag_s"] > 0, "the lag")
        self.assertRegex(self.because(100, "server"), r"replica server is down since \d{4}-\d\d-\d\dT")
        self.assertEqual(self.counts_of_those_up(), [5, 5])
        self.wait_for(lambda: self.replica("server")["lag_s"] > 8, "the lag", 60)
        self.assertEqual(self.replica("server")["state_since_unix_ms"], since, "it is down all the time")
        self.assertLessEqual(daemon.log().count("replica server:"), 4, daemon.log())  # not once for each attempt
        plan = self.client("plan").output
        self.assertRegex(plan, r"^Nothing can be done now.\nWaits, as \S+ is UNREACHABLE: 4 ")
        # A restart does not make what has waited for long look new.
        daemon.stop()
        self.daemon()
        self.wait_for(lambda: self.edge()["pending"] == 4, "what waits")
        self.assertGreater(self.replica("server")["lag_s"], 8)
        self.servers["server"].start()
        self.client("sync")
        self.assertEqual((self.edge()["state"], self.edge()["pending"]), ("IN_SYNC", 0))

    def edge(self):
        """What goes to the server comes by this one."""
        edges = [edge for edge in self.status()["edges"] if "server" in edge["edge"]]
        return next((edge for edge in edges if edge["pending"]), edges[0])

    def counts_of_those_up(self):
        return [len(account.uids("INBOX")) for account in (self.laptop, self.desktop)]

    def test_a_wrong_password_is_tried_once_and_again_when_somebody_asks(self):
        good = self.topology_path.read_text()
        blocks = good.split("replica {")
        blocks[3] = blocks[3].replace('password: "', 'password: "not-')
        self.write_text("replica {".join(blocks))
        self.daemon()
        self.wait_for(lambda: self.replica("server")["state"] == "DOWN", "the refusal")
        attempts = self.attempts()
        self.laptop.append("INBOX", mail.ordinary(100), "", DATE)
        self.wait_for(lambda: self.counts_of_those_up() == [6, 6], "the others go on")
        self.wait_for(lambda: self.status()["generated_unix_ms"], "a status")
        self.assertLessEqual(attempts, 2)  # its best mechanism and no other, once
        self.assertEqual(self.attempts(), attempts)
        self.client("sync", "--edge", "laptop:desktop", expect=CONVERGED)
        self.assertEqual(self.attempts(), attempts, "another part of the mesh")
        self.client("sync", expect=PARTIAL)
        self.assertGreater(self.attempts(), attempts)
        self.write_text(good)
        self.client("reload")
        self.client("sync", expect=CONVERGED)

    def attempts(self):
        """Logins that the server refused."""
        return len(re.findall(r"auth failed|Password mismatch", self.servers["server"].log_text()))


class Absence(SteeringTest):
    def test_one_way_and_excluded(self):
        self.write_topology([("laptop", "desktop", "direction: A_TO_B"),
                             ("laptop", "server", 'mailboxes { exclude: "Private" }')])
        self.laptop.create("Private")
        self.laptop.append("Private", mail.ordinary(100), "", DATE)
        self.desktop.append("INBOX", mail.ordinary(101), "", DATE)
        self.started()
        self.assertIn("selects the mailbox", self.because(100, "server"))
        self.assertIn("(direction)", self.because(101, "laptop"))

    def test_what_stands_at_the_end_of_each_way_there(self):
        """The server takes part in the mailbox, by its edge with the desktop, along which nothing comes to it."""
        self.write_topology([("laptop", "desktop"), ("laptop", "server", 'mailboxes { exclude: "Private" }'),
                             ("server", "desktop", "direction: A_TO_B")])
        self.laptop.create("Private")
        self.laptop.append("Private", mail.ordinary(100), "", DATE)
        self.started()
        self.assertEqual(self.because(100, "server"),
                         "no edge carries it from where it is to server: laptop:server does not select the mailbox; "
                         "server:desktop goes the other way only (direction)")
