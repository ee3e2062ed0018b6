#!/usr/bin/env python3
"""Runs single ops of many kinds natively in Vorpal and in PyTorch and prints a table of both.

    cargo build --release --bin survey
    benches/survey.py             # all of them, five minutes
    benches/survey.py conv topk   # those whose names have one of these parts

Both have two threads. Times are medians; the second is with the derivative of the sum of the result times random numbers.
Needs torch.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "survey"
SECONDS = 0.5


def normal(*shape):
    return torch.randn(*shape)


def indices(shape, below):
    return torch.randint(0, below, shape)


# Operands, by how many of them the derivative is taken, and the op. As in src/bin/survey.rs.
OPS = {
    "cumsum_last": (lambda: [normal(1024, 4096)], 1, lambda x: x[0].cumsum(-1)),
    "cumsum_first": (lambda: [normal(4096, 1024)], 1, lambda x: x[0].cumsum(0)),
    "cumprod": (lambda: [normal(1024, 1024)], 0, lambda x: x[0].cumprod(-1)),
    "cummax": (lambda: [normal(1024, 1024)], 0, lambda x: x[0].cummax(-1)[0]),
    "sort_rows": (lambda: [normal(1024, 1024)], 0, lambda x: x[0].sort(-1)[0]),
    "sort_1m": (lambda: [normal(1 << 20)], 0, lambda x: x[0].sort(-1)[0]),
    "topk_8_of_50k": (lambda: [normal(64, 50000)], 0, lambda x: x[0].topk(8)[0]),
    "topk_8_of_1k": (lambda: [normal(4096, 1024)], 0, lambda x: x[0].topk(8)[0]),
    "median": (lambda: [normal(1024, 1024)], 0, lambda x: x[0].median(-1)[0]),
    "bincount": (lambda: [indices((1 << 20, ), 1000)], 0, lambda x: x[0].bincount(minlength=1000)),
    "searchsorted": (lambda: [torch.linspace(-3, 3, 4096), normal(1 << 20)], 0, lambda x: torch.searchsorted(x[0], x[1])),
    "argmax": (lambda: [normal(4096, 1024)], 0, lambda x: x[0].argmax(-1)),
    "argmax_first": (lambda: [normal(1024, 4096)], 0, lambda x: x[0].argmax(0)),
    "max_first": (lambda: [normal(1024, 4096)], 0, lambda x: x[0].amax(0)),
    "sum_first": (lambda: [normal(1024, 4096)], 0, lambda x: x[0].sum(0)),
    "sum_middle": (lambda: [normal(64, 256, 256)], 0, lambda x: x[0].sum(1)),
    "mean_of_channels": (lambda: [normal(16, 64, 56, 56)], 1, lambda x: x[0].mean((0, 2, 3))),
    "sum_short": (lambda: [normal(512, 512, 3, 4)], 0, lambda x: x[0].sum(2)),
    "var": (lambda: [normal(4096, 1024)], 1, lambda x: x[0].var(-1)),
    "norm": (lambda: [normal(4096, 1024)], 1, lambda x: x[0].norm(2, -1)),
    "logsumexp": (lambda: [normal(4096, 1024)], 1, lambda x: x[0].logsumexp(-1)),
    "log_softmax": (lambda: [normal(512, 50257)], 1, lambda x: x[0].log_softmax(-1)),
    "cross_entropy_50k": (lambda: [normal(512, 50257), indices((512,), 50257)], 1, lambda x: F.cross_entropy(x[0], x[1])),
    "cross_entropy_128k": (lambda: [normal(256, 128256), indices((256,), 128256)], 1, lambda x: F.cross_entropy(x[0], x[1])),
    "softmax_of_50k": (lambda: [normal(1, 50257)], 0, lambda x: x[0].softmax(-1)),
    "transpose": (lambda: [normal(2048, 2048)], 0, lambda x: x[0].t().contiguous()),
    "permute_0213": (lambda: [normal(16, 128, 8, 64)], 0, lambda x: x[0].permute(0, 2, 1, 3).contiguous()),
    "permute_nchw_nhwc": (lambda: [normal(16, 64, 56, 56)], 0, lambda x: x[0].permute(0, 2, 3, 1).contiguous()),
    "concat_last": (lambda: [normal(2048, 512), normal(2048, 512)], 0, lambda x: torch.cat(x, -1)),
    "pad": (lambda: [normal(16, 64, 56, 56)], 0, lambda x: F.pad(x[0], (1, 1, 1, 1))),
    "roll": (lambda: [normal(2048, 1024)], 0, lambda x: x[0].roll(7, -1)),
    "repeat_interleave": (lambda: [normal(1024, 1024)], 1, lambda x: x[0].repeat_interleave(4, 0)),
    "tril": (lambda: [normal(2048, 2048)], 0, lambda x: x[0].tril()),
    "one_hot": (lambda: [indices((8192,), 1000)], 0, lambda x: F.one_hot(x[0], 1000).float()),
    "pixel_shuffle": (lambda: [normal(8, 64, 64, 64)], 1, lambda x: F.pixel_shuffle(x[0], 2)),
    "unfold2d": (lambda: [normal(8, 32, 56, 56)], 1, lambda x: F.unfold(x[0], 3)),
    "index_select": (lambda: [normal(50000, 256), indices((8192,), 50000)], 1, lambda x: x[0].index_select(0, x[1])),
    "embedding": (lambda: [normal(50000, 256), indices((32, 128), 50000)], 1, lambda x: F.embedding(x[1], x[0])),
    "gather_last": (lambda: [normal(4096, 1024), indices((4096, 256), 1024)], 1, lambda x: x[0].gather(-1, x[1])),
    "gather_first": (lambda: [normal(4096, 1024), indices((256, 1024), 4096)], 1, lambda x: x[0].gather(0, x[1])),
    "scatter_add_first": (lambda: [normal(4096, 256), indices((16384, 256), 4096), normal(16384, 256)], 0, lambda x: x[0].scatter_add(0, x[1], x[2])),
    "index_add": (lambda: [normal(4096, 256), indices((65536,), 4096), normal(65536, 256)], 0, lambda x: x[0].index_add(0, x[1], x[2])),
    "segment_sum": (lambda: [normal(65536, 64), indices((65536,), 4096)], 1, lambda x: torch.zeros(4096, 64).index_add(0, x[1], x[0])),
    "gelu": (lambda: [normal(4096, 1024)], 1, lambda x: F.gelu(x[0])),
    "silu": (lambda: [normal(4096, 1024)], 1, lambda x: F.silu(x[0])),
    "tanh": (lambda: [normal(4096, 1024)], 1, lambda x: x[0].tanh()),
    "sin": (lambda: [normal(4096, 1024)], 1, lambda x: x[0].sin()),
    "log": (lambda: [normal(4096, 1024)], 0, lambda x: x[0].abs().log()),
    "pow": (lambda: [normal(4096, 1024)], 0, lambda x: x[0].abs().pow(1.7)),
    "erf": (lambda: [normal(4096, 1024)], 0, lambda x: x[0].erf()),
    "sqrt": (lambda: [normal(4096, 1024)], 0, lambda x: x[0].abs().sqrt()),
    "add_row": (lambda: [normal(4096, 1024), normal(1024)], 2, lambda x: x[0]+x[1]),
    "mul_column": (lambda: [normal(4096, 1024), normal(4096, 1)], 2, lambda x: x[0]*x[1]),
    "where": (lambda: [normal(4096, 1024)], 1, lambda x: torch.where(x[0]>0, x[0], 0.0)),
    "to_f16": (lambda: [normal(4096, 1024)], 0, lambda x: x[0].half()),
    "to_bf16": (lambda: [normal(4096, 1024)], 0, lambda x: x[0].bfloat16()),
    "group_norm": (lambda: [normal(8, 64, 56, 56), normal(64), normal(64)], 3, lambda x: F.group_norm(x[0], 8, x[1], x[2])),
    "instance_norm": (lambda: [normal(8, 64, 224, 224)], 1, lambda x: F.instance_norm(x[0])),
    "layer_norm_768": (lambda: [normal(4096, 768), normal(768), normal(768)], 3, lambda x: F.layer_norm(x[0], (768,), x[1], x[2])),
    "rms_norm": (lambda: [normal(4096, 768), normal(768)], 2, lambda x: F.rms_norm(x[0], (768,), x[1])),
    "max_pool2d": (lambda: [normal(16, 64, 112, 112)], 1, lambda x: F.max_pool2d(x[0], 2)),
    "max_pool_3_2": (lambda: [normal(16, 64, 56, 56)], 1, lambda x: F.max_pool2d(x[0], 3, 2, 1)),
    "avg_pool2d": (lambda: [normal(16, 64, 112, 112)], 1, lambda x: F.avg_pool2d(x[0], 2)),
    "adaptive_avg": (lambda: [normal(16, 64, 56, 56)], 1, lambda x: F.adaptive_avg_pool2d(x[0], 7)),
    "bilinear_up2": (lambda: [normal(8, 32, 64, 64)], 1, lambda x: F.interpolate(x[0], (128, 128), mode="bilinear")),
    "nearest_up2": (lambda: [normal(8, 32, 64, 64)], 1, lambda x: F.interpolate(x[0], (128, 128))),
    "conv1d": (lambda: [normal(16, 64, 1024), normal(64, 64, 5)], 2, lambda x: F.conv1d(x[0], x[1], padding=2)),
    "conv_depthwise_3": (lambda: [normal(8, 128, 56, 56), normal(128, 1, 3, 3)], 2, lambda x: F.conv2d(x[0], x[1], padding=1, groups=128)),
    "conv_depthwise_7": (lambda: [normal(8, 96, 56, 56), normal(96, 1, 7, 7)], 2, lambda x: F.conv2d(x[0], x[1], padding=3, groups=96)),
    "conv1d_depthwise_4": (lambda: [normal(8, 1024, 512), normal(1024, 1, 4)], 2, lambda x: F.conv1d(x[0], x[1], padding=3, groups=1024)),
    "conv_1x1": (lambda: [normal(8, 256, 28, 28), normal(256, 256, 1, 1)], 2, lambda x: F.conv2d(x[0], x[1])),
    "conv_stride2": (lambda: [normal(8, 64, 56, 56), normal(128, 64, 3, 3)], 2, lambda x: F.conv2d(x[0], x[1], padding=1, stride=2)),
    "conv_7_rgb": (lambda: [normal(8, 3, 224, 224), normal(64, 3, 7, 7)], 2, lambda x: F.conv2d(x[0], x[1], padding=3, stride=2)),
    "conv_patch16": (lambda: [normal(8, 3, 224, 224), normal(384, 3, 16, 16)], 2, lambda x: F.conv2d(x[0], x[1], stride=16)),
    "conv_dilated": (lambda: [normal(8, 64, 56, 56), normal(64, 64, 3, 3)], 2, lambda x: F.conv2d(x[0], x[1], padding=2, dilation=2)),
    "conv_groups4": (lambda: [normal(8, 128, 56, 56), normal(128, 32, 3, 3)], 2, lambda x: F.conv2d(x[0], x[1], padding=1, groups=4)),
    "conv3d": (lambda: [normal(2, 16, 16, 32, 32), normal(32, 16, 3, 3, 3)], 2, lambda x: F.conv3d(x[0], x[1], padding=1)),
    "conv_transpose2d": (lambda: [normal(8, 64, 28, 28), normal(64, 32, 4, 4)], 2, lambda x: F.conv_transpose2d(x[0], x[1], stride=2, padding=1)),
    "einsum_bij": (lambda: [normal(32, 128, 64), normal(32, 256, 64)], 2, lambda x: torch.einsum("bij, bkj->bik", *x)),
    "einsum_bhqk": (lambda: [normal(8, 128, 8, 64), normal(8, 128, 8, 64)], 2, lambda x: torch.einsum("bqhd, bkhd->bhqk", *x)),
    "bmm_small": (lambda: [normal(1024, 16, 16), normal(1024, 16, 16)], 2, lambda x: x[0]@x[1]),
    "matmul_8x1024": (lambda: [normal(8, 1024), normal(1024, 1024)], 2, lambda x: x[0]@x[1]),
    "matmul_256": (lambda: [normal(256, 256), normal(256, 256)], 2, lambda x: x[0]@x[1]),
    "matmul_64": (lambda: [normal(64, 64), normal(64, 64)], 0, lambda x: x[0]@x[1]),
    "attention_causal": (lambda: [normal(4, 8, 256, 64), normal(4, 8, 256, 64), normal(4, 8, 256, 64)], 3, lambda x: F.scaled_dot_product_attention(*x, is_causal=True)),
    "attention_decode": (lambda: [normal(1, 12, 1, 64), normal(1, 12, 1024, 64), normal(1, 12, 1024, 64)], 0, lambda x: F.scaled_dot_product_attention(*x)),
    "cdist": (lambda: [normal(1024, 64), normal(1024, 64)], 1, lambda x: torch.cdist(x[0], x[1])),
    "cdist_l1": (lambda: [normal(512, 64), normal(512, 64)], 1, lambda x: torch.cdist(x[0], x[1], 1.0)),
    "fft_1024": (lambda: [normal(1024, 1024)], 0, lambda x: torch.fft.rfft(x[0])),
    "fft_64k": (lambda: [normal(16, 65536)], 0, lambda x: torch.fft.rfft(x[0])),
    "solve_256": (lambda: [normal(256, 256), normal(256, 16)], 1, lambda x: torch.linalg.solve(x[0], x[1])),
    "inv_64x32": (lambda: [normal(64, 32, 32)], 1, lambda x: torch.linalg.inv(x[0])),
    "qr_256": (lambda: [normal(256, 64)], 0, lambda x: torch.linalg.qr(x[0])[1]),
}


def median(run):
    for _ in range(3):
        run()
    times, begin = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def pytorch(name):
    operands, variables, op = OPS[name]
    x = operands()
    with torch.no_grad():
        forward = median(lambda: op(x))
    if not variables:
        return forward, 0.0
    at = [t.clone().requires_grad_() for t in x[:variables]]
    cotangent = torch.randn_like(op(x))

    def both():
        for t in at:
            t.grad = None
        (op(at + x[variables:]) * cotangent).sum().backward()

    return forward, median(both)


def main():
    torch.set_num_threads(2)
    environment = {**os.environ, "RAYON_NUM_THREADS": "2"}
    out = subprocess.run([PROGRAM, *sys.argv[1:]], check=True, capture_output=True, text=True, env=environment).stdout
    print("| op | Vorpal ms | PyTorch ms | | with derivative | PyTorch | |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for line in out.splitlines():
        name, *times = line.split()
        cells = []
        for ours, theirs in zip(map(float, times), pytorch(name)):
            cells += [f"{ours:.3g}", f"{theirs:.3g}", f"**{theirs / ours:.2g}x**"] if ours else ["", "", ""]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
