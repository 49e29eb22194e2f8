#!/bin/sh
# When an allocation fails, the command says so and leaves no half-written file, whichever it is: some of
# them, or all with TENON_EVERY_ALLOCATION set.
. tests/cli/lib.sh

preload=$work/failing_malloc.so
"$cc" -shared -fPIC -O1 -o "$preload" tests/cli/failing_malloc.c || exit 77

# survives FILE COMMAND…: what it writes is FILE, which is compared with that of a run with all memory.
survives() {
    file=$1
    shift
    expect 0 "$@"
    [ ! -f "$file" ] || mv "$file" "$work/whole"
    TENON_COUNT_TO=$work/count LD_PRELOAD=$preload expect 0 "$@"
    count=$(cat "$work/count")
    [ "$count" -gt 50 ] || die "$* makes $count allocations"
    step=$((count / 7 + 1))
    [ -z "${TENON_EVERY_ALLOCATION:-}" ] || step=1
    at=0
    while [ "$at" -lt "$count" ]; do
        rm -f "$file"
        status=0
        TENON_FAIL_AT=$at LD_PRELOAD=$preload "$@" >"$work/out" 2>"$work/err" || status=$?
        [ "$status" -le 1 ] || die "allocation $at fails: $* gave status $status: $(cat "$work/err")"
        [ "$status" = 0 ] || grep -qi "memory" "$work/err" ||
            die "allocation $at fails: $* says $(cat "$work/err")"
        [ ! -f "$file" ] || [ "${file##*.}" = tn ] || cmp "$file" "$work/whole" ||
            die "allocation $at fails: $file is another one"
        [ ! -f "$file" ] || [ "${file##*.}" != tn ] || "$tenon" run "$file" -i "$images" \
            --interpret >/dev/null || die "allocation $at fails: $file does not load"
        at=$((at + step))
    done
    rm -f "$file"
}

survives "$work/logits.npy" "$tenon" run "$digits" -i "$images" --threads=1 --interpret -o "$work"
survives "$work/digits.tn" "$tenon" compile "$digits" -o "$work/digits.tn" --no-cache
survives "$work/none" "$tenon" inspect "$digits" --json
