"""The part of docs/performance.md that bench_start.py measured."""

from __future__ import annotations

from models_page import ENGINES
from page_tables import counted, milliseconds, short, table

COLD_MODEL, COLD_MS, COLD_SHARE = "bert_base", 3000, 1 / 8  # the share is of torch.compile's
READY_MS, SMALL_SECONDS, LARGE_SECONDS = 60, 3, 5


def verdict(met: bool) -> str:
    return "**met**" if met else "**not met**"


def start_table(data: dict) -> list[str]:
    header = ["model", "Tenon cold", "warm", "of it before the first run", "cache, MB"]
    header += [f"{ENGINES[peer]}, cold / warm" for peer in data["peers"]]
    rows = []
    for row in data["models"]:
        ours = row["engines"]["tenon"]
        cells = [row["model"]]
        if "error" in ours:
            cells += ["failed", "", "", ""]
        else:
            cells += [milliseconds(ours[key]) for key in ("cold_ms", "warm_ms", "ready_ms")]
            cells.append(f"{ours['cache_bytes'] / 1e6:.0f}")
        for peer in data["peers"]:
            theirs = row["engines"].get(peer, {})
            both = (milliseconds(theirs.get(key)) for key in ("cold_ms", "warm_ms"))
            cells.append("failed" if "error" in theirs else " / ".join(both))
        rows.append(cells)
    return table(header, rows)


def cold_goal(data: dict) -> list[str]:
    lines = []
    for row in data["models"]:
        ours = row["engines"]["tenon"].get("cold_ms")
        theirs = row["engines"].get("compile", {}).get("cold_ms")
        if row["model"] != COLD_MODEL or ours is None:
            continue
        lines.append(f"- {COLD_MODEL}, cold: {ours / 1e3:.2f} s, goal {COLD_MS / 1e3:g} s: "
                     f"{verdict(ours <= COLD_MS)}.")  # fmt: skip
        if theirs is not None:
            met = verdict(ours <= COLD_SHARE * theirs)
            lines.append(f"- {COLD_MODEL}, cold: 1/{theirs / ours:.1f} of torch.compile's time, "
                         f"goal 1/{1 / COLD_SHARE:g}: {met}.")  # fmt: skip
    return lines


def goals(data: dict) -> list[str]:
    ready = {row["model"]: row["engines"]["tenon"].get("ready_ms") for row in data["models"]}
    slow = [f"{model} ({milliseconds(ms)} ms)" if ms else f"{model} (failed)"
            for model, ms in ready.items() if ms is None or ms > READY_MS]  # fmt: skip
    small, large = data["small"], data["large"]
    late = f", but {', '.join(slow)}" if slow else ""
    return [
        *cold_goal(data),
        f"- Warm starts, before the first run: goal {READY_MS} ms: {verdict(not slow)}{late}.",
        f"- {small['count']} small models, one process after another: {small['warm_s']:.2f} s warm "
        f"({small['cold_s']:.0f} s cold), goal {SMALL_SECONDS} s: "
        f"{verdict(small['warm_s'] <= SMALL_SECONDS)}.",
        f"- A model of {large['nodes']} nodes, imported and planned: {large['seconds']:.2f} s, "
        f"goal {LARGE_SECONDS} s: {verdict(large['seconds'] <= LARGE_SECONDS)}.",
    ]


def failures(data: dict) -> list[str]:
    return [
        f"- {row['model']}: {ENGINES[engine]} failed: {short(figures['error'])}"
        for row in data["models"]
        for engine, figures in row["engines"].items()
        if "error" in figures
    ]


METHOD = """\
Milliseconds from the start of a process to its end, the median of {rounds} cold starts and of as
many times five warm ones. Cold: with an empty cache; Tenon imports, plans, compiles its kernels,
packs the weights, writes both to the cache and runs once. Warm: a later process; the first run is
also what brings the mapped weights into memory. The peers are timed to their first result, once,
and pay for Python and its imports; only torch.compile keeps a cache, so the others' warm figure is
a repetition. The files of the models are in the page cache."""


def sections(data: dict) -> list[str]:
    lines = [f"## Starting, ms, {counted(data['threads'])}", "", *start_table(data), ""]
    lines += [*goals(data), *failures(data)]
    if data["size"] != "full":
        lines.append("- These are the cut-down models of the tests: the figures say nothing.")
    return [*lines, "", METHOD.format(**data)]
