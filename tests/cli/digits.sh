# What the tests of training share: a few digits as PNG class folders, and a configuration that learns them.
# Written to $work/digits and $work/run.json.
python3 - examples/digits "$work/digits" <<'PYTHON'
import os, struct, sys, zlib
source, out = sys.argv[1:]
pixels = open(source + "/all_images.npy", "rb").read()[-1797 * 64:]
labels = open(source + "/all_labels.npy", "rb").read()[-1797:]
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
for i in range(260):
    folder = f"{out}/{'train' if i < 200 else 'val'}/{labels[i]}"
    os.makedirs(folder, exist_ok=True)
    rows = [bytes([0]) + bytes(min(255, p * 16) for p in pixels[i * 64 + r * 8:][:8]) for r in range(8)]
    with open(f"{folder}/{i:04}.png", "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b""))
PYTHON
cat >"$work/run.json" <<JSON
{"model": {"config": "mlp", "hidden": [32]},
 "data": {"path": "$work/digits", "channels": 1, "batch": 32, "workers": 1,
          "transforms": [{"name": "warp", "degrees": 5}, {"name": "normalize", "mean": 0.3, "std": [0.35]}],
          "eval_transforms": [{"name": "normalize", "mean": 0.3, "std": [0.35]}]},
 "optimizer": {"kind": "adamw", "lr": 0.01, "betas": [0.9, 0.99], "clip_norm": 1.0},
 "schedule": {"kind": "cosine", "warmup": 5},
 "train": {"steps": 40, "seed": 1, "eval_every": 20}}
JSON
