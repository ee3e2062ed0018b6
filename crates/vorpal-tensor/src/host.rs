//! Memory of the native CPU device.

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Error, Result};

/// Words of a line of the caches, which is as much as the widest vectors hold: those of a block that starts elsewhere would
/// lie in two lines each, and take twice as long to write.
const LINE: usize = 8;

/// A block of host memory, aligned for every element type and to lines of the caches.
#[derive(Debug)]
pub(crate) struct HostBlock {
    words: RwLock<Vec<u64>>,
    /// Words in front of the first line.
    start: usize,
}

impl HostBlock {
    /// A zeroed block, or `None` when the system has no room.
    pub fn allocate(bytes: usize) -> Option<HostBlock> {
        let words = bytes.div_ceil(8) + LINE - 1;
        let mut block: Vec<u64> = Vec::new();
        block.try_reserve_exact(words).ok()?;
        let start = block.as_ptr().align_offset(8 * LINE).min(LINE - 1);
        block.resize(words, 0);
        Some(HostBlock { words: RwLock::new(block), start })
    }

    /// The first `bytes` bytes to read; waits for whoever writes them.
    pub fn read(&self, bytes: usize) -> Result<ReadGuard<'_>> {
        let guard = self.words.read().map_err(|_| poisoned())?;
        Ok(ReadGuard { guard, start: self.start, bytes })
    }

    /// The first `bytes` bytes to write; waits for whoever uses them.
    pub fn write(&self, bytes: usize) -> Result<WriteGuard<'_>> {
        let guard = self.words.write().map_err(|_| poisoned())?;
        Ok(WriteGuard { guard, start: self.start, bytes })
    }
}

fn poisoned() -> Error {
    Error::internal("host memory", "a kernel panicked while it wrote this buffer")
}

/// Bytes of a buffer on the native CPU, to read.
#[derive(Debug)]
pub struct ReadGuard<'a> {
    guard: RwLockReadGuard<'a, Vec<u64>>,
    start: usize,
    bytes: usize,
}

impl std::ops::Deref for ReadGuard<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.guard[self.start..])[..self.bytes]
    }
}

/// Bytes of a buffer on the native CPU, to write.
#[derive(Debug)]
pub struct WriteGuard<'a> {
    guard: RwLockWriteGuard<'a, Vec<u64>>,
    start: usize,
    bytes: usize,
}

impl std::ops::Deref for WriteGuard<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.guard[self.start..])[..self.bytes]
    }
}

impl std::ops::DerefMut for WriteGuard<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.guard[self.start..])[..self.bytes]
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
    fn blocks_start_where_lines_do() {
        for bytes in [0, 1, 64, 1000, 1 << 20] {
            let block = HostBlock::allocate(bytes).expect("little memory");
            assert_eq!(block.read(bytes).expect("nobody panicked").as_ptr().align_offset(64), 0, "{bytes}");
            assert_eq!(block.write(bytes).expect("nobody panicked").len(), bytes);
        }
    }

    #[test]
    fn the_impossible_is_refused() {
        assert!(HostBlock::allocate(usize::MAX).is_none());
    }
}
