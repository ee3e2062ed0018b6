//! Devices, buffers, dtypes, shapes and layouts of Vorpal.

mod adapter;
mod buffer;
mod device;
mod disk;
mod dtype;
mod error;
mod gpu;
mod host;
mod info;
mod layout;
#[cfg(not(target_arch = "wasm32"))]
mod leave;
mod memory_limit;
#[cfg(target_os = "linux")]
mod pages;
mod pipelines;
mod pool;
mod replay;
mod rng;
mod shape;
mod stats;
#[cfg(not(target_arch = "wasm32"))]
mod warm;

pub use buffer::Buffer;
pub use device::Device;
pub use disk::{cache_folder, read_cached, stable_hash, write_cached};
pub use dtype::{DType, Element};
pub use error::{At, Error, Fault, Result};
pub use host::{ReadGuard, WriteGuard};
pub use info::{DeviceInfo, DeviceKind, Limits};
pub use layout::{Layout, Strides};
pub use pipelines::{Binding, Pipeline, PipelineDesc};
pub use replay::{PARAMS_BYTES, Replay, Step};
pub use rng::{RngFork, RngState};
pub use shape::Shape;
pub use stats::Stats;
