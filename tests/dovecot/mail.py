"""The oracle: what is in an account, seen through Python's own imaplib, and what its user does.

Independent of the C++ client on purpose. Mailbox names here are names of the mesh (UTF-8, levels by `/`); `Account`
translates them to the server's separator, prefix and modified UTF-7.
"""

import base64
import collections
import datetime
import hashlib
import imaplib
import pathlib
import random
import re

import dovecot

imaplib._MAXLINE = 10_000_000  # a LIST or FETCH line may be long; literals are not bound by it
imaplib.Commands.setdefault("MOVE", ("SELECTED",))

CORPUS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "corpus"

# One message as every replica must hold it. flags: frozenset in lower case (keywords know no case), no \Recent.
Message = collections.namedtuple("Message", "digest size date flags")


def encode_name(name):
    """Modified UTF-7 (RFC 3501 section 5.1.3)."""
    out = []
    for run in re.findall(r"[\x20-\x7e]+|[^\x20-\x7e]+", name):
        if run[0] >= " " and run[0] <= "~":
            out.append(run.replace("&", "&-"))
        else:
            coded = base64.b64encode(run.encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
            out.append("&" + coded + "-")
    return "".join(out)


def decode_name(name):
    def one(match):
        coded = match.group(1)
        if not coded:
            return "&"
        return base64.b64decode(coded.replace(",", "/") + "=" * (-len(coded) % 4)).decode("utf-16-be")

    return re.sub(r"&([^-]*)-", one, name)


def format_date(epoch):
    """INTERNALDATE of an instant, in UTC."""
    return datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime('"%d-%b-%Y %H:%M:%S +0000"')


def parse_date(text):
    return int(datetime.datetime.strptime(text.strip(), "%d-%b-%Y %H:%M:%S %z").timestamp())


class Refused(AssertionError):
    """A server did not say OK."""


class Account:
    """A mail user's connection to one account. Every method raises Refused when the server does not say OK."""

    def __init__(self, server, username=None):
        self.server = server
        self.client = imaplib.IMAP4("127.0.0.1", server.port, timeout=120)
        if self.client.state == "NONAUTH":  # else the server greeted with PREAUTH
            self.client.login(username or server.username, dovecot.PASSWORD)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.client.logout()
        except (OSError, imaplib.IMAP4.error):
            pass

    def _ok(self, answer):
        if answer[0] != "OK":
            raise Refused(f"{self.server.name}: {answer}")
        return answer[1]

    def _here(self, mailbox):
        """The server's quoted name of a mailbox of the mesh."""
        if mailbox.upper() == "INBOX":
            return '"INBOX"'
        name = self.server.prefix + mailbox.replace("/", self.server.separator)
        return '"' + encode_name(name).replace("\\", "\\\\").replace('"', '\\"') + '"'

    def _mesh(self, name):
        name = decode_name(name)
        if name.upper() == "INBOX":
            return "INBOX"
        if self.server.prefix and name.startswith(self.server.prefix):
            name = name[len(self.server.prefix):]
        return name.replace(self.server.separator, "/")

    # What is there.

    def mailboxes(self):
        found = []
        for line in self._ok(self.client.list('""', '"*"')):
            if isinstance(line, tuple):  # the name came as a literal
                attributes, name = line[0].decode(), line[1].decode()
            elif line:
                attributes, name = re.match(r'(\(.*?\)) (?:"[^"]*"|NIL) (.*)$', line.decode()).groups()
                if name.startswith('"'):
                    name = re.sub(r"\\(.)", r"\1", name[1:-1])
            else:
                continue
            if "\\noselect" not in attributes.lower() and "\\nonexistent" not in attributes.lower():
                found.append(self._mesh(name))
        return sorted(mailbox for mailbox in found if not self._is_only_listed(mailbox, found))

    def _is_only_listed(self, mailbox, others):
        """A deleted parent, which Dovecot's index of mailboxes still shows in a Maildir++."""
        return (any(other.startswith(mailbox + "/") for other in others)
                and self.client.status(self._here(mailbox), "(UIDNEXT)")[0] != "OK")

    def messages(self, mailbox):
        """{uid: Message} of one mailbox; each body is fetched and digested."""
        self._ok(self.client.select(self._here(mailbox), readonly=True))
        found = {}
        uids = [int(uid) for uid in self._ok(self.client.uid("SEARCH", "ALL"))[0].split()]
        for start in range(0, len(uids), 500):
            wanted = ",".join(str(uid) for uid in uids[start:start + 500])
            answer = self._ok(self.client.uid("FETCH", wanted, "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"))
            found.update(_parse_fetch(answer))
        return found

    def uids(self, mailbox, criteria="ALL"):
        self._ok(self.client.select(self._here(mailbox)))
        return [int(uid) for uid in self._ok(self.client.uid("SEARCH", criteria))[0].split()]

    def find(self, mailbox, digest):
        """The UIDs that hold one content."""
        return [uid for uid, message in self.messages(mailbox).items() if message.digest == digest]

    # What users do. `messages` are UIDs.

    def append(self, mailbox, content, flags="", epoch=None):
        date = format_date(epoch) if epoch is not None else None
        self._ok(self.client.append(self._here(mailbox), f"({flags})" if flags else None, date, content))

    def append_many(self, mailbox, messages, batch=100):
        """MULTIAPPEND of (content, flags, epoch) with LITERAL+: fast enough for ten thousand."""
        client = self.client
        messages = list(messages)
        for start in range(0, len(messages), batch):
            tag = client._new_tag()
            out = [tag + b" APPEND " + self._here(mailbox).encode()]
            for content, flags, epoch in messages[start:start + batch]:
                out.append(b" (%s) %s {%d+}\r\n" % (flags.encode(), format_date(epoch).encode(), len(content)))
                out.append(content)
            client.send(b"".join(out) + b"\r\n")
            while True:
                line = client.readline()
                if line.startswith(tag):
                    if line.split()[1] != b"OK":
                        raise Refused(f"{self.server.name}: {line!r}")
                    del client.tagged_commands[tag]
                    break
                if not line:
                    raise Refused(f"{self.server.name}: closed during APPEND")

    def _select(self, mailbox):
        self._ok(self.client.select(self._here(mailbox)))

    def store(self, mailbox, uids, change, flags):
        """change: "+FLAGS", "-FLAGS"."""
        self._select(mailbox)
        self._ok(self.client.uid("STORE", _set(uids), change, f"({flags})"))

    def expunge(self, mailbox, uids):
        self._select(mailbox)
        self._ok(self.client.uid("STORE", _set(uids), "+FLAGS", "(\\Deleted)"))
        self._ok(self.client.uid("EXPUNGE", _set(uids)))

    def move(self, mailbox, uids, target):
        self._select(mailbox)
        self._ok(self.client.uid("MOVE", _set(uids), self._here(target)))

    def copy(self, mailbox, uids, target):
        self._select(mailbox)
        self._ok(self.client.uid("COPY", _set(uids), self._here(target)))

    def create(self, mailbox):
        self._ok(self.client.create(self._here(mailbox)))

    def delete(self, mailbox):
        self._ok(self.client.delete(self._here(mailbox)))

    def rename(self, mailbox, target):
        self._ok(self.client.rename(self._here(mailbox), self._here(target)))

    def subscribe(self, mailbox, subscribed=True):
        change = self.client.subscribe if subscribed else self.client.unsubscribe
        self._ok(change(self._here(mailbox)))

    def subscriptions(self):
        """Of mailboxes that are there."""
        lines = self._ok(self.client.lsub('""', '"*"'))
        names = {self._mesh(re.match(rb'\(.*?\) (?:"[^"]*"|NIL) "?(.*?)"?$', line).group(1).decode())
                 for line in lines if line}
        return sorted(names & set(self.mailboxes()))


def _set(uids):
    return ",".join(str(uid) for uid in ([uids] if isinstance(uids, int) else uids))


def _parse_fetch(answer):
    """imaplib gives (head, body) for a literal and what follows it as a string; the attributes may be in both."""
    found = {}
    for index, part in enumerate(answer):
        if not isinstance(part, tuple):
            continue
        tail = answer[index + 1] if index + 1 < len(answer) and isinstance(answer[index + 1], bytes) else b""
        attributes = (part[0] + b" " + tail).decode()
        uid = int(re.search(r"UID (\d+)", attributes).group(1))
        flags = re.search(r"FLAGS \(([^)]*)\)", attributes).group(1).lower().split()
        date = re.search(r'INTERNALDATE "([^"]*)"', attributes).group(1)
        size = int(re.search(r"RFC822\.SIZE (\d+)", attributes).group(1))
        found[uid] = Message(hashlib.sha256(part[1]).hexdigest(), size, parse_date(date),
                             frozenset(flags) - {"\\recent"})
    return found


def snapshot(server, username=None):
    """{mailbox: sorted list of Message} of a whole account."""
    with Account(server, username) as account:
        return {mailbox: sorted(account.messages(mailbox).values(), key=_order) for mailbox in account.mailboxes()}


def _order(message):
    return (message.digest, message.size, message.date, sorted(message.flags))


def digest(content):
    return hashlib.sha256(content).hexdigest()


# Mail to test with. Everything is CRLF and free of NUL: what a server cannot store unchanged is a test of its own.

def ordinary(number, seed=0, size=400, message_id=None):
    """A plain message; the same number and seed give the same bytes."""
    source = random.Random(f"{seed}/{number}")
    identifier = message_id or f"<{number}.{seed}@generated.example>"
    head = (f"From: Sender {number} <sender{number}@example.org>\r\nTo: you@example.org\r\n"
            f"Subject: Message {number}\r\nMessage-ID: {identifier}\r\n"
            f"Date: Mon, 01 Jan 2024 10:00:00 +0000\r\n\r\n")
    lines = []
    length = len(head)
    while length < size:
        line = "".join(source.choices("abcdefghijklmnopqrstuvwxyz      ", k=70)) + "\r\n"
        lines.append(line)
        length += len(line)
    return (head + "".join(lines) + f"end of {number}\r\n").encode()


def broken(seed=0):
    """Mail that breaks the rules in the ways that real mail does."""
    head = b"From: a@example.org\r\nSubject: broken %d\r\n" % seed
    duplicate = b"Message-ID: <same.%d@example.org>\r\n" % seed
    return [
        head + b"\r\nno Message-ID\r\n",
        head + b"\r\nno Message-ID, another content\r\n",
        head + duplicate + b"\r\nfirst of two with one Message-ID\r\n",
        head + duplicate + b"\r\nsecond of two with one Message-ID\r\n",
        head + duplicate + b"\r\nthirds of two with one Message-ID\r\n",  # the size of the first, too
        b"From: \xe4\xf6\xfc <a@example.org>\r\nSubject: \xff\xfe 8-bit %d\r\nMessage-ID: <8bit.%d@example.org>\r\n\r\n"
        b"\x80\x81\xfe body\r\n" % (seed, seed),
        head + b"Message-ID: <long.%d@example.org>\r\n\r\n" % seed + b"x" * 120_000 + b"\r\n",
        head + b"References: " + b"<reference@example.org> " * 2000 + b"\r\n\r\nlong header\r\n",
        head + b"Message-ID: <nobody.%d@example.org>\r\n\r\n" % seed,
        head + b"Message-ID: <headonly.%d@example.org>\r\n" % seed,
        b"no header at all, just text %d\r\n" % seed,
        head + b"Message-ID:\r\n <folded.%d@example.org>\r\n\r\nfolded Message-ID\r\n" % seed,
        head + b"Message-ID: <twice.%d@example.org>\r\nMessage-ID: <other.%d@example.org>\r\n\r\ntwo\r\n" % (seed, seed),
        b"\r\nempty header %d\r\n" % seed,
        head + b"Message-ID: <nonewline.%d@example.org>\r\n\r\nno line end at the end" % seed,
    ]


def carried_by_mbox(contents):
    """Those that Dovecot's mbox keeps byte for byte: it adds line ends after a header or last line without, and takes a
    first line "From " for its own."""
    def carried(content):
        _, separator, body = content.partition(b"\r\n\r\n")
        return separator and body.endswith(b"\r\n") and not content.startswith(b"From ")

    return [content for content in contents if carried(content)]


def corpus():
    """The real mail beside the project, when that folder is there, as servers keep it (CRLF)."""
    if not CORPUS.is_dir():
        return []
    contents = []
    for path in sorted(CORPUS.glob("*.eml")):
        content = re.sub(rb"\r?\n", b"\r\n", path.read_bytes())
        if content:
            contents.append(content)
    return contents


FLAG_SETS = ["", "\\Seen", "\\Seen \\Answered", "\\Flagged", "\\Seen $Label1", "$Forwarded Work", "\\Draft",
             "\\Seen \\Flagged $NotJunk", "\\Deleted"]


def with_flags_and_dates(contents, seed=0):
    """(content, flags, epoch) with seeded flags and dates over forty years, for append_many."""
    source = random.Random(seed)
    return [(content, source.choice(FLAG_SETS), source.randrange(500_000_000, 1_760_000_000)) for content in contents]


def spread(account, messages, mailboxes, seed=0):
    """Puts messages into mailboxes, making those that are not there."""
    source = random.Random(seed)
    existing = set(account.mailboxes())
    filled = collections.defaultdict(list)
    for message in messages:
        filled[source.choice(mailboxes)].append(message)
    for mailbox in mailboxes:
        if mailbox not in existing:
            account.create(mailbox)
        account.append_many(mailbox, filled[mailbox])
