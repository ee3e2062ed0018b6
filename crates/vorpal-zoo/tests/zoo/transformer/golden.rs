//! Against transformers of Hugging Face: weights made up by their names, outputs from `golden/transformers.py`.

use std::collections::BTreeMap;

use vorpal_nn::{Device, Module, Role, Tensor};
use vorpal_zoo::GptOptions;
use vorpal_zoo::transformer::{
    BertMaskedLm, BertOptions, Gpt2, Llama, LlamaOptions, Mel, T5, T5Options, Vit, VitOptions, Whisper,
    WhisperOptions,
};

use crate::harness::{classes, noise, noisy, values};

/// Parameter number p in the order of names is made of the noise of series p.
fn made_up<M: Module>(model: &mut M, device: &Device) {
    let mut names = Vec::new();
    model.walk("", &mut |name, role, _| names.extend((role == Role::Parameter).then(|| name.to_string())));
    names.sort_unstable();
    model.walk_mut("", &mut |name, role, tensor| {
        if role != Role::Parameter {
            return;
        }
        let place = names.iter().position(|n| n == name).expect("a name of the list");
        let shape = tensor.shape();
        let inputs: usize = shape[1..].iter().product();
        let value = |v: f64| match (shape.len(), name.ends_with("weight")) {
            (1, true) => 1.0 + 0.2 * v,
            (1, false) => 0.1 * v,
            _ => v * (3.0 / inputs as f64).sqrt(),
        };
        let numbers = noise(place as u32, shape.numel());
        let numbers: Vec<f32> = numbers.iter().map(|&v| value(f64::from(v)) as f32).collect();
        *tensor = Tensor::from_slice(&numbers, shape, device);
    });
}

/// Holds an output to that of the same model of Hugging Face.
fn holds<M: Module>(name: &str, mut model: M, forward: impl Fn(&M, &Device) -> Tensor) {
    let text = include_str!("../../golden/transformers.json");
    let golden: BTreeMap<String, Vec<f64>> = serde_json::from_str(text).expect("lists of numbers");
    let device = Device::cpu();
    made_up(&mut model, &device);
    model.train(false);
    let found = values(&forward(&model, &device));
    let expected = &golden[name];
    assert_eq!(found.len(), expected.len(), "{name}");
    for (k, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*a) - b).abs() <= 1e-4, "{name}: number {k} is {a}, should be {b}");
    }
}

#[test]
fn gpt2() {
    let options = GptOptions { vocabulary: 13, context: 8, width: 12, heads: 3, layers: 2 };
    holds("gpt2", Gpt2::new(options, &Device::cpu()), |m, device| {
        m.forward(&classes(1000, &[2, 7], 13, device)).slice(2, ..6)
    });
}

#[test]
fn llama() {
    let options = LlamaOptions {
        vocabulary: 13,
        context: 8,
        width: 16,
        hidden: 20,
        heads: 4,
        kv_heads: 2,
        layers: 2,
        tied: false,
        ..LlamaOptions::default()
    };
    holds("llama", Llama::new(options, &Device::cpu()), |m, device| {
        m.forward(&classes(1000, &[2, 7], 13, device)).slice(2, ..6)
    });
}

#[test]
fn bert() {
    let options = BertOptions { vocabulary: 13, context: 8, width: 12, hidden: 20, heads: 3, layers: 2 };
    holds("bert", BertMaskedLm::new(options, &Device::cpu()), |m, device| {
        let mask = Tensor::from_slice(
            &[[true; 7].as_slice(), &[true, true, true, true, false, false, false]].concat(),
            [2, 7],
            device,
        );
        m.forward(&classes(1000, &[2, 7], 13, device), Some(&mask)).slice(1, ..4).slice(2, ..6)
    });
}

#[test]
fn vit() {
    let options = VitOptions { image: 8, patch: 4, channels: 3, width: 12, heads: 3, layers: 2, classes: 7 };
    holds("vit", Vit::new(options, &Device::cpu()), |m, device| {
        m.forward(&noisy(1000, &[2, 3, 8, 8], device))
    });
}

#[test]
fn t5() {
    let options = T5Options { vocabulary: 13, width: 12, head_width: 5, hidden: 20, heads: 3, layers: 2 };
    holds("t5", T5::new(options, &Device::cpu()), |m, device| {
        let source = classes(1000, &[2, 7], 13, device);
        m.forward(&source, &classes(1001, &[2, 5], 13, device)).slice(2, ..6)
    });
}

#[test]
fn whisper() {
    let options =
        WhisperOptions { vocabulary: 13, bands: 5, windows: 12, context: 6, width: 12, heads: 3, layers: 2 };
    holds("whisper", Whisper::new(options, &Device::cpu()), |m, device| {
        m.forward(&noisy(1000, &[2, 5, 12], device), &classes(1001, &[2, 5], 13, device)).slice(2, ..6)
    });
}

#[test]
fn mel() {
    let text = include_str!("../../golden/transformers.json");
    let golden: BTreeMap<String, Vec<f64>> = serde_json::from_str(text).expect("lists of numbers");
    let sound = noisy(1000, &[1, 1600], &Device::cpu());
    // Every ninth of 80 bands of 10 windows.
    let found = values(&Mel::default().forward(&sound).slice_step(1, .., 9));
    for (k, (a, b)) in found.iter().zip(&golden["mel"]).enumerate() {
        assert!((f64::from(*a) - b).abs() <= 1e-4, "number {k} is {a}, should be {b}");
    }
    assert_eq!(found.len(), golden["mel"].len());
}
