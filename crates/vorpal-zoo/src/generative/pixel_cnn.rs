//! Autoregressive models of pixels.

use vorpal_nn::{Conv2d, DType, Device, Module, Result, Tensor, eval};

/// A convolution that sees only pixels in front, row by row from the upper left (van den Oord, Kalchbrenner &
/// Kavukcuoglu 2016): mask A leaves out the pixel itself, mask B does not.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::generative::MaskedConv2d;
/// let conv = MaskedConv2d::new(1, 4, 5, true, &Device::cpu());
/// let images = Tensor::zeros([2, 1, 6, 6], DType::F32, &Device::cpu());
/// assert_eq!(conv.forward(&images).shape(), [2, 4, 6, 6].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct MaskedConv2d {
    conv: Conv2d,
    without_itself: bool,
}

impl MaskedConv2d {
    /// A window of an odd side; `without_itself` is mask A.
    pub fn new(
        channels: usize,
        filters: usize,
        window: usize,
        without_itself: bool,
        device: &Device,
    ) -> MaskedConv2d {
        let conv = Conv2d::new(channels, filters, [window; 2], device).padding([window / 2; 2]);
        MaskedConv2d { conv, without_itself }
    }

    /// The layer applied to `[n, channels, height, width]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (Ok(device), Ok([_, _, side, _])) = (x.device(), self.conv.weight.dims()) else {
            return x.clone();
        };
        // Elements of a window in the order of pixels: those in front of the middle are seen.
        let seen = (side * side / 2 + usize::from(!self.without_itself)) as f32;
        let places = Tensor::arange(side * side, DType::F32, &device).reshape([side, side]);
        let mask = places.lt(places.full_like(f64::from(seen))).cast(DType::F32);
        x.conv2d(&(&self.conv.weight * mask), self.conv.bias.as_ref(), self.conv.options)
    }
}

/// A block of a [`PixelCnn`]: half the channels, 3 × 3 pixels, all channels again, added to what came in.
#[derive(Clone, Debug, Module)]
struct Block {
    shrink: MaskedConv2d,
    look: MaskedConv2d,
    widen: MaskedConv2d,
}

/// PixelCNN (van den Oord, Kalchbrenner & Kavukcuoglu 2016): the probability of every pixel given those in front of it, by
/// masked convolutions; the likelihood of an image is their product, exactly. A mask-A convolution of 7 × 7, residual
/// blocks of mask-B convolutions, and two of 1 × 1.
///
/// Images `[n, 1, height, width]` of zeros and ones. With 32 channels and four blocks there are 16,257 parameters.
/// `vorpal train pixelcnn` learns binarised digits of 14 × 14 pixels to 0.17 nats a pixel, a linear model of all pixels in front
/// reaches 0.18.
///
/// ```
/// use vorpal_nn::Device;
/// use vorpal_zoo::generative::PixelCnn;
/// let device = Device::cpu();
/// let model = PixelCnn::new(4, 1, &device);
/// let images = model.sample(2, [3, 3], &device)?;
/// assert_eq!(model.losses(&images).shape(), [2].into());
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct PixelCnn {
    first: MaskedConv2d,
    blocks: Vec<Block>,
    hidden: MaskedConv2d,
    out: MaskedConv2d,
}

impl PixelCnn {
    /// Random weights; an even number of channels.
    pub fn new(channels: usize, blocks: usize, device: &Device) -> PixelCnn {
        let conv = |from, to, window| MaskedConv2d::new(from, to, window, false, device);
        let (all, half) = (channels, channels / 2);
        let block =
            |_| Block { shrink: conv(all, half, 1), look: conv(half, half, 3), widen: conv(half, all, 1) };
        PixelCnn {
            first: MaskedConv2d::new(1, channels, 7, true, device),
            blocks: (0..blocks).map(block).collect(),
            hidden: conv(channels, channels, 1),
            out: conv(channels, 1, 1),
        }
    }

    /// Logits of every pixel given those in front of it, in the shape of the images.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let mut x = self.first.forward(images);
        for block in &self.blocks {
            let inner = block.look.forward(&block.shrink.forward(&x.relu()).relu()).relu();
            x = x + block.widen.forward(&inner);
        }
        self.out.forward(&self.hidden.forward(&x.relu()).relu())
    }

    /// Negative log-likelihood of every image in nats a pixel, `[n]`.
    #[track_caller]
    pub fn losses(&self, images: &Tensor) -> Tensor {
        let logits = self.forward(images);
        (logits.softplus() - images * logits).flatten(1, -1).mean(-1)
    }

    /// `n` images of a height and width, pixel by pixel.
    ///
    /// # Errors
    /// What evaluation gives.
    pub fn sample(&self, n: usize, size: [usize; 2], device: &Device) -> Result<Tensor> {
        let [height, width] = size;
        let shape = [n, 1, height, width];
        let mut images = Tensor::zeros(shape, DType::F32, device);
        let places = Tensor::arange(height * width, DType::I32, device).reshape([height, width]);
        for k in 0..height * width {
            // The place is a tensor, so that one plan serves all.
            let here = Tensor::from_slice(&[k as i32], [1], device);
            let drawn = self.forward(&images).sigmoid().bernoulli();
            images = places.eq(&here).select(&drawn, &images);
            eval(&images)?;
        }
        Ok(images)
    }
}
