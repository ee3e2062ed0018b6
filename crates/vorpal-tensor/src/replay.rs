//! Replay: a compiled plan on an adapter, run with one pass and one submit.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use crate::device::Backend;
use crate::gpu::{FAULT_BYTES, Gpu};
use crate::{Buffer, Device, Error, Pipeline, Result};

/// Bytes of run-time scalars that one launch sees.
pub const PARAMS_BYTES: usize = 256;

/// Bind groups kept for each step: a training loop swaps between few sets of buffers.
const BIND_GROUPS_MAX: usize = 4;

/// One launch.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its compiled shader.
    pub pipeline: Pipeline,
    /// Which buffers of the table it binds, in order.
    pub buffers: Vec<usize>,
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
    params: Option<wgpu::Buffer>,
    params_bytes: usize,
    /// For every step the bind groups of the latest sets of buffers, by their ids.
    groups: Vec<SmallVec<[(Ids, wgpu::BindGroup); BIND_GROUPS_MAX]>>,
}

type Ids = SmallVec<[u64; 8]>;

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
        Ok(Replay { device: device.clone(), steps, params, params_bytes, groups })
    }

    /// Runs all launches in order on the buffers of `table`.
    ///
    /// # Errors
    /// [`Error::Internal`] for a table or params that do not fit the steps, or a buffer that one launch would
    /// both write and bind again; whatever went wrong on the device before.
    pub fn run(&mut self, table: &[Buffer], params: &[u8]) -> Result<()> {
        let device = self.device.clone();
        let gpu = adapter(&device)?;
        gpu.healthy()?;
        if params.len() != self.params_bytes {
            let message = format!("{} bytes of params for {}", params.len(), self.params_bytes);
            return Err(Error::internal("replay", message));
        }
        if let Some(buffer) = &self.params {
            gpu.queue.write_buffer(buffer, 0, params);
        }
        let live: Vec<usize> =
            (0..self.steps.len()).filter(|&k| self.steps[k].groups.iter().all(|&g| g > 0)).collect();
        for &k in &live {
            self.bind(gpu, k, table)?;
        }
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for &k in &live {
                let step = &self.steps[k];
                pass.set_pipeline(&step.pipeline.0.pipeline);
                if let Some((_, group)) = self.groups[k].last() {
                    pass.set_bind_group(0, group, &[]);
                }
                pass.dispatch_workgroups(step.groups[0], step.groups[1], step.groups[2]);
            }
        }
        device.0.submits.fetch_add(1, Ordering::Relaxed);
        gpu.submit(encoder.finish())?;
        Ok(())
    }

    /// Puts the bind group of step `k` for these buffers last in its list.
    fn bind(&mut self, gpu: &Gpu, k: usize, table: &[Buffer]) -> Result<()> {
        let step = &self.steps[k];
        let missing = || Error::internal("replay", format!("step {k} binds a buffer that is not there"));
        let mut ids = Ids::new();
        for &b in &step.buffers {
            ids.push(table.get(b).ok_or_else(missing)?.id());
        }
        for (place, id) in ids.iter().enumerate() {
            let twice = ids.iter().enumerate().any(|(other, have)| other != place && have == id);
            if twice && step.writes.get(place).copied().unwrap_or(true) {
                let label = step.pipeline.label();
                return Err(Error::internal("replay", format!("{label} writes a buffer it binds twice")));
            }
        }
        let known = &mut self.groups[k];
        if let Some(place) = known.iter().position(|(have, _)| *have == ids) {
            let group = known.remove(place);
            known.push(group);
            return Ok(());
        }
        let mut entries: SmallVec<[wgpu::BindGroupEntry<'_>; 10]> = SmallVec::new();
        let mut entry = |resource| {
            let binding = entries.len() as u32;
            entries.push(wgpu::BindGroupEntry { binding, resource });
        };
        for &b in &step.buffers {
            let buffer = table[b].gpu().ok_or_else(missing)?;
            entry(buffer.as_entire_binding());
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
        known.push((ids, group));
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
