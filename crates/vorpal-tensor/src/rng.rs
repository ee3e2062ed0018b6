//! Where random tensors get their keys: a seed and a counter per device, and streams that a thread
//! puts in place of it for a while.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use crate::Device;

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

    /// Changes or reads the stream that this thread draws from.
    fn with<R>(&self, f: impl FnOnce(&mut RngState) -> R) -> R {
        FORKS.with_borrow_mut(|forks| match forks.iter_mut().rev().find(|fork| std::ptr::eq(fork.of, self)) {
            Some(fork) => f(&mut fork.state),
            None => f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)),
        })
    }

    pub fn state(&self) -> RngState {
        self.with(|state| *state)
    }

    pub fn set(&self, new: RngState) {
        self.with(|state| *state = new);
    }

    /// Low and high word of the seed, then of the counter, which moves on.
    pub fn next_key(&self) -> [u32; 4] {
        let RngState { seed, counter } = self.with(|state| {
            let drawn = *state;
            state.counter = state.counter.wrapping_add(1);
            drawn
        });
        [seed as u32, (seed >> 32) as u32, counter as u32, (counter >> 32) as u32]
    }
}

/// A stream in place of a device's own.
struct Fork {
    /// The device's key source, by its address: the guard keeps it alive.
    of: *const Rng,
    /// Tells forks of one device apart.
    place: u64,
    state: RngState,
}

thread_local! {
    /// The forks that this thread holds, the youngest last.
    static FORKS: RefCell<Vec<Fork>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, its thread draws from a stream of its own; see [`Device::fork_rng`].
#[must_use = "the stream ends when this is dropped"]
#[derive(Debug)]
pub struct RngFork {
    device: Device,
    place: u64,
    /// It belongs to the thread that made it.
    thread: PhantomData<*const ()>,
}

impl RngFork {
    pub(crate) fn new(device: &Device, state: RngState) -> RngFork {
        let place = FORKS.with_borrow_mut(|forks| {
            let place = forks.last().map_or(0, |fork| fork.place + 1);
            forks.push(Fork { of: &device.0.rng, place, state });
            place
        });
        RngFork { device: device.clone(), place, thread: PhantomData }
    }
}

impl Drop for RngFork {
    fn drop(&mut self) {
        // A guard among a thread's own values may outlive the list of forks: then nothing is left to end.
        let _ = FORKS.try_with(|forks| {
            let of = &raw const self.device.0.rng;
            forks.borrow_mut().retain(|fork| fork.of != of || fork.place != self.place);
        });
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

    #[test]
    fn forks_end_in_any_order_and_leave_the_stream_alone() {
        let device = Device::new(crate::DeviceInfo::host(), |limit| {
            crate::device::Backend::Host(Mutex::new(crate::pool::Pool::new(limit)))
        });
        device.seed(1);
        let outer = device.fork_rng(2);
        assert_eq!(device.next_key(), [2, 0, 0, 0]);
        let inner = device.fork_rng(3);
        assert_eq!(device.next_key(), [3, 0, 0, 0]);
        std::thread::scope(|scope| {
            scope
                .spawn(|| assert_eq!(device.next_key(), [1, 0, 0, 0], "another thread has the device's own"));
        });
        drop(outer);
        assert_eq!(device.next_key(), [3, 0, 1, 0]);
        device.seed(4);
        assert_eq!(device.rng_state(), RngState { seed: 4, counter: 0 });
        drop(inner);
        assert_eq!(device.next_key(), [1, 0, 1, 0]);
    }
}
