"""ONNX models made for bench_start.py: many small ones, no two alike, and one with many nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Collects nodes and fixed-seed weights; methods return the name of what they made."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def weight(self, *shape: int) -> str:
        return self.constant((0.1 * self.random.standard_normal(shape)).astype(np.float32))

    def constant(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, *inputs: str, **attributes) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def save(self, path: Path, shape: list[int], output: str) -> None:
        ports = [("x", shape), (output, None)]
        inputs, outputs = ([helper.make_tensor_value_info(n, TensorProto.FLOAT, s)]
                           for n, s in ports)  # fmt: skip
        graph = helper.make_graph(self.nodes, "graph", inputs, outputs, self.weights)
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def attention(b: Builder, x: str, width: int) -> str:
    query, key, value = (b.node("MatMul", x, b.weight(width, width)) for _ in range(3))
    scores = b.node("MatMul", query, b.node("Transpose", key, perm=[0, 2, 1]))
    scores = b.node("Mul", scores, b.constant(np.float32(width**-0.5)))
    mixed = b.node("MatMul", b.node("Softmax", scores, axis=-1), value)
    return b.node("Add", b.node("MatMul", mixed, b.weight(width, width)), x)


def feed_forward(b: Builder, x: str, width: int, inner: int, activation: str) -> str:
    hidden = b.node(activation, b.node("MatMul", x, b.weight(width, inner)))
    return b.node("Add", b.node("MatMul", hidden, b.weight(inner, width)), x)


def save_perceptron(i: int, path: Path) -> None:
    b, x, widths = Builder(i), "x", (8 + 4 * i, 16 + 8 * (i % 7), 24 + i, 4 + i % 9)
    for wide, narrow in zip(widths, widths[1:]):
        x = b.node("Gemm", x, b.weight(wide, narrow), b.weight(narrow))
        x = b.node(("Relu", "Tanh", "Sigmoid")[i % 3], x)
    b.save(path, [1 + i % 5, widths[0]], x)


def save_convolutions(i: int, path: Path) -> None:
    b, channels, size = Builder(i), (1 + i % 3, 8 + 2 * (i % 5), 8 + i % 11), 12 + i
    x = b.node("Conv", "x", b.weight(channels[1], channels[0], 3, 3), pads=[1] * 4)
    x = b.node("MaxPool", b.node("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
    x = b.node("Relu", b.node("Conv", x, b.weight(channels[2], channels[1], 3, 3)))
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    b.save(path, [1, channels[0], size, size], b.node("MatMul", x, b.weight(channels[2], 10)))


def save_attention(i: int, path: Path) -> None:
    b, width = Builder(i), 16 + 8 * (i % 6)
    x = feed_forward(b, attention(b, "x", width), width, 2 * width, "Relu")
    b.save(path, [1, 6 + i, width], x)


def save_small_models(folder: Path, count: int) -> list[Path]:
    kinds = (save_perceptron, save_convolutions, save_attention)
    paths = [folder / f"small-{i:03}.onnx" for i in range(count)]
    for i, path in enumerate(paths):
        kinds[i % len(kinds)](i // len(kinds), path)
    return paths


def save_large_model(path: Path, layers: int, width: int = 64) -> int:
    """Layers of attention and feed-forward whose widths differ. Returns the number of nodes."""
    b, x = Builder(layers), "x"
    for i in range(layers):
        x = b.node("LayerNormalization", x, b.weight(width), b.weight(width))
        x = attention(b, x, width)
        x = feed_forward(b, x, width, width + 8 * (i % 37), ("Tanh", "Erf")[i % 2])
    b.save(path, [1, 40, width], x)
    return len(b.nodes)
