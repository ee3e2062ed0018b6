//! Memory of the native CPU device.

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Error, Result};

/// A block of host memory, aligned for every element type.
#[derive(Debug)]
pub(crate) struct HostBlock(RwLock<Vec<u64>>);

impl HostBlock {
    /// A zeroed block, or `None` when the system has no room.
    pub fn allocate(bytes: usize) -> Option<HostBlock> {
        let words = bytes.div_ceil(8);
        let mut block = Vec::new();
        block.try_reserve_exact(words).ok()?;
        block.resize(words, 0);
        Some(HostBlock(RwLock::new(block)))
    }

    /// The first `bytes` bytes to read; waits for whoever writes them.
    pub fn read(&self, bytes: usize) -> Result<ReadGuard<'_>> {
        let guard = self.0.read().map_err(|_| poisoned())?;
        Ok(ReadGuard { guard, bytes })
    }

    /// The first `bytes` bytes to write; waits for whoever uses them.
    pub fn write(&self, bytes: usize) -> Result<WriteGuard<'_>> {
        let guard = self.0.write().map_err(|_| poisoned())?;
        Ok(WriteGuard { guard, bytes })
    }
}

fn poisoned() -> Error {
    Error::internal("host memory", "a kernel panicked while it wrote this buffer")
}

/// Bytes of a buffer on the native CPU, to read.
#[derive(Debug)]
pub struct ReadGuard<'a> {
    guard: RwLockReadGuard<'a, Vec<u64>>,
    bytes: usize,
}

impl std::ops::Deref for ReadGuard<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.guard)[..self.bytes]
    }
}

/// Bytes of a buffer on the native CPU, to write.
#[derive(Debug)]
pub struct WriteGuard<'a> {
    guard: RwLockWriteGuard<'a, Vec<u64>>,
    bytes: usize,
}

impl std::ops::Deref for WriteGuard<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.guard)[..self.bytes]
    }
}

impl std::ops::DerefMut for WriteGuard<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.guard)[..self.bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let block = HostBlock::allocate(13).expect("thirteen bytes");
        block.write(13).expect("nobody panicked").copy_from_slice(b"thirteen byte");
        assert_eq!(&*block.read(8).expect("nobody panicked"), b"thirteen");
    }

    #[test]
    fn the_impossible_is_refused() {
        assert!(HostBlock::allocate(usize::MAX).is_none());
    }
}
