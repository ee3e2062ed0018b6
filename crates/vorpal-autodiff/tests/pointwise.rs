//! Every pointwise function: values on all devices, derivatives to second order.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, assert_close, check_derivatives, devices};
use vorpal_autodiff::ops::pointwise::{self, Accepts};
use vorpal_autodiff::{DType, Device, PointwiseFn, Tensor};

/// Operands for a function on a device, drawn from its domain, with their f64 values.
fn operands(f: &PointwiseFn, random: &mut Random, n: usize, device: &Device) -> (Vec<Tensor>, Vec<Vec<f64>>) {
    let (mut tensors, mut values) = (Vec::new(), Vec::new());
    for (k, &(low, high)) in f.domain.iter().enumerate() {
        let truth = f.accepts == Accepts::Bool || (f.accepts == Accepts::Select && k == 0);
        let drawn = random.values(n, low, high);
        if truth {
            let bits: Vec<bool> = drawn.iter().map(|&v| v > 0.5).collect();
            tensors.push(Tensor::from_slice(&bits, [n], device));
            values.push(bits.iter().map(|&b| f64::from(u8::from(b))).collect());
        } else {
            let single: Vec<f32> = drawn.iter().map(|&v| v as f32).collect();
            tensors.push(Tensor::from_slice(&single, [n], device));
            values.push(single.iter().map(|&v| f64::from(v)).collect());
        }
    }
    (tensors, values)
}

#[test]
fn values_match_the_reference_on_every_device() {
    let mut random = Random::new(3);
    for device in devices() {
        for f in pointwise::all() {
            for n in [0, 1, 7, 300] {
                let (tensors, values) = operands(f, &mut random, n, &device);
                let refs: Vec<&Tensor> = tensors.iter().collect();
                let out = Tensor::pointwise(f, &refs);
                let reference: Vec<f64> =
                    (0..n).map(|i| (f.reference)(&values.iter().map(|v| v[i]).collect::<Vec<_>>())).collect();
                let found = out.cast(DType::F32).to_vec::<f32>().expect("values");
                assert_close(&found, &reference, 2e-5, &format!("{} on {device:?}", f.f.name));
            }
        }
    }
}

#[test]
fn derivatives_match_central_differences() {
    let mut random = Random::new(4);
    for f in pointwise::all() {
        let differentiable = matches!(f.accepts, Accepts::Float | Accepts::Number);
        if !differentiable || f.f.result == vorpal_kernels::ResultType::Bool {
            continue;
        }
        let inputs: Vec<Tensor> = f.domain.iter().map(|&(a, b)| random.tensor(&[2, 3], a, b)).collect();
        check_derivatives(f.f.name, &inputs, |x| Tensor::pointwise(f, &x.iter().collect::<Vec<_>>()));
    }
    let condition = Tensor::from_slice(&[true, false, true], [3], &Device::cpu());
    let inputs = [random.tensor(&[3], -1.0, 1.0), random.tensor(&[3], -1.0, 1.0)];
    check_derivatives("select", &inputs, |x| condition.select(&x[0] * &x[0], &x[1] * &x[0]));
}

#[test]
fn made_of_others() {
    let mut random = Random::new(5);
    let x = [random.tensor(&[5], -2.0, 2.0)];
    check_derivatives("gelu", &x, |x| x[0].gelu());
    check_derivatives("gelu_tanh", &x, |x| x[0].gelu_tanh());
    check_derivatives("silu", &x, |x| x[0].silu());
    check_derivatives("clamp", &x, |x| x[0].square().clamp(0.1, 1.5));
    let values = x[0].to_vec::<f64>().expect("values");
    for device in devices() {
        let x = Tensor::from_slice(&values.iter().map(|&v| v as f32).collect::<Vec<_>>(), [5], &device);
        let phi = |v: f64| 0.5 * v * (1.0 + libm::erf(v / 2f64.sqrt()));
        let reference: Vec<f64> = values.iter().map(|&v| phi(v)).collect();
        assert_close(&x.gelu().to_vec::<f32>().expect("values"), &reference, 1e-5, "gelu");
        let low = x.clamp(-0.5, 0.25).to_vec::<f32>().expect("values");
        assert!(low.iter().all(|v| (-0.5..=0.25).contains(v)));
    }
}

#[test]
fn integers_wrap_and_divide_by_zero_like_wgsl() {
    for device in devices() {
        let a = Tensor::from_slice(&[7i32, -7, i32::MAX, 5], [4], &device);
        let b = Tensor::from_slice(&[2i32, 2, 1, 0], [4], &device);
        assert_eq!((&a + &b).to_vec::<i32>(), Ok(vec![9, -5, i32::MIN, 5]));
        assert_eq!((&a / &b).to_vec::<i32>(), Ok(vec![3, -3, i32::MAX, 5]));
        assert_eq!((-&a).to_vec::<i32>(), Ok(vec![-7, 7, -i32::MAX, -5]));
        assert_eq!(a.maximum(&b).to_vec::<i32>(), Ok(vec![7, 2, i32::MAX, 5]));
    }
}

#[test]
fn casts_saturate_and_truncate() {
    for device in devices() {
        let x = Tensor::from_slice(&[1.9f32, -1.9, 3e9, -3e9, f32::NAN, 0.0], [6], &device);
        assert_eq!(x.cast(DType::I32).to_vec::<i32>(), Ok(vec![1, -1, i32::MAX, i32::MIN, 0, 0]), "{device}");
        assert_eq!(x.cast(DType::U32).to_vec::<u32>(), Ok(vec![1, 0, 3_000_000_000, 0, 0, 0]), "{device}");
        let truth = x.cast(DType::Bool).to_vec::<bool>().expect("values");
        assert_eq!(truth[..4], [true; 4]);
        assert!(!truth[5]);
        let half = x.slice(0, 0..2).cast(DType::F16).cast(DType::F32).to_vec::<f32>().expect("values");
        assert_eq!(half, [half::f16::from_f32(1.9).to_f32(), half::f16::from_f32(-1.9).to_f32()]);
    }
}

#[test]
fn nan_goes_through() {
    for device in devices() {
        let x = Tensor::from_slice(&[f32::NAN, 1.0], [2], &device);
        let y = Tensor::from_slice(&[1.0f32, f32::NAN], [2], &device);
        for out in [x.maximum(&y), x.minimum(&y), &x + &y] {
            assert!(out.to_vec::<f32>().expect("values").iter().all(|v| v.is_nan()), "{device}");
        }
        assert_eq!(x.is_nan().to_vec::<bool>(), Ok(vec![true, false]));
        assert!(x.relu().to_vec::<f32>().expect("values")[0].is_nan());
    }
}

#[test]
fn operands_that_do_not_fit_say_so() {
    let device = Device::cpu();
    let x = Tensor::zeros([2, 3], DType::F32, &device);
    let bad = (&x + Tensor::zeros([4], DType::F32, &device)).exp().relu();
    let error = bad.to_vec::<f32>().expect_err("3 and 4 do not broadcast").to_string();
    assert!(error.contains("add") && error.contains("f32[2, 3]") && error.contains("f32[4]"), "{error}");
    assert!(error.contains("pointwise.rs:"), "{error}");
    let error = Tensor::zeros([1], DType::I32, &device).exp().eval().expect_err("integers").to_string();
    assert!(error.contains("needs floats"), "{error}");
    if let Ok(other) = Device::software() {
        let error =
            (&x + Tensor::zeros([3], DType::F32, &other)).eval().expect_err("two devices").to_string();
        assert!(error.contains("two devices"), "{error}");
        let error = Tensor::zeros([3], DType::F64, &other).eval().expect_err("f64").to_string();
        assert!(error.contains("f64"), "{error}");
    }
}
