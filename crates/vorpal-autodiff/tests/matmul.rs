//! Matrix products beyond what a plain loop checks: long sums, narrow floats.

#![allow(clippy::expect_used)]

mod common;

use common::devices;
use vorpal_autodiff::{DType, Tensor};

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
