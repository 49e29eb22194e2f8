#!/bin/sh
# Makes build/sysroot-aarch64: Debian's arm64 packages of what Tenon and its tests link with,
# unpacked, for cross compiling and qemu-user. The package lists live in the sysroot's own apt
# folders: the system's package state stays as it is. Installs the cross compiler and qemu-user when
# missing.
set -eu
cd "$(dirname "$0")/.."

root=$PWD/build/sysroot-aarch64
packages="libc6-dev libcpuinfo-dev libjansson-dev libnanopb-dev libhwloc-dev
    libcmocka-dev libmd-dev zlib1g-dev libxxhash-dev libjpeg62-turbo-dev libpng-dev"
stamp=$root/.packages
wanted=$(echo $packages)

if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64 >/dev/null; then
    if [ "$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi
    $as_root apt-get -qq update
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user >/dev/null
fi
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

# An apt of its own: it believes to be an arm64 machine on which nothing is installed. The sources,
# keys and proxies are the system's.
apt=$root/.apt
rm -rf "$root"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/state"
: >"$apt/state/status"
arm64_apt() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
        -o Dir::State="$apt/state" -o Dir::State::status="$apt/state/status" \
        -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" \
        -o Debug::NoLocking=true -o APT::Sandbox::User= -o APT::Install-Recommends=false "$@"
}

echo "sysroot-aarch64: fetching arm64 packages" >&2
arm64_apt update
# shellcheck disable=SC2086 # one word per package
arm64_apt install -y --download-only $packages >/dev/null

# Debian's packages expect a merged /usr.
mkdir -p "$root/usr/lib"
ln -s usr/lib "$root/lib"
for deb in "$apt"/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink \
        --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale
done
rm -rf "$apt"

# Absolute links lead out of the sysroot.
find "$root" -type l -lname '/*' | while read -r link; do
    ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$root$(readlink "$link")")" "$link"
done
echo "$wanted" >"$stamp"
