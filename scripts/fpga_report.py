#!/usr/bin/env python3
"""Tables from what yosys and nextpnr wrote, and the baseline document that keeps them.

fpga_report.py cells hierarchical.json flat.json design.json   cells per module, and of the flattened whole
fpga_report.py area design.json flat.json FILE       puts the sum into the table of areas, by the hash of the design
fpga_report.py known design.json FILE...             succeeds if a table has the area of this design's Verilog
fpga_report.py families FAMILY.json...               cells of a flattened design on each family
fpga_report.py timing report.json                    clock reached, device use, and the critical path by block
fpga_report.py keep FILE SECTION < table             replaces the text between <!-- SECTION --> and <!-- end --> in FILE
"""

import json
import re
import sys

COLUMNS = [
    ("LUT4", ("LUT4",)),
    ("carry", ("CCU2C",)),
    ("FF", ("TRELLIS_FF",)),
    ("LUT RAM", ("TRELLIS_DPR16X4",)),
    ("block RAM", ("DP16KD",)),
    ("multiplier", ("MULT18X18D", "ALU54B")),
]
NEXTPNR = [("LUT4 sites", "TRELLIS_COMB"), ("FF", "TRELLIS_FF"), ("LUT RAM", "TRELLIS_RAMW"), ("block RAM", "DP16KD")]


def load(name):
    with open(name, encoding="utf-8") as file:
        return json.load(file)


def count(cells, kinds):
    return sum(cells.get(kind, 0) for kind in kinds)


def plain(name):
    return name.removeprefix("\\")


def uses(modules, top):
    """How often each module occurs below the top."""
    totals = {}

    def visit(name, times):
        totals[name] = totals.get(name, 0) + times
        for kind, number in modules[name]["num_cells_by_type"].items():
            if kind in modules:
                visit(kind, times * number)

    visit(top, 1)
    return totals


def cells(hierarchical, flat, design):
    design = load(design)
    modules = {plain(name): m for name, m in load(hierarchical)["modules"].items()}
    times = uses(modules, design["top"])
    head = ["module", "copies"] + [title for title, _ in COLUMNS]
    rows = []
    for name, number in times.items():
        own = modules[name]["num_cells_by_type"]
        rows.append([name.removeprefix(design["prefix"]), number] + [count(own, kinds) for _, kinds in COLUMNS])
    rows.sort(key=lambda row: (-row[1] * (row[2] + 2 * row[3]), row[0]))
    whole = load(flat)["design"]["num_cells_by_type"]
    rows.append(["**all, flattened**", 1] + [count(whole, kinds) for _, kinds in COLUMNS])
    print("Each line counts one copy of the module without the modules inside it; LUT4 does not include carry cells (two LUTs each).\n")
    print("| " + " | ".join(head) + " |")
    print("|---" + "|---:" * (len(head) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def families(*files):
    """Cells by what their names say; yosys' own are gates."""
    kinds = [
        ("LUTs", r"LUT[1-6]|SB_LUT4"),
        ("carry", r"CCU2C|SB_CARRY|CARRY4"),
        ("FF", r"TRELLIS_FF|SB_DFF\w*|FD[RSCP]E\w*|\$_S?DFF\w*"),
        ("LUT RAM", r"TRELLIS_DPR16X4|RAM\d+[XMD]\w*"),
        ("block RAM", r"DP16KD|SB_RAM40\w*|RAMB\w+"),
        ("gates", r"\$_(?!S?DFF)\w+"),
    ]
    print("| family | " + " | ".join(title for title, _ in kinds) + " |")
    print("|---" + "|---:" * len(kinds) + "|")
    for file in files:
        family = file.rsplit("/", 1)[-1].removesuffix(".json")
        sums = {title: 0 for title, _ in kinds}
        for cell, number in load(file)["design"]["num_cells_by_type"].items():
            for title, kind in kinds:
                if re.fullmatch(kind, plain(cell)):
                    sums[title] += number
        print(f"| {family} | " + " | ".join(str(number) for number in sums.values()) + " |")


def area(design, flat, file):
    whole = load(flat)["design"]["num_cells_by_type"]
    n = {title: count(whole, kinds) for title, kinds in COLUMNS}
    try:
        areas = load(file)
    except FileNotFoundError:
        areas = {}
    # A carry cell is two LUTs, and the RAM of a slice pair is four.
    luts = n["LUT4"] + 2 * n["carry"] + 4 * n["LUT RAM"]
    design = load(design)
    sums = {"lut4": luts, "ff": n["FF"], "bram": n["block RAM"], "verilog": design["verilog_hash"]}
    areas[design["nameless_hash"]] = sums
    with open(file, "w", encoding="utf-8") as out:
        json.dump(dict(sorted(areas.items())), out, indent=1)
        out.write("\n")


def known(design, *files):
    design = load(design)
    for file in files:
        try:
            area = load(file).get(design["nameless_hash"])
        except FileNotFoundError:
            continue
        if area and area["verilog"] == design["verilog_hash"]:
            return
    sys.exit(1)


def block(cell):
    """core.walker_0.state_TRELLIS_FF_Q_3 -> walker_0.state: the block and the signal that yosys named the cell after."""
    path = cell.replace("\\", "").removeprefix("core.").split(".")
    for i, piece in enumerate(path):
        for mark in ("_TRELLIS_", "_LUT4", "_PFUMX", "_L6MUX", "_CCU2C", "$"):
            at = piece.find(mark)
            if at >= 0:
                path = path[:i] + ([piece[:at]] if piece[:at] else [])
                return ".".join(path)
    return ".".join(path)


def timing(report):
    data = load(report)
    for clock, result in data["fmax"].items():
        verdict = "met" if result["achieved"] >= result["constraint"] else "missed"
        if "oscillator" not in clock:
            print(f"Clock: **{result['achieved']:.1f} MHz** routed; the goal of {result['constraint']:.0f} MHz is {verdict}.")
    used = []
    for title, kind in NEXTPNR:
        site = data["utilization"].get(kind)
        if site and site["used"]:
            used.append(f"{title} {site['used']} of {site['available']}")
    print("Device, pin wrapper included: " + ", ".join(used) + ".\n")
    paths = [p for p in data["critical_paths"] if p["from"] == p["to"] and p["from"].startswith("posedge")]
    if not paths:
        return
    hops = max(paths, key=lambda p: sum(hop["delay"] for hop in p["path"]))["path"]
    total = sum(hop["delay"] for hop in hops)
    logic = sum(hop["delay"] for hop in hops if hop["type"] != "routing")
    print(f"Critical path: {total:.1f} ns, {logic:.1f} ns in cells and {total - logic:.1f} ns in wires.\n")
    print("| at | from | through | ns |")
    print("|---:|---|---|---:|")
    # Neighbouring cells of one signal become one line; a wire belongs to the cell it leaves.
    lines, at = [], 0.0
    for hop in hops:
        name = block(hop["from"]["cell"])
        where, _, signal = name.rpartition(".")
        if lines and lines[-1][1:3] == [where, signal]:
            lines[-1][3] += hop["delay"]
        else:
            lines.append([at, where, signal, hop["delay"]])
        at += hop["delay"]
    for start, where, signal, delay in lines:
        print(f"| {start:.1f} | {where or 'core'} | {signal} | {delay:.1f} |")
    print(f"| {at:.1f} | {block(hops[-1]['to']['cell'])} | (captured) | |")


def keep(name, section):
    with open(name, encoding="utf-8") as file:
        text = file.read()
    start, end = f"<!-- {section} -->\n", "<!-- end -->"
    before, found, rest = text.partition(start)
    if not found or end not in rest:
        sys.exit(f"error: {name} has no section {start.strip()} ... {end}")
    after = rest[rest.index(end) :]
    with open(name, "w", encoding="utf-8") as file:
        file.write(before + start + "\n" + sys.stdin.read().strip() + "\n\n" + after)


def main():
    actions = {"cells": cells, "families": families, "area": area, "known": known, "timing": timing, "keep": keep}
    numbers = {"cells": [3], "families": range(1, 9), "area": [3], "known": range(2, 9), "timing": [1], "keep": [2]}
    action = sys.argv[1] if len(sys.argv) > 1 else ""
    if len(sys.argv) - 2 not in numbers.get(action, []):
        sys.exit(__doc__)
    actions[action](*sys.argv[2:])


if __name__ == "__main__":
    main()
