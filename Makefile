# The short way to everything; the work is done by CMake (CMakeLists.txt, CMakePresets.json).
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60

BUILD = cmake --build --preset
PYTHON = build/venv/bin/python

.PHONY: all setup demo test conformance bench install fuzz differential format clean
.PHONY: test-aarch64 conformance-aarch64 test-baseline

all: build/build.ninja
	@$(BUILD) release -j $(JOBS) --target product

build/build.ninja:
	@cmake --preset release

setup:
	@scripts/setup.sh

demo: setup
	@$(MAKE) --no-print-directory all
	@scripts/demo.sh

test:
	@scripts/setup.sh --test
	@cmake --preset release -DTENON_TESTS=ON
	@$(BUILD) release -j $(JOBS)
	@ctest --preset release -j $(JOBS)

conformance: all
	@scripts/conformance.sh

# docs/performance.md: the models, training them, N as one, starting them, and the kernels, beside their peers.
bench: all
	@scripts/setup.sh --bench || echo "bench: without the peers that are not installed" >&2
	@tools/venv.sh
	@$(PYTHON) bench/bench_models.py
	@$(PYTHON) bench/bench_train.py
	@$(PYTHON) bench/bench_wide.py
	@$(PYTHON) bench/bench_start.py
	@$(PYTHON) bench/bench_kernels.py

install: all
	@cmake --install build --prefix "$(PREFIX)"

# Runs every fuzz target for FUZZ_SECONDS; what it finds lies in build/fuzz/crash-*.
fuzz:
	@cmake --preset fuzz
	@$(BUILD) fuzz -j $(JOBS)
	@scripts/fuzz.sh $(FUZZ_SECONDS)

# Compares the reference, the interpreter and compiled kernels on GRAPHS random graphs of each kind, from
# SEED on.
GRAPHS ?= 2000
SEED ?= 1
differential:
	@cmake --preset release -DTENON_TESTS=ON
	@$(BUILD) release -j $(JOBS) --target differential
	@build/tests/differential smooth $(SEED) $(GRAPHS) mixed
	@build/tests/differential wild $(SEED) $(GRAPHS) mixed

# The unit tests on AArch64 under qemu-user; kernels are built by the cross compiler.
test-aarch64:
	@scripts/sysroot-aarch64.sh
	@cmake --preset aarch64 -DTENON_TESTS=ON
	@$(BUILD) aarch64 -j $(JOBS)
	@ctest --preset aarch64 -j $(JOBS)

# ONNX's node tests on AArch64, as above.
conformance-aarch64: test-aarch64
	@tools/venv.sh
	@$(PYTHON) tests/conformance/run_onnx_suites.py --require 700 --tenon scripts/tenon-aarch64.sh

# The tests with kernels for the first x86-64 (no AVX).
test-baseline:
	@cmake --preset release -DTENON_TESTS=ON
	@$(BUILD) release -j $(JOBS)
	@TENON_TARGET=x86-64 ctest --preset release -j $(JOBS)

format:
	@tests/structure/check_format.py --fix

# Keeps what is slow to fetch: the Python environment and the AArch64 libraries.
clean:
	@find build -mindepth 1 -maxdepth 1 ! -name venv ! -name 'sysroot-*' -exec rm -rf {} + 2>/dev/null || true
