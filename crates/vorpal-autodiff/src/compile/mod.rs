//! From a graph to a plan.

pub mod ir;
