//! Graph models: nodes, edges and whole graphs.

mod batch;
mod gat;
mod gcn;
mod gin;
mod mpnn;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;
mod transformer;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;

pub use batch::{Edges, Union};
pub use gat::{Gat, GatConv, GatOptions};
pub use gcn::{Gae, Gcn, GcnConv};
pub use gin::Gin;
pub use mpnn::Mpnn;
pub use transformer::{GraphTransformer, GraphTransformerOptions};
