//! Picking elements along an axis by number.

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

    /// Place of the index of an element.
    pub(crate) fn index_place(&self, o: usize, j: usize, i: usize) -> usize {
        let [so, sj, si] = self.index_strides;
        o * so + j * sj + i * si
    }
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
        let index: &[i32] = run.read_as(1)?;
        let out: &mut [T] = run.write_as(2)?;
        // Buffers end with a whole word; bytes may end before.
        let out = &mut out[..shape.count()];
        let (x, index) = (&x[self.offsets[0]..], &index[self.offsets[1]..]);
        let rows = (TASK / shape.inner).max(1);
        let signed = self.index == DType::I32;
        let wrong = |which: i32| {
            run.index_error(if signed { i64::from(which) } else { i64::from(which as u32) }, shape.axis)
        };
        let tasks: Vec<(usize, &mut [T])> = out.chunks_mut(rows * shape.inner).enumerate().collect();
        for_each(tasks, |(task, out)| {
            for (k, line) in out.chunks_mut(shape.inner).enumerate() {
                let (o, j) = ((task * rows + k) / shape.len, (task * rows + k) % shape.len);
                let line_of = |which: i32| match usize::try_from(which) {
                    Ok(w) if w < shape.axis => Ok((o * shape.axis + w) * shape.inner),
                    _ => Err(wrong(which)),
                };
                if shape.index_strides[2] == 0 {
                    let from = line_of(index[shape.index_place(o, j, 0)])?;
                    line.copy_from_slice(&x[from..from + shape.inner]);
                } else {
                    for (i, out) in line.iter_mut().enumerate() {
                        *out = x[line_of(index[shape.index_place(o, j, i)])? + i];
                    }
                }
            }
            Ok(())
        })
    }
}
