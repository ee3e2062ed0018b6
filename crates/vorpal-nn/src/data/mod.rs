//! Reading data: data sets, the order in which they are visited, and batches made ahead of time.

mod array;
pub mod augment;
mod batches;
mod collate;
mod dataset;
mod digits;
mod idx;
mod loader;
mod read;
mod sampler;
#[cfg(not(target_arch = "wasm32"))]
mod workers;

pub use array::Array;
pub use batches::{BatchSampler, Batches, Buckets};
pub use collate::{Collate, Padded, PaddedBatch, Stack, Stacked};
pub use dataset::{Cached, Concat, Dataset, Map, Samples, Subset, TryMap, Zip};
pub use digits::{Digits, PIXELS};
pub use idx::{Idx, unzipped};
pub use loader::{DataLoader, DataLoaderBuilder, Epoch, LoaderStats, Position};
pub use read::{Cifar, Table, TokenWidth, TokenWindows, Wav, image_from_bytes};
#[cfg(not(target_arch = "wasm32"))]
pub use read::{ImageFolder, TokenShards, read_lines};
pub use sampler::{Distributed, Sampler, Sequential, Shuffled, SubsetSampler, Weighted, WithReplacement};
