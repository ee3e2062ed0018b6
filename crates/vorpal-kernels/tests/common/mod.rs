//! What the kernel tests share: running a kernel natively and on the software adapter, and checking its
//! shader for every target.

#![allow(dead_code, unused_imports, clippy::expect_used, clippy::panic)]

pub mod matrices;
mod shader;

pub use shader::check_shader;

use vorpal_kernels::{Access, CpuArg, CpuRun, Kernel, Rebased};
use vorpal_tensor::{Binding, Device, Fault, PARAMS_BYTES, PipelineDesc, Replay, Result, Step};

/// Runs a kernel natively. `buffers` holds the content of every argument, in order; what is written changes. A kernel that
/// can be bound further on in its buffers must give the same bits there.
pub fn run_native(kernel: &dyn Kernel, buffers: &mut [Vec<u8>], scalars: &[f64]) -> Result<()> {
    let mut moved = kernel.rebased().map(|rebased| (rebased, buffers.to_vec()));
    run_from(kernel, &[], buffers, scalars)?;
    if let Some((Rebased { kernel, starts }, again)) = &mut moved {
        run_from(&**kernel, starts, again, scalars)?;
        assert!(again == buffers, "{} differs where it is bound at {starts:?}", kernel.describe());
    }
    Ok(())
}

/// Runs a kernel that is bound from some elements on.
fn run_from(kernel: &dyn Kernel, starts: &[usize], buffers: &mut [Vec<u8>], scalars: &[f64]) -> Result<()> {
    // Elements of eight bytes want memory to match.
    let mut aligned: Vec<Vec<u64>> = buffers
        .iter()
        .map(|b| {
            let mut words = vec![0u64; b.len().div_ceil(8)];
            bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..b.len()].copy_from_slice(b);
            words
        })
        .collect();
    let args = kernel.args();
    let mut run_args = Vec::new();
    for (k, ((arg, words), bytes)) in args.iter().zip(&mut aligned).zip(buffers.iter()).enumerate() {
        let start = starts.get(k).map_or(0, |&start| arg.dtype.bytes(start));
        let slice = &mut bytemuck::cast_slice_mut::<u64, u8>(words)[start..bytes.len()];
        run_args.push(if arg.access == Access::Read { CpuArg::Read(slice) } else { CpuArg::Write(slice) });
    }
    kernel.run_cpu(CpuRun::new(run_args, scalars, None))?;
    for (bytes, words) in buffers.iter_mut().zip(&aligned) {
        let n = bytes.len();
        bytes.copy_from_slice(&bytemuck::cast_slice::<u64, u8>(words)[..n]);
    }
    Ok(())
}

/// The software adapter, if there is one.
pub fn adapter() -> Option<Device> {
    Device::software().map_err(|e| println!("skipped: no software adapter ({e})")).ok()
}

/// Runs a kernel on an adapter, bound as far on in its buffers as it can be.
pub fn run_on(
    device: &Device,
    kernel: &dyn Kernel,
    buffers: &mut [Vec<u8>],
    scalars: &[f64],
    at: Option<(&'static str, vorpal_tensor::At, usize)>,
) -> Result<()> {
    let moved = kernel.rebased();
    let (kernel, starts) = match &moved {
        Some(Rebased { kernel, starts }) => (&**kernel, &starts[..]),
        None => (kernel, &[][..]),
    };
    let args = kernel.args();
    let mut bindings: Vec<Binding> = args
        .iter()
        .map(|a| if a.access == Access::Read { Binding::StorageRead } else { Binding::StorageWrite })
        .collect();
    let dtypes = kernel.scalars();
    let mut params = vec![0u8; if dtypes.is_empty() { 0 } else { PARAMS_BYTES }];
    let fault = |size: usize| kernel.fault().unwrap_or(Fault::Index { size });
    let code = at.map_or(0, |(op, at, size)| device.fault_code(op, at, fault(size)));
    let all = scalars.iter().copied().chain(kernel.checks_indices().then_some(f64::from(code)));
    for (k, (value, dtype)) in all.zip(&dtypes).enumerate() {
        let word = match dtype.compute() {
            vorpal_tensor::DType::I32 => (value as i32).to_le_bytes(),
            vorpal_tensor::DType::U32 | vorpal_tensor::DType::Bool => (value as u32).to_le_bytes(),
            _ => (value as f32).to_le_bytes(),
        };
        params[4 * k..4 * k + 4].copy_from_slice(&word);
    }
    if !dtypes.is_empty() {
        bindings.push(Binding::Uniform);
    }
    if kernel.checks_indices() {
        bindings.push(Binding::StorageWrite);
    }
    let shader = kernel.shader()?;
    let pipeline = device.pipeline(&PipelineDesc {
        kernel: kernel.name(),
        source: &shader.source,
        constants: &shader.constants,
        bindings: &bindings,
    })?;
    let step = Step {
        pipeline,
        buffers: (0..args.len()).collect(),
        starts: starts.iter().zip(&args).map(|(&start, arg)| arg.dtype.bytes(start) as u64).collect(),
        writes: args.iter().map(|a| a.access != Access::Read).collect(),
        groups: kernel.groups(),
        params: (!dtypes.is_empty()).then_some(0),
        fault: kernel.checks_indices(),
    };
    let mut table = Vec::new();
    for bytes in buffers.iter() {
        let mut padded = bytes.clone();
        padded.resize(bytes.len().next_multiple_of(4), 0);
        table.push(device.upload(&padded)?);
    }
    Replay::new(device, vec![step], params.len())?.run(&table, &[], &params)?;
    for ((bytes, buffer), arg) in buffers.iter_mut().zip(&table).zip(&args) {
        let all = buffer.download()?;
        if arg.access != Access::Read {
            let n = bytes.len();
            bytes.copy_from_slice(&all[..n]);
        }
    }
    Ok(())
}

/// Bytes of f32 elements.
pub fn bytes_of(values: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

/// f32 elements of bytes.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(bytes)
}

/// A reproducible stream of numbers.
pub struct Random(pub u64);

impl Random {
    /// The next word.
    pub fn word(&mut self) -> u32 {
        self.0 += 1;
        vorpal_kernels::philox_word(self.0 as u32, [17, 4], [(self.0 >> 32) as u32, 0])
    }
    /// A whole number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.word() as usize % n
    }
    /// A number in −1..1.
    pub fn unit(&mut self) -> f32 {
        (self.word() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
    /// Numbers in −1..1.
    pub fn units(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }
}

/// Fails unless every element is close to its reference, relative to `scale`.
pub fn assert_close(found: &[f32], reference: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), reference.len(), "{what}");
    for (k, (&f, &r)) in found.iter().zip(reference).enumerate() {
        let same = f64::from(f) == r || (f.is_nan() && r.is_nan());
        let close = (f64::from(f) - r).abs() <= tolerance * (1.0 + r.abs());
        assert!(same || close, "{what}: element {k} is {f}, should be {r}");
    }
}
