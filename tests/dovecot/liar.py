"""A proxy between imapmesh and a real server that changes single lines of what either says: a server that lies.

Lines only: literals pass unchanged, so nothing is to be rewritten behind one in the same response; with `heads` the
callables also get the lines that announce one, and must leave the announcement as it is. The server must not offer
COMPRESS. body(bytes) gives what passes instead of a whole message (BODY[]), announced by its length. Threads; the
callables run in them.
"""

import re
import socket
import threading

BODY = re.compile(rb"BODY\[\] \{(\d+)\}\r\n$")
LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n$")


class Liar:
    """Listens on `port` of 127.0.0.1. answer(line) and command(line) give what passes instead; b"" for nothing."""

    def __init__(self, target_port, answer=None, command=None, heads=False, body=None):
        self.heads, self.body = heads, body
        self.answer, self.command = answer or (lambda line: line), command or (lambda line: line)
        self.target_port = target_port
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # closed: the test is over
            server = socket.create_connection(("127.0.0.1", self.target_port))
            self.sockets += [client, server]
            for source, target, change in ((client, server, lambda line: self.command(line)),
                                           (server, client, lambda line: self.answer(line))):
                threading.Thread(target=self._pass, args=(source, target, change), daemon=True).start()

    def _pass(self, source, target, change):
        try:
            with source.makefile("rb") as lines:
                while line := lines.readline():
                    if self.body is not None and source is not target and BODY.search(line):
                        content = self.body(lines.read(int(BODY.search(line).group(1))))
                        head = BODY.sub(b"BODY[] {%d}\\r\\n" % len(content), line)
                        target.sendall((change(head) if self.heads else head) + content)
                        continue
                    literal = LITERAL.search(line)
                    passed = line if literal and not self.heads else change(line)
                    if passed:
                        target.sendall(passed)
                    if literal:
                        target.sendall(lines.read(int(literal.group(1))))
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        for each in self.sockets:
            each.close()
