"""Computes mlp_sgd, mlp_adamw, cnn_adamw and gpt_adamw anew, in float64, from the parameters in NAME.init.safetensors, and
tells how far NAME.json is from that.

    python trajectories.py        (torch, numpy and safetensors)

The parameters, and the tokens of gpt_adamw, were drawn at random once; the files are what there is of them.
"""

import gzip
import json
import pathlib

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).resolve().parent
DIGITS = HERE.parents[2] / "vorpal-nn/data/mnist10k"


def idx(name, header):
    return np.frombuffer(gzip.decompress((DIGITS / f"{name}-ubyte.gz").read_bytes()), np.uint8, offset=header)


def digits(*shape):
    images = torch.tensor(idx("train-images-idx3", 16).reshape(-1, *shape)).double() / 255
    labels = torch.tensor(idx("train-labels-idx1", 8)).long()
    return lambda step: (images[64 * step : 64 * step + 64], labels[64 * step : 64 * step + 64])


def tokens():
    (all,) = load_file(HERE / "gpt_adamw.data.safetensors").values()
    return lambda step: (all[step, :, :-1].long(), all[step, :, 1:].long())


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn_qkv, self.attn_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp_fc, self.mlp_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        rows = self.attn_qkv(self.ln_1(x)).reshape(batch, length, 3, self.heads, width // self.heads)
        q, k, v = rows.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp_proj(F.gelu(self.mlp_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocabulary=64, context=64, width=64, heads=4, layers=2):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.h = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, x):
        x = self.wte(x) + self.wpe.weight[: x.shape[1]]
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


def mlp():
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def follow(name, model, make, batch, clip=None):
    """The trajectory, and how far the file is from it, relative to each of its numbers."""
    missing, unexpected = model.load_state_dict(load_file(HERE / f"{name}.init.safetensors"), strict=False)
    assert not unexpected and all(n.split(".")[-1] in ("num_batches_tracked", "running_mean", "running_var") for n in missing)
    model = model.double()
    optimizer, losses, norms = make(model.parameters()), [], []
    for step in range(20):
        x, y = batch(step)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).flatten(0, -2), y.flatten())
        loss.backward()
        losses.append(loss.item())
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), clip or float("inf")).item())
        optimizer.step()
    final = {n: [t.sum().item(), t.square().sum().item()] for n, t in model.state_dict().items() if t.is_floating_point()}
    told = json.loads((HERE / f"{name}.json").read_text())
    apart = lambda found, told: max(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(found, told, strict=True))
    assert set(final) == set(told["final_sum_and_sumsq"])
    ends = {n: apart(final[n], told["final_sum_and_sumsq"][n]) for n in final}
    worst = max(ends, key=ends.get)
    far = [apart(losses, told["losses"]), apart(norms, told["grad_norms"]), ends[worst]]
    print("{}: losses {:.1e}, norms {:.1e}, ends {:.1e} ({})".format(name, *far, worst))
    assert max(far) < 1e-6, "not the trajectory of the file"


follow("mlp_sgd", mlp(), lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4), digits(784))
follow("mlp_adamw", mlp(), lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.01), digits(784))
follow("cnn_adamw", cnn(), lambda p: torch.optim.AdamW(p, 2e-3, weight_decay=0.01), digits(1, 28, 28))
follow("gpt_adamw", Gpt(), lambda p: torch.optim.AdamW(p, 1e-3, betas=(0.9, 0.95), weight_decay=0.1), tokens(), clip=1.0)
