//! Where random tensors get their keys: a seed and a counter per device.

use std::sync::{Mutex, PoisonError};

/// A seed and how many keys were drawn from it. Saved with a checkpoint, it continues the same stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RngState {
    /// The seed.
    pub seed: u64,
    /// Keys drawn so far.
    pub counter: u64,
}

/// The key source of a device.
#[derive(Debug)]
pub(crate) struct Rng(Mutex<RngState>);

impl Rng {
    pub fn new() -> Rng {
        Rng(Mutex::new(RngState { seed: 0, counter: 0 }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, RngState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn state(&self) -> RngState {
        *self.lock()
    }

    pub fn set(&self, state: RngState) {
        *self.lock() = state;
    }

    /// Low and high word of the seed, then of the counter, which moves on.
    pub fn next_key(&self) -> [u32; 4] {
        let mut state = self.lock();
        let RngState { seed, counter } = *state;
        state.counter = counter.wrapping_add(1);
        [seed as u32, (seed >> 32) as u32, counter as u32, (counter >> 32) as u32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_from_the_state() {
        let rng = Rng::new();
        rng.set(RngState { seed: 7 << 32 | 5, counter: u64::from(u32::MAX) });
        assert_eq!(rng.next_key(), [5, 7, u32::MAX, 0]);
        assert_eq!(rng.next_key(), [5, 7, 0, 1]);
        assert_eq!(rng.state().counter, (1 << 32) + 1);
    }
}
