//! Sums over the differences of all rows and their derivatives, against plain loops in f64.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, bytes_of, floats, run_native};
use vorpal_kernels::{Kernel, Pairwise, PairwisePass, Power};
use vorpal_tensor::DType;

/// Where operands start in their buffers.
const OFFSETS: [usize; 3] = [3, 0, 5];

/// The kernel's result in f32 and in f64, behind the reference in f64.
fn results(
    sizes: [usize; 4],
    power: Power,
    pass: PairwisePass,
    operands: &[Vec<f32>],
) -> (Vec<f64>, Vec<f32>, Vec<f64>) {
    let [batch, n, m, d] = sizes;
    let operand = |k: usize, at: usize| f64::from(operands[k][at]);
    let (a, b) = (operands.len() - 2, operands.len() - 1);
    let sums = pass == PairwisePass::Sums;
    let by_second = pass == PairwisePass::Slopes { by_second: true };
    let len = batch
        * if sums {
            n * m
        } else if by_second {
            m * d
        } else {
            n * d
        };
    let mut expected = vec![0.0; len];
    for (k, i, j, c) in (0..batch * n * m * d).map(|x| (x / d / m / n, x / d / m % n, x / d % m, x % d)) {
        let gap = operand(a, (k * n + i) * d + c) - operand(b, (k * m + j) * d + c);
        let (value, slope) = match power {
            Power::Absolute => (gap.abs(), if gap == 0.0 { 0.0 } else { gap.signum() }),
            Power::Square => (gap * gap, 2.0 * gap),
        };
        let weight = |w: f64| operand(0, (k * n + i) * m + j) * w;
        if sums {
            expected[(k * n + i) * m + j] += value;
        } else if by_second {
            expected[(k * m + j) * d + c] += weight(-slope);
        } else {
            expected[(k * n + i) * d + c] += weight(slope);
        }
    }
    let offsets = &OFFSETS[..operands.len()];
    let run = |dtype: DType| {
        let kernel = Pairwise::new(sizes, power, pass, dtype, offsets);
        let padded = operands.iter().zip(offsets).map(|(operand, &offset)| {
            let all = vec![f32::NAN; offset].into_iter().chain(operand.iter().copied());
            if dtype == DType::F64 {
                bytemuck::cast_slice(&all.map(f64::from).collect::<Vec<_>>()).to_vec()
            } else {
                bytes_of(&all.collect::<Vec<_>>())
            }
        });
        let mut buffers: Vec<Vec<u8>> = padded.chain([vec![0xAB; dtype.bytes(len)]]).collect();
        run_native(&kernel, &mut buffers, &[]).expect("it runs");
        buffers.pop().expect("a result")
    };
    let wide = bytemuck::pod_collect_to_vec(&run(DType::F64));
    (expected, floats(&run(DType::F32)), wide)
}

#[test]
fn all_sizes() {
    const SHAPES: [[usize; 4]; 10] = [
        [1, 1, 1, 1],
        [2, 7, 5, 3],
        [1, 6, 16, 64],
        [1, 13, 33, 65],
        [3, 12, 32, 8],
        [1, 50, 700, 2],
        [1, 2, 1100, 300],
        [2, 3, 4, 0],
        [2, 3, 0, 4],
        [1, 0, 3, 4],
    ];
    let mut random = Random(7);
    for sizes in SHAPES {
        let [batch, n, m, d] = sizes;
        let mut values = |len: usize| -> Vec<f32> {
            // Some of them the same.
            (0..len).map(|_| (random.unit() * 128.0).round() / 64.0).collect()
        };
        let (w, a, b) = (values(batch * n * m), values(batch * n * d), values(batch * m * d));
        for power in [Power::Absolute, Power::Square] {
            for pass in [
                PairwisePass::Sums,
                PairwisePass::Slopes { by_second: false },
                PairwisePass::Slopes { by_second: true },
            ] {
                let all = [w.clone(), a.clone(), b.clone()];
                let operands = if pass == PairwisePass::Sums { &all[1..] } else { &all[..] };
                let (expected, found, wide) = results(sizes, power, pass, operands);
                assert_eq!(expected.len(), found.len());
                for (k, want) in expected.iter().enumerate() {
                    let (off, off_wide) = ((f64::from(found[k]) - want).abs(), (wide[k] - want).abs());
                    // Sums of up to 300 terms, of numbers up to 16, with signs in the slopes.
                    let scale = if pass == PairwisePass::Sums { want.abs() } else { 64.0 };
                    assert!(off <= 4e-6 * scale + 1e-30, "{sizes:?} {power:?} {pass:?}, {k}: {off:e}");
                    assert!(
                        off_wide <= 1e-14 * scale + 1e-30,
                        "{sizes:?} {power:?} {pass:?}, {k}: {off_wide:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn close_rows_keep_their_digits() {
    let (n, d) = (20, 40);
    let mut random = Random(8);
    let a: Vec<f32> = (0..n * d).map(|_| 950.0 + 50.0 * random.unit()).collect();
    let b: Vec<f32> = a.iter().map(|x| x + 2f32.powi(-10)).collect();
    let (expected, found, _) = results([1, n, n, d], Power::Square, PairwisePass::Sums, &[a, b]);
    for i in 0..n {
        let (want, have) = (expected[i * n + i], f64::from(found[i * n + i]));
        assert!(want < 1e-4 && (have - want).abs() < 1e-6 * want, "{have:e} for {want:e}");
    }
}

#[test]
fn numbers_that_are_none_stay() {
    let a = vec![f32::NAN, 1.0, f32::INFINITY, 0.0];
    let (_, sums, _) =
        results([1, 2, 1, 2], Power::Absolute, PairwisePass::Sums, &[a.clone(), vec![0.0, 0.0]]);
    assert!(sums[0].is_nan() && sums[1] == f32::INFINITY, "{sums:?}");
    let slopes = PairwisePass::Slopes { by_second: false };
    let (_, slopes, _) = results([1, 2, 1, 2], Power::Absolute, slopes, &[vec![2.0, 3.0], a, vec![0.0, 0.0]]);
    assert!(slopes[0].is_nan() && slopes[1..] == [2.0, 3.0, 0.0], "{slopes:?}");
    for power in [Power::Absolute, Power::Square] {
        let same = vec![1.0];
        let by_first = PairwisePass::Slopes { by_second: false };
        let (_, slopes, _) = results([1, 1, 1, 1], power, by_first, &[vec![f32::NAN], same.clone(), same]);
        assert!(slopes[0].is_nan(), "{power:?}: {slopes:?}");
    }
}

#[test]
fn there_is_no_shader() {
    let kernel = Pairwise::new([1, 2, 3, 4], Power::Square, PairwisePass::Sums, DType::F32, &[0, 0]);
    assert!(kernel.shader().is_err() && kernel.describe().contains("1×[2×4, 3×4]"));
}
