//! Reading data.

mod digits;
mod idx;

pub use digits::{Digits, PIXELS};
pub use idx::Idx;
