//! Variational autoencoders.

use vorpal_nn::{DType, Device, Linear, Module, Tensor};

use super::{examples, normal_like};

/// Sizes of a [`Vae`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VaeOptions {
    /// Numbers of an example.
    pub features: usize,
    /// Width of the two hidden layers on either side.
    pub width: usize,
    /// Numbers that stand for an example.
    pub latent: usize,
}

/// The variational autoencoder (Kingma & Welling 2014): an encoder of two hidden layers says in which normal distribution
/// the code of an example lies, a decoder of the same size with which probability each of its numbers is 1. Both learn from a
/// bound of the likelihood, the ELBO, with codes drawn so that derivatives go through them.
///
/// Examples `[n, …]` of zeros and ones with so many features. With widths of 784, 200 and 16 there are 404,816 parameters.
/// `vorpal train vae` learns binarised MNIST digits to a negative ELBO of at most 115 nats on digits it has not seen.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::generative::{Vae, VaeOptions};
/// let device = Device::cpu();
/// let vae = Vae::new(VaeOptions { features: 36, width: 16, latent: 2 }, &device);
/// let images = Tensor::zeros([5, 1, 6, 6], DType::F32, &device);
/// assert_eq!(vae.losses(&images).shape(), [5].into());
/// assert_eq!(vae.decode(&Tensor::zeros([3, 2], DType::F32, &device)).shape(), [3, 36].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Vae {
    fc1: Linear,
    fc2: Linear,
    mean: Linear,
    log_var: Linear,
    fc3: Linear,
    fc4: Linear,
    out: Linear,
    #[module(skip)]
    options: VaeOptions,
}

impl Vae {
    /// Random weights.
    pub fn new(options: VaeOptions, device: &Device) -> Vae {
        let VaeOptions { features, width, latent } = options;
        let linear = |inputs, outputs| Linear::new(inputs, outputs, device);
        Vae {
            fc1: linear(features, width),
            fc2: linear(width, width),
            mean: linear(width, latent),
            log_var: linear(width, latent),
            fc3: linear(latent, width),
            fc4: linear(width, width),
            out: linear(width, features),
            options,
        }
    }

    /// Mean and logarithm of the variance of the codes, both `[n, latent]`.
    #[track_caller]
    pub fn encode(&self, x: &Tensor) -> (Tensor, Tensor) {
        let inner = self.fc1.forward(&x.flatten(1, -1)).relu();
        let inner = self.fc2.forward(&inner).relu();
        (self.mean.forward(&inner), self.log_var.forward(&inner))
    }

    /// Logits `[n, features]` of codes `[n, latent]`.
    #[track_caller]
    pub fn decode(&self, codes: &Tensor) -> Tensor {
        let inner = self.fc4.forward(&self.fc3.forward(codes).relu()).relu();
        self.out.forward(&inner)
    }

    /// A code of each example, drawn.
    #[track_caller]
    fn draw(mean: &Tensor, log_var: &Tensor) -> Tensor {
        mean + (log_var * 0.5).exp() * normal_like(mean)
    }

    /// The negative bound of every example in nats, `[n]`: what the reconstruction costs, and what the code costs.
    #[track_caller]
    pub fn losses(&self, x: &Tensor) -> Tensor {
        let (mean, log_var) = self.encode(x);
        let code = (mean.square() + log_var.exp() - &log_var - 1.0).sum(-1) * 0.5;
        self.reconstruction(x, &Vae::draw(&mean, &log_var)) + code
    }

    /// −log p(x | code), `[n]`.
    #[track_caller]
    fn reconstruction(&self, x: &Tensor, codes: &Tensor) -> Tensor {
        let logits = self.decode(codes);
        (logits.softplus() - x.flatten(1, -1) * logits).sum(-1)
    }

    /// A tighter bound by the mean over `draws` weighted codes (Burda, Grosse & Salakhutdinov 2016): negative, in nats,
    /// `[n]`.
    #[track_caller]
    pub fn importance_losses(&self, x: &Tensor, draws: usize) -> Tensor {
        let (n, x) = (examples(x), x.flatten(1, -1).repeat_interleave(draws, 0));
        let (mean, log_var) = self.encode(&x);
        let codes = Vae::draw(&mean, &log_var);
        let prior = codes.square().sum(-1) * -0.5;
        let posterior = ((&codes - mean).square() / log_var.exp() + log_var).sum(-1) * -0.5;
        let weights = prior - posterior - self.reconstruction(&x, &codes);
        (draws.max(1) as f64).ln() - weights.reshape([n, draws]).logsumexp(-1)
    }

    /// Probabilities `[n, features]` of `n` codes from the prior.
    pub fn sample(&self, n: usize, device: &Device) -> Tensor {
        self.decode(&Tensor::randn([n, self.options.latent], DType::F32, device)).sigmoid()
    }
}
