"""The part of docs/performance.md that bench_kernels.py measured."""

from __future__ import annotations


def sections(data: dict) -> list[str]:
    return ["## Kernels", ""]
