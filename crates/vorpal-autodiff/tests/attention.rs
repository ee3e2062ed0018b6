//! Attention of more rows than one tile has, on every device. Options, derivatives of both
//! orders and batches are checked with those of the other ops.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, assert_close, devices};
use vorpal_autodiff::ops::AttentionOptions;
use vorpal_autodiff::{DType, Device, Tensor, grad};

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
        let options = AttentionOptions { causal, scale: Some(0.7), ..AttentionOptions::default() };
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
                    x[0].scaled_dot_product_attention(&x[1], &x[2], options.clone())
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

/// Rows of values that are neither all alike nor known to the compiler.
fn rows(seed: u64, shape: [usize; 4], device: &Device) -> Tensor {
    let _keys = device.fork_rng(seed);
    let x = Tensor::randn(shape, DType::F32, device);
    x.eval().expect("it runs");
    x
}

/// On a software adapter one launch cannot draw for so many keys.
#[test]
fn keys_in_parts() {
    let results = |device: &Device| {
        let shape = |rows: usize| [1, 2, rows, 16];
        let x = [(41, 5), (42, 9000), (43, 9000), (44, 5)].map(|(seed, n)| rows(seed, shape(n), device));
        let bias = rows(45, [1, 2, 1, 9000], device);
        let inputs = vec![x[0].clone(), x[1].clone(), x[2].clone(), bias];
        let run = |x: &Vec<Tensor>| {
            let _keys = device.fork_rng(46);
            let options = AttentionOptions::default().causal().bias(x[3].clone()).dropout(0.2);
            x[0].scaled_dot_product_attention(&x[1], &x[2], options)
        };
        let mut out = grad(&inputs, |q| (run(q) * &x[3]).sum_all()).expect("a graph");
        out.push(run(&inputs));
        out.iter().map(|t| t.to_vec::<f32>().expect("values")).collect::<Vec<_>>()
    };
    let expected = results(&Device::cpu());
    for device in devices().iter().skip(1) {
        for (k, (found, expected)) in results(device).iter().zip(&expected).enumerate() {
            let expected: Vec<f64> = expected.iter().map(|&v| f64::from(v)).collect();
            assert_close(found, &expected, 1e-4, &format!("result {k}"));
        }
    }
}

/// The same seed drops the same on every device, anew in every call, about as much as was asked for; the derivative
/// drops what the result dropped, and runs give the same bits.
#[test]
fn dropout_is_replayable() {
    let keys = 64;
    let results = |device: &Device| {
        let ones = |rows: usize, columns: usize| Tensor::ones([1, 2, rows, columns], DType::F32, device);
        let row = Tensor::iota([1, 2, keys, keys], 2, DType::I32, device);
        let column = Tensor::iota([1, 2, keys, keys], 3, DType::I32, device);
        let values = vec![row.eq(column).cast(DType::F32) * keys as f64];
        let _keys = device.fork_rng(3);
        let run = |v: &Tensor| {
            let options = AttentionOptions::default().dropout(0.25);
            ones(100, 4).scaled_dot_product_attention(&ones(keys, 4), v, options)
        };
        let (first, second) = (run(&values[0]), run(&values[0]));
        let _keys = device.fork_rng(3);
        let to_values = grad(&values, |v| run(&v[0]).sum_all()).expect("a graph").remove(0);
        // Values tell the keys apart, so sums over queries are what a value gets.
        let sums = first.sum(2);
        let parts = [first, second, to_values.slice(3, ..1).squeeze(3) * keys as f64, sums];
        parts.map(|t| t.to_vec::<f32>().expect("values"))
    };
    let expected = results(&Device::cpu());
    let [first, second, to_values, sums] = &expected;
    let kept = first.iter().filter(|&&v| v != 0.0).count() as f64 / first.len() as f64;
    assert!((kept - 0.75).abs() < 0.02, "{kept}");
    assert_ne!(first, second);
    for (a, b) in to_values.iter().zip(sums) {
        assert!((a - b).abs() < 1e-3, "{a} against {b}");
    }
    for device in devices() {
        for (found, expected) in results(&device).iter().zip(&expected) {
            let same = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3);
            assert!(same, "{}", device.name());
        }
        assert_eq!(results(&device), results(&device), "{}", device.name());
    }
}
