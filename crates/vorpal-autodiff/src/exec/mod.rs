//! The executor: everything asked for in one call is one plan, compiled once and replayed.

mod inspect;
mod job;
#[cfg(not(target_arch = "wasm32"))]
mod matrices;
mod prepared;
#[cfg(not(target_arch = "wasm32"))]
mod profile;
mod read;

use std::sync::Arc;

use vorpal_tensor::{Device, Result};

use crate::Tensors;
use crate::compile::ir::Target;
use crate::compile::plan::Plan;
use crate::graph::{IdSet, Node};
pub use inspect::{GraphNode, graph_nodes};
#[cfg(not(target_arch = "wasm32"))]
pub use inspect::{NonFinite, first_non_finite};
use job::Job;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use prepared::replay;
#[cfg(not(target_arch = "wasm32"))]
pub use profile::{LaunchTime, Profile, profile};

/// Computes everything in `what` with one plan: one submit, whatever the number of tensors.
///
/// Evaluated tensors let go of the graph behind them.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, eval};
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &Device::cpu());
/// let (sum, exp) = (x.sum_all(), x.exp());
/// eval(&(&sum, &exp))?;
/// assert_eq!(sum.item::<f32>()?, 6.0);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// An error that one of the tensors carries, [`Error::Device`](vorpal_tensor::Error::Device) for tensors of two
/// devices, [`Error::OutOfMemory`](vorpal_tensor::Error::OutOfMemory) before anything runs, or what went wrong on the
/// device.
pub fn eval<T: Tensors + ?Sized>(what: &T) -> Result<()> {
    let run = |(device, roots): (Device, Vec<Arc<Node>>)| Job::collect(&roots).run(&device, None).map(drop);
    by_device(what)?.into_iter().try_for_each(run)
}

/// The plan that [`eval`] would make of `what` for a kind of device, without running it: which kernels, in which order,
/// with which shaders, over how much memory. Printed, it is a line a launch.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, plan, compile::ir::Target};
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [1, 3], &Device::cpu());
/// let softmax = plan(&x.softmax(-1), Target::CARD)?;
/// assert_eq!(softmax.launches.len(), 1);
/// println!("{softmax}");
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// An error that one of the tensors carries.
pub fn plan<T: Tensors + ?Sized>(what: &T, target: Target) -> Result<Plan> {
    Job::collect(&unevaluated(what)?).compile(target)
}

/// [`eval`] by the plan for another target than the device, such as a card's where there is none.
#[cfg(test)]
pub(crate) fn eval_as<T: Tensors + ?Sized>(what: &T, target: Target) -> Result<Vec<Plan>> {
    let run = |(device, roots): (Device, Vec<Arc<Node>>)| {
        let job = Job::collect(&roots);
        let prepared = prepared::Prepared::new(&device, &job, job.compile(target)?)?;
        job.run_prepared(&device, &prepared, None)?;
        Ok(prepared.plan)
    };
    by_device(what)?.into_iter().map(run).collect()
}

/// The plans that [`eval`] would make of `what`, device by device, before any tuning.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn plans<T: Tensors + ?Sized>(what: &T) -> Result<Vec<(Device, Plan)>> {
    let plan = |(device, roots): (Device, Vec<Arc<Node>>)| {
        let plan = compiled(&Job::collect(&roots), &device)?;
        Ok((device, plan))
    };
    by_device(what)?.into_iter().map(plan).collect()
}

/// The plan of a job for a device. That a card multiplies matrices right is seen before the first plan that counts on it.
fn compiled(job: &Job, device: &Device) -> Result<Plan> {
    let target = Target::of(device.info());
    let plan = job.compile(target)?;
    #[cfg(not(target_arch = "wasm32"))]
    if plan.launches.iter().any(|launch| launch.kernel.name().ends_with("_cooperative"))
        && !matrices::are_right(device)
    {
        let abilities = vorpal_kernels::Abilities { matrices: false, ..target.abilities };
        return job.compile(Target { abilities, ..target });
    }
    Ok(plan)
}

/// The nodes of `what` that have no value yet, each once.
fn unevaluated<T: Tensors + ?Sized>(what: &T) -> Result<Vec<Arc<Node>>> {
    let (mut roots, mut seen) = (Vec::new(), IdSet::default());
    let mut failed = None;
    what.visit(&mut |tensor| match tensor.ready() {
        Ok(node) => {
            if !node.is_evaluated() && seen.insert(node.id) {
                roots.push(node.clone());
            }
        }
        Err(error) => {
            failed.get_or_insert(error);
        }
    });
    failed.map_or(Ok(roots), Err)
}

/// The nodes of `what` that have no value yet, device by device.
fn by_device<T: Tensors + ?Sized>(what: &T) -> Result<Vec<(Device, Vec<Arc<Node>>)>> {
    let mut out: Vec<(Device, Vec<Arc<Node>>)> = Vec::new();
    for root in unevaluated(what)? {
        match out.iter_mut().find(|(device, _)| *device == root.device) {
            Some((_, list)) => list.push(root),
            None => out.push((root.device.clone(), vec![root])),
        }
    }
    Ok(out)
}
