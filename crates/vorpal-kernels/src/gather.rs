//! Picking elements along an axis by number.

use std::borrow::Cow;

use vorpal_shaders::{GATHER, Linker, Shader};
use vorpal_tensor::{DType, Result};

use crate::interp::{TASK, for_each};
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// Sizes of a gather or scatter: `x` is `[outer, axis, inner]`, the picked or added elements are
/// `[outer, len, inner]`, and strides place the index of each of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherShape {
    /// Elements in front of the axis.
    pub outer: usize,
    /// Size of the axis.
    pub axis: usize,
    /// Elements behind the axis.
    pub inner: usize,
    /// Numbers along the axis.
    pub len: usize,
    /// Strides of the index over outer, len and inner.
    pub index_strides: [usize; 3],
}

impl GatherShape {
    /// Elements that are picked.
    pub fn count(&self) -> usize {
        self.outer * self.len * self.inner
    }

    /// Elements of the index buffer from its offset on.
    pub(crate) fn index_span(&self) -> usize {
        if self.count() == 0 {
            return 0;
        }
        let [o, j, i] = self.index_strides;
        (self.outer - 1) * o + (self.len - 1) * j + (self.inner - 1) * i + 1
    }

    /// Place of the first number of a row of picked elements.
    pub(crate) fn numbers_at(&self, o: usize, j: usize) -> usize {
        o * self.index_strides[0] + j * self.index_strides[1]
    }

    /// What the bits of a number are below if it is one of the axis: those of negative numbers are large.
    pub(crate) fn limit(&self, index: DType) -> usize {
        if index == DType::I32 { self.axis.min(1 << 31) } else { self.axis }
    }
}

/// `n` numbers that lie `stride` apart from a place on: most are neighbours.
pub(crate) fn numbers(index: &[u32], at: usize, stride: usize, n: usize) -> Cow<'_, [u32]> {
    match stride {
        1 => Cow::Borrowed(&index[at..at + n]),
        _ => Cow::Owned((0..n).map(|k| index[at + k * stride]).collect()),
    }
}

/// A number as the user wrote it.
pub(crate) fn told(index: DType, bits: u32) -> i64 {
    if index == DType::I32 { i64::from(bits as i32) } else { i64::from(bits) }
}

/// `out[o, j, i] = x[o, index[…], i]`: PyTorch's `index_select`, `embedding` and `gather`, depending on the strides of
/// the index. A number outside of the axis is an error, and gives 0 until it is noticed.
#[derive(Clone, Debug)]
pub struct Gather {
    shape: GatherShape,
    dtype: DType,
    index: DType,
    offsets: [usize; 2],
}

impl Gather {
    /// A gather of elements of `dtype` (not of 16 bits) by numbers of dtype `index` (`I32` or `U32`). `offsets` are
    /// those of x and of the index.
    pub fn new(shape: GatherShape, dtype: DType, index: DType, offsets: [usize; 2]) -> Gather {
        Gather { shape, dtype, index, offsets }
    }
}

impl Kernel for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn describe(&self) -> String {
        let GatherShape { outer, axis, inner, len, .. } = self.shape;
        format!("gather {len} of {axis}, {outer} × {inner} {}", self.dtype)
    }

    fn args(&self) -> Vec<Arg> {
        let GatherShape { outer, axis, inner, .. } = self.shape;
        vec![
            Arg::read(self.dtype, self.offsets[0] + outer * axis * inner),
            Arg::read(self.index, self.offsets[1] + self.shape.index_span()),
            Arg::write(self.dtype, self.shape.count()),
        ]
    }

    fn scalars(&self) -> Vec<DType> {
        vec![DType::U32]
    }

    fn checks_indices(&self) -> bool {
        true
    }

    fn shader(&self) -> Result<Shader> {
        let GatherShape { axis, inner, len, index_strides: [o, j, i], .. } = self.shape;
        Ok(Linker::new(GATHER)
            .constant("COUNT", self.shape.count())
            .constant("AXIS", axis)
            .constant("INNER", inner.max(1))
            .constant("LEN", len.max(1))
            .constant("X_OFFSET", self.offsets[0])
            .constant("INDEX_OFFSET", self.offsets[1])
            .constant("INDEX_OUTER", o)
            .constant("INDEX_AXIS", j)
            .constant("INDEX_INNER", i)
            .finish())
    }

    fn groups(&self) -> [u32; 3] {
        spread(self.shape.count().div_ceil(64))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        match self.dtype.size() {
            8 => self.native::<u64>(&mut run),
            1 => self.native::<u8>(&mut run),
            _ => self.native::<u32>(&mut run),
        }
    }

    fn cost(&self) -> Cost {
        let moved = 2 * self.dtype.bytes(self.shape.count()) + 4 * self.shape.index_span();
        Cost { flops: 0, bytes: moved as u64 }
    }
}

impl Gather {
    /// Moves words of one width.
    fn native<T: bytemuck::Pod + Send + Sync>(&self, run: &mut CpuRun<'_>) -> Result<()> {
        let shape = self.shape;
        if shape.count() == 0 {
            return Ok(());
        }
        let x: &[T] = run.read_as(0)?;
        let index: &[u32] = run.read_as(1)?;
        let out: &mut [T] = run.write_as(2)?;
        // Buffers end with a whole word; bytes may end before.
        let out = &mut out[..shape.count()];
        let (x, index) = (&x[self.offsets[0]..], &index[self.offsets[1]..]);
        let rows = (TASK / shape.inner).max(1);
        let tasks: Vec<(usize, &mut [T])> = out.chunks_mut(rows * shape.inner).enumerate().collect();
        for_each(tasks, |(task, mut out)| {
            let mut row = task * rows;
            while !out.is_empty() {
                // Rows of one slab.
                let (o, j) = (row / shape.len, row % shape.len);
                let here = (shape.len - j).min(out.len() / shape.inner);
                let (part, rest) = out.split_at_mut(here * shape.inner);
                self.pick(x, index, (o, j), part)
                    .map_err(|bits| run.index_error(told(self.index, bits), shape.axis))?;
                (row, out) = (row + here, rest);
            }
            Ok(())
        })
    }

    /// Rows of a slab from row `j` on. What fails is a number that is not of the axis.
    fn pick<T: Copy>(
        &self,
        x: &[T],
        index: &[u32],
        (o, j): (usize, usize),
        out: &mut [T],
    ) -> std::result::Result<(), u32> {
        let GatherShape { axis, inner, index_strides: [_, next_row, next], .. } = self.shape;
        let slab = &x[o * axis * inner..][..self.shape.limit(self.index) * inner];
        let at = self.shape.numbers_at(o, j);
        if inner == 1 {
            let numbers = numbers(index, at, next_row, out.len());
            for (out, &number) in out.iter_mut().zip(&*numbers) {
                *out = *slab.get(number as usize).ok_or(number)?;
            }
            return Ok(());
        }
        for (k, out) in out.chunks_exact_mut(inner).enumerate() {
            let at = at + k * next_row;
            if next == 0 {
                let number = index[at];
                let from = number as usize * inner;
                out.copy_from_slice(slab.get(from..from + inner).ok_or(number)?);
                continue;
            }
            for ((i, out), &number) in out.iter_mut().enumerate().zip(&*numbers(index, at, next, inner)) {
                *out = *slab.get(number as usize * inner + i).ok_or(number)?;
            }
        }
        Ok(())
    }
}
