//! The pieces around a step: averages, accumulation, scaled losses.

#![allow(clippy::expect_used)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use vorpal_nn::{
    Adam, Averaged, BatchNorm2d, DType, Device, Error, GradAccumulator, GradScaler, GradScalerOptions,
    Linear, Module, Optimizer, Sgd, Tensor, eval, grad, value_and_grad,
};

/// Tests look at the counters of devices: one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_vec::<f32>().expect("values").into_iter().map(f64::from).collect()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= tolerance * (1.0 + expected.abs()),
            "{found}, should be {expected}"
        );
    }
}

/// A step of gradient descent on half of all squares: parameters are multiplied with 0.9.
fn shrink(model: &mut Linear, optimizer: &mut Sgd, average: &mut Averaged) {
    let grads = grad(model, |m| m.weight.square().sum_all() * 0.5).expect("a graph");
    optimizer.step(model, grads).expect("a step");
    average.update(model).expect("the same model");
    eval(&(&*model, &*optimizer, &*average)).expect("a step");
}

#[test]
fn averages_are_what_they_say_and_part_of_the_step() {
    let _guard = alone();
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    for (decay, expected) in [(Some(0.75), [0.9f64, 0.8775, 0.840_375]), (None, [0.9, 0.855, 0.813])] {
        let mut model = Linear::without_bias(3, 1, &device);
        let start = numbers(&model.weight);
        let make = |m: &Linear| match decay {
            Some(decay) => Averaged::exponential(m, decay),
            None => Averaged::equal(m),
        };
        let (mut optimizer, mut average) = (Sgd::new(0.1), make(&model).expect("room"));
        for (step, factor) in expected.into_iter().enumerate() {
            let before = device.stats();
            shrink(&mut model, &mut optimizer, &mut average);
            let change = device.stats() - before;
            if step > 1 {
                let made = (change.plans_compiled, change.buffers_allocated, change.submits);
                assert_eq!(made, (0, 0, 1), "step {step}");
            }
            let present = numbers(&model.weight);
            average.swap(&mut model).expect("the same model");
            let scaled: Vec<f64> = start.iter().map(|w| w * factor).collect();
            close(&numbers(&model.weight), &scaled, 1e-6);
            average.swap(&mut model).expect("the same model");
            assert_eq!(numbers(&model.weight), present);
        }
        let mut other = Linear::new(3, 1, &device);
        for error in [average.swap(&mut other), make(&other).expect("room").update(&model)] {
            assert!(matches!(error, Err(Error::Format { .. })), "{error:?}");
        }
    }
}

#[test]
fn buffers_are_averaged_where_asked_for() {
    let _guard = alone();
    let mut norm = BatchNorm2d::new(2, &Device::cpu());
    let running = |norm: &BatchNorm2d| norm.running_mean.clone().expect("it is kept");
    let set = |norm: &BatchNorm2d, mean: f64| running(norm).set(running(norm).get().full_like(mean));
    for buffers in [false, true] {
        let mut average = Averaged::equal(&norm).expect("room");
        if buffers {
            average = average.with_buffers(&norm).expect("room");
        }
        for mean in [1.0, 3.0] {
            set(&norm, mean);
            average.update(&norm).expect("the same model");
        }
        average.swap(&mut norm).expect("the same model");
        assert_eq!(numbers(&running(&norm).get()), [if buffers { 2.0 } else { 3.0 }; 2]);
        average.swap(&mut norm).expect("the same model");
        assert_eq!(numbers(&running(&norm).get()), [3.0; 2]);
    }
}

#[test]
fn gradients_of_small_batches_make_a_step_of_a_large_one() {
    let _guard = alone();
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let x = Tensor::randn([8, 3], DType::F32, &device);
    let loss = |m: &Linear, x: &Tensor| m.forward(x).square().mean_all();
    let mut model = Linear::new(3, 2, &device);
    let whole = grad(&model, |m| loss(m, &x)).expect("a graph");
    let mut accumulator = GradAccumulator::new(4);
    let mut mean = None;
    for part in 0..4 {
        assert_eq!((accumulator.count(), mean.is_some()), (part as u64, false));
        let batch = x.narrow(0, 2 * part, 2);
        let grads = grad(&model, |m| loss(m, &batch)).expect("a graph");
        mean = accumulator.add(grads);
        eval(&(&mean, &accumulator)).expect("values");
    }
    let mean = mean.expect("enough");
    close(&numbers(&mean.weight), &numbers(&whole.weight), 1e-5);
    close(&numbers(&mean.bias.expect("a bias")), &numbers(&whole.bias.expect("a bias")), 1e-5);
    assert_eq!(accumulator.count(), 0);
    // Later rounds compile and allocate nothing.
    let (mut optimizer, mut earlier) = (Sgd::new(0.1), device.stats());
    for step in 0..24 {
        let grads = grad(&model, |m| loss(m, &x)).expect("a graph");
        if let Some(mean) = accumulator.add(grads) {
            optimizer.step(&mut model, mean).expect("a step");
        }
        eval(&(&model, &optimizer, &accumulator)).expect("a step");
        let change = device.stats() - earlier;
        assert!(step < 12 || (change.plans_compiled, change.buffers_allocated) == (0, 0), "step {step}");
        earlier = device.stats();
    }
}

/// The scale before every step, and whether the step was made.
fn scales(device: &Device, bad: impl Fn(usize) -> bool, steps: usize) -> Vec<(f64, bool)> {
    let options = GradScalerOptions { init_scale: 8.0, growth_interval: 3, ..GradScalerOptions::default() };
    let mut scaler = GradScaler::with_options(options, device).expect("room");
    let mut model = Linear::without_bias(3, 1, device);
    let (mut optimizer, mut found) = (Adam::new(0.1), Vec::new());
    let one = Tensor::ones([1], DType::F32, device);
    eval(&(&model, &scaler, &one)).expect("values");
    let mut earlier = device.stats();
    for step in 0..steps {
        let factor = if bad(step) { f32::INFINITY } else { 1.0 };
        let factor = Tensor::from_slice(&[factor], [1], device);
        let (scaled, grads) =
            value_and_grad(&model, |m| scaler.scale(&(m.weight.square() * &factor).sum_all()))
                .expect("a graph");
        let (loss, unscaled) = (scaler.unscale_loss(&scaled), scaler.unscale(&grads));
        drop(grads);
        let scale = scaler.scale(&one);
        let before = numbers(&model.weight);
        scaler.step(&mut optimizer, &mut model, unscaled.grads, &unscaled.finite).expect("a step");
        eval(&(&loss, &scale, &model, &optimizer, &scaler)).expect("a step");
        let change = device.stats() - earlier;
        let made = (change.plans_compiled, change.buffers_allocated, change.submits);
        assert!(step < 3 || made == (0, 0, 1), "{device}, step {step}: {made:?}");
        let after = numbers(&model.weight);
        assert!(after.iter().all(|w| w.is_finite()));
        found.push((numbers(&scale)[0], before != after));
        earlier = device.stats();
    }
    found
}

#[test]
fn scales_follow_pytorch_in_one_plan() {
    let _guard = alone();
    let mut devices = vec![Device::cpu()];
    devices.extend(Device::software());
    for device in &devices {
        let found = scales(device, |step| step == 4 || step == 5 || step == 8, 14);
        let scales = [8.0, 8.0, 8.0, 16.0, 16.0, 8.0, 4.0, 4.0, 4.0, 2.0, 2.0, 2.0, 4.0, 4.0];
        let expected: Vec<(f64, bool)> =
            scales.into_iter().enumerate().map(|(k, scale)| (scale, ![4, 5, 8].contains(&k))).collect();
        assert_eq!(found, expected, "{device}");
    }
}

#[test]
fn everything_knows_its_parameters() {
    let _guard = alone();
    // A model without any has nothing to average and no gradients that are bad.
    let (device, nothing) = (Device::cpu(), Vec::<Linear>::new());
    let _keys = device.fork_rng(1);
    let mut average = Averaged::equal(&nothing).expect("room");
    average.update(&nothing).expect("nothing");
    let scaler = GradScaler::new(&device).expect("room");
    assert_eq!(scaler.unscale(&nothing).finite.item::<bool>(), Ok(true));
    assert_eq!(nothing.parameter_count(), 0);
}
