#!/usr/bin/env python3
"""Trains the demo model: a small CNN that reads handwritten digits.

    tools/train_digits.py [--out examples/digits]

Data: scikit-learn's digits, 1797 images of 8×8 pixels.  A quarter is held
out; training never sees it.  Writes digits.onnx (image [N,1,8,8], pixels in
0..1 → logits [N,10]) and the first 16 held-out images with their labels.
The seed is fixed; on one machine a second run writes the same model.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

EPOCHS, BATCH, SHOWN = 60, 64, 16


def network() -> nn.Sequential:
    def block(c_in: int, c_out: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]

    return nn.Sequential(
        *block(1, 16), *block(16, 32), nn.MaxPool2d(2), *block(32, 48), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(48 * 2 * 2, 10),
    )  # fmt: skip


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Moves each image by up to one pixel, at random."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    dy, dx = torch.randint(0, 3, (2, len(images), 1))
    rows, columns = dy + torch.arange(8), dx + torch.arange(8)
    n = torch.arange(len(images))[:, None, None]
    return padded[n, 0, rows[:, :, None], columns[:, None, :]][:, None]


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    model.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(images))
        for batch in order[: len(order) // BATCH * BATCH].split(BATCH):
            loss = nn.functional.cross_entropy(model(shifted(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    return (model(images).argmax(1) == labels).float().mean().item()


def export(model: nn.Module, path: Path) -> None:
    warnings.filterwarnings("ignore")
    axes = {"image": {0: "N"}, "logits": {0: "N"}}
    torch.onnx.export(
        model.eval(), (torch.zeros(2, 1, 8, 8),), str(path), dynamo=False,
        input_names=["image"], output_names=["logits"], dynamic_axes=axes,
    )  # fmt: skip


def main() -> None:
    default = Path(__file__).resolve().parent.parent / "examples" / "digits"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=default, metavar="DIR")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(1)
    torch.set_num_threads(1)
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, None]
    split = train_test_split(images, digits.target, test_size=0.25, random_state=0,
                             stratify=digits.target)  # fmt: skip
    seen, held_out, seen_labels, held_out_labels = map(torch.from_numpy, split)

    model = network()
    train(model, seen, seen_labels)
    export(model, out / "digits.onnx")
    np.save(out / "images.npy", held_out[:SHOWN].numpy())
    np.save(out / "labels.npy", held_out_labels[:SHOWN].numpy())
    np.save(out / "all_images.npy", digits.images.astype(np.uint8))
    np.save(out / "all_labels.npy", digits.target.astype(np.uint8))
    print(f"training accuracy {accuracy(model, seen, seen_labels):.4f}")
    print(f"held-out accuracy {accuracy(model, held_out, held_out_labels):.4f}")


if __name__ == "__main__":
    main()
