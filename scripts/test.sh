#!/usr/bin/env bash
# test.sh   Everything that must hold: unit tests, co-simulation, a share of lockstep, lint of the emitted Verilog.
# SCHEDULES: how many interleavings of its threads each test of the driver's races explores, of each of two kinds (100);
# SEED: which ones (1), and what tests with random operations repeat.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/scripts/setup.sh" core
"$ROOT/scripts/setup.sh" lint
# Where a system has no browser to install, its test alone fails, and says so.
"$ROOT/scripts/setup.sh" browser || note "no browser: the test of the report in one will fail"
need_cargo
cd "$ROOT"
mkdir -p "$TARGET/log"
log=$TARGET/log/test.log
: >"$log"
status=0
start=$SECONDS

# The crates that a board runs, with overflow checks and debug assertions; then everything, optimised, because that is
# what makes co-simulation fast.
say "Tests: spec and driver, checked build"
cargo test --no-fail-fast -p pasidon-spec -p pasidon-driver 2>&1 | tee -a "$log" || status=1
say "Tests: whole workspace, optimised build"
cargo test --no-fail-fast --workspace --release 2>&1 | tee -a "$log" || status=1
say "Tests: results of sweeps as Parquet, a feature of the build"
cargo test --release -p pasidon-study --features parquet --test sweep parquet 2>&1 | tee -a "$log" || status=1
"$ROOT/scripts/lint.sh" 2>&1 | tee -a "$log" || status=1

# What failed, by name; and one line for all of it, from the closing line of each test program.
awk '/^     Running |^   Doc-tests / { program = $0 } /^test .*FAILED$/ { print program ": " $2 }' "$log" | sed 's/^ */failed: /'
awk -v seconds=$((SECONDS - start)) -v status=$status '
    /^test result:/ { passed += $4; failed += $6; ignored += $8 }
    /^Verilog checks:/ { passed += $3; failed += $5 }
    END {
        if (status && !failed) failed = 1 # something did not even build
        printf "\n%d s; ignored: %d\n%d passed, %d failed\n", seconds, ignored, passed, failed
    }' "$log"
exit $status
