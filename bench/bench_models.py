#!/usr/bin/env python3
"""Tenon, ONNX Runtime and PyTorch side by side on the model zoo; writes docs/performance.md.

    bench/bench_models.py [--models a,b] [--batches 1,8] [--threads 2,1] [--rounds 3] [--seconds 1]
                          [--peers ort,eager,compile] [--size full|small] [--add] [--page FILE]

Within a round Tenon and a peer take turns: Tenon, ONNX Runtime, Tenon, eager,
Tenon, torch.compile.  A ratio is the median over the rounds of neighbouring
measurements, so a slow minute of the machine meets both sides.  The numbers
go to build/bench/models.json, with --add beside those that are there; `--render` makes the page
from the file without measuring.  A model that Tenon cannot run shows up as failed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from exported import Exported, Repeated, read_manifest, relative_difference  # noqa: E402
from host import TenonError, bench_latency, machine, merged, roofs, run, versions  # noqa: E402
from peers import LEAST_RUNS, PEERS, Peer, PeerError, names, numbers  # noqa: E402
from performance_page import write_page  # noqa: E402


class Tenon:
    """Tenon on one model: `tenon run` for the result, `tenon bench` for the times."""

    def __init__(self, binary: Path, case: Exported, threads: int, scratch: Path):
        self.binary, self.case, self.scratch = str(binary), case, scratch
        self.options = ["--threads", str(threads)]
        for path, name in zip(case.data_files(0, "input"), case.data_set(0, "input")):
            self.options += ["-i", f"{name}={path}"]
        cache = scratch / f"cache-{case.name}-{threads}"
        cache.mkdir(mode=0o700)
        self.environment = os.environ | {"TENON_CACHE": str(cache)}
        run(self._command("run", "-o", str(self._outputs())), self.environment)
        self.difference = self._difference()

    def _command(self, verb: str, *more: str) -> list[str]:
        return [self.binary, verb, str(self.case.model), *self.options, *more]

    def _outputs(self) -> Path:
        out = self.scratch / f"out-{self.case.name}"
        out.mkdir(exist_ok=True)
        return out

    def _difference(self) -> float:
        worst = 0.0
        for name, want in self.case.data_set(0, "output").items():
            path = self._outputs() / (name.replace("/", "_") + ".npy")
            try:
                worst = max(worst, relative_difference(np.load(path), want))
            except (OSError, ValueError) as error:
                raise TenonError(f"output {name}: {error}") from None
        return worst

    def measure(self, seconds: float, about_ms: float) -> dict:
        """Steady latency; about_ms, a guess of one run, sets how often to run."""
        runs = max(LEAST_RUNS, min(5000, int(seconds * 1e3 / about_ms)))
        more = ("--steady", "-r", str(runs), "--json")
        return bench_latency(self._command("bench", *more), self.environment)


# ---------------------------------------------------------------- one model


def start_peers(stack, options, case: Exported, threads: int, scratch: Path, row: dict) -> dict:
    running = {}
    for peer in options.peers:
        try:
            started = Peer(peer, case, threads, scratch, options.data.parent / "inductor")
            running[peer] = stack.enter_context(started)
            row["engines"][peer] = {}
        except PeerError as error:
            row["engines"][peer] = {"error": str(error)}
    return running


def start_tenon(options, case: Exported, threads: int, scratch: Path, row: dict) -> Tenon | None:
    try:
        tenon = Tenon(options.tenon, case, threads, scratch)
    except TenonError as error:
        row["engines"]["tenon"] = {"error": str(error)}
        return None
    row["engines"]["tenon"] = {"difference": tenon.difference}
    return tenon


def take_turns(options, tenon: Tenon | None, peers: dict[str, Peer], row: dict) -> None:
    """Fills in the steady latencies and the ratios of Tenon to each peer."""
    about_ms = {name: peer.measure(0.2)["latency_ms"]["median"] for name, peer in peers.items()}
    measured: dict[str, list[dict]] = {name: [] for name in ("tenon", *peers)}
    ratios: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(options.rounds):
        for name, peer in peers.items():
            if tenon is not None:
                measured["tenon"].append(tenon.measure(options.seconds, about_ms[name]))
            measured[name].append(peer.measure(options.seconds))
            if tenon is not None:
                ours, theirs = (measured[e][-1]["latency_ms"]["median"] for e in ("tenon", name))
                ratios[name].append(ours / theirs)
    for name, rounds in measured.items():
        if rounds:
            row["engines"][name] |= merged(rounds)
    row["ratios"] = {peer: statistics.median(r) for peer, r in ratios.items() if r}


def read_once(path: Path) -> None:
    """Brings a file into the page cache, so that the first engine does not pay for all."""
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


def bench_model(options, case: Exported, threads: int, batch: int) -> dict:
    row = {"model": case.entry["model"], "exporter": case.entry["exporter"], "threads": threads,
           "batch": batch, "dims": case.entry.get("dims"), "engines": {}, "ratios": {}}  # fmt: skip
    if not case.entry["ok"]:
        row["engines"]["tenon"] = {"error": f"not exported: {case.entry['reason']}"}
        return row
    read_once(case.model)
    read_once(case.module)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        if batch > 1:
            case = Repeated(case.folder, case.entry, batch, Path(scratch))
        tenon = start_tenon(options, case, threads, Path(scratch), row)
        peers = start_peers(stack, options, case, threads, Path(scratch), row)
        while peers:
            try:
                take_turns(options, tenon, peers, row)
                break
            except TenonError as error:
                tenon, row["engines"]["tenon"] = None, {"error": str(error)}
            except PeerError as error:
                del peers[error.peer]
                row["engines"][error.peer] = {"error": str(error)}
    return row


def progress(row: dict) -> None:
    parts = []
    for name, engine in row["engines"].items():
        latency = engine.get("latency_ms")
        text = f"{latency['median']:.2f} ms" if latency else f"failed: {engine.get('error')}"
        parts.append(f"{name} {text}")
    where = f"{row['model']:14} batch {row['batch']} {row['threads']} threads  "
    print(where + "  ".join(parts), file=sys.stderr)


# ---------------------------------------------------------------- main


def cases(options) -> list[Exported]:
    out = options.zoo / options.size
    if not (out / "manifest.json").exists():
        small = ["--small"] if options.size == "small" else []
        tool = str(ROOT / "tools" / "export_models.py")
        print(f"exporting the {options.size} models into {out}", file=sys.stderr)
        subprocess.run([sys.executable, tool, "--out", str(out), *small], stdout=sys.stderr)
    every = [e for e in read_manifest(out) if e.entry["exporter"] == options.exporter]
    return [e for e in every if options.models is None or e.entry["model"] in options.models]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=lambda text: text.split(","), metavar="A,B")
    parser.add_argument("--exporter", choices=("legacy", "dynamo"), default="legacy")
    parser.add_argument("--size", choices=("full", "small"), default="full")
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS), metavar="A,B")
    parser.add_argument("--threads", type=numbers, default=[2, 1], metavar="N,M")
    parser.add_argument("--batches", type=numbers, default=[1, 8], metavar="N,M")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1, help="of each steady measurement")
    parser.add_argument("--zoo", type=Path, default=ROOT / "build" / "zoo", metavar="DIR")
    parser.add_argument("--tenon", type=Path, default=ROOT / "build" / "tenon", metavar="PATH")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--data", type=Path, default=ROOT / "build" / "bench" / "models.json")
    parser.add_argument("--kernels", type=Path, default=ROOT / "build" / "bench" / "kernels.json")
    parser.add_argument("--start", type=Path, default=ROOT / "build" / "bench" / "start.json")
    parser.add_argument("--train", type=Path, default=ROOT / "build" / "bench" / "train.json")
    parser.add_argument("--add", action="store_true", help="keep the other rows of --data")
    parser.add_argument("--render", action="store_true", help="only make the page from --data")
    return parser.parse_args()


def start_data(options) -> dict:
    rows = []
    if options.add and options.data.exists():
        rows = json.loads(options.data.read_text())["rows"]
    return {
        "schema": "tenon.bench-models/1", "date": datetime.date.today().isoformat(),
        "machine": machine(), "versions": versions(options.tenon), "roofs": roofs(options.tenon),
        "exporter": options.exporter, "size": options.size, "rounds": options.rounds,
        "seconds": options.seconds, "peers": options.peers, "rows": rows,
    }  # fmt: skip


def keep(options, data: dict, row: dict) -> None:
    """Replaces the row of the same work, in the order of the zoo, and writes the file."""
    order = {entry.entry["model"]: i for i, entry in enumerate(cases(options))}

    def key(r: dict) -> tuple:
        return order.get(r["model"], -1), r["batch"], -r["threads"]

    data["rows"] = sorted([r for r in data["rows"] if key(r) != key(row)] + [row], key=key)
    options.data.write_text(json.dumps(data, indent=1) + "\n")
    progress(row)


def measure(options) -> dict:
    options.data.parent.mkdir(parents=True, exist_ok=True)
    data = start_data(options)
    for case in cases(options):
        for batch, threads in itertools.product(options.batches, options.threads):
            keep(options, data, bench_model(options, case, threads, batch))
    data["roofs_after"] = roofs(options.tenon)
    options.data.write_text(json.dumps(data, indent=1) + "\n")
    return data


def main() -> int:
    options = arguments()
    data = json.loads(options.data.read_text()) if options.render else measure(options)
    write_page(options.page, models=options.data, kernels=options.kernels, start=options.start, train=options.train)
    return 0 if data["rows"] else 1


if __name__ == "__main__":
    sys.exit(main())
