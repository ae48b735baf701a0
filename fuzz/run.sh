#!/bin/sh
# Runs every fuzz target, or those that are named, for SECONDS each, one after the other.
#
#   fuzz/run.sh SECONDS [TARGET...]
#
# Needs a nightly compiler and cargo-fuzz (cargo install cargo-fuzz). What it learns is
# kept in fuzz/corpus; an input that breaks something is put into fuzz/artifacts/TARGET
# and ends the run with an error.
set -eu

seconds=${1:?"usage: fuzz/run.sh SECONDS [TARGET...]"}
shift
case $seconds in *[!0-9]* | '') echo "SECONDS is a number, not '$seconds'" >&2 && exit 2 ;; esac
cd "$(dirname "$0")/.."
cargo +nightly fuzz --version >/dev/null 2>&1 || {
    echo "cargo-fuzz or a nightly compiler is missing: rustup toolchain install nightly; cargo install cargo-fuzz" >&2
    exit 1
}
[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list)

# Without a sanitizer: but for system calls all of it is safe Rust, and what the NSS
# module writes into a caller's buffer its target looks at byte by byte. So it is five
# times as many executions in the same time.
cargo +nightly fuzz build --sanitizer none
for target; do
    echo "== $target: $seconds s"
    mkdir -p "fuzz/corpus/$target"
    seeds=fuzz/seeds/$target
    [ -d "$seeds" ] || seeds=
    cargo +nightly fuzz run --sanitizer none "$target" "fuzz/corpus/$target" ${seeds:+"$seeds"} -- \
        -max_total_time="$seconds" -max_len=2048 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0
done
