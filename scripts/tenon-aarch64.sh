#!/bin/sh
# The command of the AArch64 build under qemu-user; kernels are compiled by the cross compiler.
root=$(cd "$(dirname "$0")/.." && pwd)
CC=${CC:-aarch64-linux-gnu-gcc}
QEMU_LD_PREFIX=$root/build/sysroot-aarch64
XDG_CACHE_HOME=${XDG_CACHE_HOME:-$root/build/aarch64/test-cache}
export CC QEMU_LD_PREFIX XDG_CACHE_HOME
exec qemu-aarch64 -L "$QEMU_LD_PREFIX" "$root/build/aarch64/tenon" "$@"
