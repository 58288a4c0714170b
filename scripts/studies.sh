#!/usr/bin/env bash
# studies.sh [STUDY...]   Runs the sweeps of studies/, and keeps their tables and pictures in docs/studies.md and docs/worth-building.md.
# Answers of an older program are not used; an interrupted run goes on.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/scripts/setup.sh" core
build_pasidon
cd "$ROOT"
all=(gemm gemm-setup nic tenants irregular agreement worth)
[ $# -gt 0 ] || set -- "${all[@]}"
number=0
for study in "$@"; do
    [ -f "studies/$study.toml" ] || die "studies/$study.toml not found; there are: ${all[*]}"
    number=$((number + 1))
    say "Study $number of $#: $study"
    results=$TARGET/studies/$study
    # The name of a point is its question: a program that answers otherwise must not find old answers.
    if [ -d "$results" ] && [ "$PASIDON" -nt "$results" ]; then rm -r "$results"; fi
    "$PASIDON" sweep run "studies/$study.toml" --out "$results"
    "$PASIDON" report "studies/$study.toml" --out "$results" --pictures "$results/pictures" >"$results/report.txt"
    note "$results/report.html"
done
scripts/studies.py "$TARGET/studies"
note "docs/studies.md, docs/worth-building.md"
