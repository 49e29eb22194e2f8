#!/usr/bin/env python3
"""Tenon's kernels beside OpenBLAS, oneDNN, PyTorch and ONNX Runtime; writes docs/performance.md.

    bench/bench_kernels.py [--tables a,b] [--cases REGEX] [--threads 2,1] [--rounds 3]
                           [--seconds 0.15] [--quick] [--add] [--list]

A case is a model of one kernel (kernel_cases.py).  In a round every engine is measured once,
Tenon in the middle; a ratio is the median over the rounds.  The engines are processes that
stay and take case after case; Tenon is `tenon bench`.  Tenon's result is compared with
PyTorch's in f64.  The numbers go to build/bench/kernels.json, with --add beside those that
are there; `--render` makes the page from the file without measuring.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from host import TenonError, bench_latency, machine, merged, roofs, run, versions
from kernel_cases import TABLES, Case, chosen
from peers import ROOT, PeerError, Worker, numbers
from performance_page import write_page

PROCESSES = {"openblas": "blas", "onednn": "blas", "torch": "torch", "eager": "torch",
             "compile": "torch", "ort": "ort"}  # fmt: skip
BLAS = {"HAVE_OPENBLAS": "-lopenblas", "HAVE_DNNL": "-ldnnl"}
ROOFED = ("matmul_weight", "permute", "rows", "matvec")  # tables that speak of a roof
LEAST_RUNS, MOST_RUNS = 3, 100000
GFLOPS, GBS = 30, 5  # what the slowest engine surely reaches, for the expected time

# ---------------------------------------------------------------- peers


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


# ---------------------------------------------------------------- one case


def start_tenon(options, files: dict[str, Files], threads: int, row: dict) -> dict:
    """Tenon on the case and on its companions."""
    running = {}
    for name, its_files in files.items():
        try:
            running[name] = TenonRuns(options, its_files, threads)
            row["engines"][name] = {}
        except TenonError as error:
            row["engines"][name] = {"error": str(error)}
    return running


def start_peers(options, engines: Engines, case: Case, row: dict) -> list[str]:
    running = []
    for engine in case.engines:
        if engine not in options.peers:
            continue
        try:
            row["engines"][engine] = engines.open(engine, case)
            running.append(engine)
        except PeerError as error:
            row["engines"][engine] = {"error": str(error)}
    return running


def take_turns(options, engines: Engines, tenon: dict, peers: list[str], row: dict) -> None:
    """Rounds of one measurement each, Tenon's between the peers'."""
    half = len(peers) // 2
    order = [*peers[:half], *tenon, *peers[half:]]
    measured: dict[str, list[dict]] = {name: [] for name in order}
    for _ in range(options.rounds):
        latencies = {}
        for name in order:
            try:
                runs = tenon[name].measure if name in tenon else None
                figures = runs(options.seconds) if runs else engines.measure(name, options.seconds)
            except (TenonError, PeerError) as error:
                row["engines"][name]["error"] = str(error)
                continue
            measured[name].append(figures)
            latencies[name] = figures["latency_ms"]["median"]
        row["rounds"].append(latencies)
    for name, rounds in measured.items():
        if rounds and "error" not in row["engines"][name]:
            row["engines"][name] |= merged(rounds)


def check(engines: Engines, tenon: TenonRuns, case: Case, folder: Path, row: dict) -> None:
    """Compares Tenon's result with PyTorch's in f64."""
    try:
        outputs = tenon.outputs(folder / "outputs")
        answer = engines.ask("eager", f"check {case.table} {case.name} {outputs}")
        row["difference"] = answer["difference"]
    except TenonError as error:
        row["engines"]["tenon"] = {"error": str(error)}
    except PeerError as error:
        print(f"{case.name}: not checked: {error}", file=sys.stderr)


def bench_case(options, engines: Engines, case: Case, files: dict, folder: Path) -> dict:
    threads = engines.threads
    row = {"table": case.table, "case": case.name, "threads": threads, "flops": case.flops,
           "bytes": case.bytes, "facts": case.facts, "engines": {}, "rounds": []}  # fmt: skip
    tenon = start_tenon(options, files, threads, row)
    if "tenon" in tenon and options.check:
        check(engines, tenon["tenon"], case, folder, row)
    peers = start_peers(options, engines, case, row)
    sides = [measured_roofs(options, case, threads)]
    take_turns(options, engines, tenon, peers, row)
    sides.append(measured_roofs(options, case, threads))
    engines.forget()
    sides = [roof for roof in sides if roof]
    row["roofs"] = {key: statistics.mean(r[key] for r in sides) for key in sides[0]} if sides else {}
    return row


def measured_roofs(options, case: Case, threads: int) -> dict:
    """The roofs at this moment for this number of threads."""
    if case.table not in ROOFED or not options.roofs:
        return {}
    found = roofs(options.tenon, options.roofs_cache, threads).get("roofs") or {}
    suffix = "_1" if threads == 1 else ""
    keys = ("gflops", "read_gbs", "copy_gbs")
    return {key: found[key + suffix] for key in keys if key + suffix in found}


def expected_seconds(options, case: Case, threads: int) -> float:
    once = max(case.flops / (GFLOPS * 1e9 * threads), case.bytes / (GBS * 1e9))
    engines = 1 + len(case.companions) + sum(e in options.peers for e in case.engines)
    return engines * options.rounds * max(once * (LEAST_RUNS + 1), options.seconds)


def progress(row: dict) -> None:
    where = f"{row['table']}/{row['case']}, {row['threads']} thread{'s'[: row['threads'] - 1]}"
    if "skipped" in row:
        print(f"{where}: skipped, {row['skipped']}", file=sys.stderr)
        return
    parts = []
    ours = row["engines"]["tenon"].get("latency_ms", {}).get("median")
    for name, engine in row["engines"].items():
        if "latency_ms" not in engine:
            parts.append(f"{name} failed: {engine.get('error')}")
        elif name == "tenon":
            parts.append(f"tenon {ours:.4g} ms")
        else:
            theirs = engine["latency_ms"]["median"]
            parts.append(f"{name} {theirs:.4g}" + (f" ({theirs / ours:.2f}x)" if ours else ""))
    print(f"{where}: " + ", ".join(parts), file=sys.stderr)


# ---------------------------------------------------------------- main


def comma_separated(known):
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
        return names

    return parse


def arguments() -> argparse.Namespace:
    out = ROOT / "build" / "bench"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--tables", type=comma_separated(TABLES), default=list(TABLES), metavar="A,B",
        help=", ".join(TABLES))  # fmt: skip
    add("--cases", type=re.compile, metavar="REGEX", help="only cases whose names hold it")
    add("--peers", type=comma_separated(PROCESSES), default=list(PROCESSES), metavar="A,B")
    add("--threads", type=numbers, default=[2, 1], metavar="N,M")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=0.15, help="of each measurement")
    add("--budget", type=float, default=600, help="seconds that a case may be expected to take")
    add("--quick", action="store_true", help="one round, short, no case above 10 s")
    add("--no-check", dest="check", action="store_false", help="do not compare results")
    add("--no-roofs", dest="roofs", action="store_false", help="do not measure roofs")
    add("--add", action="store_true", help="keep the other rows of --data")
    add("--list", action="store_true", help="only print the names of the cases")
    add("--tenon", type=Path, default=ROOT / "build" / "tenon", metavar="PATH")
    add("--data", type=Path, default=out / "kernels.json")
    add("--models", type=Path, default=out / "models.json", help="the other half of the page")
    add("--page", type=Path, default=ROOT / "docs" / "performance.md")
    add("--render", action="store_true", help="only make the page from --data and --models")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.budget = 1, 0.05, 10
    return options


def start_data(options) -> dict:
    rows = []
    if options.add and options.data.exists():
        rows = json.loads(options.data.read_text())["rows"]
    return {
        "schema": "tenon.bench-kernels/1", "date": datetime.date.today().isoformat(),
        "machine": machine(), "versions": versions(options.tenon), "rounds": options.rounds,
        "seconds": options.seconds, "rows": rows,
    }  # fmt: skip


def keep(options, data: dict, row: dict) -> None:
    """Replaces the row of the same work and writes the file."""

    def key(r: dict) -> tuple:
        return r["table"], r["case"], r["threads"]

    data["rows"] = [r for r in data["rows"] if key(r) != key(row)] + [row]
    options.data.write_text(json.dumps(data, indent=1) + "\n")
    progress(row)


def measure_all(options, scratch: Path) -> dict:
    options.blas_peer = build_blas_peer(scratch)
    options.cache, options.roofs_cache = scratch / "cache", scratch / "roofs"
    for folder in (options.cache, options.roofs_cache):
        folder.mkdir(mode=0o700)
    data = start_data(options)
    with contextlib.ExitStack() as stack:
        every = {n: Engines(options, n, scratch) for n in options.threads}
        for engines in every.values():
            stack.callback(engines.close)
        for case in chosen(options.tables, options.cases):
            measure_case(options, every, case, scratch / "case", data)
    return data


def measure_case(options, every: dict[int, Engines], case: Case, folder: Path, data: dict) -> None:
    """One case for every number of threads; its files live no longer than that."""
    fitting = []
    for threads, engines in every.items():
        seconds = expected_seconds(options, case, threads)
        if seconds <= options.budget:
            fitting.append(engines)
        else:
            keep(options, data, {"table": case.table, "case": case.name, "threads": threads,
                                 "skipped": f"expected to take {seconds:.0f} s"})  # fmt: skip
    if not fitting:
        return
    folder.mkdir()
    models = {"tenon": case} | case.companions
    files = {name: write_files(one, folder / name) for name, one in models.items()}
    for engines in fitting:
        keep(options, data, bench_case(options, engines, case, files, folder))
    shutil.rmtree(folder)


def main() -> int:
    options = arguments()
    options.tenon, options.data = options.tenon.resolve(), options.data.resolve()
    if options.list:
        for case in chosen(options.tables, options.cases):
            print(case.table, case.name)
        return 0
    options.data.parent.mkdir(parents=True, exist_ok=True)
    if not options.render:
        with tempfile.TemporaryDirectory() as scratch:
            measure_all(options, Path(scratch))
    write_page(options.page, options.models, options.data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
