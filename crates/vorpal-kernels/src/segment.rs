//! Elements combined over segments of an axis: sums and extremes of groups, and sparse matrix products.

use vorpal_shaders::{BITS, Linker, SEGMENT, Shader};
use vorpal_tensor::{DType, Element, Error, Result};

use crate::interp::{TASK, for_each};
use crate::{Arg, Cost, CpuRun, Kernel, ReduceKind, spread};

/// Segments of an axis up to this long are combined in one launch.
const WHOLE_MAX: usize = 4096;
/// Elements that an invocation goes through at most: software adapters end longer loops early.
const ROW_MAX: usize = 32_768;

/// What a launch gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentPass {
    /// Whole segments from elements.
    Whole,
    /// Pieces of segments, cut where chunks of the axis end: `[outer, pieces, inner]`.
    Pieces,
    /// Whole segments from their pieces.
    Join,
}

/// `out[o, s, i]` combines `x[o, order[k], i] · weights[k]` for k from `offsets[s]` to `offsets[s + 1]`, in order: two
/// runs give the same bits. Arguments: x, offsets, order, weights, result; order and weights may be any buffer where
/// they are not asked for.
#[derive(Clone, Debug)]
pub struct Segment {
    /// How elements are combined. Nothing gives 0, −∞ or +∞.
    pub kind: ReduceKind,
    /// outer, axis, inner of x.
    pub shape: [usize; 3],
    /// Number of segments.
    pub segments: usize,
    /// Elements in segments: the last offset.
    pub len: usize,
    /// Whether numbers (`I32`) say which element of the axis stands at a place.
    pub ordered: bool,
    /// Whether elements are weighed.
    pub weighted: bool,
    /// Of the elements: f32, natively also f64; whole numbers of 32 bits where not weighed, natively of 64, too.
    pub dtype: DType,
    /// Offsets of x, offsets, order and weights in their buffers.
    pub starts: [usize; 4],
    /// What the launch gives.
    pub pass: SegmentPass,
}

impl Segment {
    /// Whether pieces come first.
    pub fn in_pieces(&self) -> bool {
        self.len > WHOLE_MAX
    }

    fn chunk(&self) -> usize {
        self.len.div_ceil(ROW_MAX).max(512)
    }

    fn chunks(&self) -> usize {
        self.len.div_ceil(self.chunk())
    }

    /// Pieces of all segments, empty ones among them.
    pub fn pieces(&self) -> usize {
        self.segments + self.chunks()
    }

    /// Axis of x as the launch sees it.
    fn axis(&self) -> usize {
        if self.pass == SegmentPass::Join { self.pieces() } else { self.shape[1] }
    }

    fn rows(&self) -> usize {
        if self.pass == SegmentPass::Pieces { self.pieces() } else { self.segments }
    }

    fn reads_elements(&self) -> bool {
        self.pass != SegmentPass::Join
    }

    /// First and end of what a row combines: see the shader.
    fn bounds(&self, offsets: &[i32], row: usize) -> (usize, usize) {
        let offset = |s: usize| (offsets[s] as u32 as usize).min(self.len);
        let (chunk, chunks) = (self.chunk(), self.chunks());
        match self.pass {
            SegmentPass::Whole => (offset(row), offset(row + 1)),
            SegmentPass::Join => {
                let first = |s: usize| s + (offset(s).max(1) - 1) / chunk;
                (first(row), first(row + 1))
            }
            SegmentPass::Pieces => {
                let (mut low, mut high) = (row.saturating_sub(chunks), row.min(self.segments));
                while low < high {
                    let middle = usize::midpoint(low, high);
                    if offset(middle + 1) <= (row - middle) * chunk {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                let c = row - low;
                if low >= self.segments || c >= chunks {
                    return (0, 0);
                }
                (offset(low).max(c * chunk), offset(low + 1).min((c + 1) * chunk))
            }
        }
    }
}

impl Kernel for Segment {
    fn name(&self) -> &'static str {
        "segment"
    }

    fn describe(&self) -> String {
        let [outer, axis, inner] = self.shape;
        format!("segment {:?} {:?} {outer}×{axis}×{inner} to {}", self.kind, self.pass, self.segments)
    }

    fn args(&self) -> Vec<Arg> {
        let [outer, _, inner] = self.shape;
        let [x, offsets, order, weights] = self.starts;
        let (x, elements) = if self.reads_elements() { (x, self.len) } else { (0, 0) };
        let ordered = self.ordered && self.reads_elements();
        let weighted = self.weighted && self.reads_elements();
        vec![
            Arg::read(self.dtype, x + outer * self.axis() * inner),
            Arg::read(DType::I32, offsets + self.segments + 1),
            if ordered { Arg::read(DType::I32, order + elements) } else { Arg::read(self.dtype, 0) },
            Arg::read(self.dtype, if weighted { weights + elements } else { 0 }),
            Arg::write(self.dtype, outer * self.rows() * inner),
        ]
    }

    fn shader(&self) -> Result<Shader> {
        let [outer, _, inner] = self.shape;
        let join = |a: &str| format!("fn join(a: u32, b: u32) -> u32 {{\n    return {a};\n}}");
        let nothing = |word: &str| format!("fn nothing() -> u32 {{\n    return {word};\n}}");
        let float = self.dtype.is_float();
        let mut linker = Linker::new(SEGMENT);
        let fail = |e: String| Error::internal("segment", e);
        if self.kind == ReduceKind::Sum {
            if !float {
                linker = linker.replace("join", &join("a + b")).map_err(fail)?;
            }
        } else {
            let up = self.kind == ReduceKind::Max;
            let key = match self.dtype {
                DType::F32 if up => "order_f32(bitcast<f32>(word))",
                DType::F32 => "order_down_f32(bitcast<f32>(word))",
                DType::I32 if up => "word ^ 0x80000000u",
                DType::I32 => "~(word ^ 0x80000000u)",
                _ if up => "word",
                _ => "~word",
            };
            let least = match self.dtype {
                DType::F32 if up => "0xff800000u",
                DType::F32 => "0x7f800000u",
                DType::I32 if up => "0x80000000u",
                DType::I32 => "0x7fffffffu",
                _ if up => "0u",
                _ => "0xffffffffu",
            };
            linker = linker
                .replace("join", &join("select(a, b, key(b) > key(a))"))
                .and_then(|l| l.replace("nothing", &nothing(least)))
                .map_err(fail)?
                .append(BITS)
                .append(&format!("fn key(word: u32) -> u32 {{\n    return {key};\n}}\n"));
        }
        let [x, offsets, order, weights] = self.starts;
        let elements = self.reads_elements();
        Ok(linker
            .constant("OUTER", outer)
            .constant("AXIS", self.axis())
            .constant("INNER", inner.max(1))
            .constant("ROWS", self.rows().max(1))
            .constant("SEGMENTS", self.segments)
            .constant("LEN", self.len)
            .constant("CHUNK", self.chunk())
            .constant("CHUNKS", self.chunks())
            .constant("PASS", self.pass as usize)
            .constant("ORDERED", usize::from(self.ordered && elements))
            .constant("WEIGHTED", usize::from(self.weighted && elements))
            .constant("X_OFFSET", if elements { x } else { 0 })
            .constant("OFFSETS_OFFSET", offsets)
            .constant("ORDER_OFFSET", order)
            .constant("WEIGHTS_OFFSET", weights)
            .finish())
    }

    fn groups(&self) -> [u32; 3] {
        let [outer, _, inner] = self.shape;
        spread((outer * self.rows() * inner).div_ceil(64))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        let run = &mut run;
        match self.dtype {
            DType::F64 => {
                let add = |a: &mut f64, w: f64, v: f64| *a += w * v;
                self.native(run, (1.0, 0.0, f64::NEG_INFINITY, f64::INFINITY), add, f64::is_nan)
            }
            DType::I32 => {
                let add = |a: &mut i32, w: i32, v: i32| *a = a.wrapping_add(w.wrapping_mul(v));
                self.native(run, (1, 0, i32::MIN, i32::MAX), add, |_| false)
            }
            DType::I64 => {
                let add = |a: &mut i64, w: i64, v: i64| *a = a.wrapping_add(w.wrapping_mul(v));
                self.native(run, (1, 0, i64::MIN, i64::MAX), add, |_| false)
            }
            DType::U32 | DType::Bool => {
                let add = |a: &mut u32, w: u32, v: u32| *a = a.wrapping_add(w.wrapping_mul(v));
                self.native(run, (1, 0, u32::MIN, u32::MAX), add, |_| false)
            }
            _ => {
                let add = |a: &mut f32, w: f32, v: f32| *a += w * v;
                self.native(run, (1.0, 0.0, f32::NEG_INFINITY, f32::INFINITY), add, f32::is_nan)
            }
        }
    }

    fn cost(&self) -> Cost {
        let bytes: usize = self.args().iter().map(Arg::traffic_bytes).sum();
        let [outer, _, inner] = self.shape;
        let flops = outer * self.len * inner * if self.weighted { 2 } else { 1 };
        Cost { flops: flops as u64, bytes: bytes as u64 }
    }
}

impl Segment {
    /// `one`, and what nothing sums up to, has as its maximum and as its minimum.
    fn native<T: Element<Stored = T> + bytemuck::Pod + PartialOrd + Send + Sync>(
        &self,
        run: &mut CpuRun<'_>,
        (one, zero, least, most): (T, T, T, T),
        add: impl Fn(&mut T, T, T) + Sync,
        is_nan: impl Fn(T) -> bool + Sync,
    ) -> Result<()> {
        let ([outer, _, inner], axis, rows) = (self.shape, self.axis(), self.rows());
        if outer * rows * inner == 0 {
            return Ok(());
        }
        let elements = self.reads_elements();
        let x = &run.read::<T>(0)?[if elements { self.starts[0] } else { 0 }..];
        let offsets = &run.read::<i32>(1)?[self.starts[1]..];
        let order: &[i32] =
            if self.ordered && elements { &run.read::<i32>(2)?[self.starts[2]..] } else { &[] };
        let weights: &[T] =
            if self.weighted && elements { &run.read::<T>(3)?[self.starts[3]..] } else { &[] };
        // As many rows a task as share a block of work evenly.
        let work = (self.len * inner / rows).max(inner);
        let lines = (TASK / work).max(1);
        let tasks = run.write::<T>(4)?.chunks_mut(lines * inner).enumerate().collect();
        for_each(tasks, |(task, out): (usize, &mut [T])| {
            for (line, out) in out.chunks_mut(inner).enumerate() {
                let at = task * lines + line;
                let (o, row) = (at / rows, at % rows);
                let (from, to) = self.bounds(offsets, row);
                out.fill(match self.kind {
                    ReduceKind::Sum => zero,
                    ReduceKind::Max => least,
                    ReduceKind::Min => most,
                });
                for k in from..to {
                    let which = order.get(k).map_or(k, |&which| which as usize);
                    let weight = weights.get(k).copied().unwrap_or(one);
                    let values = &x[(o * axis + which) * inner..][..inner];
                    let pairs = out.iter_mut().zip(values);
                    match self.kind {
                        ReduceKind::Sum => pairs.for_each(|(a, &v)| add(a, weight, v)),
                        ReduceKind::Max => pairs.for_each(|(a, &v)| {
                            if v > *a || is_nan(v) {
                                *a = v;
                            }
                        }),
                        ReduceKind::Min => pairs.for_each(|(a, &v)| {
                            if v < *a || is_nan(v) {
                                *a = v;
                            }
                        }),
                    }
                }
            }
            Ok(())
        })
    }
}
