#!/usr/bin/python3
"""Runs imapmesh and its peers on the same work in turn, on private Dovecots, and tells what each cost.

  tests/bench/run.py                       everything, in the sizes of docs/benchmarks.md
  tests/bench/run.py first incremental     some works (--list names them)
  tests/bench/run.py --short               small sizes, once: shows that the bench works
  tests/bench/run.py --install             first installs the peers (Debian's interimap and isync)
  tests/bench/run.py --docs                also writes docs/benchmarks.md and docs/benchmarks.svg

Peers that are not installed are left out. Build first: bazel build --config=release //rpc:imapmeshd //tests/bench:all
"""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "dovecot")]

import report  # noqa: E402
import stand as stands  # noqa: E402
import tools as competitors  # noqa: E402
import works  # noqa: E402

PEERS = ["interimap", "isync"]

SHORT = {"messages": 200, "mailboxes": 4, "idle_messages": 200, "idle_mailboxes": 5, "adopted": 200, "flags": 20,
         "expunges": 4, "new": 4, "pushes": 2, "idle_s": 3, "repeat": 1, "repeat_delayed": 1,
         "repeat_first_delayed": 1, "delay_ms": 5, "scale_replicas": 4, "scale_mailboxes": 12, "many_mailboxes": 12,
         "large_mailbox": 1200}


class Bench:
    def __init__(self, options, folder):
        self.options, self.tool_folder = options, folder / "tools"
        self.samples, self.notes = [], []
        self.tools = [kind for kind in competitors.ALL if kind.available()
                      and (not options.tools or kind.name in options.tools)]
        self.stand = None

    def say(self, sample):
        shown = {key: round(value, 4) if isinstance(value, float) else value for key, value in sample.items()}
        print(json.dumps(shown), flush=True)

    def note(self, text):
        print(text, flush=True)
        self.notes.append(text)


def install_peers():
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*as_root, "apt-get", "update"], check=True)
    subprocess.run([*as_root, "apt-get", "install", "--yes", "--no-install-recommends", *PEERS], check=True)


def write_docs(bench):
    """docs/benchmarks.md and the chart, from all samples: each carries the command that made it."""
    head = pathlib.Path(HERE / "benchmarks_head.md").read_text()
    command = "\n".join(dict.fromkeys(sample["command"] for sample in bench.samples))
    versions = ", ".join(f"{kind.title} {kind.version()}" for kind in bench.tools)
    machine = f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the end"
    text = head.replace("@COMMAND@", command).replace("@VERSIONS@", versions).replace("@MACHINE@", machine)
    text = text.replace("@DATE@", datetime.date.today().isoformat())
    notes = "".join(f"- {note}\n" for note in dict.fromkeys(bench.options.note + bench.notes))
    text = text.replace("@NOTES@", notes).replace("@TABLES@", report.tables(bench.samples))
    docs = stands.REPOSITORY / "docs"
    (docs / "benchmarks.md").write_text(text.rstrip() + "\n")
    (docs / "benchmarks.svg").write_text(report.chart(bench.samples))
    if any(sample["work"].startswith(report.SCALE) for sample in bench.samples):
        (docs / "scale.svg").write_text(report.scale_chart(bench.samples))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--json", metavar="FILE", help="the samples; with --merge added to those that FILE holds")
    parser.add_argument("--merge", action="store_true", help="keep FILE's samples of works that are not run now")
    parser.add_argument("--render", nargs="*", metavar="FILE", help="only writes the docs, from what --json wrote")
    parser.add_argument("--note", action="append", default=[], help="a line for the docs")
    parser.add_argument("--tools", nargs="*", default=[], help="only these")
    parser.add_argument("--bin", metavar="FOLDER", help="with the built programs (default bazel-release-bin)")
    parser.add_argument("--folder", help="where the servers' mail lies; its disk is measured too (default: a new one)")
    for name, default, what in (
            ("messages", 10_000, "of a first sync"), ("mailboxes", 20, "they are spread over"),
            ("idle-messages", 700_000, "of “nothing to do”"), ("idle-mailboxes", 100, "they are spread over"),
            ("adopted", 100_000, "messages that both sides hold"), ("flags", 1000, "changes of flags, incremental"),
            ("expunges", 100, "incremental"), ("new", 100, "messages, incremental"), ("pushes", 20, "messages"),
            ("scale-replicas", 50, "of a star and of a ring with chords"),
            ("scale-mailboxes", 1000, "that each of them has"), ("many-mailboxes", 10_000, "on one replica"),
            ("large-mailbox", 1_000_000, "messages in one mailbox, on each of two replicas"),
            ("idle-s", 600, "seconds of idling"), ("delay-ms", 25, "each way, of the delayed link"),
            ("repeat", 5, "times, directly"), ("repeat-delayed", 3, "times, delayed"),
            ("repeat-first-delayed", 1, "times, first sync delayed")):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} (default {default:,})")
    options = parser.parse_args()
    if options.short:
        for name, value in SHORT.items():
            setattr(options, name, value)
    unknown = [work for work in options.works if work not in works.ALL]
    if unknown:
        parser.error(f"no such work: {', '.join(unknown)}; there are {', '.join(works.ALL)}")
    return options


def main():
    options = parse()
    if options.list:
        print("\n".join(works.ALL))
        return 0
    if options.install:
        install_peers()
    if options.render:
        bench = Bench(options, pathlib.Path())
        bench.samples = [sample for name in options.render for sample in json.loads(pathlib.Path(name).read_text())]
        write_docs(bench)
        return 0
    if options.bin:
        stands.binaries = pathlib.Path(options.bin).absolute()
    in_memory = "/dev/shm" if options.short and os.access("/dev/shm", os.W_OK) else None  # times are no matter there
    folder = pathlib.Path(options.folder or tempfile.mkdtemp(prefix="imb.", dir=in_memory))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    bench = Bench(options, folder)
    chosen = options.works or list(works.ALL)
    print(f"tools: {', '.join(f'{kind.name} {kind.version()}' for kind in bench.tools)}; works: {', '.join(chosen)}",
          flush=True)
    try:
        bench.stand = stands.Stand(folder / "servers", ("near", "far", "third"))
        for name in chosen:
            works.ALL[name](bench)
            bench.stand.forget_accounts()
    finally:
        if bench.stand:
            bench.stand.close()
        if not options.folder and not os.environ.get("IMAPMESH_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    command = " ".join(["tests/bench/run.py", *(word for word in sys.argv[1:] if word not in ("--merge", "--docs"))])
    for sample in bench.samples:
        sample["command"] = command
    if options.json:
        path = pathlib.Path(options.json)
        if options.merge and path.exists():
            done = {sample["work"] for sample in bench.samples}
            bench.samples = [one for one in json.loads(path.read_text()) if one["work"] not in done] + bench.samples
        path.write_text(json.dumps(bench.samples, indent=1))
    print("\n" + report.tables(bench.samples))
    if options.short and not options.works:  # drawn to see that it can be
        report.chart(bench.samples)
        report.scale_chart(bench.samples)
    if options.docs:
        write_docs(bench)
    return 0


if __name__ == "__main__":
    sys.exit(main())
