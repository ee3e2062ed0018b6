"""Writes mamba.json and char_rnn.json beside itself: outputs of PyTorch in float64 on made-up numbers.

    python recurrent.py

Number i of parameter p, in the order of the lists below, is `noise(p, i)`, scaled as `value` says. The state space of the Mamba
is run step by step, as in the paper's reference; the LSTM is PyTorch's own.
"""

import json
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def noise(p, n):
    """n numbers from -1 to 1."""
    word = np.uint64(0xFFFFFFFF)
    x = (np.arange(n, dtype=np.uint64) + np.uint64(p * 1000003)) * np.uint64(2654435761) & word
    x ^= x >> np.uint64(15)
    x = x * np.uint64(2246822519) & word
    x ^= x >> np.uint64(13)
    return x.astype(np.float64) / 2.0**31 - 1.0


def value(p, name, shape):
    numbers = noise(p, int(np.prod(shape)))
    if len(shape) > 1:
        numbers = numbers * np.sqrt(6.0 / np.prod(shape[1:]))
    elif name.endswith("weight"):
        numbers = 1.0 + 0.2 * numbers
    else:
        numbers = 0.1 * numbers
    return torch.tensor(numbers.astype(np.float32)).reshape(shape).double()


def write(name, output):
    numbers = ", ".join(f"{x:.7g}" for x in output.flatten().tolist())
    pathlib.Path(__file__).with_name(name).write_text(f"[{numbers}]\n")


TOKENS = torch.tensor([[1, 4, 2, 8, 5, 7], [3, 1, 0, 6, 6, 2]])
VOCABULARY = 9


def mamba(width=8, states=4, layers=2, window=4):
    inner, rank = 2 * width, -(-width // 16)
    shapes = {"embeddings.weight": (VOCABULARY, width)}
    for k in range(layers):
        shapes |= {
            f"layers.{k}.norm.weight": (width,),
            f"layers.{k}.mixer.A_log": (inner, states),
            f"layers.{k}.mixer.D": (inner,),
            f"layers.{k}.mixer.conv1d.weight": (inner, 1, window),
            f"layers.{k}.mixer.conv1d.bias": (inner,),
            f"layers.{k}.mixer.in_proj.weight": (2 * inner, width),
            f"layers.{k}.mixer.x_proj.weight": (rank + 2 * states, inner),
            f"layers.{k}.mixer.dt_proj.weight": (inner, rank),
            f"layers.{k}.mixer.dt_proj.bias": (inner,),
            f"layers.{k}.mixer.out_proj.weight": (width, inner),
        }
    shapes["norm_f.weight"] = (width,)
    w = {name: value(p, name, shape) for p, (name, shape) in enumerate(shapes.items())}
    norm = lambda x, name: F.rms_norm(x, (width,), w[name], 1e-5)
    x = w["embeddings.weight"][TOKENS]
    for k in range(layers):
        of = lambda name: w[f"layers.{k}.mixer.{name}"]
        u, gate = (norm(x, f"layers.{k}.norm.weight") @ of("in_proj.weight").T).chunk(2, -1)
        u = F.pad(u.transpose(1, 2), (window - 1, 0))
        u = F.silu(F.conv1d(u, of("conv1d.weight"), of("conv1d.bias"), groups=inner)).transpose(1, 2)
        step, b, c = (u @ of("x_proj.weight").T).split([rank, states, states], -1)
        step = F.softplus(step @ of("dt_proj.weight").T + of("dt_proj.bias"))
        a, state, rows = -of("A_log").exp(), torch.zeros(len(TOKENS), inner, states).double(), []
        for t in range(TOKENS.shape[1]):
            state = (step[:, t, :, None] * a).exp() * state + step[:, t, :, None] * b[:, t, None] * u[:, t, :, None]
            rows.append((state * c[:, t, None]).sum(-1))
        y = torch.stack(rows, 1) + of("D") * u
        x = x + (y * F.silu(gate)) @ of("out_proj.weight").T
    return norm(x, "norm_f.weight") @ w["embeddings.weight"].T


def char_rnn(width=6, hidden=10, layers=2):
    encoder, decoder = nn.Embedding(VOCABULARY, width), nn.Linear(hidden, VOCABULARY)
    rnn = nn.LSTM(width, hidden, layers, batch_first=True)
    parts = nn.ModuleDict({"encoder": encoder, "rnn": rnn, "decoder": decoder}).double()
    with torch.no_grad():
        for p, (name, parameter) in enumerate(parts.named_parameters()):
            parameter.copy_(value(p, name, tuple(parameter.shape)))
        return decoder(rnn(encoder(TOKENS))[0])


write("mamba.json", mamba())
write("char_rnn.json", char_rnn())
