#!/usr/bin/env python3
"""Gradients of composed functions by PyTorch, for tests/unit/ops/test_torch_gradients.c.

    tests/conformance/torch_gradients.py [--write]

The inputs of a case are numbers that both sides make alike (multiples of a
quarter where ties or zeros are wanted); tests/golden/torch_gradients.txt holds
their shapes and the gradients of the sum of the result times such numbers, in
f64.  Without --write: compares the file with what PyTorch gives; exit status 1
when they differ.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

PATH = Path(__file__).resolve().parents[1] / "golden" / "torch_gradients.txt"
MASK = (1 << 64) - 1


def numbers(count: int, seed: int) -> np.ndarray:
    """The linear congruential generator of Knuth's MMIX, its upper bits in [-1, 1)."""
    out, state = np.empty(count), (seed * 0x9E3779B97F4A7C15 + 1) & MASK
    for i in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        out[i] = (state >> 11) * 2.0**-52 - 1
    return out


def lstm(x, w, r, bias, h0, c0):
    """ONNX's LSTM: gates in the order i, o, f, c."""
    h, c, out = h0[0], c0[0], []
    for t in range(x.shape[0]):
        z = x[t] @ w[0].T + h @ r[0].T + bias[0].reshape(2, -1).sum(0)
        i, o, f, g = z.chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        out.append(h)
    return torch.stack(out)[:, None]


def gru(x, w, r, bias, h0):
    """ONNX's GRU: gates in the order z, r, h."""
    h, out = h0[0], []
    for t in range(x.shape[0]):
        a = (x[t] @ w[0].T).chunk(3, -1)
        wb, rb = bias[0].chunk(2)
        wb, rb = wb.chunk(3), rb.chunk(3)
        rw = r[0].chunk(3)
        z = torch.sigmoid(a[0] + h @ rw[0].T + wb[0] + rb[0])
        q = torch.sigmoid(a[1] + h @ rw[1].T + wb[1] + rb[1])
        g = torch.tanh(a[2] + (q * h) @ rw[2].T + wb[2] + rb[2])
        h = (1 - z) * g + z * h
        out.append(h)
    return torch.stack(out)[:, None]


def index(*values):
    return torch.tensor(values)


def batch_norm(x, w, b):
    return F.batch_norm(x, None, None, w, b, True, 0.0, 1e-5)


CASES = {
    "softmax": ([(3, 5)], lambda x: F.softmax(x, -1)),
    "softmax of a middle axis": ([(2, 4, 3)], lambda x: F.softmax(x * 3, 1)),
    "log_softmax": ([(3, 5)], lambda x: F.log_softmax(x, -1)),
    "cross entropy": ([(4, 5)], lambda x: F.cross_entropy(x, index(1, 0, 4, 1))),
    "cross entropy, weighted": (
        [(4, 3), (3,)],
        lambda x, w: F.cross_entropy(x, index(1, 0, 2, 1), weight=(w * w).detach()) + 0 * w.sum(),
    ),
    "layer norm": ([(3, 6), (6,), (6,)], lambda x, w, b: F.layer_norm(x, (6,), w, b, 1e-5)),
    "rms norm": ([(3, 6), (6,)], lambda x, w: F.rms_norm(x, (6,), w, 1e-5)),
    "group norm": ([(2, 4, 3), (4,), (4,)], lambda x, w, b: F.group_norm(x, 2, w, b, 1e-5)),
    "instance norm": (
        [(2, 3, 4), (3,), (3,)],
        lambda x, w, b: F.instance_norm(x, None, None, w, b, True, 0.1, 1e-5),
    ),
    "batch norm in training": ([(4, 3, 2), (3,), (3,)], batch_norm),
    "gelu": ([(7,)], F.gelu),
    "gelu by tanh": ([(7,)], lambda x: F.gelu(x, approximate="tanh")),
    "silu": ([(7,)], F.silu),
    "softplus": ([(7,)], F.softplus),
    "mish": ([(7,)], F.mish),
    "attention": (
        [(1, 2, 4, 3), (1, 2, 4, 3), (1, 2, 4, 3)],
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    ),
    "attention with shared heads": (
        [(2, 4, 3, 2), (2, 2, 5, 2), (2, 2, 5, 3)],
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
    ),
    "conv 1d": (
        [(2, 3, 7), (4, 3, 3), (4,)],
        lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=1, dilation=2),
    ),
    "conv 2d": (
        [(1, 2, 5, 4), (3, 2, 3, 2), (3,)],
        lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 0)),
    ),
    "conv 2d, grouped": (
        [(1, 4, 4, 4), (6, 2, 3, 3)],
        lambda x, w: F.conv2d(x, w, groups=2, padding=1),
    ),
    "conv 2d, depthwise": ([(1, 3, 4, 4), (3, 1, 3, 3)], lambda x, w: F.conv2d(x, w, groups=3)),
    "conv transpose": (
        [(1, 3, 4), (3, 2, 3), (2,)],
        lambda x, w, b: F.conv_transpose1d(x, w, b, stride=2, padding=1, output_padding=1),
    ),
    "max pool": ([(1, 2, 5, 4)], lambda x: F.max_pool2d(x, (2, 2), (2, 1), (1, 0))),
    "max pool with ties": ([(1, 2, 6)], lambda x: F.max_pool1d(x, 3, 2, 1)),
    "average pool": (
        [(1, 2, 5)],
        lambda x: F.avg_pool1d(x, 3, 2, 1, count_include_pad=False),
    ),
    "lstm": ([(3, 2, 3), (1, 16, 3), (1, 16, 4), (1, 32), (1, 2, 4), (1, 2, 4)], lstm),
    "gru": ([(3, 2, 3), (1, 9, 3), (1, 9, 3), (1, 18), (1, 2, 3)], gru),
    "cumsum": ([(3, 4)], lambda x: x.cumsum(1)),
    "cumprod": ([(3, 4)], lambda x: x.cumprod(1)),
    "cumprod with zeros": ([(4, 5)], lambda x: x.cumprod(1)),
    "cummax with ties": ([(4, 6)], lambda x: x.cummax(1)[0]),
    "sort": ([(3, 4)], lambda x: x.sort(1, descending=True)[0].exp()),
    "sort with ties": ([(3, 6)], lambda x: x.sort(dim=1, stable=True)[0].exp()),
    "top k": ([(3, 5)], lambda x: x.topk(2, 1)[0].exp()),
    "gather": ([(3, 4)], lambda x: x.gather(1, index([0, 0, 3], [1, 2, 1], [3, 3, 3])).exp()),
    "scatter add": (
        [(3, 4), (3, 3)],
        lambda x, u: x.scatter_add(1, index([0, 0, 3], [1, 2, 1], [3, 3, 3]), u).exp(),
    ),
    "scatter product": (
        [(3, 4), (3, 3)],
        lambda x, u: x.scatter_reduce(1, index([0, 0, 3], [1, 2, 1], [3, 3, 3]), u, "prod"),
    ),
    "scatter product with zeros": (
        [(3, 4), (3, 6)],
        lambda x, u: x.scatter_reduce(
            1,
            index([0, 0, 3, 1, 1, 1], [1, 2, 1, 0, 0, 2], [3, 3, 3, 2, 2, 2]),
            u,
            "prod",
        ),
    ),
    "scatter maximum with ties": (
        [(3, 4), (3, 6)],
        lambda x, u: x.scatter_reduce(
            1,
            index([0, 0, 3, 1, 1, 1], [1, 2, 1, 0, 0, 2], [3, 3, 3, 2, 2, 2]),
            u,
            "amax",
        ),
    ),
    "product": ([(3, 4)], lambda x: x.prod(1)),
    "product with zeros": ([(5, 3)], lambda x: x.prod(1)),
    "maximum with ties": ([(4, 6)], lambda x: x.amax(1)),
    "the larger of two with ties": (
        [(3, 6), (3, 6)],
        lambda x, y: torch.maximum(x, y),
    ),
    "variance": ([(3, 5)], lambda x: x.var(1)),
    "log sum exp": ([(3, 5)], lambda x: torch.logsumexp(x, 1)),
    "einsum": (
        [(2, 3, 4), (4, 5), (2, 5)],
        lambda x, y, z: torch.einsum("bij,jk,bk->ik", x, y, z),
    ),
    "grid sample": (
        [(1, 2, 4, 4), (1, 3, 3, 2)],
        lambda x, g: F.grid_sample(x, g * 0.9, align_corners=False),
    ),
    "power": ([(6,), (6,)], lambda x, y: torch.pow(x.abs() + 0.1, y * 3)),
    "remainder": ([(6,), (6,)], lambda x, y: torch.fmod(x * 7, y)),
    "angles": ([(6,), (6,)], torch.atan2),
}


def has_ties(name):
    return "ties" in name or "zeros" in name


def gradients(name, shapes, fn):
    xs = [numbers(int(np.prod(s)), i + 1).reshape(s) for i, s in enumerate(shapes)]
    if has_ties(name):
        xs = [np.round(x * 4) / 4 for x in xs]
    xs = [torch.tensor(x, requires_grad=True) for x in xs]
    y = fn(*xs)
    weight = torch.tensor(numbers(y.numel(), 99).reshape(y.shape))
    (y * weight).sum().backward()
    return [x.grad.numpy().ravel() for x in xs]


def text_of(name, shapes, grads):
    lines = [f"case {name}"] + ["quarters"] * has_ties(name)
    for shape, grad in zip(shapes, grads):
        lines.append("shape " + " ".join(map(str, shape)))
        lines += [" ".join(f"{v:.10g}" for v in grad[i : i + 8]) for i in range(0, len(grad), 8)]
    return "\n".join(lines) + "\n"


def main() -> int:
    torch.set_num_threads(1)
    text = "# PyTorch's gradients; tests/conformance/torch_gradients.py --write\n"
    for name, (shapes, fn) in CASES.items():
        text += "\n" + text_of(name, shapes, gradients(name, shapes, fn))
    if "--write" in sys.argv[1:]:
        PATH.write_text(text)
        return 0
    have = [float(w) if w[-1].isdigit() else w for w in PATH.read_text().split()[3:]]
    want = [float(w) if w[-1].isdigit() else w for w in text.split()[3:]]
    same = len(have) == len(want) and all(
        a == b or (isinstance(a, float) and isinstance(b, float) and abs(a - b) <= 1e-8 * (1 + abs(b)))
        for a, b in zip(have, want)
    )
    print(f"torch gradients: {len(CASES)} cases {'agree' if same else 'DIFFER'} with {PATH.name}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
