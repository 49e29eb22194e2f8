#!/bin/sh
# tenon wide: members beside their models alone, layouts, files of weights, extraction.
. tests/cli/lib.sh

# What is compiled is checked by its results, with few of the compiler's passes.
export TENON_QUICK_CC="$cc" CC="$PWD/tests/unit/wide/quick_cc.sh"

make_model() { python3 tests/cli/onnx_models.py "$@"; }
for kind in mlp deep_mlp resblock convnet two; do make_model "$kind" 1 "$work/$kind.onnx"; done
# rows A B…: the .npy files B… are the first members of A.
rows() {
    python3 - "$@" <<'PYTHON' || die "a member differs"
import ast, struct, sys
def load(path):
    data = open(path, "rb").read()
    size = struct.unpack("<H", data[8:10])[0]
    shape = ast.literal_eval(data[10:10 + size].decode())["shape"]
    body = data[10 + size:]
    return shape, struct.unpack(f"<{len(body) // 4}f", body)
shape, all = load(sys.argv[1])
assert shape[0] >= len(sys.argv) - 2, shape
for i, path in enumerate(sys.argv[2:]):
    one, x = load(path)
    assert one == shape[1:], (one, shape)
    y = all[i * len(x):][:len(x)]
    off = max(abs(a - b) for a, b in zip(x, y)) / max(map(abs, x))
    assert off <= 1e-5, (path, off)
PYTHON
}

# Every member of every N equals its model alone.
for kind in mlp deep_mlp resblock convnet; do
    n=1,2,7
    [ "$kind" != mlp ] || n=1,2,3,7,20,100
    expect 0 "$tenon" wide bench "$work/$kind.onnx" --n $n --dim batch=8 -r 1 --warmup 1 --json
    json "[y['n'] for y in x] == [$n] and all(y['valid'] is True for y in x)"
    json "all(y['schema'] == 'tenon.wide.bench/1' and y['max_rel_diff'] <= 1e-5 for y in x)"
    json "all(y['wide_ms'] > 0 and y['loop_ms'] > 0 and y['gain'] > 0 for y in x)"
done
expect 0 "$tenon" wide bench "$digits" --n 1,7 --dim N=8 -r 2 --json -o "$work/bench.json"
json "[y['n'] for y in x] == [1, 7] and all(y['valid'] and y['groups'] == 1 for y in x)"
json "all(y['own_weights'] == 20602 and y['shared_weights'] == 0 and sum(y['strategies'].values()) >= 4 for y in x)"
cmp -s "$work/out" "$work/bench.json" || die "-o has other lines"
expect 0 "$tenon" wide bench "$work/two.onnx" --n 3 --packed --shared=context -r 1
out_has "µs/member"

# Seeds: members that are extracted, run alone, are the rows. The file is the original but for its weights.
expect 0 "$tenon" wide run "$digits" --n 20 -i "$images" --shared -o "$work/digits"
for i in 0 1 2; do
    expect 0 "$tenon" wide extract "$digits" --n 20 --member $i -o "$work/digits$i.onnx"
    nothing_on out
    expect 0 "$tenon" run "$work/digits$i.onnx" -i "$images" -o "$work/digits$i"
done
rows "$work/digits/logits.npy" "$work/digits0/logits.npy" "$work/digits1/logits.npy" "$work/digits2/logits.npy"
cmp -s "$work/digits0.onnx" "$work/digits1.onnx" && die "two seeds give the same weights"
[ "$(wc -c <"$work/digits0.onnx")" = "$(wc -c <"$digits")" ] || die "the file has another size"

# Files of weights, and several models: members extracted are the models, bit for bit.
for i in 1 2 3; do
    make_model mlp $i "$work/m$i.onnx" "$work/m$i.npz"
    make_model mlp $i "$work/m$i.onnx" "$work/m$i.safetensors"
done
expect 0 "$tenon" wide run "$work/m1.onnx" "$work/m2.onnx" "$work/m3.onnx" --random=5 --dim batch=4 -o "$work/models"
expect 0 "$tenon" wide run "$work/mlp.onnx" --weights "$work/m1.npz" "$work/m2.safetensors" "$work/m3.npz" \
    --random=5 --dim batch=4 -o "$work/files"
same "$work/models/fc2.y.npy" "$work/files/fc2.y.npy" 0
expect 0 "$tenon" wide extract "$work/mlp.onnx" -w "$work/m1.npz" -w "$work/m3.safetensors" -m 1 -o "$work/x.onnx"
cmp "$work/x.onnx" "$work/m3.onnx" || die "the member is not the model"
expect 0 "$tenon" wide extract "$work/m1.onnx" "$work/m2.onnx" --member 1 -o "$work/x.onnx" --json
json "x['schema'] == 'tenon.wide.extract/1' and x['member'] == 1"
cmp "$work/x.onnx" "$work/m2.onnx" || die "the member is not the model"

# Summaries.
expect 0 "$tenon" wide run "$digits" --n 20 -i "$images" --shared --json
json "x['schema'] == 'tenon.wide.run/1' and x['n'] == 20 and x['groups'] == 1"
json "x['outputs'][0]['shape'] == [20, 16, 10] and len(x['outputs'][0]['members']) == 20"
json "0 < x['outputs'][0]['ensemble']['mean_deviation'] < x['outputs'][0]['ensemble']['greatest_deviation'] < 1"
json "abs(sum(m['first'][0] for m in x['outputs'][0]['members']) / 20 - x['outputs'][0]['ensemble']['mean'][0]) < 1e-6"
expect 0 "$tenon" wide run "$digits" --n 20 -i "$images" --shared
out_has "12 more members; -v shows them"
out_has "ensemble"
expect 0 "$tenon" wide run "$work/two.onnx" --n 4 --packed --shared=context --random --json
json "[o['shape'] for o in x['outputs']] == [[1, 32], [1, 32]]"

expect 0 "$tenon" wide run "$digits" --n 2 --random --dim N=0
out_has "no elements"

# Members side by side along an axis that is open: its size follows from the inputs, or is made up.
make_model open 1 "$work/open.onnx"
expect 0 "$tenon" wide run "$work/open.onnx" --n 3 --packed --random --dim batch=2 --json
json "x['outputs'][0]['shape'] == [2, 3, 8]"
expect 0 "$tenon" wide bench "$work/open.onnx" --n 2 --packed -r 1 --json
json "x['valid']"
expect 0 "$tenon" wide inspect "$work/open.onnx" --n 1 --random
out_has "program     its model's own, with nothing to batch"
out_has "product  MatMul     alone"

# Monte Carlo dropout: one model, one set of weights, a mask for each member, which is that of its loop.
make_model dropout 1 "$work/dropout.onnx"
expect 0 "$tenon" wide run "$work/dropout.onnx" --n 50 --same-weights --shared --random --dim batch=3 --json
json "x['outputs'][0]['shape'] == [50, 3, 4] and x['outputs'][0]['ensemble']['mean_deviation'] > 0.01"
json "len({tuple(m['first']) for m in x['outputs'][0]['members']}) == 50"
expect 0 "$tenon" wide run "$work/dropout.onnx" --n 5 --same-weights --same-randoms --shared --random --json
json "x['outputs'][0]['ensemble']['greatest_deviation'] == 0"
expect 0 "$tenon" wide bench "$work/dropout.onnx" --n 1,5 --dim batch=3 -r 1 --json
json "all(y['valid'] and y['own_weights'] > 600 for y in x)"
expect 0 "$tenon" wide bench "$work/dropout.onnx" --n 5 --same-weights --dim batch=3 -r 1 --json
json "x['valid'] and x['own_weights'] == 0"

# What decides shapes is never each member's.
make_model shaped 1 "$work/shaped.onnx"
python3 - "$work/shape.npy" <<'PYTHON'
import struct, sys
head = "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }".ljust(117) + "\n"
open(sys.argv[1], "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + head.encode() + struct.pack("<2q", 2, 12))
PYTHON
expect 0 "$tenon" wide run "$work/shaped.onnx" --n 4 --dim batch=3 -i shape="$work/shape.npy" --random --json
json "x['outputs'][0]['shape'] == [4, 2, 12]"
expect 0 "$tenon" wide bench "$work/shaped.onnx" --n 1,4 --dim batch=3 -i shape="$work/shape.npy" -r 1 --json
json "[y['valid'] for y in x] == [True, True]"
expect 0 "$tenon" wide inspect "$work/shaped.onnx" --n 4 --dim batch=3 -i shape="$work/shape.npy"
out_has "weights     72 of each member, 0 that are equal in all"
out_has "fc    Gemm       batched"

# Members of another structure run as a group of their own, which is told.
make_model mlp-gelu 4 "$work/gelu.onnx"
expect 0 "$tenon" wide bench "$work/m1.onnx" "$work/gelu.onnx" "$work/m3.onnx" --dim batch=4 -r 1 --json
json "[(y['n'], y['groups'], y['valid']) for y in x] == [(1, 1, True), (3, 2, True)]"
err_has "2 groups of members differ in structure and run one after the other"
err_has "  member 1: node 'act1': Gelu instead of Relu"

expect 0 "$tenon" wide inspect "$work/m1.onnx" "$work/gelu.onnx" "$work/m3.onnx" --dim batch=4 --json
json "x['schema'] == 'tenon.wide.inspect/1' and x['n'] == 3 and [g['members'] for g in x['groups']] == [[0, 2], [1]]"
json "x['groups'][0]['difference'] is None and 'Gelu' in x['groups'][1]['difference']"

# What became of operations, and what to expect.
expect 0 "$tenon" wide inspect "$digits" --n 7 --dim N=8 --json --dot "$work/d.dot" --html "$work/d.html"
json "[n['op'] for n in x['groups'][0]['nodes'] if n['op'] in ('Conv', 'Gemm')] == ['Conv'] * 3 + ['Gemm']"
json "all(n['strategy'] in ('batched', 'loop') for n in x['groups'][0]['nodes'] if n['op'] in ('Conv', 'Gemm'))"
json "x['groups'][0]['own_weights'] == 20602 and x['groups'][0]['program']['parameters'] == 7 * 20602"
json "x['groups'][0]['bytes'] > 7 * 4 * 20602 and x['groups'][0]['program']['outputs'][0]['shape'] == [7, 8, 10]"
json "x['predicted']['loop_launches'] > x['predicted']['wide_launches'] > 0 and x['predicted']['gain'] > 1"
[ -s "$work/d.dot" ] && [ -s "$work/d.html" ] || die "no graph, or no page"
expect 0 "$tenon" wide inspect "$work/mlp.onnx" --n 5 --shared --groups
out_has "group 0     5 members: 0–4"
out_has "columns"
out_has "schedule"

# As for other verbs.
expect 0 "$tenon" wide run "$work/mlp.onnx" --n 2 --random --interpret --threads 1 --no-cache
expect 0 "$tenon" wide run "$work/mlp.onnx" --n 2 --random --dump-after=groups
err_has "---- after groups ----"
expect 0 "$tenon" wide run "$work/mlp.onnx" --n 2 --random --dim batch=8 --tune=0.1
err_has "tuning: "

# What memory does not hold is refused at once, however large, and is a row of a table.
for size in 300000000 30000000000; do
    expect 1 timeout 10 "$tenon" wide run "$work/mlp.onnx" --n 3 --random --dim batch=$size
    err_has "3 members take"
    err_has "not even one fits"
done
expect 0 timeout 10 "$tenon" wide bench "$work/mlp.onnx" --n 900000 --dim batch=30000 --json
json "x['wide_ms'] is None and '900000 members take' in x['refused']"
