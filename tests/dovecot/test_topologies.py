"""Each example of topologies/ on real servers: its endpoints are replaced, everything else runs as it stands there."""

import re

import dovecot
import mail
from mesh import REPOSITORY, MeshTest

FOLDER = REPOSITORY / "topologies"


class Topologies(MeshTest):
    def load(self, name):
        """Starts a server for each replica of the example and puts its endpoint in; names in the file's order."""
        text = (FOLDER / f"{name}.textproto").read_text()
        self.write_text(dovecot.substitute_endpoints(text, self.server))
        self.assertTrue(self.servers, f"{name} has no replica block that begins and ends at the line start")
        return list(self.servers)

    def fill(self, name, seed, mailboxes=("INBOX", "Archive")):
        with mail.Account(self.servers[name]) as account:
            contents = [mail.ordinary(number, seed) for number in range(15)] + self.broken(seed)
            mail.spread(account, mail.with_flags_and_dates(contents, seed), list(mailboxes), seed)
        return len(contents)

    def check_everything_everywhere(self, topology, count):
        """For graphs that carry everything both ways: mail and changes of the ends reach all."""
        names = self.load(topology)
        self.assertEqual(len(names), count)
        total = self.fill(names[0], 1) + self.fill(names[-1], 2)
        self.run_once()
        found = self.check()
        self.assertEqual(sum(map(len, found.values())), total)
        self.assert_quiet()
        with mail.Account(self.servers[names[-1]]) as account:
            uids = account.uids("INBOX")
            account.store("INBOX", uids[0], "+FLAGS", "\\Flagged kw")
            account.move("INBOX", uids[1], "Archive")
        with mail.Account(self.servers[names[0]]) as account:
            account.append("Archive", mail.ordinary(900), "\\Seen", 1_710_000_000)
        with mail.Account(self.servers[names[count // 2]]) as account:
            account.expunge("INBOX", account.uids("INBOX")[-1])
        self.run_once()
        found = self.check()
        self.assertEqual(sum(map(len, found.values())), total)
        self.assert_quiet()

    def test_triangle(self):
        self.check_everything_everywhere("triangle", 3)

    def test_star(self):
        self.check_everything_everywhere("star", 7)

    def test_chain(self):
        self.check_everything_everywhere("chain", 4)

    def test_ring(self):
        self.check_everything_everywhere("ring", 5)

    def test_two_sites(self):
        self.check_everything_everywhere("two_sites", 4)

    def test_one_way_archive(self):
        names = self.load("archive")
        text = self.topology_path.read_text()
        edge = re.search(r"^edge \{(.*?)\}", text, re.MULTILINE | re.DOTALL).group(1)
        a, b = re.search(r'\ba:\s*"([^"]+)"', edge).group(1), re.search(r'\bb:\s*"([^"]+)"', edge).group(1)
        source, archive = (b, a) if "B_TO_A" in edge else (a, b)
        self.assertIn(source, names)
        self.fill(source, 1, ["INBOX", "Sent"])
        before = mail.snapshot(self.servers[source])
        self.run_once()
        self.assertEqual(mail.snapshot(self.servers[archive]), before)
        # What happens in the archive stays there; what is deleted at the source stays in the archive.
        with mail.Account(self.servers[archive]) as account:
            account.append("INBOX", mail.ordinary(800), "", 1_710_000_000)
        with mail.Account(self.servers[source]) as account:
            account.expunge("INBOX", account.uids("INBOX")[0])
            account.append("INBOX", mail.ordinary(801), "", 1_710_000_001)
        at_source = mail.snapshot(self.servers[source])
        self.run_once()
        self.assertEqual(mail.snapshot(self.servers[source]), at_source)
        archived = {message.digest for message in mail.snapshot(self.servers[archive])["INBOX"]}
        wanted = {message.digest for message in before["INBOX"] + at_source["INBOX"]}
        self.assertEqual(archived, wanted | {mail.digest(mail.ordinary(800))})
        self.run_once()

    def test_every_example_is_tested_here(self):
        tested = {"triangle", "star", "chain", "ring", "two_sites", "archive"}
        self.assertEqual({path.stem for path in FOLDER.glob("*.textproto")}, tested)
