//! Devices, buffers, dtypes, shapes and layouts of Vorpal.

mod dtype;
mod error;
mod layout;
mod shape;

pub use dtype::{DType, Element};
pub use error::{At, Error, Result};
pub use layout::{Layout, Strides};
pub use shape::Shape;
