//! More hands for the first launches of kernels on llvmpipe.
//!
//! llvmpipe makes machine code of a kernel when it is first launched, on the one thread of the queue, one kernel after
//! the other; it keeps what it made in a cache on disk, which all devices of the machine share. So while a plan runs
//! for the first time, further devices launch its later kernels, with no workgroups, the last one first: when the plan
//! comes to them, their code is there. Nobody waits for it: without a cache the plan makes all of its code as before.
//! Plans that ran on this machine before are remembered, as their code is there from the start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::pipelines::{Binding, Pipeline, PipelineDesc, compile};
use crate::{read_cached, stable_hash, write_cached};

/// A plan of fewer new kernels is not worth a thread.
const KERNELS_MIN: usize = 4;
/// Threads at most, beside that of the queue.
const THREADS_MAX: usize = 3;
/// Bytes of what kernels that do nothing are bound to.
const BYTES: u64 = 256;
/// The file of hashes of plans whose kernels were launched, 8 bytes each, and its length, after which it begins anew.
const FILE: &str = "launched";
const FILE_BYTES_MAX: u64 = 32 << 10;

/// A pipeline to be.
struct Kernel {
    name: String,
    source: String,
    constants: Vec<(&'static str, f64)>,
    bindings: Vec<Binding>,
}

/// Threads that launch kernels; they end when this is dropped.
pub(crate) struct Warmers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<usize>>,
}

impl Warmers {
    /// Threads for the last kernels, as many as leave the plan's own thread as much as each of them.
    fn start(adapter: &wgpu::Adapter, descs: &[PipelineDesc<'_>], threads: usize, plan: [u8; 8]) -> Warmers {
        let share = &descs[descs.len() / (threads + 1)..];
        let kernels: Arc<[Kernel]> = share.iter().rev().map(Kernel::new).collect();
        let (next, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let spawn = |_| {
            let (adapter, kernels, stop) = (adapter.clone(), kernels.clone(), stop.clone());
            let (next, done) = (next.clone(), done.clone());
            let work = move || {
                let take =
                    || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !stop.load(Ordering::Relaxed));
                let launched = launch_all(&adapter, std::iter::from_fn(|| kernels.get(take()?)));
                if done.fetch_add(launched, Ordering::Relaxed) + launched == kernels.len() {
                    remember(plan);
                }
                launched
            };
            std::thread::Builder::new().name("vorpal-warm".into()).spawn(work).ok()
        };
        Warmers { threads: (0..threads).filter_map(spawn).collect(), stop }
    }

    /// Whether all is done.
    pub fn finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until all is done: the number of kernels that were launched.
    #[cfg(test)]
    fn wait(mut self) -> usize {
        self.threads.drain(..).map(|thread| thread.join().expect("no panic")).sum()
    }
}

impl Drop for Warmers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has made less code, no more.
            let _ = thread.join();
        }
    }
}

/// Threads that launch a share of `descs`, new kernels in the order of their plan, on devices of their own. None for a few
/// kernels, on a single core, and where they were launched before.
pub(crate) fn warm(adapter: &wgpu::Adapter, descs: &[PipelineDesc<'_>]) -> Option<Warmers> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) - 1;
    if threads == 0 || descs.len() < KERNELS_MIN {
        return None;
    }
    let plan = hash(adapter, descs);
    let seen = has(&plans(), plan);
    (!seen).then(|| Warmers::start(adapter, descs, threads.min(THREADS_MAX), plan))
}

/// The plans whose kernels were launched on this machine.
fn plans() -> Vec<u8> {
    read_cached(FILE, FILE_BYTES_MAX).unwrap_or_default()
}

fn has(plans: &[u8], plan: [u8; 8]) -> bool {
    plans.chunks_exact(8).any(|seen| seen == plan)
}

/// Adds a plan to those whose kernels were launched.
fn remember(plan: [u8; 8]) {
    let mut plans = plans();
    if !has(&plans, plan) {
        plans.extend(plan);
        // A folder that takes no files costs the next start a little time.
        let _ = write_cached(FILE, &plans);
    }
}

/// What tells a plan's kernels, and the driver that compiles them, apart from others.
fn hash(adapter: &wgpu::Adapter, descs: &[PipelineDesc<'_>]) -> [u8; 8] {
    let info = adapter.get_info();
    let numbers: Vec<[u8; 8]> =
        descs.iter().flat_map(|desc| desc.constants).map(|(_, value)| value.to_le_bytes()).collect();
    let mut parts = vec![info.name.as_bytes(), info.driver_info.as_bytes()];
    parts.extend(descs.iter().map(|desc| desc.source.as_bytes()));
    parts.extend(numbers.iter().map(|number| number.as_slice()));
    stable_hash(&parts).to_le_bytes()
}

impl Kernel {
    fn new(desc: &PipelineDesc<'_>) -> Kernel {
        Kernel {
            name: desc.kernel.to_string(),
            source: desc.source.to_string(),
            constants: desc.constants.to_vec(),
            bindings: desc.bindings.to_vec(),
        }
    }

    fn desc(&self) -> PipelineDesc<'_> {
        PipelineDesc {
            kernel: &self.name,
            source: &self.source,
            constants: &self.constants,
            bindings: &self.bindings,
        }
    }
}

/// Launches kernels one after the other on a device of their own: how many. What cannot be had here, the plan makes.
fn launch_all<'a>(adapter: &wgpu::Adapter, kernels: impl Iterator<Item = &'a Kernel>) -> usize {
    let Ok((device, queue)) = pollster::block_on(crate::adapter::request(adapter, "vorpal warm")) else {
        return 0;
    };
    device.on_uncaptured_error(Arc::new(|_| {}));
    let buffer = |usage| {
        let desc = wgpu::BufferDescriptor { label: None, size: BYTES, usage, mapped_at_creation: false };
        device.create_buffer(&desc)
    };
    let (read, uniform) = (buffer(wgpu::BufferUsages::STORAGE), buffer(wgpu::BufferUsages::UNIFORM));
    let mut launched = 0;
    for kernel in kernels {
        let Ok(Pipeline(made)) = compile(&device, &kernel.desc()) else { continue };
        let buffers = kernel.bindings.iter().map(|binding| match binding {
            Binding::StorageRead => read.clone(),
            Binding::StorageWrite => buffer(wgpu::BufferUsages::STORAGE),
            Binding::Uniform => uniform.clone(),
        });
        let buffers: Vec<wgpu::Buffer> = buffers.collect();
        let entries: Vec<_> = (0..)
            .zip(&buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let desc = wgpu::BindGroupDescriptor { label: None, layout: &made.layout, entries: &entries };
        let group = device.create_bind_group(&desc);
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&made.pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(0, 1, 1);
        drop(pass);
        queue.submit([encoder.finish()]);
        // One at a time, so that the thread stops soon when it is to.
        if device.poll(wgpu::PollType::wait_indefinitely()).is_err() {
            break;
        }
        launched += 1;
    }
    launched
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_launched_and_a_broken_kernel_left_to_the_plan() {
        let adapters = pollster::block_on(crate::adapter::adapters());
        let Some(adapter) = adapters.iter().find_map(crate::adapter::Adapter::starts_slowly) else {
            println!("skipped: no llvmpipe");
            return;
        };
        let source = "@group(0) @binding(0) var<storage, read> x: array<u32>;
            @group(0) @binding(1) var<storage, read_write> y: array<u32>;
            @group(0) @binding(2) var<storage, read_write> z: array<vec4<u32>>;
            @group(0) @binding(3) var<uniform> p: array<vec4<u32>, 16>;
            override N: u32 = 1u;
            @compute @workgroup_size(1) fn main() { y[0] = x[0] + N * p[0].x; z[0] = p[1]; }";
        let bindings = [Binding::StorageRead, Binding::StorageWrite, Binding::StorageWrite, Binding::Uniform];
        let constants: Vec<_> = (0..9).map(|n| [("N", f64::from(n))]).collect();
        let desc = |constants| PipelineDesc { kernel: "mine", source, constants, bindings: &bindings };
        let mut descs: Vec<_> = constants.iter().map(|constants| desc(constants)).collect();
        assert!(warm(adapter, &descs[..KERNELS_MIN - 1]).is_none(), "too few");
        let plan = hash(adapter, &descs);
        assert_ne!(plan, hash(adapter, &descs[1..]));
        assert_eq!(Warmers::start(adapter, &descs, 1, plan).wait(), 5);
        assert_eq!(Warmers::start(adapter, &descs, 2, plan).wait(), 6);
        if crate::cache_folder().is_some_and(|folder| folder.is_dir()) {
            assert!(warm(adapter, &descs).is_none(), "they are remembered");
        }
        descs[7].source = "no shader";
        let plan = hash(adapter, &descs);
        assert_eq!(Warmers::start(adapter, &descs, 2, plan).wait(), 5);
        // Dropped at once, it stops soon.
        drop(Warmers::start(adapter, &descs, 1, plan));
    }
}
