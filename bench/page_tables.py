"""Cells and tables that the parts of docs/performance.md share."""

from __future__ import annotations

import math


def milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def geometric_mean(values: list[float]) -> float | None:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def counted(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"


def short(text: str, limit: int = 160) -> str:
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    align = ["---", *["--:"] * (len(header) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (header, align, *rows)]
