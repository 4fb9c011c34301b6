"""watch_path: mail is carried before Dovecot tells of it."""

import statistics
import time

import mail
from mesh import MeshTest


class WatchPath(MeshTest):
    def start(self, watched):
        for name in ("near", "far"):
            self.server(name)
        text = 'name: "test"\n'
        for name in ("near", "far"):
            path = f'  watch_path: "{self.servers[name].home}"\n' if watched else ""
            text += f'replica {{\n  name: "{name}"\n{self.servers[name].endpoint()}{path}}}\n'
        self.write_text(text + 'edge { a: "near" b: "far" }\n')
        self.daemon()
        self.near, self.far = (self.account(self.servers[name]) for name in ("near", "far"))
        time.sleep(1.5)

    def arrival(self, number):
        """Seconds from the answer to APPEND until the message is at the other server."""
        content = mail.ordinary(number)
        self.near.append("INBOX", content, "", 1_700_000_000 + number)
        started = time.monotonic()
        while not self.far.uids("INBOX", f'SUBJECT "Message {number}"'):
            if time.monotonic() - started > 10:
                self.fail(f"message {number} did not arrive")
            time.sleep(0.002)
        return time.monotonic() - started

    def test_mail_arrives_before_the_server_tells_of_it(self):
        self.start(watched=True)
        took = [self.arrival(number) for number in range(8)]
        # Dovecot tells half a second after the change; the bench shows what is left on a machine with nothing else to do.
        self.assertLess(statistics.median(took), 0.4, took)

    def test_a_new_folder_is_watched_too(self):
        self.start(watched=True)
        self.near.create("Later")
        self.wait_for(lambda: "Later" in self.far.mailboxes(), "the new mailbox")
        self.near.append("Later", mail.ordinary(1), "", 1_700_000_000)
        started = time.monotonic()
        self.wait_for(lambda: self.far.uids("Later"), "mail in it", 10)
        self.assertLess(time.monotonic() - started, 0.45)
