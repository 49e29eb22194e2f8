#!/bin/sh
# Sequences and optionals as inputs and outputs, on the command line.
. tests/cli/lib.sh

model=$work/model/model.onnx data=$work/model/test_data_set_0
mkdir -p "$data"
python3 tests/cli/onnx_models.py compounds 0 "$model"
python3 - "$work" <<'PYTHON'
import struct, sys, zipfile

sys.path.insert(0, "tests/cli")
from onnx_models import field, number

work = sys.argv[1]
rows = {"a": [[1.0, 2.0]], "b": [[3.0, 4.0], [5.0, 6.0]], "c": [[7.0, 8.0]], "bias": [0.5, 0.25]}


def npy(value):
    shape = (len(value), 2) if isinstance(value[0], list) else (2,)
    flat = [x for row in value for x in row] if isinstance(value[0], list) else value
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    body = struct.pack(f"<{len(flat)}f", *flat)
    return shape, body, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body


def proto(name, label=""):
    shape, body, _ = npy(rows[name])
    return b"".join(number(1, d) for d in shape) + number(2, 1) + field(8, label) + field(9, body)


def sequence(names):
    return b"".join(field(3, proto(n)) for n in names)


for name, value in rows.items():
    open(f"{work}/{name}.npy", "wb").write(npy(value)[2])
with zipfile.ZipFile(f"{work}/list.npz", "w") as archive:
    for name in "ab":
        archive.writestr(name + ".npy", npy(rows[name])[2])
rows["all"] = rows["a"] + rows["b"] + rows["c"]
data = f"{work}/model/test_data_set_0"
files = {
    "input_0": sequence("ab"),
    "input_1": proto("c", "last"),
    "input_2": number(2, 1) + field(3, proto("bias")),
    "output_0": sequence("abc"),
    "output_1": proto("all", "whole.y"),
    "output_2": number(2, 9) + field(8, "has.y") + field(9, b"\1"),
}
for name, body in files.items():
    open(f"{data}/{name}.pb", "wb").write(body)
open(f"{work}/short.pb", "wb").write(sequence("ab"))
PYTHON

# One by one, an archive, a SequenceProto: the same.
expect 0 "$tenon" run "$model" -i "list[0]=$work/a.npy" -i "list[1]=$work/b.npy" -i last="$work/c.npy" \
    -i bias="$work/bias.npy" -o "$work/one"
expect 0 "$tenon" run "$model" -i list="$work/list.npz" -i last="$work/c.npy" -i bias=none -o "$work/archive"
expect 0 "$tenon" run "$model" -i list="$data/input_0.pb" -i last="$work/c.npy" -i bias="$data/input_2.pb" \
    -o "$work/proto"
for way in archive proto; do
    for name in "longer.y[0]" "longer.y[1]" "longer.y[2]" whole.y; do
        cmp "$work/one/$name.npy" "$work/$way/$name.npy" || die "$way: $name differs"
    done
done
cmp "$work/c.npy" "$work/one/longer.y[2].npy" >/dev/null || same "$work/c.npy" "$work/one/longer.y[2].npy" 0
expect 0 "$tenon" run "$model" -i list="$work/list.npz" -i last="$work/c.npy" -i bias=none
out_has "longer.y a sequence of 3 tensors"
out_has "whole.y f32[4,2]"
expect 0 "$tenon" run "$model" -i "list=[]" -i last="$work/c.npy" -i bias=none --json
json "x['compounds'] == [{'name': 'longer.y', 'kind': 'sequence', 'first': 0, 'count': 1}]"
json "[o['name'] for o in x['outputs']] == ['longer.y[0]', 'whole.y', 'has.y']"
json "x['outputs'][2]['max'] == 0"

# Compiled for a structure: the program keeps it.
expect 0 "$tenon" compile "$model" --tensors list=2 --tensors bias=none -o "$work/two.tn"
expect 0 "$tenon" run "$work/two.tn" -i list="$work/list.npz" -i last="$work/c.npy" -o "$work/program"
cmp "$work/one/whole.y.npy" "$work/program/whole.y.npy" || die "the program differs"
expect 0 "$tenon" inspect "$work/two.tn" --json
json "x['input_compounds'][0] == {'name': 'list', 'kind': 'sequence', 'first': 0, 'count': 2}"
json "x['input_compounds'][1]['count'] is None and x['output_compounds'][0]['count'] == 3"
expect 0 "$tenon" inspect "$model" --tensors list=1 --tensors bias=1
out_has "list a sequence of 1 tensor"
out_has "longer.y a sequence of 2 tensors"
expect 0 "$tenon" bench "$model" --tensors list=1 --tensors bias=none -r 1 --warmup 1 --steady

# Test folders.
expect 0 "$tenon" verify "$work/model"
expect 0 "$tenon" verify --no-opt --per-node "$work/model"
cp "$work/short.pb" "$data/output_0.pb"
expect 1 "$tenon" verify "$work/model"
out_has "output 'longer.y': expected a sequence of 2 tensors, got a sequence of 3 tensors"

# What can be wrong.
expect 2 "$tenon" run "$model" -i last="$work/c.npy" -i bias=none
err_has "input 'list' is a sequence: give -i 'list[0]=FILE'"
expect 2 "$tenon" run "$model" -i "list=[]" -i last="$work/c.npy"
err_has "input 'bias' is an optional: give -i 'bias=FILE' or 'bias=none'"
expect 1 "$tenon" run "$model" -i "list=none" -i last="$work/c.npy" -i bias=none
err_has "'list' is a sequence; it cannot be none"
expect 1 "$tenon" run "$model" -i "list[1]=$work/b.npy" -i last="$work/c.npy" -i bias=none
err_has "no value for input 'list[0]'"
expect 1 "$tenon" run "$model" -i "list=$work/a.npy" -i last="$work/c.npy" -i bias=none
err_has "an .npz or the .pb of one"
expect 2 "$tenon" run "$work/two.tn" -i "list=[]" -i last="$work/c.npy"
err_has "compiled for 2 tensors"
expect 2 "$tenon" run "$model" --tensors lst=2 --random
err_has "--tensors lst=2: the model has no such input"
expect 2 "$tenon" run "$model" --tensors list=many --random
err_has "is not list=N or list=none"
expect 1 "$tenon" run "$model" -i "list[0]=$work/bias.npy" -i last="$work/c.npy" -i bias=none
err_has "has 1 axes; the model says 2"
