"""The part of docs/performance.md that bench_wide.py measured."""

from __future__ import annotations

from page_tables import counted, geometric_mean, ratio, short, table

ENGINES = {"wide": "Tenon wide", "loop": "Tenon, loop", "eager": "PyTorch eager, loop",
           "compile": "torch.compile, loop", "vmap": "vmap, compiled", "ort": "ONNX Runtime, loop"}  # fmt: skip
PEERS = ("eager", "compile", "vmap", "ort")
TRAINED = ("train_sgd", "train_adam")
LARGE = ("resnet18",)  # not in the geometric mean
TOLERANCE = 1e-5  # of a result, of the largest one
LEVEL = 1.05  # what counts as not slower
DISTURBED, NAMED = 2.0, 5  # slowest over fastest round of one engine; how many of them are named
MANY, GOAL = 16, 1.5  # from how many members on; the best peer's time over the wide program's, geometric mean
EAGER_GOALS = {("mlp_b8", 100): 10, ("mlp", 100): 4}
TRAINING_GOAL = 4  # the eager loop's time over the wide step's


# ---------------------------------------------------------------- figures


def median(row: dict, engine: str) -> float | None:
    """Milliseconds of a run of all members."""
    return row["engines"].get(engine, {}).get("latency_ms", {}).get("median")


def wrong(row: dict, engine: str) -> bool:
    return row["engines"].get(engine, {}).get("difference", 0) > TOLERANCE


def speed(row: dict, engines: tuple[str, ...] = PEERS) -> float | None:
    """The time of the best of some engines whose results are right over the wide program's."""
    known = [row["ratios"][e] for e in engines if e in row["ratios"] and not wrong(row, e)]
    return min(known) if known and not wrong(row, "wide") else None


def by_model(data: dict) -> dict[str, list[dict]]:
    """Rows of models that are run, by ascending number of members."""
    models: dict[str, list[dict]] = {}
    for row in sorted(data["rows"], key=lambda row: row["n"]):
        if row["model"] not in TRAINED:
            models.setdefault(row["model"], []).append(row)
    order = list(dict.fromkeys(row["model"] for row in data["rows"]))
    return {model: models[model] for model in order if model in models}


def late(row: dict) -> bool:
    """The wide program takes longer than the loop that it replaces."""
    own = speed(row, ("loop",))
    return own is None or own < 1 / LEVEL


def rises(rows: list[dict]) -> list[int]:
    """Numbers of members at which a member takes longer than at some smaller number."""
    least, found = float("inf"), []
    for row in rows:
        time = median(row, "wide")
        if time is None:
            continue
        if time / row["n"] > LEVEL * least:
            found.append(row["n"])
        least = min(least, time / row["n"])
    return found


# ---------------------------------------------------------------- text


def microseconds(row: dict, engine: str) -> str:
    """Of a member."""
    figures = row["engines"].get(engine, {})
    if "error" in figures:
        return "failed"
    if wrong(row, engine):
        return "wrong"
    time = median(row, engine)
    if time is None:
        return "–"
    value = time * 1e3 / row["n"]
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def run_table(data: dict) -> list[str]:
    header = ["model", "N", *[ENGINES[e] for e in ENGINES], "loop / wide", "best peer / wide", "off"]
    rows = []
    for model, its in by_model(data).items():
        for row in its:
            off = row["engines"].get("wide", {}).get("difference")
            rows.append([model, str(row["n"]), *[microseconds(row, e) for e in ENGINES], ratio(speed(row, ("loop",))),
                         ratio(speed(row)), "–" if off is None else f"{off:.0e}"])  # fmt: skip
    return table(header, rows)


def training_table(data: dict) -> list[str]:
    header = ["training", "N", *[ENGINES[e] for e in ENGINES if e != "ort"], "loop / wide", "eager / wide",
              "best peer / wide", "off"]  # fmt: skip
    rows = []
    for row in data["rows"]:
        if row["model"] in TRAINED:
            off = row["engines"].get("wide", {}).get("difference")
            rows.append([row["model"], str(row["n"]), *[microseconds(row, e) for e in ENGINES if e != "ort"],
                         ratio(speed(row, ("loop",))), ratio(speed(row, ("eager",))), ratio(speed(row)),
                         "–" if off is None else f"{off:.0e}"])  # fmt: skip
    return table(header, rows) if rows else []


def verdict(text: str, met: bool) -> str:
    return f"- {text}: {'**met**' if met else '**not met**'}."


def mean_goal(models: dict[str, list[dict]]) -> list[str]:
    many = [row for model, rows in models.items() if model not in LARGE for row in rows if row["n"] >= MANY]
    speeds = [speed(row) for row in many]
    mean = geometric_mean([value for value in speeds if value])
    if mean is None:
        return []
    means = {n: geometric_mean([s for row, s in zip(many, speeds) if s and row["n"] == n])
             for n in sorted({row["n"] for row in many})}  # fmt: skip
    each = ", ".join(f"{ratio(value)} at {n}" for n, value in means.items() if value)
    text = f"the best peer's time over the wide program's, small models, N ≥ {MANY}: geometric mean {mean:.2f} ({each}), goal {GOAL}"
    if None in speeds:
        text += f", of the {len(speeds) - speeds.count(None)} of {len(speeds)} rows that have peers"
    return [verdict(text, mean >= GOAL)]


def goals(data: dict) -> list[str]:
    models, lines = by_model(data), []
    lines += mean_goal(models)
    for (model, n), goal in EAGER_GOALS.items():
        for row in models.get(model, []):
            value = speed(row, ("eager",)) if row["n"] == n else None
            if value is not None:
                lines.append(verdict(f"{model}, N = {n}: {value:.1f}× PyTorch's eager loop, goal {goal}", value >= goal))
    if models:
        slow = [f"{row['model']} at {row['n']} ({ratio(speed(row, ('loop',)))})"
                for rows in models.values() for row in rows if late(row)]  # fmt: skip
        grown = [f"{model} at {n}" for model, rows in models.items() for n in rises(rows)]
        lines += [
            verdict(f"never slower than Tenon's loop{', but ' + ', '.join(slow) if slow else ''}", not slow),
            verdict(f"a member's time falls or stays level{', but not ' + ', '.join(grown) if grown else ''}", not grown),
        ]
    for row in data["rows"]:
        value = speed(row, ("eager",)) if row["model"] in TRAINED else None
        if value is not None:
            text = f"{row['model']}, {row['n']} members: {value:.1f}× the throughput of PyTorch's eager loop, goal {TRAINING_GOAL}"
            lines.append(verdict(text, value >= TRAINING_GOAL))
    return lines


def disturbances(data: dict) -> list[str]:
    spreads = [(figures.get("latency_ms", {}).get("spread", 1), f"{row['model']} at {row['n']}, {ENGINES[engine]}")
               for row in data["rows"] for engine, figures in row["engines"].items()]  # fmt: skip
    disturbed = sorted((s for s in spreads if s[0] > DISTURBED), reverse=True)
    if not disturbed:
        return []
    worst = ", ".join(f"{where} ({spread:.1f}×)" for spread, where in disturbed[:NAMED])
    return [f"- In {len(disturbed)} of {len(spreads)} measurements the slowest round took over {DISTURBED:g}× the fastest: "
            f"{worst}{' …' if len(disturbed) > NAMED else ''}."]  # fmt: skip


def notes(data: dict) -> list[str]:
    lines, said = disturbances(data), set()
    behind = [f"{row['model']} at {row['n']} ({ratio(speed(row))})" for row in data["rows"] if (speed(row) or 1) < 1]
    if behind:
        lines.append(f"- The best peer is faster than the wide program for {', '.join(behind)}.")
    for row in data["rows"]:
        for engine, figures in row["engines"].items():
            where = f"{row['model']}, N = {row['n']}, {ENGINES[engine]}"
            if "error" in figures:
                lines.append(f"- {where} failed: {short(figures['error'])}")
            elif wrong(row, engine):
                lines.append(f"- {where}: results are off by {figures['difference']:.1e}.")
            how = (row["model"], engine, figures.get("how"))
            if engine in PEERS and figures.get("how") and how not in said:
                said.add(how)
                lines.append(f"- {row['model']}, {ENGINES[engine]}: {figures['how']}.")
    return lines


def memory_table(data: dict) -> list[str]:
    """Of the largest number of members of each model."""
    header = ["model", "N", *[f"{ENGINES[e]}, MB" for e in ENGINES]]
    rows = []
    for model, its in by_model(data).items():
        sizes = [its[-1]["engines"].get(e, {}).get("bytes") for e in ENGINES]
        rows.append([model, str(its[-1]["n"]), *[f"{size / 1e6:.0f}" if size else "–" for size in sizes]])
    return table(header, rows)


METHOD = """\
N members of one model, each with weights and inputs of its own, on {where}; microseconds of a member, that is
of a run of all members divided by N. *Tenon wide* is one program (`tn_wide_open`), *Tenon, loop* N programs one
after another in one process. The peers' loops call N modules, one compiled function with N sets of parameters
(what is compiled per module calls as fast), and N sessions; *vmap* is `torch.func.vmap` over
`stack_module_state`, compiled for each N. Before the times all results are compared with PyTorch eager's: *off*
is the largest difference of the wide program's, of the largest result. The engines take turns in {rounds} rounds
of {seconds} s each, in an order that is reversed from round to round; a ratio is the median of the rounds'
ratios. Models: mlp 64-128-64 relu, batch 32 (mlp_b8: 8); deep_mlp, four layers of 512, gelu, batch 8; resblock,
two convolutions of 64 channels with batch norm, 8×32×32; convnet 3-32-32-32, 8×32×32; embedding, 8×64 of 1000 rows
of 64; layernorm, 8×32×256; attention, 8 heads of 32 with projections, 8×128×256; lstm 64→128, 8×32×64; resnet18,
1×224×224 (compiling vmap for more than 16 members takes longer than all the rest). Where memory would not hold the
members of all engines, these run one after another instead of in turns. Training: 32 perceptrons 64-128-64
with learning rates of their own, batch 32, parameters compared after 50 steps; the peers' loop over compiled steps
and vmap compile gradients and update as one function, eager has fused optimizers. Where what the members read
outgrows a cache, the time of a member rises, that of the loops too. Memory is how much the largest
resident size of the process grew by all that, compiling included."""


def between(data: dict, key: str) -> str:
    """Over the rows, which several runs may have measured."""
    values = [row.get(key, data[key]) for row in data["rows"]] or [data[key]]
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def builds(data: dict) -> list[str]:
    known = sorted({row["commit"] for row in data["rows"] if row.get("commit")})
    return [f"- The rows are of several builds: {', '.join(known)}."] if len(known) > 1 else []


def sections(data: dict) -> list[str]:
    where = counted(data["threads"])
    training = training_table(data)
    lines = [f"## N models as one, {where}, µs of a member", "", *run_table(data), "", *goals(data), *builds(data), *notes(data), ""]
    if training:
        lines += ["### Training N members, µs of a member's step", "", *training, ""]
    return [*lines, "### Memory of N members", "", *memory_table(data), "",
            METHOD.format(where=where, rounds=between(data, "rounds"), seconds=between(data, "seconds"))]  # fmt: skip
