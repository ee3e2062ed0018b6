//! Adding elements at numbered places along an axis.

use std::ops::AddAssign;
use std::sync::Arc;

use bytemuck::Pod;
use vorpal_shaders::{Linker, SCATTER_ADD, Shader};
use vorpal_tensor::{DType, Element, Error, Result};

use crate::gather::{numbers, told};
use crate::interp::{TASK, for_each, workers};
use crate::lane::vectorized;
use crate::{Access, Arg, Cost, CpuRun, GatherShape, Kernel, spread};

/// Most elements along the axis that one launch adds on an adapter. Callers take several launches for more.
pub const SCATTER_LEN_MAX: usize = 32_768;

/// Elements of a line of the caches: threads that share out a row write no line together.
const LINE: usize = 16;

/// Invocations that fill a large GPU.
const INVOCATIONS: usize = 1 << 16;

/// `out = base`, then `out[o, index[…], i] += source[o, j, i]`, equal numbers in the order of j: two runs give the
/// same bits. The adjoint of [`Gather`](crate::Gather).
#[derive(Clone, Debug)]
pub struct ScatterAdd {
    shape: GatherShape,
    dtype: DType,
    index: DType,
    offsets: [usize; 3],
    form: Form,
}

/// What a kernel runs on, and what it adds onto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A shader or native code, onto a copy of the base.
    Any,
    /// Native code, onto a copy of the base.
    Native,
    /// Native code, onto the base itself, which is the result.
    InPlace,
}

impl ScatterAdd {
    /// Adds floats (`F32`, natively `F64`) by numbers of dtype `index` (`I32` or `U32`). `offsets` are those of base,
    /// index and source. `None` for more than [`SCATTER_LEN_MAX`] elements along the axis, or other dtypes.
    pub fn new(shape: GatherShape, dtype: DType, index: DType, offsets: [usize; 3]) -> Option<ScatterAdd> {
        let fits = shape.len <= SCATTER_LEN_MAX && matches!(dtype, DType::F32 | DType::F64);
        fits.then_some(ScatterAdd { shape, dtype, index, offsets, form: Form::Any })
    }

    /// As [`new`](ScatterAdd::new), for native code alone: any number of elements, onto the base itself where nobody
    /// else reads it. It has no shader.
    pub fn native(shape: GatherShape, dtype: DType, index: DType, offsets: [usize; 3]) -> Option<ScatterAdd> {
        let fits = matches!(dtype, DType::F32 | DType::F64);
        fits.then_some(ScatterAdd { shape, dtype, index, offsets, form: Form::Native })
    }

    /// Number and length of the blocks of the axis: enough to fill a GPU, none longer than an invocation may go
    /// through.
    fn blocks(&self) -> (usize, usize) {
        let GatherShape { outer, axis, inner, .. } = self.shape;
        let rest = (outer * inner).max(1);
        let wanted = INVOCATIONS.div_ceil(rest).clamp(1, axis.max(1));
        let length = axis.div_ceil(wanted).clamp(1, 16_384);
        (axis.div_ceil(length), length)
    }
}

impl Kernel for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter_add"
    }

    fn describe(&self) -> String {
        let GatherShape { outer, axis, inner, len, .. } = self.shape;
        format!("scatter_add {len} onto {axis}, {outer} × {inner} {}", self.dtype)
    }

    fn args(&self) -> Vec<Arg> {
        let GatherShape { outer, axis, inner, .. } = self.shape;
        let size = outer * axis * inner;
        let index = Arg::read(self.index, self.offsets[1] + self.shape.index_span());
        let source = Arg::read(self.dtype, self.offsets[2] + self.shape.count());
        let out = Arg::write(self.dtype, size);
        match self.form {
            Form::InPlace => vec![index, source, Arg { access: Access::ReadWrite, ..out }],
            _ => vec![Arg::read(self.dtype, self.offsets[0] + size), index, source, out],
        }
    }

    fn scalars(&self) -> Vec<DType> {
        vec![DType::U32]
    }

    fn checks_indices(&self) -> bool {
        true
    }

    fn shader(&self) -> Result<Shader> {
        if self.form != Form::Any {
            return Err(Error::internal("scatter_add", "this kernel is for native code"));
        }
        let GatherShape { outer, axis, inner, len, index_strides: [o, j, i] } = self.shape;
        let (blocks, block) = self.blocks();
        Ok(Linker::new(SCATTER_ADD)
            .constant("OUTER", outer)
            .constant("AXIS", axis)
            .constant("INNER", inner.max(1))
            .constant("LEN", len)
            .constant("BLOCKS", blocks.max(1))
            .constant("BLOCK", block)
            .constant("BASE_OFFSET", self.offsets[0])
            .constant("INDEX_OFFSET", self.offsets[1])
            .constant("SOURCE_OFFSET", self.offsets[2])
            .constant("INDEX_OUTER", o)
            .constant("INDEX_AXIS", j)
            .constant("INDEX_INNER", i)
            .finish())
    }

    fn groups(&self) -> [u32; 3] {
        let GatherShape { outer, inner, .. } = self.shape;
        spread((outer * self.blocks().0 * inner).div_ceil(64))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        match self.dtype {
            DType::F64 => self.run_as::<f64>(&mut run),
            _ => self.run_as::<f32>(&mut run),
        }
    }

    fn in_place(&self, input: usize, output: usize) -> Option<Arc<dyn Kernel>> {
        let fits = self.form == Form::Native && self.offsets[0] == 0 && (input, output) == (0, 3);
        fits.then(|| Arc::new(ScatterAdd { form: Form::InPlace, ..self.clone() }) as Arc<dyn Kernel>)
    }

    fn cost(&self) -> Cost {
        let count = self.shape.count();
        let mut args = self.args();
        // In place only what is added to is touched.
        if let Some(out) = args.last_mut().filter(|out| out.access == Access::ReadWrite) {
            out.len = out.len.min(count);
        }
        let bytes: usize = args.iter().map(Arg::traffic_bytes).sum();
        Cost { flops: count as u64, bytes: bytes as u64 }
    }
}

/// A part of the result that one thread adds to: places `first..` of slab `o`, and of them columns `column..`.
struct Part<R> {
    o: usize,
    first: usize,
    column: usize,
    rows: R,
}

impl ScatterAdd {
    fn run_as<T: Element<Stored = T> + Pod + AddAssign + Send + Sync>(
        &self,
        run: &mut CpuRun<'_>,
    ) -> Result<()> {
        let shape = self.shape;
        let GatherShape { outer, axis, inner, index_strides: [_, _, next], .. } = shape;
        let base: Option<&[T]> = match self.form {
            Form::InPlace => None,
            _ => Some(&run.read(0)?[self.offsets[0]..]),
        };
        let first = usize::from(base.is_some());
        let index: &[u32] = &run.read_as(first)?[self.offsets[1]..];
        let source: &[T] = &run.read(first + 1)?[self.offsets[2]..];
        let out: &mut [T] = &mut run.write(first + 2)?[..outer * axis * inner];
        let wrong = |bits: u32| run.index_error(told(self.index, bits), axis);
        let slab = axis * inner;
        if out.is_empty() {
            return if shape.count() == 0 { Ok(()) } else { Err(wrong(index[0])) };
        }
        // What is added to in place cannot be taken back.
        if let Some(number) = (self.form == Form::InPlace).then(|| self.not_of_axis(index)).flatten() {
            return Err(wrong(number));
        }
        let shares = (2 * workers()).div_ceil(outer);
        if next != 0 && inner >= 2 * LINE && shares > 1 && 4 * shape.len >= axis {
            // All read all numbers of their columns.
            let width = inner.div_ceil(shares).next_multiple_of(LINE).max(4 * LINE);
            let mut parts: Vec<Part<Vec<&mut [T]>>> = Vec::new();
            for (o, slab) in out.chunks_mut(slab).enumerate() {
                let from = parts.len();
                let columns = (0..inner).step_by(width);
                parts.extend(columns.map(|column| Part {
                    o,
                    first: 0,
                    column,
                    rows: Vec::with_capacity(axis),
                }));
                for row in slab.chunks_mut(inner) {
                    parts[from..].iter_mut().zip(row.chunks_mut(width)).for_each(|(p, row)| p.rows.push(row));
                }
            }
            return for_each(parts, |part| self.columns(base, index, source, part).map_err(wrong));
        }
        // Of rows that are long enough all may look at all numbers, and add those that are theirs.
        let share = if next == 0 && inner >= LINE { axis.div_ceil(shares) } else { axis };
        let slabs = if share < axis { 1 } else { (TASK / slab.max(shape.len * inner)).max(1) };
        let size = slabs * share * inner;
        let parts = out.chunks_mut(slabs * slab).enumerate().flat_map(|(k, out)| {
            let rows = out.chunks_mut(size).enumerate();
            rows.map(move |(p, rows)| Part { o: k * slabs, first: p * share, column: 0, rows })
        });
        for_each(parts.collect(), |Part { o, first, column, rows }| {
            for (k, rows) in rows.chunks_mut(share * inner).enumerate() {
                self.rows(base, index, source, Part { o: o + k, first, column, rows }).map_err(wrong)?;
            }
            Ok(())
        })
    }

    /// The first number that is not of the axis.
    fn not_of_axis(&self, index: &[u32]) -> Option<u32> {
        let GatherShape { outer, inner, len, index_strides: [_, next_row, next], .. } = self.shape;
        let limit = self.shape.limit(self.index);
        let among = |at: usize, next: usize, n: usize| {
            numbers(index, at, next, n).iter().copied().find(|&number| number as usize >= limit)
        };
        (0..outer).find_map(|o| {
            if next == 0 {
                return among(self.shape.numbers_at(o, 0), next_row, len);
            }
            (0..len).find_map(|j| among(self.shape.numbers_at(o, j), next, inner))
        })
    }

    /// Adds to whole rows. What fails is a number that is not of the axis.
    fn rows<T: Copy + AddAssign>(
        &self,
        base: Option<&[T]>,
        index: &[u32],
        source: &[T],
        Part { o, first, rows: out, .. }: Part<&mut [T]>,
    ) -> std::result::Result<(), u32> {
        let GatherShape { axis, inner, len, index_strides: [_, next_row, next], .. } = self.shape;
        if let Some(base) = base {
            out.copy_from_slice(&base[(o * axis + first) * inner..][..out.len()]);
        }
        let limit = self.shape.limit(self.index);
        let source = &source[o * len * inner..][..len * inner];
        let at = self.shape.numbers_at(o, 0);
        let count = out.len() / inner;
        if inner == 1 && count == axis {
            let out = &mut out[..limit];
            for (&number, &x) in numbers(index, at, next_row, len).iter().zip(source) {
                *out.get_mut(number as usize).ok_or(number)? += x;
            }
            return Ok(());
        }
        vectorized(
            #[inline(always)]
            || {
                for (j, x) in source.chunks_exact(inner).enumerate() {
                    let at = at + j * next_row;
                    if next == 0 {
                        let number = index[at];
                        let place = (number as usize).wrapping_sub(first);
                        if place < count {
                            let out = &mut out[place * inner..][..inner];
                            out.iter_mut().zip(x).for_each(|(out, &x)| *out += x);
                        } else if number as usize >= limit {
                            return Err(number);
                        }
                        continue;
                    }
                    for ((i, &x), &number) in x.iter().enumerate().zip(&*numbers(index, at, next, inner)) {
                        if number as usize >= limit {
                            return Err(number);
                        }
                        out[number as usize * inner + i] += x;
                    }
                }
                Ok(())
            },
        )
    }

    /// Adds to the same columns of all rows, where every element has its own number.
    fn columns<T: Copy + AddAssign>(
        &self,
        base: Option<&[T]>,
        index: &[u32],
        source: &[T],
        Part { o, column, rows: mut out, .. }: Part<Vec<&mut [T]>>,
    ) -> std::result::Result<(), u32> {
        let GatherShape { axis, inner, len, index_strides: [_, _, next], .. } = self.shape;
        if let Some(base) = base {
            let base = base[o * axis * inner..].chunks(inner);
            out.iter_mut()
                .zip(base)
                .for_each(|(out, base)| out.copy_from_slice(&base[column..][..out.len()]));
        }
        let width = out.first().map_or(0, |row| row.len());
        let out = &mut out[..self.shape.limit(self.index)];
        for j in 0..len {
            let x = &source[(o * len + j) * inner + column..][..width];
            let at = self.shape.numbers_at(o, j) + column * next;
            for ((i, &x), &number) in x.iter().enumerate().zip(&*numbers(index, at, next, width)) {
                out.get_mut(number as usize).ok_or(number)?[i] += x;
            }
        }
        Ok(())
    }
}
