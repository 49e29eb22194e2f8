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
import re
import shutil
import sys
import tempfile
from pathlib import Path

from host import ROOT, TenonError, machine, merged, roofs, versions
from kernel_cases import TABLES, Case, cases, chosen
from kernel_engines import (
    LEAST_RUNS, PROCESSES, Engines, Files, TenonRuns, build_blas_peer, write_files,
)  # fmt: skip
from page_tables import counted
from peers import PeerError, names, numbers
from performance_page import write_page

# tables that speak of a roof
ROOFED = ("matmul_weight", "matmul", "permute", "rows", "tensor", "matvec", "few_rows")
GFLOPS, GBS = 30, 5  # what the slowest engine surely reaches, for the expected time

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


def check(engines: Engines, tenon: dict, case: Case, folder: Path, row: dict) -> None:
    """Compares Tenon's results with PyTorch's in f64; companions of other tables are theirs."""
    mine = {"tenon": case} | {k: c for k, c in case.companions.items() if c.table == case.table}
    for name in [name for name in mine if name in tenon]:
        try:
            outputs = tenon[name].outputs(folder / f"outputs-{name}")
            answer = engines.ask("eager", f"check {case.table} {mine[name].name} {outputs}")
            row["difference"] = max(row.get("difference", 0), answer["difference"])
        except TenonError as error:
            row["engines"][name] = {"error": str(error)}
        except PeerError as error:
            row["unchecked"] = str(error)


def bench_case(options, engines: Engines, case: Case, files: dict, folder: Path) -> dict:
    threads = engines.threads
    row = {"table": case.table, "case": case.name, "threads": threads, "flops": case.flops,
           "bytes": case.bytes, "facts": case.facts, "engines": {}, "rounds": []}  # fmt: skip
    tenon = start_tenon(options, files, threads, row)
    if options.check:
        check(engines, tenon, case, folder, row)
    peers = start_peers(options, engines, case, row)
    before = measured_roofs(options, case, threads)
    take_turns(options, engines, tenon, peers, row)
    after = measured_roofs(options, case, threads)
    engines.forget()
    row["roofs"] = {key: (before[key] + after[key]) / 2 for key in before if key in after}
    return row


def measured_roofs(options, case: Case, threads: int) -> dict:
    """The roofs at this moment for this number of threads; none where no table asks."""
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
    where = f"{row['table']}/{row['case']}, {counted(row['threads'])}"
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


def arguments() -> argparse.Namespace:
    out = ROOT / "build" / "bench"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--tables", type=names(TABLES), default=list(TABLES), metavar="A,B",
        help=", ".join(TABLES))  # fmt: skip
    add("--cases", type=re.compile, metavar="REGEX", help="only cases whose names hold it")
    add("--peers", type=names(PROCESSES), default=list(PROCESSES), metavar="A,B")
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
    add("--models", type=Path, default=out / "models.json", help="another part of the page")
    add("--start", type=Path, default=out / "start.json", help="another part of the page")
    add("--train", type=Path, default=out / "train.json", help="another part of the page")
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
    """Replaces the row of the same work, in the order of the cases, and writes the file."""
    order = {key: i for i, key in enumerate(cases())}

    def key(r: dict) -> tuple:
        return r["table"], r["case"], r["threads"]

    rows = [r for r in data["rows"] if key(r) != key(row)] + [row]
    data["rows"] = sorted(rows, key=lambda r: order.get(key(r)[:2], -1))
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
    write_page(options.page, models=options.models, kernels=options.data, start=options.start, train=options.train)
    return 0


if __name__ == "__main__":
    sys.exit(main())
