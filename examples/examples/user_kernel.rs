//! A kernel of one's own: squared ReLU (So et al., "Primer", 2021) as one op with its WGSL, native body and derivative,
//! checked against the composite of built-in ops.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use std::time::Instant;

use vorpal::CustomKernel;
use vorpal::prelude::*;

const SHADER: &str = "
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

// Elements of the result, set for every launch.
override COUNT: u32 = 1u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * wgs.x) * 64u + lane;
    if i < COUNT {
        let v = max(x[i], 0.0);
        out[i] = v * v;
    }
}";

/// The op. Its derivative is a graph of built-in ops, so that second derivatives follow.
fn squared_relu() -> Result<CustomKernel> {
    Ok(CustomKernel::new("squared_relu", SHADER)?
        .with_native(|mut run, _, _| {
            let (x, out) = (run.read::<f32>(0)?, run.write::<f32>(1)?);
            out.iter_mut().zip(x).for_each(|(o, &x)| *o = x.max(0.0).powi(2));
            Ok(())
        })
        .with_vjp(|v| vec![Some(v.inputs[0].relu() * 2.0 * v.grad)])
        .elementwise())
}

/// Largest difference of two tensors.
fn apart(a: &Tensor, b: &Tensor) -> Result<f32> {
    (a - b).abs().reshape([a.shape().numel()]).max(0).item()
}

/// Milliseconds of one run, the best of five after one that compiles.
fn time(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    run()?;
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}

fn main() -> Result<()> {
    let device = Device::best()?;
    let kernel = squared_relu()?;
    println!("{device}");
    println!(
        "{:>10} {:>14} {:>14} {:>12} {:>12}",
        "elements", "kernel ms", "composite ms", "value", "gradient"
    );
    for n in [1usize << 10, 1 << 16, 1 << 20, 1 << 22] {
        let x = Tensor::randn([n], DType::F32, &device);
        x.eval()?;
        let ours = |x: &Tensor| kernel.call(&[x]);
        let built_in = |x: &Tensor| x.relu().square();
        let value = apart(&ours(&x), &built_in(&x))?;
        let slope = |f: &dyn Fn(&Tensor) -> Tensor| grad(&x, |x| f(x).sum_all());
        let gradient = apart(&slope(&ours)?, &slope(&built_in)?)?;
        // Reading one sum back waits for the device.
        let own_ms = time(|| ours(&x).sum_all().item::<f32>().map(|_| ()))?;
        let composite_ms = time(|| built_in(&x).sum_all().item::<f32>().map(|_| ()))?;
        println!("{n:>10} {own_ms:>14.3} {composite_ms:>14.3} {value:>12.1e} {gradient:>12.1e}");
    }
    Ok(())
}
