//! From a graph to a plan.

pub mod fuse;
pub mod ir;
