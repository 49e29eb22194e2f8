#!/bin/sh
# The C compiler with few of its passes, for tests that compile many kernels and run each once.
exec "${TENON_QUICK_CC:-cc}" "$@" -Og
