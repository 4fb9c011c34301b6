"""What is remembered of a server from one start to the next: a guess that may be wrong, never a reason to fail."""

import asyncio
import re
import sqlite3
import threading

import dovecot
import mail
from mesh import CONVERGED, PARTIAL, MeshTest

WITHOUT_COMPRESS = dovecot.CAPABILITY + " UNKNOWN=WORD"
WITHOUT_QRESYNC = " ".join(word for word in dovecot.CAPABILITY.split() if word not in ("QRESYNC", "CONDSTORE", "NOTIFY"))


ANSWERED = re.compile(rb"(A1 OK[^\r\n]*\r\n)")


class ReadsTwice:
    """Before `port`: a server that reads the login again when more came with it, as Cyrus 3.6 does under load."""

    def __init__(self, port):
        self.target, self.read_twice = port, 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self.serve, "127.0.0.1", 0),
                                                       self.loop).result(10)
        self.port = self.server.sockets[0].getsockname()[1]

    async def serve(self, client, to_client):
        server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        more_came = False

        async def forward():
            nonlocal more_came
            while chunk := await client.read(65536):
                more_came |= b" AUTHENTICATE " in chunk and chunk.count(b"\r\n") > 1
                to_server.write(chunk)
            to_server.close()

        async def back():
            nonlocal more_came
            while chunk := await server.read(65536):
                if more_came and ANSWERED.search(chunk):  # what follows it in a chunk may be compressed already
                    self.read_twice, more_came = self.read_twice + 1, False
                    chunk = ANSWERED.sub(rb"\1A1 BAD Already authenticated\r\n", chunk, count=1)
                to_client.write(chunk)
            to_client.close()

        await asyncio.gather(forward(), back(), return_exceptions=True)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


class Memory(MeshTest):
    def setUp(self):
        super().setUp()
        for name in ("laptop", "server"):
            self.server(name)
        self.write_topology([("laptop", "server")])
        with mail.Account(self.servers["laptop"]) as account:
            account.append_many("INBOX", [(mail.ordinary(number), "", 1_600_000_000 + number) for number in range(5)])
        self.expected = mail.snapshot(self.servers["laptop"])
        self.run_once()

    def remembered(self):
        database = sqlite3.connect(self.state_path)
        self.addCleanup(database.close)
        return dict(database.execute("SELECT key, value FROM meta WHERE key LIKE 'server:%'"))

    def restart(self, capability):
        """The server as it is after an update, or another one in its place."""
        server = self.servers["server"]
        server.stop()
        server.capability = capability
        server._write_config()
        server.start()

    def test_the_second_start_guesses_and_stays_quiet(self):
        self.assertEqual(set(self.remembered()), {"server:laptop", "server:server"})
        self.assertIn("QRESYNC", self.remembered()["server:server"])
        self.assert_quiet(self.expected)

    def test_a_server_that_can_less_than_remembered(self):
        for capability in (WITHOUT_COMPRESS, WITHOUT_QRESYNC, ""):
            self.restart(capability)
            with mail.Account(self.servers["server"]) as account:
                account.append("INBOX", mail.ordinary(100 + len(capability)), "\\Seen", 1_600_001_000)
            run = self.run_once()
            self.assertEqual(run.code, CONVERGED, run)
            self.check()

    def test_a_password_that_is_refused_is_told_as_such(self):
        self.write_text(self.topology_path.read_text().replace(dovecot.PASSWORD, "another"))
        run = self.run_once(expect=PARTIAL)
        self.assertIn("refused", run.replica("server")["last_error"])
        self.assertNotIn("QRESYNC", self.remembered()["server:server"])

    def test_a_server_that_reads_the_login_twice(self):
        between = ReadsTwice(self.servers["server"].port)
        self.addCleanup(between.close)
        self.write_text(self.topology_path.read_text().replace(f"port: {self.servers['server'].port} ",
                                                               f"port: {between.port} "))
        self.run_once()
        with mail.Account(self.servers["laptop"]) as account:
            for mailbox in ("INBOX", "One", "Two", "Three", "Four", "Five", "Six"):
                if mailbox != "INBOX":
                    account.create(mailbox)
                account.append_many(mailbox, [(mail.ordinary(200 + number), "", 1_600_002_000) for number in range(3)])
        run = self.run_once()
        self.assertEqual(run.code, CONVERGED, run)
        # Guessed once, perhaps for two connections at the same time, and not again for others.
        self.assertIn(between.read_twice, (1, 2, 3, 4))
        self.check()

    def test_nonsense_in_the_state(self):
        database = sqlite3.connect(self.state_path)
        with database:
            database.execute("UPDATE meta SET value = 'no greeting of this server' || char(10) || 'QRESYNC \"' "
                             "WHERE key LIKE 'server:%'")
        database.close()
        self.assert_quiet(self.expected)
