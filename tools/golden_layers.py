#!/usr/bin/env python3
"""Writes what PyTorch makes of each layer: tests/golden/layers.npz, read by tests/unit/nn/test_layers.c.

    tools/golden_layers.py [FILE]

Each case is computed in f64 from small random tensors and stored in f32. Keys:

    <case>/in.<i>        inputs
    <case>/p.<name>      parameters and buffers before the call, by PyTorch's names
    <case>/y             the result
    <case>/c             the cotangent of the result
    <case>/d.in.<i>, <case>/d.<name>   gradients of sum(y * c)
    <case>/after.<name>  buffers after the call
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

FILE = Path(__file__).resolve().parent.parent / "tests" / "golden" / "layers.npz"
SEED = 20261122

arrays: dict[str, np.ndarray] = {}


def store(key: str, x: torch.Tensor) -> None:
    x = x.detach()
    arrays[key] = x.to(torch.float32 if x.is_floating_point() else torch.int64).numpy()


def randomise(module: nn.Module) -> None:
    """Parameters away from their simple initial values, all of them f32 numbers."""
    with torch.no_grad():
        for name, p in [*module.named_parameters(), *module.named_buffers()]:
            if not p.is_floating_point():
                continue
            noise = torch.randn(p.shape).to(torch.float32).double() * 0.3
            p.copy_(noise.abs() + 0.5 if name.endswith("running_var") else p.float().double() + noise)
            p.copy_(p.float().double())


def case(name: str, call, *shapes_or_tensors, module: nn.Module | None = None) -> None:
    """call(*inputs) gives the result; inputs are f32 numbers in f64, or integers."""
    inputs = []
    for x in shapes_or_tensors:
        if isinstance(x, tuple):
            x = torch.randn(x).float().double()
        inputs.append(x.requires_grad_() if x.is_floating_point() else x)
    named = {}
    if module is not None:
        module.double()
        randomise(module)
        named = dict([*module.named_parameters(), *module.named_buffers()])
        named = {key: p for key, p in named.items() if p.is_floating_point()}
    for key, p in named.items():
        store(f"{name}/p.{key}", p)
    for i, x in enumerate(inputs):
        store(f"{name}/in.{i}", x)
    buffers = {key for key, p in named.items() if not p.requires_grad}
    y = call(*inputs)
    c = torch.randn(y.shape).float().double()
    y.backward(c)
    store(f"{name}/y", y)
    store(f"{name}/c", c)
    for i, x in enumerate(inputs):
        if x.requires_grad:
            store(f"{name}/d.in.{i}", x.grad)
    for key, p in named.items():
        if key in buffers:
            store(f"{name}/after.{key}", p)
        else:
            store(f"{name}/d.{key}", p.grad)


def layer(name: str, module: nn.Module, *shapes) -> None:
    case(name, module, *shapes, module=module)


def dense() -> None:
    layer("linear", nn.Linear(6, 4), (3, 2, 6))
    layer("linear_no_bias", nn.Linear(6, 4, bias=False), (3, 6))
    embedding = nn.Embedding(7, 5)
    layer("embedding", embedding, torch.tensor([[1, 6, 1], [0, 3, 1]]))


def convolutions() -> None:
    layer("conv1d", nn.Conv1d(3, 4, 3, stride=2, padding=1), (2, 3, 9))
    layer("conv2d", nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 7, 6))
    layer("conv2d_lists", nn.Conv2d(2, 3, (3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1)), (1, 2, 8, 7))
    layer("conv2d_groups", nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), (2, 4, 5, 5))
    layer("conv2d_depthwise", nn.Conv2d(4, 4, 3, padding=1, groups=4), (2, 4, 5, 5))
    layer("conv3d", nn.Conv3d(2, 3, 2, stride=1), (1, 2, 3, 4, 3))
    layer("conv_transpose1d", nn.ConvTranspose1d(3, 2, 4, stride=2, padding=1), (2, 3, 5))
    layer("conv_transpose2d", nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 3, 4))
    layer("conv_transpose3d", nn.ConvTranspose3d(2, 2, 2, stride=2), (1, 2, 2, 2, 3))


def pooling() -> None:
    x = (2, 3, 7, 6)
    case("max_pool", lambda x: F.max_pool2d(x, 3, 2, 1), x)
    case("max_pool_ceil", lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True), x)
    case("max_pool1d", lambda x: F.max_pool1d(x, 3), (2, 3, 10))
    case("average_pool", lambda x: F.avg_pool2d(x, 3, 2, 1), x)
    case("average_pool_exclude", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), x)
    case("average_pool3d", lambda x: F.avg_pool3d(x, (1, 2, 2)), (1, 2, 2, 4, 4))
    case("global_average_pool", lambda x: F.adaptive_avg_pool2d(x, 1), x)
    case("resize_nearest", lambda x: F.interpolate(x, (10, 9), mode="nearest"), x)
    case("resize_linear", lambda x: F.interpolate(x, (10, 4), mode="bilinear"), x)
    case("resize_cubic", lambda x: F.interpolate(x, (11, 8), mode="bicubic"), x)


def norms() -> None:
    layer("layer_norm", nn.LayerNorm(6), (3, 4, 6))
    layer("layer_norm_two_axes", nn.LayerNorm((4, 6), eps=1e-3), (3, 4, 6))
    layer("rms_norm", nn.RMSNorm(6, eps=1e-5), (3, 4, 6))
    layer("group_norm", nn.GroupNorm(2, 6), (3, 6, 4, 2))
    layer("instance_norm", nn.InstanceNorm2d(3), (2, 3, 4, 5))
    layer("instance_norm_affine", nn.InstanceNorm1d(3, affine=True), (2, 3, 7))
    layer("batch_norm", nn.BatchNorm2d(3), (4, 3, 3, 2))
    layer("batch_norm_flat", nn.BatchNorm1d(5, eps=1e-4, momentum=0.3), (6, 5))
    layer("batch_norm_eval", nn.BatchNorm2d(3).eval(), (4, 3, 3, 2))


def losses() -> None:
    x = (4, 5)
    case("mse_loss", F.mse_loss, x, x)
    case("mse_loss_sum", lambda x, t: F.mse_loss(x, t, reduction="sum"), x, x)
    case("l1_loss", F.l1_loss, x, x)
    case("huber_loss", lambda x, t: F.huber_loss(x, t, delta=0.7), x, x)
    case("binary_cross_entropy", F.binary_cross_entropy_with_logits, x, torch.rand(4, 5).float().double())
    target = torch.tensor([4, 0, 2, 2])
    holes = torch.tensor([4, -100, 2, -100])
    weight = torch.tensor([0.5, 1, 2, 1, 3]).double()
    case("cross_entropy", F.cross_entropy, x, target)
    case("cross_entropy_each", lambda x, t: F.cross_entropy(x, t, reduction="none"), x, target)
    case("cross_entropy_ignored", F.cross_entropy, x, holes)
    case("cross_entropy_weighted", lambda x, t: F.cross_entropy(x, t, weight=weight), x, holes)
    case("cross_entropy_smooth", lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1), x, target)
    case("cross_entropy_smooth_ignored", lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1), x, holes)
    case("cross_entropy_places", F.cross_entropy, (2, 5, 3), torch.tensor([[0, 1, 4], [2, 2, 3]]))
    case("nll_loss", F.nll_loss, x, target)


def rotate(x, theta=10000.0, interleaved=False, factor=1.0, low=1.0, high=4.0, length=8192, features=None):
    """Rotary embedding with Llama 3.1's scaling, by its definition."""
    d = features or x.shape[-1]
    f = theta ** (-torch.arange(0, d, 2).double() / d)
    wave = 2 * torch.pi / f
    blend = ((length / wave - low) / (high - low)).clamp(0, 1)
    f = (1 - blend) * f / factor + blend * f if factor != 1 else f
    angle = torch.arange(x.shape[-2]).double()[:, None] * f
    x, rest = x[..., :d], x[..., d:]
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    y = a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()
    y = torch.stack(y, -1).flatten(-2) if interleaved else torch.cat(y, -1)
    return torch.cat([y, rest], -1)


class Attention(nn.Module):
    def __init__(self, features, heads, kv_heads=None, head=None, bias=True, rotary=None, **options):
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads or heads
        head = head or features // heads
        self.wq = nn.Linear(features, heads * head, bias=bias)
        self.wk = nn.Linear(features, self.kv_heads * head, bias=bias)
        self.wv = nn.Linear(features, self.kv_heads * head, bias=bias)
        self.wo = nn.Linear(heads * head, features, bias=bias)
        self.rotary, self.options = rotary, options

    def forward(self, x, source=None):
        source = x if source is None else source
        q = self.wq(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k = self.wk(source).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        v = self.wv(source).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        if self.rotary is not None:
            q, k = rotate(q, **self.rotary), rotate(k, **self.rotary)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True, **self.options)
        return self.wo(y.transpose(1, 2).flatten(-2))


def attention() -> None:
    q, k, v = (2, 4, 5, 6), (2, 2, 5, 6), (2, 2, 5, 3)
    i, j = torch.arange(5)[:, None], torch.arange(5)[None, :]
    near, shown = (i - j).abs() < 3, torch.rand(2, 1, 5, 5) < 0.7
    shown = shown | (i == j)
    sdpa = F.scaled_dot_product_attention

    def masked(mask, **options):
        return lambda q, k, v, *_: sdpa(q, k, v, attn_mask=mask, enable_gqa=True, **options)

    case("attention", masked(None), q, k, v)
    case("attention_causal", masked(None, is_causal=True, scale=0.3), q, k, v)
    case("attention_window", masked(near), q, k, v)
    case("attention_causal_window", masked(near & (j <= i)), q, k, v)
    case("attention_bool_mask", masked(shown), q, k, v, shown.long())
    case("attention_bias", lambda q, k, v, m: sdpa(q, k, v, attn_mask=m, enable_gqa=True), q, k, v, (4, 5, 5))
    case("attention_mask_function", masked((i + j) % 3 != 1), q, k, v)
    case("attention_score_function", masked((j - i) * 0.25 + torch.where(j <= i, 0, -torch.inf)), q, k, v)
    case("rotary", rotate, (2, 3, 7, 8))
    case("rotary_interleaved", lambda x: rotate(x, 100.0, True, features=6), (2, 3, 7, 8))
    llama = {"theta": 500000.0, "factor": 8.0, "low": 1.0, "high": 4.0, "length": 64}
    case("rotary_scaled", lambda x: rotate(x, **llama), (2, 1, 70, 16))
    layer("attention_layer", Attention(12, 4), (2, 5, 12))
    layer("attention_layer_llama", Attention(12, 4, 2, 6, bias=False, rotary=llama, is_causal=True), (2, 5, 12))
    layer("attention_layer_source", Attention(12, 3), (2, 5, 12), (2, 4, 12))


def recurrent() -> None:
    lstm = nn.LSTM(3, 4)
    case("lstm", lambda x: lstm(x)[0], (5, 2, 3), module=lstm)
    deep = nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True)
    case("lstm_deep", lambda x: deep(x)[0], (2, 4, 3), module=deep)
    states = nn.LSTM(3, 4, num_layers=2, bias=False)
    case("lstm_states", lambda x, h, c: torch.cat(states(x, (h, c))[1]), (3, 2, 3), (2, 2, 4), (2, 2, 4), module=states)
    gru = nn.GRU(3, 4)
    case("gru", lambda x: gru(x)[0], (5, 2, 3), module=gru)
    both = nn.GRU(3, 2, num_layers=2, bidirectional=True)
    case("gru_deep", lambda x, h: both(x, h)[0], (4, 2, 3), (4, 2, 2), module=both)


class Experts(nn.Module):
    def __init__(self, experts, features, hidden):
        super().__init__()
        self.w1 = nn.Parameter(torch.zeros(experts, features, hidden))
        self.w2 = nn.Parameter(torch.zeros(experts, hidden, features))
        self.w3 = nn.Parameter(torch.zeros(experts, features, hidden))

    def forward(self, x):
        """All experts of all tokens: [..., E, features]"""
        x = x.unsqueeze(-2).unsqueeze(-2)
        return ((F.silu(x @ self.w1) * (x @ self.w3)) @ self.w2).squeeze(-2)


class Shared(nn.Module):
    def __init__(self, features, hidden):
        super().__init__()
        self.w1 = nn.Linear(features, hidden, bias=False)
        self.w2 = nn.Linear(hidden, features, bias=False)
        self.w3 = nn.Linear(features, hidden, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class MoE(nn.Module):
    """Every expert sees every token; those that were not chosen weigh nothing."""

    def __init__(self, experts, features, hidden, top_k, shared=0, sigmoid=False, normalized=False, scale=1.0, balance=0.0):
        super().__init__()
        self.router = nn.Module()
        self.router.gate = nn.Linear(features, experts, bias=False)
        self.experts = Experts(experts, features, hidden)
        if shared:
            self.shared_experts = Shared(features, shared)
        if balance:
            self.register_buffer("expert_bias", torch.zeros(experts))
        self.top_k, self.sigmoid, self.normalized, self.scale, self.balance = top_k, sigmoid, normalized, scale, balance

    def forward(self, x):
        logits = self.router.gate(x)
        scores = logits.sigmoid() if self.sigmoid else logits.softmax(-1)
        bias = self.expert_bias if self.balance else torch.zeros(())
        chosen = F.one_hot((scores + bias).topk(self.top_k, -1).indices, scores.shape[-1]).sum(-2)
        weight = scores * chosen
        if self.normalized:
            weight = weight / weight.sum(-1, keepdim=True)
        y = (self.experts(x) * (weight * self.scale).unsqueeze(-1)).sum(-2)
        if self.balance:
            counts = chosen.flatten(0, -2).sum(0).double()
            with torch.no_grad():
                delta = (counts.mean() - counts).sign() * self.balance
                self.expert_bias += delta - delta.mean()
        return y + self.shared_experts(x) if hasattr(self, "shared_experts") else y


def mixtures() -> None:
    layer("moe", MoE(4, 5, 6, 2), (2, 7, 5))
    layer("moe_sigmoid", MoE(4, 5, 3, 3, 7, True, True, 2.5, 0.01), (9, 5))


def main() -> None:
    torch.manual_seed(SEED)
    dense()
    convolutions()
    pooling()
    norms()
    losses()
    attention()
    recurrent()
    mixtures()
    np.savez_compressed(sys.argv[1] if len(sys.argv) > 1 else FILE, **arrays)


if __name__ == "__main__":
    main()
