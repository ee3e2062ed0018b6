//! Memory of the native CPU device.

use std::ops::{Deref, DerefMut};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Error, Result};

/// Bytes of a line of the caches, which is as much as the widest vectors hold: those of a block that starts elsewhere would
/// lie in two lines each, and take twice as long to write.
const LINE: usize = 64;

/// A block of host memory, aligned for every element type and to lines of the caches.
#[derive(Debug)]
pub(crate) struct HostBlock(RwLock<Memory>);

#[derive(Debug)]
enum Memory {
    /// Of the allocator, and how many bytes come before the first line.
    Words(Vec<u64>, usize),
    /// In large pages.
    #[cfg(target_os = "linux")]
    Pages(crate::pages::Pages),
}

impl Memory {
    /// From the allocator, zeroed.
    fn words(bytes: usize) -> Option<Memory> {
        let words = bytes.div_ceil(8) + LINE / 8 - 1;
        let mut block: Vec<u64> = Vec::new();
        block.try_reserve_exact(words).ok()?;
        let start = block.as_ptr().cast::<u8>().align_offset(LINE).min(LINE - 8);
        block.resize(words, 0);
        Some(Memory::Words(block, start))
    }

    /// In large pages, zeroed, where the system has them.
    fn pages(bytes: usize) -> Option<Memory> {
        #[cfg(target_os = "linux")]
        return crate::pages::Pages::new(bytes).map(Memory::Pages);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = bytes;
            None
        }
    }
}

impl Deref for Memory {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Memory::Words(words, start) => &bytemuck::cast_slice(words)[*start..],
            #[cfg(target_os = "linux")]
            Memory::Pages(pages) => pages,
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Memory::Words(words, start) => &mut bytemuck::cast_slice_mut(words)[*start..],
            #[cfg(target_os = "linux")]
            Memory::Pages(pages) => pages,
        }
    }
}

impl HostBlock {
    /// A zeroed block, or `None` when the system has no room.
    pub fn allocate(bytes: usize) -> Option<HostBlock> {
        Memory::pages(bytes).or_else(|| Memory::words(bytes)).map(|memory| HostBlock(RwLock::new(memory)))
    }

    /// The first `bytes` bytes to read; waits for whoever writes them.
    pub fn read(&self, bytes: usize) -> Result<ReadGuard<'_>> {
        Ok(ReadGuard { guard: self.0.read().map_err(|_| poisoned())?, bytes })
    }

    /// The first `bytes` bytes to write; waits for whoever uses them.
    pub fn write(&self, bytes: usize) -> Result<WriteGuard<'_>> {
        Ok(WriteGuard { guard: self.0.write().map_err(|_| poisoned())?, bytes })
    }
}

fn poisoned() -> Error {
    Error::internal("host memory", "a kernel panicked while it wrote this buffer")
}

/// Bytes of a buffer on the native CPU, to read.
#[derive(Debug)]
pub struct ReadGuard<'a> {
    guard: RwLockReadGuard<'a, Memory>,
    bytes: usize,
}

impl Deref for ReadGuard<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.guard[..self.bytes]
    }
}

/// Bytes of a buffer on the native CPU, to write.
#[derive(Debug)]
pub struct WriteGuard<'a> {
    guard: RwLockWriteGuard<'a, Memory>,
    bytes: usize,
}

impl Deref for WriteGuard<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.guard[..self.bytes]
    }
}

impl DerefMut for WriteGuard<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.guard[..self.bytes]
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
    fn blocks_start_where_lines_do_and_are_zeroed() {
        // Some as long as several large pages, some a little longer.
        for bytes in [0, 1, 64, 1000, 1 << 20, 2 << 20, (4 << 20) + 13, 15 << 19, 9 << 20] {
            let block = HostBlock::allocate(bytes).expect("little memory");
            {
                let read = block.read(bytes).expect("nobody panicked");
                assert_eq!(read.as_ptr().align_offset(64), 0, "{bytes}");
                assert!(read.len() == bytes && read.iter().all(|&byte| byte == 0), "{bytes}");
            }
            let mut written = block.write(bytes).expect("nobody panicked");
            assert_eq!(written.len(), bytes);
            written.fill(7);
            drop(written);
            assert!(block.read(bytes).expect("nobody panicked").iter().all(|&byte| byte == 7), "{bytes}");
        }
    }

    #[test]
    fn the_impossible_is_refused() {
        for bytes in [usize::MAX, usize::MAX - (2 << 20), usize::MAX / 2] {
            assert!(HostBlock::allocate(bytes).is_none(), "{bytes}");
        }
    }
}
