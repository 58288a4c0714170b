#!/usr/bin/env bash
# shipped-traces.sh [NAME...]   Records the traces of traces/ anew, or those that are named. Their inputs are generated here, so that the same program versions give the same traces.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_target
work=$TARGET/traces
mkdir -p "$work"
cd "$work" # file names in the recorded command lines stay short
export LC_ALL=C
take=300000

# lines N: N lines of text with a Lehmer generator's numbers in them (exact in awk's doubles).
lines() {
    mawk -v n="$1" 'BEGIN {
        s = 20241
        for (i = 0; i < n; i++) {
            s = (s * 16807) % 2147483647; a = s
            s = (s * 16807) % 2147483647
            printf "%08x entry %d of the ledger: owner %d pays %d.%02d\n", a, i, s % 977, s % 5003, s % 100
        }
    }'
}

lines 15000 >ledger.txt
lines 3000 | mawk '
    BEGIN {
        print "create table ledger(id integer primary key, key text, owner int, amount int, note text);"
        print "begin;"
    }
    { printf "insert into ledger values(%d, \047%s\047, %d, %d, \047%s %s %s %s\047);\n", NR, $1, $8, $10, $0, $0, $0, $0 }
    END { print "commit; create index by_key on ledger(key);" }' >ledger.sql
rm -f ledger.db
sqlite3 -batch ledger.db <ledger.sql
join='select sum(b.amount), max(b.note) from ledger a join ledger b on b.id = 1 + (a.id * 7919) % 3000'

lines 30000 | mawk '
    BEGIN {
        print "create table ledger(id integer primary key, key text, owner int, amount int, note text);"
        print "begin;"
    }
    { printf "insert into ledger values(%d, \047%s\047, %d, %d, \047%s %s %s %s\047);\n", NR, $1, $8, $10, $0, $0, $0, $0 }
    END { print "commit;" }' >big.sql
rm -f big.db
sqlite3 -batch big.db <big.sql
# The file is mapped, so that its pages are the program's.
scan="pragma mmap_size=100000000; ${join//3000/30000}"

# Two seconds of sound: three tones that drift, and noise, as 16-bit stereo.
mawk 'BEGIN {
    s = 20241
    for (i = 0; i < 88200; i++)
        for (c = 0; c < 2; c++) {
            s = (s * 16807) % 2147483647
            v = 9000 * sin(i / (20 + c)) + 6000 * sin(i * i / 4e6) + 3000 * sin(i / 7.1) + s % 400
            v = int(v) % 65536; if (v < 0) v += 65536
            printf "%c%c", v % 256, int(v / 256)
        }
}' >sound.raw
sound="--force-raw-format --endian=little --channels=2 --bps=16 --sample-rate=44100 --sign=signed"

# One thread, and the code that valgrind's processor can run.
export OPENBLAS_NUM_THREADS=1
cc -O2 -o dgemm "$ROOT/scripts/dgemm.c" -l:libopenblas.so.0

# Without names all are recorded.
wanted=("$@")
record() {
    local name=$1 skip=$2
    shift 2
    if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return 0; fi
    "$ROOT/scripts/record-trace.sh" "$skip" "$take" "$ROOT/traces/$name.trace.gz" -- "$@"
}
# The windows: sort's last merge, gzip in steady state, sqlite's join by scattered keys on a file, xz in its match finder.
record sort 7200000 sort --parallel=1 ledger.txt
record gzip 4000000 gzip -9 -c ledger.txt
record sqlite 1000000 sqlite3 -batch ledger.db "$join"
record xz 12000000 xz -6 -T1 -c ledger.txt
# dgemm in its blocked inner loops, a codec in its predictors, zstd in its match finder, sqlite anywhere in a mapped file.
record dgemm 10000000 ./dgemm 512
# shellcheck disable=SC2086
record flac 4000000 flac --silent --stdout -8 $sound sound.raw
record zstd 15000000 zstd -9 --single-thread -c ledger.txt
record sqlite-big 1000000 sqlite3 -batch big.db "$scan"
