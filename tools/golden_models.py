#!/usr/bin/env python3
"""Writes what PyTorch makes of small models: tests/golden/models.npz, read by tests/unit/nn/test_models.c.

    tools/golden_models.py [FILE]

Each model is written out below in plain PyTorch operations, computes in f64, and is stored in f32. Keys:

    <model>/x, <model>/target   a batch
    <model>/p.<name>            parameters before the step, which are bf16 numbers
    <model>/loss                the mean cross entropy
    <model>/d.<name>            its gradients
    <model>/course.tokens       batches of some steps from the same parameters, and
    <model>/course.loss         the losses there (see `course`)
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

FILE = Path(__file__).resolve().parent.parent / "tests" / "golden" / "models.npz"
SEED = 20261122
ROWS, LENGTH, VOCAB, DIM = 2, 16, 64, 32

arrays: dict[str, np.ndarray] = {}


def linear(features: int, out: int) -> nn.Linear:
    return nn.Linear(features, out, bias=False)


def rms_norm(features: int) -> nn.RMSNorm:
    return nn.RMSNorm(features, eps=1e-5)


def rotate(x, theta, factor=1.0, low=1.0, high=4.0, length=8192):
    """Neighbours of the last axis as complex numbers, turned by their position; Llama 3.1's scaling."""
    d = x.shape[-1]
    f = theta ** (-torch.arange(0, d, 2).double() / d)
    blend = ((length * f / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
    f = (1 - blend) * f / factor + blend * f
    angle = torch.arange(x.shape[-2]).double()[:, None] * f
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(turned).flatten(-2)


def attend(q, k, v):
    """softmax(q kᵀ / √d) v for positions up to one's own; heads on axis 1, key heads repeated."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return (scores.masked_fill(hidden, -math.inf).softmax(-1) @ v).transpose(1, 2).flatten(-2)


def split(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.w1, self.w2, self.w3 = linear(dim, hidden), linear(hidden, dim), linear(dim, hidden)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


# ---- llama3


class LlamaAttention(nn.Module):
    HEADS, KV_HEADS, HEAD = 4, 2, 8
    ROPE = {"theta": 500000.0, "factor": 8.0, "low": 1.0, "high": 4.0, "length": 32}

    def __init__(self):
        super().__init__()
        self.wq = linear(DIM, self.HEADS * self.HEAD)
        self.wk = linear(DIM, self.KV_HEADS * self.HEAD)
        self.wv = linear(DIM, self.KV_HEADS * self.HEAD)
        self.wo = linear(self.HEADS * self.HEAD, DIM)

    def forward(self, x):
        q, k, v = split(self.wq(x), self.HEADS), split(self.wk(x), self.KV_HEADS), split(self.wv(x), self.KV_HEADS)
        return self.wo(attend(rotate(q, **self.ROPE), rotate(k, **self.ROPE), v))


class LlamaLayer(nn.Module):
    def __init__(self, _layer):
        super().__init__()
        self.attention, self.attention_norm = LlamaAttention(), rms_norm(DIM)
        self.feed_forward, self.ffn_norm = FeedForward(DIM, 48), rms_norm(DIM)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.ffn_norm(x))


class Decoder(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.tok_embeddings = nn.Embedding(VOCAB, DIM)
        self.layers = nn.ModuleList([layer(i) for i in range(2)])
        self.norm, self.output = rms_norm(DIM), linear(DIM, VOCAB)

    def forward(self, tokens):
        x = self.tok_embeddings(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.output(self.norm(x))


# ---- deepseek_v3


class LatentAttention(nn.Module):
    HEADS, RANK, NOPE, ROPE, V = 2, 12, 8, 4, 6

    def __init__(self):
        super().__init__()
        self.wq = linear(DIM, self.HEADS * (self.NOPE + self.ROPE))
        self.wkv_a, self.kv_norm = linear(DIM, self.RANK + self.ROPE), rms_norm(self.RANK)
        self.wkv_b = linear(self.RANK, self.HEADS * (self.NOPE + self.V))
        self.wo = linear(self.HEADS * self.V, DIM)

    def forward(self, x):
        q, q_turned = split(self.wq(x), self.HEADS).split([self.NOPE, self.ROPE], -1)
        q = torch.cat([q, rotate(q_turned, 10000.0)], -1)
        latent, k_turned = self.wkv_a(x).split([self.RANK, self.ROPE], -1)
        k, v = split(self.wkv_b(self.kv_norm(latent)), self.HEADS).split([self.NOPE, self.V], -1)
        k_turned = rotate(k_turned.unsqueeze(1), 10000.0).expand(-1, self.HEADS, -1, -1)
        return self.wo(attend(q, torch.cat([k, k_turned], -1), v))


class Experts(nn.Module):
    def __init__(self, experts, dim, hidden):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(experts, dim, hidden) / math.sqrt(dim))
        self.w2 = nn.Parameter(torch.randn(experts, hidden, dim) / math.sqrt(hidden))
        self.w3 = nn.Parameter(torch.randn(experts, dim, hidden) / math.sqrt(dim))


class MoE(nn.Module):
    """Token by token, expert by expert."""

    EXPERTS, HIDDEN, TOP, SHARED, BALANCE = 4, 8, 2, 16, 1e-3

    def __init__(self):
        super().__init__()
        self.router = nn.Module()
        self.router.gate = linear(DIM, self.EXPERTS)
        self.experts, self.shared_experts = Experts(self.EXPERTS, DIM, self.HIDDEN), FeedForward(DIM, self.SHARED)
        self.register_buffer("expert_bias", 0.1 * torch.randn(self.EXPERTS))

    def forward(self, x):
        scores = self.router.gate(x).softmax(-1)
        chosen = (scores + self.expert_bias).topk(self.TOP, -1).indices
        counts = torch.bincount(chosen.flatten(), minlength=self.EXPERTS).double()
        y = self.shared_experts(x)
        for e in range(self.EXPERTS):
            weight = (scores[..., e] * (chosen == e).any(-1)).unsqueeze(-1)
            h = F.silu(x @ self.experts.w1[e]) * (x @ self.experts.w3[e])
            y = y + weight * (h @ self.experts.w2[e])
        delta = (counts.mean() - counts).sign() * self.BALANCE
        self.after = self.expert_bias + delta - delta.mean()
        return y


class DeepSeekLayer(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.attention, self.attention_norm = LatentAttention(), rms_norm(DIM)
        self.ffn_norm = rms_norm(DIM)
        if layer == 0:
            self.feed_forward = FeedForward(DIM, 40)
        else:
            self.moe = MoE()

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        h = self.ffn_norm(x)
        return x + (self.moe(h) if hasattr(self, "moe") else self.feed_forward(h))


# ---- gpt2


class Conv1D(nn.Module):
    def __init__(self, features, out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, out) / math.sqrt(features))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x):
        return x @ self.weight + self.bias


class Gpt2Layer(nn.Module):
    HEADS = 4

    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.c_attn, self.attn.c_proj = Conv1D(DIM, 3 * DIM), Conv1D(DIM, DIM)
        self.mlp.c_fc, self.mlp.c_proj = Conv1D(DIM, 4 * DIM), Conv1D(4 * DIM, DIM)

    def forward(self, x):
        q, k, v = (split(part, self.HEADS) for part in self.attn.c_attn(self.ln_1(x)).chunk(3, -1))
        x = x + self.attn.c_proj(attend(q, k, v))
        return x + self.mlp.c_proj(F.gelu(self.mlp.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, DIM), nn.Embedding(20, DIM)
        self.h = nn.ModuleList([Gpt2Layer() for _ in range(2)])
        self.ln_f = nn.LayerNorm(DIM)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for layer in self.h:
            x = layer(x)
        return self.ln_f(x) @ self.wte.weight.T


# ---- resnet


def conv(features, out, kernel, stride=1):
    return nn.Conv2d(features, out, kernel, stride, kernel // 2, bias=False)


class Bottleneck(nn.Module):
    def __init__(self, features, width, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(features, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        if stride != 1 or features != 4 * width:
            self.downsample = nn.Sequential(conv(features, 4 * width, 1, stride), nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class Basic(nn.Module):
    def __init__(self, features, width, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(features, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        if stride != 1 or features != width:
            self.downsample = nn.Sequential(conv(features, width, 1, stride), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class Preactivated(nn.Module):
    def __init__(self, features, width, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(features), conv(features, width, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), conv(width, width, 3)
        if stride != 1 or features != width:
            self.downsample = nn.Sequential(conv(features, width, 1, stride))

    def forward(self, x):
        h = F.relu(self.bn1(x))
        x = self.downsample(h) if hasattr(self, "downsample") else x
        return x + self.conv2(F.relu(self.bn2(self.conv1(h))))


class ResNet(nn.Module):
    """Of width 4, with a stage of two blocks and one of one."""

    def __init__(self, block, growth=1, preactivation=False):
        super().__init__()
        self.conv1 = conv(3, 4, 3, 1) if preactivation else conv(3, 4, 7, 2)
        if not preactivation:
            self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(block(4, 4, 1), block(4 * growth, 4, 1))
        self.layer2 = nn.Sequential(block(4 * growth, 8, 2))
        if preactivation:
            self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * growth, 5)

    def forward(self, x):
        x = self.conv1(x)
        if hasattr(self, "bn1"):
            x = F.max_pool2d(F.relu(self.bn1(x)), 3, 2, 1)
        x = self.layer2(self.layer1(x))
        if hasattr(self, "bn"):
            x = F.relu(self.bn(x))
        return self.fc(x.mean((2, 3)))


# ---- mlp


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.out = nn.Linear(12, 9), nn.Linear(9, 7), nn.Linear(7, 5)

    def forward(self, x):
        return self.out(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


# ---- golden data


def store(key: str, x: torch.Tensor) -> None:
    x = x.detach()
    arrays[key] = x.to(torch.float32 if x.is_floating_point() else torch.int32).numpy()


def model(name: str, module: nn.Module, x: torch.Tensor, target: torch.Tensor) -> None:
    module.double()
    with torch.no_grad():
        for p in [*module.parameters(), *module.buffers()]:
            if p.is_floating_point():
                noise = 0.1 * torch.randn_like(p) if p.dim() == 1 and not name.startswith("mlp") else 0
                p.copy_((p + noise).bfloat16().double())  # zeros at the end, which compress
    state = {**dict(module.named_parameters()), **{k: b for k, b in module.named_buffers() if "bias" in k}}
    for key, p in state.items():
        store(f"{name}/p.{key}", p)
    store(f"{name}/x", x)
    store(f"{name}/target", target)
    logits = module(x)
    loss = F.cross_entropy(logits.flatten(0, -2), target.flatten())
    loss.backward()
    store(f"{name}/loss", loss)
    for key, p in module.named_parameters():
        store(f"{name}/d.{key}", p.grad)
    for key, part in module.named_modules():
        if hasattr(part, "after"):
            store(f"{name}/after.{key}.expert_bias", part.after)


def course(name: str, module: nn.Module) -> None:
    """Training as torchtitan's debug models: AdamW, clipping, warm-up, linear decay over the last 80 %."""
    steps, warmup, decay = 10, 2, 8
    tokens = torch.randint(VOCAB, (steps, ROWS, LENGTH + 1))
    tokens[..., 1::2] = tokens[..., ::2][..., : LENGTH // 2] * 5 % VOCAB  # something to learn
    adam = torch.optim.AdamW(module.parameters(), 8e-4, (0.9, 0.95), 1e-8, 0.1)
    losses = []
    for i in range(steps):
        stable = steps + 1 - decay
        share = (i + 1) / warmup if i < warmup else min(1.0, 1 - (i + 1 - stable) / decay)
        for group in adam.param_groups:
            group["lr"] = 8e-4 * share
        loss = F.cross_entropy(module(tokens[i, :, :-1]).flatten(0, -2), tokens[i, :, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        adam.step()
        losses.append(loss.detach())
    store(f"{name}/course.tokens", tokens)
    store(f"{name}/course.loss", torch.stack(losses))


def main() -> None:
    torch.manual_seed(SEED)
    tokens = torch.randint(VOCAB, (ROWS, LENGTH + 1))
    images, labels = torch.randn(3, 3, 16, 16).float().double(), torch.tensor([0, 4, 2])
    model("mlp", Mlp(), torch.randn(6, 3, 2, 2).float().double(), torch.tensor([0, 4, 2, 1, 1, 3]))
    llama3 = Decoder(LlamaLayer)
    model("llama3", llama3, tokens[:, :-1], tokens[:, 1:])
    model("deepseek_v3", Decoder(DeepSeekLayer), tokens[:, :-1], tokens[:, 1:])
    model("gpt2", Gpt2(), tokens[:, :-1], tokens[:, 1:])
    model("resnet", ResNet(Basic), images, labels)
    model("resnet_bottleneck", ResNet(Bottleneck, 4), images, labels)
    model("resnet_v2", ResNet(Preactivated, preactivation=True), images[..., :8, :8].contiguous(), labels)
    course("llama3", llama3)
    np.savez_compressed(sys.argv[1] if len(sys.argv) > 1 else FILE, **arrays)


if __name__ == "__main__":
    main()
