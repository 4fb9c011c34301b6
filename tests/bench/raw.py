"""What the servers themselves can do: the same mail appended by one command each, by MULTIAPPEND, and on four
connections; and the two exchanges that tell whether there is anything to do.

Nothing of a sync is in it: the commands are made beforehand, the answers only counted.
"""

import selectors
import socket
import threading
import time

import corpus
import dovecot
import mail


def prepare(mailboxes, messages, connections, batch, make=corpus.message):
    """[[(mailbox, bytes of one APPEND)]] for each connection; a mailbox belongs to one connection."""
    shares = [[] for _ in range(connections)]
    for index, mailbox in enumerate(mailboxes):
        numbers = range(index, messages, len(mailboxes))
        for start in range(0, len(numbers), batch):
            parts = [b'APPEND "%s"' % mailbox.encode()]
            for number in numbers[start:start + batch]:
                content = make(number)
                flags = corpus.flags(number).replace("F", "\\Flagged ").replace("S", "\\Seen").strip()
                parts.append(b" (%s) %s {%d+}\r\n" % (flags.encode(), mail.format_date(corpus.epoch(number)).encode(),
                                                      len(content)))
                parts.append(content)
            shares[index % connections].append(b"".join(parts) + b"\r\n")
    return shares


def append(site, user, mailboxes, shares):
    """Seconds that it took to append all shares side by side, from the first command to the last answer."""
    with mail.Account(site, user) as account:
        for mailbox in mailboxes:
            if mailbox != "INBOX":
                account.create(mailbox)
    accounts = [mail.Account(site, user) for _ in shares]
    failures = []

    def work(account, commands):
        try:
            for command in commands:
                tag = account.client._new_tag()
                account.client.send(tag + b" " + command)
                while True:
                    line = account.client.readline()
                    if line.startswith(tag):
                        break
                if line.split()[1] != b"OK":
                    raise RuntimeError(line)
                del account.client.tagged_commands[tag]
        except (OSError, RuntimeError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(accounts, shares)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - started
    for account in accounts:
        account.close()
    if failures:
        raise failures[0]
    return took


def look(sites, user):
    """Seconds from the connections, to all sites at once, to what LIST tells of each: login and LIST in one exchange."""
    commands = (f"a LOGIN {user} {dovecot.PASSWORD}\r\nb ENABLE QRESYNC\r\n"
                'c LIST "" "*" RETURN (SUBSCRIBED STATUS (UIDVALIDITY UIDNEXT HIGHESTMODSEQ))\r\n').encode()
    started = time.monotonic()
    with selectors.DefaultSelector() as waiting:
        for site in sites:
            waiting.register(socket.create_connection(("127.0.0.1", site.port)), selectors.EVENT_READ, bytearray())
        while waiting.get_map():
            for key, _ in waiting.select(30):
                greeted = bool(key.data)
                answer = key.fileobj.recv(1 << 20)
                key.data.extend(answer)
                if not greeted:
                    key.fileobj.sendall(commands)
                done = b"\r\nc OK" in key.data
                if not answer or b"\r\nc NO" in key.data or b"\r\nc BAD" in key.data:
                    raise RuntimeError(bytes(key.data[-200:]))
                if done:
                    waiting.unregister(key.fileobj)
                    key.fileobj.close()
    return time.monotonic() - started
