#!/bin/sh
# tenon train MODEL.onnx: a classifier of images, a model of tokens, and what cannot be trained.
. tests/cli/lib.sh
. tests/cli/digits.sh
golden=tests/golden/onnx

# Digits upside down: the exported network learns them, and is an ONNX file again.
expect 0 "$tenon" train $digits --data "$work/digits" --steps 30 --json --train.seed 3 \
    --train.eval_every 1 --data.transforms '["flip_vertical"]' --optimizer.lr 2e-3 -o "$work/tuned.onnx" \
    --report "$work/run.html"
grep -q '"label":"3","prediction":"' "$work/run.html" || die "the report has no samples"
json "x[0]['loss'] > 0.5 and x[-1]['loss'] < 0.5 * x[0]['loss']"
expect 0 "$tenon" run $digits -i $images -o "$work/before"
expect 0 "$tenon" run "$work/tuned.onnx" -i $images -o "$work/after"
cmp -s "$work/before/logits.npy" "$work/after/logits.npy" && die "the weights are the same"

# A run that resumes gives the same file.
expect 0 "$tenon" train $digits --data "$work/digits" --steps 1 --checkpoint.folder "$work/run" \
    --model.frozen '*Conv*'
expect 0 "$tenon" train $digits --data "$work/digits" --steps 2 --checkpoint.folder "$work/run" --resume \
    --model.frozen '*Conv*' -o "$work/resumed.onnx"
expect 0 "$tenon" train $digits --data "$work/digits" --steps 2 --model.frozen '*Conv*' -o "$work/whole.onnx"
cmp "$work/resumed.onnx" "$work/whole.onnx" || die "resuming gives other weights"

# Tokens: the next one is learned.
python3 -c "import sys; sys.stdout.buffer.write(bytes(i * i % 40 for i in range(4000)))" >"$work/tokens"
expect 0 "$tenon" train $golden/transformer.onnx --data "$work/tokens" --data.kind tokens --data.dtype u8 \
    --data.sequence 12 --data.batch 16 --steps 30 --data.split 0.1 --optimizer.lr 1e-2 --json
json "x[0]['loss'] > 3 and x[-1]['loss'] < 1.5 and x[-1]['eval_accuracy'] > 0.5"

# What is wrong.
wrong() {
    want=$1
    text=$2
    shift 2
    expect "$want" "$tenon" train "$@"
    says "$text"
}
wrong 1 "$golden/storage.onnx: 'x' f32 [6, 3] → 'z' f32 [6, 4]; tenon train takes one float image [N, C, H, W] → logits [N, classes], or tokens [N, S] (and attention_mask, token_type_ids, position_ids) → logits [N, S, vocabulary]; tenon/onnx.h trains any other model with a loss of your own" \
    $golden/storage.onnx --data "$work/digits" --steps 1
wrong 1 "$work/digits has 10 classes, $golden/cnn.onnx has logits for 5" \
    $golden/cnn.onnx --data "$work/digits" --steps 1
wrong 1 "train.precision: an ONNX model computes in the types of its file" \
    $digits --data "$work/digits" --steps 1 --train.precision bf16
wrong 1 "model.frozen is for ONNX models; mlp begins with random parameters" \
    mlp --data "$work/digits" --steps 1 --model.frozen "*"
wrong 2 "--output writes an ONNX model; parameters of mlp are saved with --checkpoint.folder DIR" \
    mlp --data "$work/digits" --steps 1 -o "$work/mlp.onnx"
wrong 1 "--output: $work/none/tuned.onnx: cannot create: No such file or directory" \
    $digits --data "$work/digits" --steps 1000000 -o "$work/none/tuned.onnx"
wrong 1 "none.onnx: No such file or directory" none.onnx --data "$work/digits" --steps 1
