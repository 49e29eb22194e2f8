#!/bin/sh
# Runs the fuzz targets that `make fuzz` built, one after the other:
#   scripts/fuzz.sh SECONDS_EACH [NAME…]      (no names: all)
# Seeds come from tests/fuzz/corpus/NAME; what is found grows in build/fuzz/corpus/NAME, the log is
# build/fuzz/NAME.log, and crashes lie in build/fuzz/crash-NAME-*. The table on standard output counts
# processor time, for machines that do other things, too.
set -eu
cd "$(dirname "$0")/.."

seconds=$1
shift
[ $# -gt 0 ] || set -- $(cd tests/fuzz && ls ./*.c | sed 's|^\./||; s|\.c$||')

# The last number behind a word of the log.
number() {
    sed -n "s/.*$2[: ]*\([0-9][0-9]*\).*/\1/p" "$1" | tail -n 1
}

failed=
echo "revision $(git rev-parse --short HEAD)"
printf '%-12s %8s %8s %12s %8s %8s  %s\n' target wall_s cpu_s executions edges inputs result
for name in "$@"; do
    target=build/fuzz/fuzz_$name log=build/fuzz/$name.log corpus=build/fuzz/corpus/$name
    [ -x "$target" ] || {
        echo "fuzz: no $target" >&2
        failed="$failed $name"
        continue
    }
    seeds=tests/fuzz/corpus/$name dictionary=tests/fuzz/$name.dict
    mkdir -p "$corpus"
    [ -d "$seeds" ] || seeds=
    [ -f "$dictionary" ] && dictionary=-dict=$dictionary || dictionary=
    result=clean begin=$(date +%s)
    # shellcheck disable=SC2086 # no seeds, no word
    sh -c '"$@"; code=$?; times; exit $code' fuzz "$target" -max_total_time="$seconds" -timeout=25 \
        -rss_limit_mb=2560 -max_len=65536 -print_final_stats=1 $dictionary \
        -artifact_prefix="build/fuzz/crash-$name-" "$corpus" $seeds >"$log.times" 2>"$log" || {
        result=failed
        failed="$failed $name"
    }
    cpu=$(tail -n 1 "$log.times" | tr 'ms' '  ' | awk '{ printf "%d", 60 * $1 + $2 + 60 * $3 + $4 }')
    printf '%-12s %8d %8d %12s %8s %8s  %s\n' "$name" $(($(date +%s) - begin)) "$cpu" \
        "$(number "$log" stat::number_of_executed_units)" "$(number "$log" 'cov')" \
        "$(ls "$corpus" | wc -l)" "$result"
done
if [ -n "$failed" ]; then
    echo "fuzz: failed:$failed; see build/fuzz/*.log" >&2
    exit 1
fi
