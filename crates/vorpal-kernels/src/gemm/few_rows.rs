//! Products of few rows with a matrix whose columns lie without gaps, as layers have them on small batches: `x Wᵀ`.
//!
//! Laying the matrix out anew, as large products do before they start, takes about as long as few rows make use of it.
//! Here its columns are read where they are, once for every sixteen rows, which are laid out as vectors; this gives the
//! result turned around. Tiles of 6 × 16 results stay in registers.

use std::array;

use bytemuck::cast;
use pulp::x86::V3;
use pulp::{NullaryFnOnce, f32x8};
use vorpal_tensor::Result;

use super::Matrix;
use crate::interp::{for_each, workers};

/// Results of a tile side by side: two vectors.
const WIDE: usize = 16;
/// Columns of a tile at most: with two vectors each, twelve of sixteen registers.
const TALL: usize = 6;
/// Terms of a sum that are added before the result is touched, so that what is laid out fits the first cache.
const DEPTH: usize = 256;
/// Columns that are worked on, while they stay in the second cache, before the rows laid out change.
const BLOCK: usize = 96;
/// Rows laid out at most, in units of [`WIDE`].
const PANELS: usize = 2;
/// Fewer rows are better served by sums along them, more by laying out the matrix.
const FEW: std::ops::RangeInclusive<usize> = 8..=PANELS * WIDE;
/// Rows that may be missing to a second panel, which is worked on as a whole.
const MISSING: usize = 4;
/// Columns and terms at least.
const LARGE: usize = 64;
/// Multiplications of a task at least: some ten microseconds.
const TASK: usize = 1 << 19;
/// Tasks for every core. Each lays the rows out for itself.
const TASKS_A_CORE: usize = 2;

/// A column of a tile: a number for each row.
pub(super) type Pair = [f32x8; 2];

/// Rows laid out side by side, for each term.
#[repr(align(64))]
struct Panels([[Pair; DEPTH]; PANELS]);

/// A part of an operand: lines of terms without gaps.
#[derive(Clone, Copy)]
struct Side<'a> {
    data: &'a [f32],
    /// Line by line.
    matrix: Matrix,
    first: usize,
    count: usize,
}

impl<'a> Side<'a> {
    /// Terms `k..k + n` of a line.
    #[inline(always)]
    fn line(&self, line: usize, k: usize, n: usize) -> &'a [f32] {
        let at = self.matrix.place(self.first + line, k);
        &self.data[at..at + n]
    }
}

/// Eight lines of eight numbers as columns.
#[inline(always)]
fn turned(s: V3, lines: [f32x8; 8]) -> [f32x8; 8] {
    use std::arch::x86_64::__m256;
    let avx = s.avx;
    let [a, b, c, d, e, f, g, h] = lines.map(cast::<f32x8, __m256>);
    let low = |x, y| avx._mm256_unpacklo_ps(x, y);
    let high = |x, y| avx._mm256_unpackhi_ps(x, y);
    let (ab, cd, ef, gh) = (low(a, b), low(c, d), low(e, f), low(g, h));
    let (ab_high, cd_high, ef_high, gh_high) = (high(a, b), high(c, d), high(e, f), high(g, h));
    let first = |x, y| avx._mm256_shuffle_ps::<0b01_00_01_00>(x, y);
    let second = |x, y| avx._mm256_shuffle_ps::<0b11_10_11_10>(x, y);
    let left = [first(ab, cd), second(ab, cd), first(ab_high, cd_high), second(ab_high, cd_high)];
    let right = [first(ef, gh), second(ef, gh), first(ef_high, gh_high), second(ef_high, gh_high)];
    array::from_fn(|k| {
        let (x, y) = (left[k % 4], right[k % 4]);
        let both = if k < 4 {
            avx._mm256_permute2f128_ps::<0x20>(x, y)
        } else {
            avx._mm256_permute2f128_ps::<0x31>(x, y)
        };
        cast(both)
    })
}

/// Sums of products of `R` lines with a panel.
#[inline(always)]
fn tile<const R: usize>(s: V3, lines: [&[f32]; R], panel: &[Pair]) -> [Pair; R] {
    let mut sums = [[s.splat_f32x8(0.0); 2]; R];
    let lines = lines.map(|line| &line[..panel.len()]);
    for (k, &[left, right]) in panel.iter().enumerate() {
        for (sum, line) in sums.iter_mut().zip(lines) {
            let x = s.splat_f32x8(line[k]);
            *sum = [s.mul_add_f32x8(x, left, sum[0]), s.mul_add_f32x8(x, right, sum[1])];
        }
    }
    sums
}

/// One thread's share of a product.
struct Task<'o, 'a> {
    simd: V3,
    rows: Side<'a>,
    columns: Side<'a>,
    depth: usize,
    add: bool,
    out: Vec<&'o mut [f32]>,
}

impl NullaryFnOnce for Task<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let zero = [self.simd.splat_f32x8(0.0); 2];
        let mut panels = Panels([[zero; DEPTH]; PANELS]);
        let mut sums = [zero; BLOCK];
        for k in (0..self.depth).step_by(DEPTH) {
            let n = DEPTH.min(self.depth - k);
            let rows = (0..self.rows.count).step_by(WIDE);
            for (panel, row) in panels.0.iter_mut().zip(rows.clone()) {
                self.lay_out(k, row, &mut panel[..n]);
            }
            for block in (0..self.columns.count).step_by(BLOCK) {
                let here = BLOCK.min(self.columns.count - block);
                for (panel, row) in panels.0.iter().zip(rows.clone()) {
                    self.block(k, block, &panel[..n], &mut sums[..here]);
                    self.store(k, block, row, &sums[..here]);
                }
            }
        }
    }
}

impl Task<'_, '_> {
    /// Lays out up to sixteen rows from one on, term by term; what there are fewer of is zero.
    #[inline(always)]
    fn lay_out(&self, k: usize, row: usize, out: &mut [Pair]) {
        let count = (self.rows.count - row).min(WIDE);
        let eights = if count == WIDE { out.len() / 8 } else { 0 };
        let (whole, rest) = out.split_at_mut(eights * 8);
        for (t, out) in whole.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            for half in 0..2 {
                let lines = array::from_fn(|j| {
                    let line = self.rows.line(row + half * 8 + j, k + t * 8, 8);
                    line.first_chunk::<8>().map_or(self.simd.splat_f32x8(0.0), |numbers| cast(*numbers))
                });
                for (out, column) in out.iter_mut().zip(turned(self.simd, lines)) {
                    out[half] = column;
                }
            }
        }
        for (t, out) in rest.iter_mut().enumerate() {
            let mut numbers = [0f32; WIDE];
            for (j, number) in numbers[..count].iter_mut().enumerate() {
                *number = self.rows.line(row + j, k + eights * 8 + t, 1)[0];
            }
            *out = cast(numbers);
        }
    }

    /// The sums of columns from one on with a panel, in tiles of as equal widths as can be.
    #[inline(always)]
    fn block(&self, k: usize, column: usize, panel: &[Pair], out: &mut [Pair]) {
        let (here, tiles) = (out.len(), out.len().div_ceil(TALL));
        for t in 0..tiles {
            let (from, to) = (t * here / tiles, (t + 1) * here / tiles);
            let (column, out) = (column + from, &mut out[from..to]);
            match to - from {
                6 => self.tile::<6>(k, column, panel, out),
                5 => self.tile::<5>(k, column, panel, out),
                4 => self.tile::<4>(k, column, panel, out),
                3 => self.tile::<3>(k, column, panel, out),
                2 => self.tile::<2>(k, column, panel, out),
                _ => self.tile::<1>(k, column, panel, out),
            }
        }
    }

    #[inline(always)]
    fn tile<const C: usize>(&self, k: usize, column: usize, panel: &[Pair], out: &mut [Pair]) {
        let lines = array::from_fn(|i| self.columns.line(column + i, k, panel.len()));
        out.copy_from_slice(&tile::<C>(self.simd, lines, panel));
    }

    /// Stores sums for up to sixteen rows from one on, at their places from `column` on.
    #[inline(always)]
    fn store(&mut self, k: usize, column: usize, row: usize, sums: &[Pair]) {
        let (add, rows) = (self.add || k > 0, self.out.iter_mut().skip(row).take(WIDE));
        let (eights, rest) = sums.as_chunks::<8>();
        for (j, out) in rows.enumerate() {
            for (t, &sum) in rest.iter().enumerate() {
                let at = column + eights.len() * 8 + t;
                let value = cast::<Pair, [f32; WIDE]>(sum)[j];
                out[at] = if add { out[at] + value } else { value };
            }
        }
        for (t, eight) in eights.iter().enumerate() {
            for half in 0..2 {
                let lines = turned(self.simd, eight.map(|pair| pair[half]));
                for (out, line) in self.out.iter_mut().skip(row + half * 8).zip(lines) {
                    let out = &mut out[column + t * 8..column + t * 8 + 8];
                    for (o, v) in out.iter_mut().zip(cast::<f32x8, [f32; 8]>(line)) {
                        *o = if add { *o + v } else { v };
                    }
                }
            }
        }
    }
}

/// The product of few rows, if it is one; whether it is done. All extents have been checked.
pub(super) fn product(
    [m, n, k]: [usize; 3],
    (out, of_out): (&mut [f32], Matrix),
    (a, of_a): (&[f32], Matrix),
    (b, of_b): (&[f32], Matrix),
    add: bool,
    parallel: bool,
) -> Result<bool> {
    let dense = of_a.column_stride == 1 && of_b.row_stride == 1;
    let lines = of_out.column_stride == 1 && of_out.row_stride > 0;
    let few = FEW.contains(&m) && (m <= WIDE || m.next_multiple_of(WIDE) - m <= MISSING);
    let fits = dense && lines && few && n.min(k) >= LARGE;
    let Some(simd) = V3::try_new().filter(|_| fits) else { return Ok(false) };
    let rows = Side { data: a, matrix: of_a, first: 0, count: m };
    let parts = if parallel { (m * n * k / TASK).clamp(1, TASKS_A_CORE * workers()) } else { 1 };
    let size = n.div_ceil(parts).next_multiple_of(WIDE);
    let mut lines: Vec<&mut [f32]> = out[of_out.offset as usize..]
        .chunks_mut(of_out.row_stride as usize)
        .take(m)
        .filter_map(|line| line.get_mut(..n))
        .collect();
    let tasks = (0..n).step_by(size).map(|first| {
        let count = size.min(n - first);
        let columns = Side { data: b, matrix: of_b.transposed(), first, count };
        let out = lines.iter_mut().map(|line| line.split_off_mut(..count).unwrap_or_default()).collect();
        Task { simd, rows, columns, depth: k, add, out }
    });
    for_each(tasks.collect(), |task: Task<'_, '_>| {
        simd.vectorize(task);
        Ok(())
    })?;
    Ok(true)
}
