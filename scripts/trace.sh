#!/usr/bin/env bash
# trace.sh "PROGRAM ARGS..." NAME SKIP TAKE   Behind `make trace PROG=...`: records any program into target/traces.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
prog=${1-} name=${2-} skip=${3:-100000} take=${4:-300000}
[ -n "$prog" ] || die 'say what to trace: make trace PROG="gzip -9 -c /etc/services" [NAME=n] [TRACE_SKIP=100000] [TRACE_TAKE=300000]'
"$ROOT/scripts/setup.sh" core
"$ROOT/scripts/setup.sh" trace
build_pasidon
# The caller's own command line, quotes and all.
eval "set -- $prog"
name=${name:-$(basename "$1")}
out=$TARGET/traces/$name.trace.gz
"$ROOT/scripts/record-trace.sh" "$skip" "$take" "$out" -- "$@"
"$PASIDON" trace info "$out"
say "Replay it: pasidon run --trace $out"
