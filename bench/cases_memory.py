"""Work at the speed of memory: permutes, rows of softmax and layer norm, pointwise chains."""

from __future__ import annotations

import functools
import math

import numpy as np
from kernel_cases import Arrays, Case, Model, generator, normal
from onnx import helper

# shape, axes, dtype; 64 MiB each or a little more
LARGE_PERMUTES = [
    ((4096, 4096), (1, 0), "float32"),
    ((8192, 8192), (1, 0), "int8"),
    ((8192, 4096), (1, 0), "float16"),
    ((2048, 4096), (1, 0), "float64"),
    ((4099, 4101), (1, 0), "float32"),
    ((64, 512, 512), (0, 2, 1), "float32"),
    ((256, 256, 256), (2, 1, 0), "float32"),
    ((256, 256, 512), (1, 0, 2), "float16"),
    ((64, 1024, 1024), (0, 2, 1), "int8"),
    ((128, 256, 256), (2, 0, 1), "float64"),
    ((16, 64, 128, 128), (0, 2, 3, 1), "float32"),  # NCHW to NHWC
    ((16, 128, 128, 64), (0, 3, 1, 2), "float32"),  # and back
    ((32, 832, 832, 3), (0, 3, 1, 2), "int8"),  # images
    ((16, 1024, 16, 64), (0, 2, 1, 3), "float32"),  # heads of attention
    ((16, 2048, 16, 64), (0, 2, 1, 3), "float16"),
    ((8, 512, 32, 64), (0, 2, 3, 1), "float64"),
    ((64, 64, 64, 64), (3, 2, 1, 0), "float32"),
    ((64, 8, 7, 8, 672), (0, 1, 3, 2, 4), "float32"),  # windows
    ((32, 32, 32, 32, 32), (4, 3, 2, 1, 0), "float16"),
    ((16, 64, 64, 64, 16), (0, 3, 1, 2, 4), "int8"),
]
CACHED_PERMUTES = [
    ((256, 256), (1, 0), "float32"),
    ((8, 128, 128), (0, 2, 1), "float32"),
    ((1, 64, 28, 28), (0, 2, 3, 1), "float32"),
    ((1, 128, 12, 64), (0, 2, 1, 3), "float32"),
    ((512, 512), (1, 0), "int8"),
]
LARGE_ROWS, CACHED_ROWS = [(16384, 1024), (262144, 64)], [(128, 512), (64, 2048)]

# ---------------------------------------------------------------- permutes


def permute_operand(shape, axes, dtype) -> Arrays:
    rng = generator("permute", shape, axes, dtype)
    if dtype == "int8":
        return Arrays({"x": rng.integers(-128, 128, shape, dtype=np.int8)})
    return Arrays({"x": normal(rng, *shape).astype(dtype)})


def permute_model(axes, dtype, arrays: Arrays):
    m = Model(arrays)
    m.node("Transpose", "x", out="y0", perm=axes)
    return m.done(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def permute(axes, x):
    return x.permute(axes).contiguous()


def permute_case(shape, axes, dtype, large: bool) -> Case:
    name = f"{'x'.join(map(str, shape))}-{''.join(map(str, axes))}-{dtype}"
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return Case(
        "permute", name, arrays=functools.partial(permute_operand, shape, axes, dtype),
        model=functools.partial(permute_model, axes, dtype),
        function=functools.partial(permute, axes), engines=("eager", "compile"),
        bytes=2.0 * size, facts={"large": large},
    )  # fmt: skip


# ---------------------------------------------------------------- rows and chains


def softmax(x):
    import torch

    return torch.softmax(x, -1)


def layer_norm(x, g, c):
    import torch

    return torch.nn.functional.layer_norm(x, x.shape[-1:], g, c, 1e-5)


def gelu(x):
    import torch

    return torch.nn.functional.gelu(x)


def residual_chain(x, r, s):
    import torch

    return torch.relu(x + r) * 0.5 + s


def rows_operands(kind: str, shape) -> Arrays:
    rng = generator("rows", kind, shape)
    inputs = {"x": normal(rng, *shape)}
    if kind == "residual":
        inputs |= {"r": normal(rng, *shape), "s": normal(rng, *shape)}
    norm = kind == "layernorm"
    return Arrays(inputs, {v: normal(rng, shape[-1]) for v in "gc"} if norm else {})


def rows_model(kind: str, arrays: Arrays):
    m = Model(arrays)
    for name, value in arrays.weights.items():
        m.weight(name, value)
    if kind == "softmax":
        m.node("Softmax", "x", out="y0", axis=-1)
    elif kind == "layernorm":
        m.node("LayerNormalization", "x", "g", "c", out="y0", axis=-1, epsilon=1e-5)
    elif kind == "gelu":
        m.node("Gelu", "x", out="y0")
    else:
        half = m.weight("half", np.float32(0.5).reshape(()))
        m.node("Add", m.node("Mul", m.node("Relu", m.node("Add", "x", "r")), half), "s", out="y0")
    return m.done()


ROWS = {"softmax": softmax, "layernorm": layer_norm, "gelu": gelu, "residual": residual_chain}


def rows_case(kind: str, shape, large: bool, table: str = "rows") -> Case:
    arrays_moved = 4 if kind == "residual" else 2
    return Case(
        table, f"{kind}-{'x'.join(map(str, shape))}",
        arrays=functools.partial(rows_operands, kind, shape),
        model=functools.partial(rows_model, kind), function=ROWS[kind],
        engines=("eager", "compile") if table == "rows" else ("eager", "compile", "ort"),
        bytes=4.0 * arrays_moved * math.prod(shape), facts={"large": large},
    )  # fmt: skip


def cases() -> list[Case]:
    made = [permute_case(*p, large=True) for p in LARGE_PERMUTES]
    made += [permute_case(*p, large=False) for p in CACHED_PERMUTES]
    for kind in ROWS:
        wide = kind in ("softmax", "layernorm")  # elsewhere the length of a row is nothing
        made += [rows_case(kind, shape, True) for shape in LARGE_ROWS[: 2 if wide else 1]]
        made += [rows_case(kind, shape, False) for shape in CACHED_ROWS[: 2 if wide else 1]]
    return [*made, rows_case("gelu", (1, 1), False, "call")]
