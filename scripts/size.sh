#!/usr/bin/env bash
# What the driver for C takes where there is no operating system: the static library, built for that, and what of it lands in
# capi/examples/bare.c, which is linked with nothing else.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

cd "$ROOT"
cargo rustc --quiet --package pasidon-capi --lib --no-default-features --profile bare --crate-type staticlib
library=$TARGET/bare/libpasidon_capi.a
[ -f "$library" ] || die "$library was not built: see the messages of cargo above"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags=(-std=gnu11 -Os -ffreestanding -fno-stack-protector -fno-pic -I capi/include)
"${CC:-cc}" "${flags[@]}" -c -o "$work/bare.o" capi/examples/bare.c
"${CC:-cc}" -nostdlib -static -Wl,--gc-sections,--no-undefined -o "$work/bare" "$work/bare.o" "$library"

# sizes FILE: text, data and bss in bytes.
sizes() { size "$1" | awk 'NR == 2 { print $1, $2, $3 }'; }
read -r text data bss < <(sizes "$work/bare")
read -r own_text own_data own_bss < <(sizes "$work/bare.o")

row() { printf '%-28s %9s %7s %7s\n' "$@"; }
printf 'libpasidon_capi.a (%s): %d bytes\n' "$("${CC:-cc}" -dumpmachine)" "$(stat -c %s "$library")"
row '' text data bss
row 'linked program' "$text" "$data" "$bss"
row 'the program itself' "$own_text" "$own_data" "$own_bss"
row 'the library in it' $((text - own_text)) $((data - own_data)) $((bss - own_bss))
