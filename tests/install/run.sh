#!/bin/sh
# Installs a build to a temporary prefix, moves it, and builds and runs main.c against it: by
# pkg-config (shared and static), then by find_package.
#     tests/install/run.sh BUILD_DIR CC
set -eu

build=$(cd "$1" && pwd)
cc=$2
here=$(cd "$(dirname "$0")" && pwd)
digits=$here/../../examples/digits
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# check COMMAND…: the program of main.c reads four digits right.
check() {
    said=$("$@" "$digits")
    [ "$said" = "the installed library sees 8 0 9 8" ] || {
        echo "$1 said: $said"
        exit 1
    }
}

cmake --install "$build" --prefix "$scratch/first" >"$scratch/log"
prefix=$scratch/second
mv "$scratch/first" "$prefix" # nothing may remember where it was installed

pc=$(find "$prefix" -name tenon.pc)
libdir=$(dirname "$(dirname "$pc")")
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046 # the words of pkg-config are options
"$cc" -std=c11 -Wall -Werror "$here/main.c" $(pkg-config --cflags --libs tenon) -o "$scratch/by-pc"
check env LD_LIBRARY_PATH="$libdir" "$scratch/by-pc"

"$cc" -std=c11 "$here/main.c" $(pkg-config --cflags tenon) "$libdir/libtenon.a" \
    $(pkg-config --static --libs tenon | sed 's/-ltenon//') -o "$scratch/by-pc-static"
check "$scratch/by-pc-static"

cmake -S "$here" -B "$scratch/build" -G Ninja -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_PREFIX_PATH="$prefix" >>"$scratch/log" || {
    cat "$scratch/log"
    exit 1
}
cmake --build "$scratch/build" >>"$scratch/log" || {
    cat "$scratch/log"
    exit 1
}
check "$scratch/build/with_tenon"
check "$scratch/build/with_tenon_static"
if [ -x "$prefix/bin/tenon" ]; then
    "$prefix/bin/tenon" ops >"$scratch/ops"
    test -s "$scratch/ops"
fi
