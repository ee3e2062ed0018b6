//! Generative models: what data could be.

mod ddpm;
mod dit;
mod ebm;
mod flow_matching;
mod gan;
mod pixel_cnn;
mod real_nvp;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;
mod time;
mod time_unet;
mod vae;
mod vq_vae;

use vorpal_nn::Tensor;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;

pub use ddpm::{Ddpm, Denoiser};
pub use dit::{Dit, DitOptions};
pub use ebm::Ebm;
pub use flow_matching::FlowMatching;
pub use gan::{Dcgan, Discriminator, Generator, WganGp};
pub use pixel_cnn::{MaskedConv2d, PixelCnn};
pub use real_nvp::{Coupling, RealNvp};
pub use time_unet::{TimeBlock, TimeUNet};
pub use vae::{Vae, VaeOptions};
pub use vq_vae::{VectorQuantizer, VqVae, VqVaeOptions};

/// Standard normal numbers in the shape of `x`, from the stream of its device.
#[track_caller]
fn normal_like(x: &Tensor) -> Tensor {
    x.device().map_or_else(Tensor::error, |device| Tensor::randn(x.shape(), x.dtype(), &device))
}

/// The number of examples in `x`, its first axis.
fn examples(x: &Tensor) -> usize {
    x.shape().first().copied().unwrap_or(1)
}

/// A number for each example, `[n]`, in a shape that broadcasts to `x`: `[n, 1, …]`.
#[track_caller]
fn beside(number: &Tensor, x: &Tensor) -> Tensor {
    let mut shape = vec![1; x.rank().max(1)];
    shape[0] = examples(number);
    number.reshape(shape)
}
