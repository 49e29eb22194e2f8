#!/bin/sh
# tenon train that is killed, that finds no space, and whose files are damaged: what was complete before stays,
# and a run that goes on from it gives the bits of one that nothing happened to.
#
#   TENON_KILLS=50 tests/cli/test_train_crash.sh build/tenon FOLDER cc      more kills than the usual few
. tests/cli/lib.sh
. tests/cli/digits.sh

# ---- kill -9 at random moments, a checkpoint every third step ----

python3 - "$tenon" "$work" "${TENON_KILLS:-5}" <<'PYTHON' || die "a killed run does not go on as it should"
import glob, json, os, random, signal, struct, subprocess, sys, time
tenon, work, kills = sys.argv[1], sys.argv[2], int(sys.argv[3])
random.seed(20261122)

def command(name, steps, *more):
    return [tenon, "train", f"{work}/run.json", "--quiet", "--steps", str(steps), "--schedule.kind", "constant",
            "--train.eval_every", "1000000", "--checkpoint.folder", f"{work}/{name}", "--checkpoint.every", "3",
            "--checkpoint.keep", "2", "--train.log", f"{work}/{name}.log",
            "--train.tensorboard", f"{work}/{name}.board", *more]

def lines(name):
    """The steps told, without times; half a line that a kill has left is passed over."""
    text = open(f"{work}/{name}.log").read() if os.path.exists(f"{work}/{name}.log") else ""
    rows = [json.loads(line) for line in text.split("\n")[:-1]]
    return [{k: v for k, v in row.items() if k not in ("step_ms", "wait_ms", "of_peak")} for row in rows]

def events(name):
    """(step, tag, bits) of all files, without times."""
    out = []
    for path in glob.glob(f"{work}/{name}.board/*"):
        data, at = open(path, "rb").read(), 0
        while at < len(data):
            size, = struct.unpack_from("<Q", data, at)
            body = data[at + 12:at + 12 + size]
            assert len(body) == size, "a torn record stays"
            step, i = 0, 10
            for i in range(10, len(body)):
                step |= (body[i] & 127) << 7 * (i - 10)
                if body[i] < 128:
                    break
            tag = body[i + 1:-4]
            if step and b"time/" not in tag:
                out.append((step, tag, body[-4:]))
            at += 16 + size
    return sorted(out)

def touched():
    return os.stat(f"{work}/killed.log").st_mtime_ns if os.path.exists(f"{work}/killed.log") else 0

# Runs that would go on for ever; the undisturbed one comes last, with as many steps as there were then.
found = []
for kill in range(kills):
    before = touched()
    run = subprocess.Popen(command("killed", 100000000, "--resume"), stderr=subprocess.PIPE, text=True)
    if kill % 5 == 0:  # while it starts
        time.sleep(random.random() * 0.2)
    else:  # in one of its first steps
        while touched() == before and run.poll() is None:
            time.sleep(0.0005)
        time.sleep(random.random() * 0.15)
    run.send_signal(signal.SIGKILL)
    error = run.communicate()[1]
    assert run.returncode == -9, f"kill {kill}: it ended before: {error}"
    found.append(len(lines("killed")))
STEPS = found[-1] + 5
assert subprocess.run(command("killed", STEPS, "--resume")).returncode == 0
assert subprocess.run(command("whole", STEPS)).returncode == 0
assert lines("killed") == lines("whole") and len(lines("whole")) == STEPS, "the log differs"
assert events("killed") == events("whole") and events("whole"), "the event files differ"
assert subprocess.run(["diff", "-r", f"{work}/whole", f"{work}/killed"]).returncode == 0, "a checkpoint differs"
assert os.path.exists(f"{work}/killed/step-{STEPS}/manifest.json")
print(f"{kills} kills over {STEPS} steps, after lines {found}: log, events and last checkpoints are those of the "
      "run that was left alone")
PYTHON

# ---- no space, and files that are damaged ----

train() {
    "$tenon" train "$work/run.json" --quiet --train.eval_every 0 --checkpoint.folder "$work/run" \
        --checkpoint.every 10 --schedule.total 40 --schedule.period 35 --resume "$@"
}
# went_on: the run that continues is the one that nothing happened to.
went_on() {
    expect 0 train
    diff -r "$work/alone" "$work/run" || die "the run that went on $1 differs"
}
expect 0 train --checkpoint.folder "$work/alone"
expect 0 train --steps 20

# A limit of the size of files stands for a full disk.
limited() (
    trap '' XFSZ
    ulimit -f 4
    train
)
expect 1 limited
says "while saving step 30: $work/run/step-30.tmp/model.safetensors: cannot write: File too large; the last checkpoint is $work/run/step-20, --resume goes on from it"
[ ! -e "$work/run/step-30.tmp" ] || die "leftovers of a save that failed"
went_on "after a limit"

# A disk that is really full, where one can be made: first the log does not fit, then the checkpoint.
if mkdir "$work/disk" && mount -t tmpfs -o size=128k tmpfs "$work/disk" 2>"$work/err"; then
    trap 'umount "$work/disk"' EXIT
    rm -r "$work/run"
    expect 0 train --steps 20
    rm -r "$work/run/step-10"
    mv "$work/run" "$work/disk/run"
    head -c 200000 /dev/zero >"$work/disk/filler" 2>"$work/err" || true
    expect 1 train --checkpoint.folder "$work/disk/run" --train.log "$work/disk/log"
    says "train.log: cannot write $work/disk/log: No space left on device; the last checkpoint is $work/disk/run/step-20, --resume goes on from it"
    expect 1 train --checkpoint.folder "$work/disk/run"
    err_has "No space left on device; the last checkpoint is $work/disk/run/step-20"
    rm "$work/disk/filler"
    expect 0 train --checkpoint.folder "$work/disk/run" --checkpoint.every 0 --checkpoint.keep 2
    diff -r "$work/alone/step-40" "$work/disk/run/step-40" || die "the run on a disk that was full differs"
    umount "$work/disk"
    trap - EXIT
else
    echo "no tmpfs can be mounted: the limit of the size of files has to do"
fi

# The newest checkpoint is damaged, or one of its files is gone: the one before it serves.
rm -rf "$work/run"
expect 0 train --steps 30
printf 'x' | dd of="$work/run/step-30/optimizer.safetensors" bs=1 seek=1000 conv=notrunc 2>"$work/err"
expect 0 "$tenon" train "$work/run.json" --steps 20 --checkpoint.folder "$work/run" --resume
err_has "step-30"
err_has "optimizer.safetensors"
rm "$work/run/step-20/model.safetensors"
expect 0 "$tenon" train "$work/run.json" --steps 10 --checkpoint.folder "$work/run" --resume -v
err_has "step-20"
err_has "goes on from step 10"
rm -r "$work/run/step-20" "$work/run/step-30"
went_on "from an older checkpoint"

# Shards of tokens: one that is not there at the beginning, one that becomes shorter in the run.
tokens() {
    "$tenon" train gpt2_debugmodel --data "$work/shards" --steps 100000 --data.batch 2 --data.sequence 16 \
        --model.dim 16 --model.layers 1 --model.vocab 256 --quiet --checkpoint.folder "$work/text" \
        --checkpoint.every 5 --checkpoint.keep 2 --train.log "$work/text.log" --resume "$@"
}
mkdir "$work/shards"
cp README.md "$work/shards/a"
ln -s "$work/nowhere" "$work/shards/b"
expect 1 tokens --steps 5
says "while opening the data: $work/shards/b: No such file or directory"
rm "$work/shards/b"
cp docs/cli.md "$work/shards/b"
tokens 2>"$work/err" &
pid=$!
tries=0
until [ -n "$(find "$work/text" -name manifest.json 2>"$work/out")" ] || [ $tries -ge 1000 ]; do
    tries=$((tries + 1))
    sleep 0.02
done
: >"$work/shards/b"
status=0
wait $pid || status=$?
[ $status = 1 ] || die "a shard that shrinks gave status $status"
err_has "$work/shards/b: it ends at byte "
err_has ", and was longer when it was opened; the last checkpoint is $work/text/step-"
at=$(sed -n 's/.*step-\([0-9]*\), --resume.*/\1/p' "$work/err")
cp docs/cli.md "$work/shards/b"
expect 0 tokens --steps $((at + 2)) --train.log "$work/text2.log"
[ "$(head -1 "$work/text2.log" | sed 's/.*"step":\([0-9]*\).*/\1/')" = $((at + 1)) ] || die "resumed elsewhere"
