#!/usr/bin/env bash
# record-trace.sh SKIP TAKE OUT.trace.gz -- COMMAND...
# Runs COMMAND under valgrind's lackey, drops its first SKIP data accesses (loader and start-up), keeps the next
# TAKE, stops the program there, and packs what it kept into OUT with `pasidon trace import`.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

if [ $# -lt 5 ] || [ "$4" != -- ]; then die "usage: record-trace.sh SKIP TAKE OUT.trace.gz -- COMMAND..."; fi
skip=$1 take=$2 out=$3
shift 4
command -v "$1" >/dev/null || die "no such program: $1"
need_target
mkdir -p "$(dirname "$out")"
build_pasidon
scratch=$(mktemp -d "$TARGET/trace.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# A program under lackey runs about a hundred times slower, and some outlive the end of the pipe (xz catches SIGPIPE):
# so valgrind is stopped by its own process id as soon as the window is full.
window() {
    mkfifo "$scratch/pipe"
    valgrind --tool=lackey --trace-mem=yes --log-file="$scratch/pipe" "$@" >/dev/null 2>&1 </dev/null &
    local pid=$!
    mawk -v skip="$skip" -v take="$take" '
        /^ [LSM] / { if (n++ >= skip) print; if (n >= skip + take) exit }' <"$scratch/pipe" >"$scratch/window"
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" || true
}
step "record $take data accesses after the first $skip of: $(basename "$1")" window "$@"
got=$(wc -l <"$scratch/window")
[ "$got" -gt 0 ] || die "$1 ended before its data access number $skip; use a smaller SKIP"
[ "$got" = "$take" ] || note "$1 ended early: $got accesses recorded"
"$PASIDON" trace import "$scratch/window" --format lackey --out "$out" --source "$(basename "$1") ${*:2}"
