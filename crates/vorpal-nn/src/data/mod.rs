//! Reading data.

mod batches;
mod digits;
mod idx;

pub use batches::Batches;
pub use digits::{Digits, PIXELS};
pub use idx::Idx;
