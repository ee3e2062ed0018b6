"""Writes layers.json beside itself: what layers of PyTorch give in float64, and their derivatives.

Numbers that go in are made by a formula here as in layers.rs, so that only what comes out is kept: `out`, the
derivatives of (out · cotangent) by the inputs and the parameters, and the buffers afterwards.

    python layers.py
"""

import json
import pathlib

import torch
from torch import nn

torch.set_default_dtype(torch.float64)


def numbers(shape, seed):
    """Numbers in −1..1 that look random."""
    count = 1
    for size in shape:
        count *= size
    out = [((k * k * 31 + k * 17 + seed * 101) % 2003) / 1001.5 - 1.0 for k in range(count)]
    return torch.tensor(out).reshape(shape)


def fill(module):
    """Parameters and buffers by their names."""
    with torch.no_grad():
        for name, tensor in list(module.named_parameters()) + list(module.named_buffers()):
            if not tensor.dtype.is_floating_point:
                continue
            values = numbers(tuple(tensor.shape), sum(name.encode()))
            if "running_var" in name or name.endswith("original0"):
                values = values.abs() + 0.5
            if name.endswith(("._u", "._v")):
                values = values / values.norm()
            tensor.copy_(values)


def flat(tensor):
    return [float(f"{v:.10g}") for v in tensor.detach().flatten().tolist()]


cases = {}


def case(name, module, *inputs, run=None, train=True, second=None):
    """One layer on inputs: shapes of floats, or tensors of integers."""
    fill(module)
    module.train(train)
    run = run or (lambda m, *x: m(*x))
    given = [
        numbers(x, 1 + k).requires_grad_() if isinstance(x, tuple) else x for k, x in enumerate(inputs)
    ]
    out = run(module, *given)
    parts = out if isinstance(out, tuple) else (out,)
    loss = sum((part * numbers(tuple(part.shape), 50 + k)).sum() for k, part in enumerate(parts))
    loss.backward()
    entry = {"out": sum([flat(part) for part in parts], [])}
    for k, x in enumerate(given):
        if x.dtype.is_floating_point:
            entry[f"input.{k}"] = flat(x.grad)
    for key, parameter in module.named_parameters():
        entry[f"grad.{key}"] = flat(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    for key, buffer in module.named_buffers():
        if buffer.dtype.is_floating_point:
            entry[f"buffer.{key}"] = flat(buffer)
    assert name not in cases
    cases[name] = entry


def write(file):
    lines = []
    for name, entry in cases.items():
        inside = ", ".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in entry.items())
        lines.append(f"{json.dumps(name)}: {{{inside}}}")
    pathlib.Path(__file__).with_name(file).write_text("{\n" + ",\n".join(lines) + "\n}\n")
    cases.clear()


def norms():
    case("BatchNorm1d rows", nn.BatchNorm1d(3), (4, 3))
    case("BatchNorm1d signals", nn.BatchNorm1d(3), (2, 3, 4))
    case("BatchNorm2d", nn.BatchNorm2d(2), (2, 2, 3, 2))
    case("BatchNorm2d eval", nn.BatchNorm2d(2), (2, 2, 3, 2), train=False)
    case("BatchNorm3d", nn.BatchNorm3d(2), (2, 2, 2, 1, 3))
    cumulative = nn.BatchNorm1d(3, momentum=None)
    case("BatchNorm1d cumulative", cumulative, (4, 3), run=lambda m, x: (m(x), m(x * x))[1])
    case("BatchNorm2d plain", nn.BatchNorm2d(2, affine=False, track_running_stats=False), (2, 2, 3, 2), train=False)
    case("InstanceNorm1d", nn.InstanceNorm1d(3), (2, 3, 4))
    case("InstanceNorm2d", nn.InstanceNorm2d(2, affine=True, track_running_stats=True), (2, 2, 3, 2))
    case("InstanceNorm2d eval", nn.InstanceNorm2d(2, affine=True, track_running_stats=True), (2, 2, 3, 2), train=False)
    case("InstanceNorm3d", nn.InstanceNorm3d(2), (2, 2, 2, 1, 3))
    case("LayerNorm", nn.LayerNorm(5), (3, 5))
    case("LayerNorm 2", nn.LayerNorm((2, 3), eps=1e-3), (2, 2, 3))
    case("LayerNorm plain", nn.LayerNorm(5, elementwise_affine=False), (3, 5))
    case("RMSNorm", nn.RMSNorm(5, eps=1e-6), (3, 5))
    case("RMSNorm 2", nn.RMSNorm((2, 3), eps=1e-6), (2, 2, 3))
    case("GroupNorm", nn.GroupNorm(2, 4), (2, 4, 3))
    case("GroupNorm plain", nn.GroupNorm(2, 4, affine=False), (2, 4, 3))
    case("LocalResponseNorm", nn.LocalResponseNorm(3, alpha=0.3, beta=0.6, k=1.5), (2, 5, 3))
    weight_norm = nn.utils.parametrizations.weight_norm
    case("WeightNorm Linear", weight_norm(nn.Linear(3, 4)), (2, 3))
    case("WeightNorm Conv1d", weight_norm(nn.Conv1d(2, 3, 2), dim=1), (2, 2, 4))
    spectral_norm = nn.utils.parametrizations.spectral_norm
    case("SpectralNorm Linear", spectral_norm(nn.Linear(3, 4)), (2, 3))
    case("SpectralNorm eval", spectral_norm(nn.Linear(3, 4)), (2, 3), train=False)
    case("SpectralNorm ConvTranspose1d", spectral_norm(nn.ConvTranspose1d(2, 3, 2)), (2, 2, 4))


def activations():
    plain = [
        nn.ReLU(), nn.ReLU6(), nn.Sigmoid(), nn.LogSigmoid(), nn.Hardsigmoid(), nn.Hardswish(), nn.SiLU(), nn.Mish(),
        nn.SELU(), nn.Softsign(), nn.Tanh(), nn.Tanhshrink(), nn.ELU(0.7), nn.CELU(0.7), nn.GELU(),
        nn.Hardtanh(-0.6, 0.4), nn.LeakyReLU(), nn.Threshold(0.1, -0.3), nn.Hardshrink(), nn.Softshrink(),
        nn.Softplus(3.0, 2.0), nn.Softmax(-1), nn.LogSoftmax(1), nn.Softmin(-1), nn.GLU(1), nn.PReLU(),
    ]
    for module in plain:
        case(type(module).__name__, module, (3, 4), run=lambda m, x: m(x * 4.0))
    case("GELU tanh", nn.GELU("tanh"), (3, 4), run=lambda m, x: m(x * 4.0))
    case("PReLU channels", nn.PReLU(3), (2, 3, 2))
    case("RReLU eval", nn.RReLU(0.2, 0.4), (3, 4), train=False)
    case("Softmax2d", nn.Softmax2d(), (1, 3, 2, 2))
    halves = lambda x: x.chunk(2, -1)
    gates = {"SwiGLU": nn.functional.silu, "GeGLU": nn.functional.gelu, "ReGLU": nn.functional.relu}
    for name, gate in gates.items():
        case(name, nn.Identity(), (3, 4), run=lambda m, x: halves(x)[0] * gate(halves(x)[1]))


def pools():
    case("MaxPool1d", nn.MaxPool1d(3, stride=2, padding=1), (2, 2, 7))
    case("MaxPool2d", nn.MaxPool2d(2, ceil_mode=True), (1, 2, 5, 4))
    case("MaxPool3d", nn.MaxPool3d(2), (1, 2, 2, 4, 3))
    case("AvgPool1d", nn.AvgPool1d(3, stride=2, padding=1), (2, 2, 7))
    case("AvgPool2d", nn.AvgPool2d((2, 3), stride=1), (1, 2, 4, 4))
    case("AvgPool3d", nn.AvgPool3d(2), (1, 2, 2, 4, 3))
    # Even exponents: roots of negative sums are no numbers.
    case("LPPool1d", nn.LPPool1d(2, 3), (2, 2, 6))
    case("LPPool2d", nn.LPPool2d(4, 2), (1, 2, 4, 4))
    case("LPPool3d", nn.LPPool3d(2, 2), (1, 2, 2, 4, 2))
    case("AdaptiveAvgPool1d", nn.AdaptiveAvgPool1d(3), (2, 2, 7))
    case("AdaptiveAvgPool2d", nn.AdaptiveAvgPool2d((2, 3)), (1, 2, 5, 4))
    case("AdaptiveAvgPool3d", nn.AdaptiveAvgPool3d((1, 2, 2)), (1, 2, 2, 3, 3))
    case("AdaptiveMaxPool1d", nn.AdaptiveMaxPool1d(3), (2, 2, 7))
    case("AdaptiveMaxPool2d", nn.AdaptiveMaxPool2d((2, 3)), (1, 2, 5, 4))
    case("AdaptiveMaxPool3d", nn.AdaptiveMaxPool3d((1, 2, 2)), (1, 2, 2, 3, 3))


def shapes():
    case("Flatten", nn.Flatten(), (2, 2, 3))
    case("Unflatten", nn.Unflatten(1, (2, 3)), (2, 6, 2))
    case("Identity", nn.Identity(), (2, 3))
    case("PixelShuffle", nn.PixelShuffle(2), (1, 4, 2, 2))
    case("PixelUnshuffle", nn.PixelUnshuffle(2), (1, 1, 4, 4))
    case("ChannelShuffle", nn.ChannelShuffle(2), (1, 6, 2))
    case("Upsample nearest", nn.Upsample(scale_factor=2), (1, 2, 3))
    case("Upsample bilinear", nn.Upsample(size=(5, 3), mode="bilinear"), (1, 2, 3, 2))
    case("Upsample bicubic", nn.Upsample(size=(5, 4), mode="bicubic", align_corners=True), (1, 1, 3, 3))
    case("ConstantPad1d", nn.ConstantPad1d((1, 2), 0.5), (1, 2, 3))
    case("ZeroPad2d", nn.ZeroPad2d((1, 0, 2, 1)), (1, 2, 2, 2))
    case("ReflectionPad2d", nn.ReflectionPad2d((1, 2, 1, 1)), (1, 1, 3, 4))
    case("ReplicationPad3d", nn.ReplicationPad3d((1, 0, 0, 1, 2, 1)), (1, 1, 2, 2, 2))
    case("CircularPad1d", nn.CircularPad1d((2, 1)), (1, 2, 3))


def products():
    case("Linear", nn.Linear(3, 4), (2, 2, 3))
    case("Bilinear", nn.Bilinear(3, 2, 4), (2, 3), (2, 2))
    case("Conv1d", nn.Conv1d(2, 3, 3, stride=2, padding=1), (2, 2, 5))
    case("Conv2d", nn.Conv2d(2, 4, (2, 3), padding=(1, 0), groups=2), (1, 2, 3, 4))
    case("Conv3d", nn.Conv3d(1, 2, 2, dilation=(1, 1, 2)), (1, 1, 2, 3, 4))
    case("ConvTranspose1d", nn.ConvTranspose1d(2, 3, 3, stride=2, padding=1, output_padding=1), (1, 2, 4))
    case("ConvTranspose2d", nn.ConvTranspose2d(2, 2, 2, groups=2), (1, 2, 2, 3))
    case("ConvTranspose3d", nn.ConvTranspose3d(1, 2, 2, bias=False), (1, 1, 2, 2, 2))
    ids = torch.tensor([[1, 0, 3], [2, 1, 1]])
    case("Embedding", nn.Embedding(5, 3), ids)
    case("Embedding padding", nn.Embedding(5, 3, padding_idx=1), ids)
    for mode in ["sum", "mean", "max"]:
        case(f"EmbeddingBag {mode}", nn.EmbeddingBag(5, 3, mode=mode), ids)
        case(f"EmbeddingBag {mode} padding", nn.EmbeddingBag(5, 3, mode=mode, padding_idx=1), ids)
        offsets = torch.tensor([0, 2, 2, 5])
        run = lambda m, x: m(x.flatten(), offsets)
        case(f"EmbeddingBag {mode} offsets", nn.EmbeddingBag(5, 3, mode=mode), ids, run=run)
    run = lambda m, x, w: m(x, per_sample_weights=w)
    case("EmbeddingBag weighted", nn.EmbeddingBag(5, 3, mode="sum"), ids, (2, 3), run=run)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Sequential(nn.Linear(4, 2), nn.Sigmoid()))
    case("Sequential", net, (2, 3))


def recurrent():
    steps, batch, inputs, hidden = 4, 3, 2, 3
    lengths = torch.tensor([4, 1, 3])

    def run(m, x, *start):
        start = (start if len(start) == 2 else start[0]) if start else None
        outputs, last = m(x, start)
        return (outputs, *last) if isinstance(last, tuple) else (outputs, last)

    def packed(m, x, *start):
        start = (start if len(start) == 2 else start[0]) if start else None
        first = m.batch_first
        rows = nn.utils.rnn.pack_padded_sequence(x, lengths, first, enforce_sorted=False)
        outputs, last = m(rows, start)
        outputs, _ = nn.utils.rnn.pad_packed_sequence(outputs, first, total_length=steps)
        return (outputs, *last) if isinstance(last, tuple) else (outputs, last)

    x, two = (steps, batch, inputs), dict(num_layers=2, bidirectional=True)
    h = (4, batch, hidden)
    case("RNN", nn.RNN(inputs, hidden, 2), x, run=run)
    case("RNN relu packed", nn.RNN(inputs, hidden, nonlinearity="relu", bias=False, **two), x, h, run=packed)
    case("LSTM", nn.LSTM(inputs, hidden, **two), x, h, h, run=run)
    case("LSTM packed", nn.LSTM(inputs, hidden, batch_first=True, **two), (batch, steps, inputs), run=packed)
    case("LSTM packed start", nn.LSTM(inputs, hidden, **two), x, h, h, run=packed)
    case("LSTM projected", nn.LSTM(inputs, hidden, proj_size=2, **two), x, run=packed)
    case("GRU", nn.GRU(inputs, hidden, **two), x, h, run=run)
    case("GRU packed", nn.GRU(inputs, hidden, **two), x, h, run=packed)
    case("GRU no bias", nn.GRU(inputs, hidden, bias=False), x, run=run)
    case("RNNCell", nn.RNNCell(inputs, hidden), (batch, inputs), (batch, hidden))
    case("LSTMCell", nn.LSTMCell(inputs, hidden), (batch, inputs), run=lambda m, x: m(x, m(x)))
    case("GRUCell", nn.GRUCell(inputs, hidden, bias=False), (batch, inputs), (batch, hidden))


def attention():
    width, heads, batch, t, s = 4, 2, 2, 3, 4
    padding = torch.tensor([[False, False, False, True], [False, False, False, False]])
    unseen = torch.tensor([[False, True, False, False], [False, False, True, True], [True, False, False, False]])
    future = torch.triu(torch.ones(t, t, dtype=torch.bool), 1)
    q, kv = (batch, t, width), (batch, s, width)
    first = dict(batch_first=True)
    case("Multihead", nn.MultiheadAttention(width, heads), (t, batch, width), run=lambda m, x: m(x, x, x))
    run = lambda m, q, k, v: m(q, k, v, key_padding_mask=padding, attn_mask=unseen, average_attn_weights=False)
    case("Multihead masks", nn.MultiheadAttention(width, heads, **first), q, kv, kv, run=run)
    run = lambda m, q, k, v, bias: m(q, k, v, attn_mask=bias, need_weights=False)[0]
    other = nn.MultiheadAttention(width, heads, kdim=3, vdim=5, **first)
    case("Multihead dims", other, q, (batch, s, 3), (batch, s, 5), (batch * heads, t, s), run=run)
    run = lambda m, x: m(x, x, x, attn_mask=future, is_causal=True, need_weights=False)[0]
    case("Multihead causal", nn.MultiheadAttention(width, heads, bias=False, **first), q, run=run)
    small = dict(dim_feedforward=5, dropout=0.0)
    case("EncoderLayer", nn.TransformerEncoderLayer(width, heads, **small), (t, batch, width))
    layer = nn.TransformerEncoderLayer(width, heads, norm_first=True, activation="gelu", **first, **small)
    run = lambda m, x: m(x, src_key_padding_mask=padding[:, 1:], src_mask=future)
    case("EncoderLayer masks", layer, q, run=run)
    layer = nn.TransformerDecoderLayer(width, heads, **first, **small)
    run = lambda m, x, memory: m(x, memory, tgt_mask=future, memory_key_padding_mask=padding)
    case("DecoderLayer", layer, q, kv, run=run)
    layer = nn.TransformerDecoderLayer(width, heads, norm_first=True, bias=False, **first, **small)
    case("DecoderLayer norm first", layer, q, kv)
    model = nn.Transformer(width, heads, 1, 2, **first, **small)
    case("Transformer", model, kv, q, run=lambda m, a, b: m(a, b, tgt_mask=future))


def bases(x, low=-1.0, high=1.0, intervals=5, degree=3):
    """Cox-de Boor with the knots as a list, as in efficient-kan."""
    step = (high - low) / intervals
    knots = torch.arange(-degree, intervals + degree + 1) * step + low
    x = x.unsqueeze(-1)
    out = ((x >= knots[:-1]) & (x < knots[1:])).to(x.dtype)
    for k in range(1, degree + 1):
        left = (x - knots[: -(k + 1)]) / (knots[k:-1] - knots[: -(k + 1)]) * out[..., :-1]
        right = (knots[k + 1 :] - x) / (knots[k + 1 :] - knots[1:-k]) * out[..., 1:]
        out = left + right
    return out


class Spline(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.base = nn.Parameter(torch.zeros(features))
        self.coefficients = nn.Parameter(torch.zeros(features, 8))

    def forward(self, x):
        return self.base * nn.functional.silu(x) + (bases(x) * self.coefficients).sum(-1)


class Kan(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.base_weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.spline_weight = nn.Parameter(torch.zeros(outputs, inputs, 8))

    def forward(self, x):
        spline = torch.einsum("bik,oik->bo", bases(x), self.spline_weight)
        return nn.functional.silu(x) @ self.base_weight.T + spline


class Experts(nn.Module):
    """Row by row, choice by choice."""

    def __init__(self, width, experts, top_k, factor=None):
        super().__init__()
        self.gate = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList([nn.Linear(width, width) for _ in range(experts)])
        self.top_k, self.factor = top_k, factor

    def forward(self, x):
        rows, count, k = x.reshape(-1, x.shape[-1]), len(self.experts), self.top_k
        probabilities = self.gate(rows).softmax(-1)
        weight, chosen = probabilities.topk(k, -1)
        if k > 1:
            weight = weight / weight.sum(-1, keepdim=True)
        room = len(rows) if self.factor is None else -int(-(self.factor * k * len(rows) / count) // 1)
        used, out = [0] * count, [torch.zeros(x.shape[-1]) for _ in rows]
        for choice in range(k):
            for row in range(len(rows)):
                expert = int(chosen[row, choice])
                if used[expert] < room:
                    out[row] = out[row] + weight[row, choice] * self.experts[expert](rows[row])
                used[expert] += 1
        share = torch.bincount(chosen.flatten(), minlength=count) / chosen.numel()
        return torch.stack(out).reshape(x.shape), (share * probabilities.mean(0)).sum() * count


class LoraReference(nn.Module):
    def __init__(self):
        super().__init__()
        self.base_layer, self.lora_A, self.lora_B = nn.Linear(4, 3), nn.Linear(4, 2, bias=False), nn.Linear(2, 3, bias=False)

    def forward(self, x):
        return self.base_layer(x) + self.lora_B(self.lora_A(x)) * 1.5


class AdapterReference(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(4, 2), nn.Linear(2, 4)

    def forward(self, x):
        return x + self.up(torch.tanh(self.down(x)))


def others():
    case("SplineActivation", Spline(3), (4, 3), run=lambda m, x: m(x * 1.3))
    case("SplineActivation shared", Spline(1), (2, 5))
    case("KanLinear", Kan(3, 2), (4, 3))
    case("MixtureOfExperts 2", Experts(4, 3, 2), (2, 3, 4), run=lambda m, x: m(x * 2))
    case("MixtureOfExperts 1", Experts(4, 3, 1, 0.75), (5, 4), run=lambda m, x: m(x * 2))
    case("MixtureOfExperts full", Experts(4, 2, 2, 0.6), (5, 4), run=lambda m, x: m(x * 2))
    case("Adapter", AdapterReference(), (3, 4))
    # What is frozen has no derivative, and stands among the buffers.
    lora = LoraReference()
    case("Lora", lora, (3, 4))
    for key in ["weight", "bias"]:
        del cases["Lora"][f"grad.base_layer.{key}"]
        cases["Lora"][f"buffer.base_layer.{key}"] = flat(getattr(lora.base_layer, key))


if __name__ == "__main__":
    for part in [norms, activations, pools, shapes, products]:
        part()
    write("layers.json")
    recurrent()
    write("recurrent.json")
    attention()
    write("attention.json")
    others()
    write("others.json")
