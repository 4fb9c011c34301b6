"""A private Cyrus for one test: its own imapd.conf and cyrus.conf, spool, port and accounts, run by an ordinary user.

Passwords are asked for through the protocol of saslauthd, which a thread of this process answers. The same members as
dovecot.Dovecot has, as far as tests need them.
"""

import imaplib
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import dovecot
import unpacked

MASTER = "usr/lib/cyrus/bin/master"


class Cyrus:
    """One server with the account `username`. settings: more lines of imapd.conf."""

    separator, prefix = "/", ""

    def __init__(self, name, folder, username=None, settings=""):
        self.name, self.username = name, username or name
        self.folder = pathlib.Path(folder).resolve()
        self.port = dovecot.free_port()
        self.process = None
        self.config = self.folder / "imapd.conf"
        self.services = self.folder / "cyrus.conf"
        self.mux = self.folder / "mux"
        self._make_folders()
        self._write_config(settings)
        self._answer_passwords()
        if dovecot.ROOT:
            for path in [self.folder, *self.folder.rglob("*")]:
                shutil.chown(path, dovecot.MAIL_USER, dovecot.MAIL_GROUP)
        self.start()

    def _make_folders(self):
        for folder in ("spool", "conf/db", "conf/socket", "conf/proc", "conf/lock", "conf/log", "conf/msg", "run"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)

    def _write_config(self, settings):
        self.config.write_text(f"""
configdirectory: {self.folder}/conf
partition-default: {self.folder}/spool
defaultpartition: default
cyrus_user: {dovecot.MAIL_USER}
cyrus_group: {dovecot.MAIL_GROUP}
admins: admin
allowplaintext: yes
sasl_mech_list: PLAIN
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: {self.mux}
unixhierarchysep: yes
altnamespace: yes
virtdomains: off
skiplist_unsafe: 1
# Else 8-bit characters in headers become "X".
munge8bit: no
{settings}
""")
        programs = unpacked.FOLDER / "cyrus/usr/lib/cyrus/bin"
        self.services.write_text(f"""
START {{
  recover cmd="{programs}/ctl_cyrusdb -C {self.config} -r"
}}
SERVICES {{
  imap cmd="{programs}/imapd -C {self.config}" listen="127.0.0.1:{self.port}" prefork=0 maxchild=100
}}
EVENTS {{
}}
""")

    def _answer_passwords(self):
        """saslauthd's protocol: four counted strings (user, password, service, realm), one counted answer."""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.mux))
        self.listener.listen(50)
        self.mux.chmod(0o777)

        def field(connection):
            length, = struct.unpack(">H", connection.recv(2, socket.MSG_WAITALL))
            return connection.recv(length, socket.MSG_WAITALL) if length else b""

        def serve():
            while True:
                try:
                    connection, _ = self.listener.accept()
                except OSError:
                    return  # closed: the test is over
                with connection:
                    fields = [field(connection) for _ in range(4)]
                    answer = b"OK" if fields[1] == dovecot.PASSWORD.encode() else b"NO"
                    connection.sendall(struct.pack(">H", len(answer)) + answer)

        threading.Thread(target=serve, daemon=True).start()

    def start(self):
        as_user = ["setpriv", f"--reuid={dovecot.MAIL_USER}", f"--regid={dovecot.MAIL_GROUP}", "--clear-groups"]
        command = (as_user if dovecot.ROOT else []) + [
            str(unpacked.find("cyrus", MASTER)), "-D", "-C", str(self.config), "-M", str(self.services), "-p",
            str(self.folder / "run/master.pid")]
        environment = {**os.environ, "LD_LIBRARY_PATH": unpacked.library_path("cyrus")}
        with open(self.folder / "stderr", "wb") as error:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=error, stderr=error,
                                            env=environment)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                admin = imaplib.IMAP4("127.0.0.1", self.port, timeout=10)
                break
            except (OSError, imaplib.IMAP4.error):
                time.sleep(0.05)
        else:
            raise RuntimeError(f"Cyrus {self.name} does not answer: {(self.folder / 'stderr').read_text()}")
        admin.login("admin", dovecot.PASSWORD)
        admin.create(f"user/{self.username}")  # refused when it is there: started again
        admin.logout()

    def stop(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        dovecot.wait_or_kill(self.process)
        self.process = None
        self.listener.close()

    discard = stop

    def endpoint(self, kind="imap"):
        """The endpoint and auth lines of a replica block; Cyrus is reached by TCP alone."""
        if kind != "imap":
            raise ValueError(kind)
        return (f'  imap {{ host: "127.0.0.1" port: {self.port} security: PLAINTEXT }}\n'
                f'  auth {{ username: "{self.username}" password: "{dovecot.PASSWORD}" }}\n')


def available():
    return unpacked.find("cyrus", MASTER) is not None
