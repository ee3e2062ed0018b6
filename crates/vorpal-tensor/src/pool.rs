//! Free memory kept for the next request of the same size class.

use std::collections::BTreeMap;

/// Free blocks by size class, with the counters of a device's memory. `M` is host or adapter memory.
#[derive(Debug)]
pub(crate) struct Pool<M> {
    free: BTreeMap<usize, Vec<M>>,
    /// Bytes of blocks in use, by class size.
    pub in_use: u64,
    /// Bytes of free blocks.
    pub pooled: u64,
    /// Largest `in_use` so far.
    pub peak: u64,
    /// Blocks ever allocated.
    pub allocated: u64,
    /// Bytes that may be in use and free together.
    pub limit: u64,
}

/// Free bytes that are always worth keeping.
const KEEP_MIN: u64 = 64 << 20;

impl<M> Pool<M> {
    pub fn new(limit: u64) -> Pool<M> {
        Pool { free: BTreeMap::new(), in_use: 0, pooled: 0, peak: 0, allocated: 0, limit }
    }

    /// Size of the class that serves a request: multiples of 256 bytes up to 64 KiB, then eight
    /// classes to each power of two, so that at most an eighth is wasted.
    pub fn class(bytes: usize) -> usize {
        let bytes = bytes.max(1);
        if bytes <= 64 << 10 {
            return bytes.next_multiple_of(256);
        }
        let step = (bytes.next_power_of_two() >> 4).max(256);
        bytes.checked_next_multiple_of(step).unwrap_or(bytes)
    }

    /// A free block of the class, most recently used first.
    pub fn take(&mut self, class: usize) -> Option<M> {
        let block = self.free.get_mut(&class).and_then(Vec::pop)?;
        self.pooled -= class as u64;
        self.enter(class);
        Some(block)
    }

    /// Whether a new block fits beside what is in use, once free blocks are given up.
    pub fn has_room(&self, class: u64) -> bool {
        self.in_use.checked_add(class).is_some_and(|sum| sum <= self.limit)
    }

    /// Gives up free blocks, largest first, until a new one fits the limit.
    pub fn make_room(&mut self, class: usize) -> Vec<M> {
        let target = self.limit.saturating_sub(self.in_use).saturating_sub(class as u64);
        self.shrink(target)
    }

    /// Counts a new block that is now in use.
    pub fn added(&mut self, class: usize) {
        self.allocated += 1;
        self.enter(class);
    }

    fn enter(&mut self, class: usize) {
        self.in_use += class as u64;
        self.peak = self.peak.max(self.in_use);
    }

    /// Takes a block back; returns blocks to release because too many are free.
    pub fn give(&mut self, class: usize, block: M) -> Vec<M> {
        self.in_use -= class as u64;
        self.pooled += class as u64;
        self.free.entry(class).or_default().push(block);
        let keep = self.peak.max(KEEP_MIN);
        if self.pooled > keep { self.shrink(keep) } else { Vec::new() }
    }

    fn shrink(&mut self, target: u64) -> Vec<M> {
        let mut out = Vec::new();
        while self.pooled > target
            && let Some(mut entry) = self.free.last_entry()
        {
            match entry.get_mut().pop() {
                Some(block) => {
                    self.pooled -= *entry.key() as u64;
                    out.push(block);
                }
                None => {
                    entry.remove();
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_at_most_an_eighth() {
        for bytes in [0, 1, 255, 256, 257, 65_536, 65_537, 100_000, 1 << 20, (1 << 20) + 1, 123_456_789] {
            let class = Pool::<()>::class(bytes);
            assert!(class >= bytes && class.is_multiple_of(4));
            assert!(bytes < 4096 || (class - bytes) * 8 <= class + 8 * 256, "{bytes} → {class}");
            assert_eq!(Pool::<()>::class(class), class, "a class serves itself");
        }
    }

    #[test]
    fn blocks_come_back_and_the_limit_holds() {
        let mut pool = Pool::new(1024);
        assert!(pool.take(256).is_none());
        pool.added(256);
        assert!(pool.give(256, 'a').is_empty());
        assert_eq!((pool.in_use, pool.pooled, pool.peak), (0, 256, 256));
        assert_eq!(pool.take(256), Some('a'));
        assert!(pool.has_room(768) && !pool.has_room(769));
        pool.give(256, 'a');
        assert_eq!(pool.make_room(1024), ['a']);
        assert_eq!((pool.pooled, pool.allocated), (0, 1));
    }
}
