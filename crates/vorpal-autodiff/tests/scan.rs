//! Loops that carry a state.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, check_derivatives, devices};
use vorpal_autodiff::compile::ir::Target;
use vorpal_autodiff::{
    DType, Device, Tensor, eval, grad, plan, scan, scan_checkpointed, value_and_grad, vmap,
};

/// A recurrent layer.
fn cell(h: &Tensor, x: &Tensor, w: &Tensor) -> Tensor {
    (h.matmul(w) + x).tanh()
}

fn values(x: &Tensor) -> Vec<f32> {
    x.to_vec::<f32>().expect("values")
}

#[test]
fn it_is_the_loop_written_out() {
    for device in devices() {
        let _keys = device.fork_rng(1);
        // On the adapter every shape is a shader that its driver compiles.
        let lengths: &[usize] = if device.is_cpu() { &[1, 2, 7, 16, 23] } else { &[5] };
        for &steps in lengths {
            let random = |shape: &[usize]| Tensor::randn(shape, DType::F32, &device).contiguous();
            let (h, xs, w) = (random(&[2, 4]), random(&[steps, 2, 4]), random(&[4, 4]));
            eval(&(&h, &xs, &w)).expect("room");
            let f = |w: &Tensor, marked: bool, xs: &Tensor| {
                let step = |(h, n): &(Tensor, Tensor), x: &Tensor| {
                    let h = cell(h, x, w);
                    ((h.clone(), n + 1.0), (h.sum(1), h.sum_all()))
                };
                let init = (h.clone(), Tensor::from_item(0.0f32, &device));
                let run = if marked { scan_checkpointed(&init, xs, step) } else { scan(&init, xs, step) };
                let ((h, n), (rows, sums)) = run.expect("a loop");
                (h, n, rows, sums)
            };
            let mut state = h.clone();
            let mut sums = Vec::new();
            for t in 0..steps {
                state = cell(&state, &xs.narrow(0, t, 1).squeeze(0), &w);
                sums.push(state.sum_all());
            }
            for marked in [false, true] {
                let (last, n, rows, given) = f(&w, marked, &xs);
                assert_eq!(values(&last), values(&state), "{device}");
                assert_eq!(n.item::<f32>(), Ok(steps as f32));
                assert_eq!(*rows.shape().dims(), [steps, 2]);
                let expected: Vec<f32> = sums.iter().flat_map(values).collect();
                let close = |a: &[f32], b: &[f32]| {
                    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs()))
                };
                assert!(close(&values(&given), &expected), "{device}");
            }
            let both = (xs.clone(), w.clone());
            let g = |marked| {
                grad(&both, |(xs, w)| {
                    let (last, _, rows, sums) = f(w, marked, xs);
                    last.sum_all() + rows.square().sum_all() + sums.sin().sum_all()
                })
                .expect("gradients")
            };
            let (plain, marked) = (g(false), g(true));
            for (a, b) in [(&plain.0, &marked.0), (&plain.1, &marked.1)] {
                let same =
                    values(a).iter().zip(values(b)).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs()));
                assert!(same, "{device}, {steps} steps");
            }
        }
    }
}

#[test]
fn derivatives_match_differences() {
    let mut random = Random::new(6);
    let (h, xs, w) = (
        random.tensor(&[1, 2], -1.0, 1.0),
        random.tensor(&[5, 1, 2], -1.0, 1.0),
        random.tensor(&[2, 2], -1.0, 1.0),
    );
    for marked in [false, true] {
        check_derivatives("scan", &[h.clone(), xs.clone(), w.clone()], |v| {
            let step = |h: &Tensor, x: &Tensor| (cell(h, x, &v[2]), h * 2.0);
            let run = if marked { scan_checkpointed(&v[0], &v[1], step) } else { scan(&v[0], &v[1], step) };
            run.map_or_else(Tensor::error, |(h, ys)| h * ys.sum(0))
        });
    }
    // A loop for every example.
    let many = random.tensor(&[3, 5, 1, 2], -1.0, 1.0);
    let last = |xs: &Tensor| scan_checkpointed(&h, xs, |h, x| (cell(h, x, &w), ())).map(|(h, _)| h);
    let all = vmap(&many, 0, last).expect("loops").to_vec::<f64>().expect("values");
    let each: Vec<f64> = (0..3)
        .flat_map(|k| {
            last(&many.narrow(0, k, 1).squeeze(0)).expect("a loop").to_vec::<f64>().expect("values")
        })
        .collect();
    assert!(all.iter().zip(&each).all(|(a, b)| (a - b).abs() < 1e-12), "{all:?} {each:?}");
}

#[test]
fn a_long_loop_takes_memory_for_its_root() {
    const STEPS: usize = 256;
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let random = |shape: &[usize]| Tensor::randn(shape, DType::F32, &device).contiguous();
    let (h, w) = (random(&[64, 64]), random(&[64, 64]) * 0.05);
    let xs = random(&[STEPS, 1, 64]);
    eval(&(&h, &w, &xs)).expect("room");
    let bytes = |marked: bool| {
        let (loss, g) = value_and_grad(&w, |w| {
            let step = |h: &Tensor, x: &Tensor| (cell(h, x, w), ());
            let run = if marked { scan_checkpointed(&h, &xs, step) } else { scan(&h, &xs, step) };
            run.map_or_else(Tensor::error, |(h, ())| h.square().mean_all())
        })
        .expect("a gradient");
        (plan(&(&loss, &g), Target::NATIVE).expect("a plan").peak_bytes(), values(&g))
    };
    let ((plain, a), (marked, b)) = (bytes(false), bytes(true));
    println!("{STEPS} steps: {plain} bytes, {marked} with checkpoints");
    assert!(marked * 4 < plain, "{marked} of {plain} bytes");
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-6), "other gradients");
}

#[test]
fn empty_loops_and_misuse() {
    let device = Device::cpu();
    let zero = Tensor::from_item(0.0f32, &device);
    let none = Tensor::zeros([0, 3], DType::F32, &device);
    let (sum, ys) = scan(&zero, &none, |s, x| (s + x.sum_all(), x * 2.0)).expect("no steps");
    assert_eq!((sum.item::<f32>(), ys.shape().dims()), (Ok(0.0), &[0, 3][..]));
    let two = Tensor::ones([2, 3], DType::F32, &device);
    let here = |text: &str| text.contains("tests/scan.rs:");
    let found = scan(&zero, &two, |_, x| (x.clone(), ())).expect_err("another state").to_string();
    assert!(
        found.contains("scan: a step must keep shape and dtype of the state (operands f32[], f32[3])"),
        "{found}"
    );
    assert!(here(&found), "{found}");
    let four = Tensor::ones([4], DType::F32, &device);
    let found = scan(&zero, &(two, four), |s, _| (s.clone(), ())).expect_err("2 and 4").to_string();
    assert!(found.contains("tensor 0 has 2 steps, tensor 1 has 4") && here(&found), "{found}");
    let found = scan(&zero, &zero, |s, _| (s.clone(), ())).expect_err("a scalar").to_string();
    assert!(found.contains("tensor 0 has no axis to scan") && here(&found), "{found}");
    let found = scan(&zero, &(), |s, ()| (s.clone(), ())).expect_err("nothing").to_string();
    assert!(found.contains("there is no tensor to scan") && here(&found), "{found}");
}
