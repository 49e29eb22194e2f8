#!/usr/bin/env python3
"""N models as one with Tenon, beside loops over N models and torch.func.vmap, side by side.

    bench/bench_wide.py [--models a,b] [--counts 1,4,8] [--rounds 5] [--seconds 0.06] [--threads 2]
                        [--engines eager,compile] [--add] [--render] [--page FILE]

Every member has weights and inputs of its own.  wide_steps (C) runs the wide program and Tenon's loop
over N programs, wide_peers.py the rest.  For each model and N all engines first compute the members' results, which
are compared with PyTorch eager's (or the loop's); then they take turns, round by round, and a ratio is the median
over the rounds of measurements of one round.  Where memory would not hold all engines' members, they run apart, one
after the other, and keep no programs on disk; members' files of that size are deleted afterwards.  The numbers go to build/bench/wide.json row by row, with --add beside those that are
there; what PyTorch and Tenon compile is kept from run to run.  --rounds 0 --counts 1,4 is quick: it only compares
results.  train_sgd and train_adam are training: 32 perceptrons with learning rates of their own, whose parameters are
compared after 50 steps.
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
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]

from host import machine, merged, roofs, versions  # noqa: E402
from peers import INDUCTOR, PeerError, Worker, names, numbers  # noqa: E402
from performance_page import write_page_of  # noqa: E402

OURS, PEERS = ("wide", "loop"), ("eager", "compile", "vmap", "ort")
ENGINES = (*OURS, *PEERS)
COUNTS = (1, 4, 8, 16, 32, 100)
RUN = ("mlp", "mlp_b8", "deep_mlp", "resblock", "convnet", "embedding", "layernorm", "attention", "lstm",
       "resnet18")  # fmt: skip
TRAINED = {"train_sgd": "sgd", "train_adam": "adam"}
TRAINED_COUNT = 32
MODELS = (*RUN, *TRAINED)
RUN_SECONDS = 60  # after which an engine has failed
COPIES = 3  # of a member's file that an engine may have in memory: filters are packed as 4 × 4 tiles of 3 × 3
KEPT_BYTES = 1 << 30  # of members' files


class Engine(Worker):
    """A process that runs the members of one model; use it in a `with` statement."""

    def __init__(self, name: str, command: list[str], environment: dict, log: Path, patience: float):
        super().__init__(name, command, os.environ | environment, log)
        self.patience = patience
        self.start()

    def ask_within(self, line: str, seconds: float) -> dict:
        late = threading.Timer(seconds, self.process.kill)
        late.start()
        try:
            return self.ask(line)
        except PeerError as error:
            if not late.is_alive():
                raise PeerError(self.peer, f"no answer within {seconds:g} s") from None
            raise error
        finally:
            late.cancel()

    def members(self, count: int) -> dict:
        return self.ask_within(f"members {count}", self.patience)

    def measure(self, seconds: float) -> dict:
        return self.ask_within(str(seconds), RUN_SECONDS)


def build_driver(options, name: str) -> Path:
    out = options.folder / name
    subprocess.run(
        [os.environ.get("CC", "cc"), "-O2", ROOT / "bench" / f"{name}.c", f"-I{ROOT / 'include'}", "-o", out,
         ROOT / "bench" / "steady.c", f"-L{options.library}", f"-Wl,-rpath,{options.library}", "-ltenon",
         "-lm", *os.environ.get("LDFLAGS", "").split()],
        check=True,
    )  # fmt: skip
    return out


def start_engine(options, name: str, model: str, scratch: Path, apart: bool = False) -> Engine:
    files, optimizer = options.folder / "wide" / model, TRAINED.get(model)
    if name in OURS:
        program = "wide_train" if optimizer else "wide_steps"
        command = [str(options.folder / program), str(files), str(options.threads), name]
        environment = {"TENON_CACHE": str(options.folder / "wide-cache")}
        if apart:
            environment = {"TENON_CACHE": str(options.folder / "wide-kernels"), "TENON_CACHE_SIZE": "64M"}
    else:
        script = "wide_train_peers.py" if optimizer else "wide_peers.py"
        command = [sys.executable, str(ROOT / "bench" / script), *([] if optimizer else [model]), str(files),
                   str(options.threads), name]  # fmt: skip
        environment = {"OMP_NUM_THREADS": str(options.threads), "TORCHINDUCTOR_CACHE_DIR": str(INDUCTOR),
                       "TORCHINDUCTOR_COMPILE_THREADS": "1"}  # fmt: skip
    command += [optimizer] if optimizer else []
    return Engine(name, command, environment, scratch / f"{model}-{name}.log", options.patience)


# ---------------------------------------------------------------- one model


def difference(files: Path, name: str, expected: np.ndarray) -> float:
    """Largest difference of the results, of the largest result."""
    y = np.fromfile(files / f"y-{name}.bin", np.float32)
    if y.size != expected.size or not np.isfinite(y).all():
        return float("inf")
    return float(np.abs(y - expected).max() / np.abs(expected).max())


def attempt(running: dict[str, Engine], name: str, row: dict, work) -> dict | None:
    """What `work` gives; an engine that fails is put aside for this model."""
    try:
        return work(running[name])
    except PeerError as error:
        row["engines"].setdefault(name, {})["error"] = str(error)
        running.pop(name).close()
        return None


def open_members(running: dict[str, Engine], files: Path, row: dict) -> None:
    for name in list(running):
        said = attempt(running, name, row, lambda engine: engine.members(row["n"]))
        if said is not None:
            row["engines"][name] = said
    compare(list(running), files, row)


def compare(names: list[str], files: Path, row: dict) -> None:
    reference = next((name for name in ("eager", "loop") if name in names), None)
    if reference:
        expected = np.fromfile(files / f"y-{reference}.bin", np.float32)
        for name in names:
            row["engines"][name]["difference"] = difference(files, name, expected)


def take_turns(options, running: dict[str, Engine], row: dict) -> None:
    """The order is reversed from round to round, so that wide and loop are neighbours in either."""
    rounds: list[dict[str, dict]] = []
    for i in range(options.rounds):
        measured = {}
        for name in list(running)[:: -1 if i % 2 else 1]:
            said = attempt(running, name, row, lambda engine: engine.measure(options.seconds))
            if said is not None:
                measured[name] = said
        rounds.append(measured)
    take_medians(list(running), rounds, row)


def take_medians(names: list[str], rounds: list[dict[str, dict]], row: dict) -> None:
    for name in names:
        row["engines"][name] |= {"latency_ms": merged([r[name] for r in rounds])["latency_ms"]}
    medians = [{name: m["latency_ms"]["median"] for name, m in r.items()} for r in rounds]
    row["ratios"] = {name: statistics.median(r[name] / r["wide"] for r in medians)
                     for name in names if name != "wide" and "wide" in names}  # fmt: skip


def run_apart(options, model: str, engines: list[str], scratch: Path, row: dict) -> None:
    """One engine after the other, each alone in memory."""
    files, rounds, done = options.folder / "wide" / model, [{} for _ in range(options.rounds)], []
    for name in engines:
        with start_engine(options, name, model, scratch, apart=True) as engine:
            running = {name: engine}
            said = attempt(running, name, row, lambda engine: engine.members(row["n"]))
            if said is not None:
                row["engines"][name] = said
            for measured in rounds:
                if name in running:
                    measured[name] = attempt(running, name, row, lambda engine: engine.measure(options.seconds))
            done += list(running)
    compare(done, files, row)
    if options.rounds:
        take_medians(done, rounds, row)


def prepare(options, model: str) -> list[int]:
    """Writes what the engines read; the numbers of members."""
    import wide_models
    import wide_train_peers

    files = options.folder / "wide" / model
    if model in TRAINED:
        wide_train_peers.save_start(files, TRAINED_COUNT)
        return [TRAINED_COUNT]
    counts = [n for n in options.counts if n <= wide_models.CASES[model].most]
    wide_models.save_members(model, max(counts, default=0), files)
    return counts


def available() -> int:
    """Bytes of memory that are free or that page caches can give."""
    text = Path("/proc/meminfo").read_text()
    return int(text.split("MemAvailable:")[1].split()[0]) * 1024


def fits_together(files: Path, n: int, engines: int) -> bool:
    member = files / "member-000.onnx"
    return not member.exists() or member.stat().st_size * COPIES * n * engines < available() * 0.8


def delete_large(files: Path) -> None:
    """So that members of large models do not fill the disk."""
    members = sorted(files.glob("member-*.onnx"))
    if sum(path.stat().st_size for path in members) > KEPT_BYTES:
        for path in members:
            path.unlink()


def bench_model(options, model: str, scratch: Path):
    """A row for each number of members, as it is measured."""
    counts, files = prepare(options, model), options.folder / "wide" / model
    engines = [name for name in options.engines if not (model in TRAINED and name == "ort")]
    rows = [{"model": model, "n": n, "engines": {}, "ratios": {}, "rounds": options.rounds,
             "seconds": options.seconds, "commit": options.commit} for n in counts]  # fmt: skip
    together = [row for row in rows if fits_together(files, row["n"], len(engines))]
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(start_engine(options, name, model, scratch))
                   for name in engines if together}  # fmt: skip
        for row in together:
            open_members(running, files, row)
            if options.rounds:
                take_turns(options, running, row)
            progress(row)
            yield row
    for row in rows:
        if row not in together:
            row["apart"] = True
            run_apart(options, model, engines, scratch, row)
            progress(row)
            yield row
    delete_large(files)


def progress(row: dict) -> None:
    parts = []
    for name, engine in row["engines"].items():
        text = f"failed: {engine['error']}" if "error" in engine else "not measured"
        if "latency_ms" in engine:
            text = f"{engine['latency_ms']['median'] * 1e3 / row['n']:.1f}"
        parts.append(f"{name} {text}")
    print(f"{row['model']:10} N={row['n']:<4} µs per member: " + "  ".join(parts), file=sys.stderr)


# ---------------------------------------------------------------- main


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=names(MODELS), default=list(MODELS), metavar="A,B")
    parser.add_argument("--engines", type=names(ENGINES), default=list(ENGINES), metavar="A,B")
    parser.add_argument("--counts", type=numbers, default=list(COUNTS), metavar="N,M")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="0: only compile, and compare results")
    parser.add_argument("--seconds", type=float, default=0.06, help="of each measurement")
    parser.add_argument("--patience", type=float, default=180, metavar="SECONDS",
                        help="for an engine to compile a model")  # fmt: skip
    parser.add_argument("--tenon", type=Path, default=ROOT / "build" / "tenon", metavar="PATH")
    parser.add_argument("--library", type=Path, default=ROOT / "build" / "lib", metavar="DIR")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench", metavar="DIR",
                        help="of wide.json and the other measurements")  # fmt: skip
    parser.add_argument("--add", action="store_true", help="keep the other rows of wide.json")
    parser.add_argument("--render", action="store_true", help="only make the page")
    return parser.parse_args()


def start_data(options) -> dict:
    rows = []
    if options.add and (options.folder / "wide.json").exists():
        rows = json.loads((options.folder / "wide.json").read_text())["rows"]
    return {
        "schema": "tenon.bench-wide/1", "date": datetime.date.today().isoformat(),
        "machine": machine(), "versions": versions(options.tenon), "threads": options.threads,
        "rounds": options.rounds, "seconds": options.seconds,
        "roofs": roofs(options.tenon, options.folder / "wide-cache", options.threads), "rows": rows,
    }  # fmt: skip


def write(options, data: dict) -> None:
    (options.folder / "wide.json").write_text(json.dumps(data, indent=1) + "\n")


def keep(options, data: dict, row: dict) -> None:
    """Puts a row in the place of an older one."""
    others = [r for r in data["rows"] if (r["model"], r["n"]) != (row["model"], row["n"])]
    data["rows"] = sorted([*others, row], key=lambda r: (MODELS.index(r["model"]), r["n"]))
    write(options, data)


def measure(options) -> None:
    (options.folder / "wide-cache").mkdir(mode=0o700, parents=True, exist_ok=True)
    if set(OURS) & set(options.engines):
        for program in sorted({"wide_train" if model in TRAINED else "wide_steps" for model in options.models}):
            build_driver(options, program)
    data = start_data(options)
    options.commit = data["versions"]["commit"]
    with tempfile.TemporaryDirectory() as scratch:
        for model in options.models:
            begin = time.monotonic()
            for row in bench_model(options, model, Path(scratch)):
                keep(options, data, row)
            print(f"{model}: {time.monotonic() - begin:.0f} s", file=sys.stderr)


def main() -> int:
    options = arguments()
    options.library = options.library.resolve()
    if not options.render:
        measure(options)
    write_page_of(options.page, options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
