"""Products with work fused before or after, beside the bare product and the work alone."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from cases_matmul import SHAPES, product_case, shape_name
from kernel_cases import Arrays, Case, Model, generator, normal

EPSILON = 1e-5


def relu(x, w, b):
    import torch

    return torch.relu(torch.addmm(b, x, w))


def gelu(x, w, b):
    import torch

    return torch.nn.functional.gelu(torch.addmm(b, x, w))


def residual(x, w, r):
    return x @ w + r


def layer_norm(x, w, g, c):
    import torch

    return torch.nn.functional.layer_norm(x, x.shape[-1:], g, c, EPSILON) @ w


def softmax(x, w):
    import torch

    return torch.softmax(x, -1) @ w


def relu_alone(x, b):
    import torch

    return torch.relu(x + b)


def gelu_alone(x, b):
    import torch

    return torch.nn.functional.gelu(x + b)


def residual_alone(x, r):
    return x + r


def layer_norm_alone(x, g, c):
    import torch

    return torch.nn.functional.layer_norm(x, x.shape[-1:], g, c, EPSILON)


def softmax_alone(x):
    import torch

    return torch.softmax(x, -1)


@dataclass(frozen=True)
class Fusion:
    """Work at the product's result (epilogue) or at its left operand (prologue)."""

    side: str
    function: object
    alone: object
    vectors: str = ""  # its weights, of the length of a row
    matrix: str = ""  # its further input, of the size of the result

    def nodes(self, m: Model, name: str, x: str, out: str | None) -> str:
        if name == "relu":
            return m.node("Relu", m.node("Add", x, "b"), out=out)
        if name == "gelu":
            return m.node("Gelu", m.node("Add", x, "b"), out=out)
        if name == "residual":
            return m.node("Add", x, "r", out=out)
        if name == "layernorm":
            return m.node("LayerNormalization", x, "g", "c", out=out, axis=-1, epsilon=EPSILON)
        return m.node("Softmax", x, out=out, axis=-1)


FUSIONS = {
    "relu": Fusion("epilogue", relu, relu_alone, vectors="b"),
    "gelu": Fusion("epilogue", gelu, gelu_alone, vectors="b"),
    "residual": Fusion("epilogue", residual, residual_alone, matrix="r"),
    "layernorm": Fusion("prologue", layer_norm, layer_norm_alone, vectors="gc"),
    "softmax": Fusion("prologue", softmax, softmax_alone),
}


def operands(name: str, m: int, n: int, k: int, alone: bool) -> Arrays:
    fusion, rng = FUSIONS[name], generator("fused", name, m, n, k)
    width = n if fusion.side == "epilogue" else k
    inputs = {"x": normal(rng, m, width if alone else k)}
    weights = {} if alone else {"w": normal(rng, k, n)}
    weights |= {v: normal(rng, width) for v in fusion.vectors}
    if fusion.matrix:
        inputs[fusion.matrix] = normal(rng, m, n)
    return Arrays(inputs, weights)


def model(name: str, alone: bool, arrays: Arrays):
    m, fusion = Model(arrays), FUSIONS[name]
    for weight, value in arrays.weights.items():
        m.weight(weight, np.asarray(value))
    if alone:
        fusion.nodes(m, name, "x", "y0")
    elif fusion.side == "epilogue":
        fusion.nodes(m, name, m.node("MatMul", "x", "w"), "y0")
    else:
        m.node("MatMul", fusion.nodes(m, name, "x", None), "w", out="y0")
    return m.done()


def fused_case(name: str, m: int, n: int, k: int) -> Case:
    fusion = FUSIONS[name]
    alone = Case(
        "fused", f"{name}-{shape_name(m, n, k)}:alone",
        arrays=functools.partial(operands, name, m, n, k, True),
        model=functools.partial(model, name, True), function=fusion.alone, engines=(),
    )  # fmt: skip
    return Case(
        "fused", f"{name}-{shape_name(m, n, k)}",
        arrays=functools.partial(operands, name, m, n, k, False),
        model=functools.partial(model, name, False), function=fusion.function,
        engines=("eager", "compile"), flops=2.0 * m * n * k,
        bytes=4.0 * (m * k + k * n + m * n * (2 if fusion.matrix else 1)),
        companions={"bare": product_case("matmul_weight", m, n, k), "alone": alone},
        facts={"fusion": name, "side": fusion.side, "m": m, "n": n, "k": k},
    )  # fmt: skip


def cases() -> list[Case]:
    return [fused_case(name, m, n, k) for name in FUSIONS for m, n, k, batch in SHAPES
            if batch == 1]  # fmt: skip
