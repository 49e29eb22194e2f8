#!/bin/sh
# The suites that need packages from PyPI: ONNX's own node tests, and models against ONNX Runtime.
# The command must be built; the Python environment is made by tools/venv.sh.
set -eu
cd "$(dirname "$0")/.."

suites="tests/conformance/run_onnx_suites.py tests/conformance/run_models.py"
for suite in $suites; do
    if [ ! -f "$suite" ]; then
        echo "conformance: $suite is not there yet" >&2
        exit 1
    fi
done
tools/venv.sh
for suite in $suites; do
    build/venv/bin/python "$suite"
done
