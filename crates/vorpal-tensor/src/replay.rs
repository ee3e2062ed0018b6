//! Replay: a compiled plan on an adapter, run with one pass and one submit, or on a card with a few, so that it begins while the
//! host still says what comes then.

use std::sync::atomic::Ordering;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Duration;

use smallvec::SmallVec;

use crate::device::Backend;
use crate::gpu::{FAULT_BYTES, Gpu};
use crate::{Buffer, Device, Error, Pipeline, Result};

/// Bytes of run-time scalars that one launch sees.
pub const PARAMS_BYTES: usize = 256;

/// Bind groups kept for each step: a training loop swaps between few sets of buffers.
const BIND_GROUPS_MAX: usize = 4;

/// Launches of the first submit to a card, and of those that follow: a card takes about as long for a small launch as the host takes
/// to encode it.
const FIRST_LAUNCHES: usize = 16;
const NEXT_LAUNCHES: usize = 64;

/// Bytes of the two timestamps of a launch.
#[cfg(not(target_arch = "wasm32"))]
const STAMPS_BYTES: usize = 16;

/// One launch.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its compiled shader.
    pub pipeline: Pipeline,
    /// Which buffers of the table it binds, in order.
    pub buffers: Vec<usize>,
    /// Where in each of them its binding starts, in bytes: multiples of what the device asks for, at most 256. Those that
    /// are not told start at 0.
    pub starts: Vec<u64>,
    /// Which of them it writes.
    pub writes: Vec<bool>,
    /// Workgroups; a zero skips the launch.
    pub groups: [u32; 3],
    /// Where in the params its scalars start: a multiple of [`PARAMS_BYTES`].
    pub params: Option<u32>,
    /// Whether the fault buffer is bound last.
    pub fault: bool,
}

/// Launches that run together, again and again.
pub struct Replay {
    device: Device,
    steps: Vec<Step>,
    /// The steps that launch anything.
    live: Vec<usize>,
    params: Option<wgpu::Buffer>,
    params_bytes: usize,
    /// The latest table, which the latest bind groups are made for.
    table: Option<Vec<Entry>>,
    /// For every step the bind groups of the latest sets of buffers.
    groups: Vec<SmallVec<[(Entries, wgpu::BindGroup); BIND_GROUPS_MAX]>>,
}

/// A buffer of a table by its id, and where its content starts, in bytes.
type Entry = (u64, u64);

type Entries = SmallVec<[Entry; 8]>;

impl Replay {
    /// Prepares launches for a device.
    ///
    /// # Errors
    /// [`Error::Internal`] on the native CPU and for params that are no multiple of [`PARAMS_BYTES`].
    pub fn new(device: &Device, steps: Vec<Step>, params_bytes: usize) -> Result<Replay> {
        let gpu = adapter(device)?;
        if !params_bytes.is_multiple_of(PARAMS_BYTES) {
            return Err(Error::internal("replay", format!("{params_bytes} bytes of params")));
        }
        let params = (params_bytes > 0).then(|| {
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("params"),
                size: params_bytes as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
        let groups = steps.iter().map(|_| SmallVec::new()).collect();
        let live = (0..steps.len()).filter(|&k| steps[k].groups.iter().all(|&g| g > 0)).collect();
        Ok(Replay { device: device.clone(), steps, live, params, params_bytes, table: None, groups })
    }

    /// Runs all launches in order on the buffers of `table`. What they hold starts at the bytes `starts` tells, multiples of
    /// what the device asks of bindings; those that are not told start at 0.
    ///
    /// # Errors
    /// [`Error::Internal`] for a table or params that do not fit the steps, or a buffer that one launch would
    /// both write and bind again; whatever went wrong on the device before.
    pub fn run(&mut self, table: &[Buffer], starts: &[u64], params: &[u8]) -> Result<()> {
        let device = self.device.clone();
        let gpu = adapter(&device)?;
        self.ready(gpu, table, starts, params)?;
        let encoded = |launches: &[usize]| {
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                for &k in launches {
                    self.launch(&mut pass, k);
                }
            }
            encoder
        };
        let (mut rest, mut length) = (&self.live[..], FIRST_LAUNCHES);
        while gpu.runs_beside() && rest.len() > 2 * length {
            let (launches, then) = rest.split_at(length);
            gpu.begin(encoded(launches).finish());
            (rest, length) = (then, NEXT_LAUNCHES);
        }
        self.submit(gpu, encoded(rest))
    }

    /// As [`run`](Replay::run), with the time every launch took: by the adapter's own clock where it has one, else by
    /// the host's, one launch at a time.
    ///
    /// # Errors
    /// As [`run`](Replay::run).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_timed(&mut self, table: &[Buffer], starts: &[u64], params: &[u8]) -> Result<Vec<Duration>> {
        let device = self.device.clone();
        let gpu = adapter(&device)?;
        self.ready(gpu, table, starts, params)?;
        let mut times = vec![Duration::ZERO; self.steps.len()];
        if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            gpu.synchronize()?;
            for &k in &self.live {
                let start = std::time::Instant::now();
                let mut encoder =
                    gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                self.launch(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()), k);
                self.submit(gpu, encoder)?;
                gpu.synchronize()?;
                times[k] = start.elapsed();
            }
            return Ok(times);
        }
        let stamps = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            // Sets of queries are resolved to multiples of 256 bytes.
            size: (self.live.len().max(1) * STAMPS_BYTES).next_multiple_of(256) as u64,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let per_set = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;
        for (set, live) in self.live.chunks(per_set).enumerate() {
            let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * live.len() as u32,
            });
            self.launch_timed(gpu, &mut encoder, &queries, live);
            let start = (set * per_set * STAMPS_BYTES) as u64;
            encoder.resolve_query_set(&queries, 0..2 * live.len() as u32, &stamps, start);
        }
        self.submit(gpu, encoder)?;
        let bytes = pollster::block_on(gpu.read(&device, &stamps, self.live.len() * STAMPS_BYTES))?;
        let nanoseconds = f64::from(gpu.queue.get_timestamp_period());
        for (&k, pair) in self.live.iter().zip(bytes.chunks_exact(STAMPS_BYTES)) {
            let [start, end]: [u64; 2] = bytemuck::pod_read_unaligned(pair);
            times[k] = Duration::from_nanos((end.saturating_sub(start) as f64 * nanoseconds) as u64);
        }
        Ok(times)
    }

    /// Launches steps with a query before and one behind each.
    #[cfg(not(target_arch = "wasm32"))]
    fn launch_timed(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        queries: &wgpu::QuerySet,
        live: &[usize],
    ) {
        if gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES) {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for (n, &k) in live.iter().enumerate() {
                pass.write_timestamp(queries, 2 * n as u32);
                self.launch(&mut pass, k);
                pass.write_timestamp(queries, 2 * n as u32 + 1);
            }
            return;
        }
        for (n, &k) in live.iter().enumerate() {
            let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
                query_set: queries,
                beginning_of_pass_write_index: Some(2 * n as u32),
                end_of_pass_write_index: Some(2 * n as u32 + 1),
            });
            let desc = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            self.launch(&mut encoder.begin_compute_pass(&desc), k);
        }
    }

    /// Makes params and bind groups those of this run.
    fn ready(&mut self, gpu: &Gpu, table: &[Buffer], starts: &[u64], params: &[u8]) -> Result<()> {
        gpu.healthy()?;
        if params.len() != self.params_bytes {
            let message = format!("{} bytes of params for {}", params.len(), self.params_bytes);
            return Err(Error::internal("replay", message));
        }
        if let Some(buffer) = &self.params {
            gpu.queue.write_buffer(buffer, 0, params);
        }
        let entry = |(k, buffer): (usize, &Buffer)| (buffer.id(), starts.get(k).copied().unwrap_or(0));
        let entries = table.iter().enumerate().map(entry);
        if self.table.as_ref().is_some_and(|have| have.iter().copied().eq(entries.clone())) {
            return Ok(());
        }
        self.table = None;
        let entries: Vec<Entry> = entries.collect();
        for n in 0..self.live.len() {
            self.bind(gpu, self.live[n], table, &entries)?;
        }
        self.table = Some(entries);
        Ok(())
    }

    fn launch(&self, pass: &mut wgpu::ComputePass<'_>, k: usize) {
        let step = &self.steps[k];
        pass.set_pipeline(&step.pipeline.0.pipeline);
        if let Some((_, group)) = self.groups[k].last() {
            pass.set_bind_group(0, group, &[]);
        }
        pass.dispatch_workgroups(step.groups[0], step.groups[1], step.groups[2]);
    }

    fn submit(&self, gpu: &Gpu, encoder: wgpu::CommandEncoder) -> Result<()> {
        self.device.0.submits.fetch_add(1, Ordering::Relaxed);
        gpu.submit(encoder.finish())?;
        Ok(())
    }

    /// Puts the bind group of step `k` for these buffers last in its list.
    fn bind(&mut self, gpu: &Gpu, k: usize, table: &[Buffer], of_table: &[Entry]) -> Result<()> {
        let step = &self.steps[k];
        let missing = || Error::internal("replay", format!("step {k} binds a buffer that is not there"));
        let mut bound = Entries::new();
        for &b in &step.buffers {
            bound.push(*of_table.get(b).ok_or_else(missing)?);
        }
        let known = &mut self.groups[k];
        if let Some(place) = known.iter().rposition(|(have, _)| *have == bound) {
            known[place..].rotate_left(1);
            return Ok(());
        }
        for (place, (id, _)) in bound.iter().enumerate() {
            let twice = bound.iter().enumerate().any(|(other, (have, _))| other != place && have == id);
            if twice && step.writes.get(place).copied().unwrap_or(true) {
                let label = step.pipeline.label();
                return Err(Error::internal("replay", format!("{label} writes a buffer it binds twice")));
            }
        }
        let mut entries: SmallVec<[wgpu::BindGroupEntry<'_>; 10]> = SmallVec::new();
        let mut entry = |resource| {
            let binding = entries.len() as u32;
            entries.push(wgpu::BindGroupEntry { binding, resource });
        };
        for (k, &b) in step.buffers.iter().enumerate() {
            let buffer = table[b].gpu().ok_or_else(missing)?;
            let offset = bound[k].1 + step.starts.get(k).copied().unwrap_or(0);
            if offset >= buffer.size() {
                let label = step.pipeline.label();
                return Err(Error::internal(
                    "replay",
                    format!("{label} is bound behind the end of a buffer"),
                ));
            }
            entry(wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: None }));
        }
        if let (Some(offset), Some(buffer)) = (step.params, &self.params) {
            let size = std::num::NonZero::new(PARAMS_BYTES as u64);
            entry(wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: offset.into(), size }));
        }
        if step.fault {
            let size = std::num::NonZero::new(FAULT_BYTES);
            entry(wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &gpu.fault, offset: 0, size }));
        }
        let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &step.pipeline.0.layout,
            entries: &entries,
        });
        if known.len() == BIND_GROUPS_MAX {
            known.remove(0);
        }
        known.push((bound, group));
        Ok(())
    }
}

fn adapter(device: &Device) -> Result<&Gpu> {
    match &device.0.backend {
        Backend::Gpu(gpu) => Ok(gpu),
        Backend::Host(_) => Err(Error::internal("replay", "the native CPU runs kernels itself")),
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replay({} steps on {:?})", self.steps.len(), self.device)
    }
}
