#!/bin/sh
# Runs every fuzz target that `make fuzz` built:  scripts/fuzz.sh SECONDS_EACH
# Seeds come from tests/fuzz/corpus/NAME; what is found grows in build/fuzz/corpus/NAME and crashes
# lie in build/fuzz/crash-NAME-*.
set -eu
cd "$(dirname "$0")/.."

seconds=$1
failed=
for target in build/fuzz/fuzz_*; do
    [ -x "$target" ] || continue
    name=${target##*/fuzz_}
    corpus=build/fuzz/corpus/$name
    seeds=tests/fuzz/corpus/$name
    mkdir -p "$corpus"
    [ -d "$seeds" ] || seeds=
    echo "fuzz: $name for $seconds s" >&2
    # shellcheck disable=SC2086 # no seeds, no word
    "$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=65536 \
        -print_final_stats=1 -verbosity=0 -artifact_prefix="build/fuzz/crash-$name-" \
        "$corpus" $seeds || failed="$failed $name"
done
if [ -n "$failed" ]; then
    echo "fuzz: failed:$failed" >&2
    exit 1
fi
echo "fuzz: nothing found"
