"""Where the bench works: Dovecots with one account a competitor and repetition, and links to them that can be slow."""

import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import corpus
import dovecot
import mail

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# The same for every competitor: what Dovecot does by default, with fsync on what must not be lost. The pause after a
# change before IDLE and NOTIFY tell of it is Dovecot's own and cannot be set.
SETTINGS = "mail_fsync = optimized\nmaildir_very_dirty_syncs = no\n"

Traffic = collections.namedtuple("Traffic", "to_server to_client exchanges exchanges_max connections")


binaries = REPOSITORY / "bazel-release-bin"  # the optimised build, beside the ordinary one; run.py --bin


def program(target):
    """A built program, as its folder and name under the repository: tests/bench/measure."""
    path = binaries / target
    if not path.exists():
        raise SystemExit(f"{path} is not built: bazel build --config=release //rpc:imapmeshd //tests/bench:all")
    return path


class Proxy:
    """The links to some servers, each byte delayed; `port(site)` is where a site is reached through it."""

    def __init__(self, sites, delay_ms):
        self._ports = {site.name: dovecot.free_port() for site in sites}
        self._process = subprocess.Popen(
            [str(program("tests/bench/delay_proxy")), str(delay_ms), *(f"{self._ports[site.name]}:{site.port}" for site in sites)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.counts()  # it listens once it answers

    def port(self, site):
        return self._ports[site.name]

    def counts(self):
        """{name of the site: Traffic} since the start."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        return {name: Traffic(**found[str(port)]) for name, port in self._ports.items()}

    def close(self):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class Direct:
    """No proxy at all: nothing is counted and nothing costs."""

    def port(self, site):
        return site.port

    def counts(self):
        return {}

    def close(self):
        pass


class Stand:
    """Some Dovecots under one folder. Accounts are made by `account`, filled from a template by `clone`."""

    def __init__(self, folder, names=("near", "far"), storage="maildir"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.sites = {name: dovecot.Dovecot(name, self.folder / name, storage=storage, settings=SETTINGS,
                                            username="nobody-in-particular")
                      for name in names}

    def __getitem__(self, name):
        return self.sites[name]

    def close(self):
        for site in self.sites.values():
            site.discard()

    def home(self, site, user):
        return self.sites[site].homes / user

    def account(self, site, user):
        """An empty account, whatever was there before."""
        home = self.home(site, user)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        corpus.give_to_mail_user(home)
        return home

    def forget_accounts(self):
        for site in self.sites.values():
            for home in site.homes.iterdir():
                shutil.rmtree(home, ignore_errors=True)

    def fill(self, site, user, mailboxes, messages, make=corpus.message):
        """Writes mail into a new account and lets the server build its indexes."""
        corpus.write_maildir(self.account(site, user), mailboxes, messages, make, host=site)
        self.touch(site, user)

    def clone(self, site, user, to_site, to_user):
        """The same mail in another account, as a server of its own would hold it, indexes and UIDs included."""
        self.account(to_site, to_user)
        subprocess.run(["cp", "-a", "--reflink=auto", f"{self.home(site, user)}/.", str(self.home(to_site, to_user))],
                       check=True)

    def touch(self, site, user):
        """Opens every mailbox once with MODSEQs on, and has the server learn what LIST and STATUS need."""
        with mail.Account(self.sites[site], user) as account:
            account.client._simple_command("ENABLE", "QRESYNC")
            for mailbox in account.mailboxes():
                account._select(mailbox)
            account.client._simple_command("LIST", '""', '"*"', "RETURN", "(STATUS (UIDNEXT HIGHESTMODSEQ))")

    def shape(self, site, user):
        """{mailbox: (messages, unseen, flagged)}: what tells whether a work was done."""
        found = {}
        with mail.Account(self.sites[site], user) as account:
            for mailbox in account.mailboxes():
                messages = len(account.uids(mailbox))
                found[mailbox] = (messages, len(account.uids(mailbox, "UNSEEN")),
                                  len(account.uids(mailbox, "FLAGGED")))
        return {mailbox: counts for mailbox, counts in found.items() if counts[0] or mailbox != "INBOX"}

    def require_alike(self, user, sites, why):
        shapes = [self.shape(site, user) for site in sites]
        if any(shape != shapes[0] for shape in shapes):
            raise RuntimeError(f"{user}: {why}: the accounts differ afterwards: {shapes}")

    def cpu_seconds(self):
        """{name of the site: user and system time that its server has used}."""
        def used(pid):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            return sum(int(field) for field in fields[11:15])  # with that of children which have ended

        ticks = collections.Counter()
        for name, site in self.sites.items():
            for pid in [site.process.pid, *dovecot.descendants(site.process.pid)]:
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ends meanwhile
                    ticks[name] += used(pid)
        return {name: ticks[name] / os.sysconf("SC_CLK_TCK") for name in self.sites}

    @contextlib.contextmanager
    def link(self, delay_ms):
        """delay_ms None: direct, not counted."""
        proxy = Direct() if delay_ms is None else Proxy(self.sites.values(), delay_ms)
        try:
            yield proxy
        finally:
            proxy.close()


def measured(command, out_folder, environment=None, log="output", timeout_s=3600):
    """Runs a command to its end: {wall_s, user_s, sys_s, memory_kb, code}; its output is kept in a file."""
    out_folder = pathlib.Path(out_folder)
    cost, output = out_folder / "cost.json", out_folder / log
    cost.unlink(missing_ok=True)
    with open(output, "wb") as stream:
        subprocess.run([str(program("tests/bench/measure")), str(cost), *map(str, command)], stdout=stream, stderr=stream,
                       stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}, timeout=timeout_s)
    found = json.loads(cost.read_text())
    if found["code"] != 0:
        text = re.sub(r"[^\x20-\x7e\n]", "?", output.read_text(errors="replace"))
        raise RuntimeError(f"{command} ended with {found['code']}:\n{text[-3000:]}")
    return found
