#!/usr/bin/env bash
# docs.sh   Writes what is generated of the book, and the API documentation.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_target
need_cargo
cd "$ROOT"
cargo run --quiet -p pasidon-spec --example register_reference >"$TARGET/registers.md"
mv "$TARGET/registers.md" docs/registers.md
note "docs/registers.md"
cargo run --quiet --release -p pasidon-experiment --example workload_reference
note "docs/workloads.md"
cargo run --quiet --release -p pasidon-tests --example timing
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps
note "$TARGET/doc/pasidon_driver/index.html and its neighbours"
