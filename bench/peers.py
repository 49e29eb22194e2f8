#!/usr/bin/env python3
"""Measures ONNX Runtime, PyTorch eager and torch.compile on exported models.

    bench/peers.py FOLDER… [--peers ort,eager,compile] [--threads 2,1] [--seconds 2]

FOLDER is a model that tools/export_models.py wrote.  Prints one JSON object a
line for each model, number of threads and peer: steady latency, time from
the start of the process to the first output (`cold`: first process, with
torch.compile's cache empty; `warm`: a second process), peak resident memory.

Each measurement runs in a process of its own (`peers.py --worker`), which
prints one JSON line when its first output is there, then one for every
number of seconds it reads from stdin.  bench_models.py keeps such workers
side by side and lets them take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

PEERS = {"ort": "ONNX Runtime", "eager": "PyTorch eager", "compile": "torch.compile"}
WARM_UP_SECONDS, WARM_UP_RUNS, LEAST_RUNS = 0.3, 1, 3
INDUCTOR = ROOT / "build" / "bench" / "inductor"  # what torch.compile made, from run to run


class PeerError(Exception):
    """A peer could not run the model."""

    def __init__(self, peer: str, message: str):
        super().__init__(message)
        self.peer = peer


# ---------------------------------------------------------------- worker side


def ort_session(model: str, threads: int, spin: bool = True):
    """spin: its threads wait for work by spinning, which disturbs other sessions."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def start_ort(case: dict, threads: int):
    session = ort_session(case["model"], threads)
    feed = dict(np.load(case["inputs"]))
    return lambda: session.run(None, feed)


def start_torch(case: dict, threads: int, compiled: bool):
    import torch

    torch.set_num_threads(threads)
    module = torch.load(case["module"], weights_only=False, mmap=True)
    if compiled:
        module = torch.compile(module)
    feed = np.load(case["inputs"])
    args = [torch.from_numpy(feed[name]) for name in feed.files]

    def run():
        with torch.inference_mode():
            return module(*args)

    return run


def timed(run) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def steady_latency(
    run,
    seconds: float,
    warm_up: tuple[float, int] = (WARM_UP_SECONDS, WARM_UP_RUNS),
    least_runs: int = LEAST_RUNS,
) -> dict:
    """Milliseconds of a run; warm_up: seconds and runs before, both at least."""
    end, count = time.perf_counter() + warm_up[0], 0
    while count < warm_up[1] or time.perf_counter() < end:
        run()
        count += 1
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least_runs or time.perf_counter() < end:
        times.append(timed(run))
    low, median, p95 = np.percentile(times, [0, 50, 95])
    return {"min": float(low), "median": float(median), "p95": float(p95), "runs": len(times)}


def peak_bytes(pid: int | str = "self") -> int:
    """The largest resident size so far of a running process; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    rows = [line.split() for line in lines if line.startswith("VmHWM:")]
    return int(rows[0][1]) * 1024 if rows else 0


def worker(case: dict) -> None:
    if case["peer"] == "ort":
        run = start_ort(case, case["threads"])
    else:
        run = start_torch(case, case["threads"], case["peer"] == "compile")
    run()
    first = (time.monotonic() - case["started"]) * 1e3
    print(json.dumps({"first_ms": first}), flush=True)
    for line in sys.stdin:
        latency = steady_latency(run, float(line))
        print(json.dumps({"latency_ms": latency, "peak_bytes": peak_bytes()}), flush=True)


# ---------------------------------------------------------------- caller side


class Worker:
    """A process that reads lines and answers with JSON objects, one a line."""

    def __init__(self, peer: str, command: list[str], environment: dict, log: Path):
        self.peer, self.command, self.environment, self.log = peer, command, environment, log

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment,
            stderr=self.log.open("w"), text=True,
        )  # fmt: skip

    def reply(self) -> dict:
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.process.wait()
        lines = self.log.read_text().strip().splitlines()
        message = lines[-1] if lines else f"exit status {self.process.returncode}"
        raise PeerError(self.peer, message)

    def ask(self, line: str) -> dict:
        with contextlib.suppress(BrokenPipeError):  # a dead worker shows in the reply
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
        return self.reply()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


class Peer(Worker):
    """A running worker on one model; use it in a `with` statement."""

    def __init__(self, peer: str, exported, threads: int, scratch: Path, cache: Path):
        """cache: the folder of what torch.compile makes; what is there already is used."""
        inputs = scratch / f"{exported.name}.npz"
        if not inputs.exists():
            data = exported.data_set(0, "input")
            np.savez(inputs, **{name: data[name] for name in data})
        case = {
            "peer": peer, "threads": threads, "inputs": str(inputs), "started": time.monotonic(),
            "model": str(exported.model), "module": str(exported.module),
        }  # fmt: skip
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_CACHE_DIR": str(cache),
            "PYTHONPATH": str(ROOT / "tools"), "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        command = [sys.executable, __file__, "--worker", json.dumps(case)]
        log = scratch / f"{exported.name}-{peer}-{threads}.log"
        super().__init__(peer, command, environment, log)
        self.start()
        self.first_ms = self.reply()["first_ms"]

    def measure(self, seconds: float) -> dict:
        return self.ask(str(seconds))


def first_results(peer: str, exported, threads: int, scratch: Path) -> dict[str, float]:
    """Milliseconds to the first output: `cold` of the first process, `warm` of a second one."""
    cache, first_ms = scratch / f"inductor-{exported.name}-{threads}", {}
    for kind in ("cold", "warm"):
        with Peer(peer, exported, threads, scratch, cache) as running:
            first_ms[kind] = running.first_ms
    return first_ms


def names(known):
    """What reads an option: some of the known names, with commas between."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = sorted(set(chosen) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
        return chosen

    return parse


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> int:
    from exported import read_manifest

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS), metavar="A,B")
    parser.add_argument("--threads", type=numbers, default=[2, 1], metavar="N,M")
    parser.add_argument("--seconds", type=float, default=2, help="of each steady measurement")
    options = parser.parse_args()
    failed = False
    for folder in options.folders:
        folder = folder.resolve()
        exported = next((e for e in read_manifest(folder.parent) if e.folder == folder), None)
        if exported is None:
            parser.error(f"{folder} is not in the manifest of {folder.parent}")
        for threads in options.threads:
            for peer in options.peers:
                row = {"schema": "tenon.peers/1", "model": exported.name, "peer": peer}
                row["threads"] = threads
                try:
                    with tempfile.TemporaryDirectory() as folder:
                        scratch = Path(folder)
                        row["first_ms"] = first_results(peer, exported, threads, scratch)
                        with Peer(peer, exported, threads, scratch, INDUCTOR) as running:
                            row |= running.measure(options.seconds)
                except PeerError as error:
                    failed, row["error"] = True, str(error)
                print(json.dumps(row), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(json.loads(sys.argv[2]))
    else:
        sys.exit(main())
