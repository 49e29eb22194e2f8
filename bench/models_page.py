"""The part of docs/performance.md that bench_models.py measured."""

from __future__ import annotations

from page_tables import counted, geometric_mean, milliseconds, ratio, short, table

ENGINES = {"tenon": "Tenon", "ort": "ONNX Runtime", "eager": "PyTorch eager",
           "compile": "torch.compile"}  # fmt: skip
TOLERANCE = 1e-4  # of a result, against ONNX Runtime, relative to its largest magnitude
DISTURBED = 1.5  # slowest over fastest round of one engine
GOAL = 1.5  # steady latency over ONNX Runtime's, geometric mean


def engines(data: dict) -> list[str]:
    return ["tenon", *data["peers"]]


def latency_table(data: dict, threads: int) -> list[str]:
    peers = data["peers"]
    header = ["model", *[f"{ENGINES[e]}, ms" for e in engines(data)]]
    header += [f"Tenon / {ENGINES[p]}" for p in peers]
    rows, ratios = [], {peer: [] for peer in peers}
    for row in data["rows"]:
        if row["threads"] != threads:
            continue
        cells = [row["model"]]
        for engine in engines(data):
            figures = row["engines"].get(engine, {})
            cells.append(
                "failed" if "error" in figures
                else milliseconds(figures.get("latency_ms", {}).get("median"))
            )  # fmt: skip
        for peer in peers:
            value = row["ratios"].get(peer)
            cells.append(ratio(value))
            ratios[peer] += [value] if value is not None else []
        rows.append(cells)
    means = [ratio(geometric_mean(ratios[peer])) for peer in peers]
    rows.append(["**geometric mean**", *[""] * len(engines(data)), *means])
    return table(header, rows)


def first_table(data: dict, threads: int) -> list[str]:
    header = ["model", *[f"{ENGINES[e]}, cold / warm" for e in engines(data)]]
    rows = []
    for row in data["rows"]:
        if row["threads"] != threads:
            continue
        cells = [row["model"]]
        for engine in engines(data):
            figures = row["engines"].get(engine, {})
            first = figures.get("first_ms", {})
            text = " / ".join(milliseconds(first.get(kind)) for kind in ("cold", "warm"))
            cells.append("failed" if "error" in figures else text)
        rows.append(cells)
    return table(header, rows)


def memory_table(data: dict, threads: int) -> list[str]:
    header = ["model", *[f"{ENGINES[e]}, MB" for e in engines(data)]]
    rows = []
    for row in data["rows"]:
        if row["threads"] != threads:
            continue
        cells = [row["model"]]
        for engine in engines(data):
            size = row["engines"].get(engine, {}).get("peak_bytes")
            cells.append(f"{size / 1e6:.0f}" if size else "–")
        rows.append(cells)
    return table(header, rows)


def failures(data: dict) -> list[str]:
    lines = []
    for row in data["rows"]:
        for engine, figures in row["engines"].items():
            if "error" in figures:
                where = f"{row['model']}, {counted(row['threads'])}"
                lines.append(f"- {where}: {ENGINES[engine]} failed: {short(figures['error'])}")
    return lines


def disturbances(data: dict) -> list[str]:
    lines = []
    for row in data["rows"]:
        for engine, figures in row["engines"].items():
            spread = figures.get("latency_ms", {}).get("spread", 1)
            if spread > DISTURBED:
                where = f"{row['model']}, {counted(row['threads'])}, {ENGINES[engine]}"
                lines.append(f"- {where}: the slowest round took {spread:.1f}× the fastest.")
    return lines


def moved_cores(data: dict) -> list[str]:
    """A virtual machine's host moves its cores; far apart, short steps on two threads take longer."""
    every = (data["roofs"], data.get("roofs_after", {}))
    times = [(doctor.get("roofs") or {}).get("handoff_ns", 0) for doctor in every]
    if min(times) <= 0 or max(times) < 2 * min(times):
        return []
    before, after = (f"{t:.0f} ns" for t in times)
    return [f"- Its host moved its cores: data passed from one to the other in {before} before the "
            f"runs and in {after} after them, which matters to short steps on two threads."]  # fmt: skip


def notes(data: dict) -> list[str]:
    lines = []
    for threads in dict.fromkeys(row["threads"] for row in data["rows"]):
        every = [r for r in data["rows"] if r["threads"] == threads]
        rows = [r for r in every if "ort" in r["ratios"]]
        mean = geometric_mean([r["ratios"]["ort"] for r in rows])
        if mean is None:
            continue
        verdict = "met" if mean <= GOAL and len(rows) == len(every) else "not met"
        lines.append(
            f"- {counted(threads)}: {mean:.2f}× ONNX Runtime's latency over {len(rows)} of "
            f"{len(every)} models; the goal of at most {GOAL}× over all of them is {verdict}."
        )
        slow = [r for r in rows if r["ratios"]["ort"] > GOAL]
        if slow:
            named = ", ".join(f"{r['model']} ({r['ratios']['ort']:.2f}×)" for r in slow)
            lines.append(f"- {counted(threads)}: slower than {GOAL}×: {named}.")
    for row in data["rows"]:
        off = row["engines"].get("tenon", {}).get("difference") or 0
        if off > TOLERANCE:
            where = f"{row['model']}, {counted(row['threads'])}"
            lines.append(f"- {where}: Tenon's result is off by {off:.1e}; its time means nothing.")
    lines += disturbances(data)
    if data["machine"]["virtual"]:
        lines.append("- The machine is virtual: other tenants may have disturbed single rounds.")
        lines += moved_cores(data)
    if data["machine"]["load_before"] > 0.5:
        load = data["machine"]["load_before"]
        lines.append(f"- The machine was not idle: the load was {load:.1f} before the first run.")
    if data["size"] != "full":
        lines.append("- These are the cut-down models of the tests: the figures say nothing.")
    return lines + failures(data)


def flat(value, prefix: str = "") -> list[tuple[str, str]]:
    """The numbers in nested JSON, with dotted names."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in flat(inner, f"{prefix}.{key}")]
    if isinstance(value, list):
        return [pair for i, inner in enumerate(value) for pair in flat(inner, f"{prefix}.{i}")]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [(prefix.lstrip("."), f"{value:.6g}")]
    return []


def roof_lines(before: dict, after: dict) -> list[str]:
    first, last = (flat(doctor.get("roofs") or {}) for doctor in (before, after))
    if not first:
        return ["`tenon doctor --measure` gave no figures."]
    later = dict(last)
    rows = [[name, value, later.get(name, "–")] for name, value in first]
    return table(["measured by `tenon doctor --measure`", "before", "after"], rows)


METHOD = """\
## How the models were measured

The models are the rows of `tools/zoo.py` at full size with fixed-seed random weights (minilm: the
trained weights), batch 1, images of 224×224 (unet: 256×256), text of 128 tokens. Tenon and ONNX
Runtime read the same ONNX file ({exporter} exporter); PyTorch runs the module the file was exported
from. All get the same input and number of threads.

*Steady latency* is the median of {seconds:g} s of runs (five at least) after a warm-up, and then the
median of {rounds} rounds. Within a round Tenon and a peer take turns; a ratio is the median of the
ratios of neighbours. Each engine runs in a process of its own.

*First result* is the time from the start of the process to the first output. Cold: the first
process, with an empty cache of compiled kernels; warm: the next one. The model's files are in the
page cache in both. The Python engines pay for their interpreter and imports, Tenon for writing its
output to a file. ONNX Runtime and PyTorch eager keep no cache, so their warm figure is a repetition.

*Peak memory* is the largest resident size of the process in the steady run, mapped weights included.

torch.compile and ONNX Runtime run with their default options."""


def sections(data: dict) -> list[str]:
    threads = list(dict.fromkeys(row["threads"] for row in data["rows"]))
    lines = []
    for n in threads:
        lines += [f"## Models, steady latency, {counted(n)}", "", *latency_table(data, n), ""]
    lines += ["## Notes on the models", "", *(notes(data) or ["None."]), ""]
    for n in threads[:1]:
        lines += [f"## First result, ms, {counted(n)}", "", *first_table(data, n), ""]
        lines += [f"## Peak memory, {counted(n)}", "", *memory_table(data, n), ""]
    lines += ["## Roofs", "", *roof_lines(data["roofs"], data.get("roofs_after", {})), ""]
    return [*lines, METHOD.format(**data)]
