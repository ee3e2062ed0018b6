//! Workloads Vorpal is measured by, and how they are measured.
//!
//! A [`Workload`] is one step of something users wait for: an op, or a step of a training. Every step ends when the
//! device has done its work. The same workloads are run on other frameworks by `benches/compare`.
//!
//! ```
//! use vorpal::Device;
//! let softmax = vorpal_benches::workload("softmax").expect("it is one of them");
//! let mut step = softmax.prepare(&Device::cpu())?;
//! step()?;
//! # Ok::<(), vorpal::Error>(())
//! ```

mod measure;
mod ops;
mod steps;

use vorpal::{Device, Result};

pub use measure::{Measurement, measure, peak_memory_bytes};

/// Does a workload once and waits for its end.
pub type Step = Box<dyn FnMut() -> Result<()>>;

/// Something to measure.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Short name, the same for every framework.
    pub name: &'static str,
    /// What it does, with shapes.
    pub what: &'static str,
    /// Multiplications and additions of the products in one step; 0 where there are none.
    pub flops: f64,
    /// Bytes that must be read and written in one step; 0 where the products count.
    pub bytes: f64,
    make: fn(&Device) -> Result<Step>,
}

impl Workload {
    /// Makes the operands on a device, and what does a step with them. The first step compiles what it needs.
    ///
    /// # Errors
    /// What the device gives.
    pub fn prepare(&self, device: &Device) -> Result<Step> {
        (self.make)(device)
    }
}

/// All workloads: ops first, then steps of trainings.
pub fn workloads() -> Vec<Workload> {
    [ops::OPS, steps::STEPS].concat()
}

/// The workload of a name.
pub fn workload(name: &str) -> Option<Workload> {
    workloads().into_iter().find(|w| w.name == name)
}
