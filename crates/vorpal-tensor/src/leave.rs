//! Waiting for an emulated adapter, and for whatever compiles for it, before its process ends.
//!
//! A software adapter works on threads of this very process, and compiles shaders there. Should the process end
//! meanwhile, the C++ libraries of the driver are taken down under these threads, and what was a finished program dies
//! of a segmentation fault. So a thread that gave such an adapter work waits for it when it ends; the main thread is
//! the last one to.

use std::cell::RefCell;

use crate::warm::Warmers;

thread_local! {
    static USED: RefCell<Used> = const { RefCell::new(Used(Vec::new())) };
    static WARMERS: RefCell<Vec<Warmers>> = const { RefCell::new(Vec::new()) };
}

/// Devices that a thread has given work.
struct Used(Vec<wgpu::Device>);

impl Drop for Used {
    fn drop(&mut self) {
        for device in &self.0 {
            // A device that is lost does nothing any more.
            let _ = device.poll(wgpu::PollType::wait_indefinitely());
        }
    }
}

/// Notes that this thread gave a device work, to be waited for at its end.
pub(crate) fn wait_at_end_of_thread(device: &wgpu::Device) {
    // Fails only where the thread is ending already.
    let _ = USED.try_with(|used| {
        let Used(devices) = &mut *used.borrow_mut();
        if !devices.contains(device) {
            devices.push(device.clone());
        }
    });
}

/// Has threads that compile for an adapter stop at the end of this one.
pub(crate) fn stop_at_end_of_thread(warmers: Warmers) {
    // Fails only where the thread is ending already: then the threads end here.
    let _ = WARMERS.try_with(|all| {
        let mut all = all.borrow_mut();
        all.retain(|warmers| !warmers.finished());
        all.push(warmers);
    });
}
