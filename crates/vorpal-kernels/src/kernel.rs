//! What a kernel owes: shader text, launch geometry, a native body and its cost.

use std::fmt::Debug;
use std::sync::Arc;

use smallvec::SmallVec;
use vorpal_shaders::Shader;
use vorpal_tensor::{DType, DeviceInfo, DeviceKind, Element, Error, Fault, Layout, Result};

use crate::{Epilogue, Rebased};

/// How a kernel touches one of its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Only read.
    Read,
    /// Written in full, never read before.
    Write,
    /// Read and written in place.
    ReadWrite,
}

/// One buffer argument of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arg {
    /// How it is touched.
    pub access: Access,
    /// Stored element type.
    pub dtype: DType,
    /// Elements the buffer must hold at least.
    pub len: usize,
}

impl Arg {
    /// A buffer that is only read.
    pub fn read(dtype: DType, len: usize) -> Arg {
        Arg { access: Access::Read, dtype, len }
    }

    /// Bytes that go to and fro: a buffer that is changed in place is read and written.
    pub fn traffic_bytes(&self) -> usize {
        let times = if self.access == Access::ReadWrite { 2 } else { 1 };
        times * self.dtype.bytes(self.len)
    }

    /// A buffer that is written in full.
    pub fn write(dtype: DType, len: usize) -> Arg {
        Arg { access: Access::Write, dtype, len }
    }
}

/// Work and traffic of one launch, so that a profile can show achieved against possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating point operations.
    pub flops: u64,
    /// Bytes that must be read and written at least.
    pub bytes: u64,
}

/// What shaders of a device can do beyond what WebGPU promises, as far as kernels make use of it, and what they had
/// better do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Abilities {
    /// Buffers that a kernel may bind.
    pub buffers: u32,
    /// Invocations of every subgroup, where shaders may use subgroups and all have as many.
    pub subgroup: Option<u32>,
    /// Bytes of workgroup memory that a kernel may take.
    pub memory: usize,
    /// Whether there are words of 64 bits and reading them pays: where every invocation reads element by element.
    pub words64: bool,
    /// Whether invocations that wait for one another at a barrier take long.
    pub slow_barriers: bool,
    /// Whether subgroups multiply matrices of 16 by 16 halves, with sums in f32.
    pub matrices: bool,
}

impl Default for Abilities {
    fn default() -> Abilities {
        Abilities::PROMISED
    }
}

/// Buffers that WebGPU lets every kernel bind, and how many pay where a device has more.
const BUFFERS_PROMISED: u32 = 8;
const BUFFERS_MAX: u32 = 16;

/// Bytes of workgroup memory that WebGPU lets every kernel take.
const MEMORY_PROMISED: usize = 16 << 10;

/// Bytes of workgroup memory that kernels take whose subgroups multiply matrices.
pub(crate) const MEMORY_WITH_MATRICES: usize = 48 << 10;

impl Abilities {
    /// What WebGPU promises of every device.
    pub const PROMISED: Abilities = Abilities {
        buffers: BUFFERS_PROMISED,
        subgroup: None,
        memory: MEMORY_PROMISED,
        words64: false,
        slow_barriers: false,
        matrices: false,
    };

    /// What cards have at least whose subgroups multiply matrices of halves.
    pub const MATRICES: Abilities = Abilities {
        buffers: BUFFERS_MAX,
        subgroup: Some(32),
        memory: MEMORY_WITH_MATRICES,
        matrices: true,
        ..Abilities::PROMISED
    };

    /// What a device can do.
    pub fn of(info: &DeviceInfo) -> Abilities {
        let subgroup = info.subgroups.and_then(|[least, most]| (least == most).then_some(least));
        let has = |feature: &str| info.features.iter().any(|name| name == feature);
        let software = info.kind == DeviceKind::Software;
        // The kernels count on subgroups of 32.
        let matrices = has(DeviceInfo::MATRICES) && subgroup == Some(32);
        Abilities {
            buffers: info.limits.max_storage_buffers.clamp(BUFFERS_PROMISED, BUFFERS_MAX),
            subgroup,
            memory: (info.limits.max_workgroup_bytes as usize).max(MEMORY_PROMISED),
            words64: has("shader_int64") && software,
            slow_barriers: software,
            matrices,
        }
    }
}

/// Rows of elements apart from one another: element `i` lies at `start + i / run · pitch + i % run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Place of the first element.
    pub start: usize,
    /// Elements of a row.
    pub run: usize,
    /// From the start of a row to that of the next.
    pub pitch: usize,
}

/// Where a part of a joined tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A result of the kernel, by its argument, that is needed nowhere else.
    Moved(usize),
    /// A result of the kernel, by its argument, that is also needed as it is.
    Copied(usize),
    /// In a buffer that the kernel has yet to be given.
    There,
}

/// A kernel that reads an operand in another order than it lies in.
#[derive(Clone, Debug)]
pub struct LaidOut {
    /// Number of the operand.
    pub input: usize,
    /// The window on its buffer that gives the elements in the order the kernel reads them in.
    pub layout: Layout,
    /// The kernel.
    pub kernel: Arc<dyn Kernel>,
}

/// One launch: shapes, dtypes, variant and fused expression, all known.
///
/// # Bindings
/// The shader binds the buffers of [`args`](Kernel::args) as `@group(0) @binding(0..n)`, declared
/// `array<f32>`, `array<i32>` or `array<u32>` by dtype (`Bool` is `u32`, 16-bit floats are `u32`
/// words of two). If [`scalars`](Kernel::scalars) is not empty, binding `n` is
/// `var<uniform> params: array<vec4<u32>, 16>`, scalar `k` being component `k % 4` of word `k / 4`
/// in the bits of its dtype. If [`checks_indices`](Kernel::checks_indices), the next binding is
/// `var<storage, read_write> fault: array<atomic<u32>, 4>` and the last scalar is a `u32` code to
/// report with.
///
/// # Identity
/// Two kernels with the same shader text, constants and bindings share a pipeline, so `shader`
/// must hold all that the GPU code depends on.
pub trait Kernel: Debug + Send + Sync + 'static {
    /// Name of the family; its shader is `shaders/<name>.wgsl` and its launcher `<name>.rs`.
    fn name(&self) -> &'static str;

    /// Shapes, variant and fused expression in one line, for plans and errors.
    fn describe(&self) -> String;

    /// The buffers, in binding order.
    fn args(&self) -> Vec<Arg>;

    /// dtypes of the run-time scalars (learning rate, seed, …).
    fn scalars(&self) -> Vec<DType> {
        Vec::new()
    }

    /// Whether the kernel reports indices out of range, or what else [`fault`](Kernel::fault) names, through the
    /// `fault` buffer.
    fn checks_indices(&self) -> bool {
        false
    }

    /// What a number reported through the `fault` buffer stands for, if not an index of the op's axis.
    fn fault(&self) -> Option<Fault> {
        None
    }

    /// The complete shader. `main` is the entry point.
    ///
    /// # Errors
    /// [`Error::Internal`] when the parts do not link.
    fn shader(&self) -> Result<Shader>;

    /// Workgroups to launch, each count within WebGPU's 65,535. All zeros launches nothing.
    fn groups(&self) -> [u32; 3];

    /// Runs on host memory, with the same result as the shader within rounding.
    ///
    /// # Errors
    /// [`Error::Index`] for an index out of range, [`Error::Value`] for what else operands must not be,
    /// [`Error::Internal`] for wrong arguments.
    fn run_cpu(&self, run: CpuRun<'_>) -> Result<()>;

    /// Work and traffic.
    fn cost(&self) -> Cost;

    /// The same kernel with a fused expression applied to its result before it is stored, or
    /// `None` when the family takes none. Only asked of kernels that have not been fused yet.
    fn with_epilogue(&self, epilogue: Epilogue) -> Option<Arc<dyn Kernel>> {
        let _ = epilogue;
        None
    }

    /// Whether an epilogue may store its results in 16 bits. Natively the first of them holds the accumulators, so this is for
    /// kernels of adapters alone.
    fn stores_16bit(&self) -> bool {
        false
    }

    /// Other ways to make the same result from the same arguments, this one left out: what a tuner measures.
    fn variants(&self) -> Vec<Arc<dyn Kernel>> {
        Vec::new()
    }

    /// An operand that had better be laid out anew where many kernels read it, and the kernel that reads it so; `None` where
    /// it would not pay, or there is no such kernel. Only asked of kernels that have not been fused yet, for native code.
    fn laid_out(&self) -> Option<LaidOut> {
        None
    }

    /// The same kernel with argument `input` dropped and read through `output` instead, in
    /// place, or `None` where that would not be safe: every element of `input` must be read only by
    /// the invocation that then writes the same place of `output`. Later arguments move down by one.
    fn in_place(&self, input: usize, output: usize) -> Option<Arc<dyn Kernel>> {
        let _ = (input, output);
        None
    }

    /// Where in its result each operand lies, for a kernel that copies all of them there and does nothing else.
    fn copies(&self) -> Option<Vec<Stretch>> {
        None
    }

    /// The same kernel with parts stored in stretches of one more result, of `joined`: arguments that are moved are gone, those
    /// that are there come behind all others, in order, and then the result. `None` where it cannot.
    fn scattered(&self, parts: &[(Part, Stretch)], joined: Arg) -> Option<Arc<dyn Kernel>> {
        let _ = (parts, joined);
        None
    }

    /// The same kernel for buffers bound from where it first reads them, so that the kernels of all steps of an unrolled
    /// loop are one; `None` where it reads them from the start, or takes no notice.
    fn rebased(&self) -> Option<Rebased> {
        None
    }
}

/// Workgroups in x and y that cover `groups` linear ones, each within WebGPU's 65,535. Shaders
/// recover the linear number as `wg.x + wg.y * count.x` and skip those past the end.
pub fn spread(groups: usize) -> [u32; 3] {
    const LIMIT: usize = 65_535;
    if groups == 0 {
        return [0, 0, 0];
    }
    let y = groups.div_ceil(LIMIT);
    let x = groups.div_ceil(y);
    [x as u32, y as u32, 1]
}

/// Host memory of one argument.
#[derive(Debug)]
pub enum CpuArg<'a> {
    /// Bytes to read.
    Read(&'a [u8]),
    /// Bytes to write, or to read and write.
    Write(&'a mut [u8]),
}

/// Everything a native body gets: its buffers in argument order and its scalars.
#[derive(Debug)]
pub struct CpuRun<'a> {
    args: SmallVec<[Option<CpuArg<'a>>; 8]>,
    /// Run-time scalars, in the order of [`Kernel::scalars`].
    pub scalars: &'a [f64],
    /// Op and place reported with an index out of range.
    pub op: Option<(&'static str, vorpal_tensor::At)>,
}

impl<'a> CpuRun<'a> {
    /// Collects the arguments of a run.
    pub fn new(
        args: impl IntoIterator<Item = CpuArg<'a>>,
        scalars: &'a [f64],
        op: Option<(&'static str, vorpal_tensor::At)>,
    ) -> CpuRun<'a> {
        CpuRun { args: args.into_iter().map(Some).collect(), scalars, op }
    }

    /// Takes argument `index` as elements to read. `T` is the stored type: `u32` for `Bool`.
    ///
    /// # Errors
    /// [`Error::Internal`] when it was taken before, is written, or is not a whole number of `T`.
    pub fn read<T: Element<Stored = T> + bytemuck::Pod>(&mut self, index: usize) -> Result<&'a [T]> {
        match self.args.get_mut(index).and_then(Option::take) {
            Some(CpuArg::Read(bytes)) => cast(bytemuck::try_cast_slice(bytes), index),
            Some(CpuArg::Write(_)) => Err(Error::internal("CpuRun", format!("argument {index} is written"))),
            None => Err(Error::internal("CpuRun", format!("argument {index} is not there"))),
        }
    }

    /// Takes argument `index` as elements to write (its old content is there to read).
    ///
    /// # Errors
    /// [`Error::Internal`] when it was taken before, is only read, or is not a whole number of `T`.
    pub fn write<T: Element<Stored = T> + bytemuck::Pod>(&mut self, index: usize) -> Result<&'a mut [T]> {
        match self.args.get_mut(index).and_then(Option::take) {
            Some(CpuArg::Write(bytes)) => cast(bytemuck::try_cast_slice_mut(bytes), index),
            Some(CpuArg::Read(_)) => Err(Error::internal("CpuRun", format!("argument {index} is read-only"))),
            None => Err(Error::internal("CpuRun", format!("argument {index} is not there"))),
        }
    }

    /// Takes argument `index` to read as words of any plain type of the right size.
    ///
    /// # Errors
    /// As [`read`](CpuRun::read).
    pub fn read_as<T: bytemuck::Pod>(&mut self, index: usize) -> Result<&'a [T]> {
        match self.take(index) {
            Some(CpuArg::Read(bytes)) => cast(bytemuck::try_cast_slice(bytes), index),
            _ => Err(Error::internal("CpuRun", format!("argument {index} is not there to read"))),
        }
    }

    /// Takes argument `index` to write as words of any plain type of the right size.
    ///
    /// # Errors
    /// As [`write`](CpuRun::write).
    pub fn write_as<T: bytemuck::Pod>(&mut self, index: usize) -> Result<&'a mut [T]> {
        match self.take(index) {
            Some(CpuArg::Write(bytes)) => cast(bytemuck::try_cast_slice_mut(bytes), index),
            _ => Err(Error::internal("CpuRun", format!("argument {index} is not there to write"))),
        }
    }

    /// Takes argument `index` as it is.
    pub fn take(&mut self, index: usize) -> Option<CpuArg<'a>> {
        self.args.get_mut(index).and_then(Option::take)
    }

    /// An out-of-range error for the op that launched this kernel.
    pub fn index_error(&self, index: i64, size: usize) -> Error {
        self.fault_error(Fault::Index { size }, index)
    }

    /// The error for a fault of the op that launched this kernel.
    pub fn fault_error(&self, fault: Fault, number: i64) -> Error {
        match self.op {
            Some((op, at)) => fault.error(op, number, at),
            None => Error::internal("CpuRun", format!("number {number}: {fault:?}")),
        }
    }
}

fn cast<S>(slice: std::result::Result<S, bytemuck::PodCastError>, index: usize) -> Result<S> {
    slice.map_err(|e| Error::internal("CpuRun", format!("argument {index}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_stays_within_webgpu() {
        for n in [0, 1, 65_535, 65_536, 1 << 20, 65_535 * 65_535] {
            let [x, y, z] = spread(n);
            assert!(x <= 65_535 && y <= 65_535 && z <= 1);
            assert!(x as usize * y as usize >= n);
        }
    }
}
