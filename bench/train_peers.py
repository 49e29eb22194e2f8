#!/usr/bin/env python3
"""PyTorch's side of bench_train.py: the models of train_models.c and one that takes steps with them.

    bench/train_peers.py MODEL FILE THREADS eager|compile

FILE is what train_steps wrote: parameters, buffers and the batch.  Prints one JSON line with the first
losses, then one for every number of seconds it reads from stdin, as peers.py --worker does.

The models are the mathematics of Tenon's, written for speed in PyTorch: scaled_dot_product_attention, fused
optimizers, grouped products of experts, and for convolutions the faster memory format.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import torch
from peers import steady_latency
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from golden_models import Basic, conv  # noqa: E402
from torch_models import Experts, FeedForward, linear, rms_norm, split  # noqa: E402

FIRST_STEPS = 5


# ---------------------------------------------------------------- images


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.out = nn.Linear(784, 256), nn.Linear(256, 128), nn.Linear(128, 10)

    def forward(self, x):
        return self.out(F.relu(self.fc2(F.relu(self.fc1(x)))))


class ConvBlock(nn.Module):
    def __init__(self, features, out):
        super().__init__()
        self.conv, self.norm = conv(features, out, 3), nn.BatchNorm2d(out)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [3, 32, 32, 64, 64, 128, 128]
        self.blocks = nn.ModuleList(ConvBlock(a, b) for a, b in zip(widths, widths[1:]))
        self.out = nn.Linear(128 * 4 * 4, 10)

    def forward(self, x):
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i % 2:
                x = F.max_pool2d(x, 2)
        return self.out(x.flatten(1))


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BatchNorm2d(64)
        widths = [64, 64, 128, 256, 512]
        for i, (features, out) in enumerate(zip(widths, widths[1:]), 1):
            stage = nn.Sequential(Basic(features, out, 1 if i == 1 else 2), Basic(out, out, 1))
            setattr(self, f"layer{i}", stage)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


# ---------------------------------------------------------------- decoders


def angles(length, features, theta, factor=1.0, low=1.0, high=4.0, original=8192):
    """Cosines and sines, [length, features / 2]; Llama 3.1's scaling."""
    f = theta ** (-torch.arange(0, features, 2).double() / features)
    blend = ((original * f / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
    f = (1 - blend) * f / factor + blend * f
    angle = torch.arange(length).double()[:, None] * f
    return angle.cos().float(), angle.sin().float()


def rotate(x, table):
    """Turns pairs of neighbours of the last axis."""
    cos, sin = table
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def attend(q, k, v):
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.transpose(1, 2).flatten(-2)


class LlamaAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.wq, self.wk, self.wv, self.wo = (linear(256, 256) for _ in range(4))
        self.table = angles(512, 16, 500000.0, 8.0)

    def forward(self, x):
        q, k, v = (split(w(x), 16) for w in (self.wq, self.wk, self.wv))
        return self.wo(attend(rotate(q, self.table), rotate(k, self.table), v))


class LatentAttention(nn.Module):
    HEADS, RANK, NOPE, ROPE, V = 16, 512, 128, 64, 128

    def __init__(self):
        super().__init__()
        self.wq = linear(256, self.HEADS * (self.NOPE + self.ROPE))
        self.wkv_a, self.kv_norm = linear(256, self.RANK + self.ROPE), rms_norm(self.RANK)
        self.wkv_b = linear(self.RANK, self.HEADS * (self.NOPE + self.V))
        self.wo = linear(self.HEADS * self.V, 256)
        self.table = angles(256, self.ROPE, 10000.0)

    def forward(self, x):
        q, q_turned = split(self.wq(x), self.HEADS).split([self.NOPE, self.ROPE], -1)
        q = torch.cat([q, rotate(q_turned, self.table)], -1)
        latent, k_turned = self.wkv_a(x).split([self.RANK, self.ROPE], -1)
        k, v = split(self.wkv_b(self.kv_norm(latent)), self.HEADS).split([self.NOPE, self.V], -1)
        k_turned = rotate(k_turned.unsqueeze(1), self.table).expand(-1, self.HEADS, -1, -1)
        return self.wo(attend(q, torch.cat([k, k_turned], -1), v))


@torch.compiler.disable  # its f32 product is known to eager mode alone
def grouped(rows, weights, ends):
    return F.grouped_mm(rows, weights, offs=ends)


class MoE(nn.Module):
    EXPERTS, TOP, BALANCE = 8, 3, 1e-3

    def __init__(self):
        super().__init__()
        self.router = nn.Module()
        self.router.gate = linear(256, self.EXPERTS)
        self.experts, self.shared_experts = Experts(self.EXPERTS, 256, 256), FeedForward(256, 512)
        self.register_buffer("expert_bias", torch.zeros(self.EXPERTS))

    def forward(self, x):
        flat = x.flatten(0, -2)
        scores = self.router.gate(flat).softmax(-1)
        chosen = (scores.detach() + self.expert_bias).topk(self.TOP, -1).indices
        order = chosen.flatten().argsort(stable=True)
        counts = F.one_hot(chosen.flatten(), self.EXPERTS).sum(0)
        token, ends = order // self.TOP, counts.cumsum(0).int()
        rows = flat[token]
        e = self.experts
        h = F.silu(grouped(rows, e.w1, ends)) * grouped(rows, e.w3, ends)
        weight = scores.gather(1, chosen).flatten()[order]
        y = grouped(h, e.w2, ends) * weight[:, None]
        y = torch.zeros_like(flat).index_add(0, token, y)
        with torch.no_grad():
            delta = (counts.float().mean() - counts).sign() * self.BALANCE
            self.expert_bias += delta - delta.mean()
        return y.view_as(x) + self.shared_experts(x)


class Layer(nn.Module):
    def __init__(self, attention, ffn):
        super().__init__()
        self.attention, self.attention_norm, self.ffn_norm = attention, rms_norm(256), rms_norm(256)
        setattr(self, "moe" if isinstance(ffn, MoE) else "feed_forward", ffn)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        h = self.ffn_norm(x)
        return x + (self.moe(h) if hasattr(self, "moe") else self.feed_forward(h))


class Decoder(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.tok_embeddings, self.layers = nn.Embedding(2048, 256), nn.ModuleList(layers)
        self.norm, self.output = rms_norm(256), linear(256, 2048)

    def forward(self, tokens):
        x = self.tok_embeddings(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.output(self.norm(x))


def llama3() -> Decoder:
    return Decoder([Layer(LlamaAttention(), FeedForward(256, 768)) for _ in range(6)])


def deepseek_v3() -> Decoder:
    ffns = [FeedForward(256, 1024), *[MoE() for _ in range(5)]]
    return Decoder([Layer(LatentAttention(), ffn) for ffn in ffns])


# ---------------------------------------------------------------- BERT, LSTM


class BertAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(768, 768) for _ in range(4))

    def forward(self, x):
        q, k, v = (split(w(x), 12) for w in (self.wq, self.wk, self.wv))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.wo(y.transpose(1, 2).flatten(-2))


class BertLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.attention_norm = BertAttention(), nn.LayerNorm(768, 1e-12)
        self.fc1, self.fc2 = nn.Linear(768, 3072), nn.Linear(3072, 768)
        self.ffn_norm = nn.LayerNorm(768, 1e-12)

    def forward(self, x):
        x = self.attention_norm(x + self.attention(x))
        return self.ffn_norm(x + self.fc2(F.gelu(self.fc1(x))))


class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = nn.Module()
        self.embeddings.word = nn.Parameter(torch.empty(30522, 768))
        self.embeddings.position = nn.Parameter(torch.empty(512, 768))
        self.embeddings.segment = nn.Parameter(torch.empty(2, 768))
        self.embeddings.norm = nn.LayerNorm(768, 1e-12)
        self.layers = nn.ModuleList(BertLayer() for _ in range(12))
        self.pooler, self.classifier = nn.Linear(768, 768), nn.Linear(768, 2)

    def forward(self, tokens):
        e = self.embeddings
        x = e.norm(F.embedding(tokens, e.word) + (e.position[: tokens.shape[1]] + e.segment[:1]))
        for layer in self.layers:
            x = layer(x)
        return self.classifier(self.pooler(x[:, 0]).tanh())


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(256, 256)
        self.lstm = nn.LSTM(256, 256, num_layers=2, batch_first=True)
        self.out = nn.Linear(256, 256)

    def forward(self, tokens):
        return self.out(self.lstm(self.embedding(tokens))[0])


# ---------------------------------------------------------------- steps


def adamw(parameters):
    return torch.optim.AdamW(parameters, 1e-3, weight_decay=0.01, fused=True)


def language_adamw(parameters):
    return torch.optim.AdamW(parameters, 8e-4, (0.9, 0.95), weight_decay=0.1, fused=True)


def momentum(parameters):
    return torch.optim.SGD(parameters, 1e-3, momentum=0.9, weight_decay=1e-4, fused=True)


def fine_tuning(parameters):
    return torch.optim.AdamW(parameters, 2e-5, weight_decay=0.01, fused=True)


@dataclass
class Case:
    model: Callable[[], nn.Module]
    optimizer: Callable = adamw
    clip_norm: float = 0
    channels_last: bool = field(default=False)


CASES = {
    "mlp": Case(Mlp),
    "cnn": Case(Cnn, momentum, channels_last=True),
    "resnet18": Case(ResNet18, momentum, channels_last=True),
    "llama3_debugmodel": Case(llama3, language_adamw, 1),
    "deepseek_v3_debugmodel": Case(deepseek_v3, language_adamw, 1),
    "bert_base": Case(Bert, fine_tuning),
    "lstm": Case(Lstm),
}


def load(model: nn.Module, path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Puts what Tenon began from into the model; returns the batch."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    x, target = tensors.pop("batch.x"), tensors.pop("batch.target").long()
    missing, unknown = model.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unknown:
        raise ValueError(f"missing {missing}, unknown {unknown}")
    return (x if x.is_floating_point() else x.long()), target


def stepper(name: str, path: str, compiled: bool) -> Callable[[], float]:
    """A function that takes one step and returns the loss before it."""
    case = CASES[name]
    model = case.model()
    x, target = load(model, path)
    if case.channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    optimizer = case.optimizer(model.parameters())

    def loss_of(x, target):
        return F.cross_entropy(model(x).flatten(0, -2), target.flatten())

    if compiled:
        loss_of = torch.compile(loss_of)

    def step() -> float:
        loss = loss_of(x, target)
        loss.backward()
        if case.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), case.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def main() -> None:
    name, path, threads, kind = sys.argv[1:]
    torch.set_num_threads(int(threads))
    step = stepper(name, path, kind == "compile")
    print(json.dumps({"losses": [step() for _ in range(FIRST_STEPS)]}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"latency_ms": steady_latency(step, float(line))}), flush=True)


if __name__ == "__main__":
    main()
