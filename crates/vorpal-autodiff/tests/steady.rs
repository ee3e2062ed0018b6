//! A training loop in the steady state: a process of its own, so that the counters of the device are its own.

#![allow(clippy::expect_used)]

mod common;

use common::devices;
use vorpal_autodiff::{
    CustomKernel, DType, Device, Stats, Tensor, eval, grad, jvp, profile, value_and_grad, vmap,
};

const TWICE: &str = "
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) wg: vec3<u32>) {
    out[wg.x] = 2.0 * x[wg.x];
}";

#[test]
fn a_steady_loop_makes_nothing_new() {
    // One test, one thread: it counts.
    a_training_loop();
    a_loop_of_transforms();
    profiles();
    kernels_of_a_program();
    loops();
    batches();
}

/// Batches that are windows on a data set are one plan, wherever they start.
fn batches() {
    for device in devices() {
        let (count, rows, columns) = (12, 8, 12);
        let data: Vec<f32> = (0..count * rows * columns).map(|k| (k % 101) as f32).collect();
        let classes: Vec<i32> = (0..count * rows).map(|k| (k % 7) as i32).collect();
        let all = Tensor::from_slice(&data, [count * rows, columns], &device);
        let of_all = Tensor::from_slice(&classes, [count, rows], &device);
        let weight = Tensor::full([columns], 0.5, DType::F32, &device).contiguous();
        eval(&(&all, &of_all, &weight)).expect("room");
        for batch in 0..count {
            let earlier = device.stats();
            let x = all.narrow(0, batch * rows, rows);
            // Both axes, and a window on a window.
            let few = x.narrow(0, 2, 4).permute([1, 0]).narrow(0, 1, 3);
            let y = of_all.narrow(0, batch, 1).reshape([rows]).cast(DType::F32);
            let loss = |w: &Tensor| ((&x * w).sum(-1) - &y).sum_all() + few.sum_all();
            let (loss, change) = value_and_grad(&weight, loss).expect("a gradient");
            eval(&(&loss, &change)).expect("a step");
            let stats = device.stats() - earlier;
            if batch > 0 {
                assert_eq!(
                    (stats.plans_compiled, stats.pipelines_created),
                    (0, 0),
                    "{device}, batch {batch}"
                );
            }
            let own = &data[batch * rows * columns..][..rows * columns];
            let targets: i32 = classes[batch * rows..][..rows].iter().sum();
            let few: f32 = (2..6).flat_map(|row| &own[row * columns + 1..][..3]).sum();
            let expected = 0.5 * own.iter().sum::<f32>() - targets as f32 + few;
            assert_eq!(loss.item::<f32>(), Ok(expected), "{device}, batch {batch}");
            let sums = (0..columns).map(|k| own[k..].iter().step_by(columns).sum());
            assert_eq!(change.to_vec::<f32>(), Ok(sums.collect()), "{device}, batch {batch}");
        }
    }
}

/// The steps of an unrolled loop differ in where they read, which is no reason to compile each.
fn loops() {
    for device in devices().into_iter().filter(|device| !device.is_cpu()) {
        let rand = |shape| Tensor::rand(shape, DType::F32, &device);
        let weights = (rand([96, 128]), rand([32, 128]));
        let run = |steps: usize| {
            let xs = Tensor::rand([steps, 4, 96], DType::F32, &device);
            let loss = |(of_x, of_h): &(Tensor, Tensor)| {
                let mut h = Tensor::zeros([4, 32], DType::F32, &device);
                let mut all = Vec::new();
                for t in 0..steps {
                    let x = xs.narrow(0, t, 1).reshape([4, 96]);
                    let gates = x.matmul(of_x) + h.matmul(of_h);
                    let [a, b, c] = [0, 1, 2].map(|k| gates.narrow(1, 32 * k, 32));
                    h = a.sigmoid() * &h + b.sigmoid() * c.tanh();
                    all.push(h.clone());
                }
                Tensor::stack(&all.iter().collect::<Vec<_>>(), 0).square().sum_all()
            };
            let earlier = device.stats();
            let (loss, change) = value_and_grad(&weights, loss).expect("gradients");
            eval(&(loss, change)).expect("a step");
            (device.stats() - earlier).pipelines_created
        };
        // Loops of other lengths have other sums and stacks of all steps, but no other steps.
        run(8);
        let more = run(40);
        assert!(more <= 20, "{device}: {more} pipelines for 32 more steps");
    }
}

/// The same kernel, made anew for every call, is no new plan.
fn kernels_of_a_program() {
    let device = Device::cpu();
    let twice = |x: f32| {
        let kernel =
            CustomKernel::new("twice", TWICE).expect("a valid shader").with_native(|mut run, _, _| {
                let (x, out) = (run.read::<f32>(0)?, run.write::<f32>(1)?);
                out.iter_mut().zip(x).for_each(|(o, &x)| *o = 2.0 * x);
                Ok(())
            });
        kernel.call(&[&Tensor::from_slice(&[x, -x], [2], &device)]).to_vec::<f32>()
    };
    assert_eq!(twice(2.0), Ok(vec![4.0, -4.0]));
    let earlier = device.stats();
    assert_eq!(twice(3.0), Ok(vec![6.0, -6.0]));
    assert_eq!((device.stats() - earlier).plans_compiled, 0);
}

fn profiles() {
    for device in devices() {
        let x = Tensor::rand([32, 32], DType::F32, &device);
        eval(&x).expect("room");
        let step = || x.matmul(&x).softmax(-1);
        eval(&step()).expect("room");
        let earlier = device.stats();
        assert_eq!(profile(&step()).expect("a profile").launches.len(), 2);
        let change = device.stats() - earlier;
        assert_eq!((change.plans_compiled, change.pipelines_created), (0, 0), "{device}: the plan of eval");
    }
}

/// Fails unless a step compiled and allocated nothing and submitted once.
fn steady(change: Stats, device: &Device, step: i32) {
    let found = (change.pipelines_created, change.plans_compiled, change.buffers_allocated, change.submits);
    assert_eq!(found, (0, 0, 0, 1), "{device}, step {step}");
}

fn a_loop_of_transforms() {
    for device in devices() {
        let weight = Tensor::rand([32], DType::F32, &device);
        eval(&weight).expect("room");
        let mut earlier = device.stats();
        for step in 0..6 {
            let data: Vec<f32> = (0..64 * 32).map(|k| ((k + step) % 13) as f32).collect();
            let xs = Tensor::from_slice(&data, [64, 32], &device);
            let loss = |w: &Tensor, x: &Tensor| (w * x).softmax(-1).square().sum_all();
            let each = vmap(&xs, 0, |x| grad(&weight, |w| loss(w, x))).expect("gradients");
            let (_, change) = jvp(&weight, &weight, |w| loss(w, &xs)).expect("a tangent");
            eval(&(each, change)).expect("a step");
            if step >= 2 {
                steady(device.stats() - earlier, &device, step);
            }
            earlier = device.stats();
        }
    }
}

fn a_training_loop() {
    for device in devices() {
        let mut weight = Tensor::rand([64, 32], DType::F32, &device);
        let mut moment = Tensor::zeros([64, 32], DType::F32, &device).contiguous();
        eval(&(&weight, &moment)).expect("room");
        let mut earlier = device.stats();
        for step in 0..20 {
            let data: Vec<f32> = (0..64 * 32).map(|k| ((k + step) % 13) as f32).collect();
            let x = Tensor::from_slice(&data, [64, 32], &device);
            let (loss, g) =
                value_and_grad(&weight, |w| (w * &x).softmax(-1).square().mean_all()).expect("a graph");
            moment = &moment * 0.9 + &g;
            weight = &weight - &moment * (0.1 / f64::from(step + 1));
            eval(&(&loss, &weight, &moment)).expect("a step");
            assert!(loss.item::<f32>().expect("a value").is_finite());
            if step >= 2 {
                steady(device.stats() - earlier, &device, step);
            }
            earlier = device.stats();
        }
    }
}
