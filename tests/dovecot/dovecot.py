"""A private Dovecot for one test: its own configuration, state, mail and listeners, all on loopback and pipes.

Works as root (mail then belongs to `nobody`) and as an ordinary user. `Dovecot(...)` starts the server and waits until
it answers; `stop()` ends exactly the master process that was started.
"""

import contextlib
import grp
import itertools
import os
import pathlib
import pwd
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import time

ROOT = os.geteuid() == 0
MAIL_USER = "nobody" if ROOT else pwd.getpwuid(os.geteuid()).pw_name
MAIL_GROUP = "nogroup" if ROOT else grp.getgrgid(os.getegid()).gr_name
PASSWORD = "correct-horse"

# What Dovecot 2.3.19 announces after login; tests take words away from it to play poorer servers.
CAPABILITY = (
    "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT SORT=DISPLAY THREAD=REFERENCES THREAD=REFS "
    "THREAD=ORDEREDSUBJECT MULTIAPPEND URL-PARTIAL CATENATE UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED "
    "I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH ESORT SEARCHRES WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE "
    "SNIPPET=FUZZY PREVIEW=FUZZY PREVIEW STATUS=SIZE SAVEDATE LITERAL+ NOTIFY"
)


def find_program(name):
    """Programs of the mail server live in /usr/sbin, which an ordinary user's PATH lacks."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not found:
        raise RuntimeError(f"{name} is not installed (Debian package dovecot-imapd)")
    return found


# run.py gives each test ports of its own, below those that the kernel gives to connections: so that nobody else gets
# the port of a server that is down for a while.
FIRST_PORT = int(os.environ.get("IMAPMESH_FIRST_PORT") or 0)
_ports = itertools.count(FIRST_PORT) if FIRST_PORT else itertools.repeat(0)


def free_port():
    """A port of 127.0.0.1 that nobody listens on now."""
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return probe.getsockname()[1]


def descendants(pid):
    """The processes that a process has started, and theirs."""
    found = []
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def wait_or_kill(process, limit_s=10):
    """For a server that was told to end; nothing of its process is left afterwards."""
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def make_certificates(folder):
    """A CA of our own and a certificate for localhost by it: ca.pem, server.pem, server.key."""
    folder = pathlib.Path(folder)
    if (folder / "server.pem").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30",
            "-subj", "/CN=imapmesh test CA")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj",
            "/CN=localhost")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
            "server.pem", "-days", "30", "-extfile", "extensions")
    return folder


def mail_location(storage, separator):
    """Where the mail lies below the home; every kind here allows children below any mailbox."""
    layout = ":LAYOUT=fs" if separator == "/" else ""
    return {
        "maildir": "maildir:~/Maildir" + layout,
        "sdbox": "sdbox:~/sdbox",
        "mdbox": "mdbox:~/mdbox",
        # DIRNAME lets an mbox have children, but the index must then lie elsewhere or it is not kept (NOMODSEQ).
        "mbox": "mbox:~/mail:INBOX=~/inbox:DIRNAME=mBoX-MeSsAgEs:INDEX=~/index",
    }[storage]


class Dovecot:
    """One server with any number of accounts; `username` is the one that tests use unless they name another."""

    def __init__(self, name, folder, storage="maildir", separator="/", username=None, compress=True, tls=False,
                 capability="", max_connections=50, settings="", prefix="", detached=False):
        """detached: outlives the program that starts it."""
        self.name = name
        self.folder = pathlib.Path(folder).resolve()
        self.storage, self.separator, self.compress, self.tls = storage, separator, compress, tls
        self.prefix = prefix
        self.username = username or name
        self.capability, self.max_connections, self.settings = capability, max_connections, settings
        self.port, self.tls_port = free_port(), free_port()
        self.process = None
        self.homes = self.folder / "home"
        # A unix socket's path has a limit of 107 bytes, scratch folders are long: the base folder stays short.
        self.base = self.folder / "b"
        self.socket_path = self.folder / "imap.sock"
        self.config = self.folder / "dovecot.conf"
        self.log = self.folder / "dovecot.log"
        self._make_folders()
        self._write_config()
        self.detached = detached
        self.start()

    @property
    def home(self):
        return self.homes / self.username

    def _make_folders(self):
        for folder in (self.folder, self.homes, self.home, self.base, self.folder / "state"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        if ROOT:
            shutil.chown(self.homes, MAIL_USER, MAIL_GROUP)
            shutil.chown(self.home, MAIL_USER, MAIL_GROUP)

    def _write_config(self):
        plugins = "$mail_plugins imap_zlib" if self.compress else "$mail_plugins"
        general_plugins = "zlib" if self.compress else ""
        users = "" if ROOT else "\n".join(
            [f"default_internal_user = {MAIL_USER}", f"default_login_user = {MAIL_USER}",
             f"default_internal_group = {MAIL_GROUP}"]
            + [f"service {service} {{\n  chroot =\n}}" for service in ("anvil", "stats", "imap-login", "ipc")])
        ssl = "ssl = no"
        tls_listener = "    port = 0\n"
        if self.tls:
            certificates = make_certificates(self.folder.parent / "certificates")
            ssl = f"ssl = yes\nssl_cert = <{certificates}/server.pem\nssl_key = <{certificates}/server.key"
            tls_listener = f"    address = 127.0.0.1\n    port = {self.tls_port}\n    ssl = yes\n"
        capability = f"imap_capability = {self.capability}" if self.capability else ""
        self.config.write_text(f"""
base_dir = {self.base}
state_dir = {self.folder}/state
log_path = {self.log}
protocols = imap
listen = 127.0.0.1
instance_name = imapmesh-test-{self.name}
{users}
first_valid_uid = 1
first_valid_gid = 0
mail_uid = {MAIL_USER}
mail_gid = {MAIL_GROUP}
mail_home = {self.homes}/%u
mail_location = {mail_location(self.storage, self.separator)}
mail_plugins = {general_plugins}
mail_fsync = never
mailbox_list_index = yes
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
# Debian's default is 100 MB of virtual memory for a process, too little for messages of hundreds of megabytes.
default_vsz_limit = 4G
default_client_limit = 500
default_process_limit = 200
mail_max_userip_connections = {self.max_connections}
mailbox_idle_check_interval = 1 secs
{ssl}
{capability}
namespace inbox {{
  inbox = yes
  separator = {self.separator}
  prefix = {self.prefix}
}}
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid={MAIL_USER} gid={MAIL_GROUP} home={self.homes}/%u allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = {self.port}
  }}
  inet_listener imaps {{
{tls_listener}  }}
  unix_listener {self.socket_path} {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
protocol imap {{
  mail_plugins = {plugins}
}}
{self.settings}
""")

    def start(self):
        error_path = self.folder / "stderr"
        with open(error_path, "wb") as error:
            self.process = subprocess.Popen([find_program("dovecot"), "-F", "-c", str(self.config)],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=error,
                                            start_new_session=self.detached)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"dovecot {self.name} ended at once: {error_path.read_text()}\n{self.log_text()}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), 2) as probe:
                    if probe.recv(4) == b"* OK":
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"dovecot {self.name} does not answer: {self.log_text()}")

    def stop(self):
        """Ends the master, which ends its children; nothing listens on the port afterwards."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        wait_or_kill(self.process)
        self.process = None

    def discard(self):
        """For good, at once, whatever becomes of the mail; asked to stop, Dovecot takes a second."""
        if self.process is not None:
            self.kill()

    def pause(self):
        """The listeners and connections stay, nobody answers: a server that hangs, until resume()."""
        self._signal_all(signal.SIGSTOP)

    def resume(self):
        self._signal_all(signal.SIGCONT)

    def kill(self):
        """kill -9 of the master and of every process that serves a connection; start() starts it again."""
        self._signal_all(signal.SIGSTOP)  # so that nobody starts another meanwhile
        with contextlib.ExitStack() as opened:
            ends = []
            for pid in descendants(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    ends.append(os.pidfd_open(pid))
                    opened.callback(os.close, ends[-1])
            self._signal_all(signal.SIGKILL)
            for end in ends:  # else the next Dovecot finds sockets that still answer
                select.select([end], [], [], 10)
        self.process.wait()
        self.process = None
        # Of a Maildir's lock Dovecot cannot tell that its owner is dead: it would wait for two minutes.
        for lock in self.homes.rglob("dovecot-uidlist.lock"):
            lock.unlink()

    def _signal_all(self, number):
        for pid in descendants(self.process.pid) + [self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tunnel_command(self):
        """A command that speaks IMAP on its standard streams, already authenticated, without any port."""
        command = f"env HOME={shlex.quote(str(self.home))} USER={shlex.quote(self.username)} "
        if ROOT:
            command += f"setpriv --reuid={MAIL_USER} --regid={MAIL_GROUP} --clear-groups "
        return command + f"{find_program('doveadm')} -c {shlex.quote(str(self.config))} exec imap"

    # Blocks of a topology file, by the way this server is reached.

    def endpoint(self, kind="imap"):
        """The endpoint and auth lines of a replica block; kind: imap, tls, starttls, tunnel, unix_socket."""
        auth = f'  auth {{ username: "{self.username}" password: "{PASSWORD}" }}\n'
        if kind == "tunnel":
            return f"  tunnel {{ command: {quote(self.tunnel_command())} }}\n"
        if kind == "unix_socket":
            return f'  unix_socket {{ path: "{self.socket_path}" }}\n' + auth
        authority = self.folder.parent / "certificates" / "ca.pem"
        if kind == "tls":
            return (f'  imap {{ host: "localhost" port: {self.tls_port} security: TLS }}\n'
                    f'  tls {{ ca_file: "{authority}" }}\n') + auth
        if kind == "starttls":
            return (f'  imap {{ host: "localhost" port: {self.port} security: STARTTLS }}\n'
                    f'  tls {{ ca_file: "{authority}" }}\n') + auth
        return f'  imap {{ host: "127.0.0.1" port: {self.port} security: PLAINTEXT }}\n' + auth


def quote(text):
    """A string of protobuf's text format."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def substitute_endpoints(text, server_of):
    """An example of topologies/ with its replicas replaced by running servers; server_of(name) gives a Dovecot.

    A replica's block begins with `replica {` and ends with `}`, each at the start of its line. What is no endpoint and
    no way to log in stays.
    """
    def replace(match):
        block = match.group(0)
        name = re.search(r'^\s+name:\s*"([^"]+)"', block, re.MULTILINE).group(1)
        kept = re.findall(r"^\s+(?:namespace_prefix|name_map|link_cost|max_connections)\b.*$", block, re.MULTILINE)
        return "\n".join(["replica {", f'  name: "{name}"', server_of(name).endpoint().rstrip(), *kept, "}"])

    return re.sub(r"^replica \{.*?^\}", replace, text, flags=re.MULTILINE | re.DOTALL)
