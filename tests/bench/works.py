"""The works: each is prepared in the same way for every tool, run, and checked to have been done.

A work appends to `bench.samples`: dictionaries with work, tool, link ("direct" or "delayed"), and what was measured.
"""

import random
import time

import corpus
import mail
import raw
import scale
import stand as stands
import tools as competitors

TARGET_SITES = ("near", "far")


def _sample(bench, work, tool, link_name, cost, traffic=None, **more):
    sample = {"work": work, "tool": tool, "link": link_name, **more}
    if cost:
        sample.update(wall_s=cost["wall_s"], cpu_s=cost["user_s"] + cost["sys_s"], memory_kb=cost["memory_kb"])
    if traffic:
        sample.update(to_server=sum(one.to_server for one in traffic.values()),
                      to_client=sum(one.to_client for one in traffic.values()),
                      exchanges=sum(one.exchanges for one in traffic.values()),
                      exchanges_max=max(one.exchanges_max for one in traffic.values()),
                      connections=sum(one.connections for one in traffic.values()))
    bench.samples.append(sample)
    bench.say(sample)
    return sample


def _difference(before, after):
    return {name: stands.Traffic(*(b - a for a, b in zip(before[name], after[name]))) for name in after}


def _links(bench, tool):
    """(name, delay in ms or None, repetitions) of the links that a tool is measured over."""
    links = [("direct", None, bench.options.repeat)]
    if tool.carries_imap:
        links.append(("delayed", bench.options.delay_ms, bench.options.repeat_delayed))
    return links


def _run(bench, tool, work, link_name, delay_ms, compress=False, **more):
    before = bench.stand.cpu_seconds()
    with bench.stand.link(delay_ms) as link:
        cost = tool.run(link, compress)
        after = bench.stand.cpu_seconds()
        each = {f"{site}_cpu_s": after[site] - before[site] for site in after}
        return _sample(bench, work, tool.name, link_name, cost, link.counts(), servers_cpu_s=sum(each.values()), **each,
                       **more)


def nothing(bench):
    """Nothing to do: both sides in agreement, as every tool's state knows."""
    mailboxes = corpus.mailbox_names(bench.options.idle_mailboxes)
    stand, total = bench.stand, bench.options.idle_messages
    stand.fill("near", "idle", mailboxes, total, corpus.small)
    stand.clone("near", "idle", "far", "idle")
    for _ in range(bench.options.repeat):
        took = raw.look([stand[site] for site in TARGET_SITES], "idle")
        _sample(bench, "nothing", "the servers alone", "direct", None, wall_s=took)
    for kind in bench.tools:
        tool = kind(stand, "idle", bench.tool_folder / "idle" / kind.name)
        if kind is competitors.Imapmesh:
            with stand.link(None) as link:
                _sample(bench, "adopt-for-nothing", tool.name, "direct", tool.run(link), messages=total)
        else:
            tool.adopt_state()
        tool.run(stands.Direct())  # whatever it wants to settle after that
        for link_name, delay_ms, repeat in _links(bench, kind):
            for _ in range(repeat):
                _run(bench, tool, "nothing", link_name, delay_ms)
                if kind.carries_imap:
                    _run(bench, tool, "nothing-compressed", link_name, delay_ms, compress=True)
    bench.stand.require_alike("idle", TARGET_SITES, "a run with nothing to do changed something")


def first(bench):
    """A first sync into an empty account; then changes on one side (the incremental case) with the state it left."""
    mailboxes, total = corpus.mailbox_names(bench.options.mailboxes), bench.options.messages
    bench.stand.fill("near", "full", mailboxes, total)
    for kind in bench.tools:
        for link_name, delay_ms, repeat in _links(bench, kind):
            for repetition in range(repeat if link_name == "direct" else bench.options.repeat_first_delayed):
                user = f"first-{kind.name}"
                bench.stand.clone("near", "full", "near", user)
                bench.stand.account("far", user)
                tool = kind(bench.stand, user, bench.tool_folder / user)
                _run(bench, tool, "first", link_name, delay_ms, messages=total)
                bench.stand.require_alike(user, TARGET_SITES, f"first sync by {kind.name}")
                tool.run(stands.Direct())
        incremental(bench, tool)


def _change(bench, user, round_number):
    """The same changes for every tool: flags set and removed, messages expunged and new, over all mailboxes."""
    options = bench.options
    mailboxes = corpus.mailbox_names(options.mailboxes)
    share = max(1, options.messages // len(mailboxes))
    flags, expunges, new = (count // len(mailboxes) for count in (options.flags, options.expunges, options.new))
    with mail.Account(bench.stand["near"], user) as account:
        for index, mailbox in enumerate(mailboxes):
            source = random.Random(f"{round_number}/{mailbox}")
            uids = account.uids(mailbox)
            if len(uids) < min(share, flags + expunges):
                raise RuntimeError(f"{mailbox} holds {len(uids)} messages, too few for the changes")
            chosen = source.sample(uids, flags + expunges)
            account.store(mailbox, sorted(chosen[:flags // 2]), "+FLAGS", "\\Answered")
            account.store(mailbox, sorted(chosen[flags // 2:flags]), "-FLAGS", "\\Seen")
            account.store(mailbox, sorted(chosen[flags // 2:flags]), "+FLAGS", "\\Flagged")
            account.expunge(mailbox, sorted(chosen[flags:]))
            base = 10_000_000 + round_number * 100_000 + index * 1000
            account.append_many(mailbox, [(corpus.message(base + i), "", corpus.epoch(base % 100_000 + i))
                                          for i in range(new)])


def incremental(bench, tool):
    round_number = 0
    for link_name, delay_ms, repeat in _links(bench, tool):
        for _ in range(repeat):
            round_number += 1
            _change(bench, tool.user, round_number)
            _run(bench, tool, "incremental", link_name, delay_ms)
            bench.stand.require_alike(tool.user, TARGET_SITES, f"incremental sync by {tool.name}")
            tool.run(stands.Direct())


def after_changes(bench):
    """A run right after a run that changed much: what an echo of one's own writes costs."""
    mailboxes = corpus.mailbox_names(bench.options.mailboxes)
    for kind in bench.tools:
        user = f"echo-{kind.name}"
        bench.stand.fill("near", user, mailboxes, min(2000, bench.options.messages), corpus.small)
        bench.stand.account("far", user)
        tool = kind(bench.stand, user, bench.tool_folder / user)
        tool.run(stands.Direct())
        if kind.carries_imap:
            _run(bench, tool, "right-after", "delayed", bench.options.delay_ms)


def fanout(bench):
    """Two empty replicas at once: imapmesh alone can, so it is compared with itself."""
    mailboxes, total = corpus.mailbox_names(bench.options.mailboxes), bench.options.messages
    bench.stand.fill("near", "full", mailboxes, total)
    for _ in range(bench.options.repeat):
        bench.stand.clone("near", "full", "near", "fanout")
        for site in ("far", "third"):
            bench.stand.account(site, "fanout")
        tool = competitors.Imapmesh(bench.stand, "fanout", bench.tool_folder / "fanout", ("near", "far", "third"))
        with bench.stand.link(None) as link:
            cost = tool.run(link)
        fetched = sum(replica["messages_fetched"] for replica in tool.report()["replicas"])
        _sample(bench, "fanout", tool.name, "direct", cost, messages=total, bodies_fetched=fetched)
        bench.stand.require_alike("fanout", ("near", "far", "third"), "first sync to two")


def adoption(bench):
    """Both sides hold the mail already, under other UIDs and identifiers."""
    mailboxes, total = corpus.mailbox_names(bench.options.mailboxes), bench.options.adopted
    stand = bench.stand
    stand.fill("near", "adopted", mailboxes, total, corpus.small)
    stand.fill("far", "adopted", mailboxes, total, corpus.small)
    tool = competitors.Imapmesh(stand, "adopted", bench.tool_folder / "adopted")
    with stand.link(None) as link:
        cost = tool.run(link)
    report = tool.report()
    _sample(bench, "adoption", tool.name, "direct", cost, messages=total,
            bodies_fetched=sum(replica["messages_fetched"] for replica in report["replicas"]))
    stand.require_alike("adopted", TARGET_SITES, "adoption")
    if competitors.Interimap not in bench.tools:
        return
    stand.account("far", "adopted")
    peer = competitors.Interimap(stand, "adopted", bench.tool_folder / "adopted-interimap")
    with stand.link(None) as link:
        _sample(bench, "adoption", peer.name, "direct", peer.run(link), messages=total)
    stand.require_alike("adopted", TARGET_SITES, "interimap's first sync")


def limits(bench):
    """The server alone."""
    mailboxes, total = corpus.mailbox_names(bench.options.mailboxes), bench.options.messages
    for name, connections, batch in (("APPEND", 1, 1), ("MULTIAPPEND of 100", 1, 100),
                                     ("MULTIAPPEND of 100, 4 connections", 4, 100)):
        shares = raw.prepare(mailboxes, total, connections, batch)
        for _ in range(bench.options.repeat):
            bench.stand.account("far", "raw")
            took = raw.append(bench.stand["far"], "raw", mailboxes, shares)
            bench.samples.append({"work": "limits", "tool": name, "link": "direct", "wall_s": took, "messages": total})
            bench.say(bench.samples[-1])


def _wait_for_arrival(account, seen, limit_s):
    """Polls the selected mailbox until it holds more than `seen` messages; None when it does not in time."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        account.client.noop()
        exists = account.client.untagged_responses.get("EXISTS")
        if exists and int(exists[-1]) > seen:
            return int(exists[-1])
        time.sleep(0.003)
    return None


def push(bench):
    """New mail while the tool runs all the time: from the answer to APPEND here to the message's being there."""
    for kind in (tool for tool in bench.tools if tool.watches):
        mesh = kind is competitors.Imapmesh
        ways = [("push", TARGET_SITES, False)]
        if mesh:
            ways += [("push-fan-out", ("near", "far", "third"), False), ("push-watch-path", TARGET_SITES, True)]
        for work, sites, watch_paths in ways:
            user = f"{work}-{kind.name}"
            for site in sites:
                bench.stand.account(site, user)
            tool = kind(bench.stand, user, bench.tool_folder / user, sites)
            tool.watch_paths = watch_paths
            tool.run(stands.Direct())
            process = tool.start_watching(stands.Direct())
            try:
                _measure_push(bench, tool, process, sites, work)
            finally:
                competitors.end(process)


def _measure_push(bench, tool, process, sites, work):
    source = random.Random("push")
    with mail.Account(bench.stand[sites[0]], tool.user) as here, \
            mail.Account(bench.stand[sites[-1]], tool.user) as there:
        there.client.select("INBOX", readonly=True)
        time.sleep(2)  # it is up and watches
        seen, late = 0, 0
        for number in range(bench.options.pushes + 1):
            time.sleep(1.1 + source.random())
            here.append("INBOX", corpus.small(number, tool.user))
            started = time.monotonic()
            arrived = _wait_for_arrival(there, seen, 12)
            took = time.monotonic() - started
            if arrived is None:
                late += 1
                continue
            seen = arrived
            if number > 0:  # the first may find it still starting
                _sample(bench, work, tool.name, "direct", None, latency_s=took)
        if late:
            bench.note(f"{tool.title}: {late} of {bench.options.pushes + 1} messages were not there within 12 s")
        if process.poll() is not None:
            raise RuntimeError(f"{tool.name} ended while it should watch (code {process.returncode})")


def idle(bench):
    """A mesh that runs while nothing happens: bytes a replica, by the proxy."""
    for kind in (tool for tool in bench.tools if tool.watches):
        user = f"quiet-{kind.name}"
        for site in TARGET_SITES:
            bench.stand.fill(site, user, corpus.mailbox_names(20), 100, corpus.small)
        tool = kind(bench.stand, user, bench.tool_folder / user)
        if kind is not competitors.Imapmesh:
            tool.adopt_state()
        tool.run(stands.Direct())
        with bench.stand.link(0) as link:
            process = tool.start_watching(link)
            try:
                time.sleep(5)
                before, cpu = link.counts(), competitors.cpu_seconds(process.pid)
                time.sleep(bench.options.idle_s)
                traffic = _difference(before, link.counts())
                cpu = competitors.cpu_seconds(process.pid) - cpu
            finally:
                competitors.end(process)
        _sample(bench, "idle", tool.name, "direct", None, traffic, seconds=bench.options.idle_s, cpu_s=cpu,
                bytes_a_replica=sum(one.to_server + one.to_client for one in traffic.values()) / len(TARGET_SITES))


ALL = {"limits": limits, "first": first, "fanout": fanout, "right-after": after_changes, "adoption": adoption,
       "nothing": nothing, "push": push, "idle": idle, **scale.ALL}
