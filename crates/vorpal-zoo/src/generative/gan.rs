//! Generative adversarial networks.

use vorpal_nn::{
    BatchNorm2d, Conv2d, ConvTranspose2d, DType, Device, Linear, Module, Tensor, Tree, grad, init,
};

use super::{beside, examples};

/// The generator of DCGAN (Radford, Metz & Chintala 2016) for images of 14 × 14 pixels: codes become 7 × 7 pixels of
/// `2 · width` channels, a transposed convolution doubles the sides, another makes the image; batch normalisation and ReLU
/// between, tanh at the end.
///
/// Codes `[n, latent]` to images `[n, 1, 14, 14]` from −1 to 1.
///
/// ```
/// use vorpal_nn::Device;
/// use vorpal_zoo::generative::Generator;
/// let device = Device::cpu();
/// assert_eq!(Generator::new(8, 4, &device).sample(3, &device).shape(), [3, 1, 14, 14].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Generator {
    project: Linear,
    norm1: BatchNorm2d,
    up: ConvTranspose2d,
    norm2: BatchNorm2d,
    out: ConvTranspose2d,
    latent: usize,
}

/// The discriminator of DCGAN (Radford, Metz & Chintala 2016) for images of 14 × 14 pixels: two convolutions with stride 2
/// and `width` and `2 · width` filters and leaky ReLU, and one number. Without normalisation it is the critic of a
/// [`WganGp`].
///
/// Images `[n, 1, 14, 14]` to `[n]`.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::generative::Discriminator;
/// let device = Device::cpu();
/// let images = Tensor::zeros([3, 1, 14, 14], DType::F32, &device);
/// assert_eq!(Discriminator::new(4, true, &device).forward(&images).shape(), [3].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Discriminator {
    conv1: Conv2d,
    conv2: Conv2d,
    norm: Option<BatchNorm2d>,
    out: Linear,
}

/// Pixels of a side of what codes become first.
const COARSE: usize = 7;

impl Generator {
    /// Random weights.
    pub fn new(latent: usize, width: usize, device: &Device) -> Generator {
        let wide = 2 * width;
        let up = ConvTranspose2d::new(wide, width, [4, 4], device).stride([2, 2]).padding([1, 1]);
        Generator {
            project: Linear::without_bias(latent, wide * COARSE * COARSE, device),
            norm1: BatchNorm2d::new(wide, device),
            up: ConvTranspose2d { weight: init::normal([wide, width, 4, 4], 0.05, device), ..up }
                .without_bias(),
            norm2: BatchNorm2d::new(width, device),
            out: ConvTranspose2d::new(width, 1, [3, 3], device).padding([1, 1]),
            latent,
        }
    }

    /// Images of codes `[n, latent]`.
    #[track_caller]
    pub fn forward(&self, codes: &Tensor) -> Tensor {
        let rows = self.project.forward(codes);
        let wide = self.norm1.weight.as_ref().map_or(0, |w| w.shape().numel());
        let x = self.norm1.forward(&rows.reshape([examples(codes), wide, COARSE, COARSE])).relu();
        let x = self.norm2.forward(&self.up.forward(&x)).relu();
        self.out.forward(&x).tanh()
    }

    /// `n` images.
    pub fn sample(&self, n: usize, device: &Device) -> Tensor {
        self.forward(&Tensor::randn([n, self.latent], DType::F32, device))
    }

    /// As many images as there are in a batch, on its device.
    #[track_caller]
    fn like(&self, images: &Tensor) -> Tensor {
        images.device().map_or_else(Tensor::error, |device| self.sample(examples(images), &device))
    }
}

impl Discriminator {
    /// Random weights.
    pub fn new(width: usize, normalise: bool, device: &Device) -> Discriminator {
        let conv =
            |from, to, window| Conv2d::new(from, to, [window; 2], device).stride([2, 2]).padding([1, 1]);
        Discriminator {
            conv1: conv(1, width, 4),
            conv2: conv(width, 2 * width, 3),
            norm: normalise.then(|| BatchNorm2d::new(2 * width, device)),
            out: Linear::new(2 * width * 16, 1, device),
        }
    }

    /// How real images look: logits, or a critic's numbers.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let x = self.conv1.forward(images).leaky_relu(0.2);
        let x = self.conv2.forward(&x);
        let x = self.norm.as_ref().map_or(x.clone(), |norm| norm.forward(&x)).leaky_relu(0.2);
        self.out.forward(&x.flatten(1, -1)).squeeze(-1)
    }

    /// The same, constant to derivatives: what the generator learns from must not change who judges.
    fn fixed(&self) -> Discriminator {
        self.map(&mut Tensor::stop_gradient)
    }
}

/// A deep convolutional generative adversarial network (Radford, Metz & Chintala 2016; Goodfellow et al. 2014): the
/// discriminator learns to tell digits from what the generator makes, the generator to be taken for real. Both losses are
/// one, of which each network sees its own part, so that a step is one plan.
///
/// With codes of 32 and width 32 there are 153,794 parameters. `vorpal train dcgan` learns digits of 14 × 14 pixels
/// to a Fréchet distance of 12, in the features of a classifier, to digits it has not seen.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::generative::Dcgan;
/// let device = Device::cpu();
/// let gan = Dcgan::new(8, 4, &device);
/// let images = Tensor::zeros([3, 1, 14, 14], DType::F32, &device);
/// assert_eq!(gan.losses(&images).shape(), [2].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Dcgan {
    /// Makes images.
    pub generator: Generator,
    /// Judges images.
    pub discriminator: Discriminator,
}

impl Dcgan {
    /// Random weights.
    pub fn new(latent: usize, width: usize, device: &Device) -> Dcgan {
        Dcgan {
            generator: Generator::new(latent, width, device),
            discriminator: Discriminator::new(width, true, device),
        }
    }

    /// Losses of the discriminator and of the generator (the one that does not saturate), `[2]`.
    #[track_caller]
    pub fn losses(&self, images: &Tensor) -> Tensor {
        let made = self.generator.like(images);
        let real = self.discriminator.forward(images);
        let fake = self.discriminator.forward(&made.stop_gradient());
        let told = (-real).softplus().mean_all() + fake.softplus().mean_all();
        let taken = (-self.discriminator.fixed().forward(&made)).softplus().mean_all();
        Tensor::stack(&[&told, &taken], 0)
    }
}

/// A Wasserstein GAN with gradient penalty (Arjovsky, Chintala & Bottou 2017; Gulrajani et al. 2017): the critic's numbers
/// of real and made images are to lie as far apart as its slope of 1 allows. The slope is held by its gradient between
/// images, so that training takes derivatives of derivatives. Instead of several steps of the critic for each of the
/// generator, the critic takes longer ones (Heusel et al. 2017).
///
/// With codes of 32 and width 32 there are 153,666 parameters. `vorpal train wgan-gp` learns digits of 14 × 14 pixels
/// to a Fréchet distance of 14, in the features of a classifier, to digits it has not seen.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::generative::WganGp;
/// let device = Device::cpu();
/// let gan = WganGp::new(8, 4, &device);
/// let images = Tensor::zeros([3, 1, 14, 14], DType::F32, &device);
/// assert_eq!(gan.losses(&images).shape(), [2].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct WganGp {
    /// Makes images.
    pub generator: Generator,
    /// Judges images.
    pub critic: Discriminator,
}

/// Weight of the penalty.
const PENALTY: f64 = 10.0;

impl WganGp {
    /// Random weights.
    pub fn new(latent: usize, width: usize, device: &Device) -> WganGp {
        WganGp {
            generator: Generator::new(latent, width, device),
            critic: Discriminator::new(width, false, device),
        }
    }

    /// Norm of the critic's gradient at each image, `[n]`.
    #[track_caller]
    pub fn slopes(&self, images: &Tensor) -> Tensor {
        let slope = grad(images, |x| self.critic.forward(x).sum_all());
        // Away from 0, where a root has no derivative.
        slope.map_or_else(Tensor::error, |slope| (slope.square().flatten(1, -1).sum(-1) + 1e-12).sqrt())
    }

    /// Losses of the critic, penalty included, and of the generator, `[2]`.
    #[track_caller]
    pub fn losses(&self, images: &Tensor) -> Tensor {
        let Ok(device) = images.device() else { return images.clone() };
        let made = self.generator.like(images);
        let kept = made.stop_gradient();
        let share = beside(&Tensor::rand([examples(images)], DType::F32, &device), images);
        let penalty = (self.slopes(&kept.lerp(images, share)) - 1.0).square().mean_all() * PENALTY;
        let apart = self.critic.forward(&kept).mean_all() - self.critic.forward(images).mean_all();
        let taken = -self.critic.fixed().forward(&made).mean_all();
        Tensor::stack(&[&(apart + penalty), &taken], 0)
    }
}
