"""Writes resnet50.json beside itself: what a ResNet-50 of PyTorch in float64, laid out as torchvision's, makes of made-up
images in training mode.

    python resnet50.py

Numbers are those of resnet18.py.
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


class Bottleneck(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv3 = nn.Conv2d(filters, 4 * filters, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * filters)
        self.downsample = None
        if stride != 1 or channels != 4 * filters:
            conv = nn.Conv2d(channels, 4 * filters, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * filters))

    def forward(self, x):
        inner = self.bn1(self.conv1(x)).relu()
        inner = self.bn2(self.conv2(inner)).relu()
        inner = self.bn3(self.conv3(inner))
        return (inner + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet50(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for k, blocks in enumerate([3, 4, 6, 3]):
            filters, stage = 64 << k, []
            for j in range(blocks):
                stage.append(Bottleneck(channels, filters, 2 if k > 0 and j == 0 else 1))
                channels = 4 * filters
            setattr(self, f"layer{k + 1}", nn.Sequential(*stage))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


model = ResNet50(CLASSES).double()
names = [name for name, _ in model.named_parameters()]
with torch.no_grad():
    for p, (name, parameter) in enumerate(model.named_parameters()):
        parameter.copy_(parameter_value(p, name, tuple(parameter.shape)))
    x = torch.tensor(noise(1000, BATCH * 3 * PIXELS * PIXELS).astype(np.float32)).double()
    logits = model(x.reshape(BATCH, 3, PIXELS, PIXELS))

lines = {"parameters": sum(p.numel() for p in model.parameters()), "names": names}
lines["logits"] = [float(f"{v:.9g}") for v in logits.flatten().tolist()]
text = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in lines.items())
pathlib.Path(__file__).with_name("resnet50.json").write_text("{\n" + text + "\n}\n")
