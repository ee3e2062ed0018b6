//! Matrix products beyond what a plain loop checks: long sums, narrow floats.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, check_derivatives, devices};
use vorpal_autodiff::compile::ir::Target;
use vorpal_autodiff::{DType, Tensor, grad, plan};

#[test]
fn very_long_sums_are_right_on_every_device() {
    let k = 200_000;
    for device in devices() {
        let a = Tensor::full([3, k], 1.0, DType::F32, &device).contiguous();
        let b = (Tensor::iota([k, 2], 0, DType::I32, &device).cast(DType::F32).full_like(0.5)).contiguous();
        // Every partial sum is exact.
        assert_eq!(a.matmul(&b).to_vec::<f32>(), Ok(vec![k as f32 / 2.0; 6]), "{device}");
    }
}

#[test]
fn half_precision_accumulates_in_single() {
    for device in devices() {
        let a = Tensor::full([2, 4096], 1.0, DType::F16, &device);
        let b = Tensor::full([4096, 2], 0.5, DType::F16, &device);
        let found = a.matmul(&b).cast(DType::F32).to_vec::<f32>();
        assert_eq!(found, Ok(vec![2048.0; 4]), "{device}");
    }
}

/// What a loop multiplies with in every step, as it lies or transposed, beside products of other numbers of rows.
#[test]
fn a_matrix_of_many_products_gets_its_derivative_from_one() {
    let steps = 6;
    let mut random = Random::new(5);
    let [w, h, more] = [[3, 3], [2, 3], [4, 3]].map(|shape| random.tensor(&shape, -1.0, 1.0));
    for transposed in [false, true] {
        let run = |x: &[Tensor]| {
            let w = if transposed { x[0].t() } else { x[0].clone() };
            let last = (0..steps).fold(x[1].clone(), |h, _| (h.matmul(&w) + 0.1).tanh());
            // Five rows that do not depend on one another, and four.
            let rows: Vec<Tensor> = (0..5).map(|k| x[1].narrow(0, k % 2, 1).sin().matmul(&w)).collect();
            let rows = Tensor::concat(&rows.iter().collect::<Vec<_>>(), 0);
            Tensor::concat(&[&last, &rows, &x[2].matmul(&w)], 0)
        };
        check_derivatives(&format!("transposed: {transposed}"), &[w.clone(), h.clone(), more.clone()], run);
        let loss = |w: &Tensor| run(&[w.clone(), h.clone(), more.clone()]).square().sum_all();
        let derivative = plan(&grad(&w, loss).expect("a derivative"), Target::NATIVE).expect("a plan");
        let products = derivative.launches.iter().filter(|l| l.kernel.name().starts_with("matmul")).count();
        // Forward: the loop, two different rows, and the four. Back: the loop but its first step, the four, whose factors are
        // not worth moving, and one product of all other shares.
        assert_eq!(products, (steps + 2 + 1) + (steps - 1) + 1 + 1, "{derivative}");
    }
}
