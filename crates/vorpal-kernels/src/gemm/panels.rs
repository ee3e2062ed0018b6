//! Products of few rows with a matrix that was laid out for them: sixteen columns at a time, term by term.
//!
//! A recurrent layer multiplies a few rows with the same matrix in every step. Products that lay it out for themselves spend
//! about half of their time on that; laid out once, it is read from the second cache as fast as it can be used.

use bytemuck::cast;
use pulp::NullaryFnOnce;
use pulp::x86::V3;
use vorpal_tensor::{Error, Result};

use super::Matrix;
use super::few_rows::{Pair, TALL, WIDE, tile};
use crate::interp::{for_each, workers};

/// Rows from which on a product is no longer one of few.
const ROWS: std::ops::RangeInclusive<usize> = 4..=64;
/// Columns and terms at least.
const LARGE: usize = 64;
/// Multiplications of a task at least: some ten microseconds.
const TASK: usize = 1 << 19;
/// Tasks for every core, so that one that was late does not hold up all.
const TASKS_A_CORE: usize = 2;

/// Columns of a panel.
pub(crate) const PANEL: usize = WIDE;

/// Whether a product of such sizes, whose rows of `a` lie as told, gains by panels.
pub(crate) fn fits([m, n, k]: [usize; 3], of_a: Matrix) -> bool {
    let sizes = ROWS.contains(&m) && n.min(k) >= LARGE && n.is_multiple_of(PANEL);
    sizes && of_a.column_stride == 1 && V3::try_new().is_some()
}

/// One thread's share of a product: some panels.
struct Task<'o, 'a> {
    simd: V3,
    rows: &'o [&'a [f32]],
    panels: &'a [Pair],
    out: Vec<&'o mut [f32]>,
}

impl NullaryFnOnce for Task<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let (count, depth) = (self.rows.len(), self.rows.first().map_or(1, |row| row.len()));
        let tiles = count.div_ceil(TALL);
        for p in 0..self.panels.len() / depth {
            for t in 0..tiles {
                // Tiles as equally high as can be.
                let (from, to) = (t * count / tiles, (t + 1) * count / tiles);
                match to - from {
                    6 => self.tile::<6>(from, p, depth),
                    5 => self.tile::<5>(from, p, depth),
                    4 => self.tile::<4>(from, p, depth),
                    3 => self.tile::<3>(from, p, depth),
                    2 => self.tile::<2>(from, p, depth),
                    _ => self.tile::<1>(from, p, depth),
                }
            }
        }
    }
}

impl Task<'_, '_> {
    #[inline(always)]
    fn tile<const R: usize>(&mut self, row: usize, panel: usize, depth: usize) {
        let lines = std::array::from_fn(|r| self.rows[row + r]);
        let sums = tile::<R>(self.simd, lines, &self.panels[panel * depth..(panel + 1) * depth]);
        for (out, sum) in self.out[row..].iter_mut().zip(sums) {
            out[panel * PANEL..(panel + 1) * PANEL].copy_from_slice(&cast::<Pair, [f32; WIDE]>(sum));
        }
    }
}

/// `out (m × n) = a (m × k) · b (k × n)`, contiguous, where `b` lies panel by panel, `[n ∕ 16, k, 16]`.
pub(crate) fn product(
    [m, n, k]: [usize; 3],
    out: &mut [f32],
    (a, of_a): (&[f32], Matrix),
    b: &[f32],
) -> Result<()> {
    let simd = V3::try_new().filter(|_| fits([m, n, k], of_a) && of_a.fits(m, k, a.len()));
    let (Some(simd), true) = (simd, out.len() == m * n && b.len() >= n * k) else {
        return Err(Error::internal("gemm", format!("{m}×{k}×{n} does not go by panels")));
    };
    let rows: Vec<&[f32]> = (0..m).map(|i| &a[of_a.place(i, 0)..][..k]).collect();
    let panels: &[Pair] = bytemuck::cast_slice(&b[..n * k]);
    let parts = (m * n * k / TASK).clamp(1, TASKS_A_CORE * workers());
    let size = (n / PANEL).div_ceil(parts);
    let mut lines: Vec<&mut [f32]> = out.chunks_mut(n).collect();
    let tasks = panels.chunks(size * k).map(|panels| {
        let columns = panels.len() / k * PANEL;
        let out = lines.iter_mut().map(|line| line.split_off_mut(..columns).unwrap_or_default()).collect();
        Task { simd, rows: &rows, panels, out }
    });
    for_each(tasks.collect(), |task: Task<'_, '_>| {
        simd.vectorize(task);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_panels_beside_sums_in_f64() {
        for [m, n, k] in [[4, 64, 64], [32, 1024, 256], [13, 80, 100], [64, 128, 65], [7, 640, 200]] {
            let of_a = Matrix { offset: 3, row_stride: k as isize + 5, column_stride: 1 };
            if !fits([m, n, k], of_a) {
                continue;
            }
            let number = |v: usize| ((v * 7919) % 1013) as f32 / 500.0 - 1.0;
            let a: Vec<f32> = (0..m * (k + 5) + 3).map(number).collect();
            let b: Vec<f32> = (0..n * k).map(|v| number(v + 11)).collect();
            let mut out = vec![f32::NAN; m * n];
            product([m, n, k], &mut out, (&a, of_a), &b).expect("it fits");
            for i in 0..m {
                for j in 0..n {
                    let at = |l: usize| (j / PANEL * k + l) * PANEL + j % PANEL;
                    let term = |l: usize| f64::from(a[of_a.place(i, l)]) * f64::from(b[at(l)]);
                    let sum: f64 = (0..k).map(term).sum();
                    assert!((f64::from(out[i * n + j]) - sum).abs() < 1e-4, "{m}×{k}×{n} at {i}, {j}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (a, b, mut out) = (vec![0f32; 64 * 64], vec![0f32; 64 * 64], vec![0f32; 8 * 64]);
        let rows = Matrix::rows_of(64);
        assert!(product([8, 64, 64], &mut out, (&a[..100], rows), &b).is_err());
        assert!(product([8, 64, 64], &mut out, (&a, rows), &b[1..]).is_err());
        assert!(product([8, 60, 64], &mut out, (&a, rows), &b).is_err());
    }
}
