#!/bin/sh
# tenon train: configurations, runs, checkpoints and what goes wrong.
. tests/cli/lib.sh
. tests/cli/digits.sh

# Lines for people; each step has one in JSON and in the log.
expect 0 "$tenon" train "$work/run.json" --train.log "$work/log"
out_has "step 40  loss "
out_has "held out: loss "
nothing_on err
[ "$(wc -l <"$work/log")" = 40 ] || die "the log has not a line for each step"
expect 0 "$tenon" train "$work/run.json" --json --threads 1 --train.log "$work/log1"
json "len(x) == 40 and all(r['schema'] == 'tenon.train/1' for r in x)"
json "all(set(r) >= {'step', 'loss', 'grad_norm', 'lr', 'step_ms', 'wait_ms'} for r in x)"
json "x[-1]['loss'] < x[0]['loss'] and x[-1]['eval_accuracy'] > 0.5 and 'eval_loss' in x[19]"
json "[r['lr'] for r in x[:5]] == [0.01 * (i + 1) / 5 for i in range(5)]"
python3 - "$work/log" "$work/log1" <<'PYTHON' || die "threads decide about the bits"
import json, sys
a, b = ([{**json.loads(line), "step_ms": 0, "wait_ms": 0, "of_peak": 0} for line in open(f)] for f in sys.argv[1:])
sys.exit(a != b)
PYTHON

# TensorBoard's records: lengths, checksums, and the same losses.
expect 0 "$tenon" train "$work/run.json" --train.tensorboard "$work/board" --train.log "$work/log2" -q \
    --report "$work/run.html"
python3 - "$work/board" "$work/log2" <<'PYTHON' || die "the event file is not right"
import glob, json, struct, sys
def checksum(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
assert checksum(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
[path] = glob.glob(sys.argv[1] + "/events.out.tfevents.*")
data, at, losses, records = open(path, "rb").read(), 0, [], 0
while at < len(data):
    size, head = struct.unpack_from("<QI", data, at)
    body = data[at + 12:at + 12 + size]
    assert head == checksum(data[at:at + 8])
    assert struct.unpack_from("<I", data, at + 12 + size)[0] == checksum(body)
    assert body[0] == 0x09 and body[9] == 0x10
    assert records or body[11:] == b"\x1a\x0dbrain.Event:2"
    if b"\x0a\x0atrain/loss\x15" in body:
        losses.append((body[10], struct.unpack("<f", body[-4:])[0]))
    at += 16 + size
    records += 1
want = [(r["step"], struct.unpack("<f", struct.pack("<f", r["loss"]))[0]) for r in map(json.loads, open(sys.argv[2]))]
sys.exit(losses != want or records - 2 * 2 - 1 not in (40 * 5, 40 * 6))  # with the part of the peak, if it is known
PYTHON

# An interrupted run goes on bit for bit: the last checkpoints are the same files.
expect 0 "$tenon" train "$work/run.json" --checkpoint.folder "$work/whole" --checkpoint.every 10 \
    --checkpoint.keep 2
[ ! -e "$work/whole/step-20" ] && [ -e "$work/whole/step-30" ] || die "not two checkpoints are kept"
cp -R "$work/whole" "$work/resumed"
rm -r "$work/resumed/step-40"
expect 0 "$tenon" train "$work/run.json" --checkpoint.folder "$work/resumed" --resume --json
json "[r['step'] for r in x] == list(range(31, 41))"
diff -r "$work/whole/step-40" "$work/resumed/step-40" || die "resuming changed something"
expect 1 "$tenon" train "$work/run.json" --checkpoint.folder "$work/whole"
err_has "--resume goes on from it"

# What products compute in, with parameters that stay f32.
for precision in f32 bf16 f16; do
    "$tenon" train "$work/run.json" --steps 30 --json --train.precision $precision >"$work/$precision"
done
python3 - "$work" <<'PYTHON' || die "the precision is not what it should be"
import json, sys
a, b, c = ([json.loads(line)["loss"] for line in open(f"{sys.argv[1]}/{p}")] for p in ("f32", "bf16", "f16"))
assert all(0 < abs(x - y) < 0.02 * x for x, y in zip(a[:5], b)) and all(0 < abs(x - y) < 0.005 * x for x, y in zip(a[:5], c))
assert max(a[-1], b[-1], c[-1]) < 0.8
PYTHON

# FLOPs of the step's kernels: products by the first weight forward and back to it, by the second one also back
# to its input, and less than a third more for all else.
expect 0 "$tenon" train "$work/run.json" --steps 3 --json
json "all(1 <= r['flops'] / (2 * 2*32*64*32 + 3 * 2*32*32*10) < 1.33 for r in x) and len({r['flops'] for r in x}) == 1"

# A signal ends the run after a step, and saves.
"$tenon" train "$work/run.json" --steps 100000000 --checkpoint.folder "$work/stopped" \
    --train.log "$work/running" >"$work/out" 2>"$work/err" &
pid=$!
tries=0
until [ -s "$work/running" ] || [ $tries -ge 600 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
kill -TERM $pid
wait $pid || die "a stopped run gave a status other than 0"
err_has "stopped after step "
find "$work/stopped" -name manifest.json | grep -q . || die "a stopped run saved nothing"

# A model of tokens, on text.
expect 0 "$tenon" train gpt2_debugmodel --data README.md --steps 2 --data.batch 2 --data.sequence 16 \
    --model.dim 16 --model.layers 1 --model.vocab 256 --data.split 0.2 --train.eval_batches 2 --json
json "len(x) == 2 and 4 < x[0]['loss'] < 7 and x[1]['eval_loss'] > 0"

# The report, in a browser.
! grep -qE 'https?://[^w]' "$work/run.html" || die "the page refers to something outside"
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
    echo "no browser: the page is not opened"
    exit 0
}
# A copy also says how many of its texts stick out of their pictures.
dom() {
    sed 's|</body>|<script>document.title = "cut " + [...document.querySelectorAll("svg text")].filter(t => { const b = t.getBBox(); return b.x < 0 \|\| b.x + b.width > 520 \|\| b.y + b.height > 240; }).length</script></body>|' "$1" >"$work/copy.html"
    "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$work/profile" \
        --virtual-time-budget=4000 --dump-dom "file://$work/copy.html" >"$work/dom" 2>"$work/err" ||
        die "the browser failed"
    grep -q "<title>cut 0</title>" "$work/dom" || die "labels are cut: $(grep '<title>' "$work/dom")"
}
dom "$work/run.html"
curves=$(grep -o 'data-curve="' "$work/dom" | wc -l)
[ "$curves" = 7 ] || [ "$curves" = 8 ] || die "$curves curves are drawn, not 7, or 8 with the part of the peak"
grep -q 'data-curve="loss" d="M' "$work/dom" || die "no curve of the loss"
[ "$(grep -o 'data-sample="[0-9]"' "$work/dom" | wc -l)" = 12 ] || die "not 12 images are shown"
[ "$(grep -oE '<figcaption class="(right|wrong)">[0-9] \([0-9]+ %\)' "$work/dom" | wc -l)" = 12 ] || die "predictions are missing"
# Rates far below 1, and next bytes of a text.
expect 0 "$tenon" train gpt2_debugmodel --data README.md --steps 6 --data.batch 2 --data.sequence 16 --model.dim 16 \
    --model.layers 1 --model.vocab 256 --optimizer.lr 3.123456e-6 --schedule.kind cosine --report "$work/text.html" -q
dom "$work/text.html"
[ "$(grep -o 'data-sample="tokens"' "$work/dom" | wc -l)" = 4 ] || die "not 4 windows are shown"
[ "$(grep -oE '<span class="(right|wrong)" title="predicted' "$work/dom" | wc -l)" = 64 ] || die "not 64 bytes are judged"
