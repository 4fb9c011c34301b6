"""What a daemon holds does not grow with the rounds that it runs: memory, open files, the state."""

import contextlib
import pathlib
import re
import sqlite3

from mesh import measures_memory, slow
from test_daemon import DaemonTest


class Growth(DaemonTest):
    def rounds(self, stub, count):
        """Each a change on one replica that is carried to the others."""
        uid = self.laptop.uids("INBOX")[0]
        for number in range(count):
            self.laptop.store("INBOX", uid, "+FLAGS" if number % 2 == 0 else "-FLAGS", "\\Flagged")
            list(stub.Sync(self.proto.SyncRequest()))
        self.wait_for(lambda: stub.GetStatus(self.proto.GetStatusRequest()).converged, "convergence")

    def held(self, daemon):
        """(resident kB, open files)"""
        proc = pathlib.Path(f"/proc/{daemon.process.pid}")
        resident = re.search(r"VmRSS:\s+(\d+)", (proc / "status").read_text()).group(1)
        return int(resident), len(list((proc / "fd").iterdir()))

    def state_bytes(self):
        """of what the state holds: the file itself grows by leaps, when its log is written back"""
        with contextlib.closing(sqlite3.connect(f"file:{self.state_path}?mode=ro", uri=True)) as state:
            return state.execute("PRAGMA page_count").fetchone()[0] * 4096

    @measures_memory
    @slow(300)
    def test_a_daemon_does_not_grow(self):
        daemon, stub = self.started()
        self.rounds(stub, 40)
        memory_kb, files = self.held(daemon)
        state_bytes = self.state_bytes()
        self.rounds(stub, 120)
        memory_after_kb, files_after = self.held(daemon)
        print(f"figures: {memory_kb} kB, {files} files and a state of {state_bytes} bytes after 40 rounds, "
              f"{memory_after_kb} kB, {files_after} files and {self.state_bytes()} bytes after 160")
        self.assertLess(memory_after_kb - memory_kb, 3000)
        self.assertLessEqual(files_after, files + 1)  # a connection more or less
        self.assertLess(self.state_bytes() - state_bytes, 100_000)
        self.check()
        self.assertEqual(daemon.stop(), 0)
