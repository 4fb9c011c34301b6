"""An IMAP server that knows SCRAM-SHA-256-PLUS, which Dovecot 2.3 lacks, and nothing behind the login.

Python's ssl gives a server tls-unique (TLS 1.2); tls-server-end-point is the certificate's hash. A client that binds to
anything else is told so. `outcomes` holds what became of each attempt: "bound by TYPE", or why it was refused.
"""

import base64
import contextlib
import hashlib
import hmac
import socket
import ssl
import threading

SALT, ITERATIONS = b"salt for a test", 4096


def _hmac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


class ScramServer:
    """Listens on `port` of 127.0.0.1 until close(). certificates: a folder of dovecot.make_certificates."""

    def __init__(self, certificates, password, version, mechanisms="AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256"):
        self.password, self.mechanisms = password.encode(), mechanisms
        self.outcomes = []
        certificate = (certificates / "server.pem").read_text()
        self.end_point = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).digest()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        self.context.minimum_version = self.context.maximum_version = version
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError), self.context.wrap_socket(client, server_side=True) as tls:
            stream = tls.makefile("rwb", 0)
            stream.write(f"* OK [CAPABILITY IMAP4rev1 SASL-IR {self.mechanisms}] ready\r\n".encode())
            while line := stream.readline():
                tag, command, *arguments = line.split()
                if command.upper() != b"AUTHENTICATE":
                    stream.write(b"* BYE this server knows only logins\r\n")
                    return
                outcome = self._authenticate(tls, stream, arguments[0].decode(), base64.b64decode(arguments[1]))
                self.outcomes.append(outcome)
                stream.write(tag + (b" OK in\r\n" if outcome.startswith("bound by") else b" NO refused\r\n"))

    def _authenticate(self, tls, stream, mechanism, first):
        def ask(text):
            stream.write(b"+ " + base64.b64encode(text) + b"\r\n")
            return base64.b64decode(stream.readline().strip().replace(b"*", b""))

        flag, _, bare = first.split(b",", 2)
        nonce = dict(part.split(b"=", 1) for part in bare.split(b","))[b"r"] + b"servers-part"
        server_first = b"r=%s,s=%s,i=%d" % (nonce, base64.b64encode(SALT), ITERATIONS)
        final = ask(server_first)
        without_proof, proof = final.rsplit(b",p=", 1)
        fields = dict(part.split(b"=", 1) for part in without_proof.split(b","))
        bindings = {b"p=tls-server-end-point": self.end_point, b"p=tls-unique": tls.get_channel_binding("tls-unique")}
        if mechanism.endswith("-PLUS") and not bindings.get(flag):
            ask(b"e=unsupported-channel-binding-type")
            return f"unsupported: {flag.decode()}"
        bound = bindings.get(flag, b"")
        if fields[b"r"] != nonce or base64.b64decode(fields[b"c"]) != flag + b",," + bound:
            return "wrong binding"
        if flag == b"y" and "PLUS" in self.mechanisms:
            return "the offer was changed on the way"
        salted = hashlib.pbkdf2_hmac("sha256", self.password, SALT, ITERATIONS)
        message = bare + b"," + server_first + b"," + without_proof
        key = _hmac(salted, b"Client Key")
        signature = _hmac(hashlib.sha256(key).digest(), message)
        if bytes(a ^ b for a, b in zip(key, signature)) != base64.b64decode(proof):
            return "wrong password"
        ask(b"v=" + base64.b64encode(_hmac(_hmac(salted, b"Server Key"), message)))
        return "bound by " + flag.decode()
