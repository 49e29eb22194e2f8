#!/bin/sh
# Makes the virtual environment of the development tools (tools/requirements.txt):
#     tools/venv.sh [DIR]          default: build/venv
# Does nothing when DIR already holds exactly these requirements.  Refuses a
# PyTorch wheel that would pull CUDA packages; make a CPU wheel known to pip
# (PIP_FIND_LINKS or pip's configuration) on machines where that happens.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$root/build/venv}
requirements=$root/tools/requirements.txt
python=${PYTHON:-python3}

stamp=$dir/.requirements.sha256
wanted=$(sha256sum <"$requirements" | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

fail() {
    echo "tools/venv.sh: $1" >&2
    [ ! -s "$log" ] || tail -n 20 "$log" >&2
    exit 1
}

log=$(mktemp)
report=$(mktemp)
trap 'rm -f "$log" "$report"' EXIT

echo "tools/venv.sh: installing Python tools into $dir (a minute or two)" >&2
[ -x "$dir/bin/python" ] || "$python" -m venv "$dir" >"$log" 2>&1 ||
    fail "cannot create a virtual environment (Debian: install python3-venv)"

pip() { "$dir/bin/python" -m pip --disable-pip-version-check --quiet "$@" >>"$log" 2>&1; }

torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$requirements")
pip install --dry-run --ignore-installed --report "$report" "$torch" ||
    fail "pip finds no $torch"
if grep -Eq '"name": *"(nvidia|cuda)[-_]' "$report"; then
    : >"$log"
    fail "the $torch that pip finds pulls CUDA packages; provide the CPU wheel"
fi
pip install -r "$requirements" || fail "pip install failed"
echo "$wanted" >"$stamp"
