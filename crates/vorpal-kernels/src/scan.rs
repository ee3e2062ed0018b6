//! Prefixes along an axis: sums, products, extremes and linear recurrences, block by block.

use vorpal_shaders::{BITS, Linker, SCAN, Shader};
use vorpal_tensor::{DType, Element, Error, Result};

use crate::interp::{TASK, for_each, workers};
use crate::lane::vectorized;
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// Workgroups that fill a GPU; more blocks than this asks for would only make more totals.
const GROUPS: usize = 512;
/// Tiles that one workgroup goes through at most.
const TILES_MAX: usize = 128;
/// Elements of a block in native code.
const NATIVE_BLOCK: usize = 32_768;

/// Elements that native code combines among themselves first: rounding errors of long sums stay small.
const NATIVE_RUN: usize = 128;
/// Elements of a strand. Where an axis has no neighbours, the strands of a run are gone through side by side: none waits
/// for another.
const STRAND: usize = 16;
/// Lines of an axis that native code shares out without cutting it in blocks, and the neighbours that count as one.
const NATIVE_LINES: usize = 32;
const NATIVE_COLUMNS: usize = 8;
/// Elements of a line of the caches: threads that share out a row write no line together.
const LINE: usize = 16;

/// How neighbours are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScanRule {
    /// Sums; whole numbers wrap around.
    Sum,
    /// Products; whole numbers wrap around.
    Product,
    /// log(eᵃ + eᵇ) without overflow.
    LogSumExp,
    /// Position of the last largest element so far; NaN counts as largest.
    ArgMax,
    /// Position of the last smallest element so far; NaN counts as smallest.
    ArgMin,
    /// hₜ = xₜ hₜ₋₁ + yₜ.
    Linear,
}

impl ScanRule {
    fn is_position(self) -> bool {
        matches!(self, ScanRule::ArgMax | ScanRule::ArgMin)
    }
}

/// What a launch gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScanPass {
    /// The combined elements of every block: `[outer, blocks, inner]`; for recurrences first all factors, then all
    /// summands.
    Totals,
    /// Every prefix; blocks after the first start from the prefixes of blocks, which are an argument.
    Carried,
    /// Every prefix of an axis that is one block.
    Whole,
}

/// A scan along the middle axis of `[outer, len, inner]`. Arguments: x, y, start, carries, result.
///
/// `y` holds the summands of a recurrence, and the positions in `x` of a scan over totals of positions. `start` holds
/// the state before a recurrence, `[outer, inner]`. Arguments that a scan does without may be any buffer.
#[derive(Clone, Debug)]
pub struct Scan {
    /// How neighbours are combined.
    pub rule: ScanRule,
    /// outer, len, inner.
    pub shape: [usize; 3],
    /// Whether prefixes start at the end.
    pub reverse: bool,
    /// Of the elements: f32, natively also f64; for sums, products and positions also whole numbers of 32 bits,
    /// natively of 64.
    pub dtype: DType,
    /// Elements of the axis that positions in `y` count, for a scan over totals of positions.
    pub positions: Option<usize>,
    /// Whether a recurrence has a state to start from.
    pub init: bool,
    /// Offsets of x, y and start.
    pub offsets: [usize; 3],
    /// What the launch gives.
    pub pass: ScanPass,
    /// Elements of a block, from [`Scan::block_for`].
    pub block: usize,
}

impl Scan {
    /// Elements of a block of an axis.
    pub fn block_for(rule: ScanRule, shape: [usize; 3], native: bool) -> usize {
        let [outer, len, inner] = shape;
        if native {
            let block = (NATIVE_BLOCK / inner.max(1)).max(64);
            let whole =
                outer * inner.div_ceil(NATIVE_COLUMNS) >= NATIVE_LINES || len * inner <= 2 * NATIVE_BLOCK;
            return if whole { len.max(1) } else { block };
        }
        let tile = tile_len(rule, inner);
        let tiles = len.div_ceil(tile).max(1);
        let lines = (outer * inner.div_ceil(columns(inner))).max(1);
        let blocks = GROUPS.div_ceil(lines).min(tiles);
        tile * tiles.div_ceil(blocks).min(TILES_MAX)
    }

    /// Blocks of the axis.
    pub fn blocks(&self) -> usize {
        self.shape[1].div_ceil(self.block)
    }

    /// Buffers' worth of elements that totals take.
    pub fn planes(&self) -> usize {
        if self.rule == ScanRule::Linear { 2 } else { 1 }
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    fn totals(&self) -> usize {
        self.shape[0] * self.blocks() * self.shape[2]
    }

    fn result(&self) -> DType {
        if self.rule.is_position() { DType::I32 } else { self.dtype }
    }
}

/// Neighbouring inner places that a workgroup takes.
fn columns(inner: usize) -> usize {
    inner.next_power_of_two().clamp(1, 32)
}

/// Elements of the axis in a tile.
fn tile_len(rule: ScanRule, inner: usize) -> usize {
    256 / columns(inner) * if rule.is_position() || rule == ScanRule::Linear { 4 } else { 8 }
}

impl Kernel for Scan {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn describe(&self) -> String {
        let [outer, len, inner] = self.shape;
        format!("scan {:?} {:?} {outer}×{len}×{inner} {}", self.rule, self.pass, self.dtype)
    }

    fn args(&self) -> Vec<Arg> {
        let (count, [outer, _, inner]) = (self.count(), self.shape);
        let x = match self.positions {
            Some(axis) => outer * axis * inner,
            None => count,
        };
        let y = match (self.rule, self.positions) {
            (ScanRule::Linear, _) => Arg::read(self.dtype, self.offsets[1] + count),
            (_, Some(_)) => Arg::read(DType::I32, count),
            _ => Arg::read(self.dtype, 0),
        };
        let start = if self.init { self.offsets[2] + outer * inner } else { 0 };
        let (carries, out) = match self.pass {
            ScanPass::Totals => (0, self.totals() * self.planes()),
            ScanPass::Carried => (self.totals(), count),
            ScanPass::Whole => (0, count),
        };
        vec![
            Arg::read(self.dtype, self.offsets[0] + x),
            y,
            Arg::read(self.dtype, start),
            Arg::read(self.result(), carries),
            Arg::write(self.result(), out),
        ]
    }

    fn shader(&self) -> Result<Shader> {
        let [outer, len, inner] = self.shape;
        let (columns, tile) = (columns(inner), tile_len(self.rule, inner));
        let two = self.rule == ScanRule::Linear || self.rule.is_position();
        let mut linker = Linker::new(SCAN);
        if two {
            linker = define(linker, "WORDS", 2)?;
            linker = define(linker, "STEPS", 4)?;
        }
        linker = self.rules(linker).map_err(|e| Error::internal("scan", e))?;
        let both = self.pass == ScanPass::Totals && self.rule == ScanRule::Linear;
        let carry = both || self.pass == ScanPass::Carried;
        Ok(linker
            .constant("OUTER", outer)
            .constant("LEN", len)
            .constant("INNER", inner.max(1))
            .constant("AXIS", self.positions.unwrap_or(len))
            .constant("BLOCKS", self.blocks().max(1))
            .constant("TILES", self.block.min(len).div_ceil(tile))
            .constant("COLUMNS", columns)
            .constant("COLUMN_TILES", inner.div_ceil(columns).max(1))
            .constant("REVERSE", usize::from(self.reverse))
            .constant("TOTALS", usize::from(self.pass == ScanPass::Totals))
            .constant("CARRY", usize::from(carry))
            .constant("INIT", usize::from(self.init))
            .constant("X_OFFSET", self.offsets[0])
            .constant("Y_OFFSET", self.offsets[1])
            .constant("START_OFFSET", self.offsets[2])
            .finish())
    }

    fn groups(&self) -> [u32; 3] {
        let [outer, _, inner] = self.shape;
        spread(outer * self.blocks() * inner.div_ceil(columns(inner)))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.count() == 0 {
            return Ok(());
        }
        match self.dtype {
            DType::F64 => self.native::<f64>(&mut run),
            DType::I64 => self.native::<i64>(&mut run),
            DType::I32 => self.native::<i32>(&mut run),
            DType::U32 | DType::Bool => self.native::<u32>(&mut run),
            _ => self.native::<f32>(&mut run),
        }
    }

    fn cost(&self) -> Cost {
        let bytes: usize = self.args().iter().map(Arg::traffic_bytes).sum();
        Cost { flops: (self.count() * self.planes()) as u64, bytes: bytes as u64 }
    }
}

fn define(linker: Linker, name: &str, value: usize) -> Result<Linker> {
    linker.define(name, value).map_err(|e| Error::internal("scan", e))
}

impl Scan {
    /// The functions of the shader that make the rule.
    fn rules(&self, linker: Linker) -> std::result::Result<Linker, String> {
        let words = |expression: &str| {
            format!("fn join(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {{\n    return {expression};\n}}")
        };
        let value = |expression: &str| {
            format!(
                "fn join(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {{\n    let l = bitcast<f32>(a.x);\n    let r = bitcast<f32>(b.x);\n    return vec2<u32>(bitcast<u32>({expression}), 0u);\n}}"
            )
        };
        let nothing =
            |word: &str| format!("fn nothing() -> vec2<u32> {{\n    return vec2<u32>({word}, 0u);\n}}");
        let float = self.dtype.is_float();
        match self.rule {
            ScanRule::Sum if float => Ok(linker),
            ScanRule::Sum => linker.replace("join", &words("vec2<u32>(a.x + b.x, 0u)")),
            ScanRule::Product if float => {
                linker.replace("join", &value("l * r"))?.replace("nothing", &nothing("0x3f800000u"))
            }
            ScanRule::Product => {
                linker.replace("join", &words("vec2<u32>(a.x * b.x, 0u)"))?.replace("nothing", &nothing("1u"))
            }
            ScanRule::LogSumExp => Ok(linker
                .replace("join", &value("log_add(l, r)"))?
                .replace("nothing", &nothing("0xff800000u"))?
                .append(LOG_ADD)),
            ScanRule::Linear => linker
                .replace(
                    "join",
                    "fn join(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {\n    let l = bitcast<vec2<f32>>(a);\n    let r = bitcast<vec2<f32>>(b);\n    return bitcast<vec2<u32>>(vec2<f32>(l.x * r.x, r.x * l.y + r.y));\n}",
                )?
                .replace("nothing", &nothing("0x3f800000u"))?
                .replace(
                    "element",
                    "fn element(o: u32, p: u32, i: u32) -> vec2<u32> {\n    let at = place(o, p, i);\n    return vec2<u32>(x[X_OFFSET + at], y[Y_OFFSET + at]);\n}",
                )?
                .replace(
                    "carried",
                    "fn carried(o: u32, block: u32, i: u32) -> vec2<u32> {\n    return vec2<u32>(0u, carries[(o * BLOCKS + block) * INNER + i]);\n}",
                ),
            ScanRule::ArgMax | ScanRule::ArgMin => self.positions_rules(linker),
        }
    }

    /// Elements are keys, which are ordered as the values are, and positions.
    fn positions_rules(&self, linker: Linker) -> std::result::Result<Linker, String> {
        let up = self.rule == ScanRule::ArgMax;
        let key = match self.dtype {
            // Zeros of both signs are equal.
            DType::F32 => {
                let order = if up { "order_f32" } else { "order_down_f32" };
                format!("let v = bitcast<f32>(word);\n    return {order}(select(v, 0.0, v == 0.0));")
            }
            DType::I32 if up => "return word ^ 0x80000000u;".into(),
            DType::I32 => "return ~(word ^ 0x80000000u);".into(),
            _ if up => "return word;".into(),
            _ => "return ~word;".into(),
        };
        let element = if self.positions.is_some() {
            "return keyed(o, y[place(o, p, i)], i);"
        } else {
            "return keyed(o, select(p, LEN - 1u - p, REVERSE == 1u), i);"
        };
        Ok(linker
            .replace(
                "join",
                "fn join(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {\n    return select(a, b, b.x >= a.x);\n}",
            )?
            .replace("element", &format!("fn element(o: u32, p: u32, i: u32) -> vec2<u32> {{\n    {element}\n}}"))?
            .replace(
                "carried",
                "fn carried(o: u32, block: u32, i: u32) -> vec2<u32> {\n    return keyed(o, carries[(o * BLOCKS + block) * INNER + i], i);\n}",
            )?
            .append(BITS)
            .append(&format!("fn key(word: u32) -> u32 {{\n    {key}\n}}\n"))
            .append(KEYED))
    }
}

const LOG_ADD: &str = "fn log_add(l: f32, r: f32) -> f32 {
    let top = max(l, r);
    let low = min(l, r);
    // Infinities have no difference.
    if (bitcast<u32>(top) & 0x7fffffffu) == 0x7f800000u || bitcast<u32>(low) == 0xff800000u {
        return top;
    }
    return top + log(1.0 + exp(low - top));
}
";

const KEYED: &str = "fn keyed(o: u32, position: u32, i: u32) -> vec2<u32> {
    return vec2<u32>(key(x[X_OFFSET + (o * AXIS + position) * INNER + i]), position);
}
";

/// Numbers that native scans go through.
trait Number: Element<Stored = Self> + bytemuck::Pod + PartialOrd + Send + Sync {
    fn add(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn log_add(self, other: Self) -> Self;
}

macro_rules! numbers {
    (float $($ty:ident)*) => {$(
        impl Number for $ty {
            fn add(self, other: $ty) -> $ty {
                self + other
            }
            fn mul(self, other: $ty) -> $ty {
                self * other
            }
            fn log_add(self, other: $ty) -> $ty {
                let (top, low) = if other > self { (other, self) } else { (self, other) };
                // Infinities have no difference.
                if top.is_infinite() { top } else { top + (low - top).exp().ln_1p() }
            }
        }
    )*};
    (whole $($ty:ident)*) => {$(
        impl Number for $ty {
            fn add(self, other: $ty) -> $ty {
                self.wrapping_add(other)
            }
            fn mul(self, other: $ty) -> $ty {
                self.wrapping_mul(other)
            }
            fn log_add(self, _: $ty) -> $ty {
                self
            }
        }
    )*};
}
numbers!(float f32 f64);
numbers!(whole i32 i64 u32);

/// How elements become what is written.
struct Rules<J, B, G> {
    /// Combines neighbours.
    join: J,
    /// What the prefixes of a line start from: after a block, or before the first.
    before: B,
    /// The part of an element that is written.
    give: G,
}

impl Scan {
    fn native<T: Number>(&self, run: &mut CpuRun<'_>) -> Result<()> {
        let [_, len, inner] = self.shape;
        let blocks = self.blocks();
        let carried = |o: usize, block: usize, i: usize| (o * blocks + block) * inner + i;
        let has_carry = self.pass == ScanPass::Carried;
        let place = |(o, q, i): (usize, usize, usize)| (o * len + q) * inner + i;
        let x = &run.read::<T>(0)?[self.offsets[0]..];
        if self.rule.is_position() {
            let positions: &[i32] = if self.positions.is_some() { run.read(1)? } else { &[] };
            let carries: &[i32] = if has_carry { run.read(3)? } else { &[] };
            let (axis, up) = (self.positions.unwrap_or(len), self.rule == ScanRule::ArgMax);
            let keyed = |o: usize, q: i32, i: usize| (x[(o * axis + q as usize) * inner + i], q);
            let join = |a: (T, i32), b: (T, i32)| if over(a.0, b.0, up) { b } else { a };
            let before =
                |o, block: Option<usize>, i| carries.get(carried(o, block?, i)).map(|&q| keyed(o, q, i));
            let out = run.write::<i32>(4)?;
            let rules = Rules { join, before, give: |e: (T, i32), _| e.1 };
            // Places of neighbours in memory differ in their inner place, if there is more than one.
            let step = usize::from(inner == 1);
            let at =
                |(o, q, i): (usize, usize, usize), k: usize| (o, (q + k * step) as i32, i + k * (1 - step));
            if self.positions.is_some() {
                return self.go(out, rules, |from, n| {
                    let known = &positions[place(from)..][..n];
                    (0..n).map(move |k| {
                        let (o, _, i) = at(from, k);
                        keyed(o, known[k], i)
                    })
                });
            }
            if inner == 1 && !self.reverse && self.pass != ScanPass::Totals {
                return self.stretches(out, |o, block, out| {
                    let first = block * self.block;
                    let line = &x[o * len + first..][..out.len()];
                    positions_of(line, first as i32, (rules.before)(o, block.checked_sub(1), 0), up, out);
                });
            }
            return self.go(out, rules, |from, n| {
                x[place(from)..][..n].iter().enumerate().map(move |(k, &x)| (x, at(from, k).1))
            });
        }
        let carries: &[T] = if has_carry { run.read(3)? } else { &[] };
        if self.rule == ScanRule::Linear {
            let y = &run.read::<T>(1)?[self.offsets[1]..];
            let start: &[T] = if self.init { &run.read::<T>(2)?[self.offsets[2]..] } else { &[] };
            let before = |o, block, i| {
                let state = match block {
                    Some(block) => carries.get(carried(o, block, i)),
                    None => start.get(o * inner + i),
                };
                state.map(|&h| (h, h))
            };
            let factors = self.pass == ScanPass::Totals;
            let rules = Rules {
                join: |a: (T, T), b: (T, T)| (a.0.mul(b.0), b.0.mul(a.1).add(b.1)),
                before,
                give: move |e: (T, T), plane| if factors && plane == 0 { e.0 } else { e.1 },
            };
            return self.go(run.write::<T>(4)?, rules, |from, n| {
                let at = place(from);
                x[at..at + n].iter().copied().zip(y[at..at + n].iter().copied())
            });
        }
        let before = |o, block: Option<usize>, i| carries.get(carried(o, block?, i)).copied();
        let load = |from, n| x[place(from)..][..n].iter().copied();
        let out = run.write::<T>(4)?;
        match self.rule {
            ScanRule::Product => self.go(out, Rules { join: T::mul, before, give: |e, _| e }, load),
            ScanRule::LogSumExp => self.go(out, Rules { join: T::log_add, before, give: |e, _| e }, load),
            _ => self.go(out, Rules { join: T::add, before, give: |e, _| e }, load),
        }
    }

    /// The whole scan of elements that `load` gives: so many neighbours in memory from slab, place on the axis and
    /// inner place on.
    fn go<E, T, I, J, B, G>(
        &self,
        out: &mut [T],
        rules: Rules<J, B, G>,
        load: impl Fn((usize, usize, usize), usize) -> I + Sync,
    ) -> Result<()>
    where
        E: Copy + Send,
        T: Copy + Send,
        I: DoubleEndedIterator<Item = E> + ExactSizeIterator,
        J: Fn(E, E) -> E + Sync,
        B: Fn(usize, Option<usize>, usize) -> Option<E> + Sync,
        G: Fn(E, usize) -> T + Sync,
    {
        let ([outer, _, inner], blocks) = (self.shape, self.blocks());
        let (load, rules) = (&load, &rules);
        // Several sums take less time than to wait for one; several logarithms do not.
        let strands = inner == 1 && self.rule != ScanRule::LogSumExp;
        if self.pass == ScanPass::Totals {
            let (first, second) = out.split_at_mut(self.totals());
            let mut second = second.chunks_mut(inner);
            let tasks = first.chunks_mut(inner).enumerate().map(|(k, out)| (k, out, second.next())).collect();
            return for_each(tasks, |(k, out, more): (usize, &mut [T], Option<&mut [T]>)| {
                let (o, block) = (k / blocks, k % blocks);
                let totals = match strands {
                    true => self.strands(o, block, rules, load, None).into_iter().collect(),
                    false => self.columns((o, block), (0, inner), rules, load, None),
                };
                for (out, &e) in out.iter_mut().zip(&totals) {
                    *out = (rules.give)(e, 0);
                }
                for (out, &e) in more.into_iter().flatten().zip(&totals) {
                    *out = (rules.give)(e, 1);
                }
                Ok(())
            });
        }
        let shares = (2 * workers()).div_ceil(outer * blocks);
        if shares > 1 && inner >= 2 * LINE {
            return self.shared_columns(
                out,
                inner.div_ceil(shares).next_multiple_of(LINE).max(4 * LINE),
                |at, columns, rows| {
                    self.columns(at, columns, rules, load, Some(rows));
                },
            );
        }
        self.stretches(out, |o, block, out| {
            if strands {
                self.strands(o, block, rules, load, Some(out));
                return;
            }
            let rows = out.chunks_mut(inner);
            if self.reverse {
                self.columns((o, block), (0, inner), rules, load, Some(&mut rows.rev()));
            } else {
                self.columns((o, block), (0, inner), rules, load, Some(&mut { rows }));
            }
        })
    }

    /// Calls `f` for the part of the result that each block of each slab makes.
    fn stretches<T: Send>(&self, out: &mut [T], f: impl Fn(usize, usize, &mut [T]) + Sync) -> Result<()> {
        let ([_, len, inner], blocks) = (self.shape, self.blocks());
        let slab = len * inner;
        // Where slabs are short, several are a task.
        let several = if blocks == 1 { (TASK / slab).max(1) } else { 1 };
        let mut tasks: Vec<(usize, usize, &mut [T])> = Vec::new();
        for (k, slabs) in out.chunks_mut(several * slab).enumerate() {
            let size = if blocks == 1 { several * slab } else { self.block * inner };
            if self.reverse {
                tasks.extend(slabs.rchunks_mut(size).enumerate().map(|(b, out)| (k * several, b, out)));
            } else {
                tasks.extend(slabs.chunks_mut(size).enumerate().map(|(b, out)| (k * several, b, out)));
            }
        }
        for_each(tasks, |(o, block, out)| {
            out.chunks_mut(slab).enumerate().for_each(|(k, out)| f(o + k, block, out));
            Ok(())
        })
    }

    /// Calls `f` for `width` columns of each block of each slab, with their first and number and with their rows in the
    /// result, in the order of the scan.
    fn shared_columns<T: Send>(
        &self,
        out: &mut [T],
        width: usize,
        f: impl Fn((usize, usize), (usize, usize), &mut dyn Iterator<Item = &mut [T]>) + Sync,
    ) -> Result<()> {
        let ([_, len, inner], blocks) = (self.shape, self.blocks());
        let columns = inner.div_ceil(width);
        let mut parts: Vec<Vec<&mut [T]>> = Vec::new();
        for slab in out.chunks_mut(len * inner) {
            let from = parts.len();
            let rows = (0..blocks * columns).map(|k| self.span(k / columns).1);
            parts.extend(rows.map(Vec::with_capacity));
            for (p, row) in slab.chunks_mut(inner).enumerate() {
                let block = if self.reverse { len - 1 - p } else { p } / self.block;
                let parts = parts[from + block * columns..].iter_mut();
                parts.zip(row.chunks_mut(width)).for_each(|(part, row)| part.push(row));
            }
        }
        for_each(parts.into_iter().enumerate().collect(), |(k, rows)| {
            let (block, column) = (k / columns, k % columns * width);
            let at = (block / blocks, block % blocks);
            let part = (column, width.min(inner - column));
            if self.reverse {
                f(at, part, &mut rows.into_iter().rev());
            } else {
                f(at, part, &mut rows.into_iter());
            }
            Ok(())
        })
    }

    /// First place on the axis and length of a block.
    fn span(&self, block: usize) -> (usize, usize) {
        let (len, from) = (self.shape[1], block * self.block);
        let n = self.block.min(len - from);
        (if self.reverse { len - from - n } else { from }, n)
    }

    /// A block of an axis without neighbours: what is one behind the other is combined in strands side by side, and
    /// then with what was before. The total is what the next block starts from.
    fn strands<E: Copy, T, I: DoubleEndedIterator<Item = E> + ExactSizeIterator>(
        &self,
        o: usize,
        block: usize,
        rules: &Rules<
            impl Fn(E, E) -> E,
            impl Fn(usize, Option<usize>, usize) -> Option<E>,
            impl Fn(E, usize) -> T,
        >,
        load: &impl Fn((usize, usize, usize), usize) -> I,
        mut out: Option<&mut [T]>,
    ) -> Option<E> {
        let (low, n) = self.span(block);
        let join = &rules.join;
        let mut base = (rules.before)(o, block.checked_sub(1), 0);
        let mut values = [load((o, low, 0), 1).next()?; NATIVE_RUN];
        vectorized(
            #[inline(always)]
            || {
                for done in (0..n).step_by(NATIVE_RUN) {
                    let here = NATIVE_RUN.min(n - done);
                    let at = if self.reverse { n - done - here } else { done };
                    let elements = load((o, low + at, 0), here);
                    if self.reverse {
                        values.iter_mut().zip(elements.rev()).for_each(|(value, e)| *value = e);
                    } else {
                        values.iter_mut().zip(elements).for_each(|(value, e)| *value = e);
                    }
                    let total = run_of(&mut values, here, base, join);
                    base = Some(base.map_or(total, |base| join(base, total)));
                    let Some(out) = out.as_deref_mut() else { continue };
                    let pairs = out[at..at + here].iter_mut();
                    if self.reverse {
                        pairs.rev().zip(&values).for_each(|(out, &e)| *out = (rules.give)(e, 0));
                    } else {
                        pairs.zip(&values).for_each(|(out, &e)| *out = (rules.give)(e, 0));
                    }
                }
            },
        );
        base
    }

    /// Neighbouring columns of a block, row by row, from the first column on and as many as told.
    fn columns<E: Copy, T, I: Iterator<Item = E>>(
        &self,
        (o, block): (usize, usize),
        (first, width): (usize, usize),
        rules: &Rules<
            impl Fn(E, E) -> E,
            impl Fn(usize, Option<usize>, usize) -> Option<E>,
            impl Fn(E, usize) -> T,
        >,
        load: &impl Fn((usize, usize, usize), usize) -> I,
        mut rows: Option<&mut dyn Iterator<Item = &mut [T]>>,
    ) -> Vec<E> {
        let (low, n) = self.span(block);
        let (join, give) = (&rules.join, &rules.give);
        let before = |i: usize| (rules.before)(o, block.checked_sub(1), i);
        let mut bases: Option<Vec<E>> = (first..first + width).map(before).collect();
        let mut sums: Vec<E> = Vec::with_capacity(width);
        for k in 0..n {
            let q = if self.reverse { low + n - 1 - k } else { low + k };
            let row = rows.as_mut().and_then(|rows| rows.next());
            vectorized(
                #[inline(always)]
                || {
                    let elements = load((o, q, first), width);
                    if k % NATIVE_RUN == 0 {
                        sums.clear();
                        sums.extend(elements);
                    } else {
                        sums.iter_mut().zip(elements).for_each(|(sum, e)| *sum = join(*sum, e));
                    }
                    match (row, &bases) {
                        (Some(row), Some(bases)) => {
                            let pairs = bases.iter().zip(&sums);
                            row.iter_mut().zip(pairs).for_each(|(out, (&a, &b))| *out = give(join(a, b), 0));
                        }
                        (Some(row), None) => {
                            row.iter_mut().zip(&sums).for_each(|(out, &e)| *out = give(e, 0));
                        }
                        _ => {}
                    }
                },
            );
            if k % NATIVE_RUN == NATIVE_RUN - 1 || k == n - 1 {
                match &mut bases {
                    Some(bases) => {
                        bases.iter_mut().zip(&sums).for_each(|(base, &sum)| *base = join(*base, sum))
                    }
                    None => bases = Some(sums.clone()),
                }
            }
        }
        bases.unwrap_or_default()
    }
}

/// Whether `b`, which comes later, takes the place of `a` as the largest element, or as the smallest unless `up`.
#[inline(always)]
fn over<T: PartialOrd>(a: T, b: T, up: bool) -> bool {
    let is_nan = |v: &T| v.partial_cmp(v).is_none();
    is_nan(&b) || (!is_nan(&a) && if up { b >= a } else { b <= a })
}

/// Positions of the extremes of a line, whose first element has position `first`. Few elements are extremes: the
/// others are looked at many at once.
fn positions_of<T: Number>(line: &[T], first: i32, before: Option<(T, i32)>, up: bool, out: &mut [i32]) {
    let Some((mut best, mut position)) = before.or_else(|| line.first().map(|&x| (x, first))) else { return };
    vectorized(
        #[inline(always)]
        || {
            for (k, (out, line)) in out.chunks_mut(LINE).zip(line.chunks(LINE)).enumerate() {
                let first = first + (k * LINE) as i32;
                if line.iter().fold(false, |any, &x| any | over(best, x, up)) {
                    for (position_here, (out, &x)) in (first..).zip(out.iter_mut().zip(line)) {
                        if over(best, x, up) {
                            (best, position) = (x, position_here);
                        }
                        *out = position;
                    }
                } else {
                    out.fill(position);
                }
            }
        },
    );
}

/// Prefixes of the first `n` of a run, after what was before it. Its total, without that.
#[inline(always)]
fn run_of<E: Copy>(values: &mut [E; NATIVE_RUN], n: usize, base: Option<E>, join: impl Fn(E, E) -> E) -> E {
    let strands = values.as_chunks_mut::<STRAND>().0;
    match <&mut [[E; STRAND]; NATIVE_RUN / STRAND]>::try_from(&mut *strands) {
        Ok(all) if n == NATIVE_RUN => side_by_side(all, &join),
        _ => strands
            .iter_mut()
            .take(n.div_ceil(STRAND))
            .for_each(|one| side_by_side(std::array::from_mut(one), &join)),
    }
    let mut before: Option<E> = None;
    let mut total = strands[0][0];
    for (k, strand) in strands.iter_mut().enumerate().take(n.div_ceil(STRAND)) {
        let last = (n - k * STRAND).min(STRAND) - 1;
        total = before.map_or(strand[last], |before| join(before, strand[last]));
        match (before, base) {
            (Some(before), Some(base)) => strand.iter_mut().for_each(|e| *e = join(base, join(before, *e))),
            (Some(known), None) | (None, Some(known)) => strand.iter_mut().for_each(|e| *e = join(known, *e)),
            (None, None) => {}
        }
        before = Some(total);
    }
    total
}

/// Prefixes of strands, none of which waits for another.
#[inline(always)]
fn side_by_side<E: Copy, const N: usize>(strands: &mut [[E; STRAND]; N], join: &impl Fn(E, E) -> E) {
    let mut sums: [E; N] = std::array::from_fn(|s| strands[s][0]);
    for k in 1..STRAND {
        for (sum, strand) in sums.iter_mut().zip(strands.iter_mut()) {
            *sum = join(*sum, strand[k]);
            strand[k] = *sum;
        }
    }
}
