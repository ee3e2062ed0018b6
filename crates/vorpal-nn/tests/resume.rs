//! Training that goes on from files, bit by bit; batches.

#![allow(clippy::expect_used)]

use vorpal_nn::data::{BatchSampler, Batches, Digits};
use vorpal_nn::{
    Adam, Device, Error, Linear, Optimizer, Sgd, SgdOptions, Tensor, eval, from_safetensors,
    optimizer_from_safetensors, optimizer_to_safetensors, to_safetensors, value_and_grad,
};

fn steps(model: &mut Linear, optimizer: &mut impl Optimizer, count: usize) {
    let x = Tensor::from_slice(&[0.5f32, -1.0, 2.0, 0.25, 1.0, -0.5], [3, 2], &Device::cpu());
    for _ in 0..count {
        let (loss, grads) = value_and_grad(model, |m| m.forward(&x).square().mean_all()).expect("a graph");
        optimizer.step(model, grads).expect("a step");
        eval(&(&loss, &*model, &*optimizer)).expect("a step");
    }
}

fn goes_on<O: Optimizer>(make: impl Fn() -> O) {
    let device = Device::cpu();
    let (mut model, mut optimizer) = (Linear::new(2, 4, &device), make());
    steps(&mut model, &mut optimizer, 3);
    let weights = to_safetensors(&model).expect("it saves");
    let state = optimizer_to_safetensors(&optimizer).expect("it saves");
    steps(&mut model, &mut optimizer, 4);
    let expected = to_safetensors(&model).expect("it saves");

    let (mut other, mut again) = (Linear::new(2, 4, &device), make());
    from_safetensors(&mut other, &weights, "weights").expect("it loads");
    optimizer_from_safetensors(&mut again, &other, &state, "state").expect("it loads");
    assert_eq!(again.state().steps, 3);
    steps(&mut other, &mut again, 4);
    assert_eq!(to_safetensors(&other), Ok(expected));
    assert_eq!(optimizer_to_safetensors(&again), optimizer_to_safetensors(&optimizer));
}

#[test]
fn optimisers_go_on_where_they_were() {
    goes_on(|| Adam::adamw(1e-2));
    goes_on(|| Sgd::new(1e-2));
    goes_on(|| Sgd::with_options(1e-2, SgdOptions { momentum: 0.9, ..SgdOptions::default() }));
}

#[test]
fn foreign_optimiser_states_are_refused() {
    let device = Device::cpu();
    let (mut model, mut optimizer) = (Linear::new(2, 4, &device), Adam::new(1e-2));
    steps(&mut model, &mut optimizer, 1);
    let state = optimizer_to_safetensors(&optimizer).expect("it saves");
    let mut refuse = |model: &Linear, bytes: &[u8]| {
        let error = optimizer_from_safetensors(&mut optimizer, model, bytes, "state.file").expect_err("no");
        assert!(matches!(error, Error::Format { .. }) && error.to_string().contains("state.file"), "{error}");
        error.to_string()
    };
    let other = refuse(&Linear::new(2, 5, &device), &state);
    assert!(
        other.contains("mismatched weight.exp_avg is F32[4, 2], not f32[5, 2], weight.exp_avg_sq"),
        "{other}"
    );
    let fewer = refuse(&Linear::without_bias(2, 4, &device), &state);
    assert!(fewer.contains("unexpected bias.exp_avg, bias.exp_avg_sq"), "{fewer}");
    let mut plain = Linear::without_bias(2, 4, &device);
    let mut small = Adam::new(1e-2);
    steps(&mut plain, &mut small, 1);
    let more = refuse(&model, &optimizer_to_safetensors(&small).expect("it saves"));
    assert!(more.contains("missing bias.exp_avg, bias.exp_avg_sq"), "{more}");
    assert!(refuse(&model, &to_safetensors(&model).expect("it saves")).contains("steps"));
    refuse(&model, &state[..state.len() - 3]);
    assert_eq!(optimizer.state().steps, 1);
}

#[test]
fn batches_go_through_everything_once() {
    let batches = Batches::new(1003, 10, 5).expect("enough");
    assert_eq!(batches.per_epoch(), 100);
    let mut seen: Vec<usize> = batches.epoch(3).concat();
    assert!(batches.epoch(3).iter().all(|b| b.len() == 10) && batches.epoch(3).len() == 100);
    assert_ne!(seen, batches.epoch(4).concat());
    let other = Batches::new(1003, 10, 6).expect("enough");
    assert_ne!(seen, other.epoch(3).concat());
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() == 1000 && seen.iter().all(|&n| n < 1003));
    for (len, size) in [(3, 4), (3, 0)] {
        assert!(Batches::new(len, size, 0).expect_err("too few").to_string().contains("3 examples"));
    }
}

#[test]
fn a_batch_of_digits_is_what_was_asked_for() {
    let digits = Digits { images: (0..2 * 784).map(|p| (p % 256) as u8).collect(), labels: vec![4, 9] };
    let (x, y) = digits.batch(&[1, 0, 1], &Device::cpu()).expect("digits");
    assert_eq!((x.shape(), y.to_vec::<i32>()), ([3, 1, 28, 28].into(), Ok(vec![9, 4, 9])));
    assert_eq!(x.to_vec::<f32>().expect("values")[..2], [16.0 / 255.0, 17.0 / 255.0]);
    assert!(digits.batch(&[2], &Device::cpu()).expect_err("no such digit").to_string().contains('2'));
}
