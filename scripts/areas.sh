#!/usr/bin/env bash
# areas.sh SWEEP [FILE]   Synthesises the designs of a sweep for ECP5, each once, and keeps their areas in FILE, where `pasidon report`
# finds them: by default docs/areas.json for the sweeps of studies/, target/areas.json for others. A design whose Verilog has not changed
# since is not synthesised again; interrupted, it goes on where it was.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/scripts/setup.sh" core
"$ROOT/scripts/setup.sh" fpga

sweep=${1:?usage: areas.sh SWEEP [FILE]}
file=$TARGET/areas.json
if [ "$(realpath "$(dirname "$sweep")")" = "$ROOT/studies" ]; then file=$ROOT/docs/areas.json; fi
file=${2:-$file}
build_pasidon
work=$TARGET/areas
mkdir -p "$work"
"$PASIDON" sweep designs "$sweep" --out "$work/designs" >"$work/list"
count=$(wc -l <"$work/list")
number=0
while IFS=$'\t' read -r hash _ design label; do
    number=$((number + 1))
    here=$work/$hash
    mkdir -p "$here"
    "$PASIDON" generate --design "$design" --out "$here" >/dev/null
    if "$ROOT/scripts/fpga_report.py" known "$here/design.json" "$ROOT/docs/areas.json" "$file"; then
        note "design $number of $count, $label: known"
        continue
    fi
    cd "$here"
    synthesise "design $number of $count, $label" flat
    cd "$ROOT"
    "$ROOT/scripts/fpga_report.py" area "$here/design.json" "$here/flat.json" "$file"
done <"$work/list"
note "$file"
