#!/usr/bin/env bash
# bench.sh   Cycles of a translation by what has to be read, what calls of the driver cost, and the speed of the simulated model; kept in
# docs/baseline.md.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/scripts/setup.sh" core
need_cargo
cd "$ROOT"
table=$(mktemp)
trap 'rm -f "$table"' EXIT
say "Cycles per translation on default (L: cycles from a read address to its first data)"
{
    echo
    echo '| what is read | cycles | at L = 1, 20, 100 |'
    echo '|---|---|---|'
    cargo test --release -q -p pasidon-tests --test cosim latencies_follow -- --nocapture |
        sed -n 's/^\(.*\): \([0-9]*L + [0-9]*\) (\[\(.*\)\] at .*/| \1 | \2 | \3 |/p'
} >"$table"
cat "$table"
say "Calls of the driver on default"
build_pasidon
mkdir -p "$TARGET/bench"
"$PASIDON" run --trace "$ROOT"/traces/{sort,sqlite,xz}.trace.gz --json "$TARGET/bench/run.json" >"$TARGET/bench/run.txt"
scripts/verification.py costs "$TARGET/bench/run.json" | tee -a "$table"
say "Speed of the simulated model"
{
    echo
    cargo bench -q -p pasidon-tests --bench model -- --quick 2>/dev/null |
        sed -n 's/^\(default, a hit .*\): \([0-9]*\) cycles per second$/Simulated model, \1: \2 cycles per second on the machine of the last run./p'
    echo
} | tee -a "$table"
"$ROOT/scripts/fpga_report.py" keep docs/baseline.md "bench" <"$table"
