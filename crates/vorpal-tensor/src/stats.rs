//! Counters of a device.

/// What a device has done so far, and the memory it holds. Subtract two to see what happened between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Compute pipelines compiled.
    pub pipelines_created: u64,
    /// Blocks of memory allocated; a request that the pool serves is none.
    pub buffers_allocated: u64,
    /// Plans handed to the queue (on the native CPU: run).
    pub submits: u64,
    /// Copies from the device to the host.
    pub readbacks: u64,
    /// Plans compiled.
    pub plans_compiled: u64,
    /// Bytes in use now.
    pub bytes_in_use: u64,
    /// Bytes free in the pool now.
    pub bytes_pooled: u64,
    /// Most bytes in use at any time.
    pub peak_bytes: u64,
}

impl std::ops::Sub for Stats {
    type Output = Stats;

    /// Differences of the counters; the bytes are those of `self`.
    fn sub(self, earlier: Stats) -> Stats {
        Stats {
            pipelines_created: self.pipelines_created - earlier.pipelines_created,
            buffers_allocated: self.buffers_allocated - earlier.buffers_allocated,
            submits: self.submits - earlier.submits,
            readbacks: self.readbacks - earlier.readbacks,
            plans_compiled: self.plans_compiled - earlier.plans_compiled,
            ..self
        }
    }
}
