#!/bin/sh
# tenon wide: what can be wrong with members, numbers and inputs, each with its whole message.
. tests/cli/lib.sh

# wrong STATUS MESSAGE ARGUMENT…
wrong() {
    want=$1
    text=$2
    shift 2
    expect "$want" "$tenon" wide "$@"
    nothing_on out
    says "$text"
}
a=$work/a.onnx
python3 tests/cli/onnx_models.py mlp 1 "$a" "$work/a.npz"
python3 tests/cli/onnx_models.py mlp-sizes 1 "$work/sizes.onnx" "$work/sizes.npz"
python3 tests/cli/onnx_models.py convnet 1 "$work/c.onnx" "$work/c.npz"
python3 tests/cli/onnx_models.py convnet-stride 1 "$work/stride.onnx"

# Words.
expect 2 "$tenon" wide
err_has "usage: tenon wide ACTION"
expect 0 "$tenon" wide --help
out_has "extract   Write one member as an ONNX file"
expect 0 "$tenon" help wide run
out_has "usage: tenon wide run [OPTION]… MODEL…"
out_has "  -w, --weights FILE…      of one MODEL: "
out_has "      --same-weights       of one MODEL: "
wrong 2 "unknown action 'bnch'; did you mean 'bench'?" bnch "$a"
wrong 2 "MODEL… is missing; tenon wide run --help tells more" run --n 2
wrong 2 "unknown option --member; tenon wide run --help lists what there is" run "$a" --member 1

# How many.
wrong 2 "--n: 0 members are no model; expected a number from 1" run "$a" --n 0
wrong 2 "--n: 'two' is not a whole number" run "$a" --n two
wrong 2 "--n: '2.5' is not a whole number" run "$a" --n 2.5
wrong 2 "--n: '-1' is not a whole number" run "$a" --n -1
wrong 2 "--n: '1,,2' is not a list of whole numbers such as 1,2,4" bench "$a" --n 1,,2
wrong 2 "--n: one number is expected, '2,3' is a list" run "$a" --n 2,3
wrong 2 "--n: 9999999 members are too many; at most 1048576" run "$a" --n 9999999
wrong 2 "how many members? --n N says so" run "$a"
wrong 2 "--n: 3 members, but 2 models are given" run "$a" "$a" --n 3
wrong 2 "--n: 2 members, but 1 file of weights is given" run "$a" -w "$work/a.npz" --n 2

wrong 2 "--same-weights is for members of one MODEL and no other files" run "$a" "$a" --same-weights

wrong 2 "--runs: '0' is not a whole number from 1" bench "$a" --n 2 -r 0
wrong 2 "--threads: '0' is not a whole number from 1" run "$a" --n 2 --threads 0

# Which.
wrong 2 "which member? --member I says so, from 0" extract "$a" --n 3
wrong 2 "where to? -o FILE says so" extract "$a" --n 3 --member 1
wrong 2 "--member: there is no member 3; they are 0 to 2" extract "$a" --n 3 --member 3 -o "$work/x"
wrong 2 "--member: there is no member -1; they are 0 to 2" extract "$a" --n 3 --member -1 -o "$work/x"
wrong 2 "--member: 'one' is not a whole number" extract "$a" --n 3 --member one -o "$work/x"

# Files.
wrong 1 "member 1: $work/none.onnx: No such file or directory" run "$a" "$work/none.onnx" --random
wrong 1 "member 1: $work/none.npz: No such file or directory" run "$a" -w "$work/a.npz" "$work/none.npz" --random
wrong 1 "member 2 ($a): $work/none/x.onnx: cannot create: No such file or directory" \
    extract "$a" --n 3 --member 2 -o "$work/none/x.onnx"
wrong 1 "member 0: $work: not a regular file" run "$work" --n 2 --random
wrong 2 "--shared= is without its NAME,…" run "$a" --n 2 --shared=
wrong 2 "where to? -o FILE says so" extract "$a" --n 3 --member 1 -o ""
wrong 2 "$work/a.npz: weights are given by --weights FILE…" run "$a" "$work/a.npz"
wrong 2 "--weights are those of one MODEL; 2 are given" run "$a" "$a" --weights "$work/a.npz"
wrong 1 "member 1 ($a): $work/c.npz: the model has no weight 'conv1.weight'; its weights are 'fc1.weight' and 3 more" \
    run "$a" --weights "$work/a.npz" "$work/c.npz" --random
wrong 1 "member 1 ($a): $work/sizes.npz: weight 'fc1.weight' is f32[96,64]; the model's is f32[128,64]" \
    run "$a" --weights "$work/a.npz" "$work/sizes.npz" --random

# Members whose outputs differ have no common one.
expect 1 "$tenon" wide run "$work/c.onnx" "$work/stride.onnx" "$work/c.onnx" --random
nothing_on out
err_has "  member 1: node 'conv2' (Conv): stride [1,1] instead of [2,2]"
err_has "output 'relu3.y': the 2 members like member 0 give f32[2,1,32,4,4], member 1 gives f32[1,1,32,8,8]; run"
python3 tests/cli/onnx_models.py one 1 "$work/one.onnx" "$work/one.npz"
wrong 1 "member 0 ($work/one.onnx): $work/a.npz: the model has no weight 'fc1.weight'; its weight is 'slope'" \
    run "$work/one.onnx" --weights "$work/a.npz" --random

# Sizes that are counted in data are each member's own.
python3 tests/cli/onnx_models.py sparse 1 "$work/sparse.onnx"
wrong 1 "member 0 ($work/sparse.onnx): node 'where': how many elements its result has is counted while the model runs; members differ in that and have no common array; extract the members and run each alone" \
    run "$work/sparse.onnx" --n 2 --random

# Inputs.
wrong 1 "no value for input 'image'; give -i NAME=FILE, or --random to make values up" run "$digits" --n 3
wrong 1 "input 'image': f32[16,1,8,8] has no axis of members; give it 3 times along a new axis 0, or once for all by --shared=image" \
    run "$digits" --n 3 -i "$images"
wrong 1 "input 'image': f32[16,1,8,8] has 1 along axis 1; 3 members of 1 take 3" run "$digits" --n 3 --packed -i "$images"
wrong 1 "the model has no input 'img' that could be shared; its inputs are: image" run "$digits" --n 3 --shared=img -i "$images"
python3 - "$work/four.npy" <<'PYTHON'
import struct, sys
text = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2, 64), }"
text += " " * (-(len(text) + 11) % 64) + "\n"
head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
open(sys.argv[1], "wb").write(head + bytes(4 * 2 * 64 * 4))
PYTHON
wrong 1 "input 'x': f32[4,2,64] is of 4 members along axis 0; there are 3" run "$a" --n 3 -i "$work/four.npy"
python3 tests/cli/onnx_models.py open 1 "$work/open.onnx"
wrong 1 "input 'x': f32[4,2,64] has 2 along axis 1, which 3 members do not divide" \
    run "$work/open.onnx" --n 3 --packed -i "$work/four.npy"
wrong 2 "--tune does not go with --no-cache" bench "$a" --n 2 --tune=1 --no-cache

# The file of a measurement is written with each row, so what is wrong with it is told behind the first.
expect 1 "$tenon" wide bench "$a" --n 1,2 --dim batch=1 -r 1 --json -o "$work/no/folder/rows.json"
err_has "rows.json: cannot create: No such file or directory"
[ "$(wc -l <"$work/out")" = 1 ] || die "it went on"
