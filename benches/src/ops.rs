//! Ops as workloads: forward only, operands on the device.

use vorpal::nn::AttentionOptions;
use vorpal::prelude::*;
use vorpal::tensor::DType::{F16, F32};
use vorpal::zoo::ResNetBlock;

use crate::{Graph, Workload, results};

/// Rows and columns of what is normalised and summed.
const ROWS: [usize; 2] = [4096, 1024];
/// Elements of the chains: one that fits a cache, one of 256 MiB.
const CHAIN: usize = 1 << 22;
const LONG_CHAIN: usize = 1 << 26;

pub const OPS: &[Workload] = &[
    Workload {
        name: "matmul_512",
        what: "[512, 512] x [512, 512]",
        flops: product(1, 512, 512, 512),
        bytes: 0.0,
        make: |device| matmul([&[512, 512], &[512, 512]], F32, device),
    },
    Workload {
        name: "matmul_1024",
        what: "[1024, 1024] x [1024, 1024]",
        flops: product(1, 1024, 1024, 1024),
        bytes: 0.0,
        make: |device| matmul([&[1024, 1024], &[1024, 1024]], F32, device),
    },
    Workload {
        name: "matmul_2048",
        what: "[2048, 2048] x [2048, 2048]",
        flops: product(1, 2048, 2048, 2048),
        bytes: 0.0,
        make: |device| matmul([&[2048, 2048], &[2048, 2048]], F32, device),
    },
    Workload {
        name: "matmul_batched_16x256",
        what: "[16, 256, 256] x [16, 256, 256]",
        flops: product(16, 256, 256, 256),
        bytes: 0.0,
        make: |device| matmul([&[16, 256, 256], &[16, 256, 256]], F32, device),
    },
    Workload {
        name: "gemv_4096",
        what: "[1, 4096] x [4096, 4096]",
        flops: product(1, 1, 4096, 4096),
        bytes: 4.0 * 4096.0 * 4098.0,
        make: |device| matmul([&[1, 4096], &[4096, 4096]], F32, device),
    },
    Workload {
        name: "matmul_4096x64x4096",
        what: "[4096, 64] x [64, 4096]",
        flops: product(1, 4096, 64, 4096),
        bytes: 0.0,
        make: |device| matmul([&[4096, 64], &[64, 4096]], F32, device),
    },
    Workload {
        name: "chain_4m",
        what: "relu(tanh(1.5 x + 0.5) * sigmoid(x) + 0.1 exp(-x * x) - 0.05 x) of 4,194,304 numbers",
        flops: 0.0,
        bytes: 8.0 * CHAIN as f64,
        make: |device| op([Tensor::randn([CHAIN], F32, device)], |[x]| chain(x)),
    },
    Workload {
        name: "softmax",
        what: "over the rows of [4096, 1024]",
        flops: 0.0,
        bytes: 8.0 * numel(ROWS),
        make: |device| op([Tensor::randn(ROWS, F32, device)], |[x]| x.softmax(-1)),
    },
    Workload {
        name: "layer_norm",
        what: "over the rows of [4096, 1024], with weight and bias",
        flops: 0.0,
        bytes: 8.0 * numel(ROWS),
        make: |device| {
            let [x, weight, bias] =
                [[4096, 1024].as_slice(), &[1024], &[1024]].map(|s| Tensor::randn(s, F32, device));
            op([x, weight, bias], |[x, weight, bias]| x.layer_norm(Some(weight), Some(bias), 1e-5))
        },
    },
    Workload {
        name: "sum",
        what: "of all of [4096, 1024]",
        flops: 0.0,
        bytes: 4.0 * numel(ROWS),
        make: |device| op([Tensor::randn(ROWS, F32, device)], |[x]| x.sum_all()),
    },
    Workload {
        name: "sum_rows",
        what: "of each row of [4096, 1024]",
        flops: 0.0,
        bytes: 4.0 * numel(ROWS),
        make: |device| op([Tensor::randn(ROWS, F32, device)], |[x]| x.sum(-1)),
    },
    Workload {
        name: "conv",
        what: "[16, 32, 32, 32] with 64 filters of 3 x 3, padding 1",
        flops: convolution(16, 32, 64, 3, 32),
        bytes: 0.0,
        make: |device| {
            let [x, w] = [[16, 32, 32, 32], [64, 32, 3, 3]].map(|shape| Tensor::randn(shape, F32, device));
            let options = Conv2dOptions { padding: [1, 1].into(), ..Conv2dOptions::default() };
            op([x, w], move |[x, w]| x.conv2d(w, None, options))
        },
    },
    Workload {
        name: "resnet_block",
        what: "basic block of ResNet-18 on [8, 64, 32, 32], while training, forward",
        flops: 2.0 * convolution(8, 64, 64, 3, 32),
        bytes: 0.0,
        make: resnet_block,
    },
    Workload {
        name: "attention_512",
        what: "causal, [2, 8, 512, 64]",
        flops: attention_flops([2, 8, 512, 64]),
        bytes: 0.0,
        make: |device| attention([2, 8, 512, 64], device),
    },
    Workload {
        name: "attention_4096",
        what: "causal, [1, 8, 4096, 64]",
        flops: attention_flops([1, 8, 4096, 64]),
        bytes: 0.0,
        make: |device| attention([1, 8, 4096, 64], device),
    },
];

/// What only graphics cards do in reasonable time.
pub const LARGE: &[Workload] = &[
    square(4096, "matmul_4096", "[4096, 4096] x [4096, 4096]", |device| squares(4096, F32, device)),
    square(8192, "matmul_8192", "[8192, 8192] x [8192, 8192]", |device| squares(8192, F32, device)),
    square(4096, "matmul_4096_f16", "[4096, 4096] x [4096, 4096] of halves", |device| {
        squares(4096, F16, device)
    }),
    square(8192, "matmul_8192_f16", "[8192, 8192] x [8192, 8192] of halves", |device| {
        squares(8192, F16, device)
    }),
    Workload {
        name: "chain_64m",
        what: "the chain of chain_4m on 67,108,864 numbers",
        flops: 0.0,
        bytes: 8.0 * LONG_CHAIN as f64,
        make: |device| op([Tensor::randn([LONG_CHAIN], F32, device)], |[x]| chain(x)),
    },
];

const fn square(
    n: usize,
    name: &'static str,
    what: &'static str,
    make: fn(&Device) -> Result<Graph>,
) -> Workload {
    Workload { name, what, flops: product(1, n, n, n), bytes: 0.0, make }
}

fn squares(n: usize, dtype: DType, device: &Device) -> Result<Graph> {
    matmul([&[n, n], &[n, n]], dtype, device)
}

/// Multiplications and additions of `batch` products `[m, k] x [k, n]`.
pub const fn product(batch: usize, m: usize, k: usize, n: usize) -> f64 {
    2.0 * batch as f64 * m as f64 * k as f64 * n as f64
}

/// Those of a convolution with windows of `window`² to `size`² pixels.
pub const fn convolution(batch: usize, channels: usize, filters: usize, window: usize, size: usize) -> f64 {
    product(batch, size * size, channels * window * window, filters)
}

/// Those of an attention that sees the past only.
const fn attention_flops([batch, heads, length, columns]: [usize; 4]) -> f64 {
    // Two products, of which half is masked away.
    product(batch * heads, length, columns, length)
}

const fn numel([rows, columns]: [usize; 2]) -> f64 {
    (rows * columns) as f64
}

/// A graph that applies `f` to operands that are there.
fn op<const N: usize>(operands: [Tensor; N], f: impl Fn(&[Tensor; N]) -> Tensor + 'static) -> Result<Graph> {
    eval(operands.as_slice())?;
    Ok(Box::new(move || Ok(vec![f(&operands)])))
}

fn matmul(shapes: [&[usize]; 2], dtype: DType, device: &Device) -> Result<Graph> {
    op(shapes.map(|shape| Tensor::randn(shape, dtype, device)), |[a, b]| a.matmul(b))
}

fn chain(x: &Tensor) -> Tensor {
    ((x * 1.5 + 0.5).tanh() * x.sigmoid() + (-(x * x)).exp() * 0.1 - x * 0.05).relu()
}

fn attention(shape: [usize; 4], device: &Device) -> Result<Graph> {
    let qkv = [(); 3].map(|()| Tensor::randn(shape, F32, device));
    op(qkv, |[q, k, v]| q.scaled_dot_product_attention(k, v, AttentionOptions::default().causal()))
}

fn resnet_block(device: &Device) -> Result<Graph> {
    let block = ResNetBlock::basic(64, 64, 1, device);
    let x = Tensor::randn([8, 64, 32, 32], F32, device);
    eval(&(&x, &block))?;
    // With the running means, which the block moves.
    Ok(Box::new(move || Ok(results(&(block.forward(&x), &block)))))
}
