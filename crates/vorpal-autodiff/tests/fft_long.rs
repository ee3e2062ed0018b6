//! Fourier transforms of many lengths against f64: powers of two in one launch and in several, all others through a
//! chirp on adapters.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, devices};
use vorpal_autodiff::ops::{ConvolveMode, FftNorm};
use vorpal_autodiff::{Device, Tensor, grad};

/// Root of the mean square of the difference, relative to that of the reference.
fn error(found: &[f32], reference: &[f64]) -> f64 {
    assert_eq!(found.len(), reference.len());
    let square = |x: f64| x * x;
    let off: f64 = found.iter().zip(reference).map(|(&f, &r)| square(f64::from(f) - r)).sum();
    (off / reference.iter().map(|&r| square(r)).sum::<f64>()).sqrt()
}

/// A transform in f64 by splitting off the smallest factor; the sum that defines it for primes.
fn reference(x: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let n = x.len();
    let factor = (2..=n).find(|f| n.is_multiple_of(*f)).unwrap_or(1);
    let root = |k: usize| {
        let (s, c) = (std::f64::consts::TAU * (k % n) as f64 / n as f64).sin_cos();
        (c, -s)
    };
    let add = |sum: (f64, f64), (a, b): (f64, f64), (c, d): (f64, f64)| {
        (sum.0 + a * c - b * d, sum.1 + a * d + b * c)
    };
    if factor == n || n == 1 {
        return (0..n).map(|k| (0..n).fold((0.0, 0.0), |sum, j| add(sum, x[j], root(j * k)))).collect();
    }
    let parts: Vec<Vec<(f64, f64)>> = (0..factor)
        .map(|f| reference(&x.iter().copied().skip(f).step_by(factor).collect::<Vec<_>>()))
        .collect();
    (0..n)
        .map(|k| (0..factor).fold((0.0, 0.0), |sum, f| add(sum, parts[f][k % (n / factor)], root(f * k))))
        .collect()
}

#[test]
fn lengths() {
    let mut random = Random::new(1);
    for n in [1, 2, 3, 5, 7, 12, 1000, 65_537, 1 << 20] {
        let narrow: Vec<f32> = random.values(2 * n, -1.0, 1.0).iter().map(|&v| v as f32).collect();
        let wide: Vec<f64> = narrow.iter().map(|&v| f64::from(v)).collect();
        let exact: Vec<f64> = if n == 65_537 {
            // A prime, too long for its sum: single results are compared with it below.
            let x = Tensor::from_slice(&wide, [n, 2], &Device::cpu());
            x.fft(0, FftNorm::Backward).to_vec::<f64>().expect("values")
        } else {
            let pairs: Vec<(f64, f64)> = wide.chunks(2).map(|p| (p[0], p[1])).collect();
            reference(&pairs).into_iter().flat_map(|(re, im)| [re, im]).collect()
        };
        for k in [0, n / 3, n - 1] {
            let (mut re, mut im) = (0.0, 0.0);
            for (j, pair) in wide.chunks(2).enumerate() {
                let (s, c) = (std::f64::consts::TAU * (j * k % n) as f64 / n as f64).sin_cos();
                re += c * pair[0] + s * pair[1];
                im += c * pair[1] - s * pair[0];
            }
            let off = (exact[2 * k] - re).abs().max((exact[2 * k + 1] - im).abs());
            assert!(off < 1e-9 * (n as f64).sqrt(), "reference of {n} at {k}: {off}");
        }
        for device in devices() {
            let x = Tensor::from_slice(&narrow, [n, 2], &device);
            let y = x.fft(0, FftNorm::Backward);
            let back = y.ifft(0, FftNorm::Backward);
            let there = error(&y.to_vec().expect("values"), &exact);
            let back = error(&back.to_vec().expect("values"), &wide);
            println!("fft of {n} on {}: relative error {there:.1e}, and back {back:.1e}", device.name());
            assert!(there < 1e-6 && back < 1.5e-6, "{n} on {}: {there}, {back}", device.name());
            let real = Tensor::from_slice(&narrow[..n], [n], &device);
            let whole = Tensor::from_slice(&wide[..n], [n], &Device::cpu());
            let whole = Tensor::complex(&whole, &whole.full_like(0.0)).fft(0, FftNorm::Ortho);
            let half = real.rfft(0, FftNorm::Ortho);
            let whole = whole.narrow(0, 0, n / 2 + 1).to_vec().expect("values");
            let off = error(&half.to_vec().expect("values"), &whole);
            assert!(off < 1e-6, "half of the transform of real numbers, {n} on {}: {off}", device.name());
            let again = half.irfft(n, 0, FftNorm::Ortho);
            let real = error(&again.to_vec().expect("values"), &wide[..n]);
            assert!(real < 1.5e-6, "real numbers, {n} on {}: {real}", device.name());
        }
    }
}

#[test]
fn planes_and_batches() {
    let mut random = Random::new(2);
    let (b, h, w) = (3, 48, 64);
    let narrow: Vec<f32> = random.values(2 * b * h * w, -1.0, 1.0).iter().map(|&v| v as f32).collect();
    let wide: Vec<f64> = narrow.iter().map(|&v| f64::from(v)).collect();
    let exact = Tensor::from_slice(&wide, [b, h, w, 2], &Device::cpu()).fft2(FftNorm::Ortho);
    let exact = exact.to_vec::<f64>().expect("values");
    for device in devices() {
        let y = Tensor::from_slice(&narrow, [b, h, w, 2], &device).fft2(FftNorm::Ortho);
        let off = error(&y.to_vec().expect("values"), &exact);
        assert!(off < 1e-6, "{}: {off}", device.name());
    }
}

#[test]
fn long_convolutions() {
    let mut random = Random::new(3);
    let (n, k) = (5000, 3000);
    let x: Vec<f32> = random.values(n, -1.0, 1.0).iter().map(|&v| v as f32).collect();
    let kernel: Vec<f32> = random.values(k, -1.0, 1.0).iter().map(|&v| v as f32).collect();
    let mut exact = vec![0.0; n + k - 1];
    for (i, &x) in x.iter().enumerate() {
        for (j, &k) in kernel.iter().enumerate() {
            exact[i + j] += f64::from(x) * f64::from(k);
        }
    }
    for device in devices() {
        let (a, b) = (Tensor::from_slice(&x, [n], &device), Tensor::from_slice(&kernel, [k], &device));
        let full = a.fft_convolve(&b, ConvolveMode::Full).to_vec().expect("values");
        let off = error(&full, &exact);
        println!("convolution of {n} with {k} on {}: {off:.1e}", device.name());
        assert!(off < 1e-6, "{}: {off}", device.name());
        assert_eq!(a.convolve(&b, ConvolveMode::Full).to_vec::<f32>().expect("values"), full);
        let causal = a.fft_convolve(&b, ConvolveMode::Causal).to_vec().expect("values");
        assert!(error(&causal, &exact[..n]) < 1e-6);
        // The derivative by the kernel is a correlation.
        let first = grad(&b, |b| a.fft_convolve(b, ConvolveMode::Causal).slice(0, 4000..).sum_all());
        let first = first.and_then(|g| g.to_vec::<f32>()).expect("values");
        for j in [0, 1, 2999] {
            let sum: f64 = (4000..n).map(|t| f64::from(x[t - j])).sum();
            assert!(
                (f64::from(first[j]) - sum).abs() < 1e-3,
                "{}: {} against {sum}",
                device.name(),
                first[j]
            );
        }
    }
}
