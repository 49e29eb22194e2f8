"""Attention of 12 heads of 64: whole sequences, causal or not, and one row over a cache."""

from __future__ import annotations

import functools

import numpy as np
from kernel_cases import Arrays, Case, Model, generator, normal

HEADS, WIDTH, CACHE = 12, 64, 4096
LENGTHS = (128, 512, 2048, 8192)
NAIVE_LIMIT = 2048  # the standard operator of ONNX Runtime stores all scores


def operands(rows: int, columns: int) -> Arrays:
    rng = generator("attention", rows, columns)
    lengths = {"q": rows, "k": columns, "v": columns}
    return Arrays({name: normal(rng, 1, HEADS, n, WIDTH) for name, n in lengths.items()})


def model(causal: bool, arrays: Arrays):
    m = Model(arrays)
    m.node("Attention", "q", "k", "v", out="y0", is_causal=int(causal))
    return m.done()


def attend(causal: bool, q, k, v):
    import torch

    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)


def standard(causal: bool, arrays: Arrays):
    return model(causal, arrays), arrays.inputs


def contrib(causal: bool, arrays: Arrays):
    """ONNX Runtime's own operator, on tensors of batch × length × (heads · width)."""
    feed = {name: np.ascontiguousarray(a.transpose(0, 2, 1, 3)).reshape(1, -1, HEADS * WIDTH)
            for name, a in arrays.inputs.items()}  # fmt: skip
    m = Model(Arrays(feed))
    m.node("MultiHeadAttention", "q", "k", "v", out="y0", domain="com.microsoft",
           num_heads=HEADS, unidirectional=int(causal))  # fmt: skip
    return m.done(), feed


def attention_case(name: str, rows: int, columns: int, causal: bool) -> Case:
    ort = {"MultiHeadAttention": functools.partial(contrib, causal)}
    if columns <= NAIVE_LIMIT or rows == 1:
        ort["Attention"] = functools.partial(standard, causal)
    scores = rows * columns / 2 if causal else rows * columns
    return Case(
        "attention", name, arrays=functools.partial(operands, rows, columns),
        model=functools.partial(model, causal), function=functools.partial(attend, causal),
        engines=("torch", "ort"), ort=ort, flops=4.0 * HEADS * WIDTH * scores,
        bytes=8.0 * HEADS * WIDTH * (rows + columns),
        facts={"rows": rows, "columns": columns, "causal": causal},
    )  # fmt: skip


def cases() -> list[Case]:
    made = [attention_case(f"{n}{'-causal' if causal else ''}", n, n, causal)
            for causal in (False, True) for n in LENGTHS]  # fmt: skip
    return [*made, attention_case(f"decode-{CACHE}", 1, CACHE, False)]
