//! Fourier transforms: shaders for every target, native bodies against the sum that defines them, the adapter against
//! those, in one, two and three launches.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, adapter, bytes_of, check_shader, floats, run_native, run_on};
use vorpal_kernels::{Fft, Kernel, UnitRoots};
use vorpal_tensor::{DType, Device};

fn run(launches: &[Fft], x: &[f32], device: Option<&Device>) -> Vec<f32> {
    let mut state = x.to_vec();
    for kernel in launches {
        let mut buffers = vec![bytes_of(&state), vec![0; 4 * kernel.args()[1].len]];
        match device {
            None => run_native(kernel, &mut buffers, &[]).expect("it runs"),
            Some(device) => run_on(device, kernel, &mut buffers, &[], None).expect("it runs"),
        }
        state = floats(&buffers[1]);
    }
    state
}

/// Root of the mean square of the difference, relative to that of the reference.
fn error(found: &[f32], reference: &[f64]) -> f64 {
    assert_eq!(found.len(), reference.len());
    let square = |x: f64| x * x;
    let off: f64 = found.iter().zip(reference).map(|(&f, &r)| square(f64::from(f) - r)).sum();
    let all: f64 = reference.iter().map(|&r| square(r)).sum();
    (off / all.max(1e-300)).sqrt()
}

fn defined(x: &[f32], n: usize, inverse: bool, scale: f64) -> Vec<f64> {
    let mut out = Vec::new();
    for row in x.chunks(2 * n) {
        for k in 0..n {
            let (mut re, mut im) = (0.0, 0.0);
            for (j, pair) in row.chunks(2).enumerate() {
                let angle = std::f64::consts::TAU * (j * k % n) as f64 / n as f64;
                let (s, c) = (if inverse { angle } else { -angle }).sin_cos();
                re += c * f64::from(pair[0]) - s * f64::from(pair[1]);
                im += s * f64::from(pair[0]) + c * f64::from(pair[1]);
            }
            out.extend([scale * re, scale * im]);
        }
    }
    out
}

#[test]
fn transforms() {
    let mut random = Random(1);
    for (n, rows) in [(2, 70), (4, 5), (8, 33), (16, 3), (128, 2), (512, 3), (1024, 2), (2048, 3)] {
        for inverse in [false, true] {
            let x = random.units(2 * n * rows);
            let reference = defined(&x, n, inverse, 0.5);
            let native = run(&[Fft::whole(n, rows, inverse, 0.5, DType::F32, 0)], &x, None);
            assert!(error(&native, &reference) < 3e-7, "{n} natively: {}", error(&native, &reference));
            let launches = Fft::launches(n, rows, inverse, 0.5, DType::F32, 0).expect("a power of two");
            assert_eq!(launches.len(), if n > 1024 { 2 } else { 1 });
            launches.iter().for_each(|kernel| check_shader(&kernel.shader().expect("a shader")));
            let found = run(&launches, &x, None);
            assert!(error(&found, &reference) < 3e-7, "{n} in parts: {}", error(&found, &reference));
            if let Some(device) = adapter() {
                let found = run(&launches, &x, Some(&device));
                assert!(error(&found, &reference) < 5e-7, "{n}: {}", error(&found, &reference));
            }
        }
    }
}

#[test]
fn the_longest_rows_take_three_launches() {
    let n = 1 << 21;
    let x = Random(2).units(2 * n);
    let native = run(&[Fft::whole(n, 1, false, 1.0, DType::F32, 0)], &x, None);
    let reference: Vec<f64> = native.iter().map(|&v| f64::from(v)).collect();
    let launches = Fft::launches(n, 1, false, 1.0, DType::F32, 0).expect("a power of two");
    assert_eq!(launches.len(), 3);
    if let Some(device) = adapter() {
        let found = run(&launches, &x, Some(&device));
        assert!(error(&found, &reference) < 1e-6, "{}", error(&found, &reference));
    }
    assert!(Fft::launches(12, 1, false, 1.0, DType::F32, 0).is_none());
}

#[test]
fn tables_of_roots() {
    for (count, turn, squared) in
        [(9, 8, false), (1000, 1999, false), (70_000, 2 * 70_000, true), (0, 1, true)]
    {
        for inverse in [false, true] {
            let kernel = UnitRoots::new(count, turn, squared, inverse, DType::F32);
            check_shader(&kernel.shader().expect("a shader"));
            let reference: Vec<f64> = (0..count as u64)
                .flat_map(|k| {
                    let place = if squared { k * k } else { k } % turn as u64;
                    let angle = std::f64::consts::TAU * place as f64 / turn as f64;
                    [angle.cos(), if inverse { angle.sin() } else { -angle.sin() }]
                })
                .collect();
            let close = |found: Vec<f32>, what: &str| {
                let worst =
                    found.iter().zip(&reference).map(|(&f, r)| (f64::from(f) - r).abs()).fold(0.0, f64::max);
                assert!(worst < 1.5e-7, "{what} {turn}: {worst}");
            };
            let mut buffers = vec![vec![0; 8 * count]];
            run_native(&kernel, &mut buffers, &[]).expect("it runs");
            close(floats(&buffers[0]), "natively");
            if let Some(device) = adapter().filter(|_| count > 0) {
                run_on(&device, &kernel, &mut buffers, &[], None).expect("it runs");
                close(floats(&buffers[0]), "on an adapter");
            }
        }
    }
}
