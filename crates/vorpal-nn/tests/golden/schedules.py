"""Writes schedules.json beside itself: what PyTorch's schedulers give in their first 100 steps.

    python schedules.py
"""

import json
import math
import pathlib

import torch
from torch.optim import lr_scheduler as s

STEPS = 100


def optimizer(lr=0.1):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)


def rates(make, key="lr"):
    opt = optimizer()
    schedule = make(opt)
    out = []
    for _ in range(STEPS):
        out.append(opt.param_groups[0][key])
        opt.step()
        schedule.step()
    return out


METRICS = [2 + math.cos(0.3 * k) * math.exp(-0.02 * k) + (k % 7) * 0.01 for k in range(STEPS)]


def plateau(**options):
    opt = optimizer()
    schedule = s.ReduceLROnPlateau(opt, **options)
    out = []
    for metric in METRICS:
        out.append(opt.param_groups[0]["lr"])
        schedule.step(metric)
    return out


short = lambda o: s.OneCycleLR(o, max_lr=0.5, total_steps=101)
RUNS = {
    "constant": rates(lambda o: s.ConstantLR(o, factor=0.25, total_iters=30)),
    "linear": rates(lambda o: s.LinearLR(o, start_factor=0.2, end_factor=0.9, total_iters=40)),
    "step": rates(lambda o: s.StepLR(o, step_size=30, gamma=0.3)),
    "multistep": rates(lambda o: s.MultiStepLR(o, milestones=[10, 50, 90], gamma=0.5)),
    "exponential": rates(lambda o: s.ExponentialLR(o, gamma=0.95)),
    "polynomial": rates(lambda o: s.PolynomialLR(o, total_iters=80, power=1.7)),
    "cosine": rates(lambda o: s.CosineAnnealingLR(o, T_max=60, eta_min=0.01)),
    "restarts": rates(lambda o: s.CosineAnnealingWarmRestarts(o, T_0=7, T_mult=2, eta_min=0.01)),
    "restarts alike": rates(lambda o: s.CosineAnnealingWarmRestarts(o, T_0=9)),
    "one cycle": rates(short),
    "one cycle momentum": rates(short, "momentum"),
    "one cycle linear": rates(
        lambda o: s.OneCycleLR(
            o, max_lr=0.5, total_steps=101, pct_start=0.4, anneal_strategy="linear", three_phase=True,
            div_factor=10, final_div_factor=50,
        )
    ),
    "cyclic": rates(lambda o: s.CyclicLR(o, 0.01, 0.2, step_size_up=8, step_size_down=13)),
    "cyclic momentum": rates(lambda o: s.CyclicLR(o, 0.01, 0.2, step_size_up=8, step_size_down=13), "momentum"),
    "cyclic 2": rates(lambda o: s.CyclicLR(o, 0.01, 0.2, step_size_up=8, mode="triangular2")),
    "cyclic range": rates(lambda o: s.CyclicLR(o, 0.01, 0.2, step_size_up=8, mode="exp_range", gamma=0.97)),
    "lambda": rates(lambda o: s.LambdaLR(o, lambda k: 1 / (1 + 0.1 * k))),
    "inverse sqrt": rates(lambda o: s.LambdaLR(o, lambda k: min((k + 1) / 12, math.sqrt(12 / (k + 1))))),
    "sequential": rates(
        lambda o: s.SequentialLR(
            o,
            [s.LinearLR(o, start_factor=0.1, total_iters=20), s.CosineAnnealingLR(o, T_max=80)],
            milestones=[20],
        )
    ),
    "chained": rates(
        lambda o: s.ChainedScheduler(
            [s.ConstantLR(o, factor=0.1, total_iters=20), s.ExponentialLR(o, gamma=0.9)]
        )
    ),
    "metrics": METRICS,
    "plateau": plateau(factor=0.5, patience=3, cooldown=2, min_lr=0.002),
    "plateau up": plateau(mode="max", threshold_mode="abs", threshold=0.01, factor=0.7, patience=5),
}
text = ",\n".join(f"{json.dumps(k)}: {json.dumps([float(f'{v:.13g}') for v in r])}" for k, r in RUNS.items())
pathlib.Path(__file__).with_name("schedules.json").write_text("{\n" + text + "\n}\n")
