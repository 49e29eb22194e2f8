#!/usr/bin/env python3
"""Real models through `tenon run`, compared with ONNX Runtime.

    tests/conformance/run_models.py [--size small|full|both] [--models a,b] [--exporter E]
                                    [--zoo DIR] [--tenon PATH] [-- OPTION…]

Exports what is missing of the zoo (tools/export_models.py), runs each model
on its random and its real inputs, and compares every output: the largest
difference may be 1e-4 of the output's largest magnitude.  What follows `--`
is passed to `tenon run`, e.g. `-- --no-opt`.
Exit status 0 when everything passed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from exported import Exported, read_manifest, relative_difference  # noqa: E402


class Failure(Exception):
    """Why a model did not pass, in one line."""


def last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def run_tenon(options: argparse.Namespace, case: Exported, data_set: int, out: Path) -> float:
    """Runs one data set; returns the seconds it took."""
    command = [str(options.tenon), "run", str(case.model), "-o", str(out)]
    for path, name in zip(case.data_files(data_set, "input"), case.data_set(data_set, "input")):
        command += ["-i", f"{name}={path}"]
    command += options.extra
    start = time.monotonic()
    try:
        result = subprocess.run(command, capture_output=True, timeout=options.timeout)
    except subprocess.TimeoutExpired:
        raise Failure(f"no result after {options.timeout} s") from None
    if result.returncode < 0:
        raise Failure(f"crash: signal {-result.returncode}")
    if result.returncode != 0:
        raise Failure(last_line(result.stderr))
    return time.monotonic() - start


def compare(case: Exported, data_set: int, out: Path) -> float:
    worst = 0.0
    for name, want in case.data_set(data_set, "output").items():
        path = out / (name.replace("/", "_") + ".npy")
        if not path.exists():
            raise Failure(f"output {name} was not written")
        try:
            difference = relative_difference(np.load(path), want)
        except ValueError as error:
            raise Failure(f"output {name}: {error}") from None
        if difference > case.entry["tolerance"]:
            raise Failure(f"output {name}: {difference:.1e} of the largest magnitude")
        worst = max(worst, difference)
    return worst


def check(options: argparse.Namespace, case: Exported, data_set: int) -> tuple[bool, str]:
    if not case.entry["ok"]:
        return False, f"not exported: {case.entry['reason']}"
    with tempfile.TemporaryDirectory() as out:
        try:
            seconds = run_tenon(options, case, data_set, Path(out))
            return True, f"{compare(case, data_set, Path(out)):9.1e}  {seconds:7.2f} s"
        except Failure as failure:
            return False, str(failure)


def selected(options: argparse.Namespace, size: str) -> list[Exported]:
    def wanted(case: Exported) -> bool:
        models, exporter = options.models, options.exporter
        if models is not None and case.entry["model"] not in models:
            return False
        return exporter == "both" or case.entry["exporter"] == exporter

    out = options.zoo / size
    if not (out / "manifest.json").exists():
        small = ["--small"] if size == "small" else []
        tool = str(ROOT / "tools" / "export_models.py")
        print(f"exporting the {size} models into {out}", file=sys.stderr)
        subprocess.run([sys.executable, tool, "--out", str(out), *small], stdout=sys.stderr)
    return [case for case in read_manifest(out) if wanted(case)]


def arguments() -> argparse.Namespace:
    own, extra = sys.argv[1:], []
    if "--" in own:
        cut = own.index("--")
        own, extra = own[:cut], own[cut + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("small", "full", "both"), default="both")
    parser.add_argument("--models", type=lambda text: text.split(","), metavar="A,B")
    parser.add_argument("--exporter", choices=("legacy", "dynamo", "both"), default="both")
    parser.add_argument("--zoo", type=Path, default=ROOT / "build" / "zoo", metavar="DIR")
    parser.add_argument("--tenon", type=Path, default=ROOT / "build" / "tenon", metavar="PATH")
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS")
    options = parser.parse_args(own)
    options.extra = extra
    if not options.tenon.exists():
        parser.error(f"{options.tenon} does not exist; run make first")
    return options


def main() -> int:
    options = arguments()
    passed = failed = 0
    for size in ("small", "full") if options.size == "both" else (options.size,):
        for case in selected(options, size):
            for i, kind in enumerate(case.entry["data_sets"]):
                ok, text = check(options, case, i)
                passed, failed = passed + ok, failed + (not ok)
                status = "ok  " if ok else "FAIL"
                print(f"{status} {size:5} {case.name:22} {kind:6} {text}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
