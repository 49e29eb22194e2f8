#!/usr/bin/env python3
"""How long Tenon takes to start, cold and warm, beside torch.compile and ONNX Runtime.

    bench/bench_start.py [--models a,b] [--threads 2] [--rounds 3] [--peers ort,eager,compile]
                         [--size full|small] [--add]

Times are from the start of a process to its end (Tenon) or to its first
result (the peers).  Cold: nothing is cached; warm: a later process.  Besides a
hundred small models are started one after another, and a model of 2,000
nodes is planned.  The numbers go to build/bench/start.json and, with those
of the other benchmarks, to docs/performance.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from bench_models import cases, read_once  # noqa: E402
from exported import Exported  # noqa: E402
from host import TenonError, machine, run, versions  # noqa: E402
from peers import PEERS, PeerError, first_results, names  # noqa: E402
from performance_page import write_page_of  # noqa: E402
from small_models import save_large_model, save_small_models  # noqa: E402

SMALL_MODELS, LARGE_LAYERS, WARM_STARTS = 100, 143, 5


def environment_of(cache: Path) -> dict:
    return os.environ | {"TENON_CACHE": str(cache)}


def cache_bytes(cache: Path) -> int:
    return sum(entry.stat().st_size for entry in cache.iterdir())


# ---------------------------------------------------------------- one model


def start_once(options, case: Exported, cache: Path) -> dict:
    """A whole process; `run_ms`: of it the first run, which brings the weights into memory."""
    command = [str(options.tenon), "run", str(case.model), "--threads", str(options.threads)]
    for path, name in zip(case.data_files(0, "input"), case.data_set(0, "input")):
        command += ["-i", f"{name}={path}"]
    finished = run([*command, "--json"], environment_of(cache))
    return {"ms": finished.seconds * 1e3, "run_ms": json.loads(finished.stdout)["run_ms"]}


def start_tenon(options, case: Exported, scratch: Path) -> dict:
    cold, warm = [], []
    for i in range(options.rounds):
        cache = scratch / f"cache-{i}"
        cold.append(start_once(options, case, cache))
        warm += [start_once(options, case, cache) for _ in range(WARM_STARTS)]
    return {
        "cold_ms": statistics.median(start["ms"] for start in cold),
        "warm_ms": statistics.median(start["ms"] for start in warm),
        "ready_ms": statistics.median(start["ms"] - start["run_ms"] for start in warm),
        "cache_bytes": cache_bytes(cache),
    }


def start_peer(peer: str, case: Exported, threads: int, scratch: Path) -> dict:
    try:
        first = first_results(peer, case, threads, scratch)
        return {"cold_ms": first["cold"], "warm_ms": first["warm"]}
    except PeerError as error:
        return {"error": str(error)}


def start_model(options, case: Exported) -> dict:
    row = {"model": case.entry["model"], "engines": {}}
    if not case.entry["ok"]:
        row["engines"]["tenon"] = {"error": f"not exported: {case.entry['reason']}"}
        return row
    read_once(case.model)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        try:
            row["engines"]["tenon"] = start_tenon(options, case, scratch)
        except TenonError as error:
            row["engines"]["tenon"] = {"error": str(error)}
        for peer in options.peers:
            row["engines"][peer] = start_peer(peer, case, options.threads, scratch)
    return row


# ---------------------------------------------------------------- many models, many nodes


def start_all(options, models: list[Path], cache: Path) -> float:
    """Seconds for one process after another."""
    begin = time.monotonic()
    for model in models:
        command = [str(options.tenon), "run", str(model), "--random"]
        command += ["--threads", str(options.threads)]
        subprocess.run(command, stdout=subprocess.DEVNULL, env=environment_of(cache), check=True)
    return time.monotonic() - begin


def start_small(options, scratch: Path) -> dict:
    models = save_small_models(scratch, SMALL_MODELS)
    cold = start_all(options, models, scratch / "cache")
    warm = [start_all(options, models, scratch / "cache") for _ in range(options.rounds)]
    return {"count": len(models), "cold_s": cold, "warm_s": statistics.median(warm)}


def plan_large(options, scratch: Path) -> dict:
    """Seconds that `tenon inspect` takes to import and plan: no kernel is compiled."""
    model = scratch / "large.onnx"
    nodes = save_large_model(model, LARGE_LAYERS)
    command = [str(options.tenon), "inspect", str(model), "--interpret", "--no-cache"]
    seconds = [run(command, dict(os.environ)).seconds for _ in range(options.rounds)]
    return {"nodes": nodes, "seconds": statistics.median(seconds)}


# ---------------------------------------------------------------- main


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=lambda text: text.split(","), metavar="A,B")
    parser.add_argument("--exporter", choices=("legacy", "dynamo"), default="legacy")
    parser.add_argument("--size", choices=("full", "small"), default="full")
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS), metavar="A,B")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--zoo", type=Path, default=ROOT / "build" / "zoo", metavar="DIR")
    parser.add_argument("--tenon", type=Path, default=ROOT / "build" / "tenon", metavar="PATH")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench", metavar="DIR",
                        help="of start.json, models.json and kernels.json")  # fmt: skip
    parser.add_argument("--add", action="store_true", help="keep other models' and peers' figures")
    parser.add_argument("--render", action="store_true", help="only make the page")
    return parser.parse_args()


def start_data(options) -> dict:
    kept = {"models": [], "peers": []}
    if options.add and (options.folder / "start.json").exists():
        kept = json.loads((options.folder / "start.json").read_text())
    return {
        "schema": "tenon.bench-start/1", "date": datetime.date.today().isoformat(),
        "machine": machine(), "versions": versions(options.tenon), "threads": options.threads,
        "rounds": options.rounds, "size": options.size, "models": kept["models"],
        "peers": [peer for peer in PEERS if peer in (*options.peers, *kept["peers"])],
    }  # fmt: skip


def keep(options, data: dict, row: dict) -> None:
    """Puts the figures in the place of older ones of the same model and engine."""
    for old in data["models"]:
        if old["model"] == row["model"]:
            old["engines"] |= row["engines"]
            break
    else:
        data["models"].append(row)
    (options.folder / "start.json").write_text(json.dumps(data, indent=1) + "\n")
    print(json.dumps(row), file=sys.stderr)


def measure(options) -> None:
    options.folder.mkdir(parents=True, exist_ok=True)
    data = start_data(options)
    with tempfile.TemporaryDirectory() as scratch:
        data["small"] = start_small(options, Path(scratch))
        data["large"] = plan_large(options, Path(scratch))
    for case in cases(options):
        keep(options, data, start_model(options, case))


def main() -> int:
    options = arguments()
    options.tenon = options.tenon.resolve()
    if not options.render:
        measure(options)
    write_page_of(options.page, options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
