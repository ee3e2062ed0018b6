//! Attention of more rows than one tile has, on every device. Options, derivatives of both
//! orders and batches are checked with those of the other ops.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, assert_close, devices};
use vorpal_autodiff::compile::ir::Target;
use vorpal_autodiff::ops::AttentionOptions;
use vorpal_autodiff::{DType, Device, Tensor, grad, plan};

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

/// Halves against f64 of the same halves, relative to 1 and the result. Results are rounded to halves, off by up to 2⁻¹². On
/// cards that multiply matrices, so are probabilities and cotangents of scores where they meet the rows they are multiplied
/// by: a result, a mean of values below 1, is off by as much again. A derivative adds up the probabilities of a key, 1 + ln 300
/// for the first of a causal attention and as many for every head that shares it, times cotangents of scores below 10 and a
/// scale of 0.3, with errors of different signs: ten times as much. Elsewhere all but the result is f32.
#[test]
fn halves_on_every_device() {
    let mut random = Random::new(83);
    let mut cases: Vec<([usize; 2], usize, [usize; 2], bool)> = Vec::new();
    for d in [64, 16, 128] {
        for t in [1, 5, 64, 65, 100, 128, 300] {
            cases.extend([true, false].map(|causal| ([t, t], d, [2, 2], causal)));
        }
    }
    // Other numbers of queries than of keys, heads that share keys, columns of an odd number of matrices.
    for (t, s) in [(70, 300), (300, 70), (1, 130), (130, 1), (33, 97)] {
        cases.extend([true, false].map(|causal| ([t, s], 64, [4, 2], causal)));
    }
    cases.extend([([100, 90], 48, [3, 1], true), ([90, 100], 112, [2, 1], false)]);
    for (number, ([t, s], d, [heads, kv_heads], causal)) in cases.into_iter().enumerate() {
        let sizes = [(t, heads), (s, kv_heads), (s, kv_heads), (t, heads)];
        let x: Vec<Vec<f64>> =
            sizes.iter().map(|(rows, heads)| random.values(2 * rows * heads * d, -1.0, 1.0)).collect();
        let results = |device: &Device, dtype: DType| {
            let all = x.iter().zip(sizes).map(|(values, (rows, heads))| {
                let halves = Tensor::from_slice(values, [2, rows, heads, d], &Device::cpu()).cast(DType::F16);
                halves.cast(dtype).to_device(device).transpose(1, 2)
            });
            let all: Vec<Tensor> = all.collect();
            let weights = all[3].clone();
            let f = |x: &Vec<Tensor>| {
                if dtype == DType::F16 {
                    let options =
                        AttentionOptions { causal, scale: Some(0.3), ..AttentionOptions::default() };
                    return x[0].scaled_dot_product_attention(&x[1], &x[2], options);
                }
                let every = |x: &Tensor| {
                    let [b, h, n, d] = [2, kv_heads, s, d];
                    let repeated = x.unsqueeze(2).broadcast_to([b, h, heads / h, n, d]);
                    repeated.reshape([b, heads, n, d])
                };
                let out = written_out(&x[0], &every(&x[1]), &every(&x[2]), causal, 0.3);
                // The first queries see no key.
                let blind = if causal { t.saturating_sub(s) } else { 0 };
                let zeros = out.slice(2, ..blind as isize) * 0.0;
                Tensor::concat(&[&zeros, &out.slice(2, blind as isize..)], 2)
            };
            let inputs = all[..3].to_vec();
            let mut out = grad(&inputs, |x| (f(x) * &weights).sum_all()).expect("a graph");
            out.push(f(&inputs));
            out
        };
        let values =
            |x: &Tensor| x.cast(DType::F64).to_device(&Device::cpu()).to_vec::<f64>().expect("values");
        let expected: Vec<Vec<f64>> = results(&Device::cpu(), DType::F64).iter().map(values).collect();
        for device in devices() {
            let target = Target::of(device.info());
            let by_matrices = target.abilities.matrices;
            // Shaders take long to compile where there is no card.
            if !by_matrices && !target.is_native() && number % 9 != 4 {
                continue;
            }
            let found = results(&device, DType::F16);
            for (k, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let what =
                    format!("{device:?}, t {t} s {s} d {d}, heads {heads}, causal {causal}, result {k}");
                let found = found.cast(DType::F32).to_vec::<f32>().expect("values");
                let tolerance = if by_matrices && k < 3 { 3e-3 } else { 1e-3 };
                assert_close(&found, expected, tolerance, &what);
            }
        }
    }
}

/// Halves are read where they lie, without a copy for any of the three.
#[test]
fn halves_are_multiplied_as_matrices() {
    let (batch, rows, heads, d) = (2, 512, 4, 64);
    let x = Tensor::zeros([batch, rows, 3 * heads * d], DType::F16, &Device::cpu());
    let weights = Tensor::zeros([batch, rows, heads * d], DType::F16, &Device::cpu()).contiguous();
    let loss = |x: &Vec<Tensor>, options: AttentionOptions| {
        let part = |k: usize| x[0].narrow(2, k * heads * d, heads * d);
        let head = |k: usize| part(k).reshape([batch, rows, heads, d]).transpose(1, 2);
        let out = head(0).scaled_dot_product_attention(&head(1), &head(2), options);
        (out.transpose(1, 2).reshape([batch, rows, heads * d]) * &weights).sum_all()
    };
    let x = vec![x.contiguous()];
    let launches = |options: AttentionOptions, target: Target| {
        let derivative = grad(&x, |x| loss(x, options.clone())).expect("a graph");
        let plan = plan(&derivative, target).expect("a plan");
        let names: Vec<String> = plan.launches.iter().map(|l| l.kernel.name().to_string()).collect();
        (names, format!("{plan}"))
    };
    let (names, text) = launches(AttentionOptions::default().causal(), Target::MATRICES);
    let by_matrices: Vec<&String> = names.iter().filter(|n| n.starts_with("attention")).collect();
    assert_eq!(
        by_matrices,
        [
            "attention_forward_cooperative",
            "attention_backward_q_cooperative",
            "attention_backward_kv_cooperative"
        ],
        "{text}"
    );
    for (options, target) in [
        (AttentionOptions::default().causal(), Target::CARD),
        (AttentionOptions::default().softcap(3.0), Target::MATRICES),
        (AttentionOptions::default().dropout(0.1), Target::MATRICES),
    ] {
        let (names, _) = launches(options, target);
        assert!(names.iter().all(|name| !name.ends_with("_cooperative")), "{names:?}");
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
