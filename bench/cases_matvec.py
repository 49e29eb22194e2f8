"""One row, or a few, times several matrices of 4096×11008 that together exceed the cache."""

from __future__ import annotations

import functools
import math

import numpy as np
from kernel_cases import (
    Arrays, Case, Model, bfloat16_bits, generator, normal, packed_int4, rounded_to_bfloat16,
)  # fmt: skip
from onnx import TensorProto, helper

K, N = 4096, 11008
ENOUGH = 160 << 20  # bytes of all matrices

# format: bits of a weight, length of the group that shares a scale (K: a whole column)
FORMATS = {"f32": (32, 0), "bf16": (16, 0), "int8": (8, K), "int4-g32": (4, 32),
           "int4-g128": (4, 128)}  # fmt: skip


def matrix_bytes(kind: str) -> float:
    bits, group = FORMATS[kind]
    return K * N * bits / 8 + (K // group * N * 4 if group else 0)


def matrix_count(kind: str) -> int:
    return max(2, math.ceil(ENOUGH / matrix_bytes(kind)))


def operands(kind: str, rows: int = 1) -> Arrays:
    """Weights w0 … as float32 or int8 values; scales s0 … of shape groups × N.

    One matrix is drawn; the others hold its rows in another order, which is quicker.
    """
    rng, weights = generator("matvec", kind), {}
    bits, group = FORMATS[kind]
    limit = 1 << (bits - 1)
    x, scale = normal(rng, rows, K), None
    if group:
        w = rng.integers(-limit, limit, (K, N), dtype=np.int8)
        scale = rng.uniform(0.5, 1.5, (K // group, N)).astype(np.float32)
    else:
        w = normal(rng, K, N)
        w = rounded_to_bfloat16(w) if bits == 16 else w
    for i in range(matrix_count(kind)):
        weights[f"w{i}"] = np.roll(w, i, axis=0)
        weights |= {f"s{i}": np.roll(scale, i, axis=1)} if group else {}
    return Arrays({"x": x}, weights)


def matrix(m: Model, kind: str, i: int, arrays: Arrays) -> str:
    """The i-th matrix as float32 in the graph."""
    bits, group = FORMATS[kind]
    value = arrays.weights[f"w{i}"]
    if bits == 32:
        return m.weight(f"w{i}", value)
    if bits == 16:
        data = bfloat16_bits(value).tobytes()
        stored = m.tensor(helper.make_tensor(f"w{i}", TensorProto.BFLOAT16, (K, N), data, raw=True))
        return m.node("Cast", stored, to=TensorProto.FLOAT)
    scale = arrays.weights[f"s{i}"]
    if group == K:
        names = m.weight(f"w{i}", value), m.weight(f"s{i}", scale[0])
        return m.node("DequantizeLinear", *names, axis=1)
    names = m.tensor(packed_int4(f"w{i}", value)), m.weight(f"s{i}", scale)
    return m.node("DequantizeLinear", *names, axis=0, block_size=group)


def model(kind: str, arrays: Arrays):
    m, count = Model(arrays), matrix_count(kind)
    for i in range(count):
        m.node("MatMul", "x", matrix(m, kind, i, arrays), out=f"y{i}")
    return m.done(*[TensorProto.FLOAT] * count)


def products(kind: str, x, **weights):
    """The plain definition: weights made whole, then the product."""
    group, results = FORMATS[kind][1], []
    for i in range(matrix_count(kind)):
        w = weights[f"w{i}"].to(x.dtype)
        if group:
            scale = weights[f"s{i}"].to(x.dtype)
            w = (w.view(-1, group, N) * scale[:, None]).view(K, N)
        results.append(x @ w)
    return tuple(results)


def rows_of(weights: dict, i: int):
    return weights[f"w{i}"].t().contiguous()


def with_bfloat16(count: int, x, **weights):
    import torch

    x = x.to(torch.bfloat16)
    every = [rows_of(weights, i).to(torch.bfloat16) for i in range(count)]
    return lambda: [torch.nn.functional.linear(x, w) for w in every]


def with_float32(count: int, x, **weights):
    import torch

    every = [rows_of(weights, i) for i in range(count)]
    return lambda: [torch.nn.functional.linear(x, w) for w in every]


def with_int8(count: int, dtype: str, x, **weights):
    import torch

    x = x.to(getattr(torch, dtype))
    every = [(rows_of(weights, i), weights[f"s{i}"][0].to(x.dtype)) for i in range(count)]
    return lambda: [torch._weight_int8pack_mm(x, w, s) for w, s in every]


def with_int4(count: int, dtype: str, group: int, x, **weights):
    import torch

    def packed(i: int):
        values = rows_of(weights, i).to(torch.int32) + 8
        scale = weights[f"s{i}"]
        zeros = torch.stack([scale, torch.zeros_like(scale)], -1).contiguous()
        return torch._convert_weight_to_int4pack_for_cpu(values, 1), zeros.to(x.dtype)

    x = x.to(getattr(torch, dtype))
    every = [packed(i) for i in range(count)]
    return lambda: [torch._weight_int4pack_mm_for_cpu(x, w, group, s) for w, s in every]


def prepared(kind: str) -> dict:
    count, (bits, group) = matrix_count(kind), FORMATS[kind]
    if bits == 32:
        return {"linear": functools.partial(with_float32, count)}
    if bits == 16:
        return {"linear": functools.partial(with_bfloat16, count)}
    if bits == 8:
        return {f"int8 × {t}": functools.partial(with_int8, count, t)
                for t in ("float32", "bfloat16")}  # fmt: skip
    return {f"int4 × {t}": functools.partial(with_int4, count, t, group)
            for t in ("float32", "bfloat16")}  # fmt: skip


def matvec_case(kind: str, rows: int = 1, table: str = "matvec") -> Case:
    count, name = matrix_count(kind), kind if rows == 1 else f"{kind}-{rows}rows"
    return Case(
        table, name, arrays=functools.partial(operands, kind, rows),
        model=functools.partial(model, kind), function=functools.partial(products, kind),
        engines=("torch", "ort"), prepared={"torch": prepared(kind)},
        flops=2.0 * rows * K * N * count,
        bytes=count * (matrix_bytes(kind) + 4.0 * rows * N) + 4.0 * rows * K,
        facts={"format": kind, "matrices": count},
    )  # fmt: skip


def cases() -> list[Case]:
    return [matvec_case(kind) for kind in FORMATS]
