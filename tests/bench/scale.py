"""The works of scale: many replicas, many mailboxes, many messages. imapmesh alone, as no peer can do the first.

Each is adopted first (all replicas hold the same mail already), then synced with nothing to do, then with more and more
flags changed on one replica: what a round costs must follow from what changed.
"""

import contextlib
import socket
import statistics
import subprocess
import threading
import time

import corpus
import mail
import stand as stands
import tools as competitors

CHORD_EVERY = 5  # replicas of the ring


class Mesh(competitors.Imapmesh):
    """Replicas that are accounts of any of the stand's servers, and any edges."""

    def __init__(self, stand, folder, accounts, edges):
        super().__init__(stand, "", folder)
        self.accounts, self.edges = accounts, edges  # (site, user); pairs of indexes

    def write_topology(self, link, compress):
        text = 'name: "bench"\n'
        for index, (site, user) in enumerate(self.accounts):
            text += (f'replica {{\n  name: "r{index}"\n  imap {{ host: "127.0.0.1" port: {link.port(self.stand[site])} '
                     f'security: PLAINTEXT }}\n  auth {{ username: "{user}" password: "{competitors.dovecot.PASSWORD}" }}\n'
                     '  max_connections: 2\n}\n')
        for a, b in self.edges:
            text += f'edge {{ a: "r{a}" b: "r{b}" }}\n'
        path = self.folder / "topology.textproto"
        path.write_text(text)
        path.chmod(0o600)
        return path

    def state_bytes(self):
        return sum(path.stat().st_size for path in self.folder.glob("state.db*") if path.suffix != ".lock")


def star(replicas):
    return [(0, other) for other in range(1, replicas)]


def ring_with_chords(replicas):
    edges = [(index, index + 1) for index in range(replicas - 1)]
    if replicas > 2:
        edges.append((replicas - 1, 0))
    chords = [(index, index + replicas // 2) for index in range(0, replicas // 2, CHORD_EVERY)]
    return edges + [chord for chord in chords if chord not in edges]


def _sample(bench, work, cost, **more):
    sample = {"work": work, "tool": "imapmesh", "link": "direct", **more}
    if cost:
        sample.update(wall_s=cost["wall_s"], cpu_s=cost["user_s"] + cost["sys_s"], memory_kb=cost["memory_kb"])
    bench.samples.append(sample)
    bench.say(sample)


def _require(condition, why):
    if not condition:
        raise RuntimeError(why)


class _Listening:
    """Servers that greet and note when the first command arrives: a port for each site."""

    def __init__(self):
        self.commanded = threading.Event()
        self.at = None
        self._listeners = {}

    def port(self, site):
        if site.name not in self._listeners:
            self._listeners[site.name] = socket.create_server(("127.0.0.1", 0), backlog=100)
            threading.Thread(target=self._serve, args=(self._listeners[site.name],), daemon=True).start()
        return self._listeners[site.name].getsockname()[1]

    def _serve(self, listener):
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN LITERAL+] ready\r\n")
                if connection.recv(1) and self.at is None:
                    self.at = time.monotonic()
                    self.commanded.set()

    def close(self):
        for listener in self._listeners.values():
            listener.close()


def start_to_command(tool):
    """Seconds from the program's start to the first command that a server reads."""
    with contextlib.closing(_Listening()) as servers:
        command = [str(part) for part in tool.command(servers, False)]
        started = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            _require(servers.commanded.wait(30), "no command within 30 s of the start")
        finally:
            process.kill()
            process.wait()
        return servers.at - started


def _rounds(bench, work, tool, change, steps, copies):
    """Adopts, then syncs with nothing changed and with each number of steps changed; `change` returns a check."""
    cost = tool.run(stands.Direct())
    report = tool.report()
    _require(report["converged"], f"{work}: adoption did not converge")
    _require(sum(replica["messages_fetched"] for replica in report["replicas"]) == 0, f"{work}: a body was fetched")
    _sample(bench, work + "-adopted", cost, copies=copies)
    tool.run(stands.Direct())
    for step in [0, *steps]:
        check = change(step) if step else None
        cost = tool.run(stands.Direct())
        _require(tool.report()["converged"], f"{work}: {step} changes did not converge")
        if check:
            check()
        _sample(bench, work, cost, changed=step, copies=copies)
    took = [start_to_command(tool) for _ in range(5)]
    _sample(bench, work + "-start", None, start_s=statistics.median(took), copies=copies,
            state_bytes_a_copy=tool.state_bytes() / copies)


def _flag_each(bench, here, there, mailboxes):
    """One message in each of as many mailboxes as are to be changed; the next step changes others."""
    done = 0

    def change(count):
        nonlocal done
        chosen = mailboxes[done:done + count]
        done += count
        _require(len(chosen) == count, "there are too few mailboxes for the changes")
        with mail.Account(bench.stand[here[0]], here[1]) as account:
            for mailbox in chosen:
                account.store(mailbox, [1], "+FLAGS", "\\Answered")

        def check():
            with mail.Account(bench.stand[there[0]], there[1]) as account:
                for mailbox in (chosen[0], chosen[-1]):
                    _require(account.uids(mailbox, "ANSWERED") == [1], f"{mailbox}: the change did not arrive")

        return check

    return change


def _steps(total, available):
    """1, 10, 100… as far as there is something to change."""
    steps, step = [], 1
    while step <= total and sum(steps) + step <= available:
        steps.append(step)
        step *= 10
    return steps


def _mesh_of_many(bench, work, edges_of):
    options, stand = bench.options, bench.stand
    mailboxes = corpus.mailbox_names(options.scale_mailboxes)
    sites = ("near", "far", "third")
    accounts = [(sites[index % 3], f"{work}-{index}") for index in range(options.scale_replicas)]
    stand.fill(*accounts[0], mailboxes, len(mailboxes), corpus.small)
    for account in accounts[1:]:
        stand.clone(*accounts[0], *account)
    tool = Mesh(stand, bench.tool_folder / work, accounts, edges_of(len(accounts)))
    change = _flag_each(bench, accounts[0], accounts[-1], mailboxes)
    _rounds(bench, work, tool, change, _steps(100, len(mailboxes)), len(accounts) * len(mailboxes))


def mesh_star(bench):
    _mesh_of_many(bench, "scale-star", star)


def mesh_ring(bench):
    _mesh_of_many(bench, "scale-ring", ring_with_chords)


def many_mailboxes(bench):
    """Two replicas with very many mailboxes."""
    mailboxes = corpus.mailbox_names(bench.options.many_mailboxes)
    accounts = [("near", "many"), ("far", "many")]
    bench.stand.fill(*accounts[0], mailboxes, len(mailboxes), corpus.small)
    bench.stand.clone(*accounts[0], *accounts[1])
    tool = Mesh(bench.stand, bench.tool_folder / "many", accounts, star(2))
    change = _flag_each(bench, *accounts, mailboxes)
    _rounds(bench, "scale-mailboxes", tool, change, _steps(1000, len(mailboxes)), 2 * len(mailboxes))


def large_mailbox(bench):
    """One mailbox with very many messages on two replicas, in files that hold many (mdbox)."""
    total = bench.options.large_mailbox
    stand = stands.Stand(bench.tool_folder.parent / "large", ("near", "far"), storage="mdbox")
    try:
        stand.account("near", "large")
        with mail.Account(stand["near"], "large") as account:
            for start in range(0, total, 10_000):
                numbers = range(start, min(total, start + 10_000))
                account.append_many("INBOX", ((corpus.small(n), "\\Seen" if n % 3 else "", corpus.epoch(n))
                                              for n in numbers), batch=1000)
        stand.touch("near", "large")
        stand.clone("near", "large", "far", "large")
        accounts = [("near", "large"), ("far", "large")]
        tool = Mesh(stand, bench.tool_folder / "large-mailbox", accounts, star(2))
        done = 0

        def change(count):
            nonlocal done
            uids = range(done + 1, done + count + 1)
            done += count
            with mail.Account(stand["near"], "large") as account:
                account.store("INBOX", uids, "+FLAGS", "\\Answered")

            def check():
                with mail.Account(stand["far"], "large") as account:
                    _require(len(account.uids("INBOX", "ANSWERED")) == done, "the changes did not arrive")

            return check

        _rounds(bench, "scale-messages", tool, change, _steps(10_000, total), 2 * total)
    finally:
        stand.close()


ALL = {"scale-star": mesh_star, "scale-ring": mesh_ring, "scale-mailboxes": many_mailboxes,
       "scale-messages": large_mailbox}
