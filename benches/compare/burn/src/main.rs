//! The workloads on Burn: `burn-flex` on the processor, its wgpu backend through WGSL elsewhere.

#![recursion_limit = "256"]

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{AdaptiveAvgPool2dConfig, MaxPool2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, Lstm,
    LstmConfig, PaddingConfig2d,
};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::activation::{gelu_approximate, relu, sigmoid, softmax, tanh};
use burn::tensor::module::{attention, conv2d, layer_norm};
use burn::tensor::ops::{AttentionModuleOptions, ConvOptions};
use burn::tensor::Distribution;
use peer_protocol::{Request, Step};

fn main() {
    let request = Request::of("burn");
    let device = match request.device.as_str() {
        "cpu" => Device::flex(),
        "software" => Device::wgpu(DeviceKind::Cpu),
        _ => Device::wgpu(DeviceKind::DefaultDevice),
    };
    match workload(&request.workload, &device) {
        Some(step) => request.run(step),
        None => request.unable("not written for this peer"),
    }
}

fn randn<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn op<T: Clone + 'static, const D: usize>(device: &Device, operands: T, f: impl Fn(T) -> Tensor<D> + 'static) -> Step {
    let device = device.clone();
    device.sync().expect("the device");
    Box::new(move || {
        let out = f(operands.clone());
        // Nothing is done on fusing backends until something asks.
        device.sync().expect("the device");
        drop(out);
    })
}

fn matmul<const D: usize>(a: [usize; D], b: [usize; D], device: &Device) -> Step {
    op(device, (randn(a, device), randn(b, device)), |(a, b)| a.matmul(b))
}

fn chain(x: Tensor<1>) -> Tensor<1> {
    let first = tanh(x.clone() * 1.5 + 0.5) * sigmoid(x.clone());
    relu(first + (-x.clone() * x.clone()).exp() * 0.1 - x * 0.05)
}

fn causal(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
    attention(q, k, v, None, None, options)
}

fn attend(shape: [usize; 4], device: &Device) -> Step {
    let [q, k, v] = [(); 3].map(|()| randn(shape, device));
    op(device, (q, k, v), |(q, k, v)| causal(q, k, v))
}

fn targets(count: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    Tensor::<1, Int>::arange(0..count as i64, device).remainder_scalar(classes as i64)
}

/// A step of AdamW.
fn training<M: Module + 'static>(device: &Device, model: M, loss: impl Fn(&M) -> Tensor<1> + 'static) -> Step {
    let device = device.clone();
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
    let mut model = Some(model);
    Box::new(move || {
        let old = model.take().expect("a model");
        let value = loss(&old);
        let grads = GradientsParams::from_grads(value.backward(), &old);
        model = Some(optimizer.step(1e-3, old, grads));
        value.into_scalar::<f32>();
        device.sync().expect("the device");
    })
}

fn cross_entropy(logits: Tensor<2>, classes: &Tensor<1, Int>) -> Tensor<1> {
    let device = logits.device();
    CrossEntropyLossConfig::new().init(&device).forward(logits, classes.clone())
}

#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
    out: Linear,
}

fn mlp(device: &Device) -> Step {
    let device = &device.clone().autodiff();
    let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
    let model = Mlp { first: linear(784, 512), second: linear(512, 512), out: linear(512, 10) };
    let (x, classes) = (randn([256, 784], device), targets(256, 10, device));
    training(device, model, move |m| {
        let x = relu(m.second.forward(relu(m.first.forward(x.clone()))));
        cross_entropy(m.out.forward(x), &classes)
    })
}

fn conv(channels: usize, filters: usize, window: usize, stride: usize, bias: bool, device: &Device) -> Conv2d {
    let pad = window / 2;
    Conv2dConfig::new([channels, filters], [window, window])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(bias)
        .init(device)
}

#[derive(Module, Debug)]
struct Cnn {
    first: Conv2d,
    second: Conv2d,
    out: Linear,
}

fn cnn(device: &Device) -> Step {
    let device = &device.clone().autodiff();
    let model = Cnn {
        first: conv(1, 32, 3, 1, true, device),
        second: conv(32, 64, 3, 1, true, device),
        out: LinearConfig::new(64 * 7 * 7, 10).init(device),
    };
    let (x, classes) = (randn([64, 1, 28, 28], device), targets(64, 10, device));
    let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
    training(device, model, move |m| {
        let x = pool.forward(relu(m.first.forward(x.clone())));
        let x = pool.forward(relu(m.second.forward(x)));
        cross_entropy(m.out.forward(x.flatten(1, 3)), &classes)
    })
}

const HEADS: usize = 4;
const WIDTH: usize = 128;

#[derive(Module, Debug)]
struct GptBlock {
    ln_1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    ln_2: LayerNorm,
    fc: Linear,
    out: Linear,
}

impl GptBlock {
    fn new(device: &Device) -> GptBlock {
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        GptBlock {
            ln_1: LayerNormConfig::new(WIDTH).init(device),
            qkv: linear(WIDTH, 3 * WIDTH),
            proj: linear(WIDTH, WIDTH),
            ln_2: LayerNormConfig::new(WIDTH).init(device),
            fc: linear(WIDTH, 4 * WIDTH),
            out: linear(4 * WIDTH, WIDTH),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, length, _] = x.dims();
        let all = self.qkv.forward(self.ln_1.forward(x.clone()));
        let part = |k: usize| {
            let part = all.clone().narrow(2, k * WIDTH, WIDTH);
            part.reshape([batch, length, HEADS, WIDTH / HEADS]).swap_dims(1, 2)
        };
        let heads = causal(part(0), part(1), part(2)).swap_dims(1, 2).reshape([batch, length, WIDTH]);
        let x = x + self.proj.forward(heads);
        let inner = gelu_approximate(self.fc.forward(self.ln_2.forward(x.clone())));
        x + self.out.forward(inner)
    }
}

#[derive(Module, Debug)]
struct Gpt {
    wte: Embedding,
    wpe: Embedding,
    h: Vec<GptBlock>,
    ln_f: LayerNorm,
    head: Linear,
}

fn gpt(device: &Device) -> Step {
    let (batch, length, vocabulary, layers) = (8, 128, 256, 4);
    let device = &device.clone().autodiff();
    let model = Gpt {
        wte: EmbeddingConfig::new(vocabulary, WIDTH).init(device),
        wpe: EmbeddingConfig::new(length, WIDTH).init(device),
        h: (0..layers).map(|_| GptBlock::new(device)).collect(),
        ln_f: LayerNormConfig::new(WIDTH).init(device),
        head: LinearConfig::new(WIDTH, vocabulary).with_bias(false).init(device),
    };
    let classes = targets(batch * length, vocabulary, device);
    let tokens = classes.clone().reshape([batch, length]);
    let positions = Tensor::<1, Int>::arange(0..length as i64, device).reshape([1, length]);
    training(device, model, move |m| {
        let mut x = m.wte.forward(tokens.clone()) + m.wpe.forward(positions.clone());
        for block in &m.h {
            x = block.forward(x);
        }
        let logits = m.head.forward(m.ln_f.forward(x)).reshape([batch * length, vocabulary]);
        cross_entropy(logits, &classes)
    })
}

#[derive(Module, Debug)]
struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    beside: Option<Conv2d>,
    beside_norm: Option<BatchNorm>,
}

impl BasicBlock {
    fn new(channels: usize, filters: usize, stride: usize, device: &Device) -> BasicBlock {
        let norm = || BatchNormConfig::new(filters).init(device);
        let other = stride != 1 || channels != filters;
        BasicBlock {
            conv1: conv(channels, filters, 3, stride, false, device),
            bn1: norm(),
            conv2: conv(filters, filters, 3, 1, false, device),
            bn2: norm(),
            beside: other.then(|| conv(channels, filters, 1, stride, false, device)),
            beside_norm: other.then(norm),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let inner = relu(self.bn1.forward(self.conv1.forward(x.clone())));
        let inner = self.bn2.forward(self.conv2.forward(inner));
        let beside = match (&self.beside, &self.beside_norm) {
            (Some(conv), Some(norm)) => norm.forward(conv.forward(x)),
            _ => x,
        };
        relu(inner + beside)
    }
}

#[derive(Module, Debug)]
struct ResNet18 {
    conv1: Conv2d,
    bn1: BatchNorm,
    blocks: Vec<BasicBlock>,
    fc: Linear,
}

fn resnet18(device: &Device) -> Step {
    let device = &device.clone().autodiff();
    let stages = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)];
    let model = ResNet18 {
        conv1: conv(3, 64, 7, 2, false, device),
        bn1: BatchNormConfig::new(64).init(device),
        blocks: stages
            .iter()
            .flat_map(|&(i, o, s)| [BasicBlock::new(i, o, s, device), BasicBlock::new(o, o, 1, device)])
            .collect(),
        fc: LinearConfig::new(512, 1000).init(device),
    };
    let (x, classes) = (randn([8, 3, 64, 64], device), targets(8, 1000, device));
    let pool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
    let (pool, mean) = (pool.init(), AdaptiveAvgPool2dConfig::new([1, 1]).init());
    training(device, model, move |m| {
        let mut x = pool.forward(relu(m.bn1.forward(m.conv1.forward(x.clone()))));
        for block in &m.blocks {
            x = block.forward(x);
        }
        cross_entropy(m.fc.forward(mean.forward(x).flatten(1, 3)), &classes)
    })
}

#[derive(Module, Debug)]
struct Recurrent {
    first: Lstm,
    second: Lstm,
    out: Linear,
}

fn lstm(device: &Device) -> Step {
    let (batch, steps, width) = (32, 64, 256);
    let device = &device.clone().autodiff();
    let layer = || LstmConfig::new(width, width, true).with_batch_first(false).init(device);
    let model = Recurrent { first: layer(), second: layer(), out: LinearConfig::new(width, 10).init(device) };
    let (x, classes) = (randn([steps, batch, width], device), targets(batch, 10, device));
    training(device, model, move |m| {
        let (x, _) = m.first.forward(x.clone(), None);
        let (x, _) = m.second.forward(x, None);
        cross_entropy(m.out.forward(x.narrow(0, steps - 1, 1).reshape([batch, width])), &classes)
    })
}

fn workload(name: &str, device: &Device) -> Option<Step> {
    let rows = || randn([4096, 1024], device);
    Some(match name {
        "matmul_512" => matmul([512, 512], [512, 512], device),
        "matmul_1024" => matmul([1024, 1024], [1024, 1024], device),
        "matmul_2048" => matmul([2048, 2048], [2048, 2048], device),
        "matmul_batched_16x256" => matmul([16, 256, 256], [16, 256, 256], device),
        "gemv_4096" => matmul([1, 4096], [4096, 4096], device),
        "matmul_4096x64x4096" => matmul([4096, 64], [64, 4096], device),
        "chain_4m" => op(device, randn([1 << 22], device), chain),
        "softmax" => op(device, rows(), |x| softmax(x, 1)),
        "layer_norm" => op(device, (rows(), randn([1024], device), randn([1024], device)), |(x, weight, bias)| {
            layer_norm(x, weight, Some(bias), 1e-5)
        }),
        "sum" => op(device, rows(), |x| x.sum()),
        "sum_rows" => op(device, rows(), |x| x.sum_dim(1)),
        "conv" => op(device, (randn([16, 32, 32, 32], device), randn([64, 32, 3, 3], device)), |(x, w)| {
            conv2d(x, w, None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1))
        }),
        "resnet_block" => {
            // Batch statistics are for devices with derivatives only.
            let device = &device.clone().autodiff();
            let block = BasicBlock::new(64, 64, 1, device);
            op(device, randn([8, 64, 32, 32], device), move |x| block.forward(x).detach())
        }
        "attention_512" => attend([2, 8, 512, 64], device),
        "attention_4096" => attend([1, 8, 4096, 64], device),
        "mlp_step" => mlp(device),
        "cnn_step" => cnn(device),
        "gpt_step" => gpt(device),
        "resnet18_step" => resnet18(device),
        "lstm_step" => lstm(device),
        _ => return None,
    })
}
