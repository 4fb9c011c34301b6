"""A private Courier for one test: imapd alone, which greets with PREAUTH the user that runs it.

The mesh reaches it as a tunnel command; Python's imaplib through a port whose connections this process hands to an
imapd each. No authdaemon, no configuration in /etc, no service. The same members as dovecot.Dovecot has, as far as
tests need them.
"""

import pathlib
import shlex
import shutil
import socket
import subprocess
import threading

import dovecot
import unpacked

IMAPD = "usr/bin/imapd"
# Debian's /etc/courier/imapd.
CAPABILITY = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE"


class Courier:
    """One account in a Maildir."""

    separator, prefix = ".", "INBOX."

    def __init__(self, name, folder, username=None, capability=CAPABILITY):
        self.name, self.username, self.capability = name, username or name, capability
        self.folder = pathlib.Path(folder).resolve()
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        for path in (self.folder, self.home):
            path.chmod(0o755)
        if dovecot.ROOT:
            shutil.chown(self.home, dovecot.MAIL_USER, dovecot.MAIL_GROUP)
        make = unpacked.FOLDER / "courier/usr/bin/maildirmake.courier"
        subprocess.run(self._as_user(f"{make} {shlex.quote(str(self.home / 'Maildir'))}"), shell=True, check=True)
        self.children = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _as_user(self, command, **environment):
        user = f"setpriv --reuid={dovecot.MAIL_USER} --regid={dovecot.MAIL_GROUP} --clear-groups " if dovecot.ROOT else ""
        variables = {"HOME": self.home, "LD_LIBRARY_PATH": unpacked.library_path("courier"), **environment}
        assignments = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in variables.items())
        return f"cd {shlex.quote(str(self.home))} && exec env {assignments} {user}{command}"

    def tunnel_command(self):
        """A command that speaks IMAP on its standard streams, already authenticated. What /etc/courier/imapd sets."""
        return self._as_user(
            f"{unpacked.FOLDER / 'courier' / IMAPD} Maildir", AUTHENTICATED=self.username, AUTHADDR=self.username,
            IMAP_CAPABILITY=self.capability, IMAP_KEYWORDS=1, IMAP_ACL=0, IMAP_MOVE_EXPUNGE_TO_TRASH=0,
            IMAP_CHECK_ALL_FOLDERS=0, IMAP_OBSOLETE_CLIENT=0, IMAP_UMASK="022", IMAP_USELOCKS=1, IMAP_ENHANCEDIDLE=0,
            IMAP_MAILBOX_SANITY_CHECK=1, IMAP_IDLE_TIMEOUT=60)

    def _serve(self):
        with open(self.folder / "imapd.log", "ab") as log:
            while True:
                try:
                    connection, _ = self.listener.accept()
                except OSError:
                    return  # closed: the test is over
                with connection:
                    self.children.append(subprocess.Popen(["/bin/sh", "-c", self.tunnel_command()], stdin=connection,
                                                          stdout=connection, stderr=log))

    def stop(self):
        self.listener.close()
        for child in self.children:
            if child.poll() is None:
                child.terminate()
            child.wait()
        self.children = []

    discard = stop

    def endpoint(self, kind="tunnel"):
        """The endpoint lines of a replica block; whatever the kind, it is reached by a tunnel."""
        del kind
        return f"  tunnel {{ command: {dovecot.quote(self.tunnel_command())} }}\n"


def available():
    return unpacked.find("courier", IMAPD) is not None
