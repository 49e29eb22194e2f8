"""Matrix products: B a weight that was prepared once, or both operands fresh."""

from __future__ import annotations

import functools

from kernel_cases import Arrays, Case, Model, generator, normal

# M×N×K, batches
SHAPES = [
    (1024, 1024, 1024, 1), (2048, 2048, 2048, 1), (128, 768, 768, 1), (128, 768, 3072, 1),
    (128, 4096, 4096, 1), (1, 4096, 4096, 1), (32, 64, 128, 1), (256, 384, 1536, 1),
    (1000, 1000, 1000, 1), (4096, 64, 4096, 1), (64, 4096, 64, 1), (31, 127, 257, 1),
    (32, 128, 64, 100),
]  # fmt: skip

# products of small matrices: few of one size, many of one size
SMALL = [
    (4, 4, 4, 4096), (8, 8, 8, 2048), (16, 16, 16, 512), (24, 24, 24, 256), (33, 17, 5, 256),
    (32, 64, 128, 100), (31, 127, 257, 16), (64, 64, 64, 64), (6, 6, 64, 512), (64, 4, 64, 256),
    (16, 16, 16, 1), (64, 64, 64, 1),
]  # fmt: skip


def shape_name(m: int, n: int, k: int, batch: int = 1) -> str:
    return f"{m}x{n}x{k}" if batch == 1 else f"{batch}x{m}x{n}x{k}"


def operands(m: int, n: int, k: int, batch: int, weight: bool) -> Arrays:
    rng = generator("matmul", m, n, k, batch)
    lead = (batch,) if batch > 1 else ()
    x, w = normal(rng, *lead, m, k), normal(rng, *lead, k, n)
    return Arrays({"x": x}, {"w": w}) if weight else Arrays({"x": x, "w": w})


def model(arrays: Arrays):
    m = Model(arrays)
    for name, value in arrays.weights.items():
        m.weight(name, value)
    m.node("MatMul", "x", "w", out="y0")
    return m.done()


def product(x, w):
    return x @ w


def into_memory(x, w):
    """The result's memory is given: no allocation."""
    import torch

    y = x @ w
    return lambda: torch.matmul(x, w, out=y)


def packed_onednn(x, w):
    """What torch.compile with frozen weights may call: oneDNN, packed weights."""
    import torch

    packed = torch.ops.mkldnn._reorder_linear_weight(w.t().contiguous(), x.shape[0])
    return lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")


def packed_mkl(x, w):
    """The same with MKL."""
    import torch

    rows, transposed = x.shape[0], w.t().contiguous()
    packed = torch.ops.mkl._mkl_reorder_linear_weight(transposed, rows)
    return lambda: torch.ops.mkl._mkl_linear(x, packed, transposed, None, rows)


def product_case(table: str, m: int, n: int, k: int, batch: int = 1) -> Case:
    weight = table.endswith("_weight")
    packed = {"packed for oneDNN": packed_onednn, "packed for MKL": packed_mkl}
    return Case(
        table, shape_name(m, n, k, batch),
        arrays=functools.partial(operands, m, n, k, batch, weight), model=model,
        function=product, engines=("openblas", "onednn", "torch", "ort"),
        prepared={"torch": {"out=": into_memory} | (packed if weight and batch == 1 else {})},
        flops=2.0 * m * n * k * batch, bytes=4.0 * batch * (m * k + k * n + m * n),
        facts={"m": m, "n": n, "k": k, "batch": batch},
    )  # fmt: skip


def cases() -> list[Case]:
    tables = {"matmul_weight": SHAPES, "matmul": SHAPES, "matmul_small": SMALL}
    return [product_case(table, *shape) for table, shapes in tables.items() for shape in shapes]
