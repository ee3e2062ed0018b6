//! Plans ready to run: everything that is the same in every run is worked out once.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use vorpal_kernels::{Access, Arg, CpuArg, CpuRun, Kernel, among_workers};
use vorpal_tensor::{
    Binding, Buffer, DType, Device, Error, Fault, PARAMS_BYTES, PipelineDesc, ReadGuard, Replay, Result,
    Step, WriteGuard,
};

use super::job::Job;
use crate::Key;
use crate::compile::plan::{Launch, Plan};

/// Plans kept. The least recently used one goes.
const PLANS_MAX: usize = 256;

/// Takes what every launch took, where somebody asks.
pub(super) type Times<'a> = Option<&'a mut Vec<Duration>>;

/// Everything that launches touch: slots first, inputs behind them.
pub(super) struct Table {
    pub buffers: Vec<Buffer>,
    /// Where in each of them what the plan knows starts, in bytes.
    pub starts: Vec<u64>,
}

/// A plan ready to run on its device.
pub(super) struct Prepared {
    pub plan: Plan,
    /// Positions of the ops that have run-time scalars.
    scalar_ops: Vec<usize>,
    runner: Runner,
}

enum Runner {
    Native(NativeRun),
    Adapter(Mutex<Replay>, Vec<ParamBlock>),
}

/// Launches on the native CPU, one after the other.
struct NativeRun {
    launches: Vec<NativeLaunch>,
    /// Whether several of them are shared out over all cores.
    shared: bool,
}

/// Operations and bytes of a launch that may be shared out over all cores.
const SHARED_FLOPS: u64 = 1 << 19;
const SHARED_BYTES: u64 = 1 << 16;

/// A launch on the native CPU.
struct NativeLaunch {
    kernel: Arc<dyn Kernel>,
    args: SmallVec<[NativeArg; 8]>,
    scalars: SmallVec<[usize; 4]>,
    origin: Option<usize>,
}

struct NativeArg {
    /// Which buffer of the table.
    buffer: usize,
    /// Which bytes of it.
    bytes: Range<usize>,
    writes: bool,
}

/// Run-time scalars of a launch on an adapter.
struct ParamBlock {
    scalars: SmallVec<[usize; 4]>,
    dtypes: SmallVec<[DType; 4]>,
    /// The op to blame, and for what.
    fault: Option<(usize, Fault)>,
}

/// Plans by graph and device, with the time of their last use.
type Cache = HashMap<Key, (u64, Arc<Prepared>)>;

fn cache() -> &'static Mutex<(u64, Cache)> {
    static CACHE: OnceLock<Mutex<(u64, Cache)>> = OnceLock::new();
    CACHE.get_or_init(Mutex::default)
}

/// The plan of a graph, compiled at its first use.
pub(super) fn prepared(device: &Device, key: Key, job: &Job) -> Result<Arc<Prepared>> {
    {
        let mut cache = cache().lock().unwrap_or_else(PoisonError::into_inner);
        cache.0 += 1;
        let now = cache.0;
        if let Some((used, known)) = cache.1.get_mut(&key) {
            *used = now;
            return Ok(known.clone());
        }
    }
    let compile = || super::compiled(job, device);
    let prepare = |plan| Prepared::new(device, job, plan);
    #[cfg(not(target_arch = "wasm32"))]
    let made = Arc::new(crate::tune::tuned(device, compile, prepare)?);
    // A browser has neither a clock for kernels nor a disk.
    #[cfg(target_arch = "wasm32")]
    let made = Arc::new(prepare(compile()?)?);
    device.count_plan();
    let mut cache = cache().lock().unwrap_or_else(PoisonError::into_inner);
    let now = cache.0;
    if cache.1.len() >= PLANS_MAX
        && let Some(oldest) = cache.1.iter().min_by_key(|(_, (used, _))| *used).map(|(k, _)| k.clone())
    {
        cache.1.remove(&oldest);
    }
    cache.1.insert(key, (now, made.clone()));
    Ok(made)
}

impl Prepared {
    pub fn new(device: &Device, job: &Job, plan: Plan) -> Result<Prepared> {
        let scalar_ops = job.computed().filter(|&k| !job.order[k].op.scalars().is_empty()).collect();
        let runner = if device.is_cpu() {
            Runner::Native(NativeRun::new(&plan))
        } else {
            let blocks = plan.launches.iter().filter_map(|launch| ParamBlock::new(launch, job)).collect();
            Runner::Adapter(Mutex::new(replay(device, &plan)?), blocks)
        };
        Ok(Prepared { plan, scalar_ops, runner })
    }

    /// Runs all launches on the buffers of the table.
    pub fn run(&self, device: &Device, job: &Job, table: &Table, times: Times<'_>) -> Result<()> {
        let scalars: Vec<f64> = (self.scalar_ops.iter())
            .flat_map(|&k| job.order[k].op.scalars())
            .map(|(value, _)| value)
            .collect();
        match &self.runner {
            Runner::Adapter(replay, blocks) => {
                let params = params(device, job, blocks, &scalars);
                let mut replay = replay.lock().unwrap_or_else(PoisonError::into_inner);
                match times {
                    None => replay.run(&table.buffers, &table.starts, &params),
                    #[cfg(not(target_arch = "wasm32"))]
                    Some(times) => {
                        replay.run_timed(&table.buffers, &table.starts, &params).map(|found| *times = found)
                    }
                    #[cfg(target_arch = "wasm32")]
                    Some(_) => Err(Error::internal("executor", "a browser keeps no time of launches")),
                }
            }
            Runner::Native(native) => {
                device.count_submit();
                let all = || native.run(job, table, &scalars, times);
                if native.shared { among_workers(all) } else { all() }
            }
        }
    }
}

impl NativeRun {
    fn new(plan: &Plan) -> NativeRun {
        let large = |launch: &&Launch| {
            let cost = launch.kernel.cost();
            cost.flops >= SHARED_FLOPS || cost.bytes >= SHARED_BYTES
        };
        NativeRun {
            launches: plan.launches.iter().map(|launch| NativeLaunch::new(launch, plan)).collect(),
            shared: plan.launches.iter().filter(large).nth(1).is_some(),
        }
    }

    fn run(&self, job: &Job, table: &Table, scalars: &[f64], times: Times<'_>) -> Result<()> {
        let Some(times) = times else {
            return self.launches.iter().try_for_each(|launch| launch.run(job, table, scalars));
        };
        self.launches.iter().try_for_each(|launch| {
            let start = std::time::Instant::now();
            launch.run(job, table, scalars)?;
            times.push(start.elapsed());
            Ok(())
        })
    }
}

impl NativeLaunch {
    fn new(launch: &Launch, plan: &Plan) -> NativeLaunch {
        let arg = |(k, arg): (usize, &Arg)| {
            let start = arg.dtype.bytes(launch.start(k));
            NativeArg {
                buffer: plan.table_index(launch.buffers[k]),
                bytes: start..start + arg.dtype.bytes(arg.len),
                writes: arg.access != Access::Read,
            }
        };
        NativeLaunch {
            kernel: launch.kernel.clone(),
            args: launch.kernel.args().iter().enumerate().map(arg).collect(),
            scalars: launch.scalars.iter().copied().collect(),
            origin: launch.origin,
        }
    }

    fn run(&self, job: &Job, table: &Table, scalars: &[f64]) -> Result<()> {
        enum Guard<'a> {
            Read(ReadGuard<'a>),
            Write(WriteGuard<'a>),
        }
        let own: SmallVec<[f64; 8]> = self.scalars.iter().map(|&k| scalars[k]).collect();
        let mut guards: SmallVec<[Guard<'_>; 8]> = SmallVec::new();
        for arg in &self.args {
            let buffer = &table.buffers[arg.buffer];
            guards.push(if arg.writes { Guard::Write(buffer.write()?) } else { Guard::Read(buffer.read()?) });
        }
        let short =
            || Error::internal("executor", format!("{} got a buffer too short", self.kernel.describe()));
        let mut slices: SmallVec<[CpuArg<'_>; 8]> = SmallVec::new();
        for (guard, arg) in guards.iter_mut().zip(&self.args) {
            let start = table.starts[arg.buffer] as usize;
            let bytes = start + arg.bytes.start..start + arg.bytes.end;
            slices.push(match guard {
                Guard::Read(guard) => CpuArg::Read(guard.get(bytes).ok_or_else(short)?),
                Guard::Write(guard) => CpuArg::Write(guard.get_mut(bytes).ok_or_else(short)?),
            });
        }
        let blame = self.origin.map(|k| (job.order[k].op.name(), job.order[k].at));
        self.kernel.run_cpu(CpuRun::new(slices, &own, blame))
    }
}

impl ParamBlock {
    /// `None` for launches without scalars.
    fn new(launch: &Launch, job: &Job) -> Option<ParamBlock> {
        let dtypes: SmallVec<[DType; 4]> = launch.kernel.scalars().into_iter().collect();
        let index =
            |k: usize| Fault::Index { size: job.order[k].op.indexed_axis(&job.operands(k)).unwrap_or(0) };
        let fault = launch.origin.map(|k| (k, launch.kernel.fault().unwrap_or_else(|| index(k))));
        let scalars = launch.scalars.iter().copied().collect();
        (!dtypes.is_empty()).then_some(ParamBlock { scalars, dtypes, fault })
    }
}

/// Run-time scalars of all launches, each in a block of its own.
fn params(device: &Device, job: &Job, blocks: &[ParamBlock], scalars: &[f64]) -> Vec<u8> {
    let mut out = vec![0; blocks.len() * PARAMS_BYTES];
    for (block, bytes) in blocks.iter().zip(out.chunks_exact_mut(PARAMS_BYTES)) {
        let code = block.fault.map(|(k, fault)| {
            let node = &job.order[k];
            f64::from(device.fault_code(node.op.name(), node.at, fault))
        });
        let values = block.scalars.iter().map(|&k| scalars[k]).chain(code);
        for ((value, dtype), word) in values.zip(&block.dtypes).zip(bytes.chunks_exact_mut(4)) {
            word.copy_from_slice(&match dtype.compute() {
                DType::I32 => (value as i32).to_le_bytes(),
                DType::U32 | DType::Bool => (value as u32).to_le_bytes(),
                _ => (value as f32).to_le_bytes(),
            });
        }
    }
    out
}

/// Pipelines and bindings of a plan.
pub(crate) fn replay(device: &Device, plan: &Plan) -> Result<Replay> {
    let mut shaders = Vec::with_capacity(plan.launches.len());
    for launch in &plan.launches {
        let kernel = &launch.kernel;
        let storage =
            |a: &Arg| if a.access == Access::Read { Binding::StorageRead } else { Binding::StorageWrite };
        let mut bindings: Vec<Binding> = kernel.args().iter().map(storage).collect();
        bindings.extend((!kernel.scalars().is_empty()).then_some(Binding::Uniform));
        bindings.extend(kernel.checks_indices().then_some(Binding::StorageWrite));
        shaders.push((kernel.shader()?, bindings));
    }
    let descs: Vec<PipelineDesc<'_>> = (plan.launches.iter().zip(&shaders))
        .map(|(launch, (shader, bindings))| PipelineDesc {
            kernel: launch.kernel.name(),
            source: &shader.source,
            constants: &shader.constants,
            bindings,
        })
        .collect();
    let (mut steps, mut params) = (Vec::with_capacity(plan.launches.len()), 0u32);
    for (launch, pipeline) in plan.launches.iter().zip(device.pipelines(&descs)?) {
        let kernel = &launch.kernel;
        let has_scalars = !kernel.scalars().is_empty();
        let args = kernel.args();
        steps.push(Step {
            pipeline,
            buffers: launch.buffers.iter().map(|&p| plan.table_index(p)).collect(),
            starts: args.iter().zip(&launch.starts).map(|(a, &start)| a.dtype.bytes(start) as u64).collect(),
            writes: args.iter().map(|a| a.access != Access::Read).collect(),
            groups: kernel.groups(),
            params: has_scalars.then_some(params),
            fault: kernel.checks_indices(),
        });
        params += if has_scalars { PARAMS_BYTES as u32 } else { 0 };
    }
    Replay::new(device, steps, params as usize)
}
