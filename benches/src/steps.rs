//! Steps of trainings as workloads: forward, backward, AdamW, and the loss read back.

use vorpal::Precision;
use vorpal::prelude::*;
use vorpal::tensor::DType::F32;
use vorpal::zoo::transformer::Gpt2;
use vorpal::zoo::{Gpt, GptOptions, ResNet, ResNetOptions};

use crate::ops::{convolution, product};
use crate::{Graph, Workload, results};

const MLP_BATCH: usize = 256;
const CNN_BATCH: usize = 64;
const GPT: GptOptions = GptOptions { vocabulary: 256, context: 128, width: 128, heads: 4, layers: 4 };
const GPT_BATCH: usize = 8;
/// The smallest GPT-2, with a vocabulary of whole tiles.
const GPT2: GptOptions = GptOptions { vocabulary: 50_304, context: 1024, width: 768, heads: 12, layers: 12 };
const GPT2_BATCH: usize = 8;
const RESNET_BATCH: usize = 8;
const RESNET_CLASSES: usize = 1000;
/// Inputs and states of each layer, steps, sequences.
const LSTM: (usize, usize, usize) = (256, 64, 32);
const CLASSES: usize = 10;

pub const STEPS: &[Workload] = &[
    Workload {
        name: "mlp_step",
        what: "784-512-512-10, batch 256",
        flops: 3.0 * mlp_flops() - product(MLP_BATCH, 784, 512, 1),
        bytes: 0.0,
        make: mlp,
    },
    Workload {
        name: "cnn_step",
        what: "two convolutions (32 and 64 filters of 3 x 3) with pooling, a linear layer, 28 x 28, batch 64",
        flops: 3.0 * cnn_flops() - convolution(CNN_BATCH, 1, 32, 3, 28),
        bytes: 0.0,
        make: cnn,
    },
    Workload {
        name: "gpt_step",
        what: "4 blocks of 4 heads, 128 wide, 256 tokens, context 128, batch 8",
        flops: 3.0 * gpt_flops(GPT, GPT_BATCH),
        bytes: 0.0,
        make: gpt,
    },
    Workload {
        name: "resnet18_step",
        what: "ResNet-18 for 1000 classes, 64 x 64, batch 8",
        flops: 3.0 * resnet_flops() - convolution(RESNET_BATCH, 3, 64, 7, 32),
        bytes: 0.0,
        make: resnet18,
    },
    Workload {
        name: "lstm_step",
        what: "two layers of 256 on 256 inputs, a linear layer on the last state, 64 steps, batch 32",
        flops: 3.0 * lstm_flops() - product(LSTM.1 * LSTM.2, LSTM.0, 4 * LSTM.0, 1),
        bytes: 0.0,
        make: lstm,
    },
];

/// What only graphics cards do in reasonable time.
pub const LARGE: &[Workload] = &[Workload {
    name: "gpt2_step",
    what: "GPT-2 of 124 million parameters, context 1024, batch 8, computed in halves",
    flops: 3.0 * gpt_flops(GPT2, GPT2_BATCH),
    bytes: 0.0,
    make: gpt2,
}];

// What follows counts the forward pass. The derivatives by operands and by weights are as much each; of the first layer
// only the latter is needed.

const fn mlp_flops() -> f64 {
    product(MLP_BATCH, 784, 512, 1) + product(MLP_BATCH, 512, 512, 1) + product(MLP_BATCH, 512, CLASSES, 1)
}

const fn cnn_flops() -> f64 {
    let convolutions = convolution(CNN_BATCH, 1, 32, 3, 28) + convolution(CNN_BATCH, 32, 64, 3, 14);
    convolutions + product(CNN_BATCH, 64 * 7 * 7, CLASSES, 1)
}

const fn gpt_flops(options: GptOptions, batch: usize) -> f64 {
    let GptOptions { vocabulary, context, width, layers, .. } = options;
    let (tokens, blocks) = (batch * context, layers as f64);
    // Queries, keys, values and projection: 4; the network: 8. Attention sees the past only.
    let block = product(tokens, width, 12 * width, 1) + product(tokens, context, width, 1);
    blocks * block + product(tokens, width, vocabulary, 1)
}

const fn resnet_flops() -> f64 {
    let first = convolution(RESNET_BATCH, 3, 64, 7, 32) + 4.0 * convolution(RESNET_BATCH, 64, 64, 3, 16);
    let (mut all, mut filters, mut size) = (first, 128, 8);
    while filters <= 512 {
        all += convolution(RESNET_BATCH, filters / 2, filters, 1, size);
        all += convolution(RESNET_BATCH, filters / 2, filters, 3, size);
        all += 3.0 * convolution(RESNET_BATCH, filters, filters, 3, size);
        (filters, size) = (2 * filters, size / 2);
    }
    all + product(RESNET_BATCH, 512, RESNET_CLASSES, 1)
}

const fn lstm_flops() -> f64 {
    let (width, steps, batch) = LSTM;
    4.0 * product(steps * batch, width, 4 * width, 1) + product(batch, width, CLASSES, 1)
}

/// A step of AdamW on one batch.
fn training<M: Module + 'static>(
    mut model: M,
    x: Tensor,
    classes: Tensor,
    loss: impl Fn(&M, &Tensor, &Tensor) -> Tensor + 'static,
) -> Result<Graph> {
    eval(&(&model, &x, &classes))?;
    let mut optimizer = Adam::adamw(1e-3);
    Ok(Box::new(move || {
        let (value, grads) = value_and_grad(&model, |m| loss(m, &x, &classes))?;
        optimizer.step(&mut model, grads)?;
        Ok(results(&(&value, &model, &optimizer)))
    }))
}

/// Classes 0, 1, 2, … in turn.
fn targets(shape: &[usize], classes: usize, device: &Device) -> Tensor {
    let numbers: Vec<i32> = (0..shape.iter().product()).map(|k: usize| (k % classes) as i32).collect();
    Tensor::from_slice(&numbers, shape, device)
}

#[derive(Module)]
struct Mlp {
    first: Linear,
    second: Linear,
    out: Linear,
}

fn mlp(device: &Device) -> Result<Graph> {
    let model = Mlp {
        first: Linear::new(784, 512, device),
        second: Linear::new(512, 512, device),
        out: Linear::new(512, CLASSES, device),
    };
    let x = Tensor::randn([MLP_BATCH, 784], F32, device);
    training(model, x, targets(&[MLP_BATCH], CLASSES, device), |m, x, classes| {
        let x = m.second.forward(&m.first.forward(x).relu()).relu();
        m.out.forward(&x).cross_entropy(classes)
    })
}

#[derive(Module)]
struct Cnn {
    first: Conv2d,
    second: Conv2d,
    out: Linear,
}

fn cnn(device: &Device) -> Result<Graph> {
    let model = Cnn {
        first: Conv2d::new(1, 32, [3, 3], device).padding([1, 1]),
        second: Conv2d::new(32, 64, [3, 3], device).padding([1, 1]),
        out: Linear::new(64 * 7 * 7, CLASSES, device),
    };
    let x = Tensor::randn([CNN_BATCH, 1, 28, 28], F32, device);
    training(model, x, targets(&[CNN_BATCH], CLASSES, device), |m, x, classes| {
        let x = m.first.forward(x).relu().max_pool2d(2);
        let x = m.second.forward(&x).relu().max_pool2d(2);
        m.out.forward(&x.flatten(1, -1)).cross_entropy(classes)
    })
}

fn gpt(device: &Device) -> Result<Graph> {
    let model = Gpt::new(GPT, device);
    let tokens = targets(&[GPT_BATCH, GPT.context], GPT.vocabulary, device);
    training(model, tokens.clone(), tokens, Gpt::loss)
}

fn gpt2(device: &Device) -> Result<Graph> {
    let (model, policy) = (Gpt2::new(GPT2, device), Precision::mixed(DType::F16));
    let tokens = targets(&[GPT2_BATCH, GPT2.context], GPT2.vocabulary, device);
    training(model, tokens.clone(), tokens, move |m, tokens, targets| {
        // A constant scale in place of a `GradScaler`'s, whose few launches are none of what is compared.
        policy.cast(m).forward(tokens).cross_entropy(targets) * 1024.0
    })
}

fn resnet18(device: &Device) -> Result<Graph> {
    let model = ResNet::new(ResNetOptions::resnet18(RESNET_CLASSES), device);
    let x = Tensor::randn([RESNET_BATCH, 3, 64, 64], F32, device);
    let classes = targets(&[RESNET_BATCH], RESNET_CLASSES, device);
    training(model, x, classes, |m, x, classes| m.forward(x).cross_entropy(classes))
}

#[derive(Module)]
struct Recurrent {
    lstm: Lstm,
    out: Linear,
}

fn lstm(device: &Device) -> Result<Graph> {
    let (width, steps, batch) = LSTM;
    let model =
        Recurrent { lstm: Lstm::new(width, width, 2, device), out: Linear::new(width, CLASSES, device) };
    let x = Tensor::randn([steps, batch, width], F32, device);
    training(model, x, targets(&[batch], CLASSES, device), move |m, x, classes| {
        let (outputs, _) = m.lstm.forward(x, None);
        m.out.forward(&outputs.narrow(0, steps - 1, 1).reshape([batch, width])).cross_entropy(classes)
    })
}
