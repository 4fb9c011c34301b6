"""A TCP proxy that hurts connections: cuts, stalls, trickles and delays them at chosen bytes, and changes nothing else.

Bytes are never altered, reordered or lost within what passes; a connection is only slower or shorter than it should be.
The event loop runs in a thread of its own; the methods may be called from any thread.
"""

import asyncio
import collections
import socket
import threading

CHUNK_BYTES = 65536

# What happens to one connection once `after` bytes have passed in both directions together.
#   cut: both sides are closed; stall: nothing passes any more; trickle: the next bytes pass one by one;
#   delay: every chunk from then on waits `seconds`.
Fault = collections.namedtuple("Fault", "kind after seconds", defaults=(0.0,))
KINDS = ("cut", "stall", "trickle", "delay")
TRICKLED_BYTES = 200
TCP_ESTABLISHED = 1  # the first byte of struct tcp_info, tcp(7)


def draw(source, kinds=KINDS, longest=60_000):
    """A fault, or None for a connection that is left alone; half of them come within the first 2,000 bytes."""
    kind = source.choice(kinds + ("none",))
    after = source.randrange(2_000) if source.random() < 0.5 else source.randrange(longest)
    return None if kind == "none" else Fault(kind, after, source.uniform(0.001, 0.02))


class _Connection:
    """One client and its connection to the server."""

    def __init__(self, fault):
        self.fault = fault
        self.passed = 0
        self.writers = []

    async def pump(self, reader, writer):
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                await self.forward(chunk, writer)
            if writer.can_write_eof():
                writer.write_eof()
        except (OSError, asyncio.IncompleteReadError):
            self.close()

    async def forward(self, chunk, writer):
        if self.fault is not None and self.passed + len(chunk) > self.fault.after:
            harmless = max(0, self.fault.after - self.passed)
            await self.pass_on(chunk[:harmless], writer)
            chunk = await self.hurt(chunk[harmless:], writer)
        await self.pass_on(chunk, writer)

    async def pass_on(self, chunk, writer):
        if chunk:
            writer.write(chunk)
            await writer.drain()
            self.passed += len(chunk)

    async def hurt(self, chunk, writer):
        """Does the fault at the beginning of `chunk`; what is left of it to pass."""
        if self.fault.kind == "cut":
            raise ConnectionResetError
        if self.fault.kind == "stall":
            await self.client_closes()
            raise ConnectionResetError
        if self.fault.kind == "delay":
            await asyncio.sleep(self.fault.seconds)
            return chunk
        slow = chunk[:TRICKLED_BYTES]
        for index in range(len(slow)):
            await self.pass_on(slow[index:index + 1], writer)
            await asyncio.sleep(self.fault.seconds / 10)
        if self.passed - self.fault.after >= TRICKLED_BYTES:
            self.fault = None
        return chunk[len(slow):]

    async def client_closes(self):
        """Reads nothing meanwhile, so that who writes is held up. A server whose client is gone must learn of it: its
        process holds the lock of an mbox for as long, and locks everybody else out."""
        client = self.writers[0].get_extra_info("socket")
        while client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED:
            await asyncio.sleep(0.05)

    def close(self):
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """Listens on `port` of 127.0.0.1 and passes on to `target_port`. Faults are asked for by connection."""

    def __init__(self, target_port, next_fault):
        """next_fault(): a Fault or None for each connection that comes; runs in the proxy's thread."""
        self.target_port = target_port
        self.next_fault = next_fault
        self.counts = collections.Counter()  # faults handed out, by kind
        self._connections = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _serve(self, client_reader, client_writer):
        fault = self.next_fault()
        self.counts[fault.kind if fault else "none"] += 1
        connection = _Connection(fault)
        connection.writers.append(client_writer)
        self._connections.add(connection)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            connection.writers.append(server_writer)
            await asyncio.gather(connection.pump(client_reader, server_writer),
                                 connection.pump(server_reader, client_writer))
        except OSError:
            pass
        finally:
            connection.close()
            self._connections.discard(connection)

    def cut_all(self):
        async def cut():
            for connection in list(self._connections):
                connection.close()
        self._call(cut())

    def calm(self):
        """No fault from now on; connections that were hurt are cut."""
        self.next_fault = lambda: None
        self.cut_all()

    def close(self):
        async def end():
            self._server.close()
            for connection in list(self._connections):
                connection.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
