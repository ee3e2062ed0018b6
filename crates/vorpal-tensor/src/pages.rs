//! Host memory in large pages.
//!
//! In pages of 4 KiB a processor looks up where a page lies, and starts anew to notice what is read next, for every row of
//! 1,024 floats. Linux gives large pages to whoever asks unless it is told otherwise
//! (`/sys/kernel/mm/transparent_hugepage/enabled`).

use std::ops::{Deref, DerefMut, Range};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::{Advice, MmapMut};

/// Bytes of a large page.
const LARGE_PAGE: usize = 2 << 20;

/// Bytes of the slabs that shorter blocks are cut from. Pages that nothing was written to take no memory.
const SLAB: usize = 16 * LARGE_PAGE;

/// Bytes of the shortest block that is cut from a slab.
const LEAST: usize = 4 << 10;

/// Bytes behind a block of a slab: the same places of two neighbours do not fall on one place of the cache.
const GAP: usize = 64;

/// Bytes of slabs that no block holds, beyond a quarter of those that blocks hold, from which on no more slabs are made: what a
/// block leaves behind is not cut again.
const LEFT_MAX: usize = 2 * SLAB;

/// Bytes of slabs that are cut, and of blocks in them.
static MAPPED: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Whether the system has no large pages to ask for.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// The slab that is cut, and from where on.
static CURRENT: Mutex<Option<(Arc<Slab>, usize)>> = Mutex::new(None);

/// Memory of the system, zeroed. It goes back when it is cut no longer and the last block in it is gone.
#[derive(Debug)]
struct Slab {
    base: *mut u8,
    /// Where the first large page starts.
    start: usize,
    /// Bytes that are cut, none where all are one block.
    counted: usize,
    /// What `base` points to.
    _pages: MmapMut,
}

// SAFETY: `base` points to memory that `_pages` owns for as long as the slab is there. It is read and written through blocks
// alone, of which no two have a byte in common.
#[allow(unsafe_code)]
unsafe impl Send for Slab {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Slab {}

impl Slab {
    /// `bytes` bytes from where a large page starts; as many as fill such pages lie in them.
    fn new(bytes: usize, is_cut: bool) -> Option<Slab> {
        let mut pages = MmapMut::map_anon(bytes.checked_add(LARGE_PAGE)?).ok()?;
        let base = pages.as_mut_ptr();
        let start = base.align_offset(LARGE_PAGE);
        if start > LARGE_PAGE {
            return None;
        }
        let large = bytes / LARGE_PAGE * LARGE_PAGE;
        if !cfg!(miri) && pages.advise_range(Advice::HugePage, start, large).is_err() {
            REFUSED.store(true, Ordering::Relaxed);
            return None;
        }
        let counted = if is_cut { bytes } else { 0 };
        MAPPED.fetch_add(counted, Ordering::Relaxed);
        Some(Slab { base, start, counted, _pages: pages })
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        MAPPED.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// Some bytes of a slab that are no other block's.
#[derive(Debug)]
pub(crate) struct Pages {
    slab: Arc<Slab>,
    range: Range<usize>,
}

impl Pages {
    /// Zeroed bytes; `None` where they are too few, or the system has no such pages.
    pub fn new(bytes: usize) -> Option<Pages> {
        if bytes < LEAST || REFUSED.load(Ordering::Relaxed) {
            return None;
        }
        if bytes < LARGE_PAGE {
            return Pages::cut(bytes);
        }
        let slab = Slab::new(bytes, false)?;
        let range = slab.start..slab.start + bytes;
        Some(Pages { slab: Arc::new(slab), range })
    }

    /// The next bytes of the slab that is cut, or the first of another.
    fn cut(bytes: usize) -> Option<Pages> {
        let length = bytes.next_multiple_of(GAP) + GAP;
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |(slab, next): &(Arc<Slab>, usize)| next + length <= slab.start + SLAB;
        if !current.as_ref().is_some_and(fits) {
            let live = LIVE.load(Ordering::Relaxed);
            if MAPPED.load(Ordering::Relaxed).saturating_sub(live) > LEFT_MAX + live / 4 {
                return None;
            }
            let slab = Slab::new(SLAB, true)?;
            let start = slab.start;
            *current = Some((Arc::new(slab), start));
        }
        let (slab, next) = current.as_mut()?;
        let range = *next..*next + bytes;
        *next += length;
        LIVE.fetch_add(bytes, Ordering::Relaxed);
        Some(Pages { slab: slab.clone(), range })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.slab.counted > 0 {
            LIVE.fetch_sub(self.range.len(), Ordering::Relaxed);
        }
    }
}

impl Deref for Pages {
    type Target = [u8];
    #[allow(unsafe_code)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes lie within the slab, which is there as long as this is, were zeroed by the system, and are this
        // block's alone, which is borrowed.
        unsafe { std::slice::from_raw_parts(self.slab.base.add(self.range.start), self.range.len()) }
    }
}

impl DerefMut for Pages {
    #[allow(unsafe_code)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; this block is borrowed to be written.
        unsafe { std::slice::from_raw_parts_mut(self.slab.base.add(self.range.start), self.range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_blocks_share_a_byte() {
        // Some in pages of their own, and many of which few fit a slab. They are taken in one test, as what is left of the blocks
        // of another may keep slabs from being made.
        let long = [LARGE_PAGE, 5 * LARGE_PAGE + 13].into_iter().chain([LARGE_PAGE - 1; 40]);
        let sizes = (0..200).map(|k| LEAST + 977 * k * (k % 7)).chain(long);
        // A system without large pages gives none.
        let mut blocks: Vec<Pages> = sizes.filter_map(Pages::new).collect();
        assert!(blocks.len() == 242 || REFUSED.load(Ordering::Relaxed));
        let within = |block: &Pages| block.slab.counted == 0 || block.range.end <= block.slab.start + SLAB;
        assert!(blocks.iter().all(within));
        assert!(blocks.iter().all(|block| block.as_ptr().align_offset(GAP) == 0));
        std::thread::scope(|scope| {
            for (k, block) in blocks.iter_mut().enumerate() {
                scope.spawn(move || {
                    assert!(block.iter().all(|&byte| byte == 0), "block {k} is not zeroed");
                    block.fill(k as u8);
                });
            }
        });
        // The others stay when some go.
        let rest: Vec<(usize, Pages)> = blocks.into_iter().enumerate().filter(|(k, _)| k % 3 != 0).collect();
        for (k, block) in &rest {
            assert!(block.iter().all(|&byte| byte == *k as u8), "block {k}");
        }
    }

    #[test]
    fn few_bytes_and_far_too_many_are_refused() {
        for bytes in [0, LEAST - 1, usize::MAX, usize::MAX - LARGE_PAGE] {
            assert!(Pages::new(bytes).is_none(), "{bytes}");
        }
    }

    #[test]
    fn long_blocks_start_where_large_pages_do() {
        for bytes in [LARGE_PAGE, 3 * LARGE_PAGE + 5, 4 * LARGE_PAGE - 5, 16 * LARGE_PAGE + 1] {
            let Some(block) = Pages::new(bytes) else {
                assert!(REFUSED.load(Ordering::Relaxed));
                return;
            };
            assert_eq!((block.as_ptr().align_offset(LARGE_PAGE), block.len()), (0, bytes));
        }
    }
}
