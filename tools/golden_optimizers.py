#!/usr/bin/env python3
"""PyTorch's trajectories, which tests/unit/nn/test_optim.c and test_optim_rate.c compare with:

    tools/golden_optimizers.py > tests/golden/optimizers.txt

Start and gradients are small fractions, so that both sides have them exactly. Lion, which PyTorch
lacks, and torchtitan's schedule are written out below.
"""

import math

import torch
from torch.optim import lr_scheduler as schedulers

STEPS, SIZE = 20, 4


def start(dtype):
    return torch.tensor([(i * 5 % 11 - 5) / 4 for i in range(SIZE)], dtype=dtype)


def gradient(step, dtype):
    return torch.tensor([((step * 7 + i * 13 + 5) % 17 - 8) / 8 for i in range(SIZE)], dtype=dtype)


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, params, lr, betas, weight_decay):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def step(self):
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.data.mul_(1 - group["lr"] * group["weight_decay"])
                p.data.sub_(group["lr"] * torch.sign(first * m + (1 - first) * p.grad))
                m.mul_(second).add_(p.grad, alpha=1 - second)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd_decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.05),
    "sgd_momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.05),
    "sgd_nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam_decay": lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "adamw_clipped": lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.9, 0.95), weight_decay=0.1),
    "lion": lambda p: Lion(p, lr=0.01, betas=(0.9, 0.99), weight_decay=0.1),
}


def trajectory(name, make, dtype):
    print(f"optimizer {name} {'f64' if dtype == torch.float64 else 'f32'}")
    x = torch.nn.Parameter(start(dtype))
    optimizer = make([x])
    for step in range(STEPS):
        x.grad = gradient(step, dtype)
        if name.endswith("_clipped"):
            torch.nn.utils.clip_grad_norm_([x], 0.75)
        optimizer.step()
        print(*(f"{v:.{17 if dtype == torch.float64 else 9}g}" for v in x.tolist()))


def warm(optimizer, after, warmup):
    first = schedulers.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    return schedulers.SequentialLR(optimizer, [first, after], milestones=[warmup])


def stable_decay(warmup, total, ratio, lowest, curve):
    """torchtitan's factor: with a virtual last step, so that the rate does not drop to the lowest."""
    decay = min(round(total * ratio), total - warmup)
    turn = total + 1 - decay

    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        if step < turn:
            return 1.0
        progress = (step + 1 - turn) / decay
        left = {
            "linear": 1 - progress,
            "sqrt": 1 - math.sqrt(progress),
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        }[curve]
        return lowest + (1 - lowest) * left

    return factor


SCHEDULES = {
    "constant": lambda o: schedulers.ConstantLR(o, factor=1.0),
    "step": lambda o: schedulers.StepLR(o, step_size=6, gamma=0.5),
    "multi_step": lambda o: schedulers.MultiStepLR(o, milestones=[3, 3, 11], gamma=0.3),
    "exponential": lambda o: schedulers.ExponentialLR(o, gamma=0.93),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, T_max=30, eta_min=0.01),
    "restarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, T_0=4, T_mult=2, eta_min=0.01),
    "restarts_same": lambda o: schedulers.CosineAnnealingWarmRestarts(o, T_0=7),
    "warm_exponential": lambda o: warm(o, schedulers.ExponentialLR(o, gamma=0.9), 5),
    "linear_decay": lambda o: schedulers.LambdaLR(o, stable_decay(2, 30, 0.8, 0.0, "linear")),
    "cosine_decay": lambda o: schedulers.LambdaLR(o, stable_decay(3, 30, 0.5, 0.1, "cosine")),
    "sqrt_decay": lambda o: schedulers.LambdaLR(o, stable_decay(0, 30, 1.0, 0.2, "sqrt")),
}


def rates(name, make):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = make(optimizer)
    values = []
    for _ in range(30):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    print(f"schedule {name}")
    print(*(f"{v:.17g}" for v in values))


def main():
    for name, make in OPTIMIZERS.items():
        for dtype in (torch.float32, torch.float64):
            trajectory(name, make, dtype)
    for name, make in SCHEDULES.items():
        rates(name, make)


if __name__ == "__main__":
    main()
