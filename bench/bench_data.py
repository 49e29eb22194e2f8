#!/usr/bin/env python3
"""Images per second of one worker, beside PIL + torchvision in the same run.

    bench/bench_data.py [--images 96] [--rounds 3]

JPEGs of 500 × 375 pixels, made of gradients and noise at several scales (about 80 kB, as photographs of that
size), become 224 × 224 float images.  Both sides take turns on one core;
the best round of each counts.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

# torchvision's compiled part is not needed, and may not fit the PyTorch at hand.
torch.library.register_fake = lambda *_, **__: lambda function: function
from torchvision import transforms as T  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 500, 375


def photograph(rng: np.random.Generator) -> Image.Image:
    total = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for c in range(3):
        total[:, :, c] = 60 + 130 * (x / WIDTH * rng.random() + y / HEIGHT * rng.random())
    for cells, strength in ((6, 60), (24, 35), (90, 16)):
        rough = (rng.random((cells, cells, 3)) * 255).astype(np.uint8)
        smooth = Image.fromarray(rough).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        total += (np.asarray(smooth, np.float32) / 255 - 0.5) * strength
    total += rng.normal(0, 7, (HEIGHT, WIDTH, 1))
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def write_folder(folder: Path, count: int) -> float:
    rng = np.random.default_rng(0)
    for i in range(count):
        place = folder / f"class{i % 4}"
        place.mkdir(parents=True, exist_ok=True)
        photograph(rng).save(place / f"{i:04}.jpg", quality=90)
    files = list(folder.glob("*/*.jpg"))
    return sum(f.stat().st_size for f in files) / len(files)


def peer_transforms() -> dict:
    tail = [T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    middle = [T.Resize(256), T.CenterCrop(224)]
    bilinear = T.InterpolationMode.BILINEAR
    return {
        "train": T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), *tail]),
        "eval": T.Compose([*middle, *tail]),
        "colour": T.Compose(
            [T.RandomResizedCrop(224), T.ColorJitter(0.4, 0.4, 0.4), T.RandomHorizontalFlip(), *tail]
        ),
        "warp": T.Compose([*middle, T.RandomAffine(15, (0.1, 0.1), (0.9, 1.1), interpolation=bilinear), *tail]),
    }


def peer(transform, files: list[Path]) -> float:
    start = time.perf_counter()
    for begin in range(0, len(files), 32):
        images = []
        for name in files[begin : begin + 32]:
            with Image.open(name) as image:
                images.append(transform(image.convert("RGB")))
        torch.stack(images)
    return len(files) / (time.perf_counter() - start)


def tenon(program: Path, folder: Path, kind: str, batches: int) -> float:
    out = subprocess.run([program, folder, kind, str(batches)], check=True, capture_output=True, text=True)
    said = json.loads(out.stdout)
    assert said["skipped"] == 0
    return said["images"] / said["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder, program = Path(scratch) / "photos", Path(scratch) / "data_loader"
        size = write_folder(folder, args.images)
        subprocess.run(
            ["cc", "-O2", ROOT / "bench" / "data_loader.c", f"-I{ROOT / 'include'}", f"-L{ROOT / 'build' / 'lib'}",
             f"-Wl,-rpath,{ROOT / 'build' / 'lib'}", "-ltenon", "-o", program],
            check=True,
        )  # fmt: skip
        files = sorted(folder.glob("*/*.jpg"))
        print(f"{args.images} JPEGs of {WIDTH} x {HEIGHT}, {size / 1000:.0f} kB; images/s of one core")
        print(f"{'':8}{'tenon':>8}{'PIL':>8}{'ratio':>8}")
        for kind, transform in peer_transforms().items():
            ours = theirs = 0.0
            for _ in range(args.rounds):
                theirs = max(theirs, peer(transform, files))
                ours = max(ours, tenon(program, folder, kind, 20))
            print(f"{kind:8}{ours:8.0f}{theirs:8.0f}{ours / theirs:8.2f}", flush=True)


if __name__ == "__main__":
    main()
