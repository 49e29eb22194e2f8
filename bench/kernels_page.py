"""The part of docs/performance.md that bench_kernels.py measured.

A speed is a peer's time over Tenon's of the same round, the median over the rounds: above 1
Tenon is faster.  After each table stands what shall be true of it, and whether it is.
"""

from __future__ import annotations

import statistics

from page_tables import counted, geometric_mean, milliseconds, ratio, short, table

NAMES = {"tenon": "Tenon", "openblas": "OpenBLAS", "onednn": "oneDNN", "torch": "PyTorch",
         "torch_nhwc": "PyTorch NHWC", "nhwc": "Tenon NHWC",
         "eager": "PyTorch eager", "compile": "torch.compile", "ort": "ONNX Runtime",
         "bare": "bare product", "alone": "work alone"}  # fmt: skip
TOLERANCE = 1e-5  # of a result, against f64, relative to its largest magnitude

# ---------------------------------------------------------------- figures of a row


def median(row: dict, engine: str) -> float | None:
    return row.get("engines", {}).get(engine, {}).get("latency_ms", {}).get("median")


def time_cell(row: dict, engine: str) -> str:
    if "skipped" in row:
        return "skipped"
    if engine == "tenon" and wrong(row):
        return "wrong"
    failed = "error" in row["engines"].get(engine, {})
    return "failed" if failed else milliseconds(median(row, engine))


def over_rounds(row: dict, figure) -> float | None:
    """The median of figure(latencies of a round) over the rounds where it exists."""
    if wrong(row):
        return None
    values = []
    for latencies in row.get("rounds", []):
        if "tenon" in latencies:
            value = figure(latencies)
            values += [value] if value is not None else []
    return statistics.median(values) if values else None


def speed(
    row: dict, peers: tuple[str, ...], ours: tuple[str, ...] = ("tenon",)
) -> float | None:
    """The best of the peers over the best of ours."""

    def of_round(latencies: dict) -> float | None:
        theirs = [latencies[peer] for peer in peers if peer in latencies]
        return min(theirs) / min(latencies[o] for o in ours if o in latencies) if theirs else None

    return over_rounds(row, of_round)


def share(row: dict, roof: str, engine: str = "tenon", at: str = "median") -> float | None:
    """What an engine reaches of a roof: FLOPs or bytes over time."""
    took = row.get("engines", {}).get(engine, {}).get("latency_ms", {}).get(at)
    peak = row.get("roofs", {}).get(roof)
    if not took or not peak or (engine == "tenon" and wrong(row)):
        return None
    amount = row["flops" if roof == "gflops" else "bytes"]
    return amount / (took * 1e-3) * 1e-9 / peak


def wrong(row: dict) -> bool:
    return (row.get("difference") or 0) > TOLERANCE


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def known(values) -> list[float]:
    return [value for value in values if value is not None]


# ---------------------------------------------------------------- verdicts


def verdict(text: str, met: bool) -> str:
    return f"- {text}: **{'met' if met else 'not met'}**."


def least(rows: list[dict], figures: list[float | None]) -> tuple[str, float]:
    pairs = [(row["case"], figure) for row, figure in zip(rows, figures) if figure is not None]
    return min(pairs, key=lambda pair: pair[1])


def complete(rows: list[dict], figures: list) -> str:
    have = len(known(figures))
    return "" if have == len(rows) else f" (of {have} of {len(rows)} cases)"


def mean_verdict(rows: list[dict], figures: list, goal: float, floor: float | None) -> list[str]:
    """The geometric mean against its goal, the least against the floor."""
    if not known(figures):
        return ["- No case was measured."]
    mean, (case, lowest) = geometric_mean(known(figures)), least(rows, figures)
    gap = complete(rows, figures)
    lines = [verdict(f"geometric mean {mean:.2f}{gap}, goal {goal:.2f}", mean >= goal and not gap)]
    if floor is not None:
        text = f"the least is {lowest:.2f} ({case}), goal {floor:.2f}"
        lines.append(verdict(text, lowest >= floor))
    return lines


def each_verdict(rows: list[dict], figures: list, goal: float, what: str) -> list[str]:
    """Every figure against the same goal."""
    if not known(figures):
        return ["- No case was measured."]
    case, lowest = least(rows, figures)
    reached, gap = sum(f >= goal for f in known(figures)), complete(rows, figures)
    text = (f"{what} at least {goal:.2f} in {reached} of {len(rows)} cases, geometric mean "
            f"{geometric_mean(known(figures)):.2f}, the least {lowest:.2f} ({case})")  # fmt: skip
    return [verdict(text, reached == len(rows) and not gap)]


# ---------------------------------------------------------------- tables


def product_section(rows: list[dict], weight: bool) -> list[str]:
    peers, shown = ("openblas", "onednn", "torch"), ("tenon", "openblas", "onednn", "torch", "ort")
    speeds = [speed(row, peers) for row in rows]
    header = ["M×N×K", *[f"{NAMES[e]}, ms" for e in shown], "best of three / Tenon",
              "Tenon, of the FMA peak", "best of three, of it"]  # fmt: skip
    cells = []
    for row, value in zip(rows, speeds):
        theirs = max(known(share(row, "gflops", e, "min") for e in peers), default=None)
        cells.append([row["case"], *[time_cell(row, e) for e in shown], ratio(value),
                      percent(share(row, "gflops", at="min")), percent(theirs)])  # fmt: skip
    lines = [*table(header, cells), ""]
    lines += mean_verdict(rows, speeds, 1.15 if weight else 1.0, 0.9)
    large = [share(row, "gflops", at="min") for row in rows
             if weight and row["case"] == "2048x2048x2048"]  # fmt: skip
    for value in known(large):
        text = f"2048³: {percent(value)} of the FMA peak in the best run, goal 88 %"
        lines.append(verdict(text, value >= 0.88))
    return lines


def allowed(row: dict, latencies: dict) -> float | None:
    """The time that the fused kernel may take."""
    facts, bare = row["facts"], latencies.get("bare")
    long = facts["k"] >= 1024 if facts["side"] == "epilogue" else facts["n"] >= 1024
    if bare is None or (not long and "alone" not in latencies):
        return None
    return 1.05 * bare if long else bare + 1.2 * latencies["alone"]


def fused_section(rows: list[dict]) -> list[str]:
    def room(row: dict) -> float | None:
        return over_rounds(row, lambda r: (allowed(row, r) or 0) / r["tenon"] or None)

    shown = ("tenon", "bare", "alone", "eager", "compile")
    rooms, faster = [room(row) for row in rows], [speed(row, ("eager",)) for row in rows]
    header = ["case", *[f"{NAMES[e]}, ms" for e in shown], "fused / bare", "allowed / fused",
              "eager / fused", "torch.compile / fused"]  # fmt: skip
    cells = []
    for row, value, library in zip(rows, rooms, faster):
        bare = speed(row, ("bare",))
        cells.append([row["case"], *[time_cell(row, e) for e in shown],
                      ratio(1 / bare if bare else None), ratio(value), ratio(library),
                      ratio(speed(row, ("compile",)))])  # fmt: skip
    lines = [*table(header, cells), ""]
    lines += each_verdict(rows, rooms, 1.0, "the time allowed over the fused kernel's is")
    return lines + each_verdict(rows, faster, 1.0, "library and separate pass over fused are")


def conv_section(rows: list[dict]) -> list[str]:
    """Input and result in memory as NCHW for all; then each engine's better layout."""
    nchw = [speed(row, ("torch", "ort")) for row in rows]
    best = [speed(row, ("torch", "torch_nhwc", "ort"), ("tenon", "nhwc")) for row in rows]
    shown = ("tenon", "torch", "ort", "nhwc", "torch_nhwc")
    header = ["case", *[f"{NAMES[e]}, ms" for e in shown], "NCHW: best of both / Tenon",
              "better layout: best of both / Tenon"]  # fmt: skip
    cells = [[row["case"], *[time_cell(row, e) for e in shown], ratio(first), ratio(second)]
             for row, first, second in zip(rows, nchw, best)]  # fmt: skip
    lines = [*table(header, cells), ""]
    for title, speeds in (("NCHW", nchw), ("better layout", best)):
        kinds: dict[tuple, list] = {}
        for row, value in zip(rows, speeds):
            if value is not None:
                kind = row["facts"]["network"], row["facts"]["batch"]
                kinds.setdefault(kind, []).append(value)
        means = [f"{network}, batch {batch} {ratio(geometric_mean(values))}"
                 for (network, batch), values in kinds.items()]  # fmt: skip
        lines += [f"- {title}: geometric means: {'; '.join(means)}."]
        lines += mean_verdict(rows, speeds, 1.0, 0.8)
    return lines


def large_section(rows: list[dict]) -> list[str]:
    shares = [share(row, "copy_gbs") for row in rows]
    header = ["case", "Tenon, ms", "GB/s", "of copying", "eager / Tenon", "torch.compile / Tenon"]
    cells = []
    for row, value in zip(rows, shares):
        ours = median(row, "tenon")
        cells.append([row["case"], time_cell(row, "tenon"),
                      f"{row['bytes'] / ours * 1e-6:.1f}" if ours else "–", percent(value),
                      ratio(speed(row, ("eager",))), ratio(speed(row, ("compile",)))])  # fmt: skip
    return [*table(header, cells), "", *each_verdict(rows, shares, 0.9, "of copying bandwidth")]


def cached_section(rows: list[dict], calls: dict[str, float]) -> list[str]:
    """calls: the time of an empty call of each engine, which is part of these small times."""

    def net(row: dict) -> float | None:
        def of_round(latencies: dict) -> float | None:
            if "compile" not in latencies or "compile" not in calls:
                return None
            return max(latencies["compile"] - calls["compile"], 0) / latencies["tenon"]

        return over_rounds(row, of_round)

    speeds, shown = [speed(row, ("compile",)) for row in rows], ("tenon", "eager", "compile")
    header = ["case", *[f"{NAMES[e]}, ms" for e in shown], "eager / Tenon",
              "torch.compile / Tenon", "the same without the call"]  # fmt: skip
    cells = [
        [row["case"], *[time_cell(row, e) for e in shown], ratio(speed(row, ("eager",))),
         ratio(value), ratio(net(row))] for row, value in zip(rows, speeds)
    ]  # fmt: skip
    return [*table(header, cells), "",
            *each_verdict(rows, speeds, 1.2, "the speed over torch.compile is")]  # fmt: skip


def tensor_section(rows: list[dict], large: bool) -> list[str]:
    """Operations that are bound by memory or by its latency, beside the best of three peers."""
    peers = ("eager", "compile", "ort")
    speeds, shares = [speed(row, peers) for row in rows], [share(row, "copy_gbs") for row in rows]
    header = ["case", *[f"{NAMES[e]}, ms" for e in ("tenon", *peers)], "best of three / Tenon"]
    cells = [[row["case"], *[time_cell(row, e) for e in ("tenon", *peers)], ratio(value)]
             for row, value in zip(rows, speeds)]  # fmt: skip
    if large:
        header.append("of copying")
        for line, value in zip(cells, shares):
            line.append(percent(value))
    return [*table(header, cells), "",
            *each_verdict(rows, speeds, 1.0 if large else 1.2, "the speed over the best is")]  # fmt: skip


def megabytes(row: dict, engine: str) -> str:
    size = row.get("engines", {}).get(engine, {}).get("peak_bytes")
    return f"{size / 1e6:.0f}" if size else "–"


def memory_verdict(rows: list[dict]) -> list[str]:
    """From 2048 to 8192 memory grows by four times what it grows from 512 to 2048."""
    peaks = {row["case"]: row.get("engines", {}).get("tenon", {}).get("peak_bytes")
             for row in rows}  # fmt: skip
    short_, middle, long = (peaks.get(name) for name in ("512", "2048", "8192"))
    if not (short_ and middle and long) or middle <= short_:
        return []
    growth = (long - middle) / (middle - short_)
    text = f"memory grows {growth:.1f} times as much from 2048 to 8192 as from 512 to 2048"
    return [verdict(f"{text} (linear: 4, quadratic: 16)", growth < 6)]


def attention_section(rows: list[dict]) -> list[str]:
    shown = ("tenon", "torch", "ort")
    speeds = [speed(row, ("torch", "ort")) for row in rows]
    header = ["case", *[f"{NAMES[e]}, ms" for e in shown], "best of both / Tenon",
              *[f"{NAMES[e]}, MB" for e in shown]]  # fmt: skip
    cells = [[row["case"], *[time_cell(row, e) for e in shown], ratio(value),
              *[megabytes(row, e) for e in shown]]
             for row, value in zip(rows, speeds)]  # fmt: skip
    return [*table(header, cells), "", *each_verdict(rows, speeds, 1.2, "the speed is"),
            *memory_verdict(rows)]  # fmt: skip


def matvec_section(rows: list[dict]) -> list[str]:
    goals = {"bf16": 0.85, "int8": 0.85, "int4-g32": 0.6, "int4-g128": 0.6}
    shown = ("tenon", "torch", "ort")
    header = ["weights", *[f"{NAMES[e]}, ms" for e in shown], "best of both / Tenon", "GB/s",
              "of reading"]  # fmt: skip
    cells, lines = [], []
    for row in rows:
        value, ours = share(row, "read_gbs"), median(row, "tenon")
        cells.append([row["case"], *[time_cell(row, e) for e in shown],
                      ratio(speed(row, ("torch", "ort"))),
                      f"{row['bytes'] / ours * 1e-6:.1f}" if ours else "–",
                      percent(value)])  # fmt: skip
        if row["case"] in goals:
            goal = goals[row["case"]]
            text = f"{row['case']}: {percent(value)} of reading the packed bytes, goal {percent(goal)}"
            lines.append(verdict(text, (value or 0) >= goal))
    return [*table(header, cells), "", *lines]


def quant_section(rows: list[dict]) -> list[str]:
    speeds = [speed(row, ("ort",)) for row in rows]
    header = ["case", *[f"{NAMES[e]}, ms" for e in ("tenon", "ort")], "ONNX Runtime / Tenon"]
    cells = [[row["case"], *[time_cell(row, e) for e in ("tenon", "ort")], ratio(value)]
             for row, value in zip(rows, speeds)]  # fmt: skip
    return [*table(header, cells), "", *each_verdict(rows, speeds, 1.0, "the speed is")]


# ---------------------------------------------------------------- the page


def is_large(row: dict) -> bool:
    return row.get("facts", {}).get("large", False)


def tables(rows: list[dict], calls: dict[str, float]) -> list[tuple[str, list[str]]]:
    """(title, lines) of every table that has rows."""

    def of(*names: str, large: bool | None = None) -> list[dict]:
        return [row for row in rows if row["table"] in names
                and (large is None or is_large(row) == large)]  # fmt: skip

    parts = [
        ("Matrix products, B a weight", of("matmul_weight"), lambda r: product_section(r, True)),
        ("Matrix products of activations", of("matmul"), lambda r: product_section(r, False)),
        ("Products of small matrices", of("matmul_small"), lambda r: product_section(r, False)),
        ("Matrix products with fused work", of("fused"), fused_section),
        ("Convolutions", of("conv"), conv_section),
        ("Larger than the cache", of("permute", "rows", large=True), large_section),
        ("In the cache", of("permute", "rows", large=False), lambda r: cached_section(r, calls)),
        ("Other operations on tensors larger than the cache", of("tensor", large=True),
         lambda r: tensor_section(r, True)),
        ("Other operations in the cache", of("tensor", large=False),
         lambda r: tensor_section(r, False)),
        ("Attention", of("attention"), attention_section),
        ("One row times matrices of 4096×11008", of("matvec"), matvec_section),
        ("A few rows times matrices of 4096×11008", of("few_rows"), matvec_section),
        ("Products and convolutions of bytes", of("quant"), quant_section),
    ]
    return [(title, make(part)) for title, part, make in parts if part]


def notes(rows: list[dict]) -> list[str]:
    lines = []
    for row in rows:
        where = f"{row['table']} {row['case']}, {counted(row['threads'])}"
        if "skipped" in row:
            lines.append(f"- {where}: skipped, {row['skipped']}.")
        if wrong(row):
            off = row["difference"]
            lines.append(f"- {where}: Tenon's result is off by {off:.1e}; its time means nothing.")
        if "unchecked" in row:
            lines.append(f"- {where}: the result was not checked: {short(row['unchecked'])}")
        for engine, figures in row.get("engines", {}).items():
            if "error" in figures:
                lines.append(f"- {where}: {NAMES[engine]} failed: {short(figures['error'])}")
    return lines


METHOD = """\
## How the kernels were measured

A case is an ONNX model of one kernel (`bench/kernel_cases.py`); Tenon runs it by `tenon bench`,
ONNX Runtime from Python, PyTorch by the same work in Python; OpenBLAS and oneDNN are called from C
(`bench/blas_peer.c`). PyTorch's column is the fastest of the ways a case knows: packed weights
(oneDNN, MKL), NCHW or NHWC in memory, results in given memory. A round measures every engine once,
{seconds:g} s each after a warm-up, Tenon in the middle; a ratio is the median over {rounds} rounds.
Results are compared once with PyTorch in f64: within 1e-5 of the largest magnitude. Roofs are
measured by `tenon doctor --measure` before and after the rounds of a case, their mean counts.
Memory is the largest resident size, of Tenon the process's, of a peer what the case adds to it."""


def call_times(rows: list[dict], threads: int) -> dict[str, float]:
    for row in rows:
        if row["table"] == "call" and row["threads"] == threads:
            engines = row.get("engines", {})
            return {e: median(row, e) for e in engines if median(row, e) is not None}
    return {}


def sections(data: dict) -> list[str]:
    rows = data["rows"]
    lines = []
    for threads in dict.fromkeys(row["threads"] for row in rows):
        calls = call_times(rows, threads)
        for title, text in tables([r for r in rows if r["threads"] == threads], calls):
            lines += [f"## {title}, {counted(threads)}", "", *text, ""]
        if calls:
            text = ", ".join(f"{NAMES[e]} {1e3 * t:.1f} µs" for e, t in calls.items())
            lines += [f"A call that does next to nothing takes, {counted(threads)}: {text}.", ""]
    lines += ["## Notes on the kernels", "", *(notes(rows) or ["None."]), ""]
    return [*lines, METHOD.format(**data)]
