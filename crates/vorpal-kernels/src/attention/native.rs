//! Native attention: blocks of scores through matrix products.

use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Range, Sub};

use vorpal_tensor::Result;

use super::{Attention, AttentionPass, AttentionShape};
use crate::fold::combine;
use crate::gemm::{Gemm, Matrix};
use crate::interp::for_each;
use crate::lane::vectorized;
use crate::scratch::Scratch;
use crate::{elementary, philox4x32};

/// Queries and keys of a block of scores, and of one of long sequences: larger blocks have their keys and values laid out for
/// products less often, but have more scores that are not seen where those are masked.
const BLOCK: [usize; 2] = [64, 128];
const BLOCK_LONG: [usize; 2] = [128, 256];

/// Queries, and keys that each of them sees, from which on sequences are long.
const LONG: usize = 512;

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
    /// Far below every score, far above the lowest float: the score of a key that is not seen.
    const NOTHING: Self;
    /// Between the two.
    const HALF_NOTHING: Self;
    fn of(value: f64) -> Self;
    fn whole(self) -> usize;
    fn tanh(self) -> Self;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
}

impl Number for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const NOTHING: f32 = -1e30;
    const HALF_NOTHING: f32 = -5e29;
    fn of(value: f64) -> f32 {
        value as f32
    }
    fn whole(self) -> usize {
        self as usize
    }
    #[inline(always)]
    fn tanh(self) -> f32 {
        elementary::tanh(self)
    }
    #[inline(always)]
    fn exp(self) -> f32 {
        elementary::exp(self)
    }
    fn ln(self) -> f32 {
        f32::ln(self)
    }
}

impl Number for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const NOTHING: f64 = -1e30;
    const HALF_NOTHING: f64 = -5e29;
    fn of(value: f64) -> f64 {
        value
    }
    fn whole(self) -> usize {
        self as usize
    }
    fn tanh(self) -> f64 {
        f64::tanh(self)
    }
    fn exp(self) -> f64 {
        f64::exp(self)
    }
    fn ln(self) -> f64 {
        f64::ln(self)
    }
}

/// Elements of the operands, in the order of the arguments.
struct Inputs<'a, T> {
    /// Queries, keys, values, cotangents of the results.
    windows: &'a [&'a [T]],
    side: &'a [T],
    bias: Option<&'a [T]>,
    mask: Option<&'a [u32]>,
    so_far: Option<&'a [T]>,
}

/// One head of one sequence.
#[derive(Clone, Copy)]
struct Head<T> {
    batch: usize,
    head: usize,
    pair: usize,
    queries: usize,
    keys: usize,
    slope: T,
    /// Of its draws.
    random_key: [u32; 2],
}

/// A block of scores: queries `first..first + rows` against keys `from..from + columns`.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    rows: usize,
    from: usize,
    columns: usize,
}

/// Room for blocks: probabilities (or scores), cotangents of scores, derivatives of bounded products, what the
/// probabilities are multiplied by.
struct Room<T> {
    p: Scratch<T>,
    change: Scratch<T>,
    bounded: Scratch<T>,
    kept: Scratch<T>,
}

impl Attention {
    /// Queries and keys of a block of scores.
    fn block_size(&self) -> [usize; 2] {
        let window = match (self.rules.left, self.rules.right) {
            (Some(left), Some(right)) => left.saturating_add(right),
            _ => usize::MAX,
        };
        let long = self.shape.keys.min(self.shape.queries).min(window) >= LONG;
        if long { BLOCK_LONG } else { BLOCK }
    }

    fn room<T: Number>(&self) -> Room<T> {
        let [queries, keys] = self.block_size();
        let (queries, keys) = (queries.min(self.shape.queries), keys.min(self.shape.keys));
        let block = |there: bool| Scratch::new(if there { queries * keys } else { 0 });
        Room {
            p: block(true),
            change: block(self.pass != AttentionPass::Forward),
            bounded: block(self.rules.softcap.is_some()),
            kept: block(self.rules.dropout.is_some()),
        }
    }

    /// `floats` are all operands but the mask.
    pub(super) fn native<T: Number>(
        &self,
        floats: &[&[T]],
        mask: Option<&[u32]>,
        out: &mut [T],
    ) -> Result<()> {
        let (windows, rest) = floats.split_at(self.operands.len());
        let mut rest = rest.iter().copied();
        let side = if self.has_side() { rest.next().unwrap_or_default() } else { &[] };
        let bias = self.bias.and_then(|_| rest.next());
        let x = Inputs { windows, side, bias, mask, so_far: rest.next() };
        if out.is_empty() {
            return Ok(());
        }
        let (shape, d, e) = (&self.shape, self.shape.columns, self.shape.value_columns);
        let [by_queries, by_keys] = self.block_size();
        match self.pass {
            AttentionPass::Forward => {
                let tasks = blocks(out, shape.queries, e + 1, by_queries);
                for_each(tasks, |(pair, first, out)| self.forward(&x, &self.head(&x, pair), first, out))
            }
            AttentionPass::BackwardQ => {
                let tasks = blocks(out, shape.queries, d, by_queries);
                for_each(tasks, |(pair, first, out)| self.backward_q(&x, &self.head(&x, pair), first, out))
            }
            AttentionPass::BackwardKv => {
                let tasks = blocks(out, shape.keys, d + e, by_keys);
                for_each(tasks, |(pair, from, out)| self.backward_kv(&x, pair, from, out))
            }
            AttentionPass::Backward if shape.queries.min(shape.keys) == 0 => {
                out.fill(T::ZERO);
                Ok(())
            }
            AttentionPass::Backward => {
                let (to_q, to_kv) = out.split_at_mut(shape.pairs() * shape.queries * d);
                let to_q = to_q.chunks_mut(shape.group() * shape.queries * d);
                let to_kv = to_kv.chunks_mut(shape.keys * (d + e));
                let tasks = to_q.zip(to_kv).enumerate().collect();
                for_each(tasks, |(shared, (to_q, to_kv))| self.backward(&x, shared, to_q, to_kv))
            }
            AttentionPass::BackwardBias if self.is_row() => {
                let tasks = blocks(out, shape.keys, 1, by_keys);
                for_each(tasks, |(pair, from, out)| self.backward_row(&x, &self.head(&x, pair), from, out))
            }
            AttentionPass::BackwardBias => {
                let tasks = blocks(out, shape.queries, shape.keys, by_queries);
                for_each(tasks, |(which, first, out)| self.backward_bias(&x, which, first, out))
            }
        }
    }

    fn head<T: Number>(&self, x: &Inputs<'_, T>, pair: usize) -> Head<T> {
        let shape = &self.shape;
        let (batch, head) = (pair / shape.heads, pair % shape.heads);
        let [slopes, lengths, draws, _] = self.side();
        let of_batch = |from: usize, most: usize| x.side[from + batch].whole().min(most);
        let (mut queries, mut keys) = (shape.queries, shape.keys);
        if self.rules.lengths {
            (queries, keys) = (of_batch(lengths, queries), of_batch(lengths + shape.batch, keys));
        }
        let slope = if self.rules.slopes { x.side[slopes + pair] } else { T::ZERO };
        let random_key = self.rules.dropout.map_or([0; 2], |dropout| {
            let word = |k: usize| (x.side[draws + k].whole() | x.side[draws + k + 1].whole() << 16) as u32;
            let drawn = batch % dropout.batch.max(1) * shape.heads + head;
            let words = philox4x32([(drawn >> 1) as u32, 0, 0, 0], [word(0), word(2)]);
            if drawn.is_multiple_of(2) { [words[0], words[1]] } else { [words[2], words[3]] }
        });
        Head { batch, head, pair, queries, keys, slope, random_key }
    }

    /// Keys a query sees, as far as windows and lengths go, of those of this launch.
    fn seen<T>(&self, head: &Head<T>, query: usize) -> Range<usize> {
        if query >= head.queries {
            return 0..0;
        }
        // Both sides are moved by the number of queries, so that nothing is below 0.
        let beside = query + head.keys;
        let end = self.rules.right.map_or(head.keys, |right| {
            beside.saturating_add(right).saturating_add(1).saturating_sub(head.queries).min(head.keys)
        });
        let start =
            self.rules.left.map_or(0, |left| beside.saturating_sub(left).saturating_sub(head.queries));
        let (start, end) = (start.max(self.from()), end.min(self.to()));
        start.min(end)..end
    }

    /// Keys of this launch.
    fn from(&self) -> usize {
        if matches!(self.pass, AttentionPass::Forward | AttentionPass::BackwardQ) {
            self.range.start
        } else {
            0
        }
    }

    fn to(&self) -> usize {
        let over_keys = matches!(self.pass, AttentionPass::Forward | AttentionPass::BackwardQ);
        if over_keys { self.range.end } else { self.shape.keys }
    }

    /// Keys that some of `rows` queries see.
    fn seen_by<T>(&self, head: &Head<T>, first: usize, rows: usize) -> Range<usize> {
        let end = (first + rows).min(head.queries);
        if first >= end {
            return 0..0;
        }
        self.seen(head, first).start..self.seen(head, end - 1).end
    }

    /// Blocks of scores of some queries with those of some keys that they see.
    fn seen_blocks<T: Copy>(
        &self,
        head: Head<T>,
        queries: Range<usize>,
        keys: Range<usize>,
    ) -> impl Iterator<Item = Block> {
        let [by_queries, by_keys] = self.block_size();
        queries.clone().step_by(by_queries).flat_map(move |first| {
            let rows = by_queries.min(queries.end - first);
            let seen = self.seen_by(&head, first, rows);
            let end = seen.end.min(keys.end);
            let start = seen.start.max(keys.start).min(end);
            (start..end).step_by(by_keys).map(move |from| {
                let columns = by_keys.min(end - from);
                Block { first, rows, from, columns }
            })
        })
    }

    /// Rows of an operand that a head of queries reads.
    fn rows<T>(&self, operand: usize, head: &Head<T>, first: usize) -> Matrix {
        let shared = if matches!(operand, 1 | 2) { self.shape.group() } else { 1 };
        self.operands[operand].rows(head.batch, head.head / shared, first)
    }

    /// Scores of a block in `room.p`, NOTHING where a key is not seen.
    fn scores<T: Number>(
        &self,
        x: &Inputs<'_, T>,
        head: &Head<T>,
        block: Block,
        room: &mut Room<T>,
    ) -> Result<()> {
        let (scale, n) = (T::of(self.rules.scale), block.columns);
        T::gemm(
            [block.rows, n, self.shape.columns],
            (&mut room.p, Matrix::rows_of(n)),
            (x.windows[0], self.rows(0, head, block.first)),
            (x.windows[1], self.rows(1, head, block.from).transposed()),
            false,
            false,
        )?;
        for (i, line) in room.p.chunks_mut(n).take(block.rows).enumerate() {
            let query = block.first + i;
            let seen = self.seen(head, query);
            let inside = |key: usize| key.clamp(block.from, block.from + n) - block.from;
            let (start, end) = (inside(seen.start), inside(seen.end));
            line[..start].fill(T::NOTHING);
            line[end..].fill(T::NOTHING);
            let line = &mut line[start..end];
            vectorized(
                #[inline(always)]
                || {
                    for s in line.iter_mut() {
                        *s *= scale;
                    }
                },
            );
            if let Some(cap) = self.rules.softcap.map(T::of) {
                let slopes = &mut room.bounded[i * n..(i + 1) * n];
                slopes.fill(T::ONE);
                let slopes = &mut slopes[start..end];
                for (s, slope) in line.iter_mut().zip(slopes) {
                    let bounded = (*s / cap).tanh();
                    (*s, *slope) = (cap * bounded, T::ONE - bounded * bounded);
                }
            }
            if self.rules.slopes {
                for (j, s) in line.iter_mut().enumerate() {
                    let steps = (block.from + start + j + head.queries).abs_diff(query + head.keys);
                    *s = *s - head.slope * T::of(steps as f64);
                }
            }
            self.adjust(x, head, query, block.from + start, line);
        }
        Ok(())
    }

    /// Bias and mask of the scores of a query, for keys from `first` on.
    fn adjust<T: Number>(
        &self,
        x: &Inputs<'_, T>,
        head: &Head<T>,
        query: usize,
        first: usize,
        line: &mut [T],
    ) {
        if let (Some(bias), Some(values)) = (&self.bias, x.bias) {
            let row = bias.rows(head.batch, head.head, query);
            for (j, s) in line.iter_mut().enumerate() {
                let score = *s + values[row.place(0, first + j)];
                *s = if score < T::HALF_NOTHING { T::NOTHING } else { score };
            }
        }
        if let (Some(mask), Some(values)) = (&self.mask, x.mask) {
            let row = mask.rows(head.batch, head.head, query);
            for (j, s) in line.iter_mut().enumerate() {
                *s = if values[row.place(0, first + j)] == 0 { T::NOTHING } else { *s };
            }
        }
    }

    /// What the probabilities of a block are multiplied by.
    fn draw<T: Number>(&self, head: &Head<T>, block: Block, kept: &mut [T]) {
        let Some(dropout) = &self.rules.dropout else { return };
        let (threshold, keep) = (dropout.threshold(), T::of(dropout.keep()));
        let draws = self.shape.keys.div_ceil(2);
        for (i, line) in kept.chunks_mut(block.columns).take(block.rows).enumerate() {
            let query = block.first + i;
            let (mut at, mut words) = (usize::MAX, [0; 4]);
            for (j, kept) in line.iter_mut().enumerate() {
                let key = block.from + j;
                if key / 2 != at {
                    at = key / 2;
                    let counter = ((query / 2) as u32).wrapping_mul(draws as u32).wrapping_add(at as u32);
                    words = philox4x32([counter & 0x3fff_ffff, 0, 0, 0], head.random_key);
                }
                *kept = if words[query % 2 * 2 + key % 2] >= threshold { keep } else { T::ZERO };
            }
        }
    }

    fn forward<T: Number>(
        &self,
        x: &Inputs<'_, T>,
        head: &Head<T>,
        first: usize,
        out: &mut [T],
    ) -> Result<()> {
        let e = self.shape.value_columns;
        let rows = out.len() / (e + 1);
        let mut room = self.room();
        let mut state = [(T::NOTHING, T::ZERO); BLOCK_LONG[0]];
        out.fill(T::ZERO);
        if let Some(so_far) = x.so_far {
            let from = (head.pair * self.shape.queries + first) * (e + 1);
            out.copy_from_slice(&so_far[from..from + out.len()]);
            for (line, (top, weight)) in out.chunks(e + 1).zip(&mut state) {
                let none = line[e] < T::HALF_NOTHING;
                (*top, *weight) = (line[e], if none { T::ZERO } else { T::ONE });
            }
        }
        for block in self.seen_blocks(*head, first..first + rows, 0..self.shape.keys) {
            self.scores(x, head, block, &mut room)?;
            let lines = room.p.chunks_mut(block.columns).zip(out.chunks_mut(e + 1)).zip(&mut state);
            for ((line, out), (top, weight)) in lines.take(rows) {
                let high = highest(line, *top);
                if *top != high {
                    let shrink = (*top - high).exp();
                    out[..e].iter_mut().for_each(|o| *o *= shrink);
                    *weight *= shrink;
                }
                exponentials(line, high);
                *weight += sum(line);
                *top = high;
            }
            self.draw(head, block, &mut room.kept);
            room.p.iter_mut().zip(&*room.kept).for_each(|(p, &kept)| *p *= kept);
            let p = (&room.p[..], Matrix::rows_of(block.columns));
            let values = (x.windows[2], self.rows(2, head, block.from));
            T::gemm([rows, e, block.columns], (out, Matrix::rows_of(e + 1)), p, values, true, false)?;
        }
        for (out, (top, weight)) in out.chunks_mut(e + 1).zip(state) {
            let none = weight == T::ZERO;
            let share = if none { T::ZERO } else { T::ONE / weight };
            out[..e].iter_mut().for_each(|o| *o *= share);
            out[e] = if none { T::NOTHING } else { top + weight.ln() };
        }
        Ok(())
    }

    /// Probabilities of a block (those that are kept) in `room.p`, and in `room.change` the cotangents of its scores.
    fn changes<T: Number>(
        &self,
        x: &Inputs<'_, T>,
        head: &Head<T>,
        block: Block,
        room: &mut Room<T>,
    ) -> Result<()> {
        let n = block.columns;
        self.scores(x, head, block, room)?;
        T::gemm(
            [block.rows, n, self.shape.value_columns],
            (&mut room.change, Matrix::rows_of(n)),
            (x.windows[3], self.rows(3, head, block.first)),
            (x.windows[2], self.rows(2, head, block.from).transposed()),
            false,
            false,
        )?;
        self.draw(head, block, &mut room.kept);
        room.change.iter_mut().zip(&*room.kept).for_each(|(c, &kept)| *c *= kept);
        let place = head.pair * self.shape.queries + block.first;
        let rows = self.shape.pairs() * self.shape.queries;
        let lines = room.p.chunks_mut(n).zip(room.change.chunks_mut(n)).take(block.rows);
        for (i, (p, change)) in lines.enumerate() {
            let (log_sum, excess) = (x.side[place + i], x.side[rows + place + i]);
            exponentials(p, log_sum);
            p.iter().zip(change).for_each(|(&p, change)| *change = p * (*change + excess));
        }
        room.p.iter_mut().zip(&*room.kept).for_each(|(p, &kept)| *p *= kept);
        Ok(())
    }

    /// From cotangents of scores to those of products of queries and keys.
    fn unbound<T: Number>(&self, block: Block, room: &mut Room<T>) {
        let elements = room.change[..block.rows * block.columns].iter_mut();
        elements.zip(&*room.bounded).for_each(|(change, &slope)| *change *= slope);
    }

    /// Adds what a block gives to the cotangents of its queries, not yet scaled.
    fn add_q<T: Number>(
        &self,
        x: &Inputs<'_, T>,
        head: &Head<T>,
        block: Block,
        room: &Room<T>,
        out: &mut [T],
    ) -> Result<()> {
        let d = self.shape.columns;
        let change = (&room.change[..], Matrix::rows_of(block.columns));
        let keys = (x.windows[1], self.rows(1, head, block.from));
        T::gemm([block.rows, d, block.columns], (out, Matrix::rows_of(d)), change, keys, true, false)
    }

    /// Adds what a block gives to the cotangents of its keys, not yet scaled, and values.
    fn add_kv<T: Number>(
        &self,
        x: &Inputs<'_, T>,
        head: &Head<T>,
        block: Block,
        room: &Room<T>,
        out: &mut [T],
    ) -> Result<()> {
        let (d, e) = (self.shape.columns, self.shape.value_columns);
        let turned = Matrix::rows_of(block.columns).transposed();
        let (queries, given) = (self.rows(0, head, block.first), self.rows(3, head, block.first));
        let to_k = Matrix::rows_of(d + e);
        let to_v = Matrix { offset: d as isize, ..to_k };
        let (p, change) = ((&room.p[..], turned), (&room.change[..], turned));
        let (columns, rows) = (block.columns, block.rows);
        T::gemm([columns, e, rows], (out, to_v), p, (x.windows[3], given), true, false)?;
        T::gemm([columns, d, rows], (out, to_k), change, (x.windows[0], queries), true, false)
    }

    fn scale_q<T: Number>(&self, out: &mut [T]) {
        let scale = T::of(self.rules.scale);
        out.iter_mut().for_each(|o| *o *= scale);
    }

    fn scale_kv<T: Number>(&self, out: &mut [T]) {
        let (d, e) = (self.shape.columns, self.shape.value_columns);
        out.chunks_mut(d + e).for_each(|row| self.scale_q(&mut row[..d]));
    }

    fn backward_q<T: Number>(
        &self,
        x: &Inputs<'_, T>,
        head: &Head<T>,
        first: usize,
        out: &mut [T],
    ) -> Result<()> {
        let rows = out.len() / self.shape.columns;
        let mut room = self.room();
        out.fill(T::ZERO);
        for block in self.seen_blocks(*head, first..first + rows, 0..self.shape.keys) {
            self.changes(x, head, block, &mut room)?;
            self.unbound(block, &mut room);
            self.add_q(x, head, block, &room, out)?;
        }
        self.scale_q(out);
        Ok(())
    }

    /// For a head of keys, number `shared` of all sequences.
    fn backward_kv<T: Number>(
        &self,
        x: &Inputs<'_, T>,
        shared: usize,
        from: usize,
        out: &mut [T],
    ) -> Result<()> {
        let row = self.shape.columns + self.shape.value_columns;
        let keys = from..from + out.len() / row;
        let mut room = self.room();
        out.fill(T::ZERO);
        for member in 0..self.shape.group() {
            let head = self.head(x, shared * self.shape.group() + member);
            for block in self.seen_blocks(head, self.range.clone(), keys.clone()) {
                self.changes(x, &head, block, &mut room)?;
                self.unbound(block, &mut room);
                self.add_kv(x, &head, block, &room, &mut out[(block.from - from) * row..])?;
            }
        }
        self.scale_kv(out);
        Ok(())
    }

    /// All cotangents of a head of keys and the heads of queries that share it.
    fn backward<T: Number>(
        &self,
        x: &Inputs<'_, T>,
        shared: usize,
        to_q: &mut [T],
        to_kv: &mut [T],
    ) -> Result<()> {
        let AttentionShape { queries, keys, columns, value_columns, .. } = self.shape;
        let mut room = self.room();
        to_q.fill(T::ZERO);
        to_kv.fill(T::ZERO);
        for (member, to_q) in to_q.chunks_mut(queries * columns).enumerate() {
            let head = self.head(x, shared * self.shape.group() + member);
            for block in self.seen_blocks(head, 0..queries, 0..keys) {
                self.changes(x, &head, block, &mut room)?;
                self.unbound(block, &mut room);
                self.add_q(x, &head, block, &room, &mut to_q[block.first * columns..])?;
                let to_kv = &mut to_kv[block.from * (columns + value_columns)..];
                self.add_kv(x, &head, block, &room, to_kv)?;
            }
        }
        self.scale_q(to_q);
        self.scale_kv(to_kv);
        Ok(())
    }

    /// Derivative of a bias that all queries share, by some keys of one head.
    fn backward_row<T: Number>(
        &self,
        x: &Inputs<'_, T>,
        head: &Head<T>,
        from: usize,
        out: &mut [T],
    ) -> Result<()> {
        let (mut room, tile) = (self.room(), self.tile());
        let queries = self.range.start * tile..(self.range.end * tile).min(self.shape.queries);
        out.fill(T::ZERO);
        for block in self.seen_blocks(*head, queries, from..from + out.len()) {
            self.changes(x, head, block, &mut room)?;
            for line in room.change.chunks(block.columns).take(block.rows) {
                out[block.from - from..].iter_mut().zip(line).for_each(|(o, &change)| *o += change);
            }
        }
        Ok(())
    }

    /// Derivative of a bias of every query and key by some queries, all keys: head number `which` of the bias.
    fn backward_bias<T: Number>(
        &self,
        x: &Inputs<'_, T>,
        which: usize,
        first: usize,
        out: &mut [T],
    ) -> Result<()> {
        let (heads, keys) = (self.shape.heads, self.shape.keys);
        let [own_batch, own_heads, ..] = self.bias.map_or([1; 4], |bias| bias.sizes);
        let shared_heads = if own_heads > 1 { 1 } else { heads };
        let mut room = self.room();
        out.fill(T::ZERO);
        for turn in self.range.clone() {
            let batch = if own_batch > 1 { which / own_heads } else { turn / shared_heads };
            let head = if own_heads > 1 { which % own_heads } else { turn % shared_heads };
            let head = self.head(x, batch * heads + head);
            for block in self.seen_blocks(head, first..first + out.len() / keys, 0..keys) {
                self.changes(x, &head, block, &mut room)?;
                for (out, line) in out.chunks_mut(keys).zip(room.change.chunks(block.columns)) {
                    out[block.from..].iter_mut().zip(line).for_each(|(o, &change)| *o += change);
                }
            }
        }
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

/// Exponentials of scores less `high`, 0 for those that are not seen.
fn exponentials<T: Number>(line: &mut [T], high: T) {
    vectorized(
        #[inline(always)]
        || {
            for s in line {
                let p = (*s - high).exp();
                *s = if *s < T::HALF_NOTHING { T::ZERO } else { p };
            }
        },
    );
}

/// The largest of some numbers.
fn highest<T: Number>(values: &[T], least: T) -> T {
    vectorized(
        #[inline(always)]
        || combine(values, least, |a, b| if b > a { b } else { a }),
    )
}

fn sum<T: Number>(values: &[T]) -> T {
    vectorized(
        #[inline(always)]
        || combine(values, T::ZERO, |a, b| a + b),
    )
}
