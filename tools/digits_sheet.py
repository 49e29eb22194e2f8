#!/usr/bin/env python3
"""Writes examples/digits/all_images.png and all_labels.txt: scikit-learn's 1,797 digits, in its order.

    tools/digits_sheet.py [--out examples/digits]

The picture has 43 rows of 42 digits of 8 × 8 pixels, gray; 0..16 is stored
as 0..255, rounded.  The text has a line for each row.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

ROWS, ACROSS, SIDE = 43, 42, 8


def main() -> None:
    default = Path(__file__).resolve().parent.parent / "examples" / "digits"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=default, metavar="DIR")
    out = parser.parse_args().out
    digits = load_digits()
    sheet = np.zeros((ROWS * ACROSS, SIDE, SIDE), np.uint8)
    sheet[: len(digits.images)] = np.rint(digits.images * 255 / 16)
    sheet = sheet.reshape(ROWS, ACROSS, SIDE, SIDE).swapaxes(1, 2).reshape(ROWS * SIDE, ACROSS * SIDE)
    Image.fromarray(sheet).save(out / "all_images.png", optimize=True)
    labels = "".join(map(str, digits.target))
    lines = [labels[i : i + ACROSS] for i in range(0, len(labels), ACROSS)]
    (out / "all_labels.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
