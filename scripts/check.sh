#!/usr/bin/env bash
# check.sh   Formatting, clippy and rustdoc of the whole workspace, and shellcheck where it is installed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_cargo
cd "$ROOT"
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
cargo clippy -p pasidon -p pasidon-study --features parquet --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
! command -v shellcheck >/dev/null || shellcheck -x scripts/*.sh .ci/run
