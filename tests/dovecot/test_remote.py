"""Remote control: mutual TLS with roles, and limits that hold whatever a client does while the mesh goes on syncing."""

import os
import pathlib
import re
import socket
import subprocess
import time

import grpc

import mail
import test_daemon
from mesh import BAD_USAGE, BINARIES, FAILED, measures_memory

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HTTP2_SETTINGS = bytes(3) + b"\x04" + bytes(5)  # an empty SETTINGS frame (RFC 9113 section 6.5)
MAX_CLIENTS = 128  # of each address; imapmeshd's default
HANDSHAKE_LIMIT_S = 10  # after which a connection that says nothing is closed


class RemoteTest(test_daemon.DaemonTest):
    def setUp(self):
        super().setUp()
        self.require_binaries()
        self.tls = self.certs("init", self.scratch / "tls")

    def certs(self, command, folder, *arguments):
        done = subprocess.run([str(BINARIES / "imapmeshd"), "certs", command, *arguments, "--dir", str(folder)],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return folder

    def remote(self, *arguments):
        """(daemon, address): listens on the unix socket and, by TLS, on a port of 127.0.0.1."""
        daemon = self.daemon(["--listen", "127.0.0.1:0", "--tls-dir", str(self.tls), *arguments])
        found = []
        self.wait_for(lambda: found or found.extend(re.findall(r"listening on (127\.0\.0\.1:\d+)", daemon.log())),
                      "the address in the log")
        stub = self.connect()
        self.wait_for(lambda: stub.GetStatus(self.proto.GetStatusRequest()).converged, "convergence", 30)
        return daemon, found[0]

    def stub(self, address, certificate=None, key=None, authority=None):
        """A client with these files; without a certificate by default."""
        read = lambda path: pathlib.Path(path).read_bytes() if path else None
        credentials = grpc.ssl_channel_credentials(read(authority or self.tls / "ca.pem"), read(key), read(certificate))
        channel = grpc.secure_channel(address, credentials, options=[("grpc.use_local_subchannel_pool", 1)])
        self.addCleanup(channel.close)
        return self.service.CoordinatorStub(channel)

    def stub_of(self, address, client):
        folder = self.tls / "clients" / client
        return self.stub(address, folder / "client.pem", folder / "client.key")

    def sign(self, name, *arguments, extensions, days="10"):
        """A client certificate that `imapmeshd certs` would not make; (certificate, key)."""
        paths = {kind: self.scratch / f"{name}.{kind}" for kind in ("pem", "key", "csr", "ext")}
        paths["ext"].write_text(extensions)
        for command in (["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                         f"/CN={name}", "-keyout", paths["key"], "-out", paths["csr"]],
                        ["x509", "-req", "-in", paths["csr"], "-CA", self.tls / "ca.pem", "-CAkey",
                         self.tls / "ca.key", "-days", days, "-extfile", paths["ext"], "-out", paths["pem"]]):
            subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
        return paths["pem"], paths["key"]

    def refusal(self, call):
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        return raised.exception

    def refusal_or_none(self, call):
        try:
            call()
        except grpc.RpcError as error:
            return error
        return None

    def assert_mesh_goes_on(self, number, what):
        self.laptop.append("INBOX", mail.ordinary(number), "", 1_710_000_000)
        self.wait_for(lambda: self.server_.uids("INBOX", f"SUBJECT \"Message {number}\""), f"new mail {what}", 20)

    def descriptors(self, daemon):
        return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


class Access(RemoteTest):
    def test_the_certificates_of_certs_init_and_what_their_roles_may_do(self):
        _, address = self.remote()
        viewer, operator = self.stub_of(address, "viewer"), self.stub_of(address, "operator")
        # What the engine wrote comes back as news for a moment.
        self.wait_for(lambda: viewer.GetStatus(self.proto.GetStatusRequest(), timeout=20).converged, "convergence")
        self.assertEqual(viewer.Plan(self.proto.PlanRequest(), timeout=20).total, 0)
        viewer.ListConflicts(self.proto.ListConflictsRequest(), timeout=20)
        self.assertEqual(len(viewer.GetTopology(self.proto.GetTopologyRequest(), timeout=20).replicas), 3)
        edge = "laptop:server"
        for name, call in (("Sync", lambda stub: list(stub.Sync(self.proto.SyncRequest(), timeout=60))),
                           ("PauseEdge", lambda stub: stub.PauseEdge(self.proto.PauseEdgeRequest(edge=edge),
                                                                     timeout=20)),
                           ("ResumeEdge", lambda stub: stub.ResumeEdge(self.proto.ResumeEdgeRequest(edge=edge),
                                                                       timeout=20)),
                           ("ReloadTopology", lambda stub: stub.ReloadTopology(self.proto.ReloadTopologyRequest(),
                                                                               timeout=20))):
            error = self.refusal(lambda: call(viewer))
            self.assertEqual(error.code(), grpc.StatusCode.PERMISSION_DENIED, name)
            self.assertIn(f"{name} needs the role operator", error.details())
            call(operator)
        # The program, by one option and by three.
        folder = self.tls / "clients" / "viewer"
        self.client("--tls-dir", str(folder), "status", address=address)
        files = ["--tls-ca", f"{folder}/ca.pem", "--tls-cert", f"{folder}/client.pem", "--tls-key",
                 f"{folder}/client.key"]
        self.assertIn("replicas", self.client(*files, "--json", "status", address=address))
        run = self.client(*files, "pause", edge, address=address, expect=FAILED)
        self.assertIn("needs the role operator", run.output)
        # One more client of the same authority, while the daemon runs.
        self.certs("client", self.tls, "carol", "--role", "operator")
        self.client("--tls-dir", str(self.tls / "clients" / "carol"), "sync", address=address)

    def test_who_is_not_vouched_for_is_refused(self):
        daemon, address = self.remote()
        other = self.certs("init", self.scratch / "other")
        expired = self.sign("old", days="-1", extensions="subjectAltName=URI:urn:imapmesh:role:operator\n"
                                                         "extendedKeyUsage=clientAuth\n")
        strangers = {"no certificate": (None, None),
                     "another authority": (other / "clients/operator/client.pem", other / "clients/operator/client.key"),
                     "expired": expired,
                     "a server's certificate": (self.tls / "server.pem", self.tls / "server.key")}
        for what, (certificate, key) in strangers.items():
            stub = self.stub(address, certificate, key)
            error = self.refusal(lambda: stub.GetStatus(self.proto.GetStatusRequest(), timeout=20))
            self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE, what)
        plain = self.service.CoordinatorStub(grpc.insecure_channel(address))
        self.assertEqual(self.refusal(lambda: plain.GetStatus(self.proto.GetStatusRequest(), timeout=20)).code(),
                         grpc.StatusCode.UNAVAILABLE)
        roleless = self.stub(address, *self.sign("nobody", extensions="extendedKeyUsage=clientAuth\n"))
        error = self.refusal(lambda: roleless.GetStatus(self.proto.GetStatusRequest(), timeout=20))
        self.assertEqual(error.code(), grpc.StatusCode.PERMISSION_DENIED)
        self.assertIn("carries no role", error.details())
        # The other way round: a client that does not trust the daemon.
        run = self.client("--tls-dir", str(other / "clients/operator"), "status", address=address, expect=FAILED)
        self.assertIn("vouch", run.output)
        self.assert_mesh_goes_on(500, "while strangers knock")
        daemon.stop()

    def test_loopback_without_tls_only_when_asked_for_by_name(self):
        command = [str(BINARIES / "imapmeshd"), "--topology", str(self.topology_path), "--state", str(self.state_path),
                   "--listen", "0.0.0.0:0"]
        run = self.run_command(command)
        self.assertEqual(run.code, BAD_USAGE, run)
        self.assertIn("mutual TLS", run.output)
        daemon = self.daemon(["--listen", "127.0.0.1:0"])
        found = []
        self.wait_for(lambda: found or found.extend(re.findall(r"listening on (127\.0\.0\.1:\d+)", daemon.log())),
                      "the address in the log")
        self.client("status", address=found[0])
        self.assertIn("every user of this machine can steer the mesh", daemon.log())


class Abuse(RemoteTest):
    def raw(self, address, greeting=b""):
        """A connection that says `greeting` and no more; None when it was refused at once."""
        connection = socket.socket(socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET)
        self.addCleanup(connection.close)
        connection.settimeout(5)
        try:
            if address.startswith("unix:"):
                connection.connect(address.removeprefix("unix:"))
            else:
                host, port = address.split(":")
                connection.connect((host, int(port)))
            if greeting:
                connection.sendall(greeting)
        except OSError:
            return None
        return connection

    def closed(self, connection):
        """The other side has ended it."""
        if connection is None:
            return True
        connection.setblocking(False)
        try:
            while connection.recv(65536):
                pass
            return True
        except BlockingIOError:
            return False
        except OSError:
            return True

    def test_a_thousand_clients_leave_the_mesh_its_descriptors_and_memory(self):
        daemon, address = self.remote()
        before_kb, before_fds = daemon.memory_kb(), self.descriptors(daemon)
        crowd = [self.raw(self.socket, HTTP2_PREFACE + HTTP2_SETTINGS) for _ in range(1000)]
        crowd += [self.raw(address) for _ in range(1000)]
        self.wait_for(lambda: sum(not self.closed(each) for each in crowd) <= 2 * MAX_CLIENTS,
                      "all but the allowed clients are refused")
        self.assert_mesh_goes_on(501, "among a thousand clients of each address")
        self.assertLess(self.descriptors(daemon) - before_fds, 2 * MAX_CLIENTS + 40)
        self.assertLess(daemon.memory_kb() - before_kb, 64 << 10)
        self.assertIn("refusing connections", daemon.log())
        for each in crowd:
            if each is not None:
                each.close()
        stub = self.connect()  # there is room again
        self.wait_for(lambda: stub.GetStatus(self.proto.GetStatusRequest(), wait_for_ready=True, timeout=20), "a reply")
        self.assertTrue(self.stub_of(address, "viewer").GetStatus(self.proto.GetStatusRequest(), wait_for_ready=True,
                                                                  timeout=20).replicas)

    def test_a_client_that_never_reads_its_events_holds_nobody_up(self):
        daemon, address = self.remote()
        streams = [self.stub_of(address, "viewer").WatchEvents(self.proto.WatchEventsRequest()) for _ in range(10)]
        for stream in streams:
            stream.initial_metadata()  # it is open
        before_kb = daemon.memory_kb()
        self.laptop.append_many("INBOX", [(mail.ordinary(number), "", 1_710_000_000) for number in range(600, 900)])
        self.wait_for(lambda: len(self.server_.uids("INBOX")) >= 300, "the mail at the server", 60)
        uids = self.laptop.uids("INBOX")
        for flag in ("\\Flagged", "\\Answered", "\\Draft"):
            for uid in uids[:100]:
                self.laptop.store("INBOX", uid, "+FLAGS", flag)
        self.assert_mesh_goes_on(502, "beside clients that never read")
        self.assertLess(daemon.memory_kb() - before_kb, 64 << 10)
        for stream in streams:
            stream.cancel()
        daemon.stop()

    @measures_memory
    def test_garbage_and_half_open_connections_are_bounded(self):
        daemon, address = self.remote()
        before_kb, before_fds = daemon.memory_kb(), self.descriptors(daemon)
        frame = lambda length, kind, flags, stream: length.to_bytes(3, "big") + bytes([kind, flags]) + \
            stream.to_bytes(4, "big")
        greetings = [b"", b"\x16", b"\x16\x03\x01\xff\xff" + os.urandom(2000), b"GET / HTTP/1.1\r\n\r\n",
                     os.urandom(5000), HTTP2_PREFACE, HTTP2_PREFACE[:10], HTTP2_PREFACE + os.urandom(3000),
                     HTTP2_PREFACE + HTTP2_SETTINGS + frame(0xffffff, 0, 0, 1) + os.urandom(1 << 16),  # DATA, 16 MB
                     HTTP2_PREFACE + HTTP2_SETTINGS + frame(1000, 1, 4, 1) + os.urandom(1000),  # HEADERS, not HPACK
                     HTTP2_PREFACE + HTTP2_SETTINGS + frame(4, 8, 0, 0) + bytes(4),  # WINDOW_UPDATE by 0
                     HTTP2_PREFACE + HTTP2_SETTINGS + (frame(8, 6, 0, 0) + bytes(8)) * 5000,  # a flood of PINGs
                     HTTP2_PREFACE + HTTP2_SETTINGS + (frame(0, 4, 0, 0)) * 5000]  # a flood of SETTINGS
        started = time.monotonic()
        connections = {(where, number): self.raw(to, greeting) for number, greeting in enumerate(greetings)
                       for where, to in (("unix", self.socket), ("tcp", address))}
        self.assert_mesh_goes_on(503, "beside garbage")
        # What speaks no HTTP/2, or no TLS, is closed when the time for a handshake is over.
        silent = {key: each for key, each in connections.items() if key[0] == "tcp" or key[1] in (0, 1, 3, 4, 6)}
        self.wait_for(lambda: all(self.closed(each) for each in silent.values()), "half-open connections closed",
                      3 * HANDSHAKE_LIMIT_S)
        self.assertGreater(time.monotonic() - started, HANDSHAKE_LIMIT_S / 2)
        for each in connections.values():
            if each is not None:
                each.close()
        self.wait_for(lambda: self.descriptors(daemon) <= before_fds + 8, "descriptors given back", 20)
        self.assertLess(daemon.memory_kb() - before_kb, 64 << 10)
        self.assertTrue(self.stub_of(address, "viewer").GetStatus(self.proto.GetStatusRequest(), timeout=20).replicas)
        daemon.stop()

    def test_plans_and_syncs_that_their_callers_leave_are_not_carried_on_for_nobody(self):
        daemon, _ = self.remote()
        stub = self.connect()
        for _ in range(100):
            call = stub.Plan.future(self.proto.PlanRequest(), timeout=0.001)
            call.cancel()
            stub.Sync(self.proto.SyncRequest()).cancel()
        self.assert_mesh_goes_on(504, "after calls that were left")
        # What a plan has observed when its caller leaves is carried all the same.
        for number in range(505, 509):
            self.laptop.append("INBOX", mail.ordinary(number), "", 1_710_000_000)
            for patience_s in (0.02, 0.05, 0.1):
                self.refusal_or_none(lambda: stub.Plan(self.proto.PlanRequest(), timeout=patience_s))
            self.wait_for(lambda: self.server_.uids("INBOX", f"SUBJECT \"Message {number}\""),
                          "mail that a plan observed", 20)
        self.wait_for(lambda: stub.GetStatus(self.proto.GetStatusRequest()).converged, "convergence")
        self.assertEqual(stub.Plan(self.proto.PlanRequest(), timeout=30).total, 0)
        daemon.stop()
