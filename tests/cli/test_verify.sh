#!/bin/sh
# tenon verify: a good folder, a wrong one, a broken one.
. tests/cli/lib.sh

expect 0 "$tenon" run "$digits" -i "$images" -o "$work"
folder() { # NAME [FACTOR]
    mkdir -p "$work/$1/test_data_set_0"
    cp "$digits" "$work/$1/model.onnx"
    python3 tests/cli/tensor_pb.py "$images" "$work/$1/test_data_set_0/input_0.pb" image
    python3 tests/cli/tensor_pb.py "$work/logits.npy" "$work/$1/test_data_set_0/output_0.pb" \
        logits ${2+"$2"}
}
folder good
folder wrong 1.5
folder near 1.0001
mkdir -p "$work/broken/test_data_set_0"
head -c 4000 "$digits" >"$work/broken/model.onnx"

expect 0 "$tenon" verify "$work/good"
out_has "ok    good"
out_has "max 0 ULP"
expect 1 "$tenon" verify "$work/good" "$work/wrong" "$work/broken" "$work/nothing"
out_has "FAIL  wrong"
out_has "output 'logits' element [0,3]: expected"
out_has "(1 of 160 differ"
out_has "1 passed, 3 failed"

expect 1 "$tenon" verify --json "$work/good" "$work/wrong" "$work/broken"
json "len(x) == 3 and all(r['schema'] == 'tenon.verify/1' for r in x)"
json "[r['ok'] for r in x] == [True, False, False] and [r['name'] for r in x] == ['good', 'wrong', 'broken']"
json "x[0]['max_ulp'] == 0 and x[0]['reason'] is None and 'Conv' in x[0]['ops'] and x[0]['data_sets'] == 1"
json "'logits' in x[1]['reason'] and x[1]['max_ulp'] > 1000 and x[2]['stage'] == 'model'"

# Tolerances: of the command line, of data.json.
expect 0 "$tenon" verify "$work/near"
expect 1 "$tenon" verify --rtol=1e-6 "$work/near"
expect 1 "$tenon" verify --max-ulp=10 "$work/near"
expect 0 "$tenon" verify --rtol=1 "$work/wrong"
echo '{"rtol": 1e-6}' >"$work/near/data.json"
expect 1 "$tenon" verify "$work/near"
expect 0 "$tenon" verify --rtol=1e-3 "$work/near"

for way in --no-opt --interpret --no-cache --per-node; do
    expect 0 "$tenon" verify "$work/good" $way
done
