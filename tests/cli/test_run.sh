#!/bin/sh
# tenon run: inputs, outputs, messages; all ways to execute agree.
. tests/cli/lib.sh

expect 0 "$tenon" run "$digits" -i "$images"
out_has "logits f32[16,10]"
nothing_on err
expect 0 "$tenon" run "$digits" --input image="$images" -o "$work/plain"
nothing_on out
nothing_on err
[ -f "$work/plain/logits.npy" ] || die "logits.npy was not written"
expect 0 "$tenon" run "$digits" -i "$images" -o "$work/again"
cmp "$work/plain/logits.npy" "$work/again/logits.npy" || die "two runs differ"

for way in --no-opt --interpret --no-cache --threads=1 --dim=N=16; do
    expect 0 "$tenon" run "$digits" -i "$images" $way -o "$work/way"
    same "$work/plain/logits.npy" "$work/way/logits.npy" 2e-5
done

expect 0 "$tenon" run "$digits" -i "$images" --json
json "x['schema'] == 'tenon.run/1' and x['outputs'][0]['shape'] == [16, 10]"
json "x['outputs'][0]['min'] < x['outputs'][0]['mean'] < x['outputs'][0]['max']"
expect 0 "$tenon" run "$digits" -i "$images" -o "$work/plain" --json
json "x['outputs'][0]['file'].endswith('plain/logits.npy')"

# Made-up inputs depend on the seed only.
expect 0 "$tenon" run "$digits" --random=7 --dim N=3
cp "$work/out" "$work/seven"
out_has "f32[3,10]"
expect 0 "$tenon" run "$digits" --random=7 --dim N=3
cmp "$work/out" "$work/seven" || die "the seed does not decide"
expect 0 "$tenon" run "$digits" --random=8 --dim N=3
! cmp -s "$work/out" "$work/seven" || die "the seed does nothing"

# What can be wrong with inputs.
expect 1 "$tenon" run "$digits"
err_has "no value for input 'image'"
err_has "--random"
expect 2 "$tenon" run "$digits" -i picture="$images"
err_has "no input 'picture'; its inputs are: image"
expect 2 "$tenon" run "$digits" -i "$images" -i "$images"
err_has "the model has only 1 input"
expect 2 "$tenon" run "$digits" -i image="$images" -i image="$images"
err_has "input 'image' is given twice"
expect 1 "$tenon" run "$digits" -i examples/digits/labels.npy
err_has "input 'image'"
err_has "expected f32[N,1,8,8]"
expect 1 "$tenon" run "$digits" -i "$images" --dim N=4
err_has "axis 0 has size 16, expected 4"
expect 1 "$tenon" run "$digits" -i README.md
err_has "values are read from .npy, .npz and ONNX .pb files"
head -c 300 "$images" >"$work/cut.npy"
expect 1 "$tenon" run "$digits" -i "$work/cut.npy"
err_has "cut off"
head -c 40 "$images" >"$work/head.npy"
expect 1 "$tenon" run "$digits" -i "$work/head.npy"
err_has "head.npy"
: >"$work/file"
expect 1 "$tenon" run "$digits" -i "$images" -o "$work/file/below"
err_has "cannot create"

# Other files: an archive, a TensorProto.
python3 - "$images" "$work/images.npz" <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[2], "w") as archive:
    archive.write(sys.argv[1], "image.npy")
with zipfile.ZipFile(sys.argv[2].replace("images", "packed"), "w", zipfile.ZIP_DEFLATED) as archive:
    archive.write(sys.argv[1], "image.npy")
PYTHON
expect 0 "$tenon" run "$digits" -i "$work/images.npz" -o "$work/npz"
same "$work/plain/logits.npy" "$work/npz/logits.npy" 0
expect 0 "$tenon" run "$digits" -i "$work/packed.npz" -o "$work/npz"
same "$work/plain/logits.npy" "$work/npz/logits.npy" 0
python3 tests/cli/tensor_pb.py "$images" "$work/image.pb" image
expect 0 "$tenon" run "$digits" -i "$work/image.pb" -o "$work/pb"
same "$work/plain/logits.npy" "$work/pb/logits.npy" 0

# As the hub's cache keeps a model with external data: links to files named by hashes.
hub=$work/hub/snapshots/0a/onnx
blobs=$work/hub/blobs
mkdir -p "$hub" "$blobs"
python3 tests/cli/onnx_models.py external 1 "$hub/m.onnx"
expect 0 "$tenon" run "$hub/m.onnx" --random=1 --dim batch=2 -o "$work/files"
i=1
for name in m.onnx m.onnx_data; do
    hash=$(printf '%064d' $i)
    mv "$hub/$name" "$blobs/$hash"
    ln -s "../../../blobs/$hash" "$hub/$name"
    i=$((i + 1))
done
expect 0 "$tenon" run "$hub/m.onnx" --random=1 --dim batch=2 -o "$work/links"
same "$work/files/fc1.y.npy" "$work/links/fc1.y.npy" 0
(cd "$hub" && "$tenon" run m.onnx --random=1 --dim batch=2 -q -o links) || die "not from its folder"
ln -sf "../../../blobs/../blobs/$hash" "$hub/m.onnx_data"
expect 1 "$tenon" run "$hub/m.onnx" --random=1 --dim batch=2 --no-cache
err_has "external data: "
err_has "onnx/m.onnx_data: a symbolic link on its way"

# Stages.
expect 0 "$tenon" run "$digits" -i "$images" --dump-after=loops
err_has "---- after loops ----"
out_has "logits"
expect 0 "$tenon" run "$digits" -i "$images" --dump-after=import
err_has "---- after import ----"
expect 2 "$tenon" run "$digits" -i "$images" --dump-after=lopps
err_has "no stage 'lopps'; there are: all,"
