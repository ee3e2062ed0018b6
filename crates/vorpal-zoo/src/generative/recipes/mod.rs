//! Trainings of generative models.

mod codes;
mod digits;
mod frechet;
mod plane;

use std::marker::PhantomData;

use vorpal_nn::trainer::Task;
use vorpal_nn::{Module, Tensor};

use crate::recipe::{Goal, Length, Recipe};

/// Batches of examples and labels, for models that say themselves how wrong they are, example by example.
struct Losses<M, F> {
    losses: F,
    model: PhantomData<fn(&M)>,
}

/// The task of a function from a model, examples and labels to losses.
fn losses<M: Module, F: Fn(&M, &Tensor, &Tensor) -> Tensor>(losses: F) -> Losses<M, F> {
    Losses { losses, model: PhantomData }
}

impl<M: Module, F: Fn(&M, &Tensor, &Tensor) -> Tensor> Task for Losses<M, F> {
    type Model = M;
    type Batch = (Tensor, Tensor);

    fn forward(&self, model: &M, (x, labels): &(Tensor, Tensor)) -> Tensor {
        (self.losses)(model, x, labels)
    }

    fn loss(&self, output: &Tensor, _: &(Tensor, Tensor)) -> Tensor {
        output.mean_all()
    }

    fn target(&self, (_, labels): &(Tensor, Tensor)) -> Tensor {
        labels.clone()
    }
}

const SMALL_DIGITS: &str = "10,000 MNIST digits that ship with the program, averaged to 14 × 14 pixels";

pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "vae",
        family: "generative",
        about: "a variational autoencoder of handwritten digits",
        data: "10,000 MNIST digits that ship with the program, pixels drawn by their grey in every step",
        length: Length::Epochs(40),
        batch: 64,
        rate: 3e-3,
        sizes: &[("width", 200), ("latent", 16)],
        goal: Goal::AtMost("test_loss", 115.0),
        body: digits::vae,
    },
    Recipe {
        name: "vq-vae",
        family: "generative",
        about: "VQ-VAE: digits as 49 entries of a table each, and a GPT-2 that writes new ones",
        data: "10,000 MNIST digits that ship with the program",
        length: Length::Epochs(10),
        batch: 64,
        rate: 2e-3,
        sizes: &[("width", 32), ("entries", 64), ("latent", 16), ("prior_epochs", 10), ("samples", 500)],
        goal: Goal::AtMost("frechet", 14.0),
        body: codes::vq_vae,
    },
    Recipe {
        name: "pixelcnn",
        family: "generative",
        about: "PixelCNN: digits pixel by pixel, by masked convolutions",
        data: "10,000 MNIST digits that ship with the program, averaged to 14 × 14 pixels, ink or paper",
        length: Length::Epochs(8),
        batch: 32,
        rate: 4e-3,
        sizes: &[("channels", 32), ("blocks", 4)],
        goal: Goal::AtMost("test_loss", 0.17),
        body: digits::pixel_cnn,
    },
    Recipe {
        name: "dcgan",
        family: "generative",
        about: "DCGAN: a generator and a discriminator of digits",
        data: SMALL_DIGITS,
        length: Length::Epochs(12),
        batch: 64,
        rate: 5e-4,
        sizes: &[("latent", 32), ("width", 32)],
        goal: Goal::AtMost("frechet", 12.0),
        body: digits::dcgan,
    },
    Recipe {
        name: "wgan-gp",
        family: "generative",
        about: "a Wasserstein GAN whose critic's gradients are held to 1",
        data: SMALL_DIGITS,
        length: Length::Epochs(12),
        batch: 64,
        rate: 1e-3,
        sizes: &[("latent", 32), ("width", 32)],
        goal: Goal::AtMost("frechet", 14.0),
        body: digits::wgan_gp,
    },
    Recipe {
        name: "ddpm",
        family: "generative",
        about: "denoising diffusion with a small U-Net, and DDIM's short way back",
        data: SMALL_DIGITS,
        length: Length::Epochs(6),
        batch: 32,
        rate: 2e-3,
        sizes: &[("width", 16), ("steps", 1000), ("samples", 500), ("ways", 25)],
        goal: Goal::AtMost("frechet", 16.0),
        body: digits::ddpm,
    },
    Recipe {
        name: "dit",
        family: "generative",
        about: "a diffusion transformer that draws the digits it is asked for",
        data: SMALL_DIGITS,
        length: Length::Epochs(6),
        batch: 16,
        rate: 2e-3,
        sizes: &[("width", 64), ("layers", 3), ("heads", 4), ("steps", 1000), ("samples", 500), ("ways", 25)],
        goal: Goal::AtLeast("asked_for", 0.7),
        body: digits::dit,
    },
    Recipe {
        name: "realnvp",
        family: "generative",
        about: "RealNVP: an invertible network whose density is known exactly",
        data: "two moons, 10,000 points of a density that is known; made up",
        length: Length::Steps(2500),
        batch: 200,
        rate: 2e-3,
        sizes: &[("layers", 8), ("width", 64)],
        goal: Goal::AtMost("test_divergence", 0.06),
        body: plane::real_nvp,
    },
    Recipe {
        name: "flow-matching",
        family: "generative",
        about: "flow matching: noise carried to data along a learned velocity",
        data: "eight Gaussians on a ring, 10,000 points of a density that is known; made up",
        length: Length::Steps(4000),
        batch: 400,
        rate: 4e-3,
        sizes: &[("width", 128)],
        goal: Goal::AtMost("test_divergence", 0.05),
        body: plane::flow_matching,
    },
    Recipe {
        name: "ebm",
        family: "generative",
        about: "an energy-based model by denoising score matching",
        data: "eight Gaussians on a ring, 10,000 points of a density that is known; made up",
        length: Length::Steps(4000),
        batch: 400,
        rate: 3e-3,
        sizes: &[("width", 128)],
        goal: Goal::AtMost("test_divergence", 0.02),
        body: plane::ebm,
    },
];
