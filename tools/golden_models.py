#!/usr/bin/env python3
"""Writes what PyTorch makes of small models: tests/golden/models.npz, read by tests/unit/nn/test_models.c.

    tools/golden_models.py [FILE]

Each model is written out in plain PyTorch operations (below and in torch_models.py), computes in f64, and is stored
in f32. Keys:

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

from torch_models import Decoder, DeepSeekV3, Llama3, Rope, attend, split, train

FILE = Path(__file__).resolve().parent.parent / "tests" / "golden" / "models.npz"
SEED = 20261122
ROWS, LENGTH, VOCAB, DIM = 2, 16, 64, 32
LLAMA3 = Llama3(DIM, layers=2, heads=4, kv_heads=2, ffn=48, vocab=VOCAB, rope=Rope(500000.0, 8.0, length=32))
DEEPSEEK_V3 = DeepSeekV3(
    DIM, layers=2, ffn=40, heads=2, kv_rank=12, nope=8, rope_dim=4, v=6,
    experts=4, expert_ffn=8, top_k=2, shared_ffn=16, vocab=VOCAB,
)  # fmt: skip

arrays: dict[str, np.ndarray] = {}


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
    steps = 10
    tokens = torch.randint(VOCAB, (steps, ROWS, LENGTH + 1))
    tokens[..., 1::2] = tokens[..., ::2][..., : LENGTH // 2] * 5 % VOCAB  # something to learn
    losses = list(train(module, ((t[:, :-1], t[:, 1:]) for t in tokens), steps))
    store(f"{name}/course.tokens", tokens)
    store(f"{name}/course.loss", torch.stack(losses))


def main() -> None:
    torch.manual_seed(SEED)
    tokens = torch.randint(VOCAB, (ROWS, LENGTH + 1))
    images, labels = torch.randn(3, 3, 16, 16).float().double(), torch.tensor([0, 4, 2])
    model("mlp", Mlp(), torch.randn(6, 3, 2, 2).float().double(), torch.tensor([0, 4, 2, 1, 1, 3]))
    llama3 = Decoder(LLAMA3)
    model("llama3", llama3, tokens[:, :-1], tokens[:, 1:])
    model("deepseek_v3", Decoder(DEEPSEEK_V3), tokens[:, :-1], tokens[:, 1:])
    model("gpt2", Gpt2(), tokens[:, :-1], tokens[:, 1:])
    model("resnet", ResNet(Basic), images, labels)
    model("resnet_bottleneck", ResNet(Bottleneck, 4), images, labels)
    model("resnet_v2", ResNet(Preactivated, preactivation=True), images[..., :8, :8].contiguous(), labels)
    course("llama3", llama3)
    np.savez_compressed(sys.argv[1] if len(sys.argv) > 1 else FILE, **arrays)


if __name__ == "__main__":
    main()
