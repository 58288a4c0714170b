#!/usr/bin/env bash
# slurm.sh [SWEEP.toml]   Runs a sweep through a real Slurm of one node on this machine, and here without it, and compares the merged
# results byte by byte. Slurm's state, spool and logs lie in a folder of their own; its daemons end with the script. Needs root.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || die "Slurm's daemons run as root here: run this as root"
"$ROOT/scripts/setup.sh" core
"$ROOT/scripts/setup.sh" slurm
build_pasidon
cd "$ROOT"
sweep=$(realpath "${1:-tests/sweeps/small.toml}")
work=$TARGET/slurm
rm -rf "$work"
mkdir -p "$work"/{state,spool,log,munge}

cat >"$work/slurm.conf" <<CONF
ClusterName=pasidon
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldLogFile=$work/log/slurmctld.log
SlurmdLogFile=$work/log/slurmd.log
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$(nproc)
PartitionName=test Nodes=ALL Default=YES MaxTime=1:00:00 State=UP
CONF
export SLURM_CONF=$work/slurm.conf

# shellcheck disable=SC2317  # the trap calls it
stop_slurm() {
    for name in slurmd slurmctld munged; do
        [ -e "$work/$name.pid" ] && kill "$(cat "$work/$name.pid")" 2>/dev/null
    done
    true
}
trap stop_slurm EXIT

# Munge refuses folders that others may write, so its log and key lie where only root does.
head -c 128 /dev/urandom >"$work/munge/key"
chmod 400 "$work/munge/key"
chmod 755 "$work/munge"
step "start munge" munged --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munged.pid" \
    --log-file="$work/munge/log" --seed-file="$work/munge/seed"
step "start slurmctld" slurmctld -f "$SLURM_CONF"
step "start slurmd" slurmd -f "$SLURM_CONF" -N localhost
up() { sinfo --noheader --format=%T 2>/dev/null | grep -q '^idle$'; }
for _ in $(seq 60); do
    up && break
    sleep 1
done
up || die "the node did not come up within 60 s; see $work/log"

"$PASIDON" sweep run "$sweep" --out "$work/here" --quiet
step "submit, run and merge" "$PASIDON" sweep slurm "$sweep" --out "$work/there" --tasks 8 --at-once 2 --wait
for name in results.jsonl results.csv; do
    cmp "$work/here/$name" "$work/there/$name" || die "$name is not the same with and without Slurm"
done
note "merged results are byte for byte the same ($(wc -l <"$work/here/results.jsonl") points)"

# One share is lost: only its task is submitted again.
lost=$(find "$work/there" -name 'points-3-of-8.jsonl')
[ -n "$lost" ] || die "there is no third share"
rm "$lost"
told=$("$PASIDON" sweep slurm "$sweep" --out "$work/there" --tasks 8 --at-once 2 --wait)
grep -q ' in 1 tasks' <<<"$told" || die "more than the lost share was submitted: $told"
cmp "$work/here/results.jsonl" "$work/there/results.jsonl" || die "the results differ after the lost share was run again"
note "a lost share was run again, alone"

# A task that fails is seen in the code of the command.
if "$PASIDON" sweep slurm tests/sweeps/failing.toml --out "$work/failing" --tasks 2 --wait >"$work/failing.log" 2>&1; then
    die "a sweep with a point that fails ended with code 0"
fi
note "a point that fails is told by the code"
