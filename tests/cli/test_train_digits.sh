#!/bin/sh
# The configuration of examples/digits, shortened, on the JPEG class folders that example 08 writes; and the
# same network on folders as ImageNet has them: colour images, each of its own size.
. tests/cli/lib.sh

expect 0 "$(dirname "$tenon")/examples/08_data_loading" "$work/digits"
set -- "$work/digits"/train/*/*.jpg
[ $# = 1437 ] || die "$# digits to train on, not 1437"
set -- "$work/digits"/val/*/*.jpg
[ $# = 360 ] || die "$# digits are held out, not 360"
expect 0 "$tenon" train examples/digits/train.json --data "$work/digits" --steps 110 --schedule.warmup 10 \
    --train.eval_every 110 --threads 1 --json
json "len(x) == 110 and x[-1]['eval_accuracy'] > 0.93"

python3 - "$work/photos" <<'PYTHON'
import os, random, struct, sys, zlib
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
random.seed(1)
for i in range(48):
    colour, w, h = i % 3, random.randrange(18, 60), random.randrange(18, 60)
    folder = f"{sys.argv[1]}/{'train' if i < 36 else 'val'}/n{colour:08}"
    os.makedirs(folder, exist_ok=True)
    pixel = lambda: bytes(random.randrange(100, 256) if c == colour else random.randrange(160) for c in range(3))
    rows = b"".join(b"\0" + b"".join(pixel() for _ in range(w)) for _ in range(h))
    with open(f"{folder}/{i}.PNG", "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
PYTHON
expect 0 "$tenon" train resnet20_v2 --data "$work/photos" --steps 12 --data.batch 12 --model.image 16 --threads 1 --json \
    --data.transforms '[{"name": "random_resized_crop", "height": 16, "width": 16}, "flip_horizontal",
                        {"name": "normalize", "mean": [0.45, 0.45, 0.45], "std": [0.3, 0.3, 0.3]}]' \
    --data.eval_transforms '[{"name": "resize", "shorter": 18}, {"name": "center_crop", "height": 16, "width": 16},
                             {"name": "normalize", "mean": [0.45, 0.45, 0.45], "std": [0.3, 0.3, 0.3]}]'
json "len(x) == 12 and x[-1]['loss'] < 0.5 * x[0]['loss'] and 'eval_accuracy' in x[-1]"
