"""The mail that the bench works on: the same bytes for the same numbers, and Maildirs written without a server.

Message n of a seed has a size between 300 bytes and 500 kB, log-normal with a mean near 6.8 kB unless told otherwise;
its text is as compressible as English, and every tenth carries a part of base64 that is not.
"""

import base64
import os
import pathlib
import random
import shutil

import dovecot

FIRST_EPOCH = 1_400_000_000
_POOL_BYTES = 1 << 20


def _pool():
    """A megabyte of lines to cut bodies from: writing each body word by word would take longer than what is measured."""
    source = random.Random("pool")
    vowels, consonants = "aeiou", "bcdfghlmnprstvw"
    words = ["".join(source.choice(consonants) + source.choice(vowels) for _ in range(source.randint(1, 4)))
             for _ in range(3000)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    lines, length = [], 0
    while length < _POOL_BYTES:
        line = " ".join(source.choices(words, weights, k=11))[:76]
        lines.append(line)
        length += len(line) + 2
    return "\r\n".join(lines).encode()


_TEXT = _pool()
_NOISE = base64.encodebytes(random.Random("noise").randbytes(_POOL_BYTES)).replace(b"\n", b"\r\n")


def message(number, seed="bench", mean_log=8.42):
    """Message `number`: bytes with CRLF and a Message-ID of its own."""
    source = random.Random(f"{seed}/{number}")
    size = min(500_000, max(300, int(source.lognormvariate(mean_log, 0.9))))
    head = (f"Return-Path: <sender{number % 977}@example.org>\r\nReceived: from relay{number % 13}.example.net by "
            f"mail.example.org with ESMTPS\r\n\tid {source.getrandbits(64):016x}; Mon, 01 Jan 2024 10:00:00 +0000\r\n"
            f"From: Sender {number % 977} <sender{number % 977}@example.org>\r\nTo: you@example.org\r\n"
            f"Subject: Message {number}\r\nMessage-ID: <{number}.{seed}@bench.example>\r\n"
            f"Date: Mon, 01 Jan 2024 10:00:00 +0000\r\n\r\n").encode()
    pool = _NOISE if number % 10 == 9 else _TEXT
    start = source.randrange(len(pool) - 1)
    body = (pool[start:] + pool)[:max(40, size - len(head))] if size > 1000 else pool[:max(40, size - len(head))]
    return head + body.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\nend of %d\r\n" % number


def small(number, seed="small"):
    """A message of some 300 bytes, for works that count messages and not bytes."""
    return (f"From: Sender {number % 977} <sender{number % 977}@example.org>\r\nTo: you@example.org\r\n"
            f"Subject: Message {number}\r\nMessage-ID: <{number}.{seed}@bench.example>\r\n"
            f"Date: Mon, 01 Jan 2024 10:00:00 +0000\r\n\r\nA short text, number {number}.\r\n").encode()


def epoch(number):
    return FIRST_EPOCH + number * 37


def flags(number):
    """Two of three are read, one of ten is flagged."""
    return ("F" if number % 10 == 0 else "") + ("S" if number % 3 else "")


def mailbox_names(count):
    return ["INBOX"] + [f"m{index:03}" for index in range(1, count)]


def write_maildir(home, mailboxes, messages, make=message, host="bench"):
    """Fills `home`/Maildir: message n goes to mailbox n % len(mailboxes). Dovecot numbers them by the file names.

    host: part of the file names, which are the server's own identifiers of the messages.
    """
    root = pathlib.Path(home) / "Maildir"
    folders = []
    for name in mailboxes:
        folder = root if name == "INBOX" else root / name
        for part in ("cur", "new", "tmp"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        folders.append(str(folder / "cur"))
    for number in range(messages):
        content = make(number)
        when = epoch(number)
        path = (f"{folders[number % len(folders)]}/{when}.M{number}P1.{host},S={len(content)},W={len(content)}:2,"
                f"{flags(number)}")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(handle, content)
        os.close(handle)
        os.utime(path, (when, when))
    (root / "subscriptions").write_text("".join(f"{name}\n" for name in mailboxes if name != "INBOX"))
    give_to_mail_user(home)


def give_to_mail_user(home):
    if not dovecot.ROOT:
        return
    for folder, _, files in os.walk(home):
        shutil.chown(folder, dovecot.MAIL_USER, dovecot.MAIL_GROUP)
        for name in files:
            shutil.chown(os.path.join(folder, name), dovecot.MAIL_USER, dovecot.MAIL_GROUP)
