#!/bin/sh
# The suites that need packages from PyPI: ONNX's own test folders, files of tensors against Python's
# safetensors, models against ONNX Runtime, and whether the gradients that a unit test compares with are
# PyTorch's.
# The command must be built; the Python environment is made by tools/venv.sh.
#     CONFORMANCE_SIZE=small|full|both    which models; default: small, full takes much longer
set -eu
cd "$(dirname "$0")/.."

tools/venv.sh
status=0
build/venv/bin/python tests/conformance/run_onnx_suites.py --require 700 || status=1
build/venv/bin/python tests/conformance/run_safetensors.py || status=1
build/venv/bin/python tests/conformance/run_models.py --size "${CONFORMANCE_SIZE:-small}" || status=1
build/venv/bin/python tests/conformance/torch_gradients.py || status=1
exit "$status"
