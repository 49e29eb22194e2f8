"""llama3 and deepseek_v3 in plain PyTorch operations, and how they are trained.

Each is written as its mathematics reads, token by token and expert by expert, with nothing fused. What
Tenon's models (src/nn/models) are compared with: tools/golden_models.py, tests/conformance/run_training.py.
Names of parameters and buffers are the same there. `without` leaves out "attention" or "rope".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Rope:
    """Llama 3.1's scaling; factor 1: none."""

    theta: float
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    length: int = 8192


@dataclass(frozen=True)
class Llama3:
    """The values given are llama3_debugmodel's."""

    dim: int = 256
    layers: int = 6
    heads: int = 16
    kv_heads: int = 16
    ffn: int = 768
    vocab: int = 2048
    rope: Rope = Rope(500000.0, 8.0)
    without: frozenset[str] = field(default=frozenset())


@dataclass(frozen=True)
class DeepSeekV3:
    """The values given are deepseek_v3_debugmodel's."""

    dim: int = 256
    layers: int = 6
    ffn: int = 1024
    heads: int = 16
    kv_rank: int = 512
    nope: int = 128
    rope_dim: int = 64
    v: int = 128
    experts: int = 8
    expert_ffn: int = 256
    top_k: int = 3
    shared_ffn: int = 512
    balance: float = 1e-3
    vocab: int = 2048
    rope: Rope = Rope(10000.0)
    without: frozenset[str] = field(default=frozenset())


# ---- layers


def linear(features: int, out: int) -> nn.Linear:
    return nn.Linear(features, out, bias=False)


def rms_norm(features: int) -> nn.RMSNorm:
    return nn.RMSNorm(features, eps=1e-5)


def rotate(x, o):
    """Neighbours of the last axis as complex numbers, turned by their position."""
    if "rope" in o.without:
        return x
    d, rope = x.shape[-1], o.rope
    f = rope.theta ** (-torch.arange(0, d, 2).double() / d)
    blend = ((rope.length * f / (2 * math.pi) - rope.low) / (rope.high - rope.low)).clamp(0, 1)
    f = (1 - blend) * f / rope.factor + blend * f
    angle = torch.arange(x.shape[-2]).double()[:, None] * f
    x = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    turned = x * torch.polar(torch.ones_like(angle), angle).to(x.dtype)
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


class Decoder(nn.Module):
    """tokens [N, S] → logits [N, S, vocab]"""

    def __init__(self, options: Llama3 | DeepSeekV3):
        super().__init__()
        o, layer = options, LlamaLayer if isinstance(options, Llama3) else DeepSeekLayer
        self.tok_embeddings = nn.Embedding(o.vocab, o.dim)
        self.layers = nn.ModuleList([layer(o, i) for i in range(o.layers)])
        self.norm, self.output = rms_norm(o.dim), linear(o.dim, o.vocab)

    def forward(self, tokens):
        x = self.tok_embeddings(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.output(self.norm(x))


# ---- llama3


class LlamaAttention(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.o, head = o, o.dim // o.heads
        self.wq = linear(o.dim, o.heads * head)
        self.wk, self.wv = linear(o.dim, o.kv_heads * head), linear(o.dim, o.kv_heads * head)
        self.wo = linear(o.heads * head, o.dim)

    def forward(self, x):
        o = self.o
        q, k, v = split(self.wq(x), o.heads), split(self.wk(x), o.kv_heads), split(self.wv(x), o.kv_heads)
        return self.wo(attend(rotate(q, o), rotate(k, o), v))


class LlamaLayer(nn.Module):
    def __init__(self, o, _layer):
        super().__init__()
        self.attends = "attention" not in o.without
        self.attention, self.attention_norm = LlamaAttention(o), rms_norm(o.dim)
        self.feed_forward, self.ffn_norm = FeedForward(o.dim, o.ffn), rms_norm(o.dim)

    def forward(self, x):
        if self.attends:
            x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.ffn_norm(x))


# ---- deepseek_v3


class LatentAttention(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.o = o
        self.wq = linear(o.dim, o.heads * (o.nope + o.rope_dim))
        self.wkv_a, self.kv_norm = linear(o.dim, o.kv_rank + o.rope_dim), rms_norm(o.kv_rank)
        self.wkv_b = linear(o.kv_rank, o.heads * (o.nope + o.v))
        self.wo = linear(o.heads * o.v, o.dim)

    def forward(self, x):
        o = self.o
        q, q_turned = split(self.wq(x), o.heads).split([o.nope, o.rope_dim], -1)
        q = torch.cat([q, rotate(q_turned, o)], -1)
        latent, k_turned = self.wkv_a(x).split([o.kv_rank, o.rope_dim], -1)
        k, v = split(self.wkv_b(self.kv_norm(latent)), o.heads).split([o.nope, o.v], -1)
        k_turned = rotate(k_turned.unsqueeze(1), o).expand(-1, o.heads, -1, -1)
        return self.wo(attend(q, torch.cat([k, k_turned], -1), v))


class Experts(nn.Module):
    def __init__(self, experts, dim, hidden):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(experts, dim, hidden) / math.sqrt(dim))
        self.w2 = nn.Parameter(torch.randn(experts, hidden, dim) / math.sqrt(hidden))
        self.w3 = nn.Parameter(torch.randn(experts, dim, hidden) / math.sqrt(dim))


class MoE(nn.Module):
    """`after` is the balancing bias for the next step."""

    def __init__(self, o):
        super().__init__()
        self.o = o
        self.router = nn.Module()
        self.router.gate = linear(o.dim, o.experts)
        self.experts = Experts(o.experts, o.dim, o.expert_ffn)
        self.shared_experts = FeedForward(o.dim, o.shared_ffn)
        self.register_buffer("expert_bias", 0.1 * torch.randn(o.experts))

    def forward(self, x):
        experts = self.experts
        scores = self.router.gate(x).softmax(-1)
        chosen = (scores + self.expert_bias).topk(self.o.top_k, -1).indices
        counts = torch.bincount(chosen.flatten(), minlength=self.o.experts).to(x.dtype)
        y = self.shared_experts(x)
        for e in range(self.o.experts):
            weight = (scores[..., e] * (chosen == e).any(-1)).unsqueeze(-1)
            h = F.silu(x @ experts.w1[e]) * (x @ experts.w3[e])
            y = y + weight * (h @ experts.w2[e])
        delta = (counts.mean() - counts).sign() * self.o.balance
        self.after = self.expert_bias + delta - delta.mean()
        return y


class DeepSeekLayer(nn.Module):
    def __init__(self, o, layer):
        super().__init__()
        self.attends = "attention" not in o.without
        self.attention, self.attention_norm = LatentAttention(o), rms_norm(o.dim)
        self.ffn_norm = rms_norm(o.dim)
        if layer == 0:
            self.feed_forward = FeedForward(o.dim, o.ffn)
        else:
            self.moe = MoE(o)

    def forward(self, x):
        if self.attends:
            x = x + self.attention(self.attention_norm(x))
        h = self.ffn_norm(x)
        return x + (self.moe(h) if hasattr(self, "moe") else self.feed_forward(h))


# ---- training


def rate_at(step: int, steps: int, warmup: int) -> float:
    """torchtitan's for its debug models, whose highest is 1: linear decay over the last 80 %."""
    decay = round(0.8 * steps)
    stable = steps + 1 - decay
    if step < warmup:
        return (step + 1) / warmup
    return 1.0 if step < stable else 1 - (step + 1 - stable) / decay


def cross_entropy(module: nn.Module, tokens: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(module(tokens).flatten(0, -2), target.flatten())


def train(
    module: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], steps: int
) -> Iterator[torch.Tensor]:
    """The loss of each batch, before its update; the run would have `steps` steps."""
    adam = torch.optim.AdamW(module.parameters(), 8e-4, (0.9, 0.95), 1e-8, 0.1)
    for i, (tokens, target) in enumerate(batches):
        for group in adam.param_groups:
            group["lr"] = 8e-4 * rate_at(i, steps, warmup=2)
        loss = cross_entropy(module, tokens, target)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0, foreach=False)
        adam.step()
        for part in module.modules():
            if hasattr(part, "after"):
                part.expert_bias.copy_(part.after)
        yield loss.detach()
