"""Quantised convolutions, products and blocks, and a few rows times weights in a stored type.

All scales are powers of two, so that every step before the rounding is exact and the results can be
compared one by one.
"""

from __future__ import annotations

import functools

import cases_matvec
import numpy as np
from cases_conv import Conv
from kernel_cases import Arrays, Case, Model, generator, normal
from onnx import TensorProto

X_SCALE, X_ZERO, Y_SCALE, Y_ZERO = 2.0**-5, 120, 2.0**-2, 110

CONVS = [
    Conv(64, 256, 1, 1, 56), Conv(256, 64, 1, 1, 56), Conv(512, 2048, 1, 1, 7), Conv(64, 64, 3, 1, 56),
    Conv(256, 256, 3, 1, 14), Conv(3, 64, 7, 2, 224), Conv(96, 96, 3, 1, 56, 96),
    Conv(384, 384, 3, 1, 14, 384),
]  # fmt: skip
PRODUCTS = [(128, 768, 768), (1024, 1024, 1024), (1, 4096, 4096)]
BLOCKS = [(256, 64, 56), (1024, 256, 14)]  # channels, those between, side
FEW_ROWS = [(kind, rows) for kind in ("bf16", "int8", "int4-g128") for rows in (4, 8)]


def scales(rng: np.random.Generator, count: int) -> np.ndarray:
    return (2.0 ** -rng.integers(7, 10, count)).astype(np.float32)


def restored(sums, scale):
    """What QLinearConv and QLinearMatMul give for sums of whole numbers."""
    y = (sums * (X_SCALE * scale / Y_SCALE)).round() + Y_ZERO
    return y.clamp(0, 255)


def parameters(m: Model, arrays: Arrays) -> dict[str, str]:
    values = {"xs": np.float32(X_SCALE), "xz": np.uint8(X_ZERO), "ys": np.float32(Y_SCALE),
              "yz": np.uint8(Y_ZERO), "wz": np.zeros_like(arrays.weights["ws"], np.int8)}  # fmt: skip
    return {name: m.weight(name, np.asarray(v)) for name, v in (values | arrays.weights).items()}


# ---------------------------------------------------------------- single operators


def conv_operands(conv: Conv) -> Arrays:
    rng, side = generator("quant", conv), conv.kernel
    x = rng.integers(0, 256, (1, conv.channels, conv.size, conv.size), dtype=np.uint8)
    w = rng.integers(-127, 128, (conv.filters, conv.channels // conv.groups, side, side), np.int8)
    bias = rng.integers(-1000, 1000, conv.filters, np.int32)
    return Arrays({"x": x}, {"w": w, "ws": scales(rng, conv.filters), "b": bias})


def conv_model(conv: Conv, arrays: Arrays):
    m = Model(arrays)
    p = parameters(m, arrays)
    m.node("QLinearConv", "x", p["xs"], p["xz"], p["w"], p["ws"], p["wz"], p["ys"], p["yz"], p["b"],
           out="y0", group=conv.groups, strides=[conv.stride] * 2, pads=[conv.padding] * 4)  # fmt: skip
    return m.done(TensorProto.UINT8)


def convolve(conv: Conv, x, w, ws, b):
    import torch

    x, w, b = (t.double() for t in (x, w, b))
    y = torch.nn.functional.conv2d(x - X_ZERO, w, b, conv.stride, conv.padding, 1, conv.groups)
    return restored(y, ws[:, None, None])


def product_operands(m: int, k: int, n: int) -> Arrays:
    rng = generator("quant", m, k, n)
    w = rng.integers(-127, 128, (k, n), np.int8)
    x = rng.integers(0, 256, (m, k), dtype=np.uint8)
    return Arrays({"x": x}, {"w": w, "ws": np.asarray(scales(rng, 1)[0])})


def product_model(arrays: Arrays):
    m = Model(arrays)
    p = parameters(m, arrays)
    operands = (p[name] for name in ("xs", "xz", "w", "ws", "wz", "ys", "yz"))
    m.node("QLinearMatMul", "x", *operands, out="y0")
    return m.done(TensorProto.UINT8)


def multiply(x, w, ws):
    return restored((x.double() - X_ZERO) @ w.double(), ws)


# ---------------------------------------------------------------- a block


def block_operands(channels: int, width: int, size: int) -> Arrays:
    """A residual bottleneck behind a 1×1 convolution, which sets the layout of its operand."""
    rng = generator("quant", "block", channels, width, size)
    # filters, channels, side
    shapes = [(channels, width, 1), (width, channels, 1), (width, width, 3), (channels, width, 1)]
    weights = {}
    for i, (out, into, side) in enumerate(shapes):
        weights[f"w{i}"] = rng.integers(-127, 128, (out, into, side, side), np.int8)
        spread = round(np.log2(into * side * side) / 2) + 6
        weights[f"s{i}"] = np.full(out, 2.0**-spread, np.float32)
        weights[f"b{i}"] = rng.integers(-500, 500, out, np.int32)
    return Arrays({"x": normal(rng, 1, width, size, size)}, weights)


def block_model(arrays: Arrays):
    m = Model(arrays)
    for name, value in arrays.weights.items():
        m.weight(name, value)
    scale, none = m.weight("scale", np.float32(X_SCALE)), m.weight("none", np.uint8(0))
    half = m.weight("half", np.uint8(128))

    def through(v: str, zero: str, out: str | None = None) -> str:
        q = m.node("QuantizeLinear", v, scale, zero)
        return m.node("DequantizeLinear", q, scale, zero, out=out)

    def conv(v: str, i: int) -> str:
        w = m.node("DequantizeLinear", f"w{i}", f"s{i}", axis=0)
        bias = m.weight(f"bs{i}", arrays.weights[f"s{i}"] * np.float32(X_SCALE))
        b = m.node("DequantizeLinear", f"b{i}", bias, axis=0)
        return m.node("Conv", v, w, b, pads=[arrays.weights[f"w{i}"].shape[2] // 2] * 4)

    def hidden(v: str, i: int) -> str:
        return through(m.node("Relu", conv(v, i)), none)

    x = hidden(through("x", half), 0)
    y = through(conv(hidden(hidden(x, 1), 2), 3), half)
    through(m.node("Relu", m.node("Add", y, x)), none, "y0")
    return m.done()


def block(x, **weights):
    import torch

    def through(v, zero: int):
        return (((v / X_SCALE).round() + zero).clamp(0, 255) - zero) * X_SCALE

    def conv(v, i: int):
        s = weights[f"s{i}"].double()
        w = weights[f"w{i}"].double() * s[:, None, None, None]
        b = weights[f"b{i}"].double() * s * X_SCALE
        return torch.nn.functional.conv2d(v, w, b, padding=w.shape[2] // 2)

    def hidden(v, i: int):
        return through(conv(v, i).relu(), 0)

    x = hidden(through(x.double(), 128), 0)
    y = through(conv(hidden(hidden(x, 1), 2), 3), 128)
    return through((y + x).relu(), 0)


# ---------------------------------------------------------------- cases


def conv_case(conv: Conv) -> Case:
    macs = conv.filters * conv.channels // conv.groups * conv.kernel**2 * conv.result**2
    return Case("quant", f"conv-{conv.name}", functools.partial(conv_operands, conv),
                functools.partial(conv_model, conv), functools.partial(convolve, conv), ("ort",),
                flops=2.0 * macs)  # fmt: skip


def product_case(m: int, k: int, n: int) -> Case:
    return Case("quant", f"matmul-{m}x{n}x{k}", functools.partial(product_operands, m, k, n),
                product_model, multiply, ("ort",), flops=2.0 * m * k * n)  # fmt: skip


def block_case(channels: int, width: int, size: int) -> Case:
    macs = (3 * channels * width + 9 * width * width) * size * size
    return Case("quant", f"block-{channels}-{width}@{size}",
                functools.partial(block_operands, channels, width, size), block_model, block,
                ("ort",), flops=2.0 * macs)  # fmt: skip


def cases() -> list[Case]:
    return [*map(conv_case, CONVS), *(product_case(*p) for p in PRODUCTS),
            *(block_case(*b) for b in BLOCKS),
            *(cases_matvec.matvec_case(kind, rows, "few_rows") for kind, rows in FEW_ROWS)]  # fmt: skip
