//! Residual networks against PyTorch.

#![allow(clippy::expect_used)]

use std::collections::BTreeMap;

use vorpal_nn::{
    DType, Device, Module, Role, Tensor, eval, from_safetensors, to_safetensors, value_and_grad,
};
use vorpal_zoo::{ResNet, ResNetOptions};

fn devices() -> Vec<Device> {
    let mut out = vec![Device::cpu()];
    match Device::software() {
        Ok(device) => out.push(device),
        Err(error) => println!("skipped: no software adapter ({error})"),
    }
    out
}

/// Number `i` of parameter `p`, from -1 to 1: the numbers of `golden/resnet18.py`.
fn noise(p: u32, i: u32) -> f64 {
    let low = |x: u64| x & 0xffff_ffff;
    let mut x = low((u64::from(i) + u64::from(p) * 1_000_003) * 2_654_435_761);
    x ^= x >> 15;
    x = low(x * 2_246_822_519);
    x ^= x >> 13;
    x as f64 / f64::from(1u32 << 31) - 1.0
}

fn noise_of(p: u32, n: usize) -> impl Iterator<Item = f64> {
    (0..n as u32).map(move |i| noise(p, i))
}

fn images(shape: [usize; 4], device: &Device) -> Tensor {
    let numbers: Vec<f32> = noise_of(1000, shape.iter().product()).map(|v| v as f32).collect();
    Tensor::from_slice(&numbers, shape, device)
}

/// A model with the parameters of `golden/resnet18.py`.
fn made_up(options: ResNetOptions, device: &Device) -> ResNet {
    let mut model = ResNet::new(options, device);
    let mut p = 0;
    model.walk_mut("", &mut |name, role, tensor| {
        if role == Role::Parameter {
            let shape = tensor.shape();
            let inputs: usize = shape[1..].iter().product();
            let value = |v: f64| match (shape.len(), name.ends_with("weight")) {
                (1, true) => 1.0 + 0.2 * v,
                (1, false) => 0.1 * v,
                _ => v * (6.0 / inputs as f64).sqrt(),
            };
            let numbers: Vec<f32> = noise_of(p, shape.numel()).map(|v| value(v) as f32).collect();
            *tensor = Tensor::from_slice(&numbers, shape, device);
            p += 1;
        }
    });
    model
}

#[test]
fn a_step_is_pytorchs_on_every_device() {
    let text = include_str!("golden/resnet18.json");
    let golden: BTreeMap<String, Vec<f64>> = serde_json::from_str(text).expect("lists of numbers");
    for device in &devices() {
        let model = made_up(ResNetOptions::resnet18(10), device);
        let x = images([4, 3, 64, 64], device);
        let classes = Tensor::from_slice(&[0i32, 1, 2, 3], [4], device);
        let ((logits, loss), grads) = {
            let mut logits = None;
            let (loss, grads) = value_and_grad(&model, |m| {
                let found = m.forward(&x);
                logits = Some(found.clone());
                found.cross_entropy(&classes)
            })
            .expect("a graph");
            ((logits.expect("the function was called"), loss), grads)
        };
        eval(&(&logits, &loss, &grads, &model)).expect("a step");
        // The outputs themselves, and everything else by its own size.
        let near = |found: f64, expected: f64, scale: f64, what: &str| {
            let apart = (found - expected).abs();
            assert!(apart <= 1e-4 * scale, "{what} on {device:?}: {found}, should be {expected}");
        };
        near(f64::from(loss.item::<f32>().expect("a number")), golden["loss"][0], 1.0, "loss");
        let logits = logits.to_vec::<f32>().expect("numbers");
        logits.iter().zip(&golden["logits"]).for_each(|(&f, &e)| near(f64::from(f), e, 1.0, "a logit"));
        // Of every gradient the sum of squares and the product with noise; of every running mean the sum.
        grads.walk("", &mut |name, role, grad| {
            if role == Role::Parameter {
                let numbers = grad.to_vec::<f32>().expect("numbers");
                let squares: f64 = numbers.iter().map(|&v| f64::from(v).powi(2)).sum();
                let along: f64 =
                    numbers.iter().zip(noise_of(2000, numbers.len())).map(|(&v, n)| f64::from(v) * n).sum();
                let expected = &golden[name];
                assert_eq!(numbers.len(), expected[0] as usize, "{name}");
                assert!(expected[1] > 0.0, "{name} has no gradient");
                near(squares, expected[1], expected[1], &format!("squares of the gradient of {name}"));
                near(along, expected[2], expected[1].sqrt(), &format!("product with the gradient of {name}"));
            }
        });
        model.walk("", &mut |name, role, tensor| {
            if role == Role::Buffer {
                let numbers = tensor.to_vec::<f32>().expect("numbers");
                let sum: f64 = numbers.iter().map(|&v| f64::from(v)).sum();
                let expected = &golden[name];
                near(sum, expected[2], (expected[0] * expected[1]).sqrt(), &format!("sum of {name}"));
            }
        });
    }
}

#[test]
fn names_and_files_are_torchvisions() {
    let device = Device::cpu();
    let model = ResNet::new(ResNetOptions::resnet18(10), &device);
    let mut names = Vec::new();
    model.walk("", &mut |name, _, _| names.push(name.to_string()));
    let norm =
        |name: &str| ["weight", "bias", "running_mean", "running_var"].map(|of| format!("{name}.{of}"));
    let mut expected = vec!["conv1.weight".to_string()];
    expected.extend(norm("bn1"));
    for (stage, block) in (1..=4).flat_map(|stage| [(stage, 0), (stage, 1)]) {
        let path = format!("layer{stage}.{block}");
        for k in 1..=2 {
            expected.push(format!("{path}.conv{k}.weight"));
            expected.extend(norm(&format!("{path}.bn{k}")));
        }
        if stage > 1 && block == 0 {
            expected.push(format!("{path}.downsample.0.weight"));
            expected.extend(norm(&format!("{path}.downsample.1")));
        }
    }
    expected.extend(["fc.weight", "fc.bias"].map(String::from));
    assert_eq!(names, expected);
    model.train(false);
    let x = images([1, 3, 40, 33], &device);
    let before = model.forward(&x).to_vec::<f32>().expect("logits");
    let file = to_safetensors(&model).expect("a file");
    let mut other = ResNet::new(ResNetOptions::resnet18(10), &device);
    from_safetensors(&mut other, &file, "the file").expect("the same model");
    other.train(false);
    assert_eq!(other.forward(&x).to_vec::<f32>().expect("logits"), before);
    assert_eq!(other.forward(&Tensor::zeros([0, 3, 32, 32], DType::F32, &device)).shape(), [0, 10].into());
}

#[test]
fn a_resnet50_answers_as_pytorchs() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("golden/resnet50.json")).expect("a file");
    let list = |name: &str| golden[name].as_array().expect("a list");
    let expected: Vec<f64> = list("logits").iter().map(|v| v.as_f64().expect("a number")).collect();
    let device = Device::cpu();
    let mut model = made_up(ResNetOptions::resnet50(10), &device);
    assert_eq!(model.parameter_count() as u64, golden["parameters"]);
    let mut names = Vec::new();
    model.walk("", &mut |name, role, _| {
        if role == Role::Parameter {
            names.push(name.to_string());
        }
    });
    assert_eq!(&names, list("names"));
    let x = images([4, 3, 64, 64], &device);
    // The farthest and the root of the mean square.
    let off = |logits: &Tensor| {
        let logits = logits.cast(DType::F64).to_vec::<f64>().expect("logits");
        assert_eq!(logits.len(), expected.len());
        let off = logits.iter().zip(&expected).map(|(found, expected)| (found - expected).abs());
        let squares: f64 = off.clone().map(|x| x * x).sum();
        (off.fold(0.0, f64::max), (squares / expected.len() as f64).sqrt())
    };
    // Logits are up to 3.8, behind fifty normalisations by as few as 16 numbers: f32 of PyTorch 2.15 is off by 1.5e-4 to
    // 3.9e-4 itself (mean 7.4e-5 to 1.5e-4) in 24 ways to order its sums: with oneDNN or without, channels first or last, one
    // thread or two, vectors of 128 to 512 bits. What is left in f64 are the digits of the file.
    let (single, mean) = off(&model.forward(&x));
    model.walk_mut("", &mut |_, _, tensor| *tensor = tensor.cast(DType::F64));
    let (double, _) = off(&model.forward(&x.cast(DType::F64)));
    assert!(single <= 4e-4 && mean <= 1.6e-4, "f32: {single}, mean {mean}");
    assert!(double <= 2e-8, "f64: {double}");
}
