#!/bin/sh
# The main job on a small model: a CNN that reads handwritten digits (examples/digits).
# `make demo` builds first; this alone runs what is built.
set -eu
cd "$(dirname "$0")/.."

tenon=build/tenon
example=build/examples/01_run_model
model=examples/digits/digits.onnx
images=examples/digits/images.npy

title() {
    printf '\n== %s\n\n' "$*"
}

title "A convolutional network reads digits it has not seen  (examples/01_run_model.c)"
$example examples/digits

title "What it is, and the kernels it became  (tenon inspect --groups)"
$tenon inspect $model -i $images --groups

title "Where the time goes  (tenon bench -v)"
$tenon bench $model -i $images -v

title "More: $tenon inspect $model --html page.html; $tenon --help; README.md"
