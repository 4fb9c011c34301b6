"""What is remembered of a server from one start to the next: a guess that may be wrong, never a reason to fail."""

import sqlite3

import dovecot
import mail
from mesh import CONVERGED, PARTIAL, MeshTest

WITHOUT_COMPRESS = dovecot.CAPABILITY + " UNKNOWN=WORD"
WITHOUT_QRESYNC = " ".join(word for word in dovecot.CAPABILITY.split() if word not in ("QRESYNC", "CONDSTORE", "NOTIFY"))


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
        self.assertEqual(self.remembered()["server:server"], "")

    def test_nonsense_in_the_state(self):
        database = sqlite3.connect(self.state_path)
        with database:
            database.execute("UPDATE meta SET value = 'no greeting of this server' || char(10) || 'QRESYNC \"' "
                             "WHERE key LIKE 'server:%'")
        database.close()
        self.assert_quiet(self.expected)
