#!/bin/sh
# --tune: what is remembered is used without an option, and can be left out.
. tests/cli/lib.sh

export TENON_CACHE="$work/cache"
expect 0 "$tenon" run "$digits" -i "$images" -o "$work/before"
expect 0 "$tenon" bench "$digits" --tune=0.1 --steady -r 5 --threads 1 --json
err_has "tuning: "
json "x['latency_ms']['min'] > 0"
expect 0 "$tenon" run "$digits" -i "$images" -o "$work/after"
expect 0 "$tenon" run "$digits" -i "$images" -o "$work/again"
expect 0 "$tenon" run "$digits" -i "$images" -o "$work/without" --no-tuned
output=$(basename "$(ls "$work"/before/*.npy | head -n 1)")
same "$work/before/$output" "$work/after/$output" 1e-4
same "$work/after/$output" "$work/again/$output" 0
same "$work/before/$output" "$work/without/$output" 0

expect 0 "$tenon" inspect "$digits" --json
json "x['tuned_piece'] is None or x['tuned_piece'] in (-1, 1)"
expect 0 "$tenon" run "$digits" -i "$images" --tune 0.1 -q
nothing_on err
expect 0 "$tenon" compile "$digits" --tune=0.1 -o "$work/model.tn"
expect 0 "$tenon" run "$work/model.tn" -i "$images" -o "$work/file"
same "$work/before/$output" "$work/file/$output" 1e-4

expect 1 "$tenon" run "$work/model.tn" -i "$images" --tune=0.1
err_has "a program file cannot be tuned"
expect 2 "$tenon" run "$digits" -i "$images" --tune=0.1 --no-cache
err_has "--tune does not go with --no-cache"
expect 2 "$tenon" run "$digits" -i "$images" --tune=a
expect 2 "$tenon" inspect "$digits" --tune=1
