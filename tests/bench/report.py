"""Samples to tables and a chart: median (minimum to maximum) of each, and ratios to imapmesh."""

import html
import statistics

TITLES = {
    "nothing": "nothing to do",
    "nothing-compressed": "nothing to do, COMPRESS",
    "first": "first sync to one replica",
    "fanout": "first sync to two at once",
    "incremental": "the incremental case",
    "right-after": "a run right after a run",
    "adoption": "adoption of mail held by both sides",
    "adopt-for-nothing": "adoption, before “nothing to do”",
    "push": "new mail, pushed",
    "push-fan-out": "new mail, pushed to two",
    "push-watch-path": "new mail, pushed, with watch_path",
    "idle": "idle",
    "scale-star": "a star of many replicas",
    "scale-ring": "a ring of many replicas, with chords",
    "scale-mailboxes": "very many mailboxes on two replicas",
    "scale-messages": "very many messages in one mailbox of two replicas",
}
SCALE = "scale-"


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def grouped(samples):
    """{(work, link): {tool: [sample]}} in the order of appearance."""
    groups = {}
    for sample in samples:
        groups.setdefault((sample["work"], sample["link"]), {}).setdefault(sample["tool"], []).append(sample)
    return groups


def _spread(samples, key, render):
    values = [sample[key] for sample in samples if key in sample]
    if not values:
        return "–"
    middle = render(statistics.median(values))
    least, most = render(min(values)), render(max(values))
    return middle if least == most else f"{middle} ({least}–{most})"


def _seconds(value):
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _bytes(value):
    return f"{value:.0f} B" if value < 1000 else f"{value / 1000:.1f} kB" if value < 1e6 else f"{value / 1e6:.1f} MB"


COLUMNS = [("wall", "wall_s", _seconds), ("CPU", "cpu_s", _seconds),
           ("servers' CPU", "servers_cpu_s", _seconds), ("memory", "memory_kb", lambda kb: f"{kb / 1000:.0f} MB"),
           ("to servers", "to_server", _bytes), ("from servers", "to_client", _bytes),
           ("exchanges", "exchanges", lambda n: f"{n:.0f}"), ("of one connection", "exchanges_max", lambda n: f"{n:.0f}")]


def _ratio(samples, own, key):
    theirs = [sample[key] for sample in samples if key in sample]
    ours = [sample[key] for sample in own if key in sample]
    if not theirs or not ours or not statistics.median(ours):
        return "–"
    return f"{statistics.median(theirs) / statistics.median(ours):.2g}"


def _row(cells):
    return "| " + " | ".join(cells) + " |\n"


def _cost_table(tools):
    """One work over one link. Ratios are how many times what imapmesh needs."""
    own = tools.get("imapmesh", [])
    columns = [column for column in COLUMNS if any(column[1] in sample for group in tools.values() for sample in group)]
    text = _row(["", *(title for title, _, _ in columns), "wall ratio", "CPU ratio"])
    text += _row(["---"] * (len(columns) + 3))
    for tool, samples in tools.items():
        text += _row([tool, *(_spread(samples, key, render) for _, key, render in columns),
                      _ratio(samples, own, "wall_s"), _ratio(samples, own, "cpu_s")])
    return text


def _latency_table(tools):
    text = _row(["", "p50", "p95", "most", "messages"]) + _row(["---"] * 5)
    for tool, samples in tools.items():
        values = [sample["latency_s"] for sample in samples]
        text += _row([tool, _seconds(percentile(values, 0.5)), _seconds(percentile(values, 0.95)), _seconds(max(values)),
                      str(len(values))])
    return text


def _idle_table(tools):
    text = _row(["", "bytes a replica", "in", "CPU"]) + _row(["---"] * 4)
    for tool, samples in tools.items():
        one = samples[-1]
        text += _row([tool, f"{one['bytes_a_replica']:.0f}", f"{one['seconds']} s", _seconds(one["cpu_s"])])
    return text


def _limit_table(tools):
    text = _row(["", "wall", "messages a second"]) + _row(["---"] * 3)
    for tool, samples in tools.items():
        middle = statistics.median(sample["wall_s"] for sample in samples)
        text += _row([tool, _spread(samples, "wall_s", _seconds), f"{samples[0]['messages'] / middle:.0f}"])
    return text


def _scale_tables(samples):
    """Of imapmesh alone: each work's size, its start, and a round for each number of changes."""
    text = ""
    for work in [work for work in TITLES if work.startswith(SCALE)]:
        own = {part: [sample for sample in samples if sample["work"] == work + part] for part in ("", "-adopted", "-start")}
        if not own[""]:
            continue
        text += f"### {TITLES[work]}: {own[''][0]['copies']:,} message copies\n\n"
        text += _row(["", "wall", "CPU", "memory"]) + _row(["---"] * 4)
        rounds = [("adoption", own["-adopted"])]
        for count in sorted({sample["changed"] for sample in own[""]}):
            title = "nothing changed" if count == 0 else "1 message changed" if count == 1 else f"{count:,} messages changed"
            rounds.append((title, [sample for sample in own[""] if sample["changed"] == count]))
        for title, chosen in rounds:
            text += _row([title, *(_spread(chosen, key, render) for _, key, render in COLUMNS
                                 if key in ("wall_s", "cpu_s", "memory_kb"))])
        for sample in own["-start"]:
            text += (f"\nFrom the start to the first command {sample['start_s'] * 1000:.0f} ms; "
                     f"the state takes {sample['state_bytes_a_copy']:.0f} bytes a message copy.\n")
        text += "\n"
    return text


def tables(samples):
    """Markdown, one table a work and link."""
    text = _scale_tables(samples)
    for (work, link), tools in grouped(samples).items():
        if work.startswith(SCALE):
            continue
        sizes = {sample["messages"] for group in tools.values() for sample in group if "messages" in sample}
        size = f", {max(sizes):,} messages" if sizes else ""
        title = "what the server itself can do" if work == "limits" else TITLES[work]
        text += f"### {title}{size}: {link}\n\n"
        if work == "limits":
            text += _limit_table(tools)
        elif work.startswith("push"):
            text += _latency_table(tools)
        elif work == "idle":
            text += _idle_table(tools)
        else:
            text += _cost_table(tools)
        text += "\n"
    return text


COLOURS = {"imapmesh": "#1668a8", "interimap": "#d1701f", "mbsync": "#4d9a51", "dsync": "#8a62a8",
           "the servers alone": "#8c8c8c"}


def chart(samples):
    """SVG: the median wall time of each work, one bar a tool, on a logarithmic scale."""
    import math
    groups = [(key, tools) for key, tools in grouped(samples).items()
              if key[0] != "limits" and not key[0].startswith(SCALE) and any("wall_s" in sample for group in tools.values() for sample in group)]
    bar, gap, left, width = 16, 26, 330, 620
    values = [statistics.median(sample["wall_s"] for sample in group) for _, tools in groups for group in tools.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    scale = width / max(1, high - low)

    def x(value):
        return left + (math.log10(value) - low) * scale

    parts, y = [], 44
    for (work, link), tools in groups:
        label = html.escape(f"{TITLES[work]}, {link}")
        middle = y + bar * len(tools) / 2 + 4
        parts.append(f'<text x="{left - 8}" y="{middle:.0f}" text-anchor="end">{label}</text>')
        for tool, group in tools.items():
            value = statistics.median(sample["wall_s"] for sample in group)
            parts.append(f'<rect x="{left}" y="{y}" width="{max(1.0, x(value) - left):.1f}" height="{bar - 3}" '
                         f'fill="{COLOURS[tool]}"/>'
                         f'<text x="{x(value) + 5:.1f}" y="{y + bar - 5}">{_seconds(value)}</text>')
            y += bar
        y += gap
    grid = "".join(f'<line x1="{x(10 ** power):.1f}" y1="34" x2="{x(10 ** power):.1f}" y2="{y - gap}" stroke="#ddd"/>'
                   f'<text x="{x(10 ** power):.1f}" y="{y - gap + 16}" text-anchor="middle">{10 ** power:g} s</text>'
                   for power in range(low, high + 1))
    used = [tool for tool in COLOURS if any(tool in tools for _, tools in groups)]
    legend = "".join(f'<rect x="{left + index * 120}" y="10" width="12" height="12" fill="{COLOURS[tool]}"/>'
                     f'<text x="{left + index * 120 + 17}" y="20">{tool}</text>' for index, tool in enumerate(used))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{y}" '
            f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
            f'{legend}{grid}{"".join(parts)}</svg>\n')


def scale_chart(samples):
    """SVG: what a round costs by the number of messages changed, both logarithmic; a line a work for wall and for CPU."""
    import math
    works = [work for work in TITLES if work.startswith(SCALE) and any(one["work"] == work for one in samples)]
    lines = {}
    for work in works:
        own = [sample for sample in samples if sample["work"] == work]
        for key, dash in (("wall_s", ""), ("cpu_s", "5 4")):
            counts = sorted({sample["changed"] for sample in own})
            lines[work, key, dash] = [(count, statistics.median(one[key] for one in own if one["changed"] == count))
                                      for count in counts]
    values = [value for points in lines.values() for _, value in points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    most = max(count for points in lines.values() for count, _ in points)
    left, top, width, height = 70, 30 + 18 * len(works), 640, 360
    across, up = width / (math.log10(max(most, 1)) + 1), height / max(1, high - low)

    def x(count):  # what changed nothing has a place of its own
        return left + (0 if count == 0 else (math.log10(count) + 1) * across)

    def y(value):
        return top + height - (math.log10(value) - low) * up

    colours = dict(zip(works, COLOURS.values()))
    parts = []
    for power in range(low, high + 1):
        parts.append(f'<line x1="{left}" y1="{y(10 ** power):.1f}" x2="{left + width}" y2="{y(10 ** power):.1f}" '
                     f'stroke="#ddd"/><text x="{left - 8}" y="{y(10 ** power) + 4:.1f}" text-anchor="end">'
                     f'{_seconds(10 ** power) if power < 0 else f"{10 ** power:g} s"}</text>')
    for count in [0] + [10 ** power for power in range(int(math.log10(max(most, 1))) + 1)]:
        parts.append(f'<text x="{x(count):.1f}" y="{top + height + 18}" text-anchor="middle">{count:,}</text>')
    parts.append(f'<text x="{left + width / 2:.0f}" y="{top + height + 36}" text-anchor="middle">messages changed</text>')
    for (work, _, dash), points in lines.items():
        path = " ".join(f"{x(count):.1f},{y(value):.1f}" for count, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[work]}" stroke-width="2" '
                     f'stroke-dasharray="{dash or "none"}"/>')
    for index, work in enumerate(works):
        parts.append(f'<rect x="{left}" y="{10 + 18 * index}" width="12" height="12" fill="{colours[work]}"/>'
                     f'<text x="{left + 17}" y="{20 + 18 * index}">{html.escape(TITLES[work])}: wall, and CPU (dashed)'
                     '</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 40}" height="{top + height + 50}" '
            f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
            f'{"".join(parts)}</svg>\n')
