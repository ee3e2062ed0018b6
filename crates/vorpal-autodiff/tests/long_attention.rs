//! Attention over 8,192 keys: time and memory. The native CPU computes one head that sees its past; with `VORPAL_LONG=1`
//! all devices compute eight such heads. What eight heads take is planned for every device in any case.

#![allow(clippy::expect_used)]

mod common;

use std::time::Instant;

use common::{assert_close, devices};
use vorpal_autodiff::compile::ir::Target;
use vorpal_autodiff::ops::AttentionOptions;
use vorpal_autodiff::{DType, Device, Tensor, plan, value_and_grad};

/// Rows of values that are neither all alike nor known to the compiler.
fn rows(seed: u64, shape: [usize; 4], device: &Device) -> Tensor {
    let _keys = device.fork_rng(seed);
    let x = Tensor::randn(shape, DType::F32, device);
    x.eval().expect("it runs");
    x
}

/// Forward and backward pass of 8,192 queries and keys: operands, and the results as a graph.
fn long(device: &Device, heads: usize) -> Vec<Tensor> {
    let shape = [1, heads, 8192, 64];
    let x = [31, 32, 33, 34].map(|seed| rows(seed, shape, device));
    let inputs = x[..3].to_vec();
    let (value, mut out) = value_and_grad(&inputs, |q| {
        let options = AttentionOptions { causal: true, ..AttentionOptions::default() };
        let y = q[0].scaled_dot_product_attention(&q[1], &q[2], options);
        (y * &x[3]).sum_all()
    })
    .expect("a graph");
    out.push(value);
    out
}

/// Bytes of the results of [`long`].
fn results(out: &[Tensor]) -> usize {
    out.iter().map(|t| 4 * t.shape().numel()).sum()
}

fn eight_heads_are_planned_in_little_memory() {
    let out = long(&Device::cpu(), 8);
    for target in [Target::NATIVE, Target::SOFTWARE, Target::CARD] {
        let beyond = plan(&out, target).expect("a plan").peak_bytes() - results(&out);
        println!("{} MB beyond inputs and results, {target:?}", beyond >> 20);
        assert!(beyond < 200_000_000, "{beyond} bytes, {target:?}");
    }
}

fn long_sequences_need_little_memory() {
    let all = std::env::var_os("VORPAL_LONG").is_some();
    let (heads, devices) = if all { (8, devices()) } else { (1, vec![Device::cpu()]) };
    let mut expected: Option<Vec<Vec<f64>>> = None;
    for device in devices {
        let before = device.stats().bytes_in_use;
        let out = long(&device, heads);
        let start = Instant::now();
        vorpal_autodiff::eval(&out).expect("it runs");
        device.synchronize().expect("it runs");
        let inputs = 4 * (4 * heads * 8192 * 64) as u64;
        let bytes = device.stats().peak_bytes - before - inputs - results(&out) as u64;
        let seconds = start.elapsed().as_secs_f64();
        println!("{heads} heads on {}: {seconds:.1} s, {} MB beyond", device.name(), bytes >> 20);
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

/// One after the other: the peak of a device is one for all.
#[test]
fn memory_is_linear() {
    long_sequences_need_little_memory();
    eight_heads_are_planned_in_little_memory();
}
