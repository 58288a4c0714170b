#!/usr/bin/env bash
# engines.sh   How far the fast engine is from the RTL on shipped traces and generators, and how many accesses it does in a second;
# kept in docs/engines.md.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/scripts/setup.sh" core
need_cargo
cd "$ROOT"
table=$(mktemp)
trap 'rm -f "$table"' EXIT
say "Both engines on the shipped traces and the generators"
cargo run --release -q -p pasidon-fast --example agreement | tee "$table"
"$ROOT/scripts/fpga_report.py" keep docs/engines.md agreement <"$table"
say "Speed of the fast engine"
cargo run --release -q -p pasidon-fast --example speed | tee "$table"
"$ROOT/scripts/fpga_report.py" keep docs/engines.md speed <"$table"
