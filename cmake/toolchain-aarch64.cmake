# Debian's cross compiler with the arm64 libraries of scripts/sysroot-aarch64.sh; programs run under
# qemu-user. Kernels made at run time are compiled by the cross compiler too.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)

set(sysroot ${CMAKE_CURRENT_LIST_DIR}/../build/sysroot-aarch64)
cmake_path(ABSOLUTE_PATH sysroot NORMALIZE)
set(CMAKE_SYSROOT ${sysroot})
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L ${sysroot})

set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${sysroot})
set(ENV{PKG_CONFIG_LIBDIR}
    ${sysroot}/usr/lib/aarch64-linux-gnu/pkgconfig:${sysroot}/usr/share/pkgconfig)

# Read by tests/CMakeLists.txt.
set(TENON_TEST_ENVIRONMENT CC=aarch64-linux-gnu-gcc QEMU_LD_PREFIX=${sysroot})
