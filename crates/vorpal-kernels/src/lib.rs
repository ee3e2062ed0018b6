//! Kernels of Vorpal: WGSL, launch geometry and a native CPU body for each.

mod kernel;
mod lane;
mod program;

pub use kernel::{Access, Arg, Cost, CpuArg, CpuRun, Kernel, spread};
pub use lane::{Lane, LaneElement, Lanes, map1, map2, map3};
pub use program::{Domain, Epilogue, Inst, Program, ReduceKind, ResultType, ScalarFn, Store, ValueId};
