"""What bench_kernels.py lets take turns: Tenon's command, and the processes of its peers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from host import ROOT, bench_latency, run
from kernel_cases import Case
from peers import PeerError, Worker

# engine: the process that it runs in
PROCESSES = {"openblas": "blas", "onednn": "blas", "torch": "torch", "torch_nhwc": "torch",
             "eager": "torch", "compile": "torch", "ort": "ort"}  # fmt: skip
BLAS = {"HAVE_OPENBLAS": "-lopenblas", "HAVE_DNNL": "-ldnnl"}
LEAST_RUNS, MOST_RUNS = 3, 100000

# ---------------------------------------------------------------- the peers


def build_blas_peer(scratch: Path) -> Path:
    """Compiles blas_peer.c with the libraries that are there."""
    cc, source = os.environ.get("CC", "cc"), ROOT / "bench" / "blas_peer.c"
    out = scratch / "blas_peer"
    found = []
    for macro, library in BLAS.items():
        command = [cc, "-O2", "-std=c11", "-D_GNU_SOURCE", f"-D{macro}", str(source), library]
        if subprocess.run([*command, "-o", str(out)], capture_output=True).returncode == 0:
            found += [f"-D{macro}", library]
        else:
            print(f"not found: {library} (scripts/setup.sh --bench)", file=sys.stderr)
    command = [cc, "-O2", "-std=c11", "-D_GNU_SOURCE", str(source), *found, "-o", str(out)]
    subprocess.run(command, check=True)
    return out


class Engines:
    """The peers' processes for one number of threads; each starts when it is first asked."""

    def __init__(self, options, threads: int, scratch: Path):
        self.options, self.threads, self.scratch = options, threads, scratch
        self.workers: dict[str, Worker] = {}

    def _worker(self, process: str) -> Worker:
        if process in self.workers:
            return self.workers[process]
        command = [sys.executable, str(ROOT / "bench" / "kernel_peers.py"), process]
        if process == "blas":
            command = [str(self.options.blas_peer)]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(self.threads), "OPENBLAS_NUM_THREADS": str(self.threads),
            "TORCHINDUCTOR_CACHE_DIR": str(self.options.data.parent / "inductor"),
            # memory that a peer frees stays mapped: no page faults at its next result
            "MALLOC_MMAP_THRESHOLD_": str(1 << 40), "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
        }  # fmt: skip
        log = self.scratch / f"{process}-{self.threads}.log"
        worker = Worker(process, [*command, str(self.threads)], environment, log)
        worker.start()
        self.workers[process] = worker
        return worker

    def ask(self, engine: str, line: str) -> dict:
        process = PROCESSES[engine]
        try:
            answer = self._worker(process).ask(line)
        except PeerError:
            self.workers.pop(process).close()
            raise
        if "error" in answer:
            raise PeerError(engine, answer["error"])
        return answer

    def open(self, engine: str, case: Case) -> dict:
        if PROCESSES[engine] == "blas":
            f, weight = case.facts, int(case.table == "matmul_weight")
            sizes = f"{f['m']} {f['n']} {f['k']} {f['batch']}"
            return self.ask(engine, f"open {engine} {sizes} {weight}")
        return self.ask(engine, f"open {engine} {case.table} {case.name}")

    def measure(self, engine: str, seconds: float) -> dict:
        return self.ask(engine, f"measure {engine} {seconds}")

    def forget(self) -> None:
        for worker in self.workers.values():
            with contextlib.suppress(PeerError):
                worker.ask("close")

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()


# ---------------------------------------------------------------- Tenon


@dataclass
class Files:
    """A case on disk: the model and its inputs."""

    model: Path
    inputs: list[str]


def write_files(case: Case, folder: Path) -> Files:
    folder.mkdir()
    arrays, inputs = case.arrays(), []
    model = folder / "model.onnx"
    model.write_bytes(case.model(arrays).SerializeToString())
    for name, value in arrays.inputs.items():
        np.save(folder / f"{name}.npy", value)
        inputs += ["-i", f"{name}={folder / name}.npy"]
    return Files(model, inputs)


class TenonRuns:
    """Tenon on one case: the first call compiles and finds out how long a run takes."""

    def __init__(self, options, files: Files, threads: int):
        self.options, self.files, self.threads = options, files, threads
        self.environment = os.environ | {"TENON_CACHE": str(options.cache)}
        self.about_ms = self._bench(1, LEAST_RUNS)["latency_ms"]["min"]

    def _command(self, verb: str, *more: str) -> list[str]:
        threads = ["--threads", str(self.threads)]
        return [str(self.options.tenon), verb, str(self.files.model), *self.files.inputs,
                *threads, *more]  # fmt: skip

    def _bench(self, warmup: int, runs: int) -> dict:
        more = ("--steady", "--json", "--warmup", str(warmup), "-r", str(runs))
        return bench_latency(self._command("bench", *more), self.environment)

    def measure(self, seconds: float) -> dict:
        fitting = int(seconds * 1e3 / self.about_ms)
        runs = max(LEAST_RUNS, min(MOST_RUNS, fitting))
        return self._bench(max(1, runs // 5), runs)

    def outputs(self, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        run(self._command("run", "-o", str(folder)), self.environment)
        return folder
