#!/usr/bin/env python3
"""The whole of onnx.backend.test.BackendTest through Tenon's Python backend and through ONNX Runtime's.

    tests/conformance/run_backend.py [--backends tenon,onnxruntime] [--filter TEXT] [--write] [-v]

Node, simple, pytorch-converted, pytorch-operator and "real" tests, the latter with the light models of the
onnx package (nothing is downloaded), on the CPU.  Tests run one by one in processes that are replaced when a
test ends or hangs them.  --write puts the comparison into docs/onnx.md.  Exit status 0 when nothing crashed
or hung in Tenon and it passes more tests than ONNX Runtime does.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import queue
import re
import select
import subprocess
import sys
import threading
import unittest
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import page_part

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = {"tenon": "tenon_onnx.backend", "onnxruntime": "onnxruntime.backend"}
NAMES = {"tenon": "Tenon", "onnxruntime": "ONNX Runtime"}
SUITES = {  # of BackendTest: of its folders
    "OnnxBackendNodeModelTest": "node",
    "OnnxBackendSimpleModelTest": "simple",
    "OnnxBackendPyTorchConvertedModelTest": "pytorch-converted",
    "OnnxBackendPyTorchOperatorModelTest": "pytorch-operator",
    "OnnxBackendRealModelTest": "real (light)",
}


@dataclass
class Result:
    suite: str
    name: str
    outcome: str  # passed, failed, skipped, crashed
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome == "passed"


# ---------------------------------------------------------------- in a process of its own


def cases_of(backend: str) -> dict[str, type[unittest.TestCase]]:
    import importlib

    import onnx.backend.test

    return onnx.backend.test.BackendTest(importlib.import_module(BACKENDS[backend]), __name__).test_cases


def short(text: str) -> str:
    """The message behind a traceback, in one line."""
    lines = text.strip().splitlines()
    begin = max((i for i, line in enumerate(lines) if re.match(r"[A-Za-z_][\w.]*(:|$)", line)), default=0)
    return " ".join(" ".join(lines[begin:]).split())[:300]


def run_test(cases: dict[str, type[unittest.TestCase]], suite: str, name: str) -> tuple[str, str]:
    result = unittest.TestResult()
    with redirect_stdout(io.StringIO()):
        cases[suite](name).run(result)
    if result.skipped:
        return "skipped", result.skipped[0][1]
    problems = result.errors + result.failures
    return ("failed", short(problems[0][1])) if problems else ("passed", "")


def serve(backend: str) -> None:
    """Runs the tests that are named on standard input; a line each, and a line for each result."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    cases = cases_of(backend)
    for line in sys.stdin:
        suite, name = json.loads(line)
        print(json.dumps(run_test(cases, suite, name)), file=answers, flush=True)


# ---------------------------------------------------------------- the processes


class Worker:
    """A process that runs tests, made anew after a crash or a hang."""

    def __init__(self, backend: str, options: argparse.Namespace) -> None:
        self.backend, self.options, self.process = backend, options, None

    def start(self) -> subprocess.Popen:
        paths = [str(ROOT / "python"), os.environ.get("PYTHONPATH", "")]
        scratch = self.options.scratch / self.backend
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "ALLOW_RELEASED_ONNX_OPSET_ONLY": "0",  # otherwise ONNX Runtime skips the newest opset
            "ONNX_MODELS": str(scratch),
        }
        scratch.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, "--serve", self.backend]
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def run(self, suite: str, name: str) -> Result:
        fresh = self.process is None
        self.process = self.process or self.start()
        limit = self.options.timeout + (60 if fresh else 0)
        try:
            self.process.stdin.write(json.dumps([suite, name]).encode() + b"\n")
            self.process.stdin.flush()
            ready = select.select([self.process.stdout], [], [], limit)[0]
            answer = self.process.stdout.readline() if ready else b""
        except BrokenPipeError:
            ready, answer = True, b""
        if answer:
            return Result(SUITES[suite], name, *json.loads(answer))
        self.process.kill()
        status = self.process.wait()
        self.process = None
        why = f"crash: the process ended with status {status}" if ready else f"hang: no result after {limit:.0f} s"
        return Result(SUITES[suite], name, "crashed", why)

    def stop(self) -> None:
        if self.process:
            self.process.stdin.close()
            self.process.wait()


def list_tests(options: argparse.Namespace) -> list[tuple[str, str]]:
    """All tests on the CPU, by name: the folders are the same for every backend."""
    import onnx.backend.base
    import onnx.backend.test

    cases = onnx.backend.test.BackendTest(onnx.backend.base.Backend, __name__).test_cases
    return [
        (suite, name)
        for suite, case in cases.items()
        for name in sorted(vars(case))
        if name.startswith("test_") and name.endswith("_cpu") and options.filter in name
    ]


def run_backend(options: argparse.Namespace, backend: str, tests: list[tuple[str, str]]) -> list[Result]:
    waiting: queue.Queue = queue.Queue()
    results: list[Result] = []
    for test in reversed(tests):  # the models that are large first
        waiting.put(test)

    def work() -> None:
        worker = Worker(backend, options)
        while True:
            try:
                test = waiting.get_nowait()
            except queue.Empty:
                break
            results.append(worker.run(*test))
        worker.stop()

    threads = [threading.Thread(target=work) for _ in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results, key=lambda r: (r.suite, r.name))


# ---------------------------------------------------------------- the page


def count(results: list[Result], outcome: str, suite: str = "") -> int:
    return sum(r.outcome == outcome and (not suite or r.suite == suite) for r in results)


def summary_lines(results: dict[str, list[Result]]) -> list[str]:
    suites = [s for s in SUITES.values() if any(r.suite == s for rows in results.values() for r in rows)]
    head = " | ".join(f"{NAMES[b]}: passed" for b in results)
    lines = [f"| suite | tests | {head} |", "|---|--:|" + "--:|" * len(results)]
    for suite in [*suites, ""]:
        total = sum(not suite or r.suite == suite for r in next(iter(results.values())))
        cells = " | ".join(str(count(rows, "passed", suite)) for rows in results.values())
        lines.append(f"| {suite or 'all'} | {total} | {cells} |")
    return lines


def operator_of(result: Result) -> str:
    """The operator that a test of the node suite is about; the name of the suite otherwise."""
    import run_onnx_suites

    if result.suite != "node":
        return f"({result.suite})"
    return run_onnx_suites.operator_of("node", result.name.removesuffix("_cpu"))


def part(results: dict[str, list[Result]]) -> str:
    import onnx
    import onnxruntime
    from run_onnx_suites import cell

    tenon, peer = ({(r.suite, r.name): r for r in results[b]} for b in ("tenon", "onnxruntime"))
    more = collections.Counter(operator_of(r) for k, r in tenon.items() if r.ok and not peer[k].ok)
    less = [r for k, r in tenon.items() if peer[k].ok and not r.ok]
    own = "tenon_onnx.TenonError: "
    lines = [
        "## Beside ONNX Runtime",
        "",
        "Generated by `tests/conformance/run_backend.py --write`: every test of `onnx.backend.test.BackendTest`",
        f"(onnx {onnx.__version__}, CPU) through `tenon_onnx.backend` and through `onnxruntime.backend`",
        f"({onnxruntime.__version__}, with opsets that are not released yet allowed). The tests compare as they are.",
        "",
        *summary_lines(results),
        "",
        "What ONNX Runtime passes and Tenon does not:",
        "",
    ]
    if less:
        lines += ["| suite | test | reason |", "|---|---|---|"]
        for r in less:
            reason = cell(r.reason.removeprefix(own))
            lines.append(f"| {r.suite} | {r.name.removesuffix('_cpu')} | {reason} |")
    else:
        lines.append("Nothing.")
    lines += ["", "What Tenon passes and ONNX Runtime does not, tests by operator:", ""]
    lines += ["| operator | tests |", "|---|--:|"]
    lines += [f"| {operator} | {number} |" for operator, number in sorted(more.items())]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- main


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", type=lambda text: text.split(","), default=list(BACKENDS))
    parser.add_argument("--filter", default="", metavar="TEXT", help="only tests with this in their name")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="per test")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--scratch", type=Path, default=ROOT / "build" / "onnx-models", metavar="DIR")
    parser.add_argument("--write", action="store_true", help="write the part of docs/onnx.md")
    parser.add_argument("-v", "--verbose", action="store_true", help="print each failure of Tenon")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = sorted(set(options.backends) - set(BACKENDS))
    if unknown:
        parser.error(f"unknown backend {', '.join(unknown)}; known: {', '.join(BACKENDS)}")
    return options


def main() -> int:
    options = arguments()
    if options.serve:
        serve(options.serve)
        return 0
    tests = list_tests(options)
    results = {backend: run_backend(options, backend, tests) for backend in options.backends}
    for backend, rows in results.items():
        for r in rows:
            if r.outcome == "crashed" or (options.verbose and backend == "tenon" and not r.ok):
                print(f"{r.outcome.upper()} {NAMES[backend]}: {r.suite}/{r.name}: {r.reason}")
    for line in summary_lines(results):
        print(line)
    both = set(BACKENDS) <= set(results)
    if options.write and both:
        page_part.write(ROOT / "docs" / "onnx.md", "backend", part(results))
    for backend, rows in results.items():
        numbers = ", ".join(f"{count(rows, o)} {o}" for o in ("passed", "failed", "skipped", "crashed"))
        print(f"backend {NAMES[backend]}: {numbers}")
    good = tests and not count(results.get("tenon", []), "crashed")
    more = not both or count(results["tenon"], "passed") > count(results["onnxruntime"], "passed")
    return 0 if good and more else 1


if __name__ == "__main__":
    sys.exit(main())
