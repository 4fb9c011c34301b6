"""Servers of every tier in one mesh: QRESYNC; CONDSTORE without it; neither. Dovecots that hide what they can."""

import dovecot
import mail
from mesh import MeshTest, _mailboxes, _run


def without(*words):
    """What a Dovecot announces that lacks these."""
    return " ".join(word for word in dovecot.CAPABILITY.split() if word not in words)


NO_QRESYNC = without("QRESYNC", "NOTIFY")
PLAIN = without("QRESYNC", "CONDSTORE", "NOTIFY")
# RFC 3501 and nothing else.
BARE = "IMAP4rev1"

MAILBOXES = ["INBOX", "Archive/2024", "Entwürfe"]


class TierTest(MeshTest):
    def start(self, edges=None, **capabilities):
        """Servers by name, each with what it announces ("" for all), joined each with each."""
        for name, capability in capabilities.items():
            self.server(name, capability=capability)
        names = list(capabilities)
        edges = edges or [(a, b) for i, a in enumerate(names) for b in names[i + 1:]]
        self.write_topology(edges)

    def tiers(self):
        """What the report of a run says of each replica is not the tier: that is asked of a daemon."""
        daemon = self.daemon()
        status = {}

        def all_up():
            status.update(self.client("status", "--json", expect=None))
            return all(replica.get("tier") for replica in status["replicas"])

        self.wait_for(all_up, "every replica is up")
        daemon.stop()
        return {replica["name"]: replica["tier"] for replica in status["replicas"]}

    def assert_at_rest(self, expected=None, plain=()):
        """A further run changes nothing and fetches nothing; only those of tier PLAIN are looked into."""
        run = self.run_once()
        self.check(expected)
        quiet = _run(run.report, must_be_quiet=True)
        for replica in quiet["replicas"]:
            if replica["replica"] in plain:
                replica["mailboxesSelected"] = 0
        self.check_history({"runs": [quiet]})
        return run

    def fill(self, name, contents=None, mailboxes=None, seed=0):
        contents = contents or mail.broken(seed) + [mail.ordinary(number, seed) for number in range(40)]
        messages = mail.with_flags_and_dates(contents, seed)
        with mail.Account(self.servers[name]) as account:
            there = set(account.mailboxes())
            for mailbox in mailboxes or MAILBOXES:
                if mailbox not in there:
                    account.create(mailbox)
            for number, (content, flags, epoch) in enumerate(messages):
                account.append((mailboxes or MAILBOXES)[number % len(mailboxes or MAILBOXES)], content, flags, epoch)

    def everything(self, plain=(), changed_at=None):
        """First sync, flags set and removed, arrivals, expunges and moves at each replica in turn."""
        names = list(self.servers)
        self.fill(names[0])
        expected = mail.snapshot(self.servers[names[0]])
        self.run_once()
        self.check(expected)
        self.assert_at_rest(expected, plain)
        for number, name in enumerate(changed_at or names):
            with mail.Account(self.servers[name]) as account:
                uids = account.uids("INBOX")
                account.store("INBOX", uids[0], "+FLAGS", "\\Answered Changed")
                account.store("INBOX", uids[1], "FLAGS", "")
                account.append("INBOX", mail.ordinary(1000 + number), "\\Flagged", 1_711_000_000 + number)
                account.expunge("Archive/2024", account.uids("Archive/2024")[0])
                account.copy("INBOX", uids[2], "Archive/2024")
                account.expunge("INBOX", [uids[2], uids[3]])
            expected = mail.snapshot(self.servers[name])
            self.run_once()
            self.check(expected)
            self.assert_at_rest(expected, plain)


class Tiers(TierTest):
    def test_a_triangle_of_the_three_tiers(self):
        self.start(full="", condstore=NO_QRESYNC, plain=PLAIN)
        self.everything(plain=["plain"])
        self.assertEqual(self.tiers(), {"full": "QRESYNC", "condstore": "CONDSTORE", "plain": "PLAIN"})

    def test_condstore_asks_for_uids_only_when_counts_say_so(self):
        self.start(full="", condstore=NO_QRESYNC)
        self.fill("full", mailboxes=["INBOX"])
        self.run_once()
        with self.account("condstore") as account:
            account.store("INBOX", account.uids("INBOX")[0], "+FLAGS", "\\Answered")
        expected = mail.snapshot(self.servers["condstore"])
        run = self.run_once()
        self.check(expected)
        self.assertEqual(run.replica("condstore")["mailboxes_selected"], 1, run)

    def test_a_deletion_alone_is_seen_without_mod_sequences_for_it(self):
        self.start(full="", condstore=NO_QRESYNC, plain=PLAIN)
        self.fill("full")
        self.run_once()
        for name in ("condstore", "plain"):
            with self.account(name) as account:
                account.expunge("INBOX", account.uids("INBOX")[:2])
            expected = mail.snapshot(self.servers[name])
            self.run_once()
            self.check(expected)

    def test_a_wiped_plain_server_is_held_by_the_brake(self):
        self.start(full="", plain=PLAIN)
        self.fill("full", [mail.ordinary(number) for number in range(80)], ["INBOX"])
        self.run_once()
        expected = mail.snapshot(self.servers["full"])
        with self.account("plain") as account:
            account.expunge("INBOX", account.uids("INBOX")[:70])
        self.run_once(expect=3)
        self.assertEqual(mail.snapshot(self.servers["full"]), expected)

    def test_all_hold_the_same_mail_already(self):
        self.start(full="", condstore=NO_QRESYNC, plain=PLAIN)
        for name in self.servers:
            self.fill(name)
        expected = mail.snapshot(self.servers["full"])
        run = self.run_once()
        self.assertEqual([replica["messages_appended"] for replica in run.report["replicas"]], [0, 0, 0], run)
        self.check(expected)
        self.assert_at_rest(expected, plain=["plain"])
