"""Under fire: processes killed, connections hurt, disks full, everything frozen. Afterwards a normal run brings the
replicas to what their users left: nothing lost, nothing doubled.

`run.py --kills N Kills` kills imapmeshd N times instead of the few of ./test; --seed S draws another history.
"""

import collections
import os
import random
import signal
import subprocess
import threading
import time

import proxy
from mesh import CONVERGED, PARTIAL, Daemon, MeshTest, slow
from users import Users

SEED = int(os.environ.get("IMAPMESH_SEED") or 1)
TIMEOUT_S = 2  # of each replica, where a test waits for a deadline


class FaultTest(MeshTest):
    def setUp(self):
        super().setUp()
        self.source = random.Random(f"{SEED}/{self.id()}")
        self.accounts = 0

    def new_account(self, **options):
        """Fresh accounts on the three servers, and their users; the state file is a new one."""
        if not self.servers:
            self.triangle(**options)
        self.accounts += 1
        for server in self.servers.values():
            server.username = f"user{self.accounts}"
        self.write_topology([("laptop", "server"), ("laptop", "desktop"), ("desktop", "server")])
        self.state_path = self.scratch / f"state{self.accounts}.db"
        self.users = Users(list(self.servers.values()), self.source)
        return self.users

    def short_timeouts(self):
        text = self.topology_path.read_text()
        self.write_text(text.replace("  auth {", f"  timeout_s: {TIMEOUT_S}\n  auth {{"))

    def everybody_acts(self, **options):
        for index in range(len(self.servers)):
            self.users.act(index, **options)

    def start_run(self):
        self.require_binaries()
        return Daemon(["--topology", str(self.topology_path), "--state", str(self.state_path), "--once"],
                      self.scratch / "interrupted.log")

    def settle(self):
        """What must hold after whatever happened: normal runs until nothing is left to do, at most three."""
        for _ in range(3):
            run = self.run_once(expect=None)
            if run.code == CONVERGED:
                break
        self.assertEqual(run.code, CONVERGED, run)
        self.check(self.users.expected(), deleted=self.users.gone())
        self.check(self.users.expected(), quiet=self.run_once())


class Kills(FaultTest):
    """kill -9 of imapmeshd at random instants of first syncs, incremental syncs and moves."""

    def kill_runs(self, count, phase):
        """Kills `count` runs at random instants; fewer when one has nothing left to do."""
        for _ in range(count):
            run = self.start_run()
            try:
                run.process.wait(self.source.uniform(0.01, 1.1) * self.run_s)
                if run.process.returncode == CONVERGED:
                    return
            except subprocess.TimeoutExpired:
                run.kill()
                self.killed[phase] += 1

    def measured_settle(self):
        started = time.monotonic()
        self.settle()
        self.run_s = 0.5 * self.run_s + 0.5 * min(1.0, (time.monotonic() - started) / 2)

    @slow(3000 if os.environ.get("IMAPMESH_KILLS") else 240)
    def test_imapmeshd_killed_at_random_instants(self):
        wanted = int(os.environ.get("IMAPMESH_KILLS") or 15)
        self.killed = collections.Counter()
        self.run_s = 0.4
        histories = 0
        started = time.monotonic()
        while sum(self.killed.values()) < wanted:
            histories += 1
            self.new_account()
            for index in range(3):
                self.users.deliver(index, 25, size=self.source.choice((300, 3000, 30_000)))
            self.kill_runs(4, "first sync")
            self.measured_settle()
            for phase, kinds in (("incremental", ("flag", "unflag", "delete", "copy")), ("moves", ("move",))):
                # Killed again and again while users go on, and what a killed run left half done is met by the next.
                for _ in range(3):
                    self.everybody_acts(kinds=kinds)
                    if phase == "incremental":
                        self.users.deliver(self.source.randrange(3), 4)
                    self.kill_runs(2, phase)
                self.measured_settle()
        print(f"figures: {sum(self.killed.values())} kills ({dict(self.killed)}) in {histories} histories, "
              f"{time.monotonic() - started:.0f} s, seed {SEED}")


class DovecotKilled(FaultTest):
    @slow(240)
    def test_dovecot_killed_and_restarted_during_syncs(self):
        self.new_account()
        for index in range(3):
            self.users.deliver(index, 60, size=3000)
        for round_number in range(4):
            run = self.start_run()
            time.sleep(self.source.uniform(0.05, 0.4))
            # An mbox is written in place: what kill -9 leaves of it is no longer what the server had confirmed.
            names = [name for name, server in sorted(self.servers.items()) if server.storage != "mbox"]
            victim = self.servers[self.source.choice(names)]
            victim.kill()
            self.assertIn(run.process.wait(60), (CONVERGED, PARTIAL), run.log())
            victim.start()
            if round_number % 2:
                self.settle()
                self.everybody_acts()
        self.settle()


class HurtConnections(FaultTest):
    def through_proxies(self, kinds=proxy.KINDS):
        """Every connection to the three servers passes a proxy that draws a fault for it."""
        lock = threading.Lock()  # the proxies' threads share one source of chance

        def next_fault():
            with lock:
                return proxy.draw(self.source, kinds)

        self.proxies = []
        text = self.topology_path.read_text()
        for server in self.servers.values():
            between = proxy.Proxy(server.port, next_fault)
            self.addCleanup(between.close)
            self.proxies.append(between)
            text = text.replace(f"port: {server.port} ", f"port: {between.port} ")
        self.write_text(text)

    def calm(self):
        for between in self.proxies:
            between.calm()

    def counts(self):
        return sum((between.counts for between in self.proxies), collections.Counter())

    @slow(300)
    def test_connections_cut_trickled_and_delayed_at_random_bytes(self):
        self.new_account()
        self.through_proxies(("cut", "cut", "trickle", "delay"))
        for index in range(3):
            self.users.deliver(index, 25, size=self.source.choice((300, 3000)))
        for _ in range(8):
            self.assertIn(self.run_once(expect=None).code, (CONVERGED, PARTIAL))
            self.everybody_acts(count=3)
        self.assertGreater(self.counts()["cut"], 5)
        self.calm()
        self.settle()

    @slow(300)
    def test_connections_that_stall_are_given_up(self):
        self.new_account()
        self.short_timeouts()
        self.through_proxies(("stall",))
        for index in range(3):
            self.users.deliver(index, 10, size=3000)
        for _ in range(3):
            run = self.run_once(expect=None, timeout_s=90)
            self.assertIn(run.code, (CONVERGED, PARTIAL), run)
            self.everybody_acts(count=2)
        self.assertGreater(self.counts()["stall"], 0)
        self.calm()
        self.settle()

    @slow(300)
    def test_a_daemon_lives_through_cut_connections(self):
        self.new_account()
        self.through_proxies(("cut",))
        for index in range(3):
            self.users.deliver(index, 10)
        daemon = self.daemon()
        for _ in range(4):
            self.everybody_acts(count=3)
            time.sleep(0.5)
            self.source.choice(self.proxies).cut_all()
        self.calm()
        self.client("sync", expect=None, timeout_s=90)
        expected = {mailbox: sorted(messages) for mailbox, messages in self.users.expected().items()}
        self.wait_for(lambda: all({mailbox: sorted(messages) for mailbox, messages in found.items()} == expected
                                  for found in self.snapshots().values()), "equality\n" + daemon.log()[-3000:], 60)
        daemon.stop()
        self.settle()


class FullDisk(FaultTest):
    """The disk under the state file is full at some point of a sync; with room again the same state goes on."""

    @slow(240)
    def test_a_disk_that_is_full_during_a_sync(self):
        full = 0
        for size_kb in (150, 250):
            self.new_account()
            for index in range(3):
                self.users.deliver(index, 60)
            with self.subTest(size_kb=size_kb):
                limit = self.small_disk(size_kb)
                run = self.run_once(expect=None, preexec=limit)
                if run.code not in (CONVERGED, PARTIAL):
                    full += 1
                    self.assertIn(str(self.state_path), run.output)
                self.more_room()
                self.everybody_acts(count=3)
                self.settle()
        self.assertGreater(full, 0, "no run met a full disk")

    def small_disk(self, size_kb):
        """Puts the state on a tmpfs of that size where this user may mount one, else limits the size of files."""
        folder = self.scratch / f"disk{size_kb}"
        folder.mkdir()
        self.state_path = folder / "state.db"
        self.mounted = os.geteuid() == 0 and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "none", str(folder)], capture_output=True).returncode == 0
        if self.mounted:
            self.addCleanup(subprocess.run, ["umount", "-l", str(folder)], check=True)
            return None

        def limit():
            import resource
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails as on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (size_kb * 500, size_kb * 500))
        return limit

    def more_room(self):
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,size=64m", str(self.state_path.parent)], check=True)


class Frozen(FaultTest):
    @slow(240)
    def test_a_server_stopped_for_longer_than_the_deadlines(self):
        self.new_account()
        self.short_timeouts()
        for index in range(3):
            self.users.deliver(index, 40, size=3000)
        for delay in (0.05, 0.25):
            run = self.start_run()
            time.sleep(delay)
            self.servers["desktop"].pause()
            try:
                # The others are synced all the same, within what deadlines allow.
                self.assertIn(run.process.wait(60), (CONVERGED, PARTIAL), run.log())
            finally:
                self.servers["desktop"].resume()
        self.settle()
        self.everybody_acts()
        self.settle()

    @slow(240)
    def test_imapmeshd_stopped_for_longer_than_the_deadlines(self):
        self.new_account()
        self.short_timeouts()
        for index in range(3):
            self.users.deliver(index, 40, size=3000)
        run = self.start_run()
        time.sleep(0.2)
        run.process.send_signal(signal.SIGSTOP)
        time.sleep(2 * TIMEOUT_S)
        run.process.send_signal(signal.SIGCONT)
        self.assertIn(run.process.wait(60), (CONVERGED, PARTIAL), run.log())
        self.settle()
        # The continuous one sleeps through changes.
        daemon = self.daemon()
        daemon.process.send_signal(signal.SIGSTOP)
        self.everybody_acts()
        time.sleep(2 * TIMEOUT_S)
        daemon.process.send_signal(signal.SIGCONT)
        self.client("sync", expect=None)
        daemon.stop()
        self.settle()


class TwoDaemons(FaultTest):
    @slow(120)
    def test_two_daemons_on_one_state(self):
        self.new_account()
        for index in range(3):
            self.users.deliver(index, 40)
        for _ in range(3):
            runs = [self.start_run() for _ in range(3)]
            codes = sorted(run.process.wait(60) for run in runs)
            self.assertIn(CONVERGED, codes)
            self.assertTrue(set(codes) <= {CONVERGED, 1}, codes)
            self.everybody_acts(count=3)
        # The lock of one that was killed holds nobody up.
        first = self.start_run()
        time.sleep(0.1)
        first.kill()
        self.settle()
