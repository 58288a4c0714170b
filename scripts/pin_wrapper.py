#!/usr/bin/env python3
"""pin_wrapper.py design.json > wrapper.v   Puts a core with many ports behind five pins.

Every input bit of the core is driven by one bit of a shift register, every output bit is captured in a register, and the
captured bits are folded into one by XOR, four at a time with a register after each fold. So no part of the
core can be optimised away and every path of interest runs from register to register.
"""

import json
import sys

CLOCK, RESET = "clk", "rst"


def registers(name, count):
    return f"    reg {name};" if count == 1 else f"    reg [{count - 1}:0] {name};"


def part(low, width):
    return f"[{low + width - 1}:{low}]"


def wrapper(ports, top):
    inputs = [(p["name"], int(p["width"])) for p in ports if p["direction"] == "in" and p["name"] not in (CLOCK, RESET)]
    outputs = [(p["name"], int(p["width"])) for p in ports if p["direction"] == "out"]
    driven = sum(width for _, width in inputs)
    seen = sum(width for _, width in outputs)
    lines = [
        f"// {driven} input bits and {seen} output bits of {top} behind five pins.",
        "module pins (input wire oscillator, input wire reset, input wire serial_in, output wire serial_out, output wire locked);",
        "    wire clk;",
        "    pll clock (.clkin(oscillator), .clkout0(clk), .locked(locked));",
        "    reg [1:0] settled;",
        "    always @(posedge clk) settled <= {settled[0], reset};",
        f"    reg [{driven - 1}:0] drive;",
        f"    always @(posedge clk) drive <= {{drive[{driven - 2}:0], serial_in}};",
        f"    wire [{seen - 1}:0] out;",
        f"    reg [{seen - 1}:0] fold0;",
        "    always @(posedge clk) fold0 <= out;",
    ]
    stage, width = 0, seen
    while width > 1:
        folded = (width + 3) // 4
        lines.append(registers(f"fold{stage + 1}", folded))
        lines.append("    always @(posedge clk) begin")
        for i in range(folded):
            low, count = 4 * i, min(4, width - 4 * i)
            target = f"fold{stage + 1}" + (f"[{i}]" if folded > 1 else "")
            lines.append(f"        {target} <= ^fold{stage}{part(low, count)};")
        lines.append("    end")
        stage, width = stage + 1, folded
    lines.append(f"    assign serial_out = fold{stage};")
    connections, at = [f".{CLOCK}(clk)", f".{RESET}(settled[1])"], 0
    for name, width in inputs:
        connections.append(f".{name}(drive{part(at, width)})")
        at += width
    at = 0
    for name, width in outputs:
        connections.append(f".{name}(out{part(at, width)})")
        at += width
    lines.append(f"    {top} core (")
    lines.append(",\n".join(f"        {c}" for c in connections))
    lines += ["    );", "endmodule"]
    return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            design = json.load(file)
        sys.stdout.write(wrapper(design["ports"], design["top"]))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"error: {sys.argv[1]} is not a design.json of pasidon generate: {error!r}")


if __name__ == "__main__":
    main()
