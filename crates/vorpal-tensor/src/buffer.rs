//! Buffers: memory of a device that goes back to its pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::device::{Backend, NEXT_ALLOCATION, lock};
use crate::host::{HostBlock, ReadGuard, WriteGuard};
use crate::pool::Pool;
use crate::{Device, Error, Result};

/// A block of memory on a device. Clones share it; when the last one goes, it returns to the pool.
#[derive(Clone)]
pub struct Buffer(Arc<Block>);

struct Block {
    device: Device,
    bytes: usize,
    class: usize,
    id: u64,
    memory: Option<Memory>,
}

enum Memory {
    Host(HostBlock),
    Gpu(wgpu::Buffer),
}

impl Drop for Block {
    fn drop(&mut self) {
        match (&self.device.0.backend, self.memory.take()) {
            (Backend::Host(pool), Some(Memory::Host(block))) => {
                let released = lock(pool).give(self.class, (self.id, block));
                drop(released);
            }
            (Backend::Gpu(gpu), Some(Memory::Gpu(buffer))) => gpu.give(self.class, self.id, buffer),
            _ => {}
        }
    }
}

impl Buffer {
    pub(crate) fn allocate(device: &Device, bytes: usize) -> Result<Buffer> {
        let class = Pool::<()>::class(bytes);
        let (id, memory) = match &device.0.backend {
            Backend::Host(pool) => {
                let (id, block) = host_block(device, &mut lock(pool), class)?;
                (id, Memory::Host(block))
            }
            Backend::Gpu(gpu) => {
                let (id, buffer) = gpu.take(device, class)?;
                (id, Memory::Gpu(buffer))
            }
        };
        Ok(Buffer(Arc::new(Block { device: device.clone(), bytes, class, id, memory: Some(memory) })))
    }

    /// Overwrites the content, or the beginning of it, before whatever runs next.
    ///
    /// # Errors
    /// What went wrong on the device before.
    pub fn fill(&self, bytes: &[u8]) -> Result<()> {
        match (&self.0.device.0.backend, &self.0.memory) {
            (Backend::Gpu(gpu), Some(Memory::Gpu(buffer))) => gpu.write(buffer, bytes),
            _ => {
                self.write()?[..bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// The device it lives on.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Bytes asked for.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// Number of the underlying allocation; stays the same when the pool hands it out again.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// How many handles share it.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    pub(crate) fn gpu(&self) -> Option<&wgpu::Buffer> {
        match &self.0.memory {
            Some(Memory::Gpu(buffer)) => Some(buffer),
            _ => None,
        }
    }

    fn host(&self) -> Result<&HostBlock> {
        match &self.0.memory {
            Some(Memory::Host(block)) => Ok(block),
            _ => Err(Error::internal("buffer", format!("memory of {} is not the host's", self.0.device))),
        }
    }

    /// The bytes to read in place; native CPU only.
    ///
    /// # Errors
    /// [`Error::Internal`] for a buffer of an adapter.
    pub fn read(&self) -> Result<ReadGuard<'_>> {
        self.host()?.read(self.0.bytes)
    }

    /// The bytes to write in place; native CPU only.
    ///
    /// # Errors
    /// [`Error::Internal`] for a buffer of an adapter.
    pub fn write(&self) -> Result<WriteGuard<'_>> {
        self.host()?.write(self.0.bytes)
    }

    /// Copies the content to the host, after all work handed to the device before.
    ///
    /// # Errors
    /// An index out of range that a kernel reported ([`Error::Index`]), or what went wrong on the device.
    pub async fn download_async(&self) -> Result<Vec<u8>> {
        self.0.device.0.readbacks.fetch_add(1, Ordering::Relaxed);
        match (&self.0.device.0.backend, &self.0.memory) {
            (Backend::Gpu(gpu), Some(Memory::Gpu(buffer))) => {
                gpu.read(&self.0.device, buffer, self.0.bytes).await
            }
            _ => Ok(self.read()?.to_vec()),
        }
    }

    /// As [`download_async`](Buffer::download_async), waiting for the device.
    ///
    /// # Errors
    /// As [`download_async`](Buffer::download_async).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn download(&self) -> Result<Vec<u8>> {
        pollster::block_on(self.download_async())
    }
}

fn host_block(device: &Device, pool: &mut Pool<(u64, HostBlock)>, class: usize) -> Result<(u64, HostBlock)> {
    if let Some(block) = pool.take(class) {
        return Ok(block);
    }
    let refused = |pool: &Pool<_>| device.out_of_memory(class as u64, pool.in_use, pool.limit);
    if !pool.has_room(class as u64) {
        return Err(refused(pool));
    }
    drop(pool.make_room(class));
    match HostBlock::allocate(class) {
        Some(block) => {
            pool.added(class);
            Ok((NEXT_ALLOCATION.fetch_add(1, Ordering::Relaxed), block))
        }
        None => Err(refused(pool)),
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer(#{}, {} bytes on {:?})", self.0.id, self.0.bytes, self.0.device)
    }
}
