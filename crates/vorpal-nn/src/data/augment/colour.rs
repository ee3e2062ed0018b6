//! Changes of colour.

use vorpal_autodiff::Tensor;

use super::{Augment, Images, with_images};

/// Changes brightness, contrast, saturation and hue of every image, in this order: `torchvision.transforms.ColorJitter`,
/// which shuffles the order. Saturation and hue of images without three channels stay as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct ColorJitter {
    /// Brightness times 1 ± this.
    pub brightness: f64,
    /// Contrast times 1 ± this.
    pub contrast: f64,
    /// Saturation times 1 ± this.
    pub saturation: f64,
    /// Hue turned by ± this share of the circle, at most 0.5.
    pub hue: f64,
}

impl Augment for ColorJitter {
    fn apply(&self, images: &Tensor) -> Tensor {
        with_images("ColorJitter", images, |im| {
            let factor = |by: f64| im.uniform((1.0 - by).max(0.0), 1.0 + by);
            let mut x = images.clone();
            if self.brightness > 0.0 {
                x = brightness(&x, &factor(self.brightness));
            }
            if self.contrast > 0.0 {
                x = contrast(im, &x, &factor(self.contrast));
            }
            if self.saturation > 0.0 {
                x = saturation(im, &x, &factor(self.saturation));
            }
            if self.hue > 0.0 && im.channels == 3 {
                x = hue(&x, &im.uniform(-self.hue, self.hue));
            }
            x
        })
    }
}

/// Images times a factor.
pub(super) fn brightness(x: &Tensor, factor: &Tensor) -> Tensor {
    (x * factor).clamp(0.0, 1.0)
}

/// Away from the mean grey of each image.
pub(super) fn contrast(im: &Images<'_>, x: &Tensor, factor: &Tensor) -> Tensor {
    blend(x, &grey(im, x).mean_keepdim([1, 2, 3]), factor)
}

/// Away from the grey of each pixel.
pub(super) fn saturation(im: &Images<'_>, x: &Tensor, factor: &Tensor) -> Tensor {
    if im.channels == 3 { blend(x, &grey(im, x), factor) } else { x.clone() }
}

fn blend(x: &Tensor, other: &Tensor, factor: &Tensor) -> Tensor {
    (other + (x - other) * factor).clamp(0.0, 1.0)
}

/// Luminance (ITU-R BT.601), `[n, 1, h, w]`.
fn grey(im: &Images<'_>, x: &Tensor) -> Tensor {
    if im.channels != 3 {
        return x.mean_keepdim(1);
    }
    let [r, g, b] = rgb(x);
    r * 0.2989 + g * 0.587 + b * 0.114
}

fn rgb(x: &Tensor) -> [Tensor; 3] {
    [0, 1, 2].map(|c| x.narrow(1, c, 1))
}

/// Colours turned by a share of the circle, through hue, saturation and value.
pub(super) fn hue(x: &Tensor, turn: &Tensor) -> Tensor {
    let [r, g, b] = rgb(x);
    let (value, low) = (r.maximum(&g).maximum(&b), r.minimum(&g).minimum(&b));
    let chroma = &value - &low;
    let divisor = chroma.eq(0.0).select(1.0, &chroma);
    let sector = value.eq(&r).select(
        (&g - &b) / &divisor,
        value.eq(&g).select((&b - &r) / &divisor + 2.0, (&r - &g) / &divisor + 4.0),
    );
    let turned = sector + turn * 6.0;
    // Each channel falls and rises along the circle (Foley, van Dam).
    let channel = |offset: f64| {
        let k = (&turned + offset).remainder(6.0);
        let share = k.minimum(4.0 - &k).clamp(0.0, 1.0);
        &value - &chroma * share
    };
    Tensor::concat(&[&channel(5.0), &channel(3.0), &channel(1.0)], 1)
}

/// Channels of a given mean and standard deviation become ones of mean 0 and deviation 1.
#[derive(Clone, Debug)]
pub struct Normalize {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Normalize {
    /// Mean and standard deviation of every channel.
    pub fn new(mean: &[f32], std: &[f32]) -> Normalize {
        Normalize { mean: mean.to_vec(), std: std.to_vec() }
    }
}

impl Augment for Normalize {
    fn apply(&self, images: &Tensor) -> Tensor {
        with_images("Normalize", images, |im| {
            let of = |v: &[f32]| Tensor::from_slice(v, [1, im.channels, 1, 1], &im.device).cast(im.dtype);
            (images - of(&self.mean)) / of(&self.std)
        })
    }
}

/// Adds normal numbers of this standard deviation.
#[derive(Clone, Copy, Debug)]
pub struct GaussianNoise(pub f64);

impl Augment for GaussianNoise {
    fn apply(&self, images: &Tensor) -> Tensor {
        with_images("GaussianNoise", images, |im| {
            images + Tensor::randn(images.shape(), im.dtype, &im.device) * self.0
        })
    }
}
