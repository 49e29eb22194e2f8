#!/usr/bin/env python3
"""How far the genetic search stays behind the exact one: 3 models × 4 datasets × 3 batches on one machine.

    bench/check_genetic.py [--dataflows SPACE] [--population N] [--generations N] [--seed N] [--threads N] [--most GAP]
                          [--near-memory-model MODEL] [--skip MODEL:BATCH]

Both searches run through `tenon explore`. Exits with 1 where the genetic search is more than GAP (default 0.02) above
the best that the exact one found, or below a proven optimum, which would be a wrong proof.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TENON = Path(__file__).resolve().parents[1] / "build" / "tenon"
DATASETS = {"he": (157, 67), "sg": (783, 209), "lb": (1886, 97), "lg": (1971, 17)}
MODELS = ("opt", "llama", "palm")
BATCHES = (1, 4, 16)


def explore(options: list[str], folder: str) -> tuple[dict, float]:
    """The part of the best machine, and the seconds that it took."""
    start = time.monotonic()
    command = [str(TENON), "explore", "--json", "--dse-output-dir", folder, *options]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(text)["machines"][0]["parts"][0], time.monotonic() - start


def point(model: str, dataset: str, batch: int) -> list[str]:
    prompt, generate = DATASETS[dataset]
    return [
        *("--model-type", model, "--max-batch-size", str(batch), "--input-seq-len", str(prompt)),
        *("--max-gen-len", str(generate), "--max-seq-len", "2048", "--nmp-channel-num-space", "6"),
        *("--fpu-pe-bw-space", "[(8,600,25.6)]", "--input-buffer-size-space", "32"),
        *("--weight-buffer-size-space", "32", "--output-buffer-total-size-space", "64", "--is-device-fixed"),
    ]


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataflows", default="data-centric")
    parser.add_argument("--population", type=int, default=2500)
    parser.add_argument("--generations", type=int, default=50)
    parser.add_argument("--seed", type=int, default=114514)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--near-memory-model", default="nmp_roofline")
    parser.add_argument("--skip", default="", help="points of this MODEL:BATCH")
    parser.add_argument("--most", type=float, default=0.02)
    return parser.parse_args()


def main() -> int:
    a = read_arguments()
    genetic = [
        *("--method", "genetic", "--seed", str(a.seed), "--mutate-ratio", "0.8", "--topk", "50"),
        *("--population-num-per-generation", str(a.population), "--num-generations", str(a.generations)),
        *(("--threads", str(a.threads)) if a.threads else ()),
    ]
    worst, logs, total, failed = 0.0, 0.0, 0.0, 0
    print("model dataset batch        exact                genetic              gap  seconds", flush=True)
    points = [(m, d, b) for m in MODELS for d in DATASETS for b in BATCHES if f"{m}:{b}" != a.skip]
    with tempfile.TemporaryDirectory() as folder:
        for model, dataset, batch in points:
            options = [*point(model, dataset, batch), "--dataflows", a.dataflows]
            options += ["--near-memory-model", a.near_memory_model]
            exact, _ = explore([*options, "--seconds", "20"], folder)
            found, seconds = explore([*options, *genetic], folder)
            best, value = exact["evaluation"]["total"], found["evaluation"]["total"]
            gap = value / best - 1
            wrong = gap > a.most or (exact["optimal"] and gap < -1e-8)
            failed += wrong
            worst, logs, total = max(worst, gap), logs + math.log1p(gap), total + seconds
            print(f"{model:5} {dataset:7} {batch:5}  {best!r:20} {value!r:20}  {gap:9.2e}  {seconds:5.2f}"
                  f"{'' if exact['optimal'] else '  (exact: not proven)'}{'  FAILED' if wrong else ''}", flush=True)
    print(f"{len(points)} points: gap at most {worst:.3g}, in the geometric mean {math.expm1(logs / len(points)):.3g}; "
          f"genetic {total:.1f} s; {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
