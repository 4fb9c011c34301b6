"""A SOCKS5 proxy (RFC 1928, RFC 1929) for tests: serves, refuses or stalls, and remembers what it was asked for."""

import contextlib
import socket
import threading

NO_LOGIN, PASSWORD, NONE_ACCEPTABLE = 0, 2, 0xFF
IPV4, NAME, IPV6 = 1, 3, 4
REFUSED_BY_RULES, HOST_UNREACHABLE = 2, 4


class Socks5:
    """Listens on `port` of 127.0.0.1 until close().

    login: (user, password) that a client must give, as bytes. names: {name: address} that it resolves. reply: what it
    answers instead of connecting. stalls: it takes the request and never answers.
    """

    def __init__(self, login=None, names=None, reply=0, stalls=False):
        self.login, self.names, self.reply, self.stalls = login, names or {}, reply, stalls
        self.requests = []  # (kind of address, host, port)
        self.logins = []  # what clients gave
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self._sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError, EOFError), client:
            if not self._let_in(client):
                return
            kind, host, port = _read_request(client)
            self.requests.append((kind, host, port))
            if self.stalls:
                client.recv(1)  # until the client gives up
                return
            if self.reply:
                client.sendall(bytes([5, self.reply, 0, IPV4]) + bytes(6))
                return
            target = self.names.get(host) if kind == NAME else host
            if target is None:
                client.sendall(bytes([5, HOST_UNREACHABLE, 0, IPV4]) + bytes(6))
                return
            server = socket.create_connection((target, port))
            self._sockets.append(server)
            # A name as the bound address: the client must read one of any kind.
            client.sendall(bytes([5, 0, 0, NAME, 5]) + b"bound" + bytes(2))
            threading.Thread(target=_pump, args=(server, client), daemon=True).start()
            _pump(client, server)

    def _let_in(self, client):
        methods = _read(client, _read(client, 2)[1])
        wanted = PASSWORD if self.login else NO_LOGIN
        if wanted not in methods:
            client.sendall(bytes([5, NONE_ACCEPTABLE]))
            return False
        client.sendall(bytes([5, wanted]))
        if wanted == NO_LOGIN:
            return True
        user = _read(client, _read(client, 2)[1])
        password = _read(client, _read(client, 1)[0])
        self.logins.append((user, password))
        good = (user, password) == self.login
        client.sendall(bytes([1, 0 if good else 1]))
        return good


def _read(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _read_request(client):
    version, command, _, kind = _read(client, 4)
    assert (version, command) == (5, 1)
    if kind == NAME:
        host = _read(client, _read(client, 1)[0]).decode()
    else:
        host = socket.inet_ntop(socket.AF_INET if kind == IPV4 else socket.AF_INET6, _read(client, 4 if kind == IPV4 else 16))
    return kind, host, int.from_bytes(_read(client, 2), "big")


def _pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
