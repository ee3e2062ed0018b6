"""The workloads on tinygrad: on the processor (`CPU`), or on an adapter through WebGPU. Steps are captured with its JIT."""

import peer  # First: the clock starts when it is loaded.
import os

ARGS = peer.options()
os.environ["DEV"] = "CPU" if ARGS.device == "cpu" else "WEBGPU"
os.environ.setdefault("BEAM", "0")

try:
    from tinygrad import Device, Tensor, TinyJit, nn

    Tensor.ones(2).contiguous().realize()
except Exception as error:  # No device, or no library for it.
    peer.unable("tinygrad", ARGS, f"{type(error).__name__}: {error}".splitlines()[0][:200])


def op(f, *shapes):
    operands = [Tensor.randn(*shape).contiguous().realize() for shape in shapes]
    compiled = TinyJit(lambda *x: f(*x).realize())

    def step():
        compiled(*operands)
        Device[Device.DEFAULT].synchronize()

    return step


def chain(x):
    return ((x * 1.5 + 0.5).tanh() * x.sigmoid() + (-x * x).exp() * 0.1 - 0.05 * x).relu()


def attention(*shape):
    return op(lambda q, k, v: q.scaled_dot_product_attention(k, v, is_causal=True), shape, shape, shape)


def training(parameters, loss):
    optimizer = nn.optim.AdamW(parameters, lr=1e-3)

    @TinyJit
    def compiled():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value.realize(*optimizer.schedule_step())

    def step():
        with Tensor.train():
            compiled().item()
        Device[Device.DEFAULT].synchronize()

    return step


def targets(classes, count):
    return (Tensor.arange(count) % classes).contiguous().realize()


def mlp_step():
    layers = [nn.Linear(784, 512), nn.Linear(512, 512), nn.Linear(512, 10)]
    x, classes = Tensor.randn(256, 784).realize(), targets(10, 256)
    forward = lambda: layers[2](layers[1](layers[0](x).relu()).relu())
    parameters = [p for layer in layers for p in nn.state.get_parameters(layer)]
    return training(parameters, lambda: forward().sparse_categorical_crossentropy(classes))


def cnn_step():
    first, second = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
    out = nn.Linear(64 * 7 * 7, 10)
    x, classes = Tensor.randn(64, 1, 28, 28).realize(), targets(10, 64)
    forward = lambda: out(second(first(x).relu().max_pool2d()).relu().max_pool2d().flatten(1))
    parameters = [p for layer in (first, second, out) for p in nn.state.get_parameters(layer)]
    return training(parameters, lambda: forward().sparse_categorical_crossentropy(classes))


WIDTH, HEADS, LENGTH, BATCH, VOCABULARY = 128, 4, 128, 8, 256


class Block:
    def __init__(self):
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc, self.out = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def __call__(self, x):
        split = lambda t: t.reshape(BATCH, LENGTH, HEADS, WIDTH // HEADS).transpose(1, 2)
        q, k, v = map(split, self.qkv(self.ln_1(x)).chunk(3, dim=-1))
        y = q.scaled_dot_product_attention(k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(BATCH, LENGTH, WIDTH))
        return x + self.out(self.fc(self.ln_2(x)).gelu())


class Gpt:
    def __init__(self):
        self.wte, self.wpe = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.h = [Block() for _ in range(4)]
        self.ln_f, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def __call__(self, tokens):
        x = self.wte(tokens) + self.wpe.weight
        return self.head(self.ln_f(x.sequential(self.h)))


def gpt_step():
    model, tokens = Gpt(), targets(VOCABULARY, BATCH * LENGTH).reshape(BATCH, LENGTH)
    loss = lambda: model(tokens).flatten(0, 1).sparse_categorical_crossentropy(tokens.flatten())
    return training(nn.state.get_parameters(model), loss)


ROWS = (4096, 1024)
WORKLOADS = {
    "matmul_512": lambda: op(Tensor.matmul, (512, 512), (512, 512)),
    "matmul_1024": lambda: op(Tensor.matmul, (1024, 1024), (1024, 1024)),
    "matmul_2048": lambda: op(Tensor.matmul, (2048, 2048), (2048, 2048)),
    "matmul_batched_16x256": lambda: op(Tensor.matmul, (16, 256, 256), (16, 256, 256)),
    "gemv_4096": lambda: op(Tensor.matmul, (1, 4096), (4096, 4096)),
    "matmul_4096x64x4096": lambda: op(Tensor.matmul, (4096, 64), (64, 4096)),
    "chain_4m": lambda: op(chain, (1 << 22,)),
    "softmax": lambda: op(lambda x: x.softmax(-1), ROWS),
    "layer_norm": lambda: op(lambda x, w, b: x.layernorm(eps=1e-5) * w + b, ROWS, (1024,), (1024,)),
    "sum": lambda: op(lambda x: x.sum(), ROWS),
    "sum_rows": lambda: op(lambda x: x.sum(-1), ROWS),
    "conv": lambda: op(lambda x, w: x.conv2d(w, padding=1), (16, 32, 32, 32), (64, 32, 3, 3)),
    "attention_512": lambda: attention(2, 8, 512, 64),
    "mlp_step": mlp_step,
    "cnn_step": cnn_step,
    "gpt_step": gpt_step,
}

if ARGS.workload not in WORKLOADS:
    peer.unable("tinygrad", ARGS, "not written for this peer")
try:
    step = WORKLOADS[ARGS.workload]()
    step()
except Exception as error:
    peer.unable("tinygrad", ARGS, f"{type(error).__name__}: {error}".splitlines()[0][:200])
peer.run("tinygrad", ARGS, step)
