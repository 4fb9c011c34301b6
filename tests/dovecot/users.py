"""Users of a mesh who act at random, and what every replica must hold in the end.

Each message belongs to one replica: only its user changes, moves, copies or deletes it, at any time and whatever the
others are doing. So nothing is concurrent on one message, and the outcome is exact: `Users.expected()`.
"""

import mail

MAILBOXES = ["INBOX", "Work", "Archive/2024"]
FLAGS = ["\\Seen", "\\Flagged", "\\Answered", "$Label1", "later"]
FIRST_DATE = 1_600_000_000


class Users:
    def __init__(self, servers, source):
        """servers: [Dovecot]; source: random.Random. Nothing is there yet."""
        self.servers, self.source = servers, source
        self.next_number = 0
        self.held = {}  # {(mailbox, number): set of flags}
        self.deleted = []  # [(mailbox, number)]
        self.contents = {}  # {number: bytes}

    def owner(self, number):
        return number % len(self.servers)

    def _new(self, server_index, count, size):
        numbers = []
        while len(numbers) < count:
            if self.owner(self.next_number) == server_index:
                self.contents[self.next_number] = mail.ordinary(self.next_number, "users", size)
                numbers.append(self.next_number)
            self.next_number += 1
        return numbers

    def deliver(self, server_index, count, size=400):
        """New mail in every mailbox of one replica."""
        with mail.Account(self.servers[server_index]) as account:
            there = account.mailboxes()
            for mailbox in MAILBOXES:
                numbers = self._new(server_index, count, size)
                flags = {number: set(self.source.sample(FLAGS, self.source.randrange(3))) for number in numbers}
                if mailbox not in there:
                    account.create(mailbox)
                account.append_many(mailbox, [(self.contents[number], " ".join(sorted(flags[number])),
                                               FIRST_DATE + number) for number in numbers])
                self.held.update({(mailbox, number): flags[number] for number in numbers})

    def act(self, server_index, kinds=("flag", "unflag", "delete", "move", "copy"), count=6):
        """One user's changes to `count` of the messages that belong to the replica."""
        mine = sorted(key for key in self.held if self.owner(key[1]) == server_index)
        chosen = self.source.sample(mine, min(count, len(mine)))
        with mail.Account(self.servers[server_index]) as account:
            for mailbox, number in chosen:
                uids = account.uids(mailbox, f'HEADER Message-ID "<{number}.users@generated.example>"')
                if len(uids) != 1:
                    raise AssertionError(f"{self.servers[server_index].name}: {mailbox} holds message {number} at UIDs "
                                         f"{uids}, its user left one there")
                self._change(account, self.source.choice(kinds), mailbox, number, uids)

    def _change(self, account, kind, mailbox, number, uids):
        elsewhere = [other for other in MAILBOXES if (other, number) not in self.held]
        if kind in ("move", "copy") and not elsewhere:
            kind = "flag"
        flag = self.source.choice(FLAGS)
        if kind == "flag":
            account.store(mailbox, uids, "+FLAGS", flag)
            self.held[mailbox, number].add(flag)
        elif kind == "unflag":
            account.store(mailbox, uids, "-FLAGS", flag)
            self.held[mailbox, number].discard(flag)
        elif kind == "delete":
            account.expunge(mailbox, uids)
            del self.held[mailbox, number]
            self.deleted.append((mailbox, number))
        else:
            target = self.source.choice(elsewhere)
            flags = self.held[mailbox, number]
            if kind == "move":
                account.move(mailbox, uids, target)
                del self.held[mailbox, number]
                self.deleted.append((mailbox, number))
            else:
                account.copy(mailbox, uids, target)
            self.held[target, number] = set(flags)

    def expected(self):
        """{mailbox: [Message]} that every replica must hold once all is calm."""
        found = {mailbox: [] for mailbox in MAILBOXES}
        for (mailbox, number), flags in self.held.items():
            content = self.contents[number]
            found[mailbox].append(mail.Message(mail.digest(content), len(content), FIRST_DATE + number,
                                               frozenset(flag.lower() for flag in flags)))
        return found

    def gone(self):
        """(mailbox, digest) of what was deleted or moved away and did not come back by its user's hand."""
        return [(mailbox, mail.digest(self.contents[number])) for mailbox, number in self.deleted
                if (mailbox, number) not in self.held]
