//! Kernels of Vorpal: WGSL, launch geometry and a native CPU body for each.

mod kernel;
mod lane;
mod philox;
mod program;

pub use kernel::{Access, Arg, Cost, CpuArg, CpuRun, Kernel, spread};
pub use lane::{Lane, LaneElement, Lanes, map1, map2, map3};
pub use philox::{philox_word, philox4x32};
pub use program::{Domain, Epilogue, Inst, Program, ReduceKind, ResultType, ScalarFn, Store, ValueId};
