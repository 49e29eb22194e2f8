#!/bin/sh
# Writes the seeds of the fuzz target `program` anew, with build/tenon: after the format of program files has
# changed, old ones are refused at the door.
set -eu
cd "$(dirname "$0")/.."
seeds=tests/fuzz/corpus/program
for name in if loop lstm quant scan function einsum; do
    build/tenon compile "tests/fuzz/corpus/onnx/$name.onnx" -o "$seeds/$name.tn" --no-cache
done
