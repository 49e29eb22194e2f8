#!/bin/sh
# The suites that need packages from PyPI: ONNX's own test folders, its backend tests through the Python package
# and through ONNX Runtime (kernels are those of the folders, from the cache), operators of com.microsoft and models
# against ONNX Runtime, files of tensors against Python's safetensors, training against PyTorch, and whether the
# gradients that a unit test compares with are PyTorch's.
# The command must be built; the Python environment is made by tools/venv.sh.
#     CONFORMANCE_SIZE=small|full|both    which models; default: small, full takes much longer. Training: 4
#                                         steps, else 20 and one run of 100; else also the suites with passes off
# Old versions and all types of operators are tests/conformance/run_versions.py, by hand: it takes minutes.
set -eu
cd "$(dirname "$0")/.."

size=${CONFORMANCE_SIZE:-small}
training="--steps 4" passes=on
[ "$size" = small ] || training="--steps 20 --learn" passes=both

tools/venv.sh
status=0
build/venv/bin/python tests/conformance/run_onnx_suites.py --require 1600 --passes $passes || status=1
build/venv/bin/python tests/conformance/test_tenon_onnx.py || status=1
build/venv/bin/python tests/conformance/run_backend.py || status=1
build/venv/bin/python tests/conformance/run_contrib.py || status=1
build/venv/bin/python tests/conformance/run_safetensors.py || status=1
build/venv/bin/python tests/conformance/run_models.py --size "$size" || status=1
# shellcheck disable=SC2086 # several words
build/venv/bin/python tests/conformance/run_training.py $training || status=1
build/venv/bin/python tests/conformance/torch_gradients.py || status=1
exit "$status"
