//! Attention against its definition, on every device; derivatives of both orders.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, assert_close, check_derivatives, devices};
use vorpal_autodiff::ops::AttentionOptions;
use vorpal_autodiff::{DType, Device, Error, Tensor, grad};

/// softmax(scale · Q Kᵀ) V, with all scores in memory.
fn written_out(q: &Tensor, k: &Tensor, v: &Tensor, causal: bool, scale: f64) -> Tensor {
    let scores = q.matmul(&k.t()) * scale;
    let hidden = if causal {
        let ones =
            scores.full_like(1.0).tril(k.shape()[k.rank() - 2] as i32 - q.shape()[q.rank() - 2] as i32);
        (ones - 1.0) * 1e30
    } else {
        scores.full_like(0.0)
    };
    (scores + hidden).softmax(-1).matmul(v)
}

/// Queries, keys, values and weights of the results.
fn operands(random: &mut Random, [t, s]: [usize; 2], d: usize) -> Vec<Vec<f64>> {
    [t, s, s, t].iter().map(|rows| random.values(2 * rows * 3 * d, -1.5, 1.5)).collect()
}

#[test]
fn results_and_derivatives_on_every_device() {
    let mut random = Random::new(81);
    for (t, s, d, causal) in [(5, 5, 4, true), (70, 130, 8, false), (130, 131, 3, true), (1, 9, 1, true)] {
        let x = operands(&mut random, [t, s], d);
        let options = AttentionOptions { causal, scale: Some(0.7) };
        // Heads lie behind one another in a row, as a projection leaves them.
        let head = |values: &[f64], device: &Device, dtype| {
            let rows = values.len() / (6 * d);
            Tensor::from_slice(values, [2, rows, 3, d], &Device::cpu())
                .cast(dtype)
                .to_device(device)
                .transpose(1, 2)
        };
        let results = |device: &Device, dtype: DType, definition: bool| {
            let all: Vec<Tensor> = x.iter().map(|x| head(x, device, dtype)).collect();
            let weights = all[3].clone();
            let f = |x: &Vec<Tensor>| {
                if definition {
                    written_out(&x[0], &x[1], &x[2], causal, 0.7)
                } else {
                    x[0].scaled_dot_product_attention(&x[1], &x[2], options)
                }
            };
            let inputs = all[..3].to_vec();
            let mut out = grad(&inputs, |x| (f(x) * &weights).sum_all()).expect("a graph");
            out.push(f(&inputs));
            out
        };
        let expected: Vec<Vec<f64>> = results(&Device::cpu(), DType::F64, true)
            .iter()
            .map(|t| t.to_vec::<f64>().expect("values"))
            .collect();
        for device in devices() {
            for (k, (found, expected)) in
                results(&device, DType::F32, false).iter().zip(&expected).enumerate()
            {
                let what = format!("{device:?}, t {t} s {s} d {d}, result {k}");
                assert_close(&found.to_vec::<f32>().expect("values"), expected, 2e-5, &what);
            }
            for (found, expected) in results(&device, DType::BF16, false).iter().zip(&expected) {
                let found = found.cast(DType::F32).to_vec::<f32>().expect("values");
                assert_close(&found, expected, 0.1, "bf16");
            }
        }
    }
}

#[test]
fn derivatives_of_both_orders() {
    let mut random = Random::new(82);
    for (t, s, causal) in [(3, 3, true), (2, 4, false), (4, 2, true)] {
        let inputs = [
            random.tensor(&[1, 2, t, 3], -1.0, 1.0),
            random.tensor(&[1, 2, s, 3], -1.0, 1.0),
            random.tensor(&[1, 2, s, 3], -1.0, 1.0),
        ];
        let options = AttentionOptions { causal, scale: None };
        check_derivatives(&format!("attention {t} {s} {causal}"), &inputs, |x| {
            x[0].scaled_dot_product_attention(&x[1], &x[2], options)
        });
    }
}

#[test]
fn misfits_are_named() {
    let device = Device::cpu();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &device);
    let of = |q: &[usize], k: &[usize], v: &[usize]| {
        let out = zeros(q).scaled_dot_product_attention(&zeros(k), &zeros(v), AttentionOptions::default());
        out.check().expect_err("a misfit")
    };
    for error in [of(&[2, 3], &[2, 4], &[2, 4]), of(&[2, 3], &[2, 3], &[3, 3]), of(&[3], &[3], &[3])] {
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        assert!(error.to_string().contains("tests/attention.rs"), "{error}");
    }
    assert!(of(&[2, 300], &[2, 300], &[2, 300]).to_string().contains("256"));
}
