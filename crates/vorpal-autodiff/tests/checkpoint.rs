//! Checkpoints: the same derivatives in less memory.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, check_derivatives, devices};
use vorpal_autodiff::compile::ir::Target;
use vorpal_autodiff::{
    DType, Device, Policy, Result, Tensor, checkpoint, checkpoint_with, eval, grad, hvp, jvp, plan,
    value_and_grad, vmap,
};

const LAYERS: usize = 32;
const WIDTH: usize = 256;
const BATCH: usize = 512;

fn layer(x: &Tensor, w: &Tensor) -> Tensor {
    x.matmul(w).tanh()
}

/// Weights that keep the size of what they multiply.
fn weights(layers: usize, width: usize, device: &Device) -> Vec<Tensor> {
    let scale = 1.0 / (width as f64).sqrt();
    (0..layers).map(|_| (Tensor::randn([width, width], DType::F32, device) * scale).contiguous()).collect()
}

/// A net of tanh layers, each `segment` layers under a checkpoint; 0 for none.
fn net(x: &Tensor, weights: &[Tensor], segment: usize, policy: Policy) -> Tensor {
    let mut x = x.clone();
    if segment == 0 {
        return weights.iter().fold(x, |x, w| layer(&x, w));
    }
    for part in weights.chunks(segment) {
        x = checkpoint_with(policy, &x, |x| part.iter().fold(x.clone(), |x, w| layer(&x, w)));
    }
    x
}

/// One step of gradient descent: the loss and the new weights.
fn step(x: &Tensor, weights: &Vec<Tensor>, segment: usize, policy: Policy) -> Result<(Tensor, Vec<Tensor>)> {
    let (loss, grads) = value_and_grad(weights, |w| net(x, w, segment, policy).square().mean_all())?;
    Ok((loss, weights.iter().zip(&grads).map(|(w, g)| w - g * 0.1).collect()))
}

fn values(x: &Tensor) -> Vec<f32> {
    x.to_vec::<f32>().expect("values")
}

#[test]
fn a_deep_net_takes_less_than_half_of_the_memory() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let (x, w) = (Tensor::randn([BATCH, WIDTH], DType::F32, &device), weights(LAYERS, WIDTH, &device));
    eval(&(&x, &w)).expect("room");
    let bytes = |segment, policy| {
        // Old weights are given up, as in a loop.
        let copies: Vec<Tensor> = w.iter().map(|w| w + 0.0).collect();
        eval(&copies).expect("room");
        let (loss, new) = step(&x, &copies, segment, policy).expect("a graph");
        drop(copies);
        plan(&(&loss, &new), Target::NATIVE).expect("a plan").peak_bytes()
    };
    let plain = bytes(0, Policy::Everything);
    let segment = 6; // about √32
    let checkpointed = bytes(segment, Policy::Everything);
    println!("plan: {plain} bytes, {checkpointed} with a checkpoint every {segment} layers");
    assert!(checkpointed * 100 < plain * 45, "{checkpointed} of {plain} bytes");
    // Layer by layer nothing is gained beyond the results of the layers; a policy that keeps products keeps as much.
    let kept = bytes(segment, Policy::DotsSaved);
    assert!(kept > checkpointed && kept <= plain, "{kept} bytes with kept products");
}

#[test]
fn derivatives_are_the_same() {
    for device in devices() {
        let _keys = device.fork_rng(1);
        let (x, w) = (Tensor::randn([16, 24], DType::F32, &device), weights(9, 24, &device));
        eval(&(&x, &w)).expect("room");
        let run = |segment, policy| step(&x, &w, segment, policy).expect("a graph");
        let (loss, new) = run(0, Policy::Everything);
        for (segment, policy) in [
            (1, Policy::Everything),
            (4, Policy::Everything),
            (9, Policy::Everything),
            (4, Policy::DotsSaved),
            (4, Policy::Custom(|op| op == "tanh")),
        ] {
            let (loss_again, new_again) = run(segment, policy);
            eval(&(&loss_again, &new_again, &loss, &new)).expect("a step");
            assert_eq!(values(&loss), values(&loss_again), "{device}, {segment}, {policy:?}");
            for (a, b) in new.iter().zip(&new_again) {
                let (a, b) = (values(a), values(b));
                assert!(
                    a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-6),
                    "{device}, {segment}, {policy:?}"
                );
            }
        }
    }
}

#[test]
fn derivatives_of_first_and_second_order_match_differences() {
    let mut random = Random::new(3);
    let (x, w) = (random.tensor(&[2, 3], -1.0, 1.0), random.tensor(&[3, 3], -1.0, 1.0));
    for policy in [Policy::Everything, Policy::DotsSaved] {
        check_derivatives("one result", &[x.clone(), w.clone()], |v| {
            checkpoint_with(policy, &v[0], |x| layer(&layer(x, &v[1]), &v[1]).exp())
        });
        check_derivatives("two results", &[x.clone(), w.clone()], |v| {
            let (a, b) = checkpoint_with(policy, &v[0], |x| {
                let h = layer(x, &v[1]);
                (h.sum(0).exp(), h.matmul(&v[1]).sin())
            });
            a * b
        });
        check_derivatives("nested", &[x.clone(), w.clone()], |v| {
            checkpoint_with(policy, &v[0], |x| {
                let h = checkpoint(x, |x| layer(x, &v[1]).square());
                checkpoint(&h, |h| layer(h, &v[1]).sin()) * h
            })
        });
    }
}

#[test]
fn it_composes_with_the_other_transforms() {
    let mut random = Random::new(4);
    let (x, w) = (random.tensor(&[4, 3], -1.0, 1.0), random.tensor(&[3, 3], -1.0, 1.0));
    let direction = random.tensor(&[4, 3], -1.0, 1.0);
    let f = |x: &Tensor| layer(&layer(x, &w), &w).exp();
    let marked = |x: &Tensor| checkpoint(x, f);
    let two = |x: &Tensor| {
        let (a, b) = checkpoint(x, |x| (f(x).sin(), x.square()));
        a + b
    };
    let close = |a: &Tensor, b: &Tensor, what: &str| {
        let (a, b) = (a.to_vec::<f64>().expect("values"), b.to_vec::<f64>().expect("values"));
        assert_eq!(a.len(), b.len(), "{what}");
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12), "{what}: {a:?} {b:?}");
    };
    let plain = jvp(&x, &direction, f).expect("a tangent");
    let found = jvp(&x, &direction, marked).expect("a tangent");
    close(&plain.1, &found.1, "jvp");
    let plain = hvp(&x, &direction, |x| f(x).sum_all()).expect("a product");
    close(&plain, &hvp(&x, &direction, |x| marked(x).sum_all()).expect("a product"), "hvp");
    let each = vmap(&x, 0, |x| grad(x, |x| f(&x.unsqueeze(0)).sum_all())).expect("gradients");
    let found = vmap(&x, 0, |x| grad(x, |x| marked(&x.unsqueeze(0)).sum_all())).expect("gradients");
    close(&each, &found, "vmap of grad");
    let all = |f: &dyn Fn(&Tensor) -> Tensor| {
        grad(&x, |x| vmap(x, 0, |x| f(&x.unsqueeze(0))).map_or_else(Tensor::error, |y| y.sum_all()))
    };
    close(&all(&f).expect("a gradient"), &all(&marked).expect("a gradient"), "grad of vmap");
    let plain = |x: &Tensor| f(x).sin() + x.square();
    close(&all(&plain).expect("a gradient"), &all(&two).expect("a gradient"), "grad of vmap, two results");
}

#[test]
fn random_numbers_are_the_same_when_computed_again() {
    for device in devices() {
        let _keys = device.fork_rng(1);
        let x = Tensor::ones([1000], DType::F32, &device).contiguous();
        x.eval().expect("room");
        let mut value = None;
        let g = grad(&x, |x| {
            let y = checkpoint(x, |x| (x * 3.0).dropout(0.5));
            value = Some(y.clone());
            y.sum_all()
        });
        let (g, value) = (g.expect("a gradient"), value.expect("a value"));
        eval(&(&g, &value)).expect("a plan");
        assert_eq!(values(&g), values(&value), "{device}");
        assert!(values(&g).contains(&0.0) && values(&g).contains(&6.0));
    }
}

#[test]
fn what_needs_no_checkpoint_has_none() {
    let device = Device::cpu();
    let x = Tensor::from_slice(&[1.0f32, 2.0], [2], &device);
    let same = checkpoint(&x, Tensor::clone);
    assert_eq!(values(&same), [1.0, 2.0]);
    let (numbers, fixed) = checkpoint(&x, |x| (x.cast(DType::I32), Tensor::ones([1], DType::F32, &device)));
    assert_eq!(numbers.to_vec::<i32>(), Ok(vec![1, 2]));
    assert_eq!(values(&fixed), [1.0]);
    let broken = checkpoint(&x, |x| x.reshape([3]));
    let message = broken.check().expect_err("two elements").to_string();
    assert!(message.contains("reshape") && message.contains("tests/checkpoint.rs:"), "{message}");
}
