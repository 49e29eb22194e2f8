"""The cases of bench_kernels.py: one small model each, and the same work for the peers.

A Case knows its arrays (drawn by seed, so that every process draws the same), builds the
ONNX model that Tenon and ONNX Runtime read, and holds the PyTorch function of the same
work.  The tables are lists of cases, made by the cases_*.py beside this file; `find` and
`chosen` look them up.
"""

from __future__ import annotations

import functools
import importlib
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 23, 11

# table: the module whose cases() makes it
TABLES = {
    "matmul_weight": "cases_matmul",
    "matmul": "cases_matmul",
    "matmul_small": "cases_matmul",
    "fused": "cases_fused",
    "conv": "cases_conv",
    "permute": "cases_memory",
    "rows": "cases_memory",
    "attention": "cases_attention",
    "matvec": "cases_matvec",
    "few_rows": "cases_quant",
    "quant": "cases_quant",
    "tensor": "cases_tensor",
    "call": "cases_memory",
}


@dataclass(frozen=True)
class Arrays:
    """The operands by name: inputs change from run to run, weights are part of the model."""

    inputs: dict[str, np.ndarray]
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def all(self) -> dict[str, np.ndarray]:
        return self.inputs | self.weights


@dataclass(frozen=True)
class Case:
    """One piece of work; `engines` are the peers that take part.

    function(**tensors) does the work in PyTorch, for any float type, and returns a tensor or
    a tuple.  prepared maps an engine and a variant to a function that takes the same tensors,
    lays them out as that variant likes, and returns what to run; the engine takes the fastest
    of its variants.  "eager" and "compile" run the function itself.  ort maps a variant to a function
    Arrays → (model, feed), where ONNX Runtime has an operator of its own for the work.
    """

    table: str
    name: str
    arrays: Callable[[], Arrays]
    model: Callable[[Arrays], onnx.ModelProto]
    function: Callable
    engines: tuple[str, ...]
    flops: float = 0
    bytes: float = 0  # that must move
    prepared: dict[str, dict[str, Callable]] = field(default_factory=dict)
    ort: dict[str, Callable] = field(default_factory=dict)
    companions: dict[str, Case] = field(default_factory=dict)  # Tenon runs these beside it
    facts: dict = field(default_factory=dict)  # for the page


def generator(*names) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32("/".join(map(str, names)).encode()))


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


# ---------------------------------------------------------------- building models


def packed_int4(name: str, values: np.ndarray) -> onnx.TensorProto:
    """An INT4 tensor of values in int8; two in a byte, the first in the low half."""
    pairs = values.reshape(-1, 2)
    data = ((pairs[:, 0] & 15) | (pairs[:, 1] << 4)).astype(np.uint8)
    return helper.make_tensor(name, TensorProto.INT4, values.shape, data.tobytes(), raw=True)


def bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """The upper halves of floats that bfloat16 can represent."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def rounded_to_bfloat16(values: np.ndarray) -> np.ndarray:
    bits = values.view(np.uint32)
    even = ((bits >> 16) & 1) + np.uint32(0x7FFF)
    return ((bits + even) & np.uint32(0xFFFF0000)).view(np.float32)


class Model:
    """An ONNX model under construction: nodes in order, the outputs y0, y1 … at the end."""

    def __init__(self, arrays: Arrays):
        self.nodes: list = []
        self.inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in arrays.inputs.items()
        ]
        self.weights: list = []

    def weight(self, name: str, value: np.ndarray) -> str:
        return self.tensor(numpy_helper.from_array(np.asarray(value, order="C"), name))

    def tensor(self, tensor: onnx.TensorProto) -> str:
        self.weights.append(tensor)
        return tensor.name

    def node(self, operator: str, *inputs: str, out: str | None = None, **attributes) -> str:
        name = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def done(self, *dtypes: int) -> onnx.ModelProto:
        """dtypes: of the outputs; none: one output of floats."""
        infos = [
            helper.make_tensor_value_info(f"y{i}", dtype, None)
            for i, dtype in enumerate(dtypes or (TensorProto.FLOAT,))
        ]
        graph = helper.make_graph(self.nodes, "case", self.inputs, infos, self.weights)
        domains = sorted({node.domain for node in self.nodes} - {""})
        imports = [helper.make_opsetid("", OPSET), *[helper.make_opsetid(d, 1) for d in domains]]
        return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)


# ---------------------------------------------------------------- looking up


@functools.cache
def cases() -> dict[tuple[str, str], Case]:
    every: dict[tuple[str, str], Case] = {}
    for module in dict.fromkeys(TABLES.values()):
        for case in importlib.import_module(module).cases():
            every[case.table, case.name] = case
    return every


def find(table: str, name: str) -> Case:
    """CASE, or CASE:COMPANION."""
    name, _, companion = name.partition(":")
    case = cases()[table, name]
    return case.companions[companion] if companion else case


def chosen(tables: list[str], pattern: str | None) -> list[Case]:
    """The cases of these tables whose names hold the regular expression."""
    return [
        case for table in tables for case in cases().values()
        if case.table == table and (pattern is None or re.search(pattern, case.name))
    ]  # fmt: skip
