//! What an adapter does through wgpu: memory, pipelines, transfers.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::adapter::Adapter;
use crate::device::{NEXT_ALLOCATION, lock};
use crate::pipelines::{Pipeline, PipelineDesc, Pipelines};
use crate::pool::Pool;
use crate::{Device, Error, Result};

/// Bytes of the fault buffer: code, index, two spare words.
pub(crate) const FAULT_BYTES: u64 = 16;

/// Submissions that may be on their way before the next one waits, so that memory stays bounded.
const IN_FLIGHT_MAX: usize = 4;

pub(crate) struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pool: Mutex<Pool<(u64, wgpu::Buffer)>>,
    /// Buffers that the host maps to read, by size.
    staging: Mutex<Vec<wgpu::Buffer>>,
    staging_allocated: AtomicU64,
    pub pipelines: Pipelines,
    pub fault: wgpu::Buffer,
    /// What went wrong outside of any call.
    trouble: Arc<Mutex<Option<Error>>>,
    in_flight: Mutex<VecDeque<wgpu::SubmissionIndex>>,
    /// Whether its work is done by threads of this process.
    emulated: bool,
    /// The adapter, where kernels are compiled when they are first launched.
    #[cfg(not(target_arch = "wasm32"))]
    slow_start: Option<wgpu::Adapter>,
}

impl Gpu {
    pub fn new(device: wgpu::Device, queue: wgpu::Queue, limit: u64, adapter: &Adapter) -> Gpu {
        let trouble: Arc<Mutex<Option<Error>>> = Arc::default();
        let (slot, lost_name) = (trouble.clone(), adapter.info.name.clone());
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                let error = Error::DeviceLost { device: lost_name.clone(), reason: message };
                lock(&slot).get_or_insert(error);
            }
        });
        let slot = trouble.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&slot).get_or_insert_with(|| Error::internal("wgpu", one_line(&error.to_string())));
        }));
        let fault = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("fault"),
            size: FAULT_BYTES,
            usage: storage_usage(),
            mapped_at_creation: false,
        });
        Gpu {
            device,
            queue,
            pool: Mutex::new(Pool::new(limit)),
            staging: Mutex::new(Vec::new()),
            staging_allocated: AtomicU64::new(0),
            pipelines: Pipelines::default(),
            fault,
            trouble,
            in_flight: Mutex::new(VecDeque::new()),
            emulated: adapter.info.kind == crate::DeviceKind::Software,
            #[cfg(not(target_arch = "wasm32"))]
            slow_start: adapter.starts_slowly().cloned(),
        }
    }

    /// The compiled pipelines of several shaders, in the order in which they are launched.
    pub fn pipelines(&self, descs: &[PipelineDesc<'_>]) -> Result<Vec<Pipeline>> {
        self.healthy()?;
        self.pipelines.get(&self.device, descs, |new| self.warm(new))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn warm(&self, new: &[PipelineDesc<'_>]) {
        let warmers = self.slow_start.as_ref().and_then(|adapter| crate::warm::warm(adapter, new));
        if let Some(warmers) = warmers {
            crate::leave::stop_at_end_of_thread(warmers);
        }
    }

    #[cfg(target_arch = "wasm32")]
    fn warm(&self, _: &[PipelineDesc<'_>]) {}

    /// What went wrong since this was last asked.
    pub fn healthy(&self) -> Result<()> {
        let mut trouble = lock(&self.trouble);
        match &*trouble {
            None => Ok(()),
            // A lost device stays lost.
            Some(error @ Error::DeviceLost { .. }) => Err(error.clone()),
            Some(_) => trouble.take().map_or(Ok(()), Err),
        }
    }

    pub fn memory_stats(&self) -> (u64, u64, u64, u64, u64) {
        let pool = lock(&self.pool);
        let allocated = pool.allocated + self.staging_allocated.load(Ordering::Relaxed);
        let pipelines = self.pipelines.created();
        (pipelines, allocated, pool.in_use, pool.pooled, pool.peak)
    }

    pub fn room(&self, bytes: u64) -> (bool, u64, u64) {
        let pool = lock(&self.pool);
        (pool.has_room(bytes), pool.in_use, pool.limit)
    }

    /// A buffer of a size class, from the pool or new.
    pub fn take(&self, device: &Device, class: usize) -> Result<(u64, wgpu::Buffer)> {
        self.healthy()?;
        let mut pool = lock(&self.pool);
        if let Some(buffer) = pool.take(class) {
            return Ok(buffer);
        }
        if !pool.has_room(class as u64) {
            return Err(device.out_of_memory(class as u64, pool.in_use, pool.limit));
        }
        for (_, released) in pool.make_room(class) {
            released.destroy();
        }
        let desc = wgpu::BufferDescriptor {
            label: None,
            size: class as u64,
            usage: storage_usage(),
            mapped_at_creation: false,
        };
        match self.create_buffer(&desc) {
            Some(buffer) => {
                pool.added(class);
                Ok((NEXT_ALLOCATION.fetch_add(1, Ordering::Relaxed), buffer))
            }
            None => Err(device.out_of_memory(class as u64, pool.in_use, pool.limit)),
        }
    }

    /// A new buffer, or `None` when the adapter has no room.
    fn create_buffer(&self, desc: &wgpu::BufferDescriptor<'_>) -> Option<wgpu::Buffer> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let buffer = self.device.create_buffer(desc);
            pollster::block_on(scope.pop()).is_none().then_some(buffer)
        }
        // A browser answers only later; what it refuses surfaces as trouble of the device.
        #[cfg(target_arch = "wasm32")]
        Some(self.device.create_buffer(desc))
    }

    /// Takes a buffer back. Released ones are destroyed, so that bind groups in caches keep no memory.
    pub fn give(&self, class: usize, id: u64, buffer: wgpu::Buffer) {
        for (_, released) in lock(&self.pool).give(class, (id, buffer)) {
            released.destroy();
        }
    }

    /// Writes bytes, before whatever is submitted next.
    pub fn write(&self, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<()> {
        self.healthy()?;
        let whole = bytes.len() / 4 * 4;
        self.queue.write_buffer(buffer, 0, &bytes[..whole]);
        if whole < bytes.len() {
            let mut word = [0u8; 4];
            word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.queue.write_buffer(buffer, whole as u64, &word);
        }
        Ok(())
    }

    /// Whether the device works on its own while the host goes on.
    pub fn runs_beside(&self) -> bool {
        !self.emulated
    }

    /// Hands the first commands of a submission to the queue; more follow.
    pub fn begin(&self, commands: wgpu::CommandBuffer) {
        self.queue.submit([commands]);
    }

    /// Hands commands to the queue, waiting while too many are on their way.
    pub fn submit(&self, commands: wgpu::CommandBuffer) -> Result<wgpu::SubmissionIndex> {
        let index = self.queue.submit([commands]);
        #[cfg(not(target_arch = "wasm32"))]
        if self.emulated {
            crate::leave::wait_at_end_of_thread(&self.device);
        }
        let mut in_flight = lock(&self.in_flight);
        in_flight.push_back(index.clone());
        if in_flight.len() > IN_FLIGHT_MAX
            && let Some(oldest) = in_flight.pop_front()
        {
            drop(in_flight);
            self.wait(oldest)?;
        }
        Ok(index)
    }

    fn wait(&self, index: wgpu::SubmissionIndex) -> Result<()> {
        if cfg!(not(target_arch = "wasm32")) {
            let wait = wgpu::PollType::Wait { submission_index: Some(index), timeout: None };
            self.device.poll(wait).map_err(|e| self.lost(&e.to_string()))?;
        }
        self.healthy()
    }

    fn lost(&self, reason: &str) -> Error {
        match self.healthy() {
            Err(error) => error,
            Ok(()) => Error::DeviceLost { device: "adapter".into(), reason: reason.into() },
        }
    }

    pub fn synchronize(&self) -> Result<()> {
        let newest = lock(&self.in_flight).back().cloned();
        newest.map_or(Ok(()), |index| self.wait(index))?;
        self.healthy()
    }

    /// Copies a buffer to the host, with whatever fault was reported before.
    pub async fn read(&self, device: &Device, buffer: &wgpu::Buffer, bytes: usize) -> Result<Vec<u8>> {
        self.healthy()?;
        let padded = (bytes as u64).next_multiple_of(4);
        let staging = self.staging(padded + FAULT_BYTES);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        if padded > 0 {
            encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, padded);
        }
        encoder.copy_buffer_to_buffer(&self.fault, 0, &staging, padded, FAULT_BYTES);
        let index = self.submit(encoder.finish())?;
        let range = 0..padded + FAULT_BYTES;
        let mapped = Mapping::start(&staging, range.clone());
        self.wait(index)?;
        mapped.await.map_err(|e| self.lost(&e.to_string()))?;
        let view = staging.get_mapped_range(range).map_err(|e| self.lost(&e.to_string()))?;
        let out = view[..bytes].to_vec();
        let fault: [u32; 2] = bytemuck::pod_read_unaligned(&view[padded as usize..padded as usize + 8]);
        drop(view);
        staging.unmap();
        lock(&self.staging).push(staging);
        if fault[0] != 0 {
            self.queue.write_buffer(&self.fault, 0, &[0; FAULT_BYTES as usize]);
            return Err(device.fault(fault[0], fault[1] as i32));
        }
        Ok(out)
    }

    /// A buffer the host can map: the smallest kept one that is large enough, else a new one.
    fn staging(&self, bytes: u64) -> wgpu::Buffer {
        let mut kept = lock(&self.staging);
        let fits = |b: &wgpu::Buffer| b.size() >= bytes && b.size() <= (4 * bytes).max(64 << 10);
        let best = (0..kept.len()).filter(|&k| fits(&kept[k])).min_by_key(|&k| kept[k].size());
        if let Some(k) = best {
            return kept.swap_remove(k);
        }
        if kept.len() >= 16 {
            kept.remove(0).destroy();
        }
        self.staging_allocated.fetch_add(1, Ordering::Relaxed);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: Pool::<()>::class(bytes as usize) as u64,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }
}

fn storage_usage() -> wgpu::BufferUsages {
    wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST
}

pub(crate) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A map request on its way.
struct Mapping(Arc<Mutex<MappingState>>);

#[derive(Default)]
struct MappingState {
    done: Option<std::result::Result<(), wgpu::BufferAsyncError>>,
    waker: Option<Waker>,
}

impl Mapping {
    fn start(buffer: &wgpu::Buffer, range: std::ops::Range<u64>) -> Mapping {
        let state: Arc<Mutex<MappingState>> = Arc::default();
        let told = state.clone();
        buffer.map_async(wgpu::MapMode::Read, range, move |result| {
            let mut state = lock(&told);
            state.done = Some(result);
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        });
        Mapping(state)
    }
}

impl Future for Mapping {
    type Output = std::result::Result<(), wgpu::BufferAsyncError>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.0);
        match state.done.take() {
            Some(result) => Poll::Ready(result),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
