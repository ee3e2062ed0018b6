//! Transforms: from graph to graph, by the rules that ops bring along. They know no op by name, and they compose.

mod batch;
mod checkpoint;
mod custom;
mod forward;
#[cfg(not(target_arch = "wasm32"))]
mod implicit;
mod jacobian;
mod reverse;
mod scan;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::graph::{IdSet, Node};
use crate::ops::Variable;
use crate::{Tensor, Tree};

pub use batch::{BatchAxes, vmap};
pub use checkpoint::{Policy, checkpoint, checkpoint_with};
pub use custom::{custom_jvp, custom_vjp};
pub use forward::{jvp, linearize};
#[cfg(not(target_arch = "wasm32"))]
pub use implicit::{FixedPointOptions, fixed_point};
pub use jacobian::{hessian, hvp, jacfwd, jacrev};
pub use reverse::{grad, value_and_grad, vjp};
pub use scan::{scan, scan_checkpointed};

/// A differentiation that is open until dropped.
struct Trace(Arc<AtomicBool>);

impl Trace {
    fn open() -> Trace {
        Trace(Arc::new(AtomicBool::new(true)))
    }

    /// The same structure with variables in place of its tensors.
    fn variables<T: Tree>(&self, at: &T) -> T {
        at.map(&mut |t| t.variable(Variable, self.0.clone()))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The tensors of a structure in order.
fn leaves<T: Tree>(tree: &T) -> Vec<Tensor> {
    let mut out = Vec::new();
    let _ = tree.map(&mut |t| {
        out.push(t.clone());
        t.clone()
    });
    out
}

/// Nodes between some starting nodes and the roots, in topological order.
fn dependent(roots: &[Arc<Node>], starts: &IdSet) -> Vec<Arc<Node>> {
    let oldest = starts.iter().copied().min().unwrap_or(u64::MAX);
    let (mut seen, mut order, mut pending) = (IdSet::default(), Vec::new(), roots.to_vec());
    while let Some(node) = pending.pop() {
        if node.id >= oldest && seen.insert(node.id) {
            if !starts.contains(&node.id) {
                node.each_input(|input| pending.push(input.clone()));
            }
            order.push(node);
        }
    }
    order.sort_unstable_by_key(|n| n.id);
    let mut depends = IdSet::with_capacity_and_hasher(order.len(), Default::default());
    order.retain(|node| {
        let mut reaches = starts.contains(&node.id);
        node.each_input(|input| reaches |= depends.contains(&input.id));
        if reaches {
            depends.insert(node.id);
        }
        reaches
    });
    order
}
