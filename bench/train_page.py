"""The part of docs/performance.md that bench_train.py measured."""

from __future__ import annotations

from models_page import ENGINES, disturbances, failures, moved_cores, roof_lines
from page_tables import counted, geometric_mean, milliseconds, ratio, table

GOAL, MEMORY_GOAL = 1.25, 0.8  # speed, and memory over the peers', geometric means; none slower
TOLERANCE = 1e-3  # of the first losses, relative


def speed(row: dict) -> float | None:
    """The faster peer's time over Tenon's."""
    return 1 / max(row["ratios"].values()) if row["ratios"] else None


def peak(row: dict, engine: str) -> float | None:
    return row["engines"].get(engine, {}).get("peak_bytes")


def memory(row: dict, peers: list[str]) -> float | None:
    """Tenon's peak over the lesser of the peers'."""
    theirs = [peak(row, peer) for peer in peers if peak(row, peer)]
    return peak(row, "tenon") / min(theirs) if theirs and peak(row, "tenon") else None


def difference(row: dict) -> float:
    return max((e.get("difference", 0) for e in row["engines"].values()), default=0)


def time_table(data: dict) -> list[str]:
    engines = ["tenon", *data["peers"]]
    header = ["model", "parameters", *[f"{ENGINES[e]}, ms" for e in engines], "speed", "losses off"]
    rows = []
    for row in data["rows"]:
        cells = [row["model"], f"{row.get('parameters', 0):,}"]
        for engine in engines:
            figures = row["engines"].get(engine, {})
            median = figures.get("latency_ms", {}).get("median")
            cells.append("failed" if "error" in figures else milliseconds(median))
        rows.append([*cells, ratio(speed(row)), f"{difference(row):.0e}"])
    mean = geometric_mean([speed(row) for row in data["rows"] if speed(row)])
    rows.append(["**geometric mean**", *[""] * (len(engines) + 1), ratio(mean), ""])
    return table(header, rows)


def memory_table(data: dict) -> list[str]:
    engines = ["tenon", *data["peers"]]
    header = ["model", *[f"{ENGINES[e]}, MB" for e in engines], "Tenon / lesser"]
    rows = []
    for row in data["rows"]:
        sizes = [peak(row, e) for e in engines]
        rows.append([row["model"], *[f"{s / 1e6:.0f}" if s else "–" for s in sizes],
                     ratio(memory(row, data["peers"]))])  # fmt: skip
    every = [memory(row, data["peers"]) for row in data["rows"]]
    mean = geometric_mean([m for m in every if m])
    rows.append(["**geometric mean**", *[""] * len(engines), ratio(mean)])
    return table(header, rows)


def verdict(text: str, met: bool) -> str:
    return f"- {text}: {'**met**' if met else '**not met**'}."


def goals(data: dict) -> list[str]:
    rows = data["rows"]
    speeds = {row["model"]: speed(row) for row in rows if speed(row)}
    sizes = [m for m in (memory(row, data["peers"]) for row in rows) if m]
    mean, size = geometric_mean(list(speeds.values())), geometric_mean(sizes)
    lines = []
    if mean is not None:
        slow = [f"{model} ({value:.2f})" for model, value in speeds.items() if value < 1]
        late = f", but {', '.join(slow)}" if slow else ""
        complete = len(speeds) == len(rows)
        lines += [verdict(f"speed, geometric mean {mean:.2f}, goal {GOAL}", mean >= GOAL and complete),
                  verdict(f"no model slower than the faster peer{late}", not slow and complete)]  # fmt: skip
    if size is not None:
        text = f"peak memory, geometric mean {size:.2f}, goal {MEMORY_GOAL}"
        lines.append(verdict(text, size <= MEMORY_GOAL and len(sizes) == len(rows)))
    return lines


def notes(data: dict) -> list[str]:
    lines = [f"- {row['model']}: the first losses differ by {difference(row):.1e}; its times mean nothing."
             for row in data["rows"] if difference(row) > TOLERANCE]  # fmt: skip
    lines += disturbances(data)
    if data["machine"]["virtual"]:
        lines += moved_cores(data)
    if data["machine"]["load_before"] > 0.5:
        load = data["machine"]["load_before"]
        lines.append(f"- The machine was not idle: the load was {load:.1f} before the first run.")
    return lines + failures(data)


METHOD = """\
A step is forward, loss, backward, clipping (the two decoders), update and reading the loss, f32, the
same batch every time: mlp 784-256-128-10, batch 1024; cnn, six convolutions on 32×32, batch 128;
resnet18 on 224×224, batch 8; llama3_debugmodel 4×512 and deepseek_v3_debugmodel 2×256 tokens;
bert_base with two classes, 4×128 tokens; lstm, two layers of 256, 32×128 tokens. AdamW, for images SGD
with momentum. PyTorch's models (`bench/train_peers.py`) are the same mathematics with its own fast
parts: scaled dot product attention, grouped products, fused optimizers, channels-last images. All
begin from the same parameters; *losses off* is the largest relative difference of the first five.

Times are the median of {seconds:g} s of steps after a warm-up, and then of {rounds} rounds, in which
Tenon and a peer take turns. *Speed* is the faster peer's time over Tenon's, the median of neighbours.
*Peak memory* is the largest resident size of the process from its start (VmHWM), with its libraries and
with compiling; compilers that Tenon and PyTorch run as processes of their own do not count."""


def sections(data: dict) -> list[str]:
    where = counted(data["threads"])
    return [f"## Training, a step, {where}", "", *time_table(data), "", *goals(data), *notes(data), "",
            f"### Peak memory in training, {where}", "", *memory_table(data), "",
            "### Roofs around training", "", *roof_lines(data["roofs"], data.get("roofs_after", {})), "",
            METHOD.format(**data)]  # fmt: skip
