"""The show behind ./quickstart: three Dovecots, mail, the daemon, a change that arrives. Needs the built programs.

Everything lives in one scratch folder, which also records the process ids; --stop ends exactly those.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "dovecot"))

import dovecot  # noqa: E402
import mail  # noqa: E402

BINARIES = pathlib.Path(os.environ.get("IMAPMESH_BIN") or REPOSITORY / "bazel-bin" / "rpc")
NAMES = ["laptop", "desktop", "server"]
CONVERGE_LIMIT_S = 60


def default_folder():
    return pathlib.Path(tempfile.gettempdir()) / f"imapmesh-quickstart-{os.getuid()}"


def stop(folder):
    """Ends what an earlier run recorded, if the process with that id is still the one that was started."""
    pids_path = folder / "pids"
    stopped = 0
    if pids_path.exists():
        for line in reversed(pids_path.read_text().split()):
            pid = int(line)
            with contextlib.suppress(OSError):
                if str(folder) in pathlib.Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGTERM)
                    stopped += 1
                    wait_until_gone(pid)
    if folder.exists():
        if folder.stat().st_uid != os.getuid():
            sys.exit(f"{folder} belongs to somebody else; remove it or set TMPDIR")
        shutil.rmtree(folder, ignore_errors=True)
    return stopped


def wait_until_gone(pid):
    for _ in range(200):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if not pathlib.Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)


def record(folder, process):
    with open(folder / "pids", "a") as out:
        out.write(f"{process.pid}\n")


def say(text):
    print(text, flush=True)


def start_servers(folder):
    servers = {}
    for name in NAMES:
        servers[name] = dovecot.Dovecot(name, folder / name, username="alice", detached=True)
        record(folder, servers[name].process)
        say(f"  {name:8} Dovecot on 127.0.0.1:{servers[name].port}, user alice, password {dovecot.PASSWORD}")
    return servers


def fill(servers):
    """Mail on each of the three, part of it the same on all, as after years of use."""
    shared = mail.with_flags_and_dates([mail.ordinary(number) for number in range(40)])
    for seed, (name, server) in enumerate(servers.items(), 1):
        with mail.Account(server) as account:
            own = mail.with_flags_and_dates([mail.ordinary(number, name) for number in range(20)], seed)
            own = [(content, flags.replace("\\Deleted", ""), epoch) for content, flags, epoch in own]
            mail.spread(account, own, ["INBOX", "Archive/2024", "Entwürfe"], seed)
            account.append_many("INBOX", [(content, flags.replace("\\Deleted", ""), epoch)
                                          for content, flags, epoch in shared])
            count = sum(len(account.uids(mailbox)) for mailbox in account.mailboxes())
        say(f"  {name:8} {count} messages, 40 of them on all three")


def start_daemon(folder, servers):
    text = (REPOSITORY / "topologies" / "triangle.textproto").read_text()
    topology = folder / "triangle.textproto"
    topology.write_text(dovecot.substitute_endpoints(text, lambda name: servers[name]))
    topology.chmod(0o600)
    with open(folder / "imapmeshd.log", "ab") as log:
        process = subprocess.Popen(
            [str(BINARIES / "imapmeshd"), "--topology", str(topology), "--state", str(folder / "state.db"),
             "--listen", f"unix:{folder}/mesh.sock"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True)
    record(folder, process)
    return process


def wait_for(condition, daemon, folder, what):
    started = time.monotonic()
    while not condition():
        if daemon.poll() is not None or time.monotonic() - started > CONVERGE_LIMIT_S:
            log = (folder / "imapmeshd.log").read_text(errors="replace")[-3000:]
            sys.exit(f"quickstart: {what} did not happen within {CONVERGE_LIMIT_S} s; imapmeshd says:\n{log}")
        time.sleep(0.05)
    return time.monotonic() - started


def client(folder, *arguments):
    return [str(BINARIES / "imapmesh"), "--address", f"unix:{folder}/mesh.sock", *arguments]


def agree(servers):
    first, *others = [mail.snapshot(server) for server in servers.values()]
    return all(first == other for other in others)


def show_change(folder, servers, daemon):
    """A message put on the laptop and flagged on the desktop; how long until the others have it."""
    content = mail.ordinary(7, "quickstart", message_id="<hello@quickstart.example>").replace(
        b"Subject: Message 7", b"Subject: Hello from the laptop")
    accounts = {name: mail.Account(server) for name, server in servers.items()}

    def arrives(what, names, criteria):
        changed = time.monotonic()
        for name in names:
            wait_for(lambda: accounts[name].uids("INBOX", criteria), daemon, folder, f"{what} on {name}")
            say(f"  {what}: on {name} after {time.monotonic() - changed:.2f} s")

    accounts["laptop"].append("INBOX", content, "", int(time.time()))
    arrives("new mail on laptop", ["desktop", "server"], 'SUBJECT "Hello from the laptop"')
    uid = accounts["desktop"].uids("INBOX", 'SUBJECT "Hello from the laptop"')
    accounts["desktop"].store("INBOX", uid, "+FLAGS", "\\Flagged")
    arrives("flag set on desktop", ["laptop", "server"], 'FLAGGED SUBJECT "Hello from the laptop"')
    for account in accounts.values():
        account.close()


def run(folder):
    stop(folder)
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    say(f"Three mail servers in {folder}")
    servers = start_servers(folder)
    say("Each with mail of its own")
    fill(servers)
    say("imapmeshd on topologies/triangle.textproto: laptop, desktop and server, each joined with each")
    daemon = start_daemon(folder, servers)
    took = wait_for(lambda: agree(servers), daemon, folder, "agreement")
    found = mail.snapshot(servers["laptop"])
    say(f"  in agreement after {took:.1f} s: {sum(map(len, found.values()))} messages in {len(found)} mailboxes, "
        "the same on all three, none twice")
    say("Changes, pushed")
    show_change(folder, servers, daemon)
    say("imapmesh status")
    subprocess.run(client(folder, "status"), check=True)
    command = f"{BINARIES / 'imapmesh'} --address unix:{folder}/mesh.sock"
    say(f"""
The mesh keeps running. Try:
  {command} events
  {command} status --watch
  {command} sync
and connect a mail program to any of the three ports above.
Your own accounts: copy topologies/triangle.textproto, put your servers in, then
  {BINARIES / 'imapmesh'} check MINE.textproto
  {BINARIES / 'imapmeshd'} --topology MINE.textproto --once
README.md goes through it step by step. End this with ./quickstart --stop""")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--folder", type=pathlib.Path, default=default_folder())
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if arguments.stop:
        say(f"stopped {stop(folder)} processes")
        return
    try:
        run(folder)
    except BaseException:
        stop_keeping_log(folder)
        raise


def stop_keeping_log(folder):
    """After a failure nothing stays running; the daemon's log is kept beside the folder."""
    log = folder / "imapmeshd.log"
    if log.exists():
        kept = folder.with_name(folder.name + ".log")
        shutil.copy(log, kept)
        print(f"quickstart: the daemon's log is kept in {kept}", file=sys.stderr)
    stop(folder)


if __name__ == "__main__":
    main()
