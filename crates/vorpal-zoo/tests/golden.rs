//! Trainings against trajectories computed by PyTorch in float64.

#![allow(clippy::expect_used)]

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vorpal_nn::data::Digits;
use vorpal_nn::{
    Adam, BatchNorm2d, Conv2d, DType, Device, Linear, Module, Optimizer, Sgd, SgdOptions, Tensor,
    clip_grad_norm, eval, load, value_and_grad,
};
use vorpal_zoo::{Gpt, GptOptions};

#[derive(Module)]
struct Mlp {
    #[module(name = "0")]
    hidden: Linear,
    #[module(name = "2")]
    out: Linear,
}

impl Mlp {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.out.forward(&self.hidden.forward(x).relu())
    }
}

fn golden(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

/// Counters are of the whole device: one training at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn devices() -> Vec<Device> {
    let mut out = vec![Device::cpu()];
    match Device::software() {
        Ok(device) => out.push(device),
        Err(error) => println!("skipped: no software adapter ({error})"),
    }
    out
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// What one training is.
struct Training<'a, M> {
    name: &'a str,
    device: &'a Device,
    /// Before its parameters are loaded.
    model: M,
    /// Relative, of losses, gradient norms and moments of the final parameters.
    tolerance: f64,
    /// Norm to which gradients are clipped.
    clip: Option<f64>,
    /// Tensors whose end says nothing. The derivative by a bias before a batch normalisation is zero: Adam divides
    /// what rounding leaves of it by its own size. The running mean moves with the bias.
    noise: &'a [&'a str],
}

/// The digits of a step.
fn digits(step: usize, shape: &[usize], device: &Device) -> (Tensor, Tensor) {
    let (train, _) = Digits::embedded().expect("the digits");
    let pixels: Vec<f32> =
        train.images[step * 64 * 784..(step + 1) * 64 * 784].iter().map(|&p| f32::from(p) / 255.0).collect();
    let labels: Vec<i32> = train.labels[step * 64..(step + 1) * 64].iter().map(|&l| i32::from(l)).collect();
    (Tensor::from_slice(&pixels, shape, device), Tensor::from_slice(&labels, [64], device))
}

/// Follows a trajectory. From the second step on nothing is compiled or allocated, and every step is one submit.
fn reproduce<M: Module>(
    training: Training<'_, M>,
    mut optimizer: impl Optimizer,
    batch: impl Fn(usize) -> (Tensor, Tensor),
    loss_of: impl Fn(&M, &Tensor, &Tensor) -> Tensor,
) {
    let Training { name, device, mut model, tolerance, clip, noise } = training;
    let text = std::fs::read_to_string(golden(&format!("{name}.json"))).expect("the trajectory");
    let trajectory: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let (losses, norms) = (numbers(&trajectory["losses"]), numbers(&trajectory["grad_norms"]));
    load(&mut model, golden(&format!("{name}.init.safetensors"))).expect("the parameters");
    let close = |found: f64, expected: f64, what: &str| {
        let near = (found - expected).abs() <= tolerance * expected.abs();
        assert!(near, "{name} on {device:?}, {what}: {found}, should be {expected}");
    };
    for (step, (&loss, &norm)) in losses.iter().zip(&norms).enumerate() {
        let (x, y) = batch(step);
        let before = device.stats();
        let (found, grads) = value_and_grad(&model, |m| loss_of(m, &x, &y)).expect("a graph");
        let (clipped, found_norm) = clip_grad_norm(&grads, clip.unwrap_or(1.0));
        let found_norm = found_norm.expect("there are parameters");
        let grads = if clip.is_some() { clipped } else { grads };
        optimizer.step(&mut model, grads).expect("a graph");
        eval(&(&found, &found_norm, &model, &optimizer)).expect("a step");
        let change = device.stats() - before;
        close(f64::from(found.item::<f32>().expect("a loss")), loss, &format!("loss {step}"));
        close(f64::from(found_norm.item::<f32>().expect("a norm")), norm, &format!("norm {step}"));
        if step > 0 {
            assert_eq!(
                (change.pipelines_created, change.plans_compiled, change.buffers_allocated, change.submits),
                (0, 0, 0, 1),
                "{name} on {device:?}, step {step}"
            );
        }
    }
    model.walk("", &mut |parameter, _, tensor| {
        if noise.contains(&parameter) {
            return;
        }
        let values = tensor.cast(DType::F32).to_vec::<f32>().expect("values");
        let moments = numbers(&trajectory["final_sum_and_sumsq"][parameter]);
        let squares: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        close(squares, moments[1], &format!("squares of {parameter}"));
        let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
        // A sum of many signs cancels: compare it on the scale of its terms.
        let scale = (squares * values.len() as f64).sqrt();
        assert!(
            (sum - moments[0]).abs() <= tolerance * scale,
            "{name}, sum of {parameter}: {sum}, {}",
            moments[0]
        );
    });
}

#[test]
fn mlps_follow_pytorch_on_every_device() {
    let _guard = alone();
    for device in &devices() {
        let options =
            SgdOptions { momentum: 0.9, nesterov: true, weight_decay: 1e-4, ..SgdOptions::default() };
        let sgd = Sgd::with_options(0.05, options);
        let training = |name| {
            let model = Mlp { hidden: Linear::new(784, 128, device), out: Linear::new(128, 10, device) };
            Training { name, device, model, tolerance: 1e-4, clip: None, noise: &[] }
        };
        let batch = |step| digits(step, &[64, 784], device);
        let loss = |m: &Mlp, x: &Tensor, y: &Tensor| m.forward(x).cross_entropy(y);
        reproduce(training("mlp_sgd"), sgd, batch, loss);
        reproduce(training("mlp_adamw"), Adam::adamw(1e-3), batch, loss);
    }
}

#[derive(Module)]
struct Cnn {
    #[module(name = "0")]
    first: Conv2d,
    #[module(name = "1")]
    first_norm: BatchNorm2d,
    #[module(name = "4")]
    second: Conv2d,
    #[module(name = "5")]
    second_norm: BatchNorm2d,
    #[module(name = "9")]
    out: Linear,
}

impl Cnn {
    fn new(device: &Device) -> Cnn {
        Cnn {
            first: Conv2d::new(1, 8, [3, 3], device).padding([1, 1]),
            first_norm: BatchNorm2d::new(8, device),
            second: Conv2d::new(8, 16, [3, 3], device).padding([1, 1]).stride([2, 2]),
            second_norm: BatchNorm2d::new(16, device),
            out: Linear::new(16, 10, device),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.first_norm.forward(&self.first.forward(x)).relu().max_pool2d(2);
        let x = self.second_norm.forward(&self.second.forward(&x)).relu();
        self.out.forward(&x.adaptive_avg_pool2d([1, 1]).flatten(1, -1))
    }
}

#[test]
fn a_cnn_follows_pytorch_on_every_device() {
    let _guard = alone();
    for device in &devices() {
        let noise = &["0.bias", "1.running_mean", "4.bias", "5.running_mean"];
        let training = Training {
            name: "cnn_adamw",
            device,
            model: Cnn::new(device),
            tolerance: 5e-4,
            clip: None,
            noise,
        };
        let batch = |step| digits(step, &[64, 1, 28, 28], device);
        reproduce(training, Adam::adamw(2e-3), batch, |m, x, y| m.forward(x).cross_entropy(y));
    }
}

#[test]
fn a_gpt_follows_pytorch_on_every_device() {
    let _guard = alone();
    let bytes = std::fs::read(golden("gpt_adamw.data.safetensors")).expect("the tokens");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("a file of tensors");
    let (_, tokens) = file.iter().next().expect("a tensor");
    let [steps, batch, length] = *tokens.shape() else { panic!("three axes") };
    let numbers: Vec<i32> = match tokens.dtype() {
        safetensors::Dtype::I64 => {
            bytemuck::pod_collect_to_vec::<u8, i64>(tokens.data()).iter().map(|&t| t as i32).collect()
        }
        _ => bytemuck::pod_collect_to_vec(tokens.data()),
    };
    assert_eq!(numbers.len(), steps * batch * length);
    for device in &devices() {
        let options = GptOptions { vocabulary: 64, context: 64, width: 64, heads: 4, layers: 2 };
        let model = Gpt::new(options, device);
        let training =
            Training { name: "gpt_adamw", device, model, tolerance: 1e-4, clip: Some(1.0), noise: &[] };
        let mut optimizer = Adam::adamw(1e-3);
        (optimizer.options.betas, optimizer.options.weight_decay) = ((0.9, 0.95), 0.1);
        let batch = |step: usize| {
            let all = Tensor::from_slice(
                &numbers[step * batch * length..(step + 1) * batch * length],
                [batch, length],
                device,
            );
            let cut = |from: usize| all.narrow(1, from, length - 1).contiguous();
            (cut(0), cut(1))
        };
        reproduce(training, optimizer, batch, |m, x, y| m.loss(x, y));
    }
}
