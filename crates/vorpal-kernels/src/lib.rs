//! Kernels of Vorpal: WGSL, launch geometry and a native CPU body for each.

mod arguments;
mod attention;
mod chain;
mod checked;
mod contraction;
mod conv;
pub mod elementary;
mod emit;
mod fft;
mod fold;
mod gather;
mod gemm;
mod interp;
mod join;
mod kernel;
mod lane;
mod linalg;
mod matmul;
mod parts;
mod philox;
mod pointwise;
mod pool;
mod program;
mod quads;
mod row;
mod scan;
mod scatter_add;
mod scratch;
mod search_sorted;
mod segment;
mod sort;
mod standardize;
mod starts;
mod stream;
mod subgroup_tile;
mod tape;
mod wgsl;

pub use attention::{
    ATTENTION_COLUMNS_MAX, Attention, AttentionCooperative, AttentionDropout, AttentionPass, AttentionRules,
    AttentionShape,
};
pub use checked::{Checked, Promise};
pub use conv::{CONV_TERMS_MAX, Conv, ConvPass, ConvShape};
pub use emit::{EpilogueText, SCALARS_MAX, emit_epilogue};
pub use fft::{FFT_LEN_MAX, Fft, UnitRoots};
pub use gather::{Gather, GatherShape};
pub use interp::among_workers;
pub use join::{Join, Joined};
pub use kernel::{Abilities, Access, Arg, Cost, CpuArg, CpuRun, Kernel, LaidOut, Part, Stretch, spread};
pub use lane::{Lane, LaneElement, LaneMut, Lanes, map1, map2, map3};
pub use linalg::{Cholesky, Lu, MatrixShape, QrFactor, QrForm, Real, TriangularSolve};
pub use matmul::{MATMUL_HALVES_K_MAX, MATMUL_K_MAX, MatMul, Variant};
pub use philox::{philox_word, philox_words, philox4x32};
pub use pointwise::Pointwise;
pub use pool::{POOL_WINDOW_MAX, Pool, PoolPass, PoolShape};
pub use program::{Domain, Epilogue, Inst, Program, ReduceKind, ResultType, ScalarFn, Store, ValueId};
pub use row::Row;
pub use scan::{Scan, ScanPass, ScanRule};
pub use scatter_add::{SCATTER_LEN_MAX, ScatterAdd};
pub use search_sorted::SearchSorted;
pub use segment::{Segment, SegmentPass};
pub use sort::{SORT_TILE_LEN, Sort, SortPass};
pub use starts::{Rebased, START_BYTES, Starts};
pub use vorpal_shaders as shaders;
pub use wgsl::Wgsl;
