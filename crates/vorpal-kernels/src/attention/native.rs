//! Native attention: blocks of scores through matrix products.

use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Sub};

use vorpal_tensor::Result;

use super::{Attention, AttentionPass};
use crate::gemm::{Gemm, Matrix};
use crate::interp::for_each;

/// Queries and keys of a block of scores.
const QUERIES: usize = 64;
const KEYS: usize = 128;

/// The element types.
pub(super) trait Number:
    Gemm
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + MulAssign
    + PartialOrd
{
    const ZERO: Self;
    const ONE: Self;
    /// Far below every score, far above the lowest float.
    const NOTHING: Self;
    fn of(value: f64) -> Self;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
}

impl Number for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const NOTHING: f32 = -1e30;
    fn of(value: f64) -> f32 {
        value as f32
    }
    /// Within 2 units in the last place, flushed to the smallest normal number below, in steps a compiler can do for
    /// many numbers at once.
    #[inline(always)]
    fn exp(self) -> f32 {
        // 1.5 · 2²³: adding it leaves a whole number in the last bits.
        const ROUND: f32 = 12_582_912.0;
        let x = self.clamp(-87.3, 88.7);
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        // ln 2 in two parts, the first short enough for n · part to be exact.
        let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
        // Taylor to r⁷∕7!, |r| ≤ ½ ln 2.
        let mut sum = 1.0 / 5040.0;
        for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            sum = sum * r + c;
        }
        let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
        sum * f32::from_bits(power)
    }
    fn ln(self) -> f32 {
        f32::ln(self)
    }
}

impl Number for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const NOTHING: f64 = -1e30;
    fn of(value: f64) -> f64 {
        value
    }
    fn exp(self) -> f64 {
        f64::exp(self)
    }
    fn ln(self) -> f64 {
        f64::ln(self)
    }
}

/// A block of scores: queries `first..first + rows` of a head against keys `from..from + columns`.
#[derive(Clone, Copy)]
struct Block {
    pair: usize,
    first: usize,
    rows: usize,
    from: usize,
    columns: usize,
}

impl Attention {
    pub(super) fn native<T: Number>(&self, operands: &[&[T]], out: &mut [T]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let (shape, d) = (&self.shape, self.shape.columns);
        match self.pass {
            AttentionPass::Forward => {
                let tasks = blocks(out, shape.queries, d + 1, QUERIES);
                for_each(tasks, |(pair, first, out)| self.forward(operands, pair, first, out))
            }
            AttentionPass::BackwardQ => {
                let tasks = blocks(out, shape.queries, d, QUERIES);
                for_each(tasks, |(pair, first, out)| self.backward_q(operands, pair, first, out))
            }
            AttentionPass::BackwardKv => {
                let (keys, values) = out.split_at_mut(out.len() / 2);
                let keys = blocks(keys, shape.keys, d, KEYS);
                let tasks = keys.into_iter().zip(blocks(values, shape.keys, d, KEYS)).collect();
                for_each(tasks, |((pair, first, to_k), (_, _, to_v)): (Rows<'_, T>, Rows<'_, T>)| {
                    self.backward_kv(operands, pair, first, to_k, to_v)
                })
            }
        }
    }

    /// Keys a query sees.
    fn seen(&self, query: usize) -> usize {
        let shape = &self.shape;
        if self.causal {
            (query + 1 + shape.keys).saturating_sub(shape.queries).min(shape.keys)
        } else {
            shape.keys
        }
    }

    fn rows(&self, operand: usize, pair: usize, first: usize) -> Matrix {
        let heads = self.shape.heads;
        self.operands[operand].rows(pair / heads, pair % heads, first)
    }

    /// `left` rows times the transpose of `right` rows, for every element of a block.
    fn products<T: Number>(
        &self,
        block: Block,
        left: (usize, &[T]),
        right: (usize, &[T]),
        out: &mut [T],
    ) -> Result<()> {
        T::gemm(
            [block.rows, block.columns, self.shape.columns],
            (out, Matrix::rows_of(block.columns)),
            (left.1, self.rows(left.0, block.pair, block.first)),
            (right.1, self.rows(right.0, block.pair, block.from).transposed()),
            false,
            false,
        )
    }

    fn forward<T: Number>(&self, x: &[&[T]], pair: usize, first: usize, out: &mut [T]) -> Result<()> {
        let d = self.shape.columns;
        let of_out = Matrix::rows_of(d + 1);
        let rows = out.len() / (d + 1);
        let (scale, mut scores) = (T::of(self.scale), vec![T::ZERO; QUERIES * KEYS]);
        let mut state = [(T::NOTHING, T::ZERO); QUERIES];
        out.fill(T::ZERO);
        let seen = self.seen(first + rows - 1);
        for from in (0..seen).step_by(KEYS) {
            let block = Block { pair, first, rows, from, columns: KEYS.min(seen - from) };
            self.products(block, (0, x[0]), (1, x[1]), &mut scores)?;
            let lines = scores.chunks_mut(block.columns).zip(out.chunks_mut(d + 1)).zip(&mut state);
            for (i, ((line, out), (top, weight))) in lines.take(rows).enumerate() {
                let (line, hidden) =
                    line.split_at_mut(self.seen(first + i).saturating_sub(from).min(block.columns));
                hidden.fill(T::ZERO);
                let mut high = *top;
                for s in line.iter_mut() {
                    *s *= scale;
                    high = if *s > high { *s } else { high };
                }
                let shrink = (*top - high).exp();
                if *top != high {
                    out[..d].iter_mut().for_each(|o| *o *= shrink);
                    *weight *= shrink;
                }
                line.iter_mut().for_each(|s| *s = (*s - high).exp());
                *weight += sum(line);
                *top = high;
            }
            let sizes = [rows, d, block.columns];
            let scores = (&scores[..], Matrix::rows_of(block.columns));
            T::gemm(sizes, (out, of_out), scores, (x[2], self.rows(2, pair, from)), true, false)?;
        }
        for (out, (top, weight)) in out.chunks_mut(d + 1).zip(state) {
            let none = weight == T::ZERO;
            let share = if none { T::ZERO } else { T::ONE / weight };
            out[..d].iter_mut().for_each(|o| *o *= share);
            out[d] = if none { T::NOTHING } else { top + weight.ln() };
        }
        Ok(())
    }

    /// Probabilities of a block in `p`, and in `change` the cotangents of its scores.
    fn changes<T: Number>(&self, x: &[&[T]], block: Block, p: &mut [T], change: &mut [T]) -> Result<()> {
        self.products(block, (0, x[0]), (1, x[1]), p)?;
        self.products(block, (3, x[3]), (2, x[2]), change)?;
        let (scale, n) = (T::of(self.scale), block.columns);
        let (sums, excess) = (self.rows(4, block.pair, block.first), self.rows(5, block.pair, block.first));
        for (i, (p, change)) in p.chunks_mut(n).zip(change.chunks_mut(n)).take(block.rows).enumerate() {
            let (sum, more) = (x[4][sums.place(i, 0)], x[5][excess.place(i, 0)]);
            let seen = self.seen(block.first + i).saturating_sub(block.from).min(n);
            for (p, change) in p[..seen].iter_mut().zip(&mut change[..seen]) {
                *p = (*p * scale - sum).exp();
                *change = *p * (*change + more);
            }
            p[seen..].fill(T::ZERO);
            change[seen..].fill(T::ZERO);
        }
        Ok(())
    }

    fn backward_q<T: Number>(&self, x: &[&[T]], pair: usize, first: usize, out: &mut [T]) -> Result<()> {
        let d = self.shape.columns;
        let rows = out.len() / d;
        let (mut p, mut change) = (vec![T::ZERO; QUERIES * KEYS], vec![T::ZERO; QUERIES * KEYS]);
        out.fill(T::ZERO);
        let seen = self.seen(first + rows - 1);
        for from in (0..seen).step_by(KEYS) {
            let block = Block { pair, first, rows, from, columns: KEYS.min(seen - from) };
            self.changes(x, block, &mut p, &mut change)?;
            let change = (&change[..], Matrix::rows_of(block.columns));
            let keys = (x[1], self.rows(1, pair, from));
            T::gemm([rows, d, block.columns], (out, Matrix::rows_of(d)), change, keys, true, false)?;
        }
        let scale = T::of(self.scale);
        out.iter_mut().for_each(|o| *o *= scale);
        Ok(())
    }

    fn backward_kv<T: Number>(
        &self,
        x: &[&[T]],
        pair: usize,
        from: usize,
        to_k: &mut [T],
        to_v: &mut [T],
    ) -> Result<()> {
        let (d, queries) = (self.shape.columns, self.shape.queries);
        let columns = to_k.len() / d;
        let (mut p, mut change) = (vec![T::ZERO; QUERIES * KEYS], vec![T::ZERO; QUERIES * KEYS]);
        to_k.fill(T::ZERO);
        to_v.fill(T::ZERO);
        for first in (0..queries).step_by(QUERIES) {
            let rows = QUERIES.min(queries - first);
            if self.seen(first + rows - 1) <= from {
                continue;
            }
            let block = Block { pair, first, rows, from, columns };
            self.changes(x, block, &mut p, &mut change)?;
            let (sizes, turned) = ([columns, d, rows], Matrix::rows_of(columns).transposed());
            let (queries, given) = (self.rows(0, pair, first), self.rows(3, pair, first));
            let out = Matrix::rows_of(d);
            T::gemm(sizes, (to_v, out), (&p[..], turned), (x[3], given), true, false)?;
            T::gemm(sizes, (to_k, out), (&change[..], turned), (x[0], queries), true, false)?;
        }
        let scale = T::of(self.scale);
        to_k.iter_mut().for_each(|o| *o *= scale);
        Ok(())
    }
}

/// Some rows of one head: its number, the first row, the rows.
type Rows<'a, T> = (usize, usize, &'a mut [T]);

/// `out` in blocks of rows: `rows` of `one` elements for each head, at most `block` at a time.
fn blocks<T>(out: &mut [T], rows: usize, one: usize, block: usize) -> Vec<Rows<'_, T>> {
    let heads = out.chunks_mut(rows * one).enumerate();
    heads
        .flat_map(|(pair, head)| {
            head.chunks_mut(block * one).enumerate().map(move |(k, rows)| (pair, k * block, rows))
        })
        .collect()
}

/// A sum in eight lanes.
fn sum<T: Number>(values: &[T]) -> T {
    let mut lanes = [T::ZERO; 8];
    let (whole, rest) = values.as_chunks::<8>();
    for chunk in whole {
        lanes.iter_mut().zip(chunk).for_each(|(l, &v)| *l += v);
    }
    rest.iter().chain(&lanes).fold(T::ZERO, |a, &b| a + b)
}
