//! Native reductions of blocks: sums, maxima and minima, along rows or element by element.

use std::hint::select_unpredictable;

use vorpal_tensor::{DType, Layout};

use crate::arguments::{Column, Part, Stretches, parts};
use crate::lane::{alike, vectorized};
use crate::{Lane, LaneElement, LaneMut, Lanes, ReduceKind};

/// Numbers that are combined side by side. Two vectors of most processors hide what an addition takes.
const SIDE: usize = 32;

/// Elements whose sum is held in f32; longer sums are in f64.
const SHORT: usize = 1024;

/// Combines what was combined side by side. It is a call, so that how it goes across does not bring the loop before it out
/// of step: compilers would lay out its vectors for what comes here.
#[inline(never)]
fn across<T: Copy>(side: &[T; SIDE], f: impl Fn(T, T) -> T) -> T {
    let mut side = *side;
    let mut width = SIDE / 2;
    while width > 0 {
        let (low, high) = side.split_at_mut(width);
        for (l, h) in low.iter_mut().zip(high) {
            *l = f(*l, *h);
        }
        width /= 2;
    }
    side[0]
}

/// The sum in f64 of what was summed side by side.
#[inline(never)]
fn across_f32(side: &[f32; SIDE]) -> f64 {
    let (low, high) = side.split_at(SIDE / 2);
    let mut wide = [0f64; SIDE / 2];
    for ((wide, &l), &h) in wide.iter_mut().zip(low).zip(high) {
        *wide = f64::from(l) + f64::from(h);
    }
    let mut width = SIDE / 4;
    while width > 0 {
        let (low, high) = wide.split_at_mut(width);
        for (l, h) in low.iter_mut().zip(high) {
            *l += *h;
        }
        width /= 2;
    }
    wide[0]
}

/// Combines values in a fixed order: side by side first, then across.
#[inline(always)]
pub(crate) fn combine<T: Copy>(values: &[T], start: T, f: impl Fn(T, T) -> T) -> T {
    let mut side = [start; SIDE];
    let (chunks, rest) = values.as_chunks::<SIDE>();
    for chunk in chunks {
        for (s, &v) in side.iter_mut().zip(chunk) {
            *s = f(*s, v);
        }
    }
    let mut all = if chunks.is_empty() { start } else { across(&side, &f) };
    let (eights, rest) = rest.as_chunks::<8>();
    for eight in eights {
        let four: [T; 4] = std::array::from_fn(|k| f(eight[k], eight[k + 4]));
        all = f(all, f(f(four[0], four[2]), f(four[1], four[3])));
    }
    rest.iter().fold(all, |a, &v| f(a, v))
}

/// The larger number, or a NaN, which is a sum: of two values to choose from, one of which is what was there, compilers would store
/// only where it is the other, and to store some elements of a vector takes many times longer on some processors.
#[inline(always)]
fn higher<T: LaneElement>(a: T, v: T) -> T {
    select_unpredictable(a.nan() | v.nan(), a.plus(v), if v > a { v } else { a })
}

/// The smaller number, or a NaN.
#[inline(always)]
fn lower<T: LaneElement>(a: T, v: T) -> T {
    select_unpredictable(a.nan() | v.nan(), a.plus(v), if v < a { v } else { a })
}

#[inline(always)]
fn fold<T: LaneElement>(kind: ReduceKind, values: &[T], start: T) -> T {
    match kind {
        ReduceKind::Sum => combine(values, start, T::plus),
        ReduceKind::Max => combine(values, start, higher),
        ReduceKind::Min => combine(values, start, lower),
    }
}

/// The sum in f64 of stretches summed in f32, of what `f` makes of as many values of two slices.
#[inline(always)]
fn sum_f32(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    let mut sum = 0.0;
    for (a, b) in a.chunks(SHORT).zip(b.chunks(SHORT)) {
        let mut side = [0f32; SIDE];
        let ((chunks, rest), (others, others_rest)) = (a.as_chunks::<SIDE>(), b.as_chunks::<SIDE>());
        for (a, b) in chunks.iter().zip(others) {
            for ((s, &a), &b) in side.iter_mut().zip(a).zip(b) {
                *s += f(a, b);
            }
        }
        if !chunks.is_empty() {
            sum += across_f32(&side);
        }
        sum += sum_rest(rest, others_rest, &f);
    }
    sum
}

/// The sum in f64 of what lies beyond vectors: of eights side by side, and one by one.
#[inline(always)]
fn sum_rest(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    let ((eights, rest), (others, others_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sum = 0.0;
    for (a, b) in eights.iter().zip(others) {
        let both: [f64; 4] =
            std::array::from_fn(|k| f64::from(f(a[k], b[k])) + f64::from(f(a[k + 4], b[k + 4])));
        sum += (both[0] + both[2]) + (both[1] + both[3]);
    }
    sum + rest.iter().zip(others_rest).map(|(&a, &b)| f64::from(f(a, b))).sum::<f64>()
}

/// The sum in f64 of stretches summed in f32.
#[inline(always)]
fn plain_sum_f32(values: &[f32]) -> f64 {
    sum_f32(values, values, |a, _| a)
}

/// Sums of the products of the elements of rows of `columns`.
pub(crate) fn dot_rows(a: Lane<'_>, b: Lane<'_>, columns: usize, out: LaneMut<'_>) {
    if let (Lane::F32(a), Lane::F32(b), LaneMut::F32(out)) = (a, b, out) {
        let rows = a.chunks_exact(columns).zip(b.chunks_exact(columns));
        vectorized(
            #[inline(always)]
            || {
                for (o, (a, b)) in out.iter_mut().zip(rows) {
                    *o = sum_f32(a, b, |a, b| a * b) as f32;
                }
            },
        );
    }
}

/// The sum of the squares of differences from a number.
#[inline(always)]
fn deviation_f32(values: &[f32], less: f32) -> f64 {
    sum_f32(
        values,
        values,
        #[inline(always)]
        |a, _| (a - less) * (a - less),
    )
}

/// The sum of a row.
pub(crate) fn sum_row(values: &[f32]) -> f64 {
    vectorized(
        #[inline(always)]
        || plain_sum_f32(values),
    )
}

/// The sum of the squares of differences of a row from a number.
pub(crate) fn deviation_row(values: &[f32], less: f32) -> f64 {
    vectorized(
        #[inline(always)]
        || deviation_f32(values, less),
    )
}

/// [`deviation_row`] of a row and [`sum_row`] of another of the same length. It says for two what [`sum_f32`] says for one sum,
/// as compilers do not keep an array of sums in registers.
pub(crate) fn deviation_and_sum_row(values: &[f32], less: f32, others: &[f32]) -> [f64; 2] {
    let square = |a: f32| (a - less) * (a - less);
    vectorized(
        #[inline(always)]
        || {
            let [mut deviation, mut sum] = [0.0; 2];
            for (values, others) in values.chunks(SHORT).zip(others.chunks(SHORT)) {
                let (mut squares, mut plain) = ([0f32; SIDE], [0f32; SIDE]);
                let ((chunks, rest), (other_chunks, other_rest)) =
                    (values.as_chunks::<SIDE>(), others.as_chunks::<SIDE>());
                for (values, others) in chunks.iter().zip(other_chunks) {
                    for k in 0..SIDE {
                        squares[k] += square(values[k]);
                        plain[k] += others[k];
                    }
                }
                if !chunks.is_empty() {
                    deviation += across_f32(&squares);
                    sum += across_f32(&plain);
                }
                deviation += sum_rest(rest, rest, |a, _| square(a));
                sum += sum_rest(other_rest, other_rest, |other, _| other);
            }
            [deviation, sum]
        },
    )
}

/// Sums of the squares of the elements of rows of `columns`, less a number for each row.
pub(crate) fn deviation_rows(a: Lane<'_>, less: Lane<'_>, columns: usize, out: LaneMut<'_>) {
    if let (Lane::F32(a), Lane::F32(less), LaneMut::F32(out)) = (a, less, out) {
        // One number for all rows may be but one.
        let rows = a.chunks_exact(columns).zip(less.iter().cycle());
        vectorized(
            #[inline(always)]
            || {
                for (o, (a, &less)) in out.iter_mut().zip(rows) {
                    *o = deviation_f32(a, less) as f32;
                }
            },
        );
    }
}

/// The result of a reduction of nothing.
fn start_of<T: LaneElement>(kind: ReduceKind) -> T {
    match kind {
        ReduceKind::Sum => T::default(),
        ReduceKind::Max => T::LOWEST,
        ReduceKind::Min => T::HIGHEST,
    }
}

fn each_row<T: LaneElement>(kind: ReduceKind, values: &[T], columns: usize, out: &mut [T]) {
    let start = start_of::<T>(kind);
    vectorized(
        #[inline(always)]
        || {
            for (o, row) in out.iter_mut().zip(values.chunks_exact(columns)) {
                *o = fold(kind, row, start);
            }
        },
    );
}

/// Reduces rows of `columns` values to one value each.
pub(crate) fn fold_rows(kind: ReduceKind, values: Lane<'_>, columns: usize, out: LaneMut<'_>) {
    match (kind, values, out) {
        (ReduceKind::Sum, Lane::F32(v), LaneMut::F32(out)) => vectorized(
            #[inline(always)]
            || {
                for (o, row) in out.iter_mut().zip(v.chunks_exact(columns)) {
                    *o = plain_sum_f32(row) as f32;
                }
            },
        ),
        (_, values, out) => {
            alike!((values, out), Lane, LaneMut, (v, o) => each_row(kind, v, columns, o); _ => {})
        }
    }
}

/// Accumulators of one reduction for all rows. Sums of floats are kept in f64.
#[derive(Clone, Debug)]
pub(crate) struct Accumulator {
    kind: ReduceKind,
    dtype: DType,
    lanes: Lanes,
}

impl Accumulator {
    pub fn new(kind: ReduceKind, dtype: DType, rows: usize) -> Accumulator {
        let wide = kind == ReduceKind::Sum && dtype.is_float();
        let mut lanes = Lanes::of(if wide { DType::F64 } else { dtype }, rows);
        if kind != ReduceKind::Sum {
            lanes.fill_extreme(kind == ReduceKind::Min);
        }
        Accumulator { kind, dtype, lanes }
    }

    /// Takes a block of values whose rows the map tells.
    pub fn take(&mut self, values: Lane<'_>, map: &Layout, start: usize, n: usize) {
        let kind = self.kind;
        parts(map, start, n, |part| match part {
            Part::Stretches(Stretches { at, len, place, stride, times, step, .. }) => {
                let (range, row) = (at..at + times * len, place.unwrap_or(0) as usize);
                let rows = Rows { row, step: step as usize, each: if stride == 0 { 1 } else { len } };
                match (values, &mut self.lanes) {
                    (Lane::F32(v), Lanes::F64(acc)) => add_f32(&v[range], len, acc, rows),
                    pair => {
                        alike!(pair, Lane, Lanes, (v, acc) => join(kind, &v[range], len, acc, rows); _ => {})
                    }
                }
            }
            Part::Column(column) => match (values, &mut self.lanes) {
                (Lane::F32(v), Lanes::F64(acc)) => along(column, v, acc, |a, v| a + f64::from(v)),
                pair => alike!(pair, Lane, Lanes, (v, acc) => match kind {
                    ReduceKind::Sum => along(column, v, acc, LaneElement::plus),
                    ReduceKind::Max => along(column, v, acc, higher),
                    ReduceKind::Min => along(column, v, acc, lower),
                }; _ => {}),
            },
        });
    }

    /// Takes what another part of the elements gave for the same rows.
    pub fn merge(&mut self, other: &Accumulator) {
        let kind = self.kind;
        let rows = Rows { row: 0, step: 0, each: other.lanes.len() };
        alike!((&other.lanes, &mut self.lanes), Lanes, Lanes, (v, acc) => join(kind, v, v.len(), acc, rows); _ => {});
    }

    /// The results.
    pub fn finish(self) -> Lanes {
        match self.lanes {
            Lanes::F64(v) if self.dtype != DType::F64 => {
                Lanes::F32(v.into_iter().map(|x| x as f32).collect())
            }
            lanes => lanes,
        }
    }
}

/// Joins values with an accumulator each.
#[inline(always)]
fn each<T: Copy, V: Copy>(acc: &mut [T], values: &[V], f: impl Fn(T, V) -> T) {
    for (a, &v) in acc.iter_mut().zip(values) {
        *a = f(*a, v);
    }
}

/// Joins the values of a column with their accumulators.
fn along<T: Copy, V: Copy>(column: Column, values: &[V], acc: &mut [T], f: impl Fn(T, V) -> T) {
    let row = column.place.unwrap_or(0) as usize;
    match column.step as usize {
        0 => acc[row] = column.of(values).fold(acc[row], |a, &v| f(a, v)),
        step => {
            for (a, &v) in acc[row..].iter_mut().step_by(step).zip(column.of(values)) {
                *a = f(*a, v);
            }
        }
    }
}

/// The accumulators of stretches of values one behind the other.
#[derive(Clone, Copy)]
struct Rows {
    /// The first one of the first stretch.
    row: usize,
    /// How far on the next stretch has its own.
    step: usize,
    /// One for all values of a stretch, or for each its own.
    each: usize,
}

impl Rows {
    /// Stretches of `len` values with their accumulators.
    #[inline(always)]
    fn of<'v, V, T>(self, values: &'v [V], len: usize, acc: &mut [T], mut f: impl FnMut(&'v [V], &mut [T])) {
        let mut row = self.row;
        for values in values.chunks_exact(len.max(1)) {
            f(values, &mut acc[row..row + self.each]);
            row += self.step;
        }
    }
}

/// Joins stretches of values with the one accumulator there is, or each value with its own.
fn join<T: LaneElement>(kind: ReduceKind, values: &[T], len: usize, acc: &mut [T], rows: Rows) {
    vectorized(
        #[inline(always)]
        || {
            rows.of(
                values,
                len,
                acc,
                #[inline(always)]
                |values, acc| match (acc, kind) {
                    ([one], _) => {
                        let own = fold(kind, values, start_of(kind));
                        *one = fold(kind, &[*one, own], start_of(kind));
                    }
                    (acc, ReduceKind::Sum) => each(acc, values, T::plus),
                    (acc, ReduceKind::Max) => each(acc, values, higher),
                    (acc, ReduceKind::Min) => each(acc, values, lower),
                },
            );
        },
    );
}

/// Adds stretches of values to the one accumulator there is, or each value to its own.
fn add_f32(values: &[f32], len: usize, acc: &mut [f64], rows: Rows) {
    vectorized(
        #[inline(always)]
        || {
            rows.of(
                values,
                len,
                acc,
                #[inline(always)]
                |values, acc| match acc {
                    [one] => *one += plain_sum_f32(values),
                    acc => each(acc, values, |a, v| a + f64::from(v)),
                },
            );
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_for_two_are_those_for_one() {
        // Large numbers that cancel: the order of the sum shows.
        let number = |k: usize| [1e30f32, 1.0, 3.0, 1.0, -1e30, 1.0, 0.1, 7.0][k % 8];
        for columns in (0..80).chain([SHORT - 1, SHORT + 24, 2 * SHORT + 9]) {
            let row: Vec<f32> = (0..columns).map(number).collect();
            let others: Vec<f32> = (0..columns).map(|k| number(k * 5 + 2)).collect();
            let found = deviation_and_sum_row(&row, 0.3, &others).map(f64::to_bits);
            let apart = [deviation_row(&row, 0.3), sum_row(&others)].map(f64::to_bits);
            assert_eq!(found, apart, "{columns} columns");
        }
    }
}
