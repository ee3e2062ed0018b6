//! The lazy tensor graph of Vorpal: ops, derivatives, compiler and executor.

pub mod compile;
mod display;
mod exec;
mod graph;
mod op;
pub mod ops;
mod precision;
mod transform;
mod tree;
#[cfg(not(target_arch = "wasm32"))]
mod tune;

pub use exec::{GraphNode, eval, graph_nodes, plan};
#[cfg(not(target_arch = "wasm32"))]
pub use exec::{LaunchTime, NonFinite, Profile, first_non_finite, profile};
pub use graph::Tensor;
pub use op::{Key, Misfit, Op, Spec, Vjp, Vmap};
pub use ops::pointwise::{Operand, PointwiseFn};
pub use ops::{Axes, CustomKernel};
pub use precision::Precision;
pub use transform::{
    BatchAxes, Policy, checkpoint, checkpoint_with, custom_jvp, custom_vjp, grad, hessian, hvp, jacfwd,
    jacrev, jvp, linearize, scan, scan_checkpointed, value_and_grad, vjp, vmap,
};
#[cfg(not(target_arch = "wasm32"))]
pub use transform::{FixedPointOptions, fixed_point};
pub use tree::{IntoTree, Tensors, Tree};
#[cfg(not(target_arch = "wasm32"))]
pub use tune::{Candidate, Choice, Finding, Outcome, Trial, Tuning, forget_tuning, tune};
pub use vorpal_kernels::philox_word;
pub use vorpal_tensor::{
    At, Buffer, DType, Device, DeviceInfo, DeviceKind, Element, Error, Result, Shape, Stats,
};
