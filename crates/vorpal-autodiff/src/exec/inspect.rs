//! The graph as people read it.

use vorpal_tensor::{At, Result};

use super::job::Job;
use super::unevaluated;
use crate::{Spec, Tensors};

/// One node of a graph that [`eval`](crate::eval) would compute.
#[derive(Clone, Debug)]
pub struct GraphNode {
    /// Name of the op.
    pub op: &'static str,
    /// Shape and dtype of the result.
    pub spec: Spec,
    /// Positions of its operands in the list.
    pub inputs: Vec<usize>,
    /// Where the op was called.
    pub at: At,
    /// Whether the value is there already.
    pub is_given: bool,
}

impl std::fmt::Display for GraphNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let op = if self.is_given { "given" } else { self.op };
        write!(f, "{op} {}", self.spec)?;
        if !self.inputs.is_empty() {
            let inputs: Vec<String> = self.inputs.iter().map(|i| format!("%{i}")).collect();
            write!(f, " of {}", inputs.join(", "))?;
        }
        Ok(())
    }
}

/// The nodes behind `what` that [`eval`](crate::eval) would look at, operands before what is made of them.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, graph_nodes};
/// let x = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu());
/// let nodes = graph_nodes(&(&x + 1.0).exp())?;
/// assert_eq!(nodes.last().map(|n| n.op), Some("exp"));
/// assert!(nodes[0].is_given);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// An error that one of the tensors carries.
pub fn graph_nodes<T: Tensors + ?Sized>(what: &T) -> Result<Vec<GraphNode>> {
    let job = Job::collect(&unevaluated(what)?);
    let describe = |k: usize| {
        let node = &job.order[k];
        let (inputs, is_given) = (job.inputs(k).to_vec(), job.is_given(k));
        GraphNode { op: node.op.name(), spec: node.spec.clone(), inputs, at: node.at, is_given }
    };
    Ok((0..job.order.len()).map(describe).collect())
}
