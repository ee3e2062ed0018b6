//! Models that keep a symmetry of their inputs.
//!
//! | model | answers the same, or turned along, when |
//! |---|---|
//! | [`P4mCnn`] of [`P4mConv`] | an image is turned by quarters or mirrored |
//! | [`Egnn`] | points in space are turned, mirrored, moved or renumbered |
//! | [`PointNet`] | points are renumbered |

mod egnn;
mod group_conv;
mod point_net;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;

pub use egnn::{Egnn, EgnnLayer, EgnnOptions};
pub use group_conv::{P4mCnn, P4mConv};
pub use point_net::{PointNet, PointNetOptions, TransformNet};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
