"""A mesh of real Dovecots with the real programs: topology files, runs, a daemon, and what must hold afterwards."""

import collections
import imaplib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import dovecot
import mail

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARIES = pathlib.Path(os.environ.get("IMAPMESH_BIN") or REPOSITORY / "bazel-bin" / "rpc")
CHECKER = pathlib.Path(os.environ.get("IMAPMESH_CHECKER") or REPOSITORY / "bazel-bin/tests/checker/check_history")
RUN_TIMEOUT_S = 120

# AddressSanitizer keeps what was freed for a while: what memory a program needs is not told by one that is built so.
measures_memory = unittest.skipIf("ASAN_OPTIONS" in os.environ, "measures memory")

CONVERGED, FAILED, BAD_USAGE, CONFLICTS, PARTIAL = 0, 1, 2, 3, 4  # exit codes of both programs

TRIANGLE = [("laptop", "server"), ("laptop", "desktop"), ("desktop", "server")]

# What the servers of a test are, in turn, unless it says so itself (run.py --kinds). They differ in storage, in the
# hierarchy separator, and in what that makes of names.
KINDS = {
    "": [{}],
    "mixed": [{"storage": "sdbox", "separator": "."}, {"storage": "mbox", "separator": "/"},
              {"storage": "maildir", "separator": "."}],
}[os.environ.get("IMAPMESH_KINDS", "")]


def memory_peak_kb(pid):
    """The most memory that a running process ever held; 0 when it has just ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found.group(1)) if found else 0


def answers(path):
    """Somebody listens on a unix socket; its file alone is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


class Run:
    """How one program ended."""

    def __init__(self, code, output, report=None, memory_kb=0):
        self.code, self.output, self.report, self.memory_kb = code, output, report, memory_kb

    def replica(self, name):
        return next(replica for replica in self.report["replicas"] if replica["name"] == name)

    def __repr__(self):
        return f"exit {self.code}\n{self.output}\n{json.dumps(self.report, indent=1) if self.report else '(no report)'}"


class Daemon:
    """A running imapmeshd; stop() ends it and asserts that it obeys."""

    def __init__(self, arguments, log_path, environment=None):
        self.log_path = log_path
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen([str(BINARIES / "imapmeshd"), *arguments], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env=environment)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def memory_kb(self):
        """The most memory it ever held."""
        return memory_peak_kb(self.process.pid)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, limit_s=20.0):
        if self.process.poll() is not None:
            return self.process.returncode
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"imapmeshd did not end within {limit_s} s of SIGTERM:\n{self.log()[-3000:]}")
        return self.process.returncode


class MeshTest(unittest.TestCase):
    """One test with its own scratch folder, servers, topology and state. Everything started is stopped at the end."""

    maxDiff = 4000

    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="t."))
        self.scratch.chmod(0o755)
        if not os.environ.get("IMAPMESH_KEEP"):
            self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.servers = {}  # by name of the replica: those that check() compares
        self.started_servers = []
        self.topology_path = self.scratch / "topology.textproto"
        self.state_path = self.scratch / "state.db"
        self.socket = f"unix:{self.scratch}/mesh.sock"

    # Servers and topologies.

    def server(self, name, **options):
        """options: of dovecot.Dovecot; a test that asks for a storage or a separator gets nothing else by KINDS."""
        if not {"storage", "separator"} & set(options):
            options.update(KINDS[len(self.started_servers) % len(KINDS)])
        server = dovecot.Dovecot(name, self.scratch / name, **options)
        if not self.started_servers:
            self.addCleanup(self._stop_servers)
        self.started_servers.append(server)
        self.servers[name] = server
        return server

    def _stop_servers(self):
        for server in self.started_servers:
            server.discard()

    def triangle(self, laptop=None, desktop=None, server=None, kinds=None):
        """Three Dovecots and a topology of all three edges; kinds: how each is reached ("tunnel", "tls"…)."""
        options = {"laptop": laptop or {}, "desktop": desktop or {}, "server": server or {}}
        for name, chosen in options.items():
            self.server(name, **chosen)
        self.write_topology(TRIANGLE, kinds=kinds)
        return [self.servers[name] for name in ("laptop", "desktop", "server")]

    def write_topology(self, edges, kinds=None, extra="", replicas=None):
        kinds = kinds or {}
        text = 'name: "test"\n'
        for name in replicas or self.servers:
            text += f'replica {{\n  name: "{name}"\n{self.servers[name].endpoint(kinds.get(name, "imap"))}}}\n'
        for edge in edges:
            text += f'edge {{ a: "{edge[0]}" b: "{edge[1]}" {edge[2] if len(edge) > 2 else ""} }}\n'
        self.write_text(text + extra)

    def write_text(self, text):
        self.topology_path.write_text(text)
        self.topology_path.chmod(0o600)

    def carried(self, contents):
        """Those of `contents` that every kind of server in this run keeps byte for byte."""
        return mail.carried_by_mbox(contents) if any(kind.get("storage") == "mbox" for kind in KINDS) else contents

    def broken(self, seed=0):
        return self.carried(mail.broken(seed))

    # Programs.

    def require_binaries(self):
        if not (BINARIES / "imapmeshd").exists():
            self.fail(f"{BINARIES}/imapmeshd is not built (bazel build //rpc:imapmeshd //rpc:imapmesh)")

    def run_once(self, expect=CONVERGED, arguments=(), timeout_s=RUN_TIMEOUT_S, preexec=None, environment=None):
        """imapmeshd --once; `expect` None takes any exit code."""
        self.require_binaries()
        report_path = self.scratch / "report.json"
        report_path.unlink(missing_ok=True)
        command = [str(BINARIES / "imapmeshd"), "--topology", str(self.topology_path), "--state", str(self.state_path),
                   "--once", "--report", str(report_path), *arguments]
        run = self.run_command(command, timeout_s, preexec, environment)
        if report_path.exists():
            run.report = json.loads(report_path.read_text())
        if expect is not None:
            self.assertEqual(run.code, expect, run)
        return run

    def run_command(self, command, timeout_s=60, preexec=None, environment=None):
        """Runs a program and watches the most memory that it held."""
        output_path = self.scratch / "output"
        with open(output_path, "wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                                       preexec_fn=preexec, env={**os.environ, **(environment or {})})
            deadline = time.monotonic() + timeout_s
            memory_kb = 0
            while process.poll() is None:
                # Not the child's resource usage: that counts what its parent held when it forked.
                memory_kb = max(memory_kb, memory_peak_kb(process.pid))
                if time.monotonic() > deadline:
                    process.kill()
                    process.wait()
                    self.fail(f"{command[0]} ran longer than {timeout_s} s:\n"
                              + output_path.read_text(errors="replace")[-6000:])
                time.sleep(0.01)
        return Run(process.returncode, output_path.read_text(errors="replace")[-12000:], None, memory_kb)

    def client(self, *arguments, expect=0, address=None, timeout_s=60):
        """imapmesh against the running daemon; with --json among the arguments the parsed object is returned."""
        self.require_binaries()
        command = [str(BINARIES / "imapmesh"), "--address", address or self.socket, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
        if expect is not None:
            self.assertEqual(done.returncode, expect, f"{command}\n{done.stdout}{done.stderr}")
        if "--json" in arguments and done.returncode in (0, 3, 4):
            return json.loads(done.stdout)
        return Run(done.returncode, done.stdout + done.stderr)

    def daemon(self, arguments=(), wait=True):
        """The continuous daemon, listening on self.socket."""
        self.require_binaries()
        daemon = Daemon(["--topology", str(self.topology_path), "--state", str(self.state_path), "--listen",
                         self.socket, *arguments], self.scratch / "daemon.log")

        def end():
            if daemon.process.poll() is None:
                daemon.kill()

        self.addCleanup(end)
        if wait:
            socket_path = self.socket.removeprefix("unix:")
            self.wait_for(lambda: answers(socket_path) or daemon.process.poll() is not None, "the daemon's socket")
            self.assertIsNone(daemon.process.poll(), daemon.log())
        return daemon

    def wait_for(self, condition, what, limit_s=30.0):
        """Seconds that it took."""
        started = time.monotonic()
        refusal = ""
        while time.monotonic() - started <= limit_s:
            # A server lists a mailbox for a moment before it lets anybody select it, or after somebody deleted it; and
            # now and then Dovecot 2.3.19 panics where locks wait for each other (file_wait_lock).
            try:
                if condition():
                    return time.monotonic() - started
            except (mail.Refused, imaplib.IMAP4.abort, OSError) as error:
                refusal = f"\n{error}"
            time.sleep(0.02)
        self.fail(f"not within {limit_s} s: {what}{refusal}")

    # What must hold.

    def account(self, server):
        account = mail.Account(self.servers[server] if isinstance(server, str) else server)
        self.addCleanup(account.close)
        return account

    def deaf_port(self):
        """Taken, so that no test beside this one gets it, and not listened at."""
        port = 0
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            holder = socket.socket(family)
            self.addCleanup(holder.close)
            holder.bind((host, port))
            port = holder.getsockname()[1]
        return port

    def snapshots(self, names=None):
        return {name: mail.snapshot(self.servers[name]) for name in names or self.servers}

    def check(self, expected=None, replicas=None, deleted=(), quiet=None):
        """Asks the shared checker: the replicas agree, and hold exactly `expected` ({mailbox: [Message]}) if given.

        deleted: (mailbox, digest) that must not come back. quiet: a Run whose report must show that nothing was done.
        """
        snapshots = self.snapshots(replicas)
        names = list(snapshots)
        history = {"snapshots": [{"replica": name, "mailboxes": _mailboxes(found)}
                                 for name, found in snapshots.items()],
                   "groups": [{"replicas": names}],
                   "deletions": [{"mailbox": mailbox, "digest": digest, "replicas": names}
                                 for mailbox, digest in deleted]}
        if expected is not None:
            history["groups"][0].update(expectedMailboxes=_mailboxes(expected), hasExpected=True)
        if quiet is not None:
            history["runs"] = [_run(quiet.report, must_be_quiet=True)]
        self.check_history(history)
        return snapshots[names[0]]

    def check_history(self, history):
        if not CHECKER.exists():
            self.fail(f"{CHECKER} is not built (bazel build //tests/checker:check_history)")
        done = subprocess.run([str(CHECKER)], input=json.dumps(history), capture_output=True, text=True)
        if done.returncode:
            self.fail("invariants broken:\n" + (done.stdout + done.stderr)[-6000:])

    def assert_quiet(self, expected=None, replicas=None):
        """A further run changes nothing, selects nothing, fetches nothing, and ends with 0."""
        run = self.run_once()
        self.check(expected, replicas, quiet=run)
        return run


def _mailboxes(found):
    return [{"name": name, "messages": [{"digest": message.digest, "size": message.size,
                                         "internalDate": message.date, "flags": sorted(message.flags)}
                                        for message in messages]} for name, messages in sorted(found.items())]


def _run(report, must_be_quiet=False, bodies_to_fetch=-1):
    return {"mustBeQuiet": must_be_quiet, "bodiesToFetch": bodies_to_fetch,
            "replicas": [{"replica": replica["name"],
                          "mailboxesSelected": replica.get("mailboxes_selected", 0),
                          "messagesFetched": replica.get("messages_fetched", 0),
                          "messagesAppended": replica.get("messages_appended", 0),
                          "messagesCopied": replica.get("messages_copied_server_side", 0),
                          "flagsChanged": replica.get("flags_changed", 0),
                          "messagesExpunged": replica.get("messages_expunged", 0)}
                         for replica in report["replicas"]]}


def slow(seconds):
    """Marks a test that needs more time than most; such tests start first."""
    def mark(method):
        method.timeout_s = seconds
        return method
    return mark


def union(*snapshots):
    """The multiset that replicas filled with different mail must agree on."""
    result = collections.defaultdict(list)
    for found in snapshots:
        for mailbox, messages in found.items():
            result[mailbox] += messages
    return dict(result)
