"""The workloads on PyTorch: eager, or compiled with `--mode compile`."""

import peer  # First: the clock starts when it is loaded.
import os

import torch
from torch import nn
from torch.nn import functional as F

ARGS = peer.options()
COMPILE = ARGS.mode == "compile"
NAME = "pytorch-compile" if COMPILE else "pytorch"
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
torch.manual_seed(0)
DEVICE = torch.device("cuda" if ARGS.device == "gpu" else ARGS.device)
# Products in f32, as everywhere.
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False


def wait():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def randn(*shape, dtype=torch.float32):
    return torch.randn(*shape, device=DEVICE, dtype=dtype)


def op(f, *operands):
    f = torch.compile(f) if COMPILE else f

    def step():
        with torch.no_grad():
            f(*operands)
        wait()

    return step


def matmul(a, b, dtype=torch.float32):
    return op(torch.matmul, randn(*a, dtype=dtype), randn(*b, dtype=dtype))


def chain(x):
    return torch.relu(torch.tanh(x * 1.5 + 0.5) * torch.sigmoid(x) + torch.exp(-x * x) * 0.1 - 0.05 * x)


def attention(*shape):
    q, k, v = (randn(*shape) for _ in range(3))
    return op(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), q, k, v)


def training(model, x, classes, loss):
    model = model.to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    value = torch.compile(loss, dynamic=False) if COMPILE else loss

    def step():
        optimizer.zero_grad(set_to_none=True)
        found = value(model, x, classes)
        found.backward()
        optimizer.step()
        found.item()
        wait()

    return step


def classify(model, x, classes):
    return F.cross_entropy(model(x), classes)


def targets(classes, *shape):
    count = torch.Size(shape).numel()
    return (torch.arange(count, device=DEVICE) % classes).reshape(shape)


class Block(nn.Module):
    """Basic block of ResNet-18."""

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


def resnet18():
    stage = lambda channels, filters, stride: [Block(channels, filters, stride), Block(filters, filters, 1)]
    first = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks = stage(64, 64, 1) + stage(64, 128, 2) + stage(128, 256, 2) + stage(256, 512, 2)
    return nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


class GptBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.ln_1(x)).split(width, -1)
        split = lambda t: t.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
        y = F.scaled_dot_product_attention(split(q), split(k), split(v), is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.out(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocabulary, context, width, heads, layers):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.h = nn.Sequential(*(GptBlock(width, heads) for _ in range(layers)))
        self.ln_f, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        return self.head(self.ln_f(self.h(x)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(256, 256, 2), nn.Linear(256, 10)

    def forward(self, x):
        return self.out(self.lstm(x)[0][-1])


def mlp_step():
    model = nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    )
    return training(model, randn(256, 784), targets(10, 256), classify)


def cnn_step():
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 10),
    )
    return training(model, randn(64, 1, 28, 28), targets(10, 64), classify)


def gpt_step():
    tokens = targets(256, 8, 128)
    loss = lambda model, x, y: F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    return training(Gpt(256, 128, 128, 4, 4), tokens, tokens, loss)


def gpt2_step():
    """The smallest GPT-2 under autocast to bf16, with a vocabulary of whole tiles."""
    model = Gpt(50_304, 1024, 768, 12, 12)
    model.head.weight = model.wte.weight
    tokens = targets(50_304, 8, 1024)

    def loss(model, x, y):
        with torch.autocast(DEVICE.type, torch.bfloat16):
            return F.cross_entropy(model(x).flatten(0, 1), y.flatten())

    return training(model, tokens, tokens, loss)


def resnet_block():
    return op(Block(64, 64, 1).to(DEVICE), randn(8, 64, 32, 32))


WORKLOADS = {
    "matmul_512": lambda: matmul((512, 512), (512, 512)),
    "matmul_1024": lambda: matmul((1024, 1024), (1024, 1024)),
    "matmul_2048": lambda: matmul((2048, 2048), (2048, 2048)),
    "matmul_batched_16x256": lambda: matmul((16, 256, 256), (16, 256, 256)),
    "gemv_4096": lambda: matmul((1, 4096), (4096, 4096)),
    "matmul_4096x64x4096": lambda: matmul((4096, 64), (64, 4096)),
    "matmul_4096": lambda: matmul((4096, 4096), (4096, 4096)),
    "matmul_8192": lambda: matmul((8192, 8192), (8192, 8192)),
    "matmul_4096_f16": lambda: matmul((4096, 4096), (4096, 4096), torch.float16),
    "matmul_8192_f16": lambda: matmul((8192, 8192), (8192, 8192), torch.float16),
    "chain_4m": lambda: op(chain, randn(1 << 22)),
    "chain_64m": lambda: op(chain, randn(1 << 26)),
    "softmax": lambda: op(lambda x: x.softmax(-1), randn(4096, 1024)),
    "layer_norm": lambda: op(
        lambda x, w, b: F.layer_norm(x, (1024,), w, b), randn(4096, 1024), randn(1024), randn(1024)
    ),
    "sum": lambda: op(lambda x: x.sum(), randn(4096, 1024)),
    "sum_rows": lambda: op(lambda x: x.sum(-1), randn(4096, 1024)),
    "conv": lambda: op(lambda x, w: F.conv2d(x, w, padding=1), randn(16, 32, 32, 32), randn(64, 32, 3, 3)),
    "resnet_block": resnet_block,
    "attention_512": lambda: attention(2, 8, 512, 64),
    "attention_4096": lambda: attention(1, 8, 4096, 64),
    "mlp_step": mlp_step,
    "cnn_step": cnn_step,
    "gpt_step": gpt_step,
    "gpt2_step": gpt2_step,
    "resnet18_step": lambda: training(resnet18(), randn(8, 3, 64, 64), targets(1000, 8), classify),
    "lstm_step": lambda: training(Recurrent(), randn(64, 32, 256), targets(10, 32), classify),
}

if ARGS.workload not in WORKLOADS:
    peer.unable(NAME, ARGS, "not written for this peer")
peer.run(NAME, ARGS, WORKLOADS[ARGS.workload]())
