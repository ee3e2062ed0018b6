//! Attention over 8,192 keys: time and memory. `VORPAL_LONG=1` takes eight heads that see all keys instead of one that
//! sees its past.

#![allow(clippy::expect_used)]

mod common;

use std::time::Instant;

use common::{assert_close, devices};
use vorpal_autodiff::ops::AttentionOptions;
use vorpal_autodiff::{DType, Device, Tensor, value_and_grad};

/// Rows of values that are neither all alike nor known to the compiler.
fn rows(seed: u64, shape: [usize; 4], device: &Device) -> Tensor {
    device.seed(seed);
    let x = Tensor::randn(shape, DType::F32, device);
    x.eval().expect("it runs");
    x
}

/// Bytes that forward and backward pass of 8,192 queries and keys take beyond inputs and results; the results.
fn long(device: &Device, heads: usize) -> (u64, Vec<Tensor>) {
    let shape = [1, heads, 8192, 64];
    let x = [31, 32, 33, 34].map(|seed| rows(seed, shape, device));
    let inputs = x[..3].to_vec();
    let before = device.stats().bytes_in_use;
    let start = Instant::now();
    let (value, mut out) = value_and_grad(&inputs, |q| {
        let options = AttentionOptions { causal: heads == 1, ..AttentionOptions::default() };
        let y = q[0].scaled_dot_product_attention(&q[1], &q[2], options);
        (y * &x[3]).sum_all()
    })
    .expect("a graph");
    out.push(value);
    vorpal_autodiff::eval(&out).expect("it runs");
    device.synchronize().expect("it runs");
    println!("{heads} heads on {}: {:.1} s", device.name(), start.elapsed().as_secs_f64());
    let results: usize = out.iter().map(|t| 4 * t.shape().numel()).sum();
    (device.stats().peak_bytes - before - results as u64, out)
}

#[test]
fn long_sequences_need_little_memory() {
    let heads = if std::env::var_os("VORPAL_LONG").is_some() { 8 } else { 1 };
    let mut expected: Option<Vec<Vec<f64>>> = None;
    for device in devices() {
        let (bytes, out) = long(&device, heads);
        println!("{} MB beyond inputs and results", bytes >> 20);
        assert!(bytes < 25_000_000 * heads as u64, "{bytes} bytes on {}", device.name());
        let out: Vec<Vec<f32>> = out.iter().map(|t| t.to_vec::<f32>().expect("values")).collect();
        if let Some(expected) = &expected {
            for (found, expected) in out.iter().zip(expected) {
                assert_close(found, expected, 2e-4, "long");
            }
        }
        expected = Some(out.into_iter().map(|t| t.into_iter().map(f64::from).collect()).collect());
    }
}
