//! Factorisations and solutions by halves: a problem falls into one half, a product of matrices that takes what was found there
//! from the other, and that other half. All but some columns of the work is products then (Toledo 1997, "Locality of reference
//! in LU decomposition with partial pivoting").

use std::ops::Range;

use vorpal_tensor::Result;

use super::Real;
use crate::gemm::{Gemm, Matrix};
use crate::lane::vectorized;

/// Columns, or rows of a triangle, up to which there are no halves.
pub(super) const NARROW: usize = 16;

/// What is in the middle, as a whole number of narrow parts from the start.
pub(super) fn middle(range: &Range<usize>) -> usize {
    range.start + (range.len() / 2).next_multiple_of(NARROW)
}

/// Rows `rows` and columns `columns` of a matrix, with other signs, and where they lie: as in the matrix, without gaps.
pub(super) fn negated<T: Real>(
    matrix: &[T],
    place: Matrix,
    rows: Range<usize>,
    columns: Range<usize>,
) -> (Vec<T>, Matrix) {
    if place.column_stride != 1 {
        let (copy, at) = negated(matrix, place.transposed(), columns, rows);
        return (copy, at.transposed());
    }
    let mut copy = Vec::with_capacity(rows.len() * columns.len());
    let at = Matrix::rows_of(columns.len());
    for row in rows.filter(|_| !columns.is_empty()) {
        copy.extend(matrix[place.place(row, columns.start)..][..columns.len()].iter().map(|&x| -x));
    }
    (copy, at)
}

/// Some columns of some rows of a matrix of `n` columns, without gaps.
pub(super) fn copied<T: Real>(matrix: &[T], n: usize, rows: Range<usize>, columns: Range<usize>) -> Vec<T> {
    let mut copy = Vec::with_capacity(rows.len() * columns.len());
    for row in matrix.chunks_exact(n).skip(rows.start).take(rows.len()) {
        copy.extend_from_slice(&row[columns.clone()]);
    }
    copy
}

/// Takes products of some rows `given` of a matrix, with rows of `pitch` elements, from others, in some of its columns. The factors
/// have the sign that they are added with.
pub(super) fn take<T: Gemm>(
    (factors, place): &(Vec<T>, Matrix),
    [given, others]: [Range<usize>; 2],
    x: &mut [T],
    pitch: usize,
    columns: Range<usize>,
    parallel: bool,
) -> Result<()> {
    if given.is_empty() || others.is_empty() || columns.is_empty() {
        return Ok(());
    }
    let mid = given.start.max(others.start);
    let (front, back) = x.split_at_mut(mid * pitch);
    let of = |row: usize| Matrix { offset: (row * pitch + columns.start) as isize, ..Matrix::rows_of(pitch) };
    let sizes = [others.len(), columns.len(), given.len()];
    let (out, given) = if others.start == mid {
        ((back, of(0)), (&*front, of(given.start)))
    } else {
        ((front, of(others.start)), (&*back, of(0)))
    };
    T::gemm(sizes, out, (factors, *place), given, true, parallel)
}

/// Some columns of a matrix without gaps, from a row on, as rows of [`NARROW`] elements: where rows are a power of two apart, what
/// lies below one another has but one place in a cache.
pub(super) struct Panel<T> {
    pub rows: Vec<[T; NARROW]>,
    first: usize,
    columns: Range<usize>,
}

impl<T: Real> Panel<T> {
    /// Of at most as many columns.
    pub fn new(matrix: &[T], n: usize, columns: Range<usize>) -> Panel<T> {
        let mut rows = Vec::with_capacity(matrix.len() / n - columns.start);
        for row in matrix.chunks_exact(n).skip(columns.start) {
            let mut here = [T::ZERO; NARROW];
            here[..columns.len()].copy_from_slice(&row[columns.clone()]);
            rows.push(here);
        }
        Panel { rows, first: columns.start, columns }
    }

    /// Puts them where they were.
    pub fn store(&self, matrix: &mut [T], n: usize) {
        for (row, here) in matrix.chunks_exact_mut(n).skip(self.first).zip(&self.rows) {
            row[self.columns.clone()].copy_from_slice(&here[..self.columns.len()]);
        }
    }
}

/// A triangle of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Triangle<'a, T> {
    pub entries: &'a [T],
    /// Where they lie, of the transpose if that is what counts.
    pub place: Matrix,
    /// Whether it is the lower one, so that row 0 is found first.
    pub lower: bool,
    /// Whether its diagonal counts as ones.
    pub unit: bool,
}

impl<T: Real + Gemm> Triangle<'_, T> {
    /// Rows `range` of X with A X = B, where B is, from row 0 on, in rows of `pitch` elements, `columns` of them. Whether there
    /// is no 0 on the diagonal.
    pub fn solve(
        &self,
        range: Range<usize>,
        x: &mut [T],
        pitch: usize,
        columns: Range<usize>,
        parallel: bool,
    ) -> Result<bool> {
        if range.len() <= NARROW {
            return Ok(vectorized(
                #[inline(always)]
                || self.solve_narrow(range, x, pitch, columns),
            ));
        }
        let mid = middle(&range);
        let (first, second) =
            if self.lower { (range.start..mid, mid..range.end) } else { (mid..range.end, range.start..mid) };
        let is_regular = self.solve(first.clone(), x, pitch, columns.clone(), parallel)?;
        self.take([first, second.clone()], x, pitch, columns.clone(), parallel)?;
        Ok(self.solve(second, x, pitch, columns, parallel)? && is_regular)
    }

    /// Takes from rows `others` of B what rows `found` of X are in their equations.
    pub fn take(
        &self,
        [found, others]: [Range<usize>; 2],
        x: &mut [T],
        pitch: usize,
        columns: Range<usize>,
        parallel: bool,
    ) -> Result<()> {
        let factors = negated(self.entries, self.place, others.clone(), found.clone());
        take(&factors, [found, others], x, pitch, columns, parallel)
    }

    #[inline(always)]
    fn solve_narrow(&self, range: Range<usize>, x: &mut [T], pitch: usize, columns: Range<usize>) -> bool {
        let mut is_regular = true;
        for step in 0..range.len() {
            let i = if self.lower { range.start + step } else { range.end - 1 - step };
            let (front, rest) = x.split_at_mut(i * pitch);
            let (found, back) = rest.split_at_mut(pitch);
            let found = &mut found[columns.clone()];
            if !self.unit {
                let pivot = self.entries[self.place.place(i, i)];
                is_regular &= pivot != T::ZERO;
                for x in &mut *found {
                    *x /= pivot;
                }
            }
            let (others, rows) = if self.lower {
                (i + 1..range.end, back)
            } else {
                (range.start..i, &mut front[range.start * pitch..])
            };
            for (j, row) in others.zip(rows.chunks_exact_mut(pitch)) {
                let entry = self.entries[self.place.place(j, i)];
                for (x, &f) in row[columns.clone()].iter_mut().zip(&*found) {
                    *x -= entry * f;
                }
            }
        }
        is_regular
    }
}
