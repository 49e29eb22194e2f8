#!/usr/bin/env python3
"""The peers of the training in bench_wide.py: N perceptrons with learning rates of their own.

    bench/wide_train_peers.py FOLDER THREADS eager|compile|vmap sgd|adam

Answers as wide_peers.py does; "members N" takes FIRST_STEPS steps.  eager: N modules with PyTorch's fused optimizers, one
after another.  compile: a whole step of one member, its update included, as one compiled function.  vmap: the same function
over all members at once.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from peers import peak_bytes, steady_latency
from torch import nn
from torch.nn import functional as F

ROWS, IN, HIDDEN, OUT, FIRST_STEPS = 32, 64, 128, 64, 50
SHAPES = ((HIDDEN, IN), (HIDDEN,), (OUT, HIDDEN), (OUT,))  # in the order of wide_train.c
WARM_UP = (0.1, 2)
# With Adam's usual 1e-8 the rounding of a gradient that nearly cancels is a whole step's difference.
BETAS, EPSILON = (0.9, 0.999), 1e-6


def save_start(folder: Path, count: int) -> None:
    """start.bin and batch.bin."""
    folder.mkdir(parents=True, exist_ok=True)
    random = torch.Generator().manual_seed(1)
    batch = torch.randn(ROWS * (IN + OUT), generator=random)
    members = []
    for _ in range(count):
        bound = [shape[-1] ** -0.5 for shape in SHAPES[::2] for _ in range(2)]
        members += [(torch.rand(shape, generator=random) * 2 - 1) * b for shape, b in zip(SHAPES, bound)]
    torch.cat([part.flatten() for part in members]).numpy().tofile(folder / "start.bin")
    batch.numpy().tofile(folder / "batch.bin")


def rates(adam: bool, count: int) -> list[float]:
    low = 1e-4 if adam else 1e-3
    return [low * 100 ** (i / (count - 1) if count > 1 else 0) for i in range(count)]


def read_start(folder: Path, count: int) -> list[list[torch.Tensor]]:
    """The parameters of each member."""
    sizes = [int(np.prod(shape)) for shape in SHAPES]
    flat = torch.from_numpy(np.fromfile(folder / "start.bin", np.float32))
    members = flat.view(-1, sum(sizes))[:count]
    return [[part.view(shape).clone() for part, shape in zip(member.split(sizes), SHAPES)] for member in members]


def loss_of(parameters, x, target):
    w1, b1, w2, b2 = parameters
    return F.mse_loss(F.linear(F.relu(F.linear(x, w1, b1)), w2, b2), target)


def member_step(adam: bool):
    """One step of one member as a function: parameters, state, rate, batch → the new ones and the loss."""

    def sgd_step(parameters, state, rate, x, target):
        grads, loss = torch.func.grad_and_value(loss_of)(parameters, x, target)
        return [p - rate * g for p, g in zip(parameters, grads)], state, loss

    def adam_step(parameters, state, rate, x, target):
        grads, loss = torch.func.grad_and_value(loss_of)(parameters, x, target)
        m, v, powers = state
        (a, b), powers = BETAS, powers * torch.tensor(BETAS, dtype=torch.float64)
        m = [a * old + (1 - a) * g for old, g in zip(m, grads)]
        v = [b * old + (1 - b) * g * g for old, g in zip(v, grads)]
        size, root = (rate / (1 - powers[0])).float(), (1 - powers[1]).sqrt().float()
        new = [p - size * mean / (square.sqrt() / root + EPSILON) for p, mean, square in zip(parameters, m, v)]
        return new, (m, v, powers), loss

    return adam_step if adam else sgd_step


def new_state(parameters, adam: bool, shape=()):
    zeros = [torch.zeros_like(p) for p in parameters]
    return (zeros, [z.clone() for z in zeros], torch.ones(*shape, 2, dtype=torch.float64)) if adam else ()


class Engine:
    how = ""

    def __init__(self, folder: Path, adam: bool):
        self.folder, self.adam = folder, adam
        flat = torch.from_numpy(np.fromfile(folder / "batch.bin", np.float32))
        self.x, self.target = flat[: ROWS * IN].view(ROWS, IN), flat[ROWS * IN :].view(ROWS, OUT)


class Eager(Engine):
    def open(self, count: int) -> None:
        self.members = []
        for parameters, rate in zip(read_start(self.folder, count), rates(self.adam, count)):
            model = nn.Sequential(nn.Linear(IN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUT))
            with torch.no_grad():
                for parameter, start in zip(model.parameters(), parameters):
                    parameter.copy_(start)
            own = list(model.parameters())
            optimizer = (torch.optim.Adam(own, rate, BETAS, EPSILON, fused=True) if self.adam
                         else torch.optim.SGD(own, rate, fused=True))  # fmt: skip
            self.members.append((model, optimizer))

    def step(self) -> list[float]:
        losses = []
        for model, optimizer in self.members:
            loss = F.mse_loss(model(self.x), self.target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    def parameters(self) -> list[torch.Tensor]:
        return [p.detach() for model, _ in self.members for p in model.parameters()]


class Compile(Engine):
    def open(self, count: int) -> None:
        self.members = read_start(self.folder, count)
        self.states = [new_state(p, self.adam) for p in self.members]
        self.rates = [torch.tensor(rate) for rate in rates(self.adam, count)]
        self.compiled = torch.compile(member_step(self.adam), dynamic=False)

    def step(self) -> list[float]:
        losses = []
        with torch.no_grad():
            for i, (parameters, state, rate) in enumerate(zip(self.members, self.states, self.rates)):
                said = self.compiled(parameters, state, rate, self.x, self.target)
                self.members[i], self.states[i], loss = said
                losses.append(loss.item())
        return losses

    def parameters(self) -> list[torch.Tensor]:
        return [p for member in self.members for p in member]


class Vmap(Engine):
    def open(self, count: int) -> None:
        self.stacked = [torch.stack(parts) for parts in zip(*read_start(self.folder, count))]
        self.state = new_state(self.stacked, self.adam, (count,))
        self.rate = torch.tensor(rates(self.adam, count))
        every = torch.func.vmap(member_step(self.adam), in_dims=(0, 0, 0, None, None))
        self.compiled = torch.compile(every, dynamic=False)

    def step(self) -> list[float]:
        with torch.no_grad():
            said = self.compiled(self.stacked, self.state, self.rate, self.x, self.target)
            self.stacked, self.state, losses = said
            return losses.tolist()

    def parameters(self) -> list[torch.Tensor]:
        return [part[i] for i in range(len(self.rate)) for part in self.stacked]


ENGINES = {"eager": Eager, "compile": Compile, "vmap": Vmap}


def members(engine: Engine, name: str, count: int, before: int) -> dict:
    begin = time.monotonic()
    engine.open(count)
    for _ in range(FIRST_STEPS):
        engine.step()
    seconds = time.monotonic() - begin
    flat = torch.cat([part.flatten() for part in engine.parameters()])
    flat.numpy().tofile(engine.folder / f"y-{name}.bin")
    return {"compile_s": seconds, "bytes": peak_bytes() - before, "how": engine.how}


def main() -> None:
    folder, threads, name, optimizer = sys.argv[1:]
    torch.set_num_threads(int(threads))
    engine = ENGINES[name](Path(folder), optimizer == "adam")
    before = peak_bytes()
    for line in sys.stdin:
        said = line.split()
        if said[0] == "members":
            answer = members(engine, name, int(said[1]), before)
        else:
            answer = {"latency_ms": steady_latency(engine.step, float(line), WARM_UP)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
