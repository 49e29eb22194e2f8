#!/usr/bin/env python3
"""PyTorch and ONNX Runtime on the cases of kernel_cases.py: a process that takes one after another.

    bench/kernel_peers.py ENGINES THREADS        (bench_kernels.py starts it)

It reads commands, one a line, and answers each with one JSON object:

    open ENGINE TABLE CASE     {"variant"}: the fastest of the engine's ways to do the work
    measure ENGINE SECONDS     {"latency_ms", "peak_bytes"}
    check TABLE CASE FOLDER    {"difference"}: FOLDER/y0.npy … against PyTorch in f64
    close                      {}: forgets everything that is open

or {"error"}.  ENGINE is torch, torch_nhwc, eager, compile or ort; CASE may be CASE:COMPANION.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from kernel_cases import Case, find
from peers import ROOT, ort_session, peak_bytes, steady_latency, timed

sys.path.insert(0, str(ROOT / "tools"))
from exported import relative_difference  # noqa: E402

TRIAL_SECONDS, WARM_UP, LEAST_RUNS = 0.03, (0.03, 1), 3

# ---------------------------------------------------------------- what to run


def tensors(arrays: dict[str, np.ndarray]) -> dict:
    import torch

    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def torch_runs(case: Case, engine: str) -> dict:
    """variant → a function that prepares it and returns what to run."""
    if engine not in case.prepared:
        run = compiled_run if engine == "compile" else eager_run
        return {engine: lambda: run(case)}
    arrays = case.arrays().all()
    return {
        name: lambda prepare=prepare: prepare(**tensors(arrays))
        for name, prepare in case.prepared[engine].items()
    }


def eager_run(case: Case):
    operands = tensors(case.arrays().all())
    return lambda: case.function(**operands)


def compiled_run(case: Case):
    """torch.compile with the weights frozen, so that it may pack them."""
    import torch
    import torch._inductor.config

    torch._inductor.config.freezing = True
    torch._dynamo.reset()
    arrays = case.arrays()
    inputs, weights = tensors(arrays.inputs), tensors(arrays.weights)

    class Held(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, value in weights.items():
                self.register_buffer(f"held_{name}", value)

        def forward(self, **inputs):
            held = {name: getattr(self, f"held_{name}") for name in weights}
            return case.function(**inputs, **held)

    module = torch.compile(Held().eval(), dynamic=False)
    return lambda: module(**inputs)


def session_run(model, feed: dict, threads: int):
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(model.SerializeToString())
        file.flush()
        session = ort_session(file.name, threads)
    return lambda: session.run(None, feed)


def ort_runs(case: Case, threads: int) -> dict:
    arrays = case.arrays()
    if not case.ort:
        return {"the same file": lambda: session_run(case.model(arrays), arrays.inputs, threads)}
    return {
        name: lambda build=build: session_run(*build(arrays), threads)
        for name, build in case.ort.items()
    }


def fastest(runs: dict) -> tuple[str, object]:
    """Tries every variant; those that fail are left out while one works."""
    best, error = None, None
    for variant, prepare in runs.items():
        try:
            run = prepare()
            run()
            once = timed(run)
            if len(runs) > 1 and once < 1e3:
                once = steady_latency(run, TRIAL_SECONDS, WARM_UP, LEAST_RUNS)["median"]
        except Exception as failure:  # noqa: BLE001 - whatever a peer raises is its result
            error = failure
            continue
        if best is None or once < best[0]:
            best = (once, variant, run)
    if best is None:
        raise error
    return best[1], best[2]


# ---------------------------------------------------------------- memory


def trim_memory() -> int:
    """Gives free memory back and forgets the peak; the resident size that is left."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


# ---------------------------------------------------------------- commands


class Server:
    def __init__(self, threads: int):
        self.threads = threads
        self.runs: dict[str, object] = {}
        self.resident = 0

    def open(self, engine: str, table: str, name: str) -> dict:
        case = find(table, name)
        if not self.runs:
            self.resident = trim_memory()
        runs = ort_runs(case, self.threads) if engine == "ort" else torch_runs(case, engine)
        variant, self.runs[engine] = fastest(runs)
        return {"variant": variant}

    def measure(self, engine: str, seconds: str) -> dict:
        latency = steady_latency(self.runs[engine], float(seconds), WARM_UP, LEAST_RUNS)
        return {"latency_ms": latency, "peak_bytes": max(0, peak_bytes() - self.resident)}

    def check(self, table: str, name: str, folder: str) -> dict:
        import torch

        case = find(table, name)
        operands = {
            key: value.double() if value.is_floating_point() else value
            for key, value in tensors(case.arrays().all()).items()
        }
        wanted = case.function(**operands)
        wanted = [wanted] if isinstance(wanted, torch.Tensor) else wanted
        differences = [
            relative_difference(np.load(f"{folder}/y{i}.npy"), want.numpy())
            for i, want in enumerate(wanted)
        ]
        return {"difference": max(differences)}

    def close(self) -> dict:
        self.runs.clear()
        trim_memory()
        return {}


def serve(engines: list[str], threads: int) -> None:
    if engines != ["ort"]:
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
    server = Server(threads)
    for line in sys.stdin:
        command, *arguments = line.split()
        try:
            answer = getattr(server, command)(*arguments)
        except Exception as error:  # noqa: BLE001 - the caller decides what it means
            lines = str(error).strip().splitlines() or [""]
            answer = {"error": f"{type(error).__name__}: {lines[0]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1].split(","), int(sys.argv[2]))
