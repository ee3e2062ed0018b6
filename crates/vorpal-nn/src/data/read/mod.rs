//! Files of data sets: pictures, tables, texts, tokens, sound.

mod cifar;
#[cfg(not(target_arch = "wasm32"))]
mod image;
mod image_bytes;
mod table;
mod tokens;
mod wav;

pub use cifar::Cifar;
#[cfg(not(target_arch = "wasm32"))]
pub use image::ImageFolder;
pub use image_bytes::image_from_bytes;
pub use table::Table;
#[cfg(not(target_arch = "wasm32"))]
pub use tokens::{TokenShards, read_lines};
pub use tokens::{TokenWidth, TokenWindows};
pub use wav::Wav;
