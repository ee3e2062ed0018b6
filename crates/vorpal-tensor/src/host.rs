//! Memory of the native CPU device.

use std::ops::{Deref, DerefMut};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Error, Result};

/// Bytes of a line of the caches, which is as much as the widest vectors hold: those of a block that starts elsewhere would
/// lie in two lines each, and take twice as long to write.
const LINE: usize = 64;

/// Bytes of a large page. In small ones of 4 KiB a processor looks up where a page lies, and starts anew to notice what is read
/// next, for every row of 1,024 floats.
#[cfg(all(target_os = "linux", not(miri)))]
const LARGE_PAGE: usize = 2 << 20;

/// The part of a block that may be wasted behind it: one in so many.
#[cfg(all(target_os = "linux", not(miri)))]
const WASTE: usize = 16;

/// A block of host memory, aligned for every element type and to lines of the caches.
#[derive(Debug)]
pub(crate) struct HostBlock(RwLock<Memory>);

/// Bytes that may start after those of an allocation.
#[derive(Debug)]
struct Memory {
    owned: Owned,
    start: usize,
}

#[derive(Debug)]
enum Owned {
    /// Of the allocator.
    Words(Vec<u64>),
    /// Of the system itself, which was asked for large pages.
    #[cfg(all(target_os = "linux", not(miri)))]
    Pages(memmap2::MmapMut),
}

impl Memory {
    /// From the allocator, zeroed.
    fn words(bytes: usize) -> Option<Memory> {
        let words = bytes.div_ceil(8) + LINE / 8 - 1;
        let mut block: Vec<u64> = Vec::new();
        block.try_reserve_exact(words).ok()?;
        let start = block.as_ptr().cast::<u8>().align_offset(LINE).min(LINE - 8);
        block.resize(words, 0);
        Some(Memory { owned: Owned::Words(block), start })
    }

    /// In large pages, zeroed when they are first touched, where a block is as long as one and the system has them: Linux gives
    /// them to whoever asks unless it is told otherwise (`/sys/kernel/mm/transparent_hugepage/enabled`).
    #[cfg(all(target_os = "linux", not(miri)))]
    fn pages(bytes: usize) -> Option<Memory> {
        if bytes < LARGE_PAGE {
            return None;
        }
        let pages = memmap2::MmapMut::map_anon(bytes.checked_add(LARGE_PAGE)?).ok()?;
        let start = pages.as_ptr().align_offset(LARGE_PAGE);
        if start > LARGE_PAGE {
            return None;
        }
        // The last page is a large one, too, unless so much of it would be wasted that it matters.
        let (below, above) = (bytes / LARGE_PAGE * LARGE_PAGE, bytes.next_multiple_of(LARGE_PAGE));
        let length = if above - bytes <= bytes / WASTE { above } else { below };
        pages.advise_range(memmap2::Advice::HugePage, start, length).ok()?;
        Some(Memory { owned: Owned::Pages(pages), start })
    }

    /// None: the system has no such pages, or nobody to ask for them.
    #[cfg(not(all(target_os = "linux", not(miri))))]
    fn pages(_bytes: usize) -> Option<Memory> {
        None
    }
}

impl Deref for Memory {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let bytes = match &self.owned {
            Owned::Words(words) => bytemuck::cast_slice(words),
            #[cfg(all(target_os = "linux", not(miri)))]
            Owned::Pages(pages) => pages,
        };
        &bytes[self.start..]
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        let bytes = match &mut self.owned {
            Owned::Words(words) => bytemuck::cast_slice_mut(words),
            #[cfg(all(target_os = "linux", not(miri)))]
            Owned::Pages(pages) => pages,
        };
        &mut bytes[self.start..]
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
    #[cfg(all(target_os = "linux", not(miri)))]
    fn long_blocks_lie_in_pages_of_their_own() {
        let kind =
            |bytes| HostBlock::allocate(bytes).expect("little memory").0.into_inner().expect("unused").owned;
        assert!(matches!(kind(LARGE_PAGE - 1), Owned::Words(_)));
        let large = HostBlock::allocate(3 * LARGE_PAGE + 5).expect("little memory");
        assert_eq!(large.read(1).expect("nobody panicked").as_ptr().align_offset(LARGE_PAGE), 0);
    }

    #[test]
    fn the_impossible_is_refused() {
        for bytes in [usize::MAX, usize::MAX - (2 << 20), usize::MAX / 2] {
            assert!(HostBlock::allocate(bytes).is_none(), "{bytes}");
        }
    }
}
