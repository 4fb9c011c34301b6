"""Ways to connect and to log in: mechanisms, tokens, certificates, secrets, addresses, proxies, TLS.

Each mesh is two servers: `near`, plainly reached, and `far`, reached in the way the test is about.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import threading
import time

import dovecot
import mail
import scram_server
import socks5
from mesh import CONVERGED, PARTIAL, MeshTest

AUTH = f'auth {{ username: "far" password: "{dovecot.PASSWORD}" }}'
# Otherwise Dovecot answers later and later after each login that it refused.
NO_PENALTY = "service anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n"
EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]  # made faster than one of RSA
TOKEN_KEY = b"0123456789abcdef0123456789abcdef"


class ConnectionTest(MeshTest):
    def start(self, **options):
        """Both servers, with one message on the near one."""
        self.server("near", compress=False)
        far = self.server("far", compress=False, **options)
        with self.account("near") as account:
            account.append("INBOX", mail.ordinary(1))
        return far

    def mesh(self, far_block):
        self.write_text(f'name: "test"\nreplica {{\n  name: "near"\n{self.servers["near"].endpoint()}}}\n'
                        f'replica {{\n  name: "far"\n{far_block}\n}}\nedge {{ a: "near" b: "far" }}\n')

    def plaintext(self, auth=AUTH, host="127.0.0.1", port=None, extra=""):
        port = port or self.servers["far"].port
        return f'imap {{ host: "{host}" port: {port} security: PLAINTEXT allow_plaintext: true }}\n{auth}\n{extra}'

    def encrypted(self, auth=AUTH, tls=""):
        return (f'imap {{ host: "localhost" port: {self.servers["far"].tls_port} }}\n'
                f'tls {{ ca_file: "certificates/ca.pem" {tls} }}\n{auth}')

    def assert_syncs(self, far_block, **options):
        """A message that is new on the near server arrives on the far one."""
        self.mesh(far_block)
        with self.account("near") as account:
            account.append("INBOX", mail.ordinary(time.monotonic_ns()))
        seen = len(self.logins())
        run = self.run_once(**options)
        run.mechanisms = set(self.logins()[seen:])
        self.check()
        return run

    def logins(self):
        """By which mechanism the far server let somebody in, each time; the tests' own eyes use PLAIN."""
        return re.findall(r"Login: user=<far>, method=([\w-]+)", self.servers["far"].log_text())

    def assert_fails(self, far_block, *words, secrets=(), **options):
        """The far replica is down, the error names it and holds the words, and no secret is told."""
        self.mesh(far_block)
        run = self.run_once(expect=PARTIAL, **options)
        self.assertIn("replica far", run.replica("far")["last_error"])
        for word in words:
            self.assertRegex(run.replica("far")["last_error"], word)
        for secret in (dovecot.PASSWORD, *secrets):
            self.assertNotIn(secret, run.output)
        return run

    def write_file(self, name, text, mode=0o600):
        path = self.scratch / name
        path.write_text(text)
        path.chmod(mode)
        return path


class Passwords(ConnectionTest):
    ALL = "auth_mechanisms = plain login scram-sha-1 scram-sha-256\n"

    def test_each_mechanism_by_name(self):
        self.start(settings=self.ALL)
        for name in ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"):
            run = self.assert_syncs(self.plaintext(AUTH.replace(" }", f' mechanism: "{name}" }}')))
            self.assertEqual(run.mechanisms, {name})

    def test_the_strongest_is_the_default(self):
        self.start(settings=self.ALL, tls=True)
        for block in (self.plaintext(), self.encrypted()):
            self.assertEqual(self.assert_syncs(block).mechanisms, {"SCRAM-SHA-256"})

    def test_the_login_command_where_there_is_no_mechanism(self):
        self.start(settings="auth_mechanisms = scram-sha-1 plain\n")
        run = self.assert_syncs(self.plaintext(AUTH.replace(" }", ' mechanism: "LOGIN" }')))
        self.assertEqual(run.mechanisms, {"PLAIN"})  # as Dovecot calls the LOGIN command

    def test_a_password_beyond_ascii(self):
        password = "pässwörd"
        far = self.start(settings=self.ALL)
        far.stop()
        far.config.write_text(far.config.read_text().replace(dovecot.PASSWORD, password))
        far.start()
        for name in ("SCRAM-SHA-256", "PLAIN", "LOGIN"):
            self.mesh(self.plaintext(f'auth {{ username: "far" password: "{password}" mechanism: "{name}" }}'))
            self.run_once()
        self.assertEqual(set(self.logins()), {"SCRAM-SHA-256", "PLAIN", "LOGIN"})

    def test_a_wrong_password_by_each_mechanism(self):
        self.start(settings=self.ALL + NO_PENALTY)
        for name in ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"):
            auth = f'auth {{ username: "far" password: "wrong-secret" mechanism: "{name}" }}'
            self.assert_fails(self.plaintext(auth), f"login as far by {name} was refused", "AUTHENTICATIONFAILED",
                              "check auth.username and the password", secrets=["wrong-secret"])
        self.assertEqual(self.logins(), [])

    def test_a_mechanism_that_the_server_lacks(self):
        self.start()
        self.assert_fails(self.plaintext(AUTH.replace(" }", ' mechanism: "SCRAM-SHA-256" }')),
                          r"SCRAM-SHA-256 is not offered by the server \(its mechanisms: LOGIN, PLAIN\)")

    def test_a_server_that_offers_less_than_before_is_refused(self):
        """Given a daemon that logged in by SCRAM, when the server offers PLAIN alone, then it is told no password."""
        far = self.start(settings=self.ALL)
        self.mesh(self.plaintext())
        daemon = self.daemon()

        def state():
            return next(replica for replica in self.client("--json", "status")["replicas"] if replica["name"] == "far")

        self.wait_for(lambda: state()["state"] == "UP", "the first sync")
        far.stop()
        far.config.write_text(far.config.read_text().replace(self.ALL, "auth_mechanisms = plain\n"))
        far.start()
        self.wait_for(lambda: "offered SCRAM-SHA-256 before" in json.dumps(state()), "the refusal")
        daemon.stop()
        run = self.run_once(expect=PARTIAL)  # a restart forgets nothing
        self.assertIn("offered SCRAM-SHA-256 before", run.replica("far")["last_error"])
        self.assertEqual(set(self.logins()), {"SCRAM-SHA-256"})
        self.mesh(self.plaintext(AUTH.replace(" }", ' mechanism: "PLAIN" }')))  # as the error says
        self.run_once()
        self.assertEqual(set(self.logins()), {"SCRAM-SHA-256", "PLAIN"})


class ChannelBinding(ConnectionTest):
    """Against a server that is only a login: it says BYE behind it."""

    def login(self, version, words, **options):
        self.start()
        certificates = dovecot.make_certificates(self.scratch / "certificates")
        server = scram_server.ScramServer(certificates, dovecot.PASSWORD, version, **options)
        self.addCleanup(server.close)
        block = f'imap {{ host: "localhost" port: {server.port} }}\ntls {{ ca_file: "certificates/ca.pem" }}\n{AUTH}'
        self.assert_fails(block, words)
        return server.outcomes

    def test_tls_1_2_by_tls_unique(self):
        outcomes = self.login(ssl.TLSVersion.TLSv1_2, "only logins")
        self.assertEqual(set(outcomes), {"bound by p=tls-unique"})

    def test_a_binding_that_the_server_does_not_know_is_followed_by_one_that_it_does(self):
        outcomes = self.login(ssl.TLSVersion.TLSv1_3, "only logins")
        self.assertEqual(outcomes[:2], ["unsupported: p=tls-exporter", "bound by p=tls-server-end-point"])

    def test_without_the_offer_the_server_is_told_that_we_could(self):
        outcomes = self.login(ssl.TLSVersion.TLSv1_3, "only logins", mechanisms="AUTH=SCRAM-SHA-256")
        self.assertEqual(set(outcomes), {"bound by y"})


def token(expires_in_s, subject="far"):
    """A JSON web token (RFC 7519) that Dovecot checks with a key of its own."""
    def encode(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    now = int(time.time())
    claims = {"sub": subject, "iat": now - 3600, "exp": now + expires_in_s}
    signed = encode(b'{"alg":"HS256","typ":"JWT"}') + b"." + encode(json.dumps(claims).encode())
    return (signed + b"." + encode(hmac.new(TOKEN_KEY, signed, hashlib.sha256).digest())).decode()


class Tokens(ConnectionTest):
    def start_with_tokens(self, mechanisms="oauthbearer xoauth2"):
        key = self.scratch / "keys/default/HS256/default"
        key.parent.mkdir(parents=True)
        key.write_text(base64.b64encode(TOKEN_KEY).decode())
        configuration = self.write_file("oauth2.conf", "introspection_mode = local\nusername_attribute = sub\n"
                                        f"local_validation_key_dict = fs:posix:prefix={self.scratch}/keys/\n", 0o644)
        passdb = f"passdb {{\n  driver = oauth2\n  mechanisms = {mechanisms}\n  args = {configuration}\n}}\n"
        self.start(settings=f"auth_mechanisms = plain {mechanisms}\n" + passdb + NO_PENALTY)

    def commands_run(self):
        path = self.scratch / "ran"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def auth(self, tokens, mechanism=""):
        """token_command prints the tokens in turn, the last one for ever."""
        (self.scratch / "ran").unlink(missing_ok=True)
        for number, each in enumerate(tokens, 1):
            self.write_file(f"token{number}", each + "\n")
        command = f"echo >> ran; n=$(wc -l < ran); [ $n -le {len(tokens)} ] || n={len(tokens)}; cat token$n"
        named = f'mechanism: "{mechanism}"' if mechanism else ""
        return f'auth {{ username: "far" token_command: {dovecot.quote(command)} {named} }}'

    def test_both_forms_and_the_default(self):
        self.start_with_tokens()
        for mechanism in ("XOAUTH2", "OAUTHBEARER", ""):
            run = self.assert_syncs(self.plaintext(self.auth([token(600)], mechanism)))
            self.assertEqual(run.mechanisms, {mechanism or "OAUTHBEARER"})
            self.assertEqual(self.commands_run(), 1, "the token is kept for further connections")

    def test_the_older_form_where_the_server_knows_no_other(self):
        self.start_with_tokens("xoauth2")
        self.assertEqual(self.assert_syncs(self.plaintext(self.auth([token(600)]))).mechanisms, {"XOAUTH2"})

    def test_an_expired_token_is_fetched_again(self):
        self.start_with_tokens()
        for mechanism in ("XOAUTH2", "OAUTHBEARER"):
            self.assert_syncs(self.plaintext(self.auth([token(-60), token(600)], mechanism)))
            self.assertEqual(self.commands_run(), 2)

    def test_a_token_that_stays_expired_is_an_error(self):
        self.start_with_tokens()
        expired = token(-60)
        for mechanism, reason in (("XOAUTH2", "401"), ("OAUTHBEARER", "invalid_token")):
            self.assert_fails(self.plaintext(self.auth([expired], mechanism)), f"login as far by {mechanism} was refused",
                              f"its reason: {reason}", "token_command prints a token", secrets=[expired])
            self.assertEqual(self.commands_run(), 2)

    def test_a_token_command_that_fails(self):
        self.start_with_tokens()
        for command, words in (("echo no network >&2; exit 7", "status 7: no network"), ("true", "printed nothing"),
                               ("printf 'two words'", "printable ASCII")):
            auth = f'auth {{ username: "far" token_command: "{command}" }}'
            self.assert_fails(self.plaintext(auth), "token", words)


class Certificates(ConnectionTest):
    def start_with_certificates(self, settings="", **options):
        certificates = dovecot.make_certificates(self.scratch / "certificates")
        self.make_client_certificate("client", certificates / "ca.pem", certificates / "ca.key")
        subprocess.run(["openssl", "req", "-x509", *EC_KEY, "-nodes", "-keyout", "other-ca.key", "-out",
                        "other-ca.pem", "-days", "30", "-subj", "/CN=other"], cwd=certificates, check=True,
                       capture_output=True)
        self.make_client_certificate("stranger", certificates / "other-ca.pem", certificates / "other-ca.key")
        self.start(tls=True, settings=f"""
auth_mechanisms = plain external
ssl_ca = <{certificates}/ca.pem
ssl_require_crl = no
ssl_verify_client_cert = yes
auth_ssl_username_from_cert = yes
{settings}""", **options)
        self.certificates = certificates

    def make_client_certificate(self, name, authority, key):
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=self.scratch, check=True, capture_output=True)

        openssl("req", *EC_KEY, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=far")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", str(authority), "-CAkey", str(key), "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "30")

    EXTERNAL_PASSDB = """
passdb {
  driver = static
  mechanisms = external
  args = nopassword
}
"""

    def external(self, certificate="client", key="client", username='username: "far"'):
        return self.encrypted(f'auth {{ {username} mechanism: "EXTERNAL" }}',
                              f'client_cert: "{certificate}.pem" client_key: "{key}.key"')

    def test_the_certificate_is_the_login(self):
        self.start_with_certificates(self.EXTERNAL_PASSDB)
        for username in ('username: "far"', ""):
            self.assertEqual(self.assert_syncs(self.external(username=username)).mechanisms, {"EXTERNAL"})

    def test_a_certificate_beside_a_password(self):
        """Given a server that lets nobody in without one, the tests' own eyes included."""
        self.start_with_certificates("auth_ssl_require_client_cert = yes\n")
        self.mesh(self.encrypted(tls='client_cert: "client.pem" client_key: "client.key"'))
        run = self.run_once()
        self.assertEqual(run.replica("far")["messages_appended"], 1)
        self.assert_fails(self.encrypted(), "certificate")

    def test_a_certificate_by_somebody_else(self):
        self.start_with_certificates(self.EXTERNAL_PASSDB)
        self.assert_fails(self.external("stranger", "stranger"), "tls.client_cert", "certificate|EXTERNAL")

    def test_files_that_cannot_be_used(self):
        self.start_with_certificates()
        self.write_file("broken.pem", "no certificate\n")
        subprocess.run(["openssl", "pkey", "-in", "client.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key"],
                       cwd=self.scratch, check=True)
        self.assert_fails(self.external("missing"), "tls.client_cert .*missing.pem cannot be read")
        self.assert_fails(self.external("broken"), "tls.client_cert .*broken.pem cannot be read")
        self.assert_fails(self.external(key="stranger"), "tls.client_key .*stranger.key is not the key of tls.client_cert")
        self.assert_fails(self.external(key="locked"), "tls.client_key .*locked.key cannot be read", "passphrase")


class Secrets(ConnectionTest):
    def test_where_a_password_comes_from(self):
        self.start()
        self.write_file("far.secret", dovecot.PASSWORD + "\nanother line\n")
        credentials = self.scratch / "credentials"
        credentials.mkdir()
        (credentials / "mail").write_text(dovecot.PASSWORD)
        environment = {"FAR_PASSWORD": dovecot.PASSWORD, "CREDENTIALS_DIRECTORY": str(credentials)}
        seen = set()
        stop = threading.Event()

        def watch():
            while not stop.is_set():
                for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                    with contextlib.suppress(OSError):
                        seen.add(path.read_bytes())
                time.sleep(0.005)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for source in ('password_command: "cat far.secret"', 'password_file: "far.secret"',
                           'password_env: "FAR_PASSWORD"', 'password_file: "${CREDENTIALS_DIRECTORY}/mail"'):
                run = self.assert_syncs(self.plaintext(f'auth {{ username: "far" {source} }}'), environment=environment,
                                        arguments=["--log-level", "debug"])
                self.assertNotIn(dovecot.PASSWORD, run.output)
        finally:
            stop.set()
            watcher.join()
        self.assertFalse([line for line in seen if dovecot.PASSWORD.encode() in line])
        self.assertTrue([line for line in seen if b"imapmeshd" in line], "the process list was read")

    def test_sources_that_fail(self):
        self.start()
        self.write_file("empty.secret", "\n")
        os.environ.pop("CREDENTIALS_DIRECTORY", None)
        for source, words in (('password_command: "echo locked >&2; exit 3"', "password_command .*status 3: locked"),
                              ('password_command: "true"', "password_command printed nothing"),
                              ('password_file: "missing.secret"', "password_file .*missing.secret cannot be read: No such"),
                              ('password_file: "empty.secret"', "password_file .*empty.secret is empty"),
                              ('password_env: "NO_SUCH_VARIABLE"', "NO_SUCH_VARIABLE .*is not set"),
                              ('password_file: "${CREDENTIALS_DIRECTORY}/mail"', "LoadCredential=mail:FILE")):
            self.assert_fails(self.plaintext(f'auth {{ username: "far" {source} }}'), words)


class Addresses(ConnectionTest):
    V6 = """
service imap-login {
  inet_listener imap6 {
    address = ::1
    port = %d
  }
}
"""

    def run_with_hosts(self, hosts, expect=CONVERGED):
        """imapmeshd --once with an /etc/hosts of its own."""
        path = self.write_file("hosts", hosts, 0o644)
        unshare = ["unshare", "--mount"] + ([] if dovecot.ROOT else ["--map-root-user"])
        if subprocess.run([*unshare, "mount", "--bind", str(path), "/etc/hosts"], capture_output=True).returncode:
            self.skipTest("no mount namespaces here")
        script = f'mount --bind "{path}" /etc/hosts && exec "$@"'
        self.wrapper = [*unshare, "sh", "-c", script, "sh"]
        started = time.monotonic()
        run = self.run_once(expect=expect)
        return run, time.monotonic() - started

    def run_command(self, command, *arguments):
        return super().run_command([*getattr(self, "wrapper", []), *command], *arguments)

    def test_ipv6(self):
        port = dovecot.free_port()
        self.start(settings=self.V6 % port)
        self.assert_syncs(self.plaintext(host="::1", port=port))
        self.servers["far"].stop()
        self.mesh(self.plaintext(host="::1", port=port))
        run = self.run_once(expect=PARTIAL)
        self.assertRegex(run.replica("far")["last_error"], rf"cannot connect to \[::1\]:{port}: Connection refused")
        self.servers["far"].start()

    def test_a_name_whose_first_address_refuses(self):
        self.start()
        self.mesh(self.plaintext(host="mail.test"))
        self.run_with_hosts("::1 mail.test\n127.0.0.1 mail.test\n")
        self.check()

    def test_a_name_whose_first_address_does_not_answer(self):
        """Given an address that takes no connection, then the next one is tried a quarter of a second later."""
        self.start()
        port = self.servers["far"].port
        with contextlib.ExitStack() as stack:
            silent = stack.enter_context(socket.socket(socket.AF_INET6))
            silent.bind(("::1", port))
            silent.listen(0)
            for _ in range(4):  # its queue is full: the kernel answers no further attempt
                waiting = stack.enter_context(socket.socket(socket.AF_INET6))
                waiting.setblocking(False)
                waiting.connect_ex(("::1", port))
            self.mesh(self.plaintext(host="mail.test"))
            _, seconds = self.run_with_hosts("::1 mail.test\n127.0.0.1 mail.test\n")
        self.check()
        self.assertLess(seconds, 10)

    def test_a_name_with_no_address_that_answers(self):
        self.start()
        port = self.deaf_port()
        self.mesh(self.plaintext(host="mail.test", port=port))
        run, _ = self.run_with_hosts("::1 mail.test\n127.0.0.1 mail.test\n", expect=PARTIAL)
        self.assertRegex(run.replica("far")["last_error"],
                         rf"replica far: .*cannot connect to mail.test:{port}: \[::1\]: Connection refused; "
                         "127.0.0.1: Connection refused; check")


class Proxies(ConnectionTest):
    def proxy(self, **options):
        proxy = socks5.Socks5(**options)
        self.addCleanup(proxy.close)
        return proxy

    def by(self, proxy, scheme="socks5h", login="", host="127.0.0.1"):
        return self.plaintext(host=host, extra=f'proxy: "{scheme}://{login}127.0.0.1:{proxy.port}"')

    def test_the_proxy_resolves_the_name(self):
        self.start()
        proxy = self.proxy(names={"mail.invalid": "127.0.0.1"})
        self.assert_syncs(self.by(proxy, host="mail.invalid"))
        self.assertEqual(set(proxy.requests), {(socks5.NAME, "mail.invalid", self.servers["far"].port)})

    def test_the_name_is_resolved_here(self):
        self.start()
        proxy = self.proxy()
        self.assert_syncs(self.by(proxy, "socks5", host="localhost"))
        self.assertEqual({kind for kind, _, _ in proxy.requests} - {socks5.IPV4, socks5.IPV6}, set())

    def test_an_address_of_ipv6(self):
        port = dovecot.free_port()
        self.start(settings=Addresses.V6 % port)
        proxy = self.proxy()
        self.assert_syncs(self.plaintext(host="::1", port=port, extra=f'proxy: "socks5h://127.0.0.1:{proxy.port}"'))
        self.assertEqual(set(proxy.requests), {(socks5.IPV6, "::1", port)})

    def test_a_login_in_percent_encoding_and_tls_inside(self):
        self.start(tls=True)
        proxy = self.proxy(login=(b"us:er", b"p@ss/w\xc3\xb6rd%"))
        login = "us%3Aer:p%40ss%2Fw%C3%B6rd%25@"
        run = self.assert_syncs(self.encrypted() + f'\nproxy: "socks5://{login}127.0.0.1:{proxy.port}"')
        self.assertNotIn("p%40ss", run.output)
        self.assertEqual(set(proxy.logins), {(b"us:er", b"p@ss/w\xc3\xb6rd%")})

    def test_refusals(self):
        self.start()
        locked = self.proxy(login=(b"user", b"right"))
        self.assert_fails(self.by(locked), "by the proxy 127.0.0.1", "wants a login")
        self.assert_fails(self.by(locked, login="user:wrong-secret@"), "refused the login", "user and password in proxy",
                          secrets=["wrong-secret"])
        self.assert_fails(self.by(self.proxy(reply=socks5.REFUSED_BY_RULES)), "its rules do not allow")
        self.assert_fails(self.by(self.proxy(), host="unknown.invalid"), "unknown.invalid", "host unreachable")
        self.assert_fails(self.by(self.proxy(), "socks5", host="unknown.invalid"), "cannot find the address of unknown")

    def test_what_is_no_proxy(self):
        self.start()
        nobody = self.deaf_port()
        self.assert_fails(self.plaintext(extra=f'proxy: "socks5://127.0.0.1:{nobody}"'),
                          f"the proxy cannot be reached: Connection refused", f"127.0.0.1:{nobody}")
        imap_port = self.servers["near"].port  # greets at once, in another language
        self.assert_fails(self.plaintext(extra=f'proxy: "socks5://127.0.0.1:{imap_port}"'), "does not speak SOCKS5")

    def test_a_proxy_that_stalls_does_not_hold_up_the_end(self):
        self.start()
        proxy = self.proxy(stalls=True)
        self.mesh(self.by(proxy))
        daemon = self.daemon()
        self.wait_for(lambda: proxy.requests, "the request")
        self.assertEqual(daemon.stop(), 0)


class Tls(ConnectionTest):
    def test_bounds_of_the_version(self):
        self.start(tls=True, settings="ssl_min_protocol = TLSv1.2\nssl_cipher_suites =\n")
        self.assert_syncs(self.encrypted(tls='min_version: "1.3"'))
        self.limit_far_to("TLSv1.2")
        self.assert_syncs(self.encrypted())
        self.assert_fails(self.encrypted(tls='min_version: "1.3"'), "TLS 1.3", "tls.min_version")

    def test_a_certificate_signed_by_itself_and_its_pin(self):
        """As a server at home has it; the error tells the pin, which then decides alone, by TLS and by STARTTLS."""
        subprocess.run(["openssl", "req", "-x509", *EC_KEY, "-nodes", "-keyout", "own.key", "-out", "own.pem", "-days", "30",
                        "-subj", "/CN=old-name"], cwd=self.scratch, check=True, capture_output=True)
        far = self.start(tls=True, settings=f"ssl_cert = <{self.scratch}/own.pem\nssl_key = <{self.scratch}/own.key\n")
        public = subprocess.run(["openssl", "x509", "-in", "own.pem", "-noout", "-pubkey"], cwd=self.scratch, check=True,
                                capture_output=True, text=True).stdout.splitlines()
        pin = base64.b64encode(hashlib.sha256(base64.b64decode("".join(public[1:-1]))).digest()).decode()
        for endpoint in (f"port: {far.tls_port}", f"port: {far.port} security: STARTTLS"):
            block = f'imap {{ host: "localhost" {endpoint} }}\n{AUTH}\n'
            self.assert_fails(block, "self-signed certificate", re.escape(f'tls.pin_sha256 to "{pin}"'))
            self.assert_syncs(block + f'tls {{ pin_sha256: "{pin}" }}\n')
            other = base64.b64encode(bytes(32)).decode()
            self.assert_fails(block + f'tls {{ pin_sha256: "{other}" }}\n', "another key", re.escape(pin))

    def limit_far_to(self, version):
        """Dovecot 2.3 has no upper bound of its own; OpenSSL's configuration has."""
        far = self.servers["far"]
        far.stop()
        configuration = self.write_file("openssl.cnf", "openssl_conf = all\n[all]\nssl_conf = tls\n[tls]\n"
                                        f"system_default = bounds\n[bounds]\nMaxProtocol = {version}\n", 0o644)
        text = far.config.read_text()
        far.config.write_text(f"import_environment = $import_environment OPENSSL_CONF={configuration}\n{text}")
        far.start()

    def test_the_servers_name_chooses_the_certificate(self):
        """Given a server with a certificate of another name by default, then SNI makes it show the right one."""
        certificates = dovecot.make_certificates(self.scratch / "certificates")
        other = dovecot.make_certificates(self.scratch / "other")
        self.start(tls=True, settings=f"""
ssl_cert = <{other}/server.pem
ssl_key = <{other}/server.key
local_name localhost {{
  ssl_cert = <{certificates}/server.pem
  ssl_key = <{certificates}/server.key
}}
""")
        self.assert_syncs(self.encrypted())
