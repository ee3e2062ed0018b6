//! Arrays from other programs: NumPy's files, PyTorch's files, `ndarray`.

mod layout;
#[cfg(feature = "ndarray")]
mod ndarray;
mod npy;
mod npz;
mod pickle;
mod pt;

pub use npy::{load_npy, npy_from_bytes, npy_to_bytes};
pub use npz::{npz_from_bytes, npz_to_bytes};
pub use pt::{PtValue, pt_from_bytes};

#[cfg(not(target_arch = "wasm32"))]
pub use npy::save_npy;
#[cfg(not(target_arch = "wasm32"))]
pub use npz::{load_npz, save_npz};
#[cfg(not(target_arch = "wasm32"))]
pub use pt::{load_pt, load_state_dict};
