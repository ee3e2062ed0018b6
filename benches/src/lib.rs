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

use vorpal::autodiff::Tensors;
use vorpal::{Device, Result, Tensor, eval};

pub use measure::{Measurement, measure, peak_memory_bytes};

/// Does a workload once and waits for its end.
pub type Step = Box<dyn FnMut() -> Result<()>>;

/// Builds the graph of a step, without running it, and gives all that has to be evaluated together.
pub type Graph = Box<dyn FnMut() -> Result<Vec<Tensor>>>;

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
    make: fn(&Device) -> Result<Graph>,
}

impl Workload {
    /// Makes the operands on a device, and what builds the graph of a step with them. Every graph goes on from the
    /// results of the one before, so evaluate one before building the next.
    ///
    /// # Errors
    /// What the device gives.
    pub fn graph(&self, device: &Device) -> Result<Graph> {
        (self.make)(device)
    }

    /// Makes the operands on a device, and what does a step with them. The first step compiles what it needs. A step
    /// whose first result is one number, as a loss is, reads it back.
    ///
    /// # Errors
    /// What the device gives.
    pub fn prepare(&self, device: &Device) -> Result<Step> {
        let (mut graph, device) = (self.graph(device)?, device.clone());
        Ok(Box::new(move || {
            let results = graph()?;
            eval(&results)?;
            if let Some(number) = results.first().filter(|x| x.shape().numel() == 1) {
                number.item::<f32>()?;
            }
            device.synchronize()
        }))
    }
}

/// All tensors of a structure.
fn results(what: &impl Tensors) -> Vec<Tensor> {
    let mut out = Vec::new();
    what.visit(&mut |tensor| out.push(tensor.clone()));
    out
}

/// All workloads: ops first, then steps of trainings.
pub fn workloads() -> Vec<Workload> {
    [ops::OPS, steps::STEPS].concat()
}

/// Workloads for graphics cards, which take minutes elsewhere: to be asked for by name.
pub fn large_workloads() -> Vec<Workload> {
    [ops::LARGE, steps::LARGE].concat()
}

/// The workload of a name.
pub fn workload(name: &str) -> Option<Workload> {
    workloads().into_iter().chain(large_workloads()).find(|w| w.name == name)
}
