"""The part of docs/performance.md that bench_models.py measured."""

from __future__ import annotations

from page_tables import counted, geometric_mean, milliseconds, ratio, short, table

ENGINES = {"tenon": "Tenon", "ort": "ONNX Runtime", "eager": "PyTorch eager",
           "compile": "torch.compile"}  # fmt: skip
TOLERANCE = 1e-4  # of a result, against ONNX Runtime, relative to its largest magnitude
DISTURBED = 1.5  # slowest over fastest round of one engine
RIVALS = ("ort", "compile")
GOAL = 0.8  # steady latency over the faster rival's, geometric mean; none above 1


def engines(data: dict) -> list[str]:
    return ["tenon", *data["peers"]]


def rows_of(data: dict, threads: int, batch: int) -> list[dict]:
    return [r for r in data["rows"] if (r["threads"], r.get("batch", 1)) == (threads, batch)]


def variants(data: dict) -> list[tuple[int, int]]:
    """The pairs of threads and batch that were measured."""
    return list(dict.fromkeys((r["threads"], r.get("batch", 1)) for r in data["rows"]))


def to_rivals(row: dict) -> float | None:
    """Tenon's latency over that of the faster rival."""
    ratios = [row["ratios"][rival] for rival in RIVALS if rival in row["ratios"]]
    return max(ratios, default=None)


def latency_table(data: dict, threads: int, batch: int) -> list[str]:
    peers = data["peers"]
    header = ["model", *[f"{ENGINES[e]}, ms" for e in engines(data)]]
    header += [f"Tenon / {ENGINES[p]}" for p in peers]
    rows, ratios = [], {peer: [] for peer in peers}
    for row in rows_of(data, threads, batch):
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


def memory_table(data: dict, threads: int, batch: int) -> list[str]:
    header = ["model", *[f"{ENGINES[e]}, MB" for e in engines(data)]]
    rows = []
    for row in rows_of(data, threads, batch):
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
    for threads, batch in variants(data):
        every = rows_of(data, threads, batch)
        ratios = {r["model"]: to_rivals(r) for r in every if to_rivals(r) is not None}
        mean = geometric_mean(list(ratios.values()))
        if mean is None:
            continue
        where = f"batch {batch}, {counted(threads)}"
        verdict = "met" if mean <= GOAL and len(ratios) == len(every) else "not met"
        lines.append(
            f"- {where}: {mean:.2f}× the latency of the faster of ONNX Runtime and torch.compile "
            f"over {len(ratios)} of {len(every)} models; the goal of at most {GOAL}× is {verdict}."
        )
        slow = [f"{model} ({value:.2f}×)" for model, value in ratios.items() if value > 1]
        if slow:
            lines.append(f"- {where}: slower than the faster one: {', '.join(slow)}.")
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
trained weights), images of 224×224 (unet: 256×256), text of 128 tokens; a larger batch repeats the
input. Tenon and ONNX Runtime read the same ONNX file ({exporter} exporter); PyTorch runs the module
the file was exported from. All get the same input and number of threads.

*Steady latency* is the median of {seconds:g} s of runs (three at least) after a warm-up, and then the
median of {rounds} rounds. Within a round Tenon and a peer take turns; a ratio is the median of the
ratios of neighbours. Each engine runs in a process of its own.

*Peak memory* is the largest resident size of the process in the steady run, mapped weights included.

torch.compile and ONNX Runtime run with their default options."""


def sections(data: dict) -> list[str]:
    pairs = variants(data)
    lines = []
    for threads, batch in pairs:
        title = f"## Models, steady latency, batch {batch}, {counted(threads)}"
        lines += [title, "", *latency_table(data, threads, batch), ""]
    lines += ["## Notes on the models", "", *(notes(data) or ["None."]), ""]
    for threads, batch in pairs[:1]:
        where = f"batch {batch}, {counted(threads)}"
        lines += [f"## Peak memory, {where}", "", *memory_table(data, threads, batch), ""]
    lines += ["## Roofs", "", *roof_lines(data["roofs"], data.get("roofs_after", {})), ""]
    return [*lines, METHOD.format(**data)]
