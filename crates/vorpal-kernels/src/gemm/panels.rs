//! Products of few rows with a matrix that was laid out for them: sixteen columns at a time, term by term.
//!
//! A recurrent layer multiplies a few rows with the same matrix in every step. Products that lay it out for themselves spend
//! about half of their time on that; laid out once, it is read from the second cache as fast as it can be used.

mod shifted;

use bytemuck::cast;
use pulp::x86::{V3, V4};
use pulp::{NullaryFnOnce, f32x16};
use vorpal_tensor::{Error, Result};

use super::Matrix;
use super::few_rows::Pair;
use crate::interp::{for_each, workers};
pub(crate) use shifted::{Shifted, laid_out};

/// Columns of a panel.
pub(crate) const PANEL: usize = 16;
/// A term of the columns of a panel.
type Line = [f32; PANEL];

/// Rows from which on a product is no longer one of few.
const ROWS: std::ops::RangeInclusive<usize> = 4..=64;
/// Columns and terms at least.
const LARGE: usize = 64;
/// Rows of a tile at most.
const TALL: usize = 6;
/// Terms of a sum that are added before the result is touched, so that what is read of the panels stays in the first cache
/// until all rows have used it.
const DEPTH: usize = 128;
/// Terms that are added without a question between them.
const RUN: usize = 8;
/// Multiplications of a task at least: some ten microseconds.
const TASK: usize = 1 << 19;
/// Tasks for every core, so that one that was late does not hold up all.
const TASKS_A_CORE: usize = 2;

/// Vectors of a processor, sixteen numbers at a time.
trait Vectors: Copy + Send + Sync {
    type Sixteen: Copy;
    /// Panels of a tile of so many rows at most.
    fn wide(rows: usize) -> usize;
    fn splat(self, x: f32) -> Self::Sixteen;
    fn load(self, numbers: &Line) -> Self::Sixteen;
    fn numbers(self, sixteen: Self::Sixteen) -> Line;
    /// a b + c
    fn mul_add(self, a: Self::Sixteen, b: Self::Sixteen, c: Self::Sixteen) -> Self::Sixteen;
    /// Runs something with the instructions of the processor.
    fn run<T: NullaryFnOnce>(self, what: T) -> T::Output;
    /// A tile of the size that `at` tells.
    fn tile(tiles: &mut impl Tiles, at: At);
}

/// What is made tile by tile.
trait Tiles {
    /// A tile of `R` rows and `P` panels.
    fn tile<const R: usize, const P: usize>(&mut self, at: At);
}

/// Calls the tile of a size known at run time: for each width the heights there are; one by one is what is left.
macro_rules! tile {
    ($tiles:ident, $at:ident; $($wide:literal: $($tall:literal)*;)*) => {
        match ($at.panels, $at.rows) {
            $($(($wide, $tall) => $tiles.tile::<$tall, $wide>($at),)*)*
            _ => $tiles.tile::<1, 1>($at),
        }
    };
}

impl Vectors for V3 {
    type Sixteen = Pair;
    // Twelve of sixteen registers hold sums.
    fn wide(rows: usize) -> usize {
        if rows <= TALL / 2 { 2 } else { 1 }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        [self.splat_f32x8(x); 2]
    }
    #[inline(always)]
    fn load(self, numbers: &Line) -> Pair {
        cast(*numbers)
    }
    #[inline(always)]
    fn numbers(self, sixteen: Pair) -> Line {
        cast(sixteen)
    }
    #[inline(always)]
    fn mul_add(self, a: Pair, b: Pair, c: Pair) -> Pair {
        [self.mul_add_f32x8(a[0], b[0], c[0]), self.mul_add_f32x8(a[1], b[1], c[1])]
    }
    #[inline(always)]
    fn run<T: NullaryFnOnce>(self, what: T) -> T::Output {
        self.vectorize(what)
    }
    #[inline(always)]
    fn tile(tiles: &mut impl Tiles, at: At) {
        tile!(tiles, at; 1: 2 3 4 5 6; 2: 1 2 3;);
    }
}

impl Vectors for V4 {
    type Sixteen = f32x16;
    // Eighteen of thirty-two: six more hold numbers of rows, three lines of panels.
    fn wide(_: usize) -> usize {
        3
    }
    #[inline(always)]
    fn splat(self, x: f32) -> f32x16 {
        self.splat_f32x16(x)
    }
    #[inline(always)]
    fn load(self, numbers: &Line) -> f32x16 {
        cast(*numbers)
    }
    #[inline(always)]
    fn numbers(self, sixteen: f32x16) -> Line {
        cast(sixteen)
    }
    #[inline(always)]
    fn mul_add(self, a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
        self.mul_add_f32x16(a, b, c)
    }
    #[inline(always)]
    fn run<T: NullaryFnOnce>(self, what: T) -> T::Output {
        self.vectorize(what)
    }
    #[inline(always)]
    fn tile(tiles: &mut impl Tiles, at: At) {
        tile!(tiles, at; 1: 2 3 4 5 6; 2: 1 2 3 4 5 6; 3: 1 2 3 4 5 6;);
    }
}

/// A tile: its first row and panel, how many there are, and which terms are summed.
#[derive(Clone, Copy)]
struct At {
    row: usize,
    rows: usize,
    panel: usize,
    panels: usize,
    term: usize,
    terms: usize,
}

/// One thread's share of a product: some panels.
struct Task<'o, 'a, S> {
    vectors: S,
    rows: &'o [&'a [f32]],
    panels: &'o [Line],
    out: Vec<&'o mut [f32]>,
    /// Whether it is added to what is there.
    add: bool,
}

impl<S: Vectors> NullaryFnOnce for Task<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let depth = self.depth();
        let wide = S::wide(tallest(self.rows.len()));
        for (panel, panels) in shares(self.panels.len() / depth, wide) {
            for (term, terms) in shares(depth, DEPTH) {
                for (row, rows) in shares(self.rows.len(), TALL) {
                    S::tile(&mut self, At { row, rows, panel, panels, term, terms });
                }
            }
        }
    }
}

/// Starts and sizes of parts of `n` that are as equal as can be, of `most` at most.
#[inline(always)]
fn shares(n: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = n.div_ceil(most);
    (0..parts).map(move |part| (part * n / parts, (part + 1) * n / parts - part * n / parts))
}

/// The largest share of some rows.
fn tallest(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(TALL).max(1))
}

impl<S: Vectors> Task<'_, '_, S> {
    /// Terms of a sum.
    #[inline(always)]
    fn depth(&self) -> usize {
        self.rows.first().map_or(1, |row| row.len())
    }
}

impl<S: Vectors> Tiles for Task<'_, '_, S> {
    #[inline(always)]
    fn tile<const R: usize, const P: usize>(&mut self, at: At) {
        let s = self.vectors;
        let rows: [&[f32]; R] = std::array::from_fn(|r| &self.rows[at.row + r][at.term..][..at.terms]);
        let panels: [&[Line]; P] =
            std::array::from_fn(|p| &self.panels[(at.panel + p) * self.depth() + at.term..][..at.terms]);
        let mut sums = [[s.splat(0.0); P]; R];
        // A question after every term, whether there is another, would bring sums out of their registers.
        let row_runs = rows.map(|row| row.as_chunks::<RUN>().0);
        let panel_runs = panels.map(|panel| panel.as_chunks::<RUN>().0);
        macro_rules! run {
            ($rows:ident, $panels:ident; $($t:literal)*) => {
                $(add(s, &mut sums, $rows.map(|row| row[$t]), $panels.map(|panel| &panel[$t]));)*
            };
        }
        for k in 0..at.terms / RUN {
            let (rows, panels) = (row_runs.map(|row| &row[k]), panel_runs.map(|panel| &panel[k]));
            run!(rows, panels; 0 1 2 3 4 5 6 7);
        }
        for k in at.terms / RUN * RUN..at.terms {
            add(s, &mut sums, rows.map(|row| row[k]), panels.map(|panel| &panel[k]));
        }
        let add = self.add || at.term > 0;
        for (out, sums) in self.out[at.row..].iter_mut().zip(sums) {
            let out = out[at.panel * PANEL..].as_chunks_mut::<PANEL>().0;
            for (out, sum) in out.iter_mut().zip(sums) {
                let before = if add { s.load(out) } else { s.splat(0.0) };
                *out = s.numbers(s.mul_add(s.splat(1.0), before, sum));
            }
        }
    }
}

/// Adds a term of each row times those of the columns of each panel.
#[inline(always)]
fn add<S: Vectors, const R: usize, const P: usize>(
    s: S,
    sums: &mut [[S::Sixteen; P]; R],
    terms: [f32; R],
    lines: [&Line; P],
) {
    let lines = lines.map(|line| s.load(line));
    for (sums, x) in sums.iter_mut().zip(terms) {
        let x = s.splat(x);
        for (sum, line) in sums.iter_mut().zip(lines) {
            *sum = s.mul_add(x, line, *sum);
        }
    }
}

/// The product by the vectors of a processor.
fn product_of<S: Vectors>(
    vectors: S,
    [m, n, k]: [usize; 3],
    out: &mut [f32],
    rows: &[&[f32]],
    panels: &[Line],
) -> Result<()> {
    let parts = (m * n * k / TASK).clamp(1, TASKS_A_CORE * workers());
    let size = (n / PANEL).div_ceil(parts);
    let mut lines: Vec<&mut [f32]> = out.chunks_mut(n).collect();
    let tasks = panels.chunks(size * k).map(|panels| {
        let columns = panels.len() / k * PANEL;
        let out = lines.iter_mut().map(|line| line.split_off_mut(..columns).unwrap_or_default()).collect();
        Task { vectors, rows, panels, out, add: false }
    });
    for_each(tasks.collect(), |task: Task<'_, '_, S>| {
        vectors.run(task);
        Ok(())
    })
}

/// Whether a product of such sizes, whose rows of `a` lie as told, gains by panels.
pub(crate) fn fits([m, n, k]: [usize; 3], of_a: Matrix) -> bool {
    let sizes = ROWS.contains(&m) && n.min(k) >= LARGE && n.is_multiple_of(PANEL);
    sizes && of_a.column_stride == 1 && V3::try_new().is_some()
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
    let panels = b[..n * k].as_chunks::<PANEL>().0;
    match V4::try_new() {
        Some(widest) => product_of(widest, [m, n, k], out, &rows, panels),
        None => product_of(simd, [m, n, k], out, &rows, panels),
    }
}

/// Adds a product of rows with a matrix that lies panel by panel to rows of as many panels, by the thread that asks.
pub(crate) fn add_product(out: Vec<&mut [f32]>, rows: &[&[f32]], panels: &[f32]) -> Result<()> {
    let terms = rows.first().map_or(0, |row| row.len());
    let numbers = (terms * PANEL).max(1);
    let width = panels.len() / numbers * PANEL;
    let fits = panels.len().is_multiple_of(numbers)
        && out.len() == rows.len()
        && rows.iter().all(|row| row.len() == terms)
        && out.iter().all(|out| out.len() == width);
    let (Some(simd), true) = (V3::try_new(), fits) else {
        return Err(Error::internal("gemm", format!("{} rows of {terms} do not fit panels", rows.len())));
    };
    if width > 0 {
        let panels = panels.as_chunks().0;
        match V4::try_new() {
            Some(vectors) => vectors.run(Task { vectors, rows, panels, out, add: true }),
            None => simd.run(Task { vectors: simd, rows, panels, out, add: true }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_panels_beside_sums_in_f64() {
        for [m, n, k] in
            [[4, 64, 64], [32, 1024, 256], [13, 80, 100], [64, 128, 65], [7, 640, 200], [5, 64, 300]]
        {
            let of_a = Matrix { offset: 3, row_stride: k as isize + 5, column_stride: 1 };
            if !fits([m, n, k], of_a) {
                continue;
            }
            let number = |v: usize| ((v * 7919) % 1013) as f32 / 500.0 - 1.0;
            let a: Vec<f32> = (0..m * (k + 5) + 3).map(number).collect();
            let b: Vec<f32> = (0..n * k).map(|v| number(v + 11)).collect();
            // By the vectors that are chosen here, and by those of a processor with less.
            let mut found = [vec![f32::NAN; m * n], vec![f32::NAN; m * n]];
            product([m, n, k], &mut found[0], (&a, of_a), &b).expect("it fits");
            let rows: Vec<&[f32]> = (0..m).map(|i| &a[of_a.place(i, 0)..][..k]).collect();
            let simd = V3::try_new().expect("what fits has it");
            product_of(simd, [m, n, k], &mut found[1], &rows, b.as_chunks().0).expect("it fits");
            for i in 0..m {
                for j in 0..n {
                    let at = |l: usize| (j / PANEL * k + l) * PANEL + j % PANEL;
                    let term = |l: usize| f64::from(a[of_a.place(i, l)]) * f64::from(b[at(l)]);
                    let sum: f64 = (0..k).map(term).sum();
                    let near = |out: &Vec<f32>| (f64::from(out[i * n + j]) - sum).abs() < 1e-4;
                    assert!(found.iter().all(near), "{m}×{k}×{n} at {i}, {j}");
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
