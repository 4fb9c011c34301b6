#!/usr/bin/python3
"""Runs the tests against real Dovecots: run.py [--workers N] [--kinds mixed] [--list] [pattern...]

A test is one method of a TestCase in test_*.py; a pattern is a part of its name (file.Class.method). Each runs in a
process of its own with a scratch folder of its own under $TMPDIR, at most N side by side. With --kinds mixed
the servers of a test are in turn sdbox, mbox and Maildir with different hierarchy separators, unless the test asks for
a kind itself. The last line is `N passed, N failed, N skipped`.
"""

import argparse
import concurrent.futures
import contextlib
import importlib
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT_S = 180  # a class may set its own as timeout_s
GRACE_S = 20  # for a test that was told to end to stop its servers
PORTS = range(10000, 32000, 50)  # where those of a test begin; above, the kernel's own for connections begin


def load(pattern_list):
    """{name: timeout} of the tests, slowest first, so that the last worker is not left with the longest."""
    sys.path.insert(0, str(HERE))
    tests = {}
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        for case in unittest.defaultTestLoader.loadTestsFromModule(module):
            for test in case:
                method = getattr(test, test._testMethodName, None)
                if method is None:
                    raise SystemExit(f"{path}: does not load: {test}")
                timeout = getattr(method, "timeout_s", getattr(test, "timeout_s", TIMEOUT_S))
                tests[test.id()] = timeout
    chosen = {name: timeout for name, timeout in tests.items()
              if not pattern_list or any(pattern in name for pattern in pattern_list)}
    return dict(sorted(chosen.items(), key=lambda item: -item[1]))


def run_one(name):
    """In the process of one test: exit code 0 passed, 1 failed, 77 skipped."""
    def end(*_):
        raise SystemExit("the test took too long")  # recorded by unittest as an error; cleanups run

    signal.signal(signal.SIGTERM, end)
    sys.path.insert(0, str(HERE))
    suite = unittest.defaultTestLoader.loadTestsFromName(name)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0).run(suite)
    if result.skipped:
        print("skipped:", result.skipped[0][1])
        return 77
    return 0 if result.wasSuccessful() and result.testsRun else 1


@contextlib.contextmanager
def own_ports():
    """The first of ports that no other test uses, of another run.py neither: whoever holds it has those behind it."""
    for first in random.sample(PORTS, len(PORTS)):
        with socket.socket() as holder:
            try:
                holder.bind(("127.0.0.1", first))
            except OSError:
                continue
            yield first + 1
            return
    raise RuntimeError("no ports are left")


def spawn(name, timeout):
    """Runs one test in a process, a scratch folder and ports of its own; returns (exit code, seconds, output)."""
    with own_ports() as first_port:
        return run_test(name, timeout, first_port)


def run_test(name, timeout, first_port):
    scratch = tempfile.mkdtemp(prefix="im.")
    os.chmod(scratch, 0o755)  # mail belongs to another user when this runs as root
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, __file__, "--one", name], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
                               env={**os.environ, "TMPDIR": scratch, "IMAPMESH_FIRST_PORT": str(first_port)})
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            output, _ = process.communicate(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the group that this test's process leads
            output, _ = process.communicate()
        output += f"\ntook longer than {timeout} s"
        process.returncode = process.returncode or 1
    code = process.returncode
    if code in (0, 77) or not os.environ.get("IMAPMESH_KEEP"):
        shutil.rmtree(scratch, ignore_errors=True)
    else:
        output += f"\nkept: {scratch}"
    return code, time.monotonic() - started, output


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("patterns", nargs="*")
    # Most of a test is waiting.
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--kinds", choices=["mixed"])
    parser.add_argument("--kills", type=int, help="how often test_faults kills imapmeshd")
    parser.add_argument("--seed", type=int, help="of test_faults")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return run_one(arguments.one)
    for name in ("kinds", "kills", "seed"):
        if getattr(arguments, name) is not None:
            os.environ[f"IMAPMESH_{name.upper()}"] = str(getattr(arguments, name))
    tests = load(arguments.patterns)
    if arguments.list:
        print("\n".join(tests))
        return 0
    counts = {0: 0, 1: 0, 77: 0}
    with concurrent.futures.ThreadPoolExecutor(arguments.workers) as pool:
        running = {pool.submit(spawn, name, timeout): name for name, timeout in tests.items()}
        for done in concurrent.futures.as_completed(running):
            code, seconds, output = done.result()
            code = code if code in (0, 77) else 1
            counts[code] += 1
            word = {0: "ok", 1: "FAILED", 77: "skipped"}[code]
            print(f"{word:8} {seconds:6.1f} s  {running[done]}", flush=True)
            for line in output.splitlines() if code == 0 else []:
                if line.startswith("figures: "):
                    print("    " + line, flush=True)
            if code:
                print("    " + output.strip().replace("\n", "\n    "), flush=True)
    print(f"{counts[0]} passed, {counts[1]} failed, {counts[77]} skipped")
    return 1 if counts[1] or not counts[0] else 0


if __name__ == "__main__":
    sys.exit(main())
