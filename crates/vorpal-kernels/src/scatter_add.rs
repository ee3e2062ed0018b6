//! Adding elements at numbered places along an axis.

use vorpal_shaders::{Linker, SCATTER_ADD, Shader};
use vorpal_tensor::{DType, Error, Result};

use crate::interp::{self, Sink, Source, for_each};
use crate::{Arg, Cost, CpuRun, GatherShape, Kernel, spread};

/// Most elements along the axis that one launch adds. Callers take several launches for more.
pub const SCATTER_LEN_MAX: usize = 32_768;

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
}

impl ScatterAdd {
    /// Adds floats (`F32`, natively `F64`) by numbers of dtype `index` (`I32` or `U32`). `offsets` are those of base,
    /// index and source. `None` for more than [`SCATTER_LEN_MAX`] elements along the axis, or other dtypes.
    pub fn new(shape: GatherShape, dtype: DType, index: DType, offsets: [usize; 3]) -> Option<ScatterAdd> {
        let fits = shape.len <= SCATTER_LEN_MAX && matches!(dtype, DType::F32 | DType::F64);
        fits.then_some(ScatterAdd { shape, dtype, index, offsets })
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
        vec![
            Arg::read(self.dtype, self.offsets[0] + size),
            Arg::read(self.index, self.offsets[1] + self.shape.index_span()),
            Arg::read(self.dtype, self.offsets[2] + self.shape.count()),
            Arg::write(self.dtype, size),
        ]
    }

    fn scalars(&self) -> Vec<DType> {
        vec![DType::U32]
    }

    fn checks_indices(&self) -> bool {
        true
    }

    fn shader(&self) -> Result<Shader> {
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
        let args = self.args();
        let mut arguments = interp::take(&mut run, &args, 0)?;
        let bits: Vec<i32> = match arguments.sources[1] {
            Some(Source::I32(index)) => index.to_vec(),
            Some(Source::U32(index)) => index.iter().map(|&k| k as i32).collect(),
            _ => return Err(wrong()),
        };
        let out = arguments.sinks.first_mut().map(|(_, sink)| sink).ok_or_else(wrong)?;
        match (arguments.sources[0], arguments.sources[2], out) {
            (Some(Source::F32(base)), Some(Source::F32(source)), Sink::F32(out)) => {
                self.native(base, &bits, source, out, &run)
            }
            (Some(Source::F64(base)), Some(Source::F64(source)), Sink::F64(out)) => {
                self.native(base, &bits, source, out, &run)
            }
            _ => Err(wrong()),
        }
    }

    fn cost(&self) -> Cost {
        let count = self.shape.count();
        let bytes: usize = self.args().iter().map(Arg::traffic_bytes).sum();
        Cost { flops: count as u64, bytes: bytes as u64 }
    }
}

fn wrong() -> Error {
    Error::internal("scatter_add", "arguments are not what the kernel asked for")
}

impl ScatterAdd {
    fn native<T: Copy + Send + Sync + std::ops::AddAssign>(
        &self,
        base: &[T],
        index: &[i32],
        source: &[T],
        out: &mut [T],
        run: &CpuRun<'_>,
    ) -> Result<()> {
        let shape = self.shape;
        let (index, source) = (&index[self.offsets[1]..], &source[self.offsets[2]..]);
        out.copy_from_slice(&base[self.offsets[0]..]);
        let slab = shape.axis * shape.inner;
        if shape.count() == 0 {
            return Ok(());
        }
        if slab == 0 {
            return Err(run.index_error(i64::from(index[0]), 0));
        }
        let tasks: Vec<(usize, &mut [T])> = out.chunks_mut(slab).enumerate().collect();
        for_each(tasks, |(o, out)| {
            for (j, i) in (0..shape.len).flat_map(|j| (0..shape.inner).map(move |i| (j, i))) {
                let number = index[shape.index_place(o, j, i)];
                let place =
                    if self.index == DType::I32 { i64::from(number) } else { i64::from(number as u32) };
                if place < 0 || place >= shape.axis as i64 {
                    return Err(run.index_error(place, shape.axis));
                }
                out[place as usize * shape.inner + i] += source[(o * shape.len + j) * shape.inner + i];
            }
            Ok(())
        })
    }
}
