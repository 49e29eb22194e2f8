#!/usr/bin/env python3
"""Steps of training with Tenon, PyTorch eager and torch.compile side by side.

    bench/bench_train.py [--models a,b] [--rounds 5] [--seconds 1.5] [--threads 2]
                         [--peers eager,compile] [--add] [--page FILE] [--profile]

train_steps (C) and train_peers.py take the same steps: forward, loss, backward,
clipping where there is any, update, reading the loss.  They begin from the
same parameters with the same batch, and their first losses are compared.
Within a round Tenon and a peer take turns; a ratio is the median over the
rounds of neighbouring measurements.  What Tenon and torch.compile compile is
kept in build/bench from run to run.  The numbers go to
build/bench/train.json, with --add beside those that are there.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

from host import machine, merged, roofs, versions  # noqa: E402
from peers import INDUCTOR, PeerError, Worker, names, peak_bytes  # noqa: E402
from performance_page import write_page_of  # noqa: E402

MODELS = ("mlp", "cnn", "resnet18", "llama3_debugmodel", "deepseek_v3_debugmodel", "bert_base",
          "lstm")  # fmt: skip
PEERS = ("eager", "compile")


class Engine(Worker):
    """A process that trains one model; use it in a `with` statement."""

    def __init__(self, name: str, command: list[str], environment: dict, log: Path):
        super().__init__(name, command, os.environ | environment, log)
        self.start()
        try:
            self.first = self.reply()
        except PeerError:
            self.close()
            raise

    def measure(self, seconds: float) -> dict:
        return self.ask(str(seconds)) | {"peak_bytes": peak_bytes(self.process.pid)}


def build_driver(options) -> Path:
    out = options.folder / "train_steps"
    sources = [ROOT / "bench" / name for name in ("train_steps.c", "train_models.c", "steady.c")]
    subprocess.run(
        [os.environ.get("CC", "cc"), "-O2", *sources, f"-I{ROOT / 'include'}", "-o", out,
         f"-L{options.library}", f"-Wl,-rpath,{options.library}", "-ltenon", "-lm"],
        check=True,
    )  # fmt: skip
    return out


def start_tenon(options, driver: Path, model: str, scratch: Path) -> Engine:
    command = [str(driver), model, str(scratch / "start.safetensors"), str(options.threads)]
    cache = options.folder / "train-cache"
    return Engine("tenon", command, {"TENON_CACHE": str(cache)}, scratch / "tenon.log")


def start_peer(options, peer: str, model: str, scratch: Path) -> Engine:
    script, start = ROOT / "bench" / "train_peers.py", scratch / "start.safetensors"
    command = [sys.executable, str(script), model, str(start), str(options.threads), peer]
    environment = {"OMP_NUM_THREADS": str(options.threads), "TORCHINDUCTOR_CACHE_DIR": str(INDUCTOR)}
    return Engine(peer, command, environment, scratch / f"{peer}.log")


def print_profile(options, driver: Path, model: str) -> None:
    """The kernels of Tenon's step, those of the same name and work together, slowest first."""
    with tempfile.TemporaryDirectory() as scratch, \
         start_tenon(options, driver, model, Path(scratch)) as tenon:  # fmt: skip
        said = tenon.ask(f"profile {options.seconds}")
        together: dict[tuple, list[float]] = {}
        for k in said["kernels"]:
            sums = together.setdefault((k["name"], k["flops"], k["bytes"], k["parallel"]), [0, 0])
            sums[0] += k["runs"]
            sums[1] += k["ms"]
        total = sum(k["ms"] for k in said["kernels"])
        print(f"{model}: {total:.2f} ms in {len(said['kernels'])} kernels; tensors of "
              f"{said['bytes'] / 1e6:.0f} MB, temporaries of {said['temporary_bytes'] / 1e6:.0f} MB")  # fmt: skip
        print(f"{'ms':>9} {'%':>5} {'runs':>6} {'GFLOP/s':>8} {'GB/s':>7}")
        for (name, flops, size, parallel), (runs, ms) in sorted(together.items(), key=lambda i: -i[1][1]):
            rate, speed = (amount * runs / ms / 1e6 for amount in (flops, size))
            print(f"{ms:9.3f} {100 * ms / total:5.1f} {runs:6g} {rate:8.1f} {speed:7.1f} "
                  f"{' ' if parallel else '1'} {name}")  # fmt: skip


# ---------------------------------------------------------------- one model


def difference(ours: list[float], theirs: list[float]) -> float:
    """Of the losses of the first steps, relative."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def take_turns(options, tenon: Engine, peers: dict[str, Engine], row: dict) -> None:
    measured: dict[str, list[dict]] = {name: [] for name in ("tenon", *peers)}
    ratios: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(options.rounds):
        for name, peer in peers.items():
            measured["tenon"].append(tenon.measure(options.seconds))
            measured[name].append(peer.measure(options.seconds))
            ours, theirs = (measured[e][-1]["latency_ms"]["median"] for e in ("tenon", name))
            ratios[name].append(ours / theirs)
    for name, rounds in measured.items():
        row["engines"][name] |= merged(rounds)
    row["ratios"] = {peer: statistics.median(r) for peer, r in ratios.items()}


def bench_model(options, driver: Path, model: str) -> dict:
    row = {"model": model, "threads": options.threads, "engines": {}, "ratios": {}}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        scratch, peers = Path(folder), {}
        try:
            tenon = stack.enter_context(start_tenon(options, driver, model, scratch))
        except PeerError as error:
            row["engines"]["tenon"] = {"error": str(error)}
            return row
        row["parameters"] = tenon.first["parameters"]
        row["engines"]["tenon"] = {"losses": tenon.first["losses"]}
        for name in options.peers:
            try:
                peers[name] = stack.enter_context(start_peer(options, name, model, scratch))
                losses = peers[name].first["losses"]
                row["engines"][name] = {"losses": losses,
                                        "difference": difference(tenon.first["losses"], losses)}  # fmt: skip
            except PeerError as error:
                row["engines"][name] = {"error": str(error)}
        if not peers:
            return row
        try:
            take_turns(options, tenon, peers, row)
        except PeerError as error:
            row["engines"][error.peer] = {"error": str(error)}
    return row


def progress(row: dict) -> None:
    parts = []
    for name, engine in row["engines"].items():
        latency = engine.get("latency_ms")
        text = f"failed: {engine['error']}" if "error" in engine else "not measured"
        if latency:
            off = f", losses off {engine['difference']:.0e}" if "difference" in engine else ""
            text = f"{latency['median']:.1f} ms, {engine['peak_bytes'] / 1e6:.0f} MB{off}"
        parts.append(f"{name} {text}")
    ratios = " ".join(f"{value:.2f}" for value in row["ratios"].values())
    print(f"{row['model']:24}" + "  ".join(parts) + f"  ratios {ratios}", file=sys.stderr)


# ---------------------------------------------------------------- main


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=names(MODELS), default=list(MODELS), metavar="A,B")
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS), metavar="A,B")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--tenon", type=Path, default=ROOT / "build" / "tenon", metavar="PATH")
    parser.add_argument("--library", type=Path, default=ROOT / "build" / "lib", metavar="DIR")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench", metavar="DIR",
                        help="of train.json, models.json, kernels.json and start.json")  # fmt: skip
    parser.add_argument("--add", action="store_true", help="keep the other rows of train.json")
    parser.add_argument("--profile", action="store_true", help="only print Tenon's kernels")
    parser.add_argument("--render", action="store_true", help="only make the page")
    return parser.parse_args()


def start_data(options) -> dict:
    rows = []
    if options.add and (options.folder / "train.json").exists():
        rows = json.loads((options.folder / "train.json").read_text())["rows"]
    return {
        "schema": "tenon.bench-train/1", "date": datetime.date.today().isoformat(),
        "machine": machine(), "versions": versions(options.tenon), "threads": options.threads,
        "rounds": options.rounds, "seconds": options.seconds, "peers": options.peers,
        "roofs": roofs(options.tenon, options.folder / "train-cache", options.threads),
        "rows": rows,
    }  # fmt: skip


def write(options, data: dict) -> None:
    (options.folder / "train.json").write_text(json.dumps(data, indent=1) + "\n")


def measure(options) -> None:
    (options.folder / "train-cache").mkdir(mode=0o700, parents=True, exist_ok=True)
    driver, data = build_driver(options), start_data(options)
    for model in options.models:
        row = bench_model(options, driver, model)
        progress(row)
        others = [r for r in data["rows"] if r["model"] != model]
        data["rows"] = sorted([*others, row], key=lambda r: MODELS.index(r["model"]))
        write(options, data)
    data["roofs_after"] = roofs(options.tenon, options.folder / "train-cache", options.threads)
    write(options, data)


def main() -> int:
    options = arguments()
    options.library = options.library.resolve()
    if options.profile:
        (options.folder / "train-cache").mkdir(mode=0o700, parents=True, exist_ok=True)
        driver = build_driver(options)
        for model in options.models:
            print_profile(options, driver, model)
        return 0
    if not options.render:
        measure(options)
    write_page_of(options.page, options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
