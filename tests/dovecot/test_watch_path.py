"""watch_path: mail is carried before Dovecot tells of it."""

import time

import mail
from mesh import MeshTest

# Dovecot tells of a change half a second after it; the bench shows what is left on a machine with nothing else to do.
BEFORE_DOVECOT_S = 0.4


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

    def arrival(self, number, mailbox="INBOX"):
        """Seconds from the answer to APPEND until the message is at the other server."""
        content = mail.ordinary(number)
        self.near.append(mailbox, content, "", 1_700_000_000 + number)
        return self.wait_for(lambda: self.far.uids(mailbox, f'SUBJECT "Message {number}"'), f"message {number}")

    def test_mail_arrives_before_the_server_tells_of_it(self):
        self.start(watched=True)
        took = [self.arrival(number) for number in range(8)]
        self.assertLess(min(took), BEFORE_DOVECOT_S, took)

    def test_a_new_folder_is_watched_too(self):
        self.start(watched=True)
        self.near.create("Later")
        self.wait_for(lambda: "Later" in self.far.mailboxes(), "the new mailbox")
        took = [self.arrival(number, "Later") for number in range(5)]
        self.assertLess(min(took), BEFORE_DOVECOT_S, took)
