"""Several coordinators, each with a state of its own, over overlapping parts of one graph: nothing is lost, flags
settle, and a message that a race put somewhere twice is reported, held, and one again once a person says so."""

import collections
import random
import subprocess
import time

import mail
from mesh import BINARIES, CONFLICTS, CONVERGED, MeshTest, answers
from test_tiers import without

DATE = 1_700_000_000


class Coordinator:
    """A coordinator of its own: topology, state, socket."""

    def __init__(self, test, name, edges):
        self.test, self.name = test, name
        self.topology, self.state = test.scratch / f"{name}.textproto", test.scratch / f"{name}.db"
        self.socket = f"unix:{test.scratch}/{name}.sock"
        test.topology_path = self.topology
        test.write_topology(edges)

    def command(self, *arguments):
        return [str(BINARIES / "imapmeshd"), "--topology", str(self.topology), "--state", str(self.state), *arguments]

    def start(self):
        self.test.topology_path, self.test.state_path = self.topology, self.state
        self.test.socket = self.socket
        return self.test.daemon()

    def run_once(self, expect=CONVERGED):
        self.test.topology_path, self.test.state_path = self.topology, self.state
        return self.test.run_once(expect=expect)

    def begin_once(self):
        """imapmeshd --once that runs beside others."""
        log = open(self.test.scratch / f"{self.name}.log", "ab")
        process = subprocess.Popen(self.command("--once"), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()
        self.test.addCleanup(lambda: process.poll() is None and process.kill())
        return process

    def client(self, *arguments, expect=0):
        return self.test.client(*arguments, expect=expect, address=self.socket)

    def conflicts(self):
        return [conflict for conflict in self.client("--json", "conflicts", "list", "--open").get("conflicts", [])]


class CoordinatorsTest(MeshTest):
    """A triangle, and a coordinator on the laptop and on the desktop: both carry laptop:desktop, and each its own edge
    to the server."""

    def setUp(self):
        super().setUp()
        for name in ("laptop", "desktop", "server"):
            self.server(name)
        self.require_binaries()
        self.on_laptop = Coordinator(self, "on-laptop", [("laptop", "server"), ("laptop", "desktop")])
        self.on_desktop = Coordinator(self, "on-desktop", [("desktop", "server"), ("laptop", "desktop")])
        self.coordinators = [self.on_laptop, self.on_desktop]
        self.accounts = [self.account(name) for name in ("laptop", "desktop", "server")]

    def fill(self, count):
        with mail.Account(self.servers["server"]) as account:
            account.create("Work")
            account.append_many("INBOX", [(mail.ordinary(number), "", DATE + number) for number in range(count)])

    def doubled(self):
        """Digests of what some replica has twice in one mailbox."""
        found = set()
        for mailboxes in self.snapshots().values():
            for messages in mailboxes.values():
                counts = collections.Counter(message.digest for message in messages)
                found |= {digest for digest, count in counts.items() if count > 1}
        return found

    def agree(self):
        found = self.snapshots()
        return all(each == found["server"] for each in found.values())


class ASecondCopy(CoordinatorsTest):
    """What the other one did in the same instant is done here by hand, just as a coordinator would do it."""

    def setUp(self):
        super().setUp()
        self.fill(5)
        self.on_laptop.run_once()
        self.laptop, self.desktop, self.server_ = self.accounts
        self.laptop.append("INBOX", mail.ordinary(100), "\\Flagged", DATE + 100)
        self.on_laptop.run_once()
        self.server_.append("INBOX", mail.ordinary(100), "\\Flagged", DATE + 100)
        self.held_run = self.on_laptop.run_once(expect=CONFLICTS)
        self.digest = mail.digest(mail.ordinary(100))

    def counts(self):
        return [len(account.find("INBOX", self.digest)) for account in self.accounts]

    def decide(self, *decision):
        self.on_laptop.start()
        conflict = self.on_laptop.conflicts()[0]
        self.on_laptop.client("conflicts", "resolve", str(conflict["id"]), *decision)
        self.on_laptop.client("sync")

    def test_is_reported_on_the_next_look_and_carried_nowhere(self):
        self.assertEqual(self.counts(), [1, 1, 2])
        self.assertEqual(self.held_run.report["conflicts_open"], 1, self.held_run)
        quiet = self.on_laptop.run_once(expect=CONFLICTS)
        self.assertEqual([replica["mailboxes_selected"] for replica in quiet.report["replicas"]], [0, 0, 0], quiet)
        self.on_laptop.start()
        conflict = self.on_laptop.conflicts()[0]
        self.assertEqual((conflict["kind"], conflict["replica_a"], conflict["mailbox"]), ("DUPLICATE", "server", "INBOX"))
        self.assertIn("Message 100", conflict["subject"])
        self.assertEqual(conflict["message_id"], "<100.0@generated.example>")
        self.assertEqual(conflict["choices"], ["DELETE", "RESTORE"])
        uids = self.server_.find("INBOX", self.digest)
        for uid in uids:
            self.assertIn(f"UID {uid}", conflict["change_a"])

    def test_decided_to_delete_one_is_left(self):
        self.decide("--delete")
        self.assertEqual(self.counts(), [1, 1, 1])
        self.check()

    def test_decided_to_keep_both_they_are_two_everywhere(self):
        self.decide("--restore")
        self.assertEqual(self.counts(), [2, 2, 2])
        self.check()

    def test_whichever_of_the_two_somebody_removes_the_message_stays_everywhere(self):
        for index in (0, 1):
            with self.subTest(index):
                uids = sorted(self.server_.find("INBOX", self.digest))
                self.server_.expunge("INBOX", uids[index])
                self.on_laptop.run_once()
                self.assertEqual(self.counts(), [1, 1, 1])
                self.check()
                self.server_.append("INBOX", mail.ordinary(100), "\\Flagged", DATE + 100)
                self.on_laptop.run_once(expect=CONFLICTS)

    def test_the_end_of_the_message_elsewhere_leaves_the_second_copy_to_a_decision(self):
        self.laptop.expunge("INBOX", self.laptop.find("INBOX", self.digest))
        self.on_laptop.run_once(expect=CONFLICTS)
        self.assertEqual(self.counts(), [0, 0, 1])


class Together(CoordinatorsTest):
    """Both at work at the same time, while users change everything everywhere."""

    def setUp(self):
        super().setUp()
        self.fill(30)
        self.source = random.Random(20261125)
        self.expected = {mail.digest(mail.ordinary(number)): "INBOX" for number in range(30)}
        self.deleted = set()
        self.flagged = {}  # digest: flags
        self.number = 1000

    def change(self):
        """One change by each user, each to messages of their own."""
        for which, account in enumerate(self.accounts):
            self.number += 1
            content = mail.ordinary(self.number)
            account.append("INBOX", content, "", DATE + self.number)
            self.expected[mail.digest(content)] = "INBOX"
            own = [number for number in range(30) if number % 3 == which]
            for change in ("flag", "delete", "move"):
                number = self.source.choice(own)
                digest = mail.digest(mail.ordinary(number))
                uids = account.find("INBOX", digest) if self.expected.get(digest) == "INBOX" else []
                if len(uids) != 1 or digest in self.flagged:
                    continue
                if change == "flag":
                    account.store("INBOX", uids, "+FLAGS", "\\Flagged $Label1")
                    self.flagged[digest] = {"\\flagged", "$label1"}
                elif change == "delete":
                    account.expunge("INBOX", uids)
                    self.deleted.add(digest)
                    del self.expected[digest]
                else:
                    account.move("INBOX", uids, "Work")
                    self.expected[digest] = "Work"

    def assert_reported(self, doubled):
        """Each second copy is named by a conflict of some coordinator."""
        identifiers = {conflict["message_id"] for coordinator in self.coordinators
                       for conflict in coordinator.conflicts() if conflict["kind"] == "DUPLICATE"}
        named = {mail.digest(mail.ordinary(int(each.strip("<").split(".")[0]))) for each in identifiers}
        self.assertLessEqual(doubled, named)

    def decide_all(self):
        """A person has the second copies removed, at whichever coordinator reports them."""
        def nothing_is_open():
            for coordinator in self.coordinators:
                for conflict in coordinator.conflicts():
                    self.assertEqual(conflict["kind"], "DUPLICATE", conflict)
                    coordinator.client("conflicts", "resolve", str(conflict["id"]), "--delete", expect=None)
                coordinator.client("sync", expect=None)
            return not any(coordinator.conflicts() for coordinator in self.coordinators) and self.agree()

        self.wait_for(nothing_is_open, "agreement once all is decided", 60)

    def assert_outcome(self):
        found = self.check(deleted=[("INBOX", digest) for digest in self.deleted])
        where = {message.digest: mailbox for mailbox, messages in found.items() for message in messages}
        self.assertEqual(where, self.expected)
        self.assertEqual(sum(len(messages) for messages in found.values()), len(self.expected), "doubled")
        for messages in found.values():
            for message in messages:
                self.assertEqual(message.flags, self.flagged.get(message.digest, set()), message)

    def test_running_side_by_side(self):
        daemons = []
        for coordinator in self.coordinators:  # one after the other: what is doubled is doubled by what follows
            daemons.append(coordinator.start())
            # What somebody deletes before a coordinator's first look, that one cannot know of: to it, it is not there yet.
            self.wait_for(lambda: coordinator.client("--json", "status").get("converged"), "the first looks", 60)
            self.wait_for(self.agree, "the first agreement", 60)
        for _ in range(6):
            self.change()
            time.sleep(0.3)
        self.wait_for_all_mail()
        self.settle()
        doubled = self.doubled()
        self.assert_reported(doubled)
        print(f"figures: {len(self.expected)} messages, {len(doubled)} doubled by a race and reported")
        self.decide_all()
        self.assert_outcome()
        for daemon in daemons:
            daemon.stop()

    def test_runs_at_the_same_time(self):
        for coordinator in self.coordinators:
            coordinator.run_once()
        for _ in range(6):
            self.change()
            for process in [coordinator.begin_once() for coordinator in self.coordinators]:
                self.assertIn(process.wait(60), (CONVERGED, CONFLICTS))
        for _ in range(2):  # what one did while the other had looked already
            for coordinator in self.coordinators:
                coordinator.run_once(expect=None)
        doubled = self.doubled()
        for coordinator in self.coordinators:
            coordinator.start()
        self.assert_reported(doubled)
        print(f"figures: {len(self.expected)} messages, {len(doubled)} doubled by a race and reported")
        self.decide_all()
        self.assert_outcome()

    def wait_for_all_mail(self):
        differences = {}

        def all_is_there():
            held = {name: {message.digest for messages in mailboxes.values() for message in messages}
                    for name, mailboxes in self.snapshots().items()}
            differences.clear()
            differences.update(
                {name: {"lacks": sorted(set(self.expected) - digests), "has": sorted(digests - set(self.expected))}
                 for name, digests in held.items() if digests != set(self.expected)})
            return not differences

        self.wait_for(all_is_there, differences, 60)

    def settle(self):
        """Until both have had nothing to do for a while."""
        def rounds():
            return [coordinator.client("--json", "status").get("rounds") for coordinator in self.coordinators]

        def unchanged():
            before = rounds()
            time.sleep(1.5)
            return rounds() == before

        self.wait_for(unchanged, "both at rest", 60)


class ThreeTogether(Together):
    """One more on the server: each edge of the triangle is carried by two."""

    def setUp(self):
        super().setUp()
        self.coordinators.append(Coordinator(self, "on-server", [("laptop", "server"), ("desktop", "server")]))


class ManyAtOnce(MeshTest):
    """Two coordinators for the same two servers, and much mail comes at once to one of these."""

    COUNT = 60

    def start(self, capability=""):
        for name in ("laptop", "server"):
            self.server(name, capability=capability)
        self.require_binaries()
        self.coordinators = [Coordinator(self, name, [("laptop", "server")]) for name in ("on-laptop", "on-server")]
        self.laptop, self.remote = self.account("laptop"), self.account("server")
        self.remote.append("INBOX", mail.ordinary(0), "", DATE)
        for coordinator in self.coordinators:
            coordinator.run_once()

    def deliver(self):
        """Returns how often each of what came is there once both are at rest."""
        contents = [mail.ordinary(10 + number) for number in range(self.COUNT)]
        self.remote.append_many("INBOX", [(each, "", DATE + at) for at, each in enumerate(contents)])

        def is_all_there():
            found = {message.digest for message in self.laptop.messages("INBOX").values()}
            return all(mail.digest(content) in found for content in contents)

        self.wait_for(is_all_there, "all of it on the laptop", 60)
        time.sleep(1)
        found = collections.Counter(message.digest for message in self.laptop.messages("INBOX").values())
        return [found[mail.digest(content)] for content in contents]

    def test_those_that_know_of_each_other_double_nothing(self):
        """Of servers without MULTIAPPEND, where each message is a command of its own."""
        self.start(without("MULTIAPPEND"))
        first, second = self.coordinators
        for number, (sees, brings) in enumerate([(first, second), (second, first)], start=1):
            # What the other one brought of that which this one knew already tells it of the other one.
            self.laptop.append("INBOX", mail.ordinary(number), "", DATE + number)
            sees.run_once()
            self.remote.append("INBOX", mail.ordinary(100 + number), "", DATE + number)
            brings.run_once()
            sees.run_once()
        for coordinator in self.coordinators:
            coordinator.start()
        self.assertEqual(self.deliver(), [1] * self.COUNT)
        self.assertEqual([each.conflicts() for each in self.coordinators], [[], []])
        self.check()

    def test_those_that_never_met_double_one_at_most_and_report_it(self):
        self.start()
        for coordinator in self.coordinators:
            coordinator.start()
        counts = self.deliver()
        doubled = sum(count - 1 for count in counts)
        self.assertLessEqual(doubled, 1, counts)
        conflicts = [conflict for each in self.coordinators for conflict in each.conflicts()]
        self.assertEqual(len({conflict["message_id"] for conflict in conflicts}), doubled, conflicts)


class EqualMessages(CoordinatorsTest):
    """Each of eight messages twice in INBOX, and three coordinators: which of the two is which none of them can tell, and
    each may have paired them in its own way. Of what somebody deletes of the one, the other one stays."""

    COUNT = 8

    def setUp(self):
        super().setUp()
        self.coordinators.append(Coordinator(self, "on-server", [("laptop", "server"), ("desktop", "server")]))
        self.source = random.Random(20261129)
        self.contents = [mail.ordinary(number) for number in range(self.COUNT)]
        for account, half in zip(self.accounts, (self.contents[:4], self.contents[4:])):
            account.append_many("INBOX", [(each, "", DATE + at) for at, each in enumerate(half)] * 2)
        for coordinator in self.coordinators:
            coordinator.start()
            # What somebody deletes before a coordinator's first look is for that one not there yet.
            self.wait_for(lambda: coordinator.client("--json", "status").get("converged"), "the first looks", 60)
            self.wait_until_held(2)

    def held(self, which=None):
        """How often each content is there; nothing while replicas differ."""
        found = self.snapshots(which)
        first = next(iter(found.values()))
        if any(each != first for each in found.values()):
            return []
        counts = collections.Counter(message.digest for message in first["INBOX"])
        return [counts[mail.digest(content)] for content in self.contents]

    def wait_until_held(self, times, which=None):
        seen = {}

        def is_held():
            found = self.snapshots(which)
            digests = [mail.digest(content) for content in self.contents]
            seen.clear()
            for name, mailboxes in found.items():
                counts = collections.Counter(message.digest for message in mailboxes["INBOX"])
                seen[name] = [counts[digest] for digest in digests]
            return self.held(which) == [times] * self.COUNT

        self.wait_for(is_held, seen, 60)

    def expunge_one(self, content, account):
        account.expunge("INBOX", [self.source.choice(account.find("INBOX", mail.digest(content)))])

    def test_one_of_each_two_is_deleted_the_other_one_stays(self):
        for content in self.contents:
            self.expunge_one(content, self.source.choice(self.accounts))
            time.sleep(self.source.choice((0, 0.05, 0.5)))
        self.wait_until_held(1)
        self.assertEqual([each.conflicts() for each in self.coordinators], [[]] * 3)

    def test_one_is_deleted_while_a_replica_is_down(self):
        self.servers["server"].kill()
        laptop, desktop = self.accounts[:2]
        for content in self.contents:
            self.expunge_one(content, self.source.choice((laptop, desktop)))
        self.wait_until_held(1, ["laptop", "desktop"])
        self.servers["server"].start()
        for coordinator in self.coordinators:  # without waiting until each tries again
            coordinator.client("sync", expect=None)
        self.wait_until_held(1)
        self.assertEqual([each.conflicts() for each in self.coordinators], [[]] * 3)

    def test_flags_of_one_settle(self):
        for content in self.contents:
            account = self.source.choice(self.accounts)
            uids = account.find("INBOX", mail.digest(content))
            account.store("INBOX", [self.source.choice(uids)], "+FLAGS", "\\Flagged")

        def one_of_each_two_has_it():
            found = self.snapshots()
            if any(each != found["server"] for each in found.values()):
                return False
            flagged = collections.Counter(message.digest for message in found["server"]["INBOX"]
                                          if "\\flagged" in message.flags)
            return [flagged[mail.digest(content)] for content in self.contents] == [1] * self.COUNT

        self.wait_for(one_of_each_two_has_it, "one of each two to be flagged everywhere", 60)
        self.assertEqual(self.held(), [2] * self.COUNT)
