"""In which order and on which way, on real servers: what a plan says is what the run transfers, another holder or another
path serves when one is gone."""

import mail
import proxy
from mesh import PARTIAL, MeshTest
from test_tiers import without

DATE = 1_710_000_000


class PlannedBytes(MeshTest):
    """Servers that do not push, so that nothing is done before somebody asks."""

    def test_a_plans_bytes_are_those_that_the_run_transfers(self):
        for name in ("laptop", "desktop", "server"):
            self.server(name, compress=False, capability=without("NOTIFY", "IDLE"))
        self.write_topology([("laptop", "server"), ("laptop", "desktop"), ("desktop", "server")],
                            extra="policy { poll_interval_s: 3600 }\n")
        self.daemon()
        self.wait_for(lambda: self.client("--json", "status")["converged"], "convergence")
        contents = {name: [mail.ordinary(number, name, size=30_000 + 1000 * number) for number in range(10)]
                    for name in ("laptop", "server")}
        for name, messages in contents.items():
            with self.account(name) as account:
                account.append_many("INBOX", [(content, "", DATE) for content in messages])
        before = self.counters()  # what a plan has seen the daemon may carry before anybody asks for a sync
        plan = self.client("--json", "plan")
        uploads = sum(item["bytes"] for item in plan["items"])
        downloads = sum(item["fetch_bytes"] for item in plan["items"])
        sizes = sum(len(content) for messages in contents.values() for content in messages)
        self.assertEqual((downloads, uploads), (sizes, 2 * sizes))
        self.assertTrue(self.client("--json", "sync")["converged"])
        after = self.counters()
        moved = {key: sum(after[name][key] - before[name][key] for name in after)
                 for key in ("bytes_sent", "bytes_received", "messages_fetched", "messages_appended")}
        self.assertEqual((moved["messages_fetched"], moved["messages_appended"]), (20, 40))
        # Commands and answers around the bodies are a few hundred bytes for each message.
        self.assertTrue(uploads <= moved["bytes_sent"] <= uploads + 30_000, (uploads, moved))
        self.assertTrue(downloads <= moved["bytes_received"] <= downloads + 40_000, (downloads, moved))
        self.check()

    def counters(self):
        return {replica["name"]: replica["counters"] for replica in self.client("--json", "status")["replicas"]}


class Connections(MeshTest):
    def test_one_connection_for_work_is_enough_and_kept_to(self):
        for name in ("a", "b"):
            self.server(name)
        self.write_topology([("a", "b")])
        text = self.topology_path.read_text()
        for name in ("a", "b"):
            text = text.replace(f'  name: "{name}"\n', f'  name: "{name}"\n  max_connections: 1\n')
        self.write_text(text)
        with self.account("a") as account:
            mail.spread(account, [(mail.ordinary(number), "", DATE) for number in range(200)],
                        ["INBOX", *(f"Box{number}" for number in range(10))])
        self.daemon()
        most = {}

        def converged():
            status = self.client("--json", "status")
            for replica in status["replicas"]:
                most[replica["name"]] = max(most.get(replica["name"], 0), replica["connections"])
            return status["converged"]

        self.wait_for(converged, "convergence")
        self.client("sync")
        converged()
        self.check()
        self.assertEqual(most, {"a": 2, "b": 2})  # one for work and one that watches


class Ways(MeshTest):
    def test_a_second_holder_gives_what_the_first_one_did_not(self):
        """Given that the cheaper holder is cut off in the middle of its mail and stays away."""
        contents = [mail.ordinary(number, size=50_000) for number in range(40)]
        for name in ("cheap", "dear"):
            with mail.Account(self.server(name, compress=False)) as account:
                account.append_many("INBOX", [(content, "", DATE) for content in contents])
        self.server("empty")
        hurt = proxy.Proxy(self.servers["cheap"].port, lambda: proxy.Fault("cut", 400_000))
        self.addCleanup(hurt.close)
        self.write_topology([("cheap", "empty"), ("dear", "empty"), ("cheap", "dear")])
        text = self.topology_path.read_text().replace(f'port: {self.servers["cheap"].port}', f"port: {hurt.port}")
        self.write_text(text.replace('  name: "dear"\n', '  name: "dear"\n  link_cost: 9\n'))
        run = self.run_once(expect=None)
        found = self.snapshots(["empty", "dear"])
        self.assertEqual(found["empty"], found["dear"], run)
        fetched = {replica["name"]: replica["messages_fetched"] for replica in run.report["replicas"]}
        self.assertGreater(fetched["dear"], 0, run)

    def test_another_path_when_a_replica_is_down(self):
        for name in ("a", "b", "c", "d"):
            self.server(name)
        self.write_topology([("a", "b"), ("b", "c"), ("a", "d"), ("d", "c")])
        self.run_once()
        self.servers["b"].stop()
        with self.account("a") as account:
            account.append("INBOX", mail.ordinary(1), "", DATE)
        self.run_once(expect=PARTIAL)
        found = self.snapshots(["a", "c", "d"])
        self.assertEqual([len(each["INBOX"]) for each in found.values()], [1, 1, 1])
        self.servers["b"].start()
        self.run_once()
        self.check()
