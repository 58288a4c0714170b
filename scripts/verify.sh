#!/usr/bin/env bash
# verify.sh [lockstep] [stress] [mutation] [coverage]   The long verification, all of it unless parts are named; its tables are kept in
# docs/verification.md. SHARE: percent of the operations and of the hour of stress; MUTANTS: single faults; JOBS: how many run at once.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/scripts/setup.sh" core
need_cargo
cd "$ROOT"
SHARE=${SHARE:-100}
MUTANTS=${MUTANTS:-120}
JOBS=${JOBS:-$(nproc)}
parts=("$@")
[ $# -gt 0 ] || parts=(lockstep stress mutation coverage)
out=$TARGET/verify
mkdir -p "$out"

# Design, memory latency in cycles, seed, millions of operations: as many as take each some minutes.
RUNS='tiny 1 11 12
default 20 13 8
narrow 2 23 8
small32 3 19 8
swapped 4 22 5
updates 5 20 4
guests 30 18 3
full 8 15 3
messages 12 21 2
messages 7 26 1.5
full 5 29 1
odd 60 17 1.5
wide 40 24 1
large 100 14 0.5
full 200 16 0.25
tiny 200 12 0.25'

# shellcheck disable=SC2317  # one_run calls it
file_of() { if [ -f "tests/designs/$1.toml" ]; then echo "tests/designs/$1.toml"; else echo "$1"; fi; }

# shellcheck disable=SC2317  # xargs calls it
one_run() {
    read -r design latency seed millions <<<"$1"
    local name=$design-$latency-$seed ops
    ops=$(awk -v share="$SHARE" -v millions="$millions" 'BEGIN { printf "%d", share / 100 * millions * 1000000 }')
    "$PASIDON" lockstep --design "$(file_of "$design")" --latency "$latency" --seed "$seed" --ops "$ops" \
        --json "$out/$name.json" --out "$out/$name-failure" >"$out/$name.log" 2>&1 ||
        { tail -n 5 "$out/$name.log" >&2; return 1; }
    note "$design, latency $latency, seed $seed: no difference in $ops operations"
}

step "Build the simulator" cargo build --release -p pasidon
status=0
for part in "${parts[@]}"; do
    case $part in
    lockstep)
        rm -f "$out"/*-*-*.json
        say "Lockstep: $(wc -l <<<"$RUNS") runs, $JOBS at once"
        export -f one_run file_of note
        export PASIDON SHARE out
        # shellcheck disable=SC2016  # the inner shell expands it
        xargs -P "$JOBS" -d '\n' -I{} bash -c 'one_run "$1"' _ {} <<<"$RUNS" || status=1
        scripts/verification.py lockstep "$out"/*-*-*.json | scripts/fpga_report.py keep docs/verification.md lockstep
        ;;
    stress)
        seconds=$((36 * SHARE))
        say "Stress: $seconds s on full"
        "$PASIDON" stress --design full --seconds "$seconds" --seed 1 --json "$out/stress.json" || status=1
        scripts/verification.py stress "$out/stress.json" | scripts/fpga_report.py keep docs/verification.md stress
        ;;
    mutation)
        for design in tiny full; do
            say "Mutation: $MUTANTS single faults in the Verilog of $design"
            "$PASIDON" mutate --design "$design" --count "$MUTANTS" --jobs "$JOBS" --latency 3 --ops 30000 \
                --equivalent tests/mutants.toml --json "$out/mutants-$design.json" || status=1
        done
        scripts/verification.py mutation "$out"/mutants-*.json | scripts/fpga_report.py keep docs/verification.md mutation
        ;;
    coverage)
        say "Coverage: lines and toggles of the Verilog of full"
        "$PASIDON" coverage --design full --json "$out/coverage.json" || status=1
        scripts/verification.py coverage "$out/coverage.json" | scripts/fpga_report.py keep docs/verification.md coverage
        ;;
    *) die "no part '$part'; there are lockstep, stress, mutation, coverage" ;;
    esac
done
exit $status
