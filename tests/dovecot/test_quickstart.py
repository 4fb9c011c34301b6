"""./quickstart from the built programs on: it ends in agreement, and --stop leaves nothing behind."""

import pathlib
import subprocess
import sys

from mesh import REPOSITORY, MeshTest


class Quickstart(MeshTest):
    def run_script(self, *arguments):
        command = [sys.executable, str(REPOSITORY / "tools" / "quickstart.py"), "--folder",
                   str(self.scratch / "show"), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=150)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_it_shows_agreement_and_a_change_that_arrives_and_stops(self):
        self.require_binaries()
        self.addCleanup(self.run_script, "--stop")
        output = self.run_script()
        self.assertIn("in agreement after", output)
        self.assertIn("100 messages", output)
        self.assertIn("flag set on desktop: on server", output)
        pids = (self.scratch / "show" / "pids").read_text().split()
        self.assertEqual(len(pids), 4)
        self.assertIn("stopped 4 processes", self.run_script("--stop"))
        for pid in pids:
            command_line = pathlib.Path(f"/proc/{pid}/cmdline")
            self.assertFalse(command_line.exists() and str(self.scratch) in command_line.read_text())
        self.assertFalse((self.scratch / "show").exists())
