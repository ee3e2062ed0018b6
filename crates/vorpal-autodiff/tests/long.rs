//! Long axes: errors of scans, sorting, segments and sparse products against f64, from one element to 2²⁰, on every
//! device. Software adapters end loops after 65,535 rounds; nothing here may notice.

#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::{Random, devices};
use vorpal_autodiff::ops::SparseCsr;
use vorpal_autodiff::{Device, Tensor};

const LENGTHS: [usize; 5] = [1, 2, 1000, 65_537, 1 << 20];

fn list(values: &[f64], device: &Device) -> (Tensor, Vec<f64>) {
    let narrow: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    (Tensor::from_slice(&narrow, [narrow.len()], device), narrow.iter().map(|&v| f64::from(v)).collect())
}

/// The largest error relative to 1 + the largest |reference|, which is what rounding on the way is relative to; fails
/// above `bound`.
fn error(what: &str, n: usize, device: &Device, found: &Tensor, expected: &[f64], bound: f64) {
    let found = found.to_vec::<f32>().unwrap_or_else(|e| panic!("{what} of {n}: {e}"));
    assert_eq!(found.len(), expected.len(), "{what} of {n}");
    let most = expected.iter().filter(|e| e.is_finite()).fold(1.0f64, |m, e| m.max(1.0 + e.abs()));
    let mut worst = 0.0f64;
    for (k, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let own = if f64::from(f) == e { 0.0 } else { (f64::from(f) - e).abs() / most };
        assert!(own <= bound, "{what} of {n} on {}: element {k} is {f}, should be {e}", device.name());
        worst = worst.max(own);
    }
    println!("{what} of {n} on {}: {worst:.1e}", device.name());
}

fn exact(what: &str, n: usize, device: &Device, found: &Tensor, expected: &[i32]) {
    let found = found.to_vec::<i32>().unwrap_or_else(|e| panic!("{what} of {n}: {e}"));
    let wrong = found.iter().zip(expected).position(|(f, e)| f != e);
    assert!(
        found.len() == expected.len() && wrong.is_none(),
        "{what} of {n} on {}: {wrong:?}",
        device.name()
    );
}

/// Prefixes in f64.
fn scanned(x: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let mut state = None;
    x.iter()
        .map(|&v| {
            let next = state.map_or(v, |s| f(s, v));
            state = Some(next);
            next
        })
        .collect()
}

#[test]
fn scans() {
    for device in devices() {
        for n in LENGTHS {
            let mut random = Random::new(n as u64);
            let (x, values) = list(&random.values(n, -1.0, 1.0), &device);
            error("cumsum", n, &device, &x.cumsum(0), &scanned(&values, |a, b| a + b), 1e-5);
            let (p, factors) = list(&random.values(n, 0.999, 1.001), &device);
            // Products of factors near 1 all round down: a sixteenth of the worst case.
            let bound = (n as f64 * 2f64.powi(-28)).max(1e-5);
            error("cumprod", n, &device, &p.cumprod(0), &scanned(&factors, |a, b| a * b), bound);
            let log_add = |a: f64, b: f64| a.max(b) + (-(a - b).abs()).exp().ln_1p();
            error("logcumsumexp", n, &device, &x.logcumsumexp(0), &scanned(&values, log_add), 1e-5);
            error("cummax", n, &device, &x.cummax(0).0, &scanned(&values, f64::max), 0.0);
            let (a, decay) = list(&random.values(n, 0.9, 1.0), &device);
            let mut h = 0.0;
            let states: Vec<f64> = decay
                .iter()
                .zip(&values)
                .map(|(a, b)| {
                    h = a * h + b;
                    h
                })
                .collect();
            error("linear_scan", n, &device, &Tensor::linear_scan(&a, &x, None, 0, false), &states, 1e-5);
        }
    }
}

#[test]
fn sorting() {
    for device in devices() {
        for n in LENGTHS {
            let mut random = Random::new(n as u64);
            // Equals are common where there are many.
            let raw: Vec<f64> =
                random.values(n, -30_000.0, 30_000.0).iter().map(|v| v.round() + 0.0).collect();
            let (x, values) = list(&raw, &device);
            let mut order: Vec<i32> = (0..n as i32).collect();
            order.sort_by(|&a, &b| values[a as usize].total_cmp(&values[b as usize]));
            exact("argsort", n, &device, &x.argsort(0, false), &order);
            let sorted: Vec<f64> = order.iter().map(|&k| values[k as usize]).collect();
            error("sort", n, &device, &x.sort(0, false).0, &sorted, 0.0);
            let largest: Vec<f64> = sorted.iter().rev().take(10).copied().collect();
            error("topk", n, &device, &x.topk(n.min(10), 0, true).0, &largest, 0.0);
        }
    }
}

#[test]
fn segments() {
    for device in devices() {
        for n in LENGTHS {
            let mut random = Random::new(n as u64);
            let (x, values) = list(&random.values(n, -1.0, 1.0), &device);
            // One segment holds half of all elements; the others share the rest, and some are empty.
            let count = n.div_ceil(8) + 1;
            let mut ids: Vec<i32> =
                (0..n)
                    .map(|_| {
                        if random.below(2) == 0 {
                            1.min(count as i32 - 1)
                        } else {
                            random.below(count) as i32
                        }
                    })
                    .collect();
            for sorted in [false, true] {
                if sorted {
                    ids.sort_unstable();
                }
                let numbers = Tensor::from_slice(&ids, [n], &device);
                let (mut sums, mut tops) = (vec![0.0; count], vec![f64::NEG_INFINITY; count]);
                for (&id, &v) in ids.iter().zip(&values) {
                    sums[id as usize] += v;
                    tops[id as usize] = tops[id as usize].max(v);
                }
                error("segment_sum", n, &device, &x.segment_sum(&numbers, count, sorted), &sums, 1e-5);
                error("segment_max", n, &device, &x.segment_max(&numbers, count, sorted), &tops, 0.0);
            }
        }
    }
}

#[test]
fn sparse_products() {
    for device in devices() {
        for n in LENGTHS {
            let mut random = Random::new(n as u64);
            // n entries of a matrix of n ∕ 4 rows, one of which holds a quarter of all.
            let rows = n.div_ceil(4);
            let mut row: Vec<usize> =
                (0..n).map(|_| if random.below(4) == 0 { 0 } else { random.below(rows) }).collect();
            row.sort_unstable();
            let mut offsets = vec![0i32; rows + 1];
            row.iter().for_each(|&r| offsets[r + 1] += 1);
            (0..rows).for_each(|r| offsets[r + 1] += offsets[r]);
            let columns: Vec<i32> = (0..n).map(|_| random.below(rows) as i32).collect();
            let (v, values) = list(&random.values(n, -1.0, 1.0), &device);
            let (x, dense) = list(&random.values(rows, -1.0, 1.0), &device);
            let whole = |x: &[i32]| Tensor::from_slice(x, [x.len()], &device);
            let a = SparseCsr::new(&v, &whole(&offsets), &whole(&columns), [rows, rows]);
            let (mut y, mut z) = (vec![0.0; rows], vec![0.0; rows]);
            for k in 0..n {
                y[row[k]] += values[k] * dense[columns[k] as usize];
                z[columns[k] as usize] += values[k] * dense[row[k]];
            }
            error("sparse matmul", n, &device, &a.matmul(&x), &y, 1e-5);
            error("transposed sparse matmul", n, &device, &a.transpose().matmul(&x), &z, 1e-5);
        }
    }
}

/// Results too large for the last caches go past them natively. Neither rows nor their number are multiples of anything.
#[test]
fn results_larger_than_the_caches() {
    let (device, rows, columns) = (Device::cpu(), 4_109, 1_031);
    let mut random = Random::new(16);
    let (x, values) = list(&random.values((rows + 1) * columns, -4.0, 4.0), &device);
    let (weight, scales) = list(&random.values(columns, 0.5, 1.5), &device);
    let (bias, shifts) = list(&random.values(columns, -1.0, 1.0), &device);
    // A view that starts within a line of the cache.
    let x = x.reshape([rows + 1, columns]).narrow(0, 1, rows);
    let values = &values[columns..];
    let n = rows * columns;
    let line: Vec<f64> = values.iter().map(|v| 2.0 * v + 1.0).collect();
    error("a line", n, &device, &(&x * 2.0 + 1.0).reshape([n]), &line, 1e-6);
    let softmax = values.chunks(columns).flat_map(|row| {
        let total: f64 = row.iter().map(|v| v.exp()).sum();
        row.iter().map(move |v| v.exp() / total)
    });
    error("softmax", n, &device, &x.softmax(-1).reshape([n]), &softmax.collect::<Vec<_>>(), 1e-6);
    let normalized = values.chunks(columns).flat_map(|row| {
        let mean = row.iter().sum::<f64>() / columns as f64;
        let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / columns as f64;
        let weights = scales.iter().zip(&shifts);
        row.iter().zip(weights).map(move |(v, (s, b))| (v - mean) / (variance + 1e-5).sqrt() * s + b)
    });
    let found = x.layer_norm(Some(&weight), Some(&bias), 1e-5).reshape([n]);
    error("layer_norm", n, &device, &found, &normalized.collect::<Vec<_>>(), 2e-6);
}
