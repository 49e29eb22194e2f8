#!/usr/bin/env python3
"""Whether wide programs grow as they should: pass or fail of each model that bench_wide.py measured.

    bench/check_wide.py [FILE]          default: build/bench/wide.json

A model passes when its results are right for every N, the time of a member falls or stays level as N grows, small models
take less than N times the time of one member, and no wide program is slower than the loop over N programs. Exits
with 1 where a model fails.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from wide_page import LARGE, LEVEL, by_model, late, median, ratio, rises, speed, wrong

FILE = Path(__file__).resolve().parents[1] / "build" / "bench" / "wide.json"


def linear(model: str, rows: list[dict]) -> list[str]:
    """What is wrong with the growth of a small model's time."""
    first, last = rows[0], rows[-1]
    one, most = (median(row, "wide") for row in (first, last))
    if model in LARGE or first["n"] == last["n"] or one is None or most is None:
        return []
    growth = most / one / (last["n"] / first["n"])
    return [f"N = {last['n']} takes {growth:.2f} of {last['n']} times the time of one"] if growth >= 1 else []


def failures(model: str, rows: list[dict]) -> list[str]:
    found = [f"N = {row['n']}: no right results" for row in rows if median(row, "wide") is None or wrong(row, "wide")]
    found += [f"N = {n}: a member takes over {LEVEL} times as long as at a smaller N" for n in rises(rows)]
    found += [f"N = {row['n']}: the loop takes {ratio(speed(row, ('loop',)))} of its time" for row in rows if late(row)]
    return found + linear(model, rows)


def verdicts(data: dict) -> list[tuple[str, list[str]]]:
    return [(model, failures(model, rows)) for model, rows in by_model(data).items()]


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    found = verdicts(json.loads(path.read_text()))
    for model, wrongs in found:
        print(f"{'fail' if wrongs else 'pass'} {model}" + (": " + "; ".join(wrongs) if wrongs else ""))
    return 1 if any(wrongs for _, wrongs in found) else 0


if __name__ == "__main__":
    sys.exit(main())
