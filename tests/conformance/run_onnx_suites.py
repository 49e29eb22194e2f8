#!/usr/bin/env python3
"""ONNX's own test folders through `tenon verify`.

    tests/conformance/run_onnx_suites.py [--suites node,simple,…] [--write] [--require N]
                                         [--tenon PATH] [--filter TEXT] [--passes on|off|both]

Runs the folders in batches; when a batch crashes or hangs, its unreported
folders run again one by one, so that only the guilty one counts as such.
--write makes docs/onnx.md.  --passes=off runs models without rewrites and
fusion, =both one after the other: then the same folders must pass.  Exit status 0 when every folder passed, or, with
--require N, when at least N node folders and all folders of the other suites
passed (those in REFUSED aside) and nothing crashed or hung.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.backend.test
import page_part

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(onnx.backend.test.__file__).parent / "data"
SUITES = ("node", "simple", "pytorch-converted", "pytorch-operator")
BATCH = 40


@dataclass
class Result:
    suite: str
    name: str
    ok: bool
    max_ulp: float | None = None
    reason: str = ""
    fatal: bool = False  # a crash or a hang


# ---------------------------------------------------------------- running


def verify(options: argparse.Namespace, folders: list[Path]) -> tuple[dict[Path, dict], str]:
    """One `tenon verify` process: what it reported, and why it may have left folders out."""
    off = ["--no-opt"] if options.passes == "off" else []
    command = [str(options.tenon), "verify", "--json", *off, *map(str, folders)]
    limit = options.timeout + len(folders) - 1
    try:
        result = subprocess.run(command, capture_output=True, timeout=limit)
        output, fate = result.stdout, ""
        if result.returncode < 0:
            fate = f"crash: signal {-result.returncode}"
        elif result.returncode > 0:
            lines = result.stderr.decode(errors="replace").strip().splitlines()
            fate = f"exit status {result.returncode}: {lines[-1] if lines else 'no message'}"
    except subprocess.TimeoutExpired as expired:
        output, fate = expired.stdout or b"", f"hang: no result after {limit:.0f} s"
    reports = {}
    for line in output.decode(errors="replace").splitlines():
        try:
            row = json.loads(line)
            reports[Path(row["path"])] = row
        except (ValueError, KeyError, TypeError):
            continue
    return reports, fate


def as_result(suite: str, folder: Path, row: dict | None, fate: str) -> Result:
    if row is None:
        return Result(suite, folder.name, False, reason=fate or "not reported", fatal=True)
    reason = "" if row["ok"] else row.get("reason") or "no reason given"
    return Result(suite, folder.name, bool(row["ok"]), row.get("max_ulp"), reason)


def run_batch(options: argparse.Namespace, suite: str, folders: list[Path]) -> list[Result]:
    reports, fate = verify(options, folders)
    results = []
    for folder in folders:
        row = reports.get(folder)
        if row is None and len(folders) > 1:
            results += run_batch(options, suite, [folder])
        else:
            results.append(as_result(suite, folder, row, fate))
    return results


def run_suite(options: argparse.Namespace, suite: str) -> list[Result]:
    folders = sorted(path.parent for path in (DATA / suite).glob("*/model.onnx"))
    folders = [folder for folder in folders if options.filter in folder.name]
    batches = [folders[i : i + BATCH] for i in range(0, len(folders), BATCH)]
    results: list[Result] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for batch in pool.map(lambda batch: run_batch(options, suite, batch), batches):
            results += batch
            if sys.stderr.isatty():
                print(f"\r{suite}: {len(results)} of {len(folders)}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return results


# ---------------------------------------------------------------- the page


def operator_of(suite: str, name: str) -> str:
    """The operator a folder tests; one that tests an expanded form counts for what it expands."""
    base = re.sub(r"_expanded(_.*)?$", "", name)
    folder = DATA / suite / base
    if not (folder / "model.onnx").exists():
        folder = DATA / suite / name
    nodes = onnx.load(folder / "model.onnx", load_external_data=False).graph.node
    kinds = {(node.domain, node.op_type) for node in nodes}
    kinds = {kind for kind in kinds if kind[1] not in ("Constant", "Identity")} or kinds
    if len(kinds) != 1:
        return "(several)"
    domain, kind = kinds.pop()
    return kind if domain in ("", "ai.onnx") else f"{domain}.{kind}"


def cell(text: str) -> str:
    """Text that is safe in a table, without the paths of this machine."""
    text = text.replace(str(DATA) + "/", "").replace(str(ROOT) + "/", "")
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def ulp_text(results: list[Result]) -> str:
    values = [r.max_ulp for r in results if r.ok and r.max_ulp is not None]
    return f"{max(values):.6g}" if values else "–"


# Why other values than the folder's are right, by the beginning of its name; one that passes must leave
# this table.
ONE_DRAW = "one draw of another generator; tests/unit/session/test_random_operators.c tests distributions"
AS_ONNX_RUNTIME = "text and data disagree; ONNX Runtime gives the same as Tenon"
DISPUTED = {
    "test_bernoulli": ONE_DRAW,
    "test_training_dropout": ONE_DRAW,
    "test_dft_inverse": "the exact value is 0; expected is the rounding of a transform in single precision",
    "test_resize_downsample_scales_cubic_align_corners": AS_ONNX_RUNTIME,
    "test_resize_downsample_scales_linear_align_corners": AS_ONNX_RUNTIME,
}


def disputed(result: Result) -> str:
    """The entry of DISPUTED that explains the failure; "" when there is none."""
    other_values = not result.ok and not result.fatal and result.reason.startswith("output ")
    names = [name for name in DISPUTED if other_values and result.name.startswith(name)]
    return names[0] if names else ""


def reason_text(result: Result) -> str:
    name = disputed(result)
    return f"{DISPUTED[name]}; {cell(result.reason)}" if name else cell(result.reason)


def status_text(results: list[Result]) -> str:
    if all(r.ok or disputed(r) for r in results):
        return "yes"
    passed = sum(r.ok for r in results)
    return "partly" if passed else "no"


def summary_lines(results: list[Result]) -> list[str]:
    lines = ["| suite | folders | passed | failed | crash or hang |", "|---|--:|--:|--:|--:|"]
    for suite in SUITES:
        rows = [r for r in results if r.suite == suite]
        passed, fatal = sum(r.ok for r in rows), sum(r.fatal for r in rows)
        if rows:
            lines.append(f"| {suite} | {len(rows)} | {passed} | {len(rows) - passed} | {fatal} |")
    return lines


def page(results: list[Result]) -> str:
    by_operator = collections.defaultdict(list)
    for result in results:
        if result.suite == "node":
            by_operator[operator_of("node", result.name)].append(result)
    lines = [
        "# ONNX operators",
        "",
        "Generated by `tests/conformance/run_onnx_suites.py --write` from the test folders of",
        f"onnx {onnx.__version__}, run by `tenon verify` with the tolerances of the suites.",
        "",
        *summary_lines(results),
        "",
        "## Operators",
        "",
        "From the node suite. *max ULP* is the largest distance to the expected value in the",
        "folders that passed, in units in the last place of the output's type.",
        "",
        "| operator | supported | passed | folders | max ULP |",
        "|---|---|--:|--:|--:|",
    ]
    for operator, rows in sorted(by_operator.items()):
        passed = sum(r.ok for r in rows)
        status = status_text(rows)
        lines.append(f"| {operator} | {status} | {passed} | {len(rows)} | {ulp_text(rows)} |")
    lines += ["", "## Failures", ""]
    failures = [r for r in results if not r.ok]
    if failures:
        lines += ["| suite | folder | reason |", "|---|---|---|"]
        lines += [f"| {r.suite} | {r.name} | {reason_text(r)} |" for r in failures]
    else:
        lines.append("None.")
    return "\n".join(lines) + "\n"


def write_page(text: str) -> None:
    """docs/onnx.md; the parts that other scripts wrote stay behind it."""
    path = ROOT / "docs" / "onnx.md"
    path.write_text("\n".join([text, *page_part.parts(path)]))


# ---------------------------------------------------------------- main


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suites", type=lambda text: text.split(","), default=list(SUITES))
    parser.add_argument("--filter", default="", metavar="TEXT", help="only folders with this name")
    parser.add_argument("--write", action="store_true", help="write docs/onnx.md")
    parser.add_argument("--require", type=int, metavar="N", help="node folders that must pass")
    parser.add_argument("--tenon", type=Path, default=ROOT / "build" / "tenon", metavar="PATH")
    parser.add_argument("--passes", choices=["on", "off", "both"], default="on")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="per folder")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-v", "--verbose", action="store_true", help="print each failure")
    options = parser.parse_args()
    unknown = sorted(set(options.suites) - set(SUITES))
    if unknown:
        parser.error(f"unknown suite {', '.join(unknown)}; known: {', '.join(SUITES)}")
    if not options.tenon.exists():
        parser.error(f"{options.tenon} does not exist; run make first")
    return options


# Folders outside the node suite that Tenon refuses by design: they count as failed and stay listed
# with their reason; one that passes must leave this table.
REFUSED = {
    "simple/test_strnorm_": "string tensors are not a data type of Tenon",
}


def is_refused(r) -> bool:
    return any(f"{r.suite}/{r.name}".startswith(prefix) for prefix in REFUSED)


def nothing_is_stale(options: argparse.Namespace, results: list[Result]) -> bool:
    """Whether every entry of DISPUTED explains a failure of the whole node suite."""
    if options.filter or "node" not in options.suites:
        return True
    stale = set(DISPUTED) - {disputed(r) for r in results}
    for name in sorted(stale):
        print(f"STALE {name} of DISPUTED explains no failure")
    return not stale


def good_enough(options: argparse.Namespace, results: list[Result]) -> bool:
    if not nothing_is_stale(options, results):
        return False
    if options.require is None:
        return all(r.ok for r in results)
    node = sum(r.ok for r in results if r.suite == "node")
    others = all(r.ok != is_refused(r) for r in results if r.suite != "node")
    return node >= options.require and others and not any(r.fatal for r in results)


def run_all(options: argparse.Namespace) -> list[Result]:
    return [result for suite in options.suites for result in run_suite(options, suite)]


def differ(options: argparse.Namespace, results: list[Result]) -> bool:
    """Whether other folders pass with passes off than with passes on, which `results` tell."""
    options.passes = "off"
    plain = {(r.suite, r.name): r for r in run_all(options)}
    odd = [(r, plain[r.suite, r.name]) for r in results if r.ok != plain[r.suite, r.name].ok]
    for on, off in odd:
        reason = f"passes off: {off.reason}" if on.ok else f"passes on: {on.reason}"
        print(f"DIFFERS {on.suite}/{on.name}: {reason}")
    print(f"passes on: {sum(r.ok for r in results)} passed; off: {sum(r.ok for r in plain.values())}")
    return bool(odd)


def main() -> int:
    options = arguments()
    both = options.passes == "both"
    options.passes = "on" if both else options.passes
    results = run_all(options)
    differs = both and differ(options, results)
    for r in results:
        if not r.ok and (options.verbose or r.fatal or r.suite != "node"):
            print(f"FAIL {r.suite}/{r.name}: {r.reason}")
    for line in summary_lines(results):
        print(line)
    if options.write:
        write_page(page(results))
    passed = sum(r.ok for r in results)
    print(f"{passed} passed, {len(results) - passed} failed")
    return 0 if results and good_enough(options, results) and not differs else 1


if __name__ == "__main__":
    sys.exit(main())
