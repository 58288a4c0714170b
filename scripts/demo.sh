#!/usr/bin/env bash
# demo.sh DESIGN   From nothing to a report: Verilog, simulator, driver, bound processes, real programs' accesses.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/scripts/setup.sh" core
build_pasidon
mkdir -p "$TARGET/demo"
"$PASIDON" run --design "${1:-default}" --json "$TARGET/demo/report.json" \
    --trace "$ROOT"/traces/{sort,sqlite,xz}.trace.gz
note "the same as JSON: $TARGET/demo/report.json"
