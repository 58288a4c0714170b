#!/usr/bin/env python3
"""studies.py FOLDER   Tables and pictures of docs/studies.md and docs/worth-building.md, from the results of studies/*.toml in FOLDER.

A table stands between <!-- NAME --> and <!-- end -->. What has no results is left as it is.
"""

import csv
import json
import pathlib
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PICTURES = {
    "gemm": "share-of-translation-without-a-last-level-cache",
    "nic": "throughput-lost-at-200-gbit-per-second",
    "tenants": "throughput-lost-with-many-tenants",
    "irregular": "speed-of-accelerators-over-walkers",
    "worth": "pareto",
}


def results(folder, study):
    """Rows of a study's results, numbers as numbers, axes by their names. A point without an answer ends this."""
    with open(folder / study / "results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    failed = [row for row in rows if row["error"]]
    if failed:
        sys.exit(f"error: {study}: {len(failed)} points have no answer, the first says: {failed[0]['error']}")
    for row in rows:
        for name in ("cycles", "bare", "accesses", "walks"):
            row[name] = float(row[name])
        row["share"] = float(row["share_percent"])
    return rows


def axis(rows, name):
    """Values of an axis in their order."""
    return list(dict.fromkeys(row["axis." + name] for row in rows))


def find(rows, **wanted):
    return next(row for row in rows if all(row["axis." + name] == value for name, value in wanted.items()))


def table(head, rows, left=1):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * left + "---:|" * (len(head) - left)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def grid(rows, lines, columns, cell, head=None):
    """A table with the values of one axis as lines, those of another as columns."""
    body = [[line] + [cell(find(rows, **{lines: line, columns: column})) for column in axis(rows, columns)] for line in axis(rows, lines)]
    return table([head or lines] + axis(rows, columns), body)


def share(row):
    # Noise below the last digit has no sign.
    return f"{round(row['share'], 1) + 0.0:.1f} %"


def gemm(folder):
    rows = results(folder, "gemm")
    ours = [row for row in rows if row["axis.hardware"] == "as published"]
    compared = []
    for llc, low, high in (("none", 4.2, 17.6), ("128 KiB", 0.4, 0.7)):
        at = {row["axis.latency"]: row for row in ours if row["axis.llc"] == llc}
        for latency, published in (("200", low), ("1000", high)):
            found = at[latency]["share"]
            compared.append([llc, latency, f"{published:.1f} %", f"{found:.1f} %", f"{found - published:+.1f}"])
    parts = [table(["last-level cache", "latency", "published", "here", "points apart"], compared)]
    for llc, words in (("none", "Without a last-level cache"), ("128 KiB", "With a last-level cache of 128 KiB")):
        some = [row for row in rows if row["axis.llc"] == llc]
        parts.append(f"{words}, over the latency in cycles:\n\n" + grid(some, "hardware", "latency", lambda row: f"{row['share']:.2f} %"))
    return parts


def setup(folder):
    rows = results(folder, "gemm-setup")
    body = []
    for name in axis(rows, "setup"):
        cells = [find(rows, setup=name, llc=llc, latency=latency) for llc in ("none", "128 KiB") for latency in ("200", "1000")]
        body.append([name] + [f"{cell['share']:.2f} %" for cell in cells])
    return [table(["set-up", "no cache, 200", "no cache, 1000", "cache, 200", "cache, 1000"], body)]


def nic(folder):
    rows = results(folder, "nic")
    worst = max(axis(rows, "descriptors"), key=int)
    lost = find(rows, hardware="4 KiB pages", descriptors=worst)
    huge = find(rows, hardware="2 MiB pages", descriptors=worst)
    back = 100 * (lost["cycles"] - huge["cycles"]) / (lost["cycles"] - lost["bare"])
    compared = [["most that is lost", "up to 20 %", share(lost)], ["of it recovered with 2 MiB pages", "all", f"{back:.1f} %"]]
    return [table(["", "published", "here"], compared), grid(rows, "hardware", "descriptors", share)]


def tenants(folder):
    rows = results(folder, "tenants")
    return [grid(rows, "hardware", "tenants", share)]


def irregular(folder):
    rows = results(folder, "irregular")
    body = []
    for name in axis(rows, "workload"):
        first = find(rows, workload=name, prefetch="0", walkers="1")["cycles"]
        line = [name]
        for prefetch in axis(rows, "prefetch"):
            for walkers in axis(rows, "walkers"):
                if (prefetch, walkers) != ("0", "1"):
                    line.append(f"{first / find(rows, workload=name, prefetch=prefetch, walkers=walkers)['cycles']:.2f}")
        body.append(line)
    head = ["workload"]
    for prefetch in axis(rows, "prefetch"):
        for walkers in axis(rows, "walkers"):
            if (prefetch, walkers) != ("0", "1"):
                head.append(walkers + (" and prefetch" if prefetch != "0" else ""))
    return [table(head, body)]


def agreement(folder):
    body = []
    with open(folder / "agreement" / "results.jsonl", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    for line in lines:
        if line.get("error"):
            sys.exit(f"error: agreement: a point has no answer: {line['error']}")
        deviation = line["answer"]["deviation"]
        values = {name: (fast, rtl) for name, fast, rtl in deviation["values"]}
        other = [name for name, (fast, rtl) in values.items() if fast != rtl]
        fast, rtl = values["cycles"]
        body.append([line["axes"][0][1], f"{deviation['accesses']:,}", f"{fast:,}", f"{rtl:,}", f"{100 * (fast / rtl - 1):+.2f} %", ", ".join(other) or "none"])
    return [table(["point", "accesses", "cycles, fast engine", "cycles, RTL", "apart", "counts that differ"], body)]


def worth(folder):
    rows = results(folder, "worth")
    workloads = axis(rows, "workload")
    traces = workloads.index("dgemm")

    def number(x):
        return f"{round(x, 1) + 0.0:.1f}"

    def means(values):
        return sum(values) / len(values), sum(values[traces:]) / len(values[traces:])

    lines = []
    for part in axis(rows, "part")[1:]:
        saved = []
        for name in workloads:
            base = find(rows, workload=name, part="nothing")["cycles"]
            saved.append(100 * (1 - find(rows, workload=name, part=part)["cycles"] / base))
        lines.append((means(saved), part, saved))
    lines.sort(key=lambda line: line[0], reverse=True)
    imagined = ("walk cache", "shared", "LRU", "PLRU", "in turn", "prefetch", "fills")
    body = []
    for (mean, mean_traces), part, saved in lines:
        kind = "modelled" if any(word in part for word in imagined) else "there"
        body.append([part, kind, f"**{number(mean)}**", number(mean_traces)] + [number(x) for x in saved])
    shares = [find(rows, workload=name, part="nothing")["share"] for name in workloads]
    taken = ["cycles that translation takes", ""] + [number(x) for x in means(shares)] + [number(x) for x in shares]
    return [table(["part", "is", "mean", "of traces"] + workloads, [taken] + body, 2)]


def keep(name, section, parts):
    path = ROOT / name
    text = path.read_text(encoding="utf-8")
    start, end = f"<!-- {section} -->\n", "<!-- end -->"
    before, found, rest = text.partition(start)
    if not found or end not in rest:
        sys.exit(f"error: {name} has no section {start.strip()} ... {end}")
    path.write_text(before + start + "\n" + "\n\n".join(parts) + "\n\n" + rest[rest.index(end) :], encoding="utf-8")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    sections = [("gemm", gemm), ("gemm-setup", setup), ("nic", nic), ("tenants", tenants), ("irregular", irregular), ("agreement", agreement), ("worth", worth)]
    for study, make in sections:
        if (folder / study / "results.csv").is_file():
            keep("docs/worth-building.md" if study == "worth" else "docs/studies.md", study, make(folder))
    for study, picture in PICTURES.items():
        file = folder / study / "pictures" / f"{picture}.svg"
        if file.is_file():
            shutil.copyfile(file, ROOT / "docs" / f"study-{study}.svg")
        elif (folder / study).is_dir():
            print(f"docs/study-{study}.svg is left as it is: {folder / study / 'report.html'} says why there is no new one", file=sys.stderr)


if __name__ == "__main__":
    main()
