#!/usr/bin/env python3
"""Writes small ONNX models and what PyTorch's gradients of them are, read by tests/unit/nn/test_onnx.c.

    tools/golden_onnx.py [FOLDER]          default: tests/golden/onnx

FOLDER/<model>.onnx, exported or written out below, and FOLDER/gradients.npz, which has for three of them

    <model>/in<i>       inputs; the last one is the target: classes of the first output's last axis
    <model>/loss        the mean cross entropy
    <model>/d.<name>    its gradient for the initializer of this name

Gradients are computed in f64 from the f32 weights of the file. An initializer belongs to the parameter
with the same elements, which may be transposed.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

SEED = 20261122
arrays: dict[str, np.ndarray] = {}


class Cnn(nn.Module):
    """Convolutions (plain, depthwise, strided), batch norm with statistics, pooling, a linear head."""

    def __init__(self):
        super().__init__()
        self.c1, self.n1 = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.c2, self.n2 = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8)
        self.c3 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.out = nn.Linear(12, 5)
        for n in (self.n1, self.n2):
            n.running_mean.normal_(0, 0.2)
            n.running_var.uniform_(0.5, 1.5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.n1(self.c1(x))), 2)
        x = F.hardswish(self.n2(self.c2(x)))
        return self.out(F.gelu(self.c3(x)).mean((2, 3)))


class Transformer(nn.Module):
    """Tokens → logits: embeddings, two blocks of masked attention with layer norm, a head."""

    def __init__(self, vocab=40, dim=16, heads=2, length=12):
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocab, dim), nn.Embedding(length, dim)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(dict(n1=nn.LayerNorm(dim), qkv=nn.Linear(dim, 3 * dim), o=nn.Linear(dim, dim),
                               n2=nn.LayerNorm(dim), up=nn.Linear(dim, 32), down=nn.Linear(32, dim)))
            for _ in range(2))
        self.norm, self.head, self.heads = nn.LayerNorm(dim), nn.Linear(dim, vocab, bias=False), heads

    def forward(self, ids):
        s = ids.shape[1]
        x = self.tok(ids) + self.pos(torch.arange(s))
        hidden = torch.ones(s, s, dtype=torch.bool).triu(1)
        for b in self.blocks:
            q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in b.qkv(b.n1(x)).chunk(3, -1))
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            a = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v
            x = x + b.o(a.transpose(1, 2).flatten(-2))
            x = x + b.down(F.gelu(b.up(b.n2(x)), approximate="tanh"))
        return self.head(self.norm(x))


class Control(nn.Module):
    """A scan over the rows of x, a loop of three rounds, a branch on the input, an LSTM."""

    HIDDEN = 6

    def __init__(self):
        super().__init__()
        h = self.HIDDEN
        self.scan_w, self.loop_w = nn.Parameter(torch.randn(4, h) / 2), nn.Parameter(torch.randn(h, h) / 3)
        self.then_b, self.else_b = nn.Parameter(torch.randn(h)), nn.Parameter(torch.randn(h))
        self.w, self.r = nn.Parameter(torch.randn(1, 4 * h, h) / 2), nn.Parameter(torch.randn(1, 4 * h, h) / 2)
        self.b = nn.Parameter(torch.randn(1, 8 * h) / 2)

    def forward(self, x):
        h, rows = torch.zeros(x.shape[1], self.HIDDEN, dtype=x.dtype), []
        for row in x:
            h = torch.tanh(row @ self.scan_w + h)
            rows.append(h)
        y = torch.stack(rows)
        for _ in range(3):
            y = torch.sin(y @ self.loop_w)
        y = y * self.then_b if x.sum() > 0 else y + self.else_b
        lstm = nn.LSTM(self.HIDDEN, self.HIDDEN).to(x.dtype)
        order = [0, 2, 3, 1]  # ONNX has the gates i o f c, PyTorch i f c o

        def gates(p):
            return torch.cat([p.chunk(4)[i] for i in order])

        wb, rb = self.b[0].chunk(2)
        weights = dict(weight_ih_l0=gates(self.w[0]), weight_hh_l0=gates(self.r[0]), bias_ih_l0=gates(wb),
                       bias_hh_l0=gates(rb))
        return torch.func.functional_call(lstm, weights, (y,))[0].flatten(0, 1)

    def onnx(self) -> onnx.ModelProto:
        h, f32 = self.HIDDEN, TensorProto.FLOAT

        def info(name, *dims, kind=f32):
            return helper.make_tensor_value_info(name, kind, dims)

        def node(op, ins, outs, **attrs):
            return helper.make_node(op, ins, outs, name=f"{op}_{outs[0]}", **attrs)

        step = helper.make_graph(
            [node("MatMul", ["row", "scan_w"], ["xw"]), node("Add", ["xw", "h"], ["s"]), node("Tanh", ["s"], ["h1"]),
             node("Identity", ["h1"], ["each"])],
            "step", [info("h", "N", h), info("row", "N", 4)], [info("h1", "N", h), info("each", "N", h)])
        body = helper.make_graph(
            [node("MatMul", ["y0", "loop_w"], ["yw"]), node("Sin", ["yw"], ["y1"]),
             node("Identity", ["c0"], ["c1"])],
            "body", [info("i", kind=TensorProto.INT64), info("c0", kind=TensorProto.BOOL), info("y0", "T", "N", h)],
            [info("c1", kind=TensorProto.BOOL), info("y1", "T", "N", h)])
        yes = helper.make_graph([node("Mul", ["looped", "then_b"], ["yes"])], "yes", [], [info("yes", "T", "N", h)])
        no = helper.make_graph([node("Add", ["looped", "else_b"], ["no"])], "no", [], [info("no", "T", "N", h)])
        nodes = [
            node("Shape", ["x"], ["n"], start=1, end=2),
            node("Concat", ["n", "hidden"], ["hs"], axis=0),
            node("ConstantOfShape", ["hs"], ["h0"]),
            node("Scan", ["h0", "x"], ["last", "scanned"], body=step, num_scan_inputs=1),
            node("Loop", ["three", "true", "scanned"], ["looped"], body=body),
            node("ReduceSum", ["x"], ["sum"], keepdims=0),
            node("Greater", ["sum", "zero"], ["positive"]),
            node("If", ["positive"], ["branch"], then_branch=yes, else_branch=no),
            node("LSTM", ["branch", "w", "r", "b"], ["lstm"], hidden_size=h),
            node("Reshape", ["lstm", "rows"], ["logits"]),
        ]
        weights = [numpy_helper.from_array(p.detach().numpy(), name) for name, p in self.named_parameters()]
        constants = [numpy_helper.from_array(np.array(v, t), name) for name, v, t in (
            ("hidden", [h], np.int64), ("three", 3, np.int64), ("true", True, bool), ("zero", 0, np.float32),
            ("rows", [-1, h], np.int64))]
        graph = helper.make_graph(nodes, "control", [info("x", "T", "N", 4)], [info("logits", "R", h)],
                                  weights + constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_storage(folder: Path) -> None:
    """y = ((x · raw) · floats + doubles + halves) · scales, whose factors lie in the file in as many ways: bytes,
    packed numbers, f16 bits as varints, a file beside it; `table` is an integer tensor there, too."""
    rng = np.random.default_rng(SEED)
    raw, outside = (rng.normal(size=(3, 4)).astype(np.float32) for _ in range(2))
    floats, doubles, halves = rng.normal(size=4), rng.normal(size=4), rng.normal(size=4).astype(np.float16)
    table = np.arange(6, dtype=np.int64)
    data = bytes(8) + outside.tobytes() + bytes(12) + table.tobytes() + b"end"
    (folder / "parts").mkdir(exist_ok=True)
    (folder / "parts" / "storage.bin").write_bytes(data)

    def external(name, array, offset):
        t = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape,
                        data_location=TensorProto.EXTERNAL)
        for key, value in (("location", "parts/storage.bin"), ("offset", offset), ("length", array.nbytes)):
            t.external_data.add(key=key, value=str(value))
        return t

    weights = [
        numpy_helper.from_array(raw, "raw"),
        helper.make_tensor("floats", TensorProto.FLOAT, [4], floats.astype(np.float32).tolist()),
        helper.make_tensor("doubles", TensorProto.DOUBLE, [4], doubles.tolist()),
        helper.make_tensor("halves", TensorProto.FLOAT16, [4], halves.tolist()),
        external("outside", outside, 8), external("table", table, 8 + 48 + 12),
        numpy_helper.from_array(np.float32([1, np.inf, 1, 1]), "mask"),
    ]
    f32 = TensorProto.FLOAT
    nodes = [
        helper.make_node("Add", ["raw", "outside"], ["factor"]), helper.make_node("MatMul", ["x", "factor"], ["y0"]),
        helper.make_node("Mul", ["y0", "floats"], ["y1"]),
        helper.make_node("Cast", ["doubles"], ["d"], to=f32), helper.make_node("Cast", ["halves"], ["h"], to=f32),
        helper.make_node("Add", ["y1", "d"], ["y2"]), helper.make_node("Add", ["y2", "h"], ["y3"]),
        helper.make_node("Gather", ["y3", "table"], ["y"], axis=0), helper.make_node("Min", ["y", "mask"], ["z"]),
    ]
    graph = helper.make_graph(nodes, "storage", [helper.make_tensor_value_info("x", f32, [6, 3])],
                              [helper.make_tensor_value_info("z", f32, [6, 4])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "storage.onnx").write_bytes(model.SerializeToString())


def write_refused(folder: Path) -> None:
    """A loop whose end depends on its values, and a shape that is an input."""
    f32, i64, flag = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

    def info(name, kind, *dims):
        return helper.make_tensor_value_info(name, kind, dims)

    body = helper.make_graph(
        [helper.make_node("Mul", ["y0", "w"], ["y1"]), helper.make_node("ReduceSum", ["y1"], ["s"], keepdims=0),
         helper.make_node("Less", ["s", "limit"], ["c1"])],
        "body", [info("i", i64), info("c0", flag), info("y0", f32, "N")], [info("c1", flag), info("y1", f32, "N")])
    nodes = [helper.make_node("Loop", ["", "true", "x"], ["y"], name="grow", body=body),
             helper.make_node("Reshape", ["y", "shape"], ["z"], name="r")]
    constants = [numpy_helper.from_array(np.array(v, t), n) for n, v, t in
                 (("true", True, bool), ("limit", 100, np.float32), ("w", [2], np.float32))]
    graph = helper.make_graph(nodes, "refused", [info("x", f32, "N"), info("shape", i64, 2)], [info("z", f32, "A", "B")],
                              constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "refused.onnx").write_bytes(model.SerializeToString())


def export(model: nn.Module, x: torch.Tensor, axes: dict[int, str], dynamo: bool, path: Path) -> None:
    if dynamo:
        dims = {a: torch.export.Dim(n, min=1, max=64) for a, n in axes.items()}
        torch.onnx.export(model, (x,), str(path), dynamo=True, input_names=["x"], output_names=["logits"],
                          dynamic_shapes=(dims,), external_data=False, verbose=False)
    else:
        torch.onnx.export(model, (x,), str(path), dynamo=False, input_names=["x"], output_names=["logits"],
                          dynamic_axes={"x": axes}, opset_version=17, do_constant_folding=False,
                          training=torch.onnx.TrainingMode.PRESERVE)  # keeps batch norm a node


def gradients(name: str, model: nn.Module, path: Path, x: torch.Tensor, target: torch.Tensor) -> None:
    model = model.double()
    logits = model(x.double() if x.is_floating_point() else x)
    loss = F.cross_entropy(logits.flatten(0, -2), target.flatten())
    loss.backward()
    arrays[f"{name}/in0"], arrays[f"{name}/in1"] = x.numpy(), target.numpy()
    arrays[f"{name}/loss"] = np.float64(loss.item())
    left = dict(model.named_parameters())
    for t in onnx.load(path).graph.initializer:
        a = numpy_helper.to_array(t)
        for key, p in list(left.items()):
            values = p.detach().float().numpy()
            for turned in (False, True):
                if a.dtype == np.float32 and np.array_equal(values.T if turned else values, a):
                    grad = torch.zeros_like(p) if p.grad is None else p.grad
                    grad = grad.float().numpy()
                    arrays[f"{name}/d.{t.name}"] = np.ascontiguousarray(grad.T if turned else grad)
                    left.pop(key, None)
                    break
    if left:
        raise SystemExit(f"{name}: no initializer for {', '.join(left)}")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "tests/golden/onnx"
    folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    torch.manual_seed(SEED)
    images, classes = torch.randn(4, 1, 10, 10), torch.randint(5, (4,))
    ids, following = torch.randint(40, (3, 9)), torch.randint(40, (3, 9))
    rows = torch.randn(5, 2, 4)
    for name, model, x, target, axes in (
        ("cnn", Cnn().eval(), images, classes, {0: "batch"}),
        ("transformer", Transformer().eval(), ids, following, {0: "batch", 1: "sequence"}),
        ("control", Control(), rows + 0.5, torch.randint(6, (10,)), {}),
    ):
        path = folder / f"{name}.onnx"
        for p in model.parameters():  # no two alike: the exporter would make one initializer of them
            p.data += torch.randn_like(p) / 8
        if hasattr(model, "onnx"):
            onnx.save(model.onnx(), str(path))
        else:
            export(model, x, axes, name == "transformer", path)
        gradients(name, model, path, x, target)
    write_storage(folder)
    write_refused(folder)
    np.savez_compressed(folder / "gradients.npz", **arrays)


if __name__ == "__main__":
    main()
