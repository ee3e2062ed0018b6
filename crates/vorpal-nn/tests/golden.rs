//! Trainings against trajectories computed by PyTorch in float64.

#![allow(clippy::expect_used)]

use std::path::PathBuf;

use vorpal_nn::data::Digits;
use vorpal_nn::{
    Adam, DType, Device, Linear, Module, Optimizer, Role, Sgd, Tensor, clip_grad_norm, eval, load,
    value_and_grad,
};

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

/// Within 1e-4 relative of every loss and gradient norm, and of the moments of the final parameters. From the
/// second step on nothing is compiled, and every step is one submit.
fn reproduce(name: &str, device: &Device, mut optimizer: impl Optimizer) {
    let text = std::fs::read_to_string(golden(&format!("{name}.json"))).expect("the trajectory");
    let trajectory: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let (losses, norms) = (numbers(&trajectory["losses"]), numbers(&trajectory["grad_norms"]));
    let mut model = Mlp { hidden: Linear::new(784, 128, device), out: Linear::new(128, 10, device) };
    load(&mut model, golden(&format!("{name}.init.safetensors"))).expect("the parameters");
    let (train, _) = Digits::embedded().expect("the digits");
    let close = |found: f64, expected: f64, what: &str| {
        let near = (found - expected).abs() <= 1e-4 * expected.abs();
        assert!(near, "{name} on {device:?}, {what}: {found}, should be {expected}");
    };
    for (step, (&loss, &norm)) in losses.iter().zip(&norms).enumerate() {
        let pixels: Vec<f32> = train.images[step * 64 * 784..(step + 1) * 64 * 784]
            .iter()
            .map(|&p| f32::from(p) / 255.0)
            .collect();
        let labels: Vec<i32> =
            train.labels[step * 64..(step + 1) * 64].iter().map(|&l| i32::from(l)).collect();
        let x = Tensor::from_slice(&pixels, [64, 784], device);
        let y = Tensor::from_slice(&labels, [64], device);
        let before = device.stats();
        let (found, grads) = value_and_grad(&model, |m| m.forward(&x).cross_entropy(&y)).expect("a graph");
        let (_, found_norm) = clip_grad_norm(&grads, 1.0);
        let found_norm = found_norm.expect("there are parameters");
        optimizer.step(&mut model, grads).expect("a graph");
        eval(&(&found, &found_norm, &model, &optimizer)).expect("a step");
        let change = device.stats() - before;
        close(f64::from(found.item::<f32>().expect("a loss")), loss, &format!("loss {step}"));
        close(f64::from(found_norm.item::<f32>().expect("a norm")), norm, &format!("norm {step}"));
        if step > 1 {
            assert_eq!(
                (change.pipelines_created, change.plans_compiled, change.buffers_allocated, change.submits),
                (0, 0, 0, 1),
                "{name} on {device:?}, step {step}"
            );
        }
    }
    model.walk("", &mut |parameter, role, tensor| {
        assert_eq!(role, Role::Parameter);
        let values = tensor.cast(DType::F32).to_vec::<f32>().expect("values");
        let moments = numbers(&trajectory["final_sum_and_sumsq"][parameter]);
        let squares: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        close(squares, moments[1], &format!("squares of {parameter}"));
        let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
        // A sum of many signs cancels: compare it on the scale of its terms.
        let scale = (squares * values.len() as f64).sqrt();
        assert!(
            (sum - moments[0]).abs() <= 1e-4 * scale,
            "{name}, sum of {parameter}: {sum}, {}",
            moments[0]
        );
    });
}

#[test]
fn mlps_follow_pytorch_on_every_device() {
    for device in devices() {
        let mut sgd = Sgd::new(0.05);
        (sgd.momentum, sgd.nesterov, sgd.weight_decay) = (0.9, true, 1e-4);
        reproduce("mlp_sgd", &device, sgd);
        reproduce("mlp_adamw", &device, Adam::adamw(1e-3));
    }
}
