//! Prefixes along an axis: sums, products, extremes and linear recurrences, block by block.

use vorpal_shaders::{BITS, Linker, SCAN, Shader};
use vorpal_tensor::{DType, Element, Error, Result};

use crate::interp::for_each;
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// Workgroups that fill a GPU; more blocks than this asks for would only make more totals.
const GROUPS: usize = 512;
/// Tiles that one workgroup goes through at most.
const TILES_MAX: usize = 128;
/// Elements of a block in native code.
const NATIVE_BLOCK: usize = 32_768;

/// Elements that native code combines among themselves first: rounding errors of long sums stay small.
const NATIVE_RUN: usize = 128;

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
            return if outer >= 32 || len * inner <= 2 * NATIVE_BLOCK { len.max(1) } else { block };
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

impl Scan {
    fn native<T: Number>(&self, run: &mut CpuRun<'_>) -> Result<()> {
        let [_, len, inner] = self.shape;
        let place = |o: usize, q: usize, i: usize| (o * len + q) * inner + i;
        let blocks = self.blocks();
        let carried = |o: usize, block: usize, i: usize| (o * blocks + block) * inner + i;
        let has_carry = self.pass == ScanPass::Carried;
        let x = &run.read::<T>(0)?[self.offsets[0]..];
        if self.rule.is_position() {
            let positions: &[i32] = if self.positions.is_some() { run.read(1)? } else { &[] };
            let carries: &[i32] = if has_carry { run.read(3)? } else { &[] };
            let (axis, up) = (self.positions.unwrap_or(len), self.rule == ScanRule::ArgMax);
            let keyed = |o: usize, q: i32, i: usize| (x[(o * axis + q as usize) * inner + i], q);
            let is_nan = |v: T| v.partial_cmp(&v).is_none();
            return self.go(
                run.write::<i32>(4)?,
                |o, q, i| keyed(o, positions.get(place(o, q, i)).copied().unwrap_or(q as i32), i),
                |a: (T, i32), b: (T, i32)| {
                    let over = is_nan(b.0) || (!is_nan(a.0) && if up { b.0 >= a.0 } else { b.0 <= a.0 });
                    if over { b } else { a }
                },
                |o, block, i| carries.get(carried(o, block?, i)).map(|&q| keyed(o, q, i)),
                |e, _| e.1,
            );
        }
        let carries: &[T] = if has_carry { run.read(3)? } else { &[] };
        if self.rule == ScanRule::Linear {
            let y = &run.read::<T>(1)?[self.offsets[1]..];
            let start: &[T] = if self.init { &run.read::<T>(2)?[self.offsets[2]..] } else { &[] };
            return self.go(
                run.write::<T>(4)?,
                |o, q, i| (x[place(o, q, i)], y[place(o, q, i)]),
                |a: (T, T), b: (T, T)| (a.0.mul(b.0), b.0.mul(a.1).add(b.1)),
                |o, block, i| {
                    let state = match block {
                        Some(block) => carries.get(carried(o, block, i)),
                        None => start.get(o * inner + i),
                    };
                    state.map(|&h| (h, h))
                },
                |e, plane| if self.pass == ScanPass::Totals && plane == 0 { e.0 } else { e.1 },
            );
        }
        let rule = self.rule;
        self.go(
            run.write::<T>(4)?,
            |o, q, i| x[place(o, q, i)],
            |a: T, b: T| match rule {
                ScanRule::Product => a.mul(b),
                ScanRule::LogSumExp => a.log_add(b),
                _ => a.add(b),
            },
            |o, block, i| carries.get(carried(o, block?, i)).copied(),
            |e, _| e,
        )
    }

    /// Goes through all blocks. `load(o, q, i)` is an element by its place on the axis, `before(o, block, i)` what the
    /// prefixes start from (after a block, or before the first), `give` the part of an element that is written.
    fn go<E: Copy + Send, T: Copy + Send>(
        &self,
        out: &mut [T],
        load: impl Fn(usize, usize, usize) -> E + Sync,
        join: impl Fn(E, E) -> E + Sync,
        before: impl Fn(usize, Option<usize>, usize) -> Option<E> + Sync,
        give: impl Fn(E, usize) -> T + Sync,
    ) -> Result<()> {
        let ([_, len, inner], blocks, reverse) = (self.shape, self.blocks(), self.reverse);
        // Elements of a block in the order of the scan, by their places.
        let range = |block: usize| {
            let (from, to) = (block * self.block, (block * self.block + self.block).min(len));
            (from..to).map(move |p| if reverse { len - 1 - p } else { p })
        };
        if self.pass == ScanPass::Totals {
            let (first, second) = out.split_at_mut(self.totals());
            let mut second = second.chunks_mut(inner);
            let tasks = first.chunks_mut(inner).enumerate().map(|(k, out)| (k, out, second.next())).collect();
            return for_each(tasks, |(k, out, more): (usize, &mut [T], Option<&mut [T]>)| {
                let (o, block) = (k / blocks, k % blocks);
                let total = |i: usize| range(block).map(|q| load(o, q, i)).reduce(&join);
                let totals: Vec<E> = (0..inner).filter_map(total).collect();
                for (out, &e) in out.iter_mut().zip(&totals) {
                    *out = give(e, 0);
                }
                for (out, &e) in more.into_iter().flatten().zip(&totals) {
                    *out = give(e, 1);
                }
                Ok(())
            });
        }
        let mut tasks: Vec<(usize, usize, &mut [T])> = Vec::new();
        for (o, slab) in out.chunks_mut(len * inner).enumerate() {
            let size = self.block * inner;
            if reverse {
                tasks.extend(slab.rchunks_mut(size).enumerate().map(|(b, out)| (o, b, out)));
            } else {
                tasks.extend(slab.chunks_mut(size).enumerate().map(|(b, out)| (o, b, out)));
            }
        }
        for_each(tasks, |(o, block, out)| {
            let (from, n) = (block * self.block, out.len() / inner);
            let low = if reverse { len - from - n } else { from };
            let mut bases: Vec<Option<E>> = (0..inner).map(|i| before(o, block.checked_sub(1), i)).collect();
            let mut sums: Vec<Option<E>> = vec![None; inner];
            for (k, q) in range(block).enumerate() {
                let line = &mut out[(q - low) * inner..][..inner];
                for (i, ((out, base), sum)) in line.iter_mut().zip(&mut bases).zip(&mut sums).enumerate() {
                    let e = load(o, q, i);
                    let e = sum.map_or(e, |sum| join(sum, e));
                    let all = base.map_or(e, |base| join(base, e));
                    (*base, *sum) =
                        if k % NATIVE_RUN == NATIVE_RUN - 1 { (Some(all), None) } else { (*base, Some(e)) };
                    *out = give(all, 0);
                }
            }
            Ok(())
        })
    }
}
