//! Gated units: one half of an axis, times a function of the other half.

use vorpal_autodiff::{At, Tensor};

use super::{Layer, wrong};
use crate::Module;

/// The first half of an axis times `gate` of the second.
#[track_caller]
fn gated(op: &'static str, x: &Tensor, dim: isize, gate: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
    let at = At::caller();
    let axis = if dim < 0 { dim + x.rank() as isize } else { dim };
    let size = usize::try_from(axis).ok().and_then(|axis| x.shape().get(axis).copied());
    match size {
        Some(size) if size.is_multiple_of(2) => {
            x.narrow(dim, 0, size / 2) * gate(&x.narrow(dim, size / 2, size / 2))
        }
        _ => wrong::shape(op, format!("needs an axis {dim} of two halves"), &[x], at),
    }
}

macro_rules! gated_units {
    ($($(#[$doc:meta])* $name:ident $op:literal |$x:ident| $gate:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Module)]
        pub struct $name {
            /// The axis that is halved, the last by default.
            #[module(skip)]
            pub dim: isize,
        }

        impl Default for $name {
            fn default() -> $name {
                $name { dim: -1 }
            }
        }
        impl $name {
            /// The unit applied to a tensor, whose axis becomes half as long.
            #[track_caller]
            pub fn forward(&self, x: &Tensor) -> Tensor {
                gated($op, x, self.dim, |$x| $gate)
            }
        }
        layers!($name);
    )*};
}

gated_units! {
    /// a · sigmoid(b) of the halves a and b of an axis (Dauphin et al. 2017).
    ///
    /// ```
    /// use vorpal_nn::{Device, Glu, Tensor};
    /// let x = Tensor::from_slice(&[4.0f32, 0.0], [2], &Device::cpu());
    /// assert_eq!(Glu::default().forward(&x).to_vec::<f32>()?, [2.0]);
    /// # Ok::<(), vorpal_nn::Error>(())
    /// ```
    Glu "glu" |b| b.sigmoid();
    /// a · silu(b) of the halves a and b of an axis (Shazeer 2020).
    SwiGlu "swiglu" |b| b.silu();
    /// a · gelu(b) of the halves a and b of an axis (Shazeer 2020).
    GeGlu "geglu" |b| b.gelu();
    /// a · relu(b) of the halves a and b of an axis (Shazeer 2020).
    ReGlu "reglu" |b| b.relu();
}
