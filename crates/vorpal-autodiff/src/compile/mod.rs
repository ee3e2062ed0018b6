//! From a graph to a plan.

mod dag;
pub mod fuse;
pub mod ir;
mod layouts;
pub mod lifetimes;
pub mod lower;
pub mod memory;
mod parts;
pub mod plan;
pub mod reads;
pub mod schedule;
mod sink;
