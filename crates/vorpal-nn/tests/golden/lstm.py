"""Writes lstm.json beside itself: an LSTM of PyTorch in float64, its outputs, last states and derivatives.

    python lstm.py
"""

import json
import pathlib

import torch

STEPS, BATCH, INPUTS, HIDDEN, LAYERS = 5, 2, 3, 4, 2

torch.manual_seed(7)
# Few digits, so that float32 starts from nearly the same numbers.
draw = lambda *shape: torch.randn(*shape).round(decimals=4).double()

lstm = torch.nn.LSTM(INPUTS, HIDDEN, LAYERS).double()
with torch.no_grad():
    for parameter in lstm.parameters():
        parameter.copy_(0.5 * draw(*parameter.shape))
x = draw(STEPS, BATCH, INPUTS).requires_grad_()
start = [draw(LAYERS, BATCH, HIDDEN).requires_grad_() for _ in range(2)]
# What the outputs are multiplied with for the loss.
weight = draw(STEPS, BATCH, HIDDEN)

outputs, (h, c) = lstm(x, tuple(start))
loss = (outputs * weight).sum() + h.square().sum() + c.sum()
loss.backward()

flat = lambda tensor: [round(v, 12) for v in tensor.detach().flatten().tolist()]
lines = {
    "sizes": [STEPS, BATCH, INPUTS, HIDDEN, LAYERS],
    "x": flat(x),
    "h_0": flat(start[0]),
    "c_0": flat(start[1]),
    "weight": flat(weight),
    "outputs": flat(outputs),
    "h_n": flat(h),
    "c_n": flat(c),
    "loss": [loss.item()],
    "grad.x": flat(x.grad),
    "grad.h_0": flat(start[0].grad),
    "grad.c_0": flat(start[1].grad),
}
for name, parameter in lstm.named_parameters():
    lines[name] = flat(parameter)
    lines[f"grad.{name}"] = flat(parameter.grad)
text = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in lines.items())
pathlib.Path(__file__).with_name("lstm.json").write_text("{\n" + text + "\n}\n")
