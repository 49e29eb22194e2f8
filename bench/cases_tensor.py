"""The rest of the tensor operations: reductions, scans, sorts, indexing, pooling, resizing, moving."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from kernel_cases import Arrays, Case, Model, generator, normal
from onnx import TensorProto, helper

INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT


@dataclass(frozen=True)
class Operand:
    """Floats, or indices below `bound`; distinct: floats in [0, 1), none twice."""

    shape: tuple[int, ...]
    bound: int = 0
    distinct: bool = False

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        if self.distinct:  # so that positions do not depend on the order of equal elements
            size = math.prod(self.shape)
            return (rng.permutation(size).astype(np.float32) / size).reshape(self.shape)
        if self.bound:
            return rng.integers(0, self.bound, self.shape, dtype=np.int64)
        return normal(rng, *self.shape)

    def bytes(self) -> int:
        return math.prod(self.shape) * (8 if self.bound else 4)


@dataclass(frozen=True)
class Work:
    """One operation: its nodes, which give y0 … to the results, and PyTorch's function."""

    name: str
    inputs: dict[str, Operand]
    nodes: Callable
    function: Callable
    result: int  # bytes
    read: int | None = None  # bytes that must be read; None: all of the inputs
    dtypes: tuple[int, ...] = (FLOAT,)
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def floats(*shape: int) -> Operand:
    return Operand(shape)


def indices(size: int, *shape: int) -> Operand:
    return Operand(shape, size)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def shape_text(shape) -> str:
    return "x".join(map(str, shape))


def operator(name: str, *inputs: str, **attributes) -> Callable:
    """The nodes of a single operator with one result."""
    return lambda m: m.node(name, *inputs, out="y0", **attributes)


# ---------------------------------------------------------------- folds, scans, sorts


def reduction(kind: str, shape, axes: tuple[int, ...]) -> Work:
    def function(x):
        import torch

        if kind == "argmax":
            return torch.argmax(x, axes[0])
        return {"sum": torch.sum, "mean": torch.mean, "max": torch.amax}[kind](x, axes)

    if kind == "argmax":
        nodes, dtype = operator("ArgMax", "x", axis=axes[0], keepdims=0), INT64
    else:
        operation = {"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax"}[kind]
        nodes, dtype = operator(operation, "x", "axes", keepdims=0), FLOAT
    kept = math.prod(s for i, s in enumerate(shape) if i not in axes)
    return Work(f"{kind}-{shape_text(shape)}-{''.join(map(str, axes))}", {"x": floats(*shape)},
                nodes, function, 4 * kept, dtypes=(dtype,),
                weights={} if kind == "argmax" else {"axes": ints(*axes)})  # fmt: skip


def scan(shape, axis: int) -> Work:
    return Work(f"cumsum-{shape_text(shape)}-{axis}", {"x": floats(*shape)},
                operator("CumSum", "x", "axis"), lambda x: x.cumsum(axis),
                4 * math.prod(shape), weights={"axis": np.int64(axis).reshape(())})  # fmt: skip


def best(shape, k: int) -> Work:
    """The k greatest of each row, sorted; all of them: a sort."""

    def function(x):
        import torch

        return tuple(torch.topk(x, k) if k < shape[-1] else torch.sort(x, descending=True))

    def nodes(m: Model):
        m.nodes.append(helper.make_node("TopK", ["x", "k"], ["y0", "y1"]))

    kind = "sort" if k == shape[-1] else f"top{k}"
    return Work(f"{kind}-{shape_text(shape)}", {"x": Operand(shape, distinct=True)}, nodes, function,
                12 * k * math.prod(shape[:-1]), dtypes=(FLOAT, INT64),
                weights={"k": ints(k)})  # fmt: skip


# ---------------------------------------------------------------- indexing


def rows_of_table(rows: int, width: int, count: int) -> Work:
    return Work(f"embedding-{rows}x{width}-{count}",
                {"x": floats(rows, width), "i": indices(rows, count)},
                operator("Gather", "x", "i", axis=0), lambda x, i: x[i],
                4 * count * width, read=4 * count * width + 8 * count)  # fmt: skip


def columns(shape, count: int) -> Work:
    size = 4 * math.prod(shape[:-1]) * count
    return Work(f"columns-{shape_text(shape)}-{count}",
                {"x": floats(*shape), "i": indices(shape[-1], count)},
                operator("Gather", "x", "i", axis=1), lambda x, i: x[:, i], size)  # fmt: skip


def gather_elements(shape, axis: int) -> Work:
    return Work(f"gather_elements-{shape_text(shape)}-{axis}",
                {"x": floats(*shape), "i": indices(shape[axis], *shape)},
                operator("GatherElements", "x", "i", axis=axis),
                lambda x, i: x.gather(axis, i), 4 * math.prod(shape))  # fmt: skip


def scatter_rows(rows: int, width: int, count: int) -> Work:
    """Adds rows to some of a table, as the gradient of an embedding does."""
    return Work(f"scatter_add-{rows}x{width}-{count}",
                {"x": floats(rows, width), "i": indices(rows, count, 1), "u": floats(count, width)},
                operator("ScatterND", "x", "i", "u", reduction="add"),
                lambda x, i, u: x.index_add(0, i[:, 0], u), 4 * rows * width)  # fmt: skip


def scatter_elements(shape, axis: int) -> Work:
    return Work(f"scatter_elements-{shape_text(shape)}-{axis}",
                {"x": floats(*shape), "i": indices(shape[axis], *shape), "u": floats(*shape)},
                operator("ScatterElements", "x", "i", "u", axis=axis, reduction="add"),
                lambda x, i, u: x.scatter_add(axis, i, u), 4 * math.prod(shape))  # fmt: skip


def one_hot(count: int, depth: int) -> Work:
    def function(i):
        import torch

        return torch.nn.functional.one_hot(i, depth).to(torch.float32)

    return Work(f"one_hot-{count}x{depth}", {"i": indices(depth, count)},
                operator("OneHot", "i", "depth", "values"), function, 4 * count * depth,
                weights={"depth": ints(depth), "values": np.float32([0, 1])})  # fmt: skip


# ---------------------------------------------------------------- images


def pool(kind: str, shape, window: int, stride: int, pad: int) -> Work:
    def function(x):
        import torch

        pooling = getattr(torch.nn.functional, f"{kind}_pool2d")
        return pooling(x, window, stride, pad)

    side = (shape[2] + 2 * pad - window) // stride + 1
    attributes = {"kernel_shape": [window] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
    if kind == "avg":
        attributes["count_include_pad"] = 1
    operation = {"max": "MaxPool", "avg": "AveragePool"}[kind]
    return Work(f"{kind}pool{window}s{stride}-{shape_text(shape)}", {"x": floats(*shape)},
                operator(operation, "x", **attributes), function,
                4 * shape[0] * shape[1] * side * side)  # fmt: skip


def resize(mode: str, shape, to: int) -> Work:
    def function(x):
        import torch

        corners = {} if mode == "nearest" else {"align_corners": False}
        kind = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}[mode]
        return torch.nn.functional.interpolate(x, size=(to, to), mode=kind, **corners)

    attributes = {"mode": mode}
    if mode == "nearest":
        attributes |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        attributes |= {"coordinate_transformation_mode": "half_pixel"}
    sizes = ints(shape[0], shape[1], to, to)
    return Work(f"{mode}-{shape_text(shape)}-{to}", {"x": floats(*shape)},
                operator("Resize", "x", "", "", "sizes", **attributes), function,
                4 * math.prod(sizes), weights={"sizes": sizes})  # fmt: skip


def shuffle(shape, block: int) -> Work:
    def function(x):
        import torch

        return torch.nn.functional.pixel_shuffle(x, block)

    return Work(f"pixel_shuffle{block}-{shape_text(shape)}", {"x": floats(*shape)},
                operator("DepthToSpace", "x", blocksize=block, mode="CRD"), function,
                4 * math.prod(shape))  # fmt: skip


# ---------------------------------------------------------------- moving


def concat(shape, axis: int) -> Work:
    def function(x, r):
        import torch

        return torch.cat((x, r), axis)

    return Work(f"concat-{shape_text(shape)}-{axis}", {"x": floats(*shape), "r": floats(*shape)},
                operator("Concat", "x", "r", axis=axis), function,
                8 * math.prod(shape))  # fmt: skip


def pad(shape, by: int) -> Work:
    def function(x):
        import torch

        return torch.nn.functional.pad(x, (by,) * 4)

    padded = (*shape[:-2], shape[-2] + 2 * by, shape[-1] + 2 * by)
    outer = [0] * (len(shape) - 2)
    return Work(f"pad{by}-{shape_text(shape)}", {"x": floats(*shape)},
                operator("Pad", "x", "pads"), function, 4 * math.prod(padded),
                weights={"pads": ints(*outer, by, by, *outer, by, by)})  # fmt: skip


def choose(shape) -> Work:
    def function(x, r):
        import torch

        return torch.where(x < r, x, r * 2)

    def nodes(m: Model):
        m.node("Where", m.node("Less", "x", "r"), "x", m.node("Add", "r", "r"), out="y0")

    return Work(f"where-{shape_text(shape)}", {"x": floats(*shape), "r": floats(*shape)}, nodes,
                function, 4 * math.prod(shape))  # fmt: skip


# ---------------------------------------------------------------- the cases

ROWS, SMALL = (16384, 1024), (128, 512)
LARGE = [
    *[reduction(k, ROWS, a) for k in ("sum", "max") for a in ((1,), (0,), (0, 1))],
    reduction("mean", (64, 512, 512), (1,)), reduction("mean", (16, 128, 128, 64), (1, 2)),
    reduction("argmax", ROWS, (1,)), reduction("argmax", ROWS, (0,)),
    scan(ROWS, 1), scan(ROWS, 0), scan((64, 512, 512), 1), scan((1, 1 << 24), 1),
    best((1024, 1024), 1024), best((1, 1000000), 1000), best((1024, 1024), 10),
    best((128, 32000), 50), best((1, 1000000), 1000000),
    rows_of_table(32000, 1024, 16384), columns(ROWS, 512), gather_elements((4096, 1024), 1),
    scatter_rows(32000, 512, 8192), scatter_elements((4096, 1024), 1), one_hot(4096, 4096),
    pool("max", (16, 64, 112, 112), 3, 2, 1), pool("avg", (16, 64, 128, 128), 2, 2, 0),
    reduction("mean", (256, 2048, 7, 7), (2, 3)), resize("nearest", (8, 64, 112, 112), 224),
    resize("linear", (8, 64, 112, 112), 224), resize("linear", (16, 3, 1024, 1024), 448),
    resize("cubic", (4, 3, 512, 512), 1024), shuffle((8, 256, 128, 128), 2),
    concat((16, 64, 128, 128), 1), concat((65536, 128), 1), pad((16, 64, 112, 112), 1),
    choose(ROWS),
]  # fmt: skip
CACHED = [
    *[reduction(k, SMALL, a) for k in ("sum", "max") for a in ((1,), (0,), (0, 1))],
    reduction("argmax", SMALL, (1,)), reduction("argmax", SMALL, (0,)),
    scan(SMALL, 1), scan(SMALL, 0), best(SMALL, 512), best(SMALL, 5),
    best((1, 32000), 50), rows_of_table(4096, 768, 128), columns(SMALL, 256),
    gather_elements(SMALL, 1), scatter_rows(512, 128, 256), scatter_elements(SMALL, 1),
    one_hot(128, 1000), pool("max", (1, 64, 112, 112), 3, 2, 1),
    pool("avg", (1, 64, 56, 56), 2, 2, 0), reduction("mean", (1, 2048, 7, 7), (2, 3)),
    resize("nearest", (1, 64, 28, 28), 56), resize("linear", (1, 64, 28, 28), 56),
    shuffle((1, 64, 56, 56), 2), concat((1, 64, 28, 28), 1), pad((1, 64, 56, 56), 1),
    choose(SMALL),
]  # fmt: skip


def arrays_of(work: Work) -> Arrays:
    rng = generator("tensor", work.name)
    return Arrays({name: operand.draw(rng) for name, operand in work.inputs.items()})


def model_of(work: Work, arrays: Arrays):
    m = Model(arrays)
    for name, value in work.weights.items():
        m.weight(name, value)
    work.nodes(m)
    return m.done(*work.dtypes)


def tensor_case(work: Work, large: bool) -> Case:
    read = work.read or sum(operand.bytes() for operand in work.inputs.values())
    return Case(
        "tensor", work.name, arrays=functools.partial(arrays_of, work),
        model=functools.partial(model_of, work), function=work.function,
        engines=("eager", "compile", "ort"), bytes=float(read + work.result),
        facts={"large": large},
    )  # fmt: skip


def cases() -> list[Case]:
    return [tensor_case(w, True) for w in LARGE] + [tensor_case(w, False) for w in CACHED]
