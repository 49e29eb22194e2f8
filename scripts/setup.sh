#!/bin/sh
# Installs the Debian packages that Tenon needs:
#     scripts/setup.sh           to build it and to run the demo
#     scripts/setup.sh --test    to run the tests too
#     scripts/setup.sh --bench   to run the benchmarks too
# Asks nothing, needs root or sudo, does nothing when everything is there.
set -eu

packages="gcc libc6-dev make cmake ninja-build pkg-config
    libnanopb-dev nanopb protobuf-compiler libjansson-dev
    libcpuinfo-dev libhwloc-dev libxxhash-dev libmd-dev zlib1g-dev
    libjpeg62-turbo-dev libpng-dev"
case ${1-} in
'') ;;
--test)
    packages="$packages g++ git python3 python3-venv libcmocka-dev valgrind
        clang clang-format llvm libclang-rt-14-dev graphviz chromium" ;;
--bench)
    packages="$packages g++ git python3 python3-venv python3-dev libopenblas-dev libdnnl-dev" ;;
*)
    echo "usage: scripts/setup.sh [--test | --bench]" >&2
    exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "setup: not a Debian system; see README.md for what Tenon needs:" $packages >&2
    exit 0
fi

# The wanted packages that are not installed.
missing() {
    # shellcheck disable=SC2086 # one word per package
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $packages 2>/dev/null |
        sed -n 's/^installed //p')
    for package in $packages; do
        case "
$installed
" in
        *"
$package
"*) ;;
        *) echo "$package" ;;
        esac
    done
}

wanted=$(missing)
[ -n "$wanted" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    echo "setup: as root, run: apt-get install" $wanted >&2
    exit 1
fi

install_wanted() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
        # shellcheck disable=SC2086
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
            --no-install-recommends $wanted >/dev/null
}

echo "setup: installing" $wanted >&2
install_wanted || {
    echo "setup: trying once more" >&2
    sleep 5
    install_wanted
}
wanted=$(missing)
if [ -n "$wanted" ]; then
    echo "setup: not installed:" $wanted >&2
    exit 1
fi
