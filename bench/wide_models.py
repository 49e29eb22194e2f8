"""The models of bench_wide.py in PyTorch, N members each with weights and inputs of their own, and their ONNX files."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

OPSET = 17


class DeepMlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(512, 512) for _ in range(4))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.gelu(layer(x))
        return self.layers[-1](x)


class ResBlock(nn.Module):
    def __init__(self, width: int = 64):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + x)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))


def convnet() -> nn.Module:
    def layer(features, out):
        return [nn.Conv2d(features, out, 3, padding=1), nn.ReLU()]

    return nn.Sequential(*layer(3, 32), *layer(32, 32), *layer(32, 32))


class Attention(nn.Module):
    WIDTH, HEADS = 256, 8

    def __init__(self):
        super().__init__()
        self.projected, self.out = nn.Linear(self.WIDTH, 3 * self.WIDTH), nn.Linear(self.WIDTH, self.WIDTH)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (self.HEADS, -1)).transpose(1, 2) for part in self.projected(x).chunk(3, -1))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(64, 128, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


class LstmSteps(Lstm):
    """Lstm written out, for what has no rule for nn.LSTM."""

    def forward(self, x):
        w = self.lstm
        gates = F.linear(x, w.weight_ih_l0, w.bias_ih_l0 + w.bias_hh_l0)
        h = c = x.new_zeros(x.shape[0], w.hidden_size)
        steps = []
        for gate in gates.unbind(1):
            i, f, g, o = (gate + h @ w.weight_hh_l0.t()).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            steps.append(h)
        return torch.stack(steps, 1)


def resnet18() -> nn.Module:
    from train_peers import ResNet18

    return ResNet18()


@dataclass
class Case:
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of a member's input
    words: int = 0  # inputs are numbers below this; 0: N(0, 1)
    most: int = 100  # members
    small: bool = True  # counts in the geometric mean
    written_out: Callable[[], nn.Module] | None = None  # with the same parameters


CASES = {
    "mlp": Case(mlp, (32, 64)),
    "mlp_b8": Case(mlp, (8, 64)),
    "deep_mlp": Case(DeepMlp, (8, 512)),
    "resblock": Case(ResBlock, (8, 64, 32, 32)),
    "convnet": Case(convnet, (8, 3, 32, 32)),
    "embedding": Case(lambda: nn.Embedding(1000, 64), (8, 64), words=1000),
    "layernorm": Case(lambda: nn.LayerNorm(256), (8, 32, 256)),
    "attention": Case(Attention, (8, 128, 256)),
    "lstm": Case(Lstm, (8, 32, 64), written_out=LstmSteps),
    "resnet18": Case(resnet18, (1, 3, 224, 224), small=False),
}


def disturb(module: nn.Module) -> None:
    """Makes running statistics, scales and shifts of norms differ from their beginning."""
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.normal_(part.weight, 1, 0.1)
            nn.init.normal_(part.bias, 0, 0.1)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)


def member(name: str, i: int) -> nn.Module:
    torch.manual_seed(i)
    module = CASES[name].make().eval()
    disturb(module)
    return module


def members(name: str, count: int) -> list[nn.Module]:
    return [member(name, i) for i in range(count)]


def inputs(name: str, count: int) -> torch.Tensor:
    """[count, …]; those of a member do not depend on count."""
    case, made = CASES[name], []
    for i in range(count):
        random = torch.Generator().manual_seed(1000 + i)
        made.append(torch.randint(case.words, case.shape, generator=random) if case.words
                    else torch.randn(case.shape, generator=random))  # fmt: skip
    return torch.stack(made)


def export(name: str, i: int, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            member(name, i), (inputs(name, 1)[0],), path, input_names=["x"], output_names=["y"],
            opset_version=OPSET, dynamo=False, training=torch.onnx.TrainingMode.PRESERVE,
        )  # fmt: skip


def member_file(folder: Path, i: int) -> Path:
    return folder / f"member-{i:03}.onnx"


def refill(name: str, i: int, first: Path, path: Path) -> bool:
    """Writes the first member's file with the weights of member i, which is faster; false: weights have other names."""
    import onnx

    model, state = onnx.load(first), member(name, i).state_dict()
    for weight in model.graph.initializer:
        if weight.name not in state or list(state[weight.name].shape) != list(weight.dims):
            return False
        weight.raw_data = state[weight.name].numpy().tobytes()
    onnx.save(model, path)
    return True


def save_members(name: str, count: int, folder: Path) -> None:
    """The files that are not there yet, and x.bin, all members' inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        path = member_file(folder, i)
        if not path.exists():
            part = path.with_suffix(".part")
            if i == 0 or not refill(name, i, member_file(folder, 0), part):
                export(name, i, part)
            part.rename(path)
    x = inputs(name, count).numpy()
    np.ascontiguousarray(x).tofile(folder / "x.bin")
