//! Native matrix products through the `gemm` crates, behind a check of every extent; those of few rows by loops of our own.

#[cfg(target_arch = "x86_64")]
mod few_rows;
#[cfg(target_arch = "x86_64")]
pub(crate) mod panels;

use std::cmp::Reverse;
use std::ops::{AddAssign, Mul};

use gemm_common::Parallelism;
use vorpal_tensor::{Error, Result};

use crate::interp::{for_each, workers};

/// A matrix in a slice: element (row, column) lies at `offset + row · row_stride + column · column_stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Matrix {
    pub offset: isize,
    pub row_stride: isize,
    pub column_stride: isize,
}

impl Matrix {
    /// Row-major without gaps, from the start.
    pub fn rows_of(columns: usize) -> Matrix {
        Matrix { offset: 0, row_stride: columns as isize, column_stride: 1 }
    }

    /// The same elements with rows for columns.
    pub fn transposed(self) -> Matrix {
        Matrix { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    /// Whether all of `rows` × `columns` elements lie within `len` elements.
    fn fits(&self, rows: usize, columns: usize, len: usize) -> bool {
        if rows == 0 || columns == 0 {
            return true;
        }
        let (mut low, mut high) = (self.offset as i128, self.offset as i128);
        for (n, stride) in [(rows, self.row_stride), (columns, self.column_stride)] {
            let reach = (n as i128 - 1) * stride as i128;
            if reach < 0 { low += reach } else { high += reach }
        }
        low >= 0 && high < len as i128
    }

    /// Whether no two elements share a place: rows lie behind one another without overlap.
    fn is_injective(&self, rows: usize, columns: usize) -> bool {
        self.column_stride > 0
            && (rows < 2 || self.row_stride as i128 >= columns as i128 * self.column_stride as i128)
    }

    /// The part that starts at an element.
    fn from(self, row: usize, column: usize) -> Matrix {
        let offset = self.offset + row as isize * self.row_stride + column as isize * self.column_stride;
        Matrix { offset, ..self }
    }

    /// Place of an element that [`fits`](Matrix::fits).
    pub fn place(&self, row: usize, column: usize) -> usize {
        (self.offset + row as isize * self.row_stride + column as isize * self.column_stride) as usize
    }
}

/// An element type with a product of matrices.
pub(crate) trait Gemm:
    Copy + Default + AddAssign + Mul<Output = Self> + Send + Sync + 'static
{
    /// `out (m × n) = a (m × k) · b (k × n)`, added to what is there if `add`. No two elements of `out` may share a
    /// place. On all cores if `parallel` and it is worth it.
    fn gemm(
        sizes: [usize; 3],
        out: (&mut [Self], Matrix),
        a: (&[Self], Matrix),
        b: (&[Self], Matrix),
        add: bool,
        parallel: bool,
    ) -> Result<()>;
}

/// Columns that a share of a product has a multiple of: as many as the kernels make at once.
const SIDE: usize = 64;
/// Rows of a share at least.
const DOWN: usize = 16;
/// Multiplications of a share at least. Sharing costs some ten microseconds.
const SHARE: usize = 1 << 18;
/// Shares for every core, so that one that was late does not hold up all.
const SHARES_A_CORE: usize = 2;

/// In how many shares a product is done by all cores: rows and columns. As many as there may be, and as each lays out its part
/// of both operands, those of either that make this the least.
fn shares([m, n, k]: [usize; 3]) -> [usize; 2] {
    let work = m.saturating_mul(n).saturating_mul(k);
    let most = (work / SHARE).clamp(1, SHARES_A_CORE * workers());
    let down_most = most.min((m / DOWN).max(1));
    let ways = (1..=down_most).map(|down| [down, (most / down).min((n / SIDE).max(1))]);
    let least = |&[down, side]: &[usize; 2]| (Reverse(down * side), down * n + side * m);
    ways.min_by_key(least).unwrap_or([1, 1])
}

/// Start and size of a part of `n`, of which each is a multiple of `unit`, but for the last one.
fn part(n: usize, parts: usize, unit: usize, index: usize) -> [usize; 2] {
    let at = |index: usize| (n.div_ceil(unit) * index / parts * unit).min(n);
    [at(index), at(index + 1) - at(index)]
}

/// Where a product is written by several threads, each its own elements.
struct Place<T>(*mut T);

// SAFETY: all that is done with it is to find the place of an element; what is written there is for the caller to answer for.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Place<T> {}

impl<T> Place<T> {
    /// The place of an element.
    ///
    /// # Safety
    /// It is one of those that the pointer was made for.
    #[allow(unsafe_code)]
    unsafe fn at(&self, offset: isize) -> *mut T {
        // SAFETY: as the caller grants.
        unsafe { self.0.offset(offset) }
    }
}

/// Whether a product is faster when rows are written as they lie, though in short pieces: where the many rows of A lie side by
/// side, as in the derivative of a weight, laying A out by rows takes longer. Long sums make up for the pieces, unless vectors
/// are of 512 bits.
fn by_rows([m, n, k]: [usize; 3], of_a: Matrix, of_b: Matrix) -> bool {
    let lie_so = of_a.row_stride == 1 && of_a.column_stride > 1 && of_b.column_stride == 1;
    lie_so && !has_widest() && m >= 2 * n && (64..=512).contains(&n) && k >= 512
}

/// Whether kernels have vectors of 512 bits.
pub(crate) fn has_widest() -> bool {
    #[cfg(target_arch = "x86_64")]
    return pulp::x86::V4::try_new().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

macro_rules! gemm {
    ($ty:ty, $get:path, $own:path) => {
        impl Gemm for $ty {
            #[allow(unsafe_code)]
            fn gemm(
                [m, n, k]: [usize; 3],
                (out, of_out): (&mut [$ty], Matrix),
                (a, of_a): (&[$ty], Matrix),
                (b, of_b): (&[$ty], Matrix),
                add: bool,
                parallel: bool,
            ) -> Result<()> {
                let fits = of_out.fits(m, n, out.len())
                    && of_out.is_injective(m, n)
                    && of_a.fits(m, k, a.len())
                    && of_b.fits(k, n, b.len())
                    && [m, n, k].iter().all(|&d| d <= isize::MAX as usize);
                if !fits {
                    return Err(Error::internal(
                        "gemm",
                        format!("{m}×{k}×{n} reaches outside of its buffers"),
                    ));
                }
                if m == 0 || n == 0 {
                    return Ok(());
                }
                if k == 0 {
                    if !add {
                        for place in (0..m).flat_map(|i| (0..n).map(move |j| of_out.place(i, j))) {
                            out[place] = 0.0;
                        }
                    }
                    return Ok(());
                }
                if $own([m, n, k], (&mut *out, of_out), (a, of_a), (b, of_b), add, parallel)? {
                    return Ok(());
                }
                let [down, side] = if parallel { shares([m, n, k]) } else { [1, 1] };
                let place = Place(out.as_mut_ptr());
                let share = |index: usize| {
                    let ([i, rows], [j, columns]) =
                        (part(m, down, 1, index / side), part(n, side, SIDE, index % side));
                    let [of_out, of_a, of_b] = [of_out.from(i, j), of_a.from(i, 0), of_b.from(0, j)];
                    if rows == 0 || columns == 0 {
                        return Ok(());
                    }
                    // The kernels below write columns. Rows of `out` are columns of its transpose, which is the product of
                    // the transposes the other way round.
                    let plain = (rows, columns, of_out, (a, of_a), (b, of_b));
                    let turned =
                        (columns, rows, of_out.transposed(), (b, of_b.transposed()), (a, of_a.transposed()));
                    let (rows, columns, of_out, (left, of_left), (right, of_right)) =
                        if by_rows([m, n, k], of_a, of_b) { plain } else { turned };
                    // SAFETY: the extents of all three matrices were checked to lie within their slices, and parts lie within
                    // the whole; the places of `out` are distinct, it is borrowed mutably and so overlaps neither operand, no
                    // two parts share a place, and elements are plain numbers.
                    unsafe {
                        $get()(
                            rows,
                            columns,
                            k,
                            place.at(of_out.offset),
                            of_out.column_stride,
                            of_out.row_stride,
                            add,
                            left.as_ptr().offset(of_left.offset),
                            of_left.column_stride,
                            of_left.row_stride,
                            right.as_ptr().offset(of_right.offset),
                            of_right.column_stride,
                            of_right.row_stride,
                            1.0,
                            1.0,
                            false,
                            false,
                            false,
                            Parallelism::None,
                        );
                    }
                    Ok(())
                };
                for_each((0..down * side).collect(), share)
            }
        }
    };
}

/// Products that have no loops of their own.
fn never<T>(
    _: [usize; 3],
    _: (&mut [T], Matrix),
    _: (&[T], Matrix),
    _: (&[T], Matrix),
    _: bool,
    _: bool,
) -> Result<bool> {
    Ok(false)
}

#[cfg(target_arch = "x86_64")]
gemm!(f32, gemm_f32::gemm::f32::get_gemm_fn, few_rows::product);
#[cfg(not(target_arch = "x86_64"))]
gemm!(f32, gemm_f32::gemm::f32::get_gemm_fn, never);
gemm!(f64, gemm_f64::gemm::f64::get_gemm_fn, never);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_products_with_any_strides() {
        for (m, n, k) in [(1, 1, 1), (2, 3, 4), (5, 1, 7), (1, 9, 2), (17, 13, 11), (3, 3, 0), (0, 3, 2)] {
            let a: Vec<f64> = (0..m * k).map(|v| v as f64 - 3.0).collect();
            let b: Vec<f64> = (0..k * n).map(|v| 0.5 * v as f64).collect();
            let mut out = vec![1.0; m * n];
            // a is stored column by column, b from its last element back to its first.
            let of_a = Matrix { offset: 0, row_stride: 1, column_stride: m as isize };
            let of_b =
                Matrix { offset: (k * n).max(1) as isize - 1, row_stride: -(n as isize), column_stride: -1 };
            f64::gemm([m, n, k], (&mut out, Matrix::rows_of(n)), (&a, of_a), (&b, of_b), true, false)
                .expect("it fits");
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..k).map(|l| a[i + l * m] * b[k * n - 1 - l * n - j]).sum();
                    assert!((out[i * n + j] - 1.0 - sum).abs() < 1e-9, "{m}×{n}×{k}");
                }
            }
        }
    }

    /// Few rows with matrices of either order, in parts and to the side, beside a sum in f64.
    #[test]
    fn few_rows_with_large_matrices() {
        for (m, n, k, turned, add) in [
            (8, 64, 64, true, false),
            (32, 128, 520, true, true),
            (32, 136, 300, false, true),
            (12, 97, 65, true, false),
            (17, 97, 65, true, false),
            (9, 1030, 257, true, true),
            (31, 1043, 70, true, false),
            (32, 512, 256, true, false),
        ] {
            let number = |v: usize| ((v * 7919) % 1013) as f32 / 500.0 - 1.0;
            let a: Vec<f32> = (0..m * (k + 3)).map(number).collect();
            let b: Vec<f32> = (0..(k + 1) * (n + 5)).map(|v| number(v + 11)).collect();
            let of_a = Matrix { offset: 2, row_stride: k as isize + 2, column_stride: 1 };
            let of_b = Matrix { offset: 1, row_stride: n as isize + 4, column_stride: 1 };
            let of_b = if turned { Matrix { offset: 3, ..Matrix::rows_of(k) }.transposed() } else { of_b };
            let of_out = Matrix { offset: 1, row_stride: n as isize + 2, column_stride: 1 };
            let mut out = vec![0.5f32; m * (n + 2)];
            f32::gemm([m, n, k], (&mut out, of_out), (&a, of_a), (&b, of_b), add, true).expect("it fits");
            for i in 0..m {
                for j in 0..n {
                    let term = |l| f64::from(a[of_a.place(i, l)]) * f64::from(b[of_b.place(l, j)]);
                    let sum: f64 = (0..k).map(term).sum::<f64>() + if add { 0.5 } else { 0.0 };
                    let found = f64::from(out[of_out.place(i, j)]);
                    assert!((found - sum).abs() < 1e-4, "{m}×{k}×{n} at {i}, {j}: {found} for {sum}");
                }
            }
            // What lies between the rows stays.
            let untouched = (0..m).map(|i| i * (n + 2)).chain((1..m).map(|i| i * (n + 2) - 1));
            assert!(untouched.map(|at| out[at]).all(|v| v == 0.5), "{m}×{k}×{n}");
        }
    }

    #[test]
    fn shares_are_as_many_as_fit() {
        for sizes in
            [[256, 512, 784], [64, 256, 512], [40, 64, 5000], [1000, 8, 1000], [8, 1000, 1000], [1, 1, 1]]
        {
            let [down, side] = shares(sizes);
            assert!(down * side <= SHARES_A_CORE * workers(), "{sizes:?}");
            assert!(
                (down == 1 || sizes[0] >= down * DOWN) && (side == 1 || sizes[1] >= side * SIDE),
                "{sizes:?}"
            );
        }
        for (n, parts, unit) in [(257, 4, 64), (129, 2, 64), (100, 3, 1), (64, 1, 64)] {
            let ends: Vec<usize> = (0..parts).map(|k| part(n, parts, unit, k).iter().sum()).collect();
            let starts: Vec<usize> = (0..parts).map(|k| part(n, parts, unit, k)[0]).collect();
            assert_eq!((starts[0], ends[parts - 1]), (0, n));
            assert_eq!(starts[1..], ends[..parts - 1], "{n} in {parts}");
            assert!((0..parts).all(|k| part(n, parts, unit, k)[1] >= unit.min(n)), "{n} in {parts}");
        }
    }

    /// Products in shares, of either order, beside a sum in f64; what lies between the rows stays.
    #[test]
    fn products_in_shares() {
        for (m, n, k, across, turned, add) in [
            (200, 131, 70, false, false, false),
            (67, 300, 65, true, false, true),
            (130, 257, 40, false, true, true),
            (300, 33, 90, true, true, false),
            (512, 64, 33, true, false, false),
        ] {
            let number = |v: usize| ((v * 7919) % 1013) as f32 / 500.0 - 1.0;
            let a: Vec<f32> = (0..m * k + 3).map(number).collect();
            let b: Vec<f32> = (0..n * k + 3).map(|v| number(v + 11)).collect();
            let lie = |rows: usize, columns: usize, turned: bool| {
                let plain = Matrix { offset: 3, ..Matrix::rows_of(if turned { rows } else { columns }) };
                if turned { plain.transposed() } else { plain }
            };
            let (of_a, of_b) = (lie(m, k, across), lie(k, n, turned));
            let of_out = Matrix { offset: 2, row_stride: n as isize + 3, column_stride: 1 };
            let mut out = vec![0.25f32; m * (n + 3)];
            f32::gemm([m, n, k], (&mut out, of_out), (&a, of_a), (&b, of_b), add, true).expect("it fits");
            for i in 0..m {
                for j in 0..n {
                    let term = |l| f64::from(a[of_a.place(i, l)]) * f64::from(b[of_b.place(l, j)]);
                    let sum: f64 = (0..k).map(term).sum::<f64>() + if add { 0.25 } else { 0.0 };
                    let found = f64::from(out[of_out.place(i, j)]);
                    assert!((found - sum).abs() < 1e-4, "{m}×{k}×{n} at {i}, {j}: {found} for {sum}");
                }
            }
            let between = (0..m * (n + 3)).filter(|at| !(2..n + 2).contains(&(at % (n + 3))));
            assert!(between.map(|at| out[at]).all(|v| v == 0.25), "{m}×{k}×{n}");
        }
    }

    #[test]
    fn a_matrix_outside_of_its_slice_is_refused() {
        let (a, b, mut out) = ([0f32; 6], [0f32; 6], [0f32; 4]);
        let plain = Matrix::rows_of(3);
        let mut product = |of_a, of_b| {
            f32::gemm([2, 2, 3], (&mut out, Matrix::rows_of(2)), (&a, of_a), (&b, of_b), false, false)
        };
        assert!(product(plain, Matrix::rows_of(2)).is_ok());
        assert!(product(Matrix { offset: 1, ..plain }, Matrix::rows_of(2)).is_err());
        assert!(product(plain, Matrix { offset: -1, ..Matrix::rows_of(2) }).is_err());
        assert!(product(plain, Matrix { row_stride: -2, ..Matrix::rows_of(2) }).is_err());
        let mut into =
            |size, of_out| f32::gemm(size, (&mut out, of_out), (&a, plain), (&b, plain), false, false);
        assert!(into([2, 3, 3], plain).is_err());
        let overlapping = Matrix { offset: 0, row_stride: 1, column_stride: 1 };
        assert!(into([2, 2, 1], overlapping).is_err());
    }
}
