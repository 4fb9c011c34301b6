"""The competitors: imapmesh and its peers, each syncing one account of the sites near and far.

A tool has a folder of its own for its configuration and state. `run` syncs once over a link and is measured; what it
costs to write the configuration is not. `adopt_state` gives a peer the state that its own first sync of two equal
accounts would have left (it would duplicate them instead); imapmesh finds that out by itself, measured as adoption.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess

import dovecot
import mail
import stand as stands


class Tool:
    name = ""
    title = ""
    carries_imap = True  # over TCP, so that a link can delay and count it
    watches = False      # has a mode that runs all the time
    program = ""

    def __init__(self, stand, user, folder, sites=("near", "far")):
        self.stand, self.user, self.sites = stand, user, sites
        self.folder = pathlib.Path(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)

    @classmethod
    def available(cls):
        return shutil.which(cls.program) is not None

    @classmethod
    def version(cls):
        package = {"interimap": "interimap", "mbsync": "isync", "doveadm": "dovecot-core"}[cls.program]
        done = subprocess.run(["dpkg-query", "--show", "--showformat=${Version}", package], capture_output=True,
                              text=True)
        return done.stdout.strip()

    def command(self, link, compress):
        raise NotImplementedError

    def run(self, link, compress=False):
        return stands.measured(self.command(link, compress), self.folder)

    def adopt_state(self):
        raise NotImplementedError

    def start_watching(self, link):
        """The process of its continuous mode."""
        raise NotImplementedError

    def _spawn(self, command):
        with open(self.folder / "watch-output", "wb") as output:
            return subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output,
                                    stderr=output)


class Imapmesh(Tool):
    name, title, program, watches = "imapmesh", "imapmesh", "imapmeshd", True
    watch_paths = False  # whether the daemon is told where the servers keep their mail

    @classmethod
    def available(cls):
        return True

    @classmethod
    def version(cls):
        done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=stands.REPOSITORY, capture_output=True,
                              text=True)
        return done.stdout.strip()

    def write_topology(self, link, compress):
        text = 'name: "bench"\n'
        for site in self.sites:
            text += (f'replica {{\n  name: "{site}"\n  imap {{ host: "127.0.0.1" port: {link.port(self.stand[site])} '
                     f'security: PLAINTEXT }}\n  auth {{ username: "{self.user}" password: "{dovecot.PASSWORD}" }}\n'
                     f'  compress: {"true" if compress else "false"}\n')
            if self.watch_paths:
                text += f'  watch_path: "{self.stand.home(site, self.user)}"\n'
            text += "}\n"
        for site in self.sites[1:]:
            text += f'edge {{ a: "{self.sites[0]}" b: "{site}" }}\n'
        path = self.folder / "topology.textproto"
        path.write_text(text)
        path.chmod(0o600)
        return path

    def command(self, link, compress):
        return [stands.program("rpc/imapmeshd"), "--topology", self.write_topology(link, compress), "--state", self.folder / "state.db",
                "--once", "--report", self.folder / "report.json"]

    def report(self):
        return json.loads((self.folder / "report.json").read_text())

    def start_watching(self, link):
        return self._spawn([stands.program("rpc/imapmeshd"), "--topology", self.write_topology(link, False), "--state",
                            self.folder / "state.db", "--listen", f"unix:{self.folder}/s"])


class Interimap(Tool):
    name, title, program, watches = "interimap", "interimap", "interimap", True

    def command(self, link, compress):
        text = f"database = {self.folder}/state.db\n"
        for section, site in zip(("local", "remote"), self.sites):
            text += (f"\n[{section}]\ntype = imap\nhost = 127.0.0.1\nport = {link.port(self.stand[site])}\n"
                     f"STARTTLS = NO\nusername = {self.user}\npassword = {dovecot.PASSWORD}\n"
                     f"compress = {'YES' if compress else 'NO'}\n")
        config = self.folder / "config"
        config.write_text(text)
        config.chmod(0o600)
        return ["interimap", f"--config={config}", "--quiet"]

    def start_watching(self, link):
        return self._spawn([*self.command(link, False), "--watch=1"])

    def adopt_state(self):
        """Its tables as a first sync leaves them; both accounts hold the same mail under the same UIDs."""
        empty = f"{self.user}-empty"
        for site in self.sites:
            self.stand.account(site, empty)
        user, self.user = self.user, empty
        self.run(stands.Direct())  # makes the schema
        self.user = user
        states = [read_states(self.stand, site, user) for site in self.sites]
        database = sqlite3.connect(self.folder / "state.db")
        with database:
            for table in ("mapping", "local", "remote", "mailboxes"):
                database.execute(f"DELETE FROM {table}")
            for index, mailbox in enumerate(sorted(states[0]), 1):
                database.execute("INSERT INTO mailboxes VALUES(?, CAST(? AS BLOB), 1)", (index, mailbox))
                for table, state in zip(("local", "remote"), states):
                    validity, uid_next, modseq, _ = state[mailbox]
                    database.execute(f"INSERT INTO {table} VALUES(?,?,?,?)", (index, validity, uid_next, modseq))
                uids = range(1, states[0][mailbox][1])
                database.executemany("INSERT INTO mapping VALUES(?,?,?)", ((index, uid, uid) for uid in uids))
        database.close()


class Mbsync(Tool):
    name, title, program = "mbsync", "mbsync (IMAP to IMAP)", "mbsync"

    def command(self, link, compress):
        stores = ""
        for role, site in zip(("near", "far"), self.sites):
            stores += (f"IMAPStore {role}\nHost 127.0.0.1\nPort {link.port(self.stand[site])}\nUser {self.user}\n"
                       f"Pass {dovecot.PASSWORD}\nSSLType None\nAuthMechs LOGIN\n"
                       + ("" if compress else "DisableExtension COMPRESS=DEFLATE\n") + "\n")
        (self.folder / "state").mkdir(exist_ok=True)
        config = self.folder / "config"
        config.write_text(stores + "Channel bench\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\n"
                          f"CopyArrivalDate yes\nSyncState {self.folder}/state/\n")
        config.chmod(0o600)
        return ["mbsync", "-q", "-q", "-c", config, "bench"]

    def adopt_state(self):
        states = [read_states(self.stand, site, self.user) for site in self.sites]
        (self.folder / "state").mkdir(exist_ok=True)
        for mailbox, (near_validity, near_next, _, flags) in states[0].items():
            far_validity = states[1][mailbox][0]
            last = near_next - 1
            lines = [f"FarUidValidity {far_validity}", f"NearUidValidity {near_validity}", f"MaxPulledUid {last}",
                     f"MaxPushedUid {last}", ""]
            lines += [f"{uid} {uid} {flags.get(uid, '')}" for uid in range(1, near_next)]
            (self.folder / "state" / f":far:{mailbox}_:near:{mailbox}").write_text("\n".join(lines) + "\n")


class Dsync(Tool):
    name, title, program, carries_imap = "dsync", "dsync (no IMAP)", "doveadm", False

    @classmethod
    def available(cls):
        return True

    def run(self, link, compress=False):
        """With the state that its last run printed, which is its fastest way."""
        near, far = (self.stand[site] for site in self.sites)
        doveadm = dovecot.find_program("doveadm")
        state_path = self.folder / "state"
        state = state_path.read_text() if state_path.exists() else ""
        # The environment of the near doveadm would tell the far one where the near account's mail lies.
        there = ["env", "-i", f"PATH={os.environ['PATH']}", doveadm, "-c", far.config, "dsync-server", "-u", self.user]
        cost = stands.measured([doveadm, "-c", near.config, "sync", "-u", self.user, "-s", state, *there], self.folder)
        printed = [line for line in (self.folder / "output").read_text().splitlines()
                   if re.fullmatch(r"[A-Za-z0-9+/=]{20,}", line)]
        if printed:
            state_path.write_text(printed[-1])
        return cost

    def adopt_state(self):
        self.run(stands.Direct())


ALL = [Imapmesh, Interimap, Mbsync, Dsync]


def read_states(stand, site, user):
    """{mailbox: (UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ, {uid: mbsync's letters of its flags})}."""
    found = {}
    letters = {"\\Draft": "D", "\\Flagged": "F", "\\Answered": "R", "\\Seen": "S", "\\Deleted": "T"}
    with mail.Account(stand[site], user) as account:
        for mailbox in account.mailboxes():
            account.client.select(account._here(mailbox), readonly=True)
            status = account._ok(account.client.status(account._here(mailbox),
                                                       "(UIDVALIDITY UIDNEXT HIGHESTMODSEQ)"))[0].decode()
            numbers = {key: int(value) for key, value in re.findall(r"(UIDVALIDITY|UIDNEXT|HIGHESTMODSEQ) (\d+)",
                                                                    status)}
            flags = {}
            if numbers["UIDNEXT"] > 1:
                for line in account._ok(account.client.fetch("1:*", "(UID FLAGS)")):
                    text = line.decode()
                    uid = int(re.search(r"UID (\d+)", text).group(1))
                    flags[uid] = "".join(sorted(letter for flag, letter in letters.items() if flag in text))
            found[mailbox] = (numbers["UIDVALIDITY"], numbers["UIDNEXT"], numbers["HIGHESTMODSEQ"], flags)
    return found


def end(process):
    """Ends what start_watching started."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def cpu_seconds(pid):
    """User and system time that a running process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
