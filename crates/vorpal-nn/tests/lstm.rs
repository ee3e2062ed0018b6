//! Recurrent layers against PyTorch.

#![allow(clippy::expect_used)]

use std::collections::BTreeMap;

use vorpal_autodiff::grad;
use vorpal_nn::{
    DType, Device, Error, Lstm, Module, Role, Tensor, from_safetensors, to_safetensors, value_and_grad,
};

/// Lists of numbers by name, as `golden/lstm.py` writes them.
fn golden() -> BTreeMap<String, Vec<f64>> {
    serde_json::from_str(include_str!("golden/lstm.json")).expect("lists of numbers")
}

fn devices() -> Vec<Device> {
    let mut out = vec![Device::cpu()];
    match Device::software() {
        Ok(device) => out.push(device),
        Err(error) => println!("skipped: no software adapter ({error})"),
    }
    out
}

#[track_caller]
fn close(found: &Tensor, expected: &[f64], what: &str) {
    let found = found.to_vec::<f32>().expect("values");
    assert_eq!(found.len(), expected.len(), "{what}");
    for (k, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let near = (f64::from(found) - expected).abs() <= 1e-5 * (1.0 + expected.abs());
        assert!(near, "{what}, number {k}: {found}, should be {expected}");
    }
}

#[test]
fn an_lstm_is_pytorchs() {
    let _keys = Device::cpu().fork_rng(1);
    let golden = golden();
    let sizes: Vec<usize> = golden["sizes"].iter().map(|&n| n as usize).collect();
    let [steps, batch, inputs, hidden, layers] = sizes[..] else { panic!("five sizes") };
    for device in &devices() {
        let tensor = |name: &str, shape: &[usize]| {
            let numbers: Vec<f32> = golden[name].iter().map(|&v| v as f32).collect();
            Tensor::from_slice(&numbers, shape, device)
        };
        let mut lstm = Lstm::new(inputs, hidden, layers, device);
        lstm.walk_mut("", &mut |name, _, parameter| *parameter = tensor(name, &parameter.shape()));
        let x = tensor("x", &[steps, batch, inputs]);
        let [h, c] = ["h_0", "c_0"].map(|name| tensor(name, &[layers, batch, hidden]));
        let weight = tensor("weight", &[steps, batch, hidden]);
        let run = |lstm: &Lstm, x: &Tensor, h: &Tensor, c: &Tensor| {
            let layer = |all: &Tensor, k: usize| all.narrow(0, k, 1).squeeze(0);
            let start: Vec<_> = (0..layers).map(|k| (layer(h, k), layer(c, k))).collect();
            lstm.forward(x, Some(&start))
        };
        let (outputs, last) = run(&lstm, &x, &h, &c);
        close(&outputs, &golden["outputs"], "outputs");
        let (last_h, last_c): (Vec<&Tensor>, Vec<&Tensor>) = last.iter().map(|(h, c)| (h, c)).unzip();
        close(&Tensor::stack(&last_h, 0), &golden["h_n"], "h_n");
        close(&Tensor::stack(&last_c, 0), &golden["c_n"], "c_n");
        let (loss, grads) = value_and_grad(&(lstm, x, h, c), |(lstm, x, h, c)| {
            let (outputs, last) = run(lstm, x, h, c);
            let of_states = last.iter().map(|(h, c)| h.square().sum_all() + c.sum_all());
            of_states.fold((outputs * &weight).sum_all(), |sum, more| sum + more)
        })
        .expect("a gradient");
        close(&loss, &golden["loss"], "loss");
        for (name, grad) in [("x", &grads.1), ("h_0", &grads.2), ("c_0", &grads.3)] {
            close(grad, &golden[&format!("grad.{name}")], name);
        }
        grads.0.walk("", &mut |name, _, grad| close(grad, &golden[&format!("grad.{name}")], name));
    }
}

/// The outputs of an LSTM of one layer, written out step by step.
fn written_out(lstm: &Lstm, x: &Tensor) -> Tensor {
    let layer = &lstm.layers[0];
    let hidden = layer.weight_hh.shape()[1];
    let zeros = Tensor::zeros([x.shape()[1], hidden], DType::F32, &Device::cpu());
    let (mut h, mut c, mut outputs) = (zeros.clone(), zeros, Vec::new());
    for t in 0..x.shape()[0] {
        let bias = |b: &Option<Tensor>| b.clone().expect("a bias");
        let from_inputs = x.narrow(0, t, 1).squeeze(0).matmul(&layer.weight_ih.t()) + bias(&layer.bias_ih);
        let all = from_inputs + h.matmul(&layer.weight_hh.t()) + bias(&layer.bias_hh);
        let gate = |k: usize| all.narrow(1, k * hidden, hidden);
        c = gate(1).sigmoid() * &c + gate(0).sigmoid() * gate(2).tanh();
        h = gate(3).sigmoid() * c.tanh();
        outputs.push(h.clone());
    }
    Tensor::stack(&outputs.iter().collect::<Vec<_>>(), 0)
}

#[test]
fn second_derivatives_are_those_of_the_steps_written_out() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let at = (Lstm::new(3, 4, 1, &device), Tensor::randn([5, 2, 3], DType::F32, &device));
    // A number made of all first derivatives.
    let steepness = |f: fn(&Lstm, &Tensor) -> Tensor| {
        grad(&at, |at| {
            let first = grad(at, |(lstm, x)| f(lstm, x).square().sum_all()).expect("a gradient");
            let mut sum = first.1.square().sum_all();
            first.0.walk("", &mut |_, _, grad| sum = &sum + grad.square().sum_all());
            sum
        })
        .expect("a derivative of it")
    };
    let found = steepness(|lstm, x| lstm.forward(x, None).0);
    let expected = steepness(written_out);
    let numbers =
        |x: &Tensor| x.to_vec::<f32>().expect("values").into_iter().map(f64::from).collect::<Vec<_>>();
    close(&found.1, &numbers(&expected.1), "x");
    let mut of_parameters = Vec::new();
    expected.0.walk("", &mut |_, _, tensor| of_parameters.push(numbers(tensor)));
    let mut next = of_parameters.iter();
    found.0.walk("", &mut |name, _, tensor| close(tensor, next.next().expect("as many"), name));
}

#[test]
fn names_and_files_are_pytorchs() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let lstm = Lstm::new(3, 4, 2, &device);
    let mut names = Vec::new();
    lstm.walk("lstm", &mut |name, role, tensor| {
        assert_eq!(role, Role::Parameter);
        names.push(format!("{name} {}", tensor.shape()));
    });
    let expected = [
        "lstm.weight_ih_l0 [16, 3]",
        "lstm.weight_hh_l0 [16, 4]",
        "lstm.bias_ih_l0 [16]",
        "lstm.bias_hh_l0 [16]",
        "lstm.weight_ih_l1 [16, 4]",
        "lstm.weight_hh_l1 [16, 4]",
        "lstm.bias_ih_l1 [16]",
        "lstm.bias_hh_l1 [16]",
    ];
    assert_eq!(names, expected);
    let x = Tensor::randn([6, 2, 3], DType::F32, &device);
    let before = lstm.forward(&x, None).0.to_vec::<f32>().expect("values");
    let file = to_safetensors(&lstm).expect("a file");
    let mut other = Lstm::new(3, 4, 2, &device);
    from_safetensors(&mut other, &file, "the file").expect("the same model");
    assert_eq!(other.forward(&x, None).0.to_vec::<f32>().expect("values"), before);
}

#[test]
fn odd_inputs_are_told() {
    let device = Device::cpu();
    let lstm = Lstm::new(3, 4, 2, &device);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &device);
    let (outputs, last) = lstm.forward(&zeros(&[0, 2, 3]), None);
    assert_eq!((outputs.shape(), last.len()), ([0, 2, 4].into(), 2));
    assert_eq!(last[1].1.to_vec::<f32>().expect("zeros"), vec![0.0; 8]);
    assert!(matches!(lstm.forward(&zeros(&[5, 2, 9]), None).0.check(), Err(Error::Shape { .. })));
    let start = [(zeros(&[2, 4]), zeros(&[2, 4]))];
    assert!(matches!(lstm.forward(&zeros(&[5, 2, 3]), Some(&start)).0.check(), Err(Error::Argument { .. })));
}
