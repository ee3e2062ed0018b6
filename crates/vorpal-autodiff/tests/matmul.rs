//! Matrix products as ops.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, assert_close, check_derivatives, devices};
use vorpal_autodiff::{DType, Device, Tensor};

#[test]
fn derivatives() {
    let mut random = Random::new(20);
    let mut x = |shape: &[usize]| random.tensor(shape, -1.0, 1.0);
    check_derivatives("matmul", &[x(&[2, 3]), x(&[3, 4])], |x| x[0].matmul(&x[1]));
    check_derivatives("transposed", &[x(&[3, 2]), x(&[4, 3])], |x| x[0].t().matmul(&x[1].t()));
    check_derivatives("batched", &[x(&[2, 2, 3]), x(&[2, 3, 2])], |x| x[0].matmul(&x[1]));
    check_derivatives("broadcast batch", &[x(&[2, 1, 2, 3]), x(&[3, 3, 2])], |x| x[0].matmul(&x[1]));
    check_derivatives("shared matrix", &[x(&[2, 2, 3]), x(&[3, 2])], |x| x[0].matmul(&x[1]));
    check_derivatives("vectors", &[x(&[3]), x(&[3])], |x| x[0].matmul(&x[1]));
    check_derivatives("fused", &[x(&[2, 3]), x(&[3, 4]), x(&[4])], |x| (x[0].matmul(&x[1]) + &x[2]).tanh());
}

#[test]
fn values_with_broadcast_batches() {
    let mut random = Random::new(21);
    for device in devices() {
        let (x, y) = (random.values(2 * 4 * 5, -1.0, 1.0), random.values(3 * 5 * 6, -1.0, 1.0));
        let narrow = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<_>>();
        let a = Tensor::from_slice(&narrow(&x), [2, 1, 4, 5], &device);
        let b = Tensor::from_slice(&narrow(&y), [3, 5, 6], &device);
        let mut reference = Vec::new();
        for (s, t, i, j) in (0..2).flat_map(|s| {
            (0..3).flat_map(move |t| (0..4).flat_map(move |i| (0..6).map(move |j| (s, t, i, j))))
        }) {
            reference.push((0..5).map(|k| x[(s * 4 + i) * 5 + k] * y[(t * 5 + k) * 6 + j]).sum::<f64>());
        }
        let found = a.matmul(&b);
        assert_eq!(found.shape().dims(), [2, 3, 4, 6]);
        assert_close(&found.to_vec::<f32>().expect("values"), &reference, 1e-5, "matmul");
    }
}

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

#[test]
fn operands_that_do_not_fit_say_so() {
    let device = Device::cpu();
    let x = Tensor::zeros([2, 3], DType::F32, &device);
    let error = x.matmul(&x).relu().eval().expect_err("3 is not 2").to_string();
    assert!(error.contains("matmul: inner sizes 3 and 2 differ (operands f32[2, 3], f32[2, 3])"), "{error}");
    assert!(error.contains("matmul.rs:"), "{error}");
    assert!(x.matmul(&Tensor::zeros([3, 2], DType::I32, &device)).eval().is_err());
}
