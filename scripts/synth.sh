#!/usr/bin/env bash
# synth.sh DESIGN...   Cells per module on ECP5; prints the tables, keeps those of shipped designs in docs/baseline.md, and the sum of
# each where `pasidon report` finds it: of shipped designs in docs/areas.json, of others in target/areas.json.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/scripts/setup.sh" core
"$ROOT/scripts/setup.sh" fpga

build_pasidon
for design in "$@"; do
    work=$TARGET/synth/$(basename "$design" .toml)
    mkdir -p "$work"
    "$PASIDON" generate --design "$design" --out "$work" >/dev/null
    cd "$work"
    synthesise "synthesise $design, hierarchical" hierarchical -noflatten
    synthesise "synthesise $design, flat" flat
    cd "$ROOT"
    "$ROOT/scripts/fpga_report.py" cells "$work/hierarchical.json" "$work/flat.json" "$work/design.json" >"$work/cells.md"
    areas=$TARGET/areas.json
    if [ -e "$ROOT/rtl/designs/$design.toml" ]; then areas=$ROOT/docs/areas.json; fi
    "$ROOT/scripts/fpga_report.py" area "$work/design.json" "$work/flat.json" "$areas"
    say "$design on ECP5"
    cat "$work/cells.md"
    if grep -q "^<!-- synth $design -->" "$ROOT/docs/baseline.md"; then
        "$ROOT/scripts/fpga_report.py" keep "$ROOT/docs/baseline.md" "synth $design" <"$work/cells.md"
    fi
done
