#!/usr/bin/env python3
"""Tables of docs/verification.md and docs/baseline.md from the JSON of the long verification and of `pasidon run`.

verification.py lockstep report.json...     one row for each run of `pasidon lockstep`, and the points of coverage
verification.py stress report.json...       `pasidon stress`: counts of each run
verification.py mutation mutants.json...    `pasidon mutate`: killed by module and by operator, survivors
verification.py coverage coverage.json      `pasidon coverage`: lines and toggles by module
verification.py costs report.json           `pasidon run`: what calls of the driver cost
"""

import json
import re
import sys
import textwrap
from collections import defaultdict

WIDTH = 140


def load(name):
    with open(name, encoding="utf-8") as file:
        return json.load(file)


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) + " |")
    print()


def prose(text, first="", rest=""):
    """Text in lines of WIDTH columns. No line begins with an operator of Verilog: Markdown would take some for the mark of a list."""
    glued = re.sub(r" (?=[^\w\s]+ )", "\0", text)
    lines = textwrap.wrap(glued, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)
    print("\n".join(lines).replace("\0", " "))


def listed(title, points):
    """Points of coverage, a line for each kind."""
    kinds = defaultdict(list)
    for point in sorted(points):
        kind, rest = point.split("/", 1)
        kinds[kind].append(f"`{rest}`")
    print(f"{title}: none." if not kinds else f"{title}:\n")
    for kind, rest in kinds.items():
        prose(f"{kind}: {', '.join(rest)}", "- ", "  ")


def lockstep(*names):
    runs = sorted((load(name) for name in names), key=lambda run: run["seed"])
    total = {key: sum(run[key] for run in runs) for key in ("ops", "requests", "cycles", "mismatches")}
    designs = len({run["hash"] for run in runs})
    prose(
        f"{total['ops']:,} operations on {designs} designs, {total['requests']:,} of them translation requests, in "
        f"{total['cycles']:,} clock cycles: {total['mismatches']} mismatches."
    )
    print()
    keys = ("design", "seed", "latency", "ops", "requests", "cycles", "mismatches")
    rows = [[run[key] for key in keys] + [len(run["holes"])] for run in runs]
    table(["design", "seed", "memory latency", "operations", "requests", "cycles", "mismatches", "points not met"], rows)

    groups = defaultdict(lambda: [0, 0])
    for run in runs:
        for point, count in run["coverage"].items():
            groups[point.split("/")[0]][1] += count
    for point in {point for run in runs for point in run["coverage"]}:
        groups[point.split("/")[0]][0] += 1
    table(["kind of point", "points met", "times"], [[name, *both] for name, both in sorted(groups.items())])
    met = {point for run in runs for point in run["coverage"]}
    listed("Points that no run met", {hole for run in runs for hole in run["holes"]} - met)
    full = [run for run in runs if run["design"] == "full"]
    if full:
        missed = set.intersection(*(set(run["holes"]) for run in full))
        print()
        listed("Points that runs on other designs met and none on `full`", missed & met)


def stress(*names):
    for run in (load(name) for name in names):
        prose(
            f"`{run['design']}`, seed {run['seed']}: {run['ops']:,} operations, {run['audits']:,} audits, {run['cycles']:,} clock "
            f"cycles, {run['seconds']:.0f} s: {run['findings']} findings."
        )
        print()
        left_out = {"seed", "ops", "audits", "cycles", "findings"}
        rows = [[key.replace("_", " "), count] for key, count in run.items() if isinstance(count, int) and key not in left_out]
        table(["what", "how often"], rows)


def mutation(*names):
    for name in names:
        mutants(load(name))


def mutants(report):
    count, killed, alike = report["count"], report["killed"], report["equivalent"]
    able = count - len(alike)
    print(f"### `{report['design']}`\n")
    text = f"{count} single faults in the Verilog (seed {report['seed']}): {killed} killed, {100 * killed / max(1, count):.1f} %. "
    if alike:
        text += f"{len(alike)} of them change nothing that can be seen; of the {able} others, {100 * killed / max(1, able):.1f} % are killed. "
    text += f"Up to {report['ops']:,} operations under each of the seeds {', '.join(map(str, report['lockstep_seeds']))}, "
    text += f"in rounds of {report['round']:,}. {report['slower']} of the killed answer rightly and only take more cycles or reads. "
    prose(text + f"Not counted are faults that make no difference to Verilator: {len(report['same'])}.")
    print()
    groups = {}
    for verdict, list_ in ((1, report["kills"]), (0, report["survivors"]), (0, alike)):
        for tried in list_:
            for key in ("module", "operator"):
                counts = groups.setdefault((key, str(tried[key])), [0, 0, 0])
                counts[0] += 1
                counts[1] += verdict
                counts[2] += list_ is alike
    for key in ("module", "operator"):
        rows = [[f"`{name}`", *counts] for (kind, name), counts in sorted(groups.items()) if kind == key]
        table([key, "faults", "killed", "change nothing"], rows)
    for title, list_ in (("Survived", report["survivors"]), ("Changes nothing", alike)):
        for tried in list_:
            why = tried.get("why", tried.get("explanation", ""))
            prose(f"{title}: `{tried['id']}` (line {tried['line']}). {why}", "- ", "  ")
            for side in ("before", "after"):
                code = " ".join(tried[side].split())
                prose(f"{side}: `{code}`" if code else f"{side}: nothing", "  - ", "    ")
    print()


def coverage(name):
    report = load(name)
    print(f"`{report['design']}`, {report['ops']:,} operations, seeds {', '.join(map(str, report['seeds']))}.\n")
    rows = []
    for counts in report["modules"] + [{**report["total"], "module": "all"}]:
        row = [f"`{counts['module']}`"]
        for kind in ("lines", "toggles"):
            covered, total = counts[f"{kind}_covered"], counts[kind]
            row += [f"{covered} of {total}", f"{100 * covered / max(1, total):.1f} %"]
        rows.append(row)
    table(["module", "lines", "", "toggles", ""], rows)


def costs(name):
    report = load(name)
    latency, calls = report["pr_latency"], report["costs"]
    print()
    prose(
        f"Calls of the driver while devices fault pages in (`{report['design']}`, memory latency {report['memory_latency']}, two devices "
        "with ATS, the processor's register accesses included; driver operations are accesses of registers and memory, on average):"
    )
    print()
    names = {"bind": "bind", "unbind": "unbind", "shoot_down": "invalidation of a page, in the IOMMU and two devices"}
    table(["call", "cycles", "driver operations"], [[names[key], cost["cycles"], cost["operations"]] for key, cost in calls.items()])
    prose(
        f"Page request, from the device's group to its answer: median {latency['p50']:,}, 99 of 100 within {latency['p99']:,} cycles, "
        f"of {report['groups']:,}."
    )


def main():
    actions = {"costs": costs, "lockstep": lockstep, "stress": stress, "mutation": mutation, "coverage": coverage}
    action = actions.get(sys.argv[1] if len(sys.argv) > 1 else "")
    if action is None or len(sys.argv) < 3:
        sys.exit(__doc__)
    action(*sys.argv[2:])


if __name__ == "__main__":
    main()
