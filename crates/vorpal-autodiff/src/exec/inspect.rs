//! The graph as people read it.

use vorpal_tensor::{At, Result};

use super::job::Job;
use super::unevaluated;
use crate::op::among;
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
    /// Numbers that stand among the operands, with their places there.
    pub numbers: Vec<(usize, f64)>,
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
            let tensors = self.inputs.iter().map(|i| format!("%{i}")).collect();
            write!(f, " of {}", among(tensors, &self.numbers))?;
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
/// let texts: Vec<String> = nodes.iter().map(ToString::to_string).collect();
/// assert_eq!(texts, ["given f32[2]", "add f32[2] of %0, 1", "exp f32[2] of %1"]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// An error that one of the tensors carries.
pub fn graph_nodes<T: Tensors + ?Sized>(what: &T) -> Result<Vec<GraphNode>> {
    let job = Job::collect(&unevaluated(what)?);
    let describe = |k: usize| {
        let node = &job.order[k];
        GraphNode {
            op: node.op.name(),
            spec: node.spec.clone(),
            inputs: job.inputs(k).to_vec(),
            numbers: node.op.numbers().into_vec(),
            at: node.at,
            is_given: job.is_given(k),
        }
    };
    Ok((0..job.order.len()).map(describe).collect())
}

/// A node of a graph whose value is not finite.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Debug)]
pub struct NonFinite {
    /// The node; its `inputs` are positions in the list of [`graph_nodes`].
    pub node: GraphNode,
    /// What its value has: `NaN` or `infinite`.
    pub what: &'static str,
}

/// The first op behind `what` that gives NaN; without any, the first one that gives an infinity. For a loss that went
/// wrong: every node is evaluated and kept, so that this takes the memory of all of them. Infinities that lead to no NaN
/// (masks of attention) are not blamed where there is a NaN.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, first_non_finite};
/// let x = Tensor::from_slice(&[1.0f32, 0.0], [2], &Device::cpu());
/// let found = first_non_finite(&(x.log() * &x).sum_all())?;
/// assert!(found.is_some_and(|f| f.what == "NaN" && f.node.op == "mul"));
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// As [`eval`](crate::eval).
#[cfg(not(target_arch = "wasm32"))]
pub fn first_non_finite<T: Tensors + ?Sized>(what: &T) -> Result<Option<NonFinite>> {
    let nodes = graph_nodes(what)?;
    let order = Job::collect(&unevaluated(what)?).order;
    let values: Vec<crate::Tensor> = order.into_iter().map(|node| crate::Tensor(Ok(node))).collect();
    let mut flags = Vec::new();
    for (k, value) in values.iter().enumerate().filter(|(_, value)| value.dtype().is_float()) {
        let count = |bad: crate::Tensor| bad.cast(vorpal_tensor::DType::I32).sum_all();
        flags.push((k, count(value.is_nan()), count(value.is_inf())));
    }
    let all: Vec<_> = flags.iter().map(|(_, nan, inf)| (nan, inf)).collect();
    crate::eval(&(&values, &all))?;
    for (what, is_nan) in [("NaN", true), ("infinite", false)] {
        for (k, nan, inf) in &flags {
            if (if is_nan { nan } else { inf }).item::<i32>()? > 0 {
                return Ok(Some(NonFinite { node: nodes[*k].clone(), what }));
            }
        }
    }
    Ok(None)
}
