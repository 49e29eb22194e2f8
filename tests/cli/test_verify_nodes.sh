#!/bin/sh
# tenon verify --per-node: a compiler that errs makes kernels that depart, and the node is named.
. tests/cli/lib.sh

folder=$work/gelu
set=$folder/test_data_set_0
mkdir -p "$set" "$folder/test_data_set_1"
python3 tests/cli/onnx_models.py mlp-gelu 1 "$folder/model.onnx"
python3 - "$set/input_0.npy" "$folder/test_data_set_1/input_0.npy" <<'PYTHON'
import random, struct, sys
for rows, path in zip((4, 7), sys.argv[1:]):
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 64), }" % rows
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    data = [random.Random(rows).gauss(0, 1) for _ in range(rows * 64)]
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
        file.write(struct.pack(f"<{len(data)}f", *data))
PYTHON
for at in "$set" "$folder/test_data_set_1"; do
    expect 0 "$tenon" run "$folder/model.onnx" -i "$at/input_0.npy" -o "$work"
    mv "$work/fc2.y.npy" "$at/output_0.npy"
done
expect 0 "$tenon" verify --json --per-node "$folder"
json "x['ok'] and x['data_sets'] == 2 and x['max_ulp'] == 0"

# compiler NAME PATTERN: a compiler that takes 1/√2, which only Gelu has, for another number where the
# kernels' text passes the test.
compiler() {
    {
        echo '#!/bin/sh'
        echo 'for at; do case $at in *.c)'
        echo "    if $2; then sed -i 's/0[.]7071067[0-9]*f/0.75f/g' \"\$at\"; fi ;;"
        echo 'esac; done'
        echo "exec $cc \"\$@\""
    } >"$work/$1"
    chmod +x "$work/$1"
}
compiler always true
compiler fused 'grep -q "dot + add + mul" "$at" && ! grep -q " out_1 =" "$at"'

# Wherever it is computed.
expect 1 env CC="$work/always" "$tenon" verify --per-node "$folder"
out_has "FAIL  gelu"
out_has "node 'act1' (Gelu), output 'act1.y' (f32[4,128]), departs first: element [0,0]: expected "
out_has ", largest error 0.00245"
out_has "; with passes off, too"
expect 1 env CC="$work/always" "$tenon" verify --json --no-opt --per-node "$folder"
json "x['stage'] == 'compare' and \"node 'act1' (Gelu)\" in x['reason'] and 'passes' not in x['reason']"

# Only in a kernel that has no other result: with each value as an output there is none.
expect 1 env CC="$work/fused" "$tenon" verify --per-node "$folder"
out_has "node 'act1' (Gelu), output 'act1.y' (f32[4,128]), departs first: element [0,0]: expected "
out_has "; only where other nodes' values are fused away"
expect 0 env CC="$work/fused" "$tenon" verify --no-opt --per-node "$folder"
