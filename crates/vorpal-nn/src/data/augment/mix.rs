//! Mixtures of two examples, labels included.

use vorpal_autodiff::Tensor;

use super::space::inside;
use super::{Images, with_images};

/// Every example mixed with the one before it in the batch, in a proportion of its own drawn from Beta(α, α) (Zhang et
/// al. 2018).
///
/// ```
/// use vorpal_nn::data::augment::MixUp;
/// use vorpal_nn::{DType, Device, Tensor};
/// let device = Device::cpu();
/// let (x, y) = (Tensor::rand([4, 3, 8, 8], DType::F32, &device), Tensor::from_slice(&[0i32, 1, 2, 1], [4], &device));
/// let (x, y) = MixUp(0.2).apply(&x, &y.one_hot(3, DType::F32));
/// assert_eq!((x.shape().dims(), y.shape().dims()), (&[4, 3, 8, 8][..], &[4, 3][..]));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MixUp(pub f64);

impl MixUp {
    /// Mixed images `[n, channels, height, width]` and labels `[n, classes]`, which are shares of classes.
    pub fn apply(&self, images: &Tensor, labels: &Tensor) -> (Tensor, Tensor) {
        let share = with_images("MixUp", images, |im| proportions(im, self.0));
        let mixed = between(images, &share);
        (mixed, mixed_labels(labels, &share))
    }
}

/// A rectangle of every image replaced by the same one of the image before it in the batch, labels in proportion to the
/// areas; the area's share is drawn from Beta(α, α) (Yun et al. 2019).
#[derive(Clone, Copy, Debug)]
pub struct CutMix(pub f64);

impl CutMix {
    /// Mixed images `[n, channels, height, width]` and labels `[n, classes]`, which are shares of classes.
    pub fn apply(&self, images: &Tensor, labels: &Tensor) -> (Tensor, Tensor) {
        // 1 where the image stays.
        let kept = with_images("CutMix", images, |im| {
            let side = (-proportions(im, self.0) + 1.0).sqrt();
            let patch = inside(im, &(&side * im.height as f64), &(&side * im.width as f64));
            1.0 - patch.cast(im.dtype)
        });
        let mixed = between(images, &kept);
        (mixed, mixed_labels(labels, &kept.mean_keepdim([1, 2, 3])))
    }
}

/// How much of every image stays, `[n, 1, 1, 1]`.
fn proportions(im: &Images<'_>, alpha: f64) -> Tensor {
    let alpha = Tensor::full([im.n, 1, 1, 1], alpha, im.dtype, &im.device);
    alpha.beta(&alpha)
}

/// `share` of the images, the rest of their neighbours.
fn between(x: &Tensor, share: &Tensor) -> Tensor {
    let other = x.roll(1, 0);
    &other + (x - &other) * share
}

fn mixed_labels(labels: &Tensor, share: &Tensor) -> Tensor {
    between(labels, &share.flatten(1, 3).cast(labels.dtype()))
}
