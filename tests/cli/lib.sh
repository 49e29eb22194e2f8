# What the tests of the command share. Each is called with: the command, a folder, the C compiler.
set -eu
tenon=$1
work=$2
# shellcheck disable=SC2034 # of the tests
cc=$3
digits=examples/digits/digits.onnx
images=examples/digits/images.npy
rm -rf "$work"
mkdir -p "$work"

die() {
    echo "FAILED: $*" >&2
    exit 1
}

# expect STATUS COMMAND…: its output goes to $work/out and $work/err.
expect() {
    want=$1
    shift
    status=0
    "$@" >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = "$want" ] || {
        cat "$work/out" "$work/err" >&2
        die "$* gave status $status, not $want"
    }
}

# The last output or error stream holds the text.
out_has() {
    grep -qF -- "$1" "$work/out" || { cat "$work/out" >&2; die "standard output has no '$1'"; }
}
err_has() {
    grep -qF -- "$1" "$work/err" || { cat "$work/err" >&2; die "standard error has no '$1'"; }
}
# The whole of the last error stream is this message.
says() {
    echo "tenon: error: $1" | diff - "$work/err" >&2 || die "another message"
}
nothing_on() {
    [ ! -s "$work/$1" ] || { cat "$work/$1" >&2; die "something on $1"; }
}

# json EXPRESSION: a Python expression over `x`, the last output, must be true.
json() {
    python3 - "$work/out" "$1" <<'PYTHON' || die "not so: $1"
import json, sys
x = [json.loads(line) for line in open(sys.argv[1])]
x = x[0] if len(x) == 1 else x
if not eval(sys.argv[2]):
    print(json.dumps(x, indent=1)[:4000], file=sys.stderr)
    sys.exit(1)
PYTHON
}

# same A B TOLERANCE: two .npy files of f32 hold the same shape and nearly the same numbers.
same() {
    python3 - "$@" <<'PYTHON' || die "$1 and $2 differ"
import ast, struct, sys
def load(path):
    data = open(path, "rb").read()
    size = struct.unpack("<H", data[8:10])[0]
    head = ast.literal_eval(data[10:10 + size].decode())
    assert head["descr"] == "<f4" and (10 + size) % 64 == 0, head
    body = data[10 + size:]
    return head["shape"], struct.unpack(f"<{len(body) // 4}f", body)
(s, a), (t, b) = load(sys.argv[1]), load(sys.argv[2])
off = max((abs(x - y) for x, y in zip(a, b)), default=0)
print(sys.argv[1:3], s, t, off, file=sys.stderr)
sys.exit(s != t or len(a) != len(b) or off > float(sys.argv[3]))
PYTHON
}
