"""Writes losses.json beside itself: losses of PyTorch in float64 (of their formulas, where it has none), with
derivatives. For every loss: its operands, the losses without reduction, the derivatives of their sum weighted by cosines,
the mean, and the derivative of that.

    python losses.py
"""

import json
import pathlib

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(11)
draw = lambda *shape: torch.randn(*shape).round(decimals=3).double()
uniform = lambda *shape: (0.05 + 0.9 * torch.rand(*shape)).round(decimals=3).double()
signs = lambda *shape: torch.where(torch.rand(*shape) > 0.5, 1.0, -1.0).double()
bits = lambda *shape: (torch.rand(*shape) > 0.5).double()
ints = lambda high, *shape: torch.randint(0, high, shape)
number = lambda v: float(f"{v:.13g}")
flat = lambda t: [number(v) for v in t.detach().flatten().tolist()]
lines = {}


def case(name, loss, trained, fixed=(), mean=None):
    """`loss(reduction)(*trained, *fixed)`; `mean` is its mean where that is not one of PyTorch's."""
    trained = [t.clone().requires_grad_() for t in trained]
    each = loss("none")(*trained, *fixed)
    weights = (torch.arange(each.numel(), dtype=torch.float64) + 1).cos().reshape(each.shape)
    grads = torch.autograd.grad((each * weights).sum(), trained)
    average = mean(*trained, *fixed) if mean else loss("mean")(*trained, *fixed)
    of_mean = torch.autograd.grad(average, trained)
    tensors = [(t, "f") for t in trained] + [(t, "f" if t.is_floating_point() else "i") for t in fixed]
    lines[name] = {
        "operands": [{"kind": k, "shape": list(t.shape), "data": flat(t)} for t, k in tensors],
        "none": flat(each),
        "grads": [flat(g) for g in grads],
        "mean": number(average.item()),
        "of_mean": flat(of_mean[0]),
    }


def plain(f):
    """A loss without reduction as one with."""
    return lambda r: (lambda *x: f(*x)) if r == "none" else (lambda *x: f(*x).mean())


X, Y = draw(3, 4), draw(3, 4)
for name, loss in {
    "mse": lambda r: nn.MSELoss(reduction=r),
    "l1": lambda r: nn.L1Loss(reduction=r),
    "smooth l1": lambda r: nn.SmoothL1Loss(reduction=r, beta=0.6),
    "huber": lambda r: nn.HuberLoss(reduction=r, delta=0.7),
    "quantile": plain(lambda x, y: torch.maximum(0.8 * (y - x), -0.2 * (y - x))),
}.items():
    case(name, loss, [X, Y])
case("gaussian nll", lambda r: nn.GaussianNLLLoss(reduction=r, full=True), [X, Y, uniform(3, 4)])
counts = ints(5, 3, 4).double()
case("poisson nll", lambda r: nn.PoissonNLLLoss(reduction=r), [X], [counts])
case("poisson nll full", lambda r: nn.PoissonNLLLoss(reduction=r, log_input=False, full=True), [uniform(3, 4)], [counts])
case(
    "negative binomial nll",
    plain(lambda x, n, y: -torch.distributions.NegativeBinomial(n, logits=x).log_prob(y)),
    [X, uniform(3, 4) + 0.5],
    [counts],
)
P, Q = F.softmax(draw(3, 4), -1), F.log_softmax(draw(3, 4), -1)
case("kl div", lambda r: nn.KLDivLoss(reduction=r), [Q, P])
case("kl div log", lambda r: nn.KLDivLoss(reduction=r, log_target=True), [Q, F.log_softmax(draw(3, 4), -1)])
case("kl div batch", lambda r: nn.KLDivLoss(reduction="batchmean" if r == "mean" else r), [Q], [P])

W = uniform(4)
case("bce", lambda r: nn.BCELoss(W, reduction=r), [uniform(3, 4)], [uniform(3, 4)])
case("bce with logits", lambda r: nn.BCEWithLogitsLoss(reduction=r), [3 * X], [uniform(3, 4)])
case(
    "bce with logits weighted",
    lambda r: nn.BCEWithLogitsLoss(W, reduction=r, pos_weight=3 * W),
    [3 * X],
    [bits(3, 4)],
)
lines["weights"] = flat(W)


def focal(x, y, alpha=0.25, gamma=2.0):
    p = torch.sigmoid(x)
    known = p * y + (1 - p) * (1 - y)
    loss = F.binary_cross_entropy_with_logits(x, y, reduction="none") * (1 - known) ** gamma
    return (alpha * y + (1 - alpha) * (1 - y)) * loss


case("focal", plain(focal), [X], [bits(3, 4)])
case("soft margin", lambda r: nn.SoftMarginLoss(reduction=r), [X], [signs(3, 4)])
case("multilabel soft margin", lambda r: nn.MultiLabelSoftMarginLoss(W, reduction=r), [X], [bits(3, 4)])
case("multi margin", lambda r: nn.MultiMarginLoss(reduction=r), [X], [ints(4, 3)])
case("multi margin 2", lambda r: nn.MultiMarginLoss(2, 0.5, W, reduction=r), [X], [ints(4, 3)])
lists = torch.tensor([[2, 0, -1, 3], [1, -1, 0, 0], [-1, 2, 2, 2]])
case("multilabel margin", lambda r: nn.MultiLabelMarginLoss(reduction=r), [X], [lists])

classes = torch.tensor([1, 3, -100])
many = ints(4, 2, 3, 2)
many[0, 1, 1] = 2
case("cross entropy", lambda r: nn.CrossEntropyLoss(reduction=r), [X], [classes])
case(
    "cross entropy all",
    lambda r: nn.CrossEntropyLoss(W, ignore_index=2, label_smoothing=0.15, reduction=r),
    [draw(2, 4, 3, 2)],
    [many],
)
case("cross entropy probabilities", lambda r: nn.CrossEntropyLoss(W, label_smoothing=0.15, reduction=r), [X], [P])
case("nll", lambda r: nn.NLLLoss(reduction=r), [Q], [classes])
case("nll weighted", lambda r: nn.NLLLoss(W, ignore_index=2, reduction=r), [draw(2, 4, 3, 2)], [many])

case("hinge embedding", lambda r: nn.HingeEmbeddingLoss(0.8, reduction=r), [X], [signs(3, 4)])
case("margin ranking", lambda r: nn.MarginRankingLoss(0.3, reduction=r), [X, Y], [signs(3, 4)])
A, B, C = draw(5, 3), draw(5, 3), draw(5, 3)
case("triplet", lambda r: nn.TripletMarginLoss(reduction=r), [A, B, C])
case("triplet swap", lambda r: nn.TripletMarginLoss(2.0, p=3, swap=True, reduction=r), [A, B, C])
case("cosine embedding", lambda r: nn.CosineEmbeddingLoss(-0.5, reduction=r), [A, B], [signs(5)])


def contrastive(a, b, y, margin=3.0):
    d = (a - b).norm(dim=-1)
    return 0.5 * (y * d**2 + (1 - y) * (margin - d).clamp(min=0) ** 2)


case("contrastive", plain(contrastive), [A, B], [bits(5)])
cosines = lambda a, b: F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
info = lambda a, b: F.cross_entropy(cosines(a, b) / 0.1, torch.arange(len(a)), reduction="none")
case("info nce", plain(info), [A, B])


def info_negatives(a, b, n):
    own = (F.normalize(a, dim=-1) * F.normalize(b, dim=-1)).sum(-1, keepdim=True)
    scores = torch.cat([own, cosines(a, n)], 1) / 0.2
    return F.cross_entropy(scores, torch.zeros(len(a), dtype=torch.long), reduction="none")


case("info nce negatives", plain(info_negatives), [A, B, draw(4, 3)])


def nt_xent(a, b):
    z = torch.cat([a, b])
    scores = (cosines(z, z) / 0.5).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    other = torch.arange(len(z)).roll(len(a))
    return F.cross_entropy(scores, other, reduction="none")


case("nt xent", plain(nt_xent), [A, B])


def tversky(alpha, beta, smooth=1e-5):
    def f(p, t):
        hits, alarms, misses = [x.flatten(2).sum(-1) for x in (p * t, p * (1 - t), (1 - p) * t)]
        return 1 - (hits + smooth) / (hits + alpha * alarms + beta * misses + smooth)

    return f


def dice(p, t, smooth=1e-5):
    both, all = (p * t).flatten(2).sum(-1), (p + t).flatten(2).sum(-1)
    return 1 - (2 * both + smooth) / (all + smooth)


regions = ([uniform(2, 2, 2, 3)], [bits(2, 2, 2, 3)])
case("dice", plain(dice), *regions)
case("iou", plain(tversky(1, 1)), *regions)
case("tversky", plain(tversky(0.3, 0.7)), *regions)

# Labels that repeat, that are empty, that need all of their input, and too many.
labels = torch.tensor([[1, 1, 2], [3, 2, 0], [0, 0, 0], [2, 2, 2], [1, 2, 3]])
lengths = (torch.tensor([7, 5, 4, 5, 2]), torch.tensor([3, 2, 0, 3, 3]))
ctc = lambda zero: lambda r: (
    lambda x, *rest: nn.CTCLoss(zero_infinity=zero, reduction=r)(F.log_softmax(x, -1), *rest)
)
case("ctc", ctc(True), [draw(7, 5, 4)], [labels, *lengths])
case("ctc infinite", ctc(False), [draw(7, 3, 4)], [labels[:3], lengths[0][:3], lengths[1][:3]])

text = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in lines.items())
pathlib.Path(__file__).with_name("losses.json").write_text("{\n" + text + "\n}\n")
