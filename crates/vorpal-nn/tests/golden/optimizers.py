"""Writes optimizers.json beside itself: 20 steps of every optimiser in float64, by PyTorch where it has the optimiser,
by its paper otherwise.

    python optimizers.py
"""

import json
import math
import pathlib

import torch

torch.manual_seed(3)
draw = lambda *shape: torch.randn(*shape).round(decimals=3).double()
X, Y, W, B = draw(6, 4), draw(6, 3), draw(4, 3), draw(3)
STEPS = 20
KEPT = (1, 3, 20)


def loss_of(w, b):
    return ((X @ w + b).tanh() - Y).square().mean()


class Written(torch.optim.Optimizer):
    """An optimiser that PyTorch has not: `rule(parameter, gradient, state, t)` gives the new parameter."""

    def __init__(self, params, rule):
        super().__init__(params, {})
        self.rule = rule

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            state["t"] = state.get("t", 0) + 1
            p.copy_(self.rule(p, p.grad, state, state["t"]))


def zeros(state, p, *names):
    return [state.setdefault(n, torch.zeros_like(p)) for n in names]


def lion(lr=1e-2, betas=(0.9, 0.99), decay=0.0):
    def rule(p, g, state, t):
        (m,) = zeros(state, p, "m")
        new = p * (1 - lr * decay) - lr * (betas[0] * m + (1 - betas[0]) * g).sign()
        state["m"] = betas[1] * m + (1 - betas[1]) * g
        return new

    return rule


def lamb(lr=1e-2, betas=(0.9, 0.999), eps=1e-6, decay=0.0):
    def rule(p, g, state, t):
        m, v = zeros(state, p, "m", "v")
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        state["m"], state["v"] = m, v
        r = (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + eps) + decay * p
        a, b = p.norm(), r.norm()
        trust = a / b if a > 0 and b > 0 else 1.0
        return p - lr * trust * r

    return rule


def muon(lr=2e-2, momentum=0.95, nesterov=True, decay=0.1, rate="original", fallback=0.1):
    a, b, c = 3.4445, -4.775, 2.0315

    def rule(p, g, state, t):
        if p.dim() < 2:
            m, v = zeros(state, p, "m", "v")
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            state["m"], state["v"] = m, v
            step = lr * fallback
            hat = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
            return p * (1 - step * decay) - step * hat
        (m,) = zeros(state, p, "m")
        m = state["m"] = momentum * m + (1 - momentum) * g
        u = momentum * m + (1 - momentum) * g if nesterov else m
        x = u.T if u.size(0) > u.size(1) else u
        x = x / x.norm().clamp(min=1e-7)
        for _ in range(5):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        x = x.T if u.size(0) > u.size(1) else x
        rows, columns = p.shape
        fit = max(1, rows / columns) ** 0.5 if rate == "original" else 0.2 * max(rows, columns) ** 0.5
        return p * (1 - lr * decay) - lr * fit * x

    return rule


def root(a, p):
    values, vectors = torch.linalg.eigh(a)
    return vectors @ torch.diag(values ** (-1 / p)) @ vectors.T


def shampoo(lr=0.1, momentum=0.0, decay=0.0, eps=1e-4, every=1, longest=1024):
    def rule(p, g, state, t):
        g = g + decay * p
        if p.dim() < 2:
            state["s"] = state.get("s", 0) + g * g
            d = g / (state["s"] + eps).sqrt()
        else:
            axes = [k for k in (0, 1) if p.size(k) <= longest]
            d = g
            for k in axes:
                gram = g @ g.T if k == 0 else g.T @ g
                state[k] = state.get(k, eps * torch.eye(p.size(k), dtype=p.dtype)) + gram
                if (t - 1) % every == 0:
                    state["root", k] = root(state[k], 2 * len(axes))
                d = state["root", k] @ d if k == 0 else d @ state["root", k]
        if momentum:
            d = state["m"] = momentum * state.get("m", 0) + d
        return p - lr * d

    return rule


def run(make):
    w, b = W.clone().requires_grad_(), B.clone().requires_grad_()
    optimizer = make([w, b])
    kept = []
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        loss_of(w, b).backward()
        optimizer.step()
        if step in KEPT:
            kept += [float(f"{v:.12g}") for p in (w, b) for v in p.detach().flatten().tolist()]
    return kept


def by_torch(name, **options):
    return lambda params: getattr(torch.optim, name)(params, foreach=False, **options)


def written(rule):
    return lambda params: Written(params, rule)


def grouped(params):
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": 2e-3, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.1, foreach=False)


RUNS = {
    "sgd": by_torch("SGD", lr=0.1),
    "sgd momentum": by_torch("SGD", lr=0.1, momentum=0.9, dampening=0.2, weight_decay=0.01),
    "sgd nesterov": by_torch("SGD", lr=0.1, momentum=0.9, nesterov=True),
    "sgd maximize": by_torch("SGD", lr=0.1, momentum=0.9, weight_decay=0.01, maximize=True),
    "adam": by_torch("Adam", lr=1e-2),
    "adam decay": by_torch("Adam", lr=1e-2, betas=(0.8, 0.95), weight_decay=0.1),
    "adamw": by_torch("AdamW", lr=1e-2),
    "adamw amsgrad": by_torch("AdamW", lr=0.2, betas=(0.5, 0.6), amsgrad=True),
    "adam maximize": by_torch("Adam", lr=1e-2, maximize=True, weight_decay=0.1),
    "grouped": grouped,
    "nadam": by_torch("NAdam", lr=1e-2, weight_decay=0.1),
    "nadam decoupled": by_torch("NAdam", lr=1e-2, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": by_torch("RAdam", lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1),
    "radam decoupled": by_torch("RAdam", lr=1e-2, weight_decay=0.1, decoupled_weight_decay=True),
    "adamax": by_torch("Adamax", lr=1e-2, weight_decay=0.1),
    "adagrad": by_torch("Adagrad", lr=0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.1),
    "adadelta": by_torch("Adadelta", lr=1.0, weight_decay=0.1),
    "rmsprop": by_torch("RMSprop", lr=1e-2),
    "rmsprop centered": by_torch("RMSprop", lr=1e-2, alpha=0.9, centered=True, weight_decay=0.1),
    "rmsprop momentum": by_torch("RMSprop", lr=1e-2, centered=True, momentum=0.9),
    "rprop": by_torch("Rprop", lr=0.1),
    "adafactor": by_torch("Adafactor", lr=0.1, weight_decay=0.01),
    "lion": written(lion(decay=0.1)),
    "lamb": written(lamb(decay=0.1)),
    "muon": written(muon()),
    "muon plain": written(muon(nesterov=False, rate="match")),
    "shampoo": written(shampoo()),
    "shampoo momentum": written(shampoo(momentum=0.9, decay=0.1, every=4)),
    "shampoo one side": written(shampoo(longest=3)),
}


def checked_muon():
    """The rule above is PyTorch's but for the bfloat16 of its iteration."""
    w, v = W.clone().requires_grad_(), W.clone().requires_grad_()
    ours, theirs = Written([w], muon()), torch.optim.Muon([v], lr=2e-2, weight_decay=0.1)
    for _ in range(3):
        for p in (w, v):
            p.grad = None
            loss_of(p, B).backward()
        ours.step()
        theirs.step()
    assert (w - v).abs().max() < 2e-3, (w - v).abs().max()


def lbfgs(**options):
    w, b = W.clone().requires_grad_(), B.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([w, b], **options)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(w, b)
        loss.backward()
        return loss

    kept = []
    for _ in range(3):
        loss = optimizer.step(closure)
        kept += [loss.item()] + [v for p in (w, b) for v in p.detach().flatten().tolist()]
    return [float(f"{v:.12g}") for v in kept]


checked_muon()
flat = lambda t: t.flatten().tolist()
lines = {"x": flat(X), "y": flat(Y), "w": flat(W), "b": flat(B)}
lines |= {name: run(make) for name, make in RUNS.items()}
lines["lbfgs"] = lbfgs(lr=0.5, max_iter=5)
lines["lbfgs wolfe"] = lbfgs(max_iter=5, line_search_fn="strong_wolfe")
lines["lbfgs short"] = lbfgs(max_iter=8, history_size=2, line_search_fn="strong_wolfe")
text = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in lines.items())
pathlib.Path(__file__).with_name("optimizers.json").write_text("{\n" + text + "\n}\n")
