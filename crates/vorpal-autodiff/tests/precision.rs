//! Mixed precision: what is kept, computed and added up in which dtype.

#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::{Random, devices};
use vorpal_autodiff::{DType, Device, Precision, Tensor, value_and_grad};

/// The values of a tensor in f64.
fn numbers(x: &Tensor) -> Vec<f64> {
    x.cast(DType::F32).to_vec::<f32>().expect("values").into_iter().map(f64::from).collect()
}

fn drawn(seed: u64, shape: &[usize], low: f64, high: f64, device: &Device) -> Tensor {
    let n = shape.iter().product();
    let values: Vec<f32> = Random::new(seed).values(n, low, high).into_iter().map(|v| v as f32).collect();
    Tensor::from_slice(&values, shape, device)
}

#[test]
fn long_sums_of_short_floats_are_added_up_in_f32() {
    for device in devices() {
        for (dtype, unit) in [(DType::F16, 2f64.powi(-11)), (DType::BF16, 2f64.powi(-8))] {
            let x = Tensor::full([10_000], 0.1, DType::F32, &device).cast(dtype).contiguous();
            let tenth = numbers(&x)[0];
            // Added up in f16 the sum would stop at 256, in bf16 at 32: the steps would be lost.
            for (sum, expected) in [
                (numbers(&x.sum(0))[0], 10_000.0 * tenth),
                (numbers(&x.mean(0))[0], tenth),
                (
                    numbers(&x.reshape([1, 10_000]).matmul(&x.reshape([10_000, 1])))[0],
                    10_000.0 * tenth * tenth,
                ),
            ] {
                assert!(
                    (sum - expected).abs() <= unit * expected,
                    "{dtype} on {device}: {sum}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn softmax_and_norms_of_short_floats_lose_nothing_but_the_last_rounding() {
    for device in devices() {
        for (dtype, unit) in [(DType::F16, 2f64.powi(-11)), (DType::BF16, 2f64.powi(-8))] {
            let x = drawn(1, &[3, 3000], -4.0, 4.0, &device).cast(dtype);
            let wide = x.cast(DType::F32);
            let pairs: [(&str, Tensor, Tensor); 5] = [
                ("softmax", x.softmax(-1), wide.softmax(-1)),
                ("log_softmax", x.log_softmax(-1), wide.log_softmax(-1)),
                ("logsumexp", x.logsumexp(-1), wide.logsumexp(-1)),
                ("layer_norm", x.layer_norm(None, None, 1e-5), wide.layer_norm(None, None, 1e-5)),
                ("var", x.var(-1, 0), wide.var(-1, 0)),
            ];
            for (name, short, wide) in pairs {
                assert_eq!(short.dtype(), dtype);
                for (a, b) in numbers(&short).into_iter().zip(numbers(&wide)) {
                    // Half a unit in the last place, and as much again for the f32 values themselves; below the
                    // normal numbers of f16 the spacing is constant.
                    let bound = 1.5 * unit * b.abs() + 6e-8;
                    assert!((a - b).abs() <= bound, "{name} in {dtype} on {device}: {a}, not {b}");
                }
            }
        }
    }
}

#[test]
fn gradients_come_back_as_the_parameters_are_kept() {
    for device in devices() {
        let x = drawn(2, &[16, 8], -1.0, 1.0, &device);
        let classes = Tensor::from_slice(&(0..16).map(|k| k % 4).collect::<Vec<i32>>(), [16], &device);
        let model = (drawn(3, &[8, 12], -0.5, 0.5, &device), drawn(4, &[12, 4], -0.5, 0.5, &device));
        let run = |policy: Precision| {
            let (loss, grads) = value_and_grad(&model, |m| {
                let ((a, b), x) = (policy.cast(m), policy.cast(&x));
                let hidden = x.matmul(&a).relu();
                assert_eq!(hidden.dtype(), policy.compute);
                policy.widen(&hidden.matmul(&b)).cross_entropy(&classes)
            })
            .expect("derivatives");
            assert_eq!([loss.dtype(), grads.0.dtype(), grads.1.dtype()], [DType::F32; 3]);
            (loss.item::<f32>().expect("a loss"), [numbers(&grads.0), numbers(&grads.1)].concat())
        };
        let (loss, grads) = run(Precision::FULL);
        for (dtype, tolerance) in [(DType::F16, 2e-3), (DType::BF16, 2e-2)] {
            let (short_loss, short_grads) = run(Precision::mixed(dtype));
            assert!((loss - short_loss).abs() < tolerance, "{dtype} on {device}: {short_loss}, not {loss}");
            let size = grads.iter().fold(0.0f64, |s, g| s.max(g.abs()));
            for (a, b) in grads.iter().zip(&short_grads) {
                assert!(
                    (a - b).abs() <= 2.0 * f64::from(tolerance) * size,
                    "{dtype} on {device}: {b}, not {a}"
                );
            }
        }
        let mixed = Precision::mixed(DType::F16);
        let stored = mixed.store(&mixed.cast(&model.0));
        assert_eq!(stored.dtype(), DType::F32);
        assert_eq!(mixed.cast(&classes).dtype(), DType::I32, "integers stay what they are");
    }
}
