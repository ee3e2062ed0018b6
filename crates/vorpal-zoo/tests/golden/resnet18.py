"""Writes resnet18.json beside itself: a step of a ResNet-18 of PyTorch in float64 on made-up numbers.

    python resnet18.py

Number i of parameter p (in the order of the file of weights, buffers left out) and of the images (parameter 1000) is
`noise(p, i)`, scaled as `parameter_value` says, so that no file of eleven million numbers is needed.
"""

import json
import pathlib

import numpy as np
import torch
from torch import nn

CLASSES, BATCH, PIXELS = 10, 4, 64


def noise(p, n):
    """n numbers from -1 to 1."""
    word = np.uint64(0xFFFFFFFF)
    x = (np.arange(n, dtype=np.uint64) + np.uint64(p * 1000003)) * np.uint64(2654435761) & word
    x ^= x >> np.uint64(15)
    x = x * np.uint64(2246822519) & word
    x ^= x >> np.uint64(13)
    return x.astype(np.float64) / 2.0**31 - 1.0


def parameter_value(p, name, shape):
    values = noise(p, int(np.prod(shape)))
    if len(shape) > 1:
        values = values * np.sqrt(6.0 / np.prod(shape[1:]))
    elif name.endswith("weight"):
        values = 1.0 + 0.2 * values
    else:
        values = 0.1 * values
    return torch.tensor(values.astype(np.float32)).reshape(shape).double()


class Block(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.downsample = None
        if stride != 1 or channels != filters:
            conv = nn.Conv2d(channels, filters, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(filters))

    def forward(self, x):
        inner = self.bn1(self.conv1(x)).relu()
        inner = self.bn2(self.conv2(inner))
        return (inner + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet18(nn.Module):
    def __init__(self, classes):
        super().__init__()
        stage = lambda channels, filters, stride: nn.Sequential(
            Block(channels, filters, stride), Block(filters, filters, 1)
        )
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(64, 64, 1)
        self.layer2 = stage(64, 128, 2)
        self.layer3 = stage(128, 256, 2)
        self.layer4 = stage(256, 512, 2)
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


model = ResNet18(CLASSES).double()
with torch.no_grad():
    for p, (name, parameter) in enumerate(model.named_parameters()):
        parameter.copy_(parameter_value(p, name, tuple(parameter.shape)))
x = torch.tensor(noise(1000, BATCH * 3 * PIXELS * PIXELS).astype(np.float32)).double()
logits = model(x.reshape(BATCH, 3, PIXELS, PIXELS))
loss = nn.functional.cross_entropy(logits, torch.arange(BATCH))
loss.backward()

lines = {"logits": logits.flatten().tolist(), "loss": [loss.item()]}
for name, parameter in model.named_parameters():
    grad = parameter.grad
    lines[name] = [parameter.numel(), grad.square().sum().item(), (grad.flatten() * torch.tensor(noise(2000, grad.numel()))).sum().item()]
for name, buffer in model.named_buffers():
    if not name.endswith("num_batches_tracked"):
        lines[name] = [buffer.numel(), buffer.square().sum().item(), buffer.sum().item()]
short = lambda v: [float(f"{x:.9g}") for x in v]
text = ",\n".join(f"{json.dumps(k)}: {json.dumps(short(v))}" for k, v in lines.items())
pathlib.Path(__file__).with_name("resnet18.json").write_text("{\n" + text + "\n}\n")
