//! Random changes of images, on the device, as part of the step's program.
//!
//! Images are `[n, channels, height, width]`, floats, from 0 to 1 where colours are meant. Every image of the batch gets
//! draws of its own. They come from the device's stream of keys ([`Device::seed`](vorpal_autodiff::Device::seed)), so that
//! a run that goes on from a checkpoint with the state of that stream sees the same bits.
//!
//! ```
//! use vorpal_nn::data::augment::{Augment, Compose, RandomAffine, RandomCrop, RandomErasing};
//! use vorpal_nn::{DType, Device, Tensor};
//! let device = Device::cpu();
//! device.seed(7);
//! let augment = Compose::new()
//!     .then(RandomCrop::new([28, 28], 2))
//!     .then(RandomAffine::new().degrees(10.0).scale(0.9, 1.1))
//!     .then(RandomErasing::new(0.25));
//! let images = Tensor::rand([4, 1, 28, 28], DType::F32, &device);
//! assert_eq!(augment.apply(&images).shape().dims(), &[4, 1, 28, 28]);
//! ```

mod colour;
mod mix;
mod rand_augment;
mod space;

pub use colour::{ColorJitter, GaussianNoise, Normalize};
pub use mix::{CutMix, MixUp};
pub use rand_augment::RandAugment;
pub use space::{RandomAffine, RandomCrop, RandomErasing, RandomHorizontalFlip, RandomVerticalFlip, warp};

use vorpal_autodiff::{DType, Device, Error, Tensor};

/// A change of a batch of images `[n, channels, height, width]`.
pub trait Augment: Send + Sync {
    /// The changed images. Carries [`Error::Argument`] for other than four axes of floats.
    fn apply(&self, images: &Tensor) -> Tensor;
}

/// One change after the other.
#[derive(Default)]
pub struct Compose(Vec<Box<dyn Augment>>);

impl Compose {
    /// No change.
    pub fn new() -> Compose {
        Compose::default()
    }

    /// And then this one.
    #[must_use]
    pub fn then(mut self, next: impl Augment + 'static) -> Compose {
        self.0.push(Box::new(next));
        self
    }
}

impl Augment for Compose {
    fn apply(&self, images: &Tensor) -> Tensor {
        self.0.iter().fold(images.clone(), |images, augment| augment.apply(&images))
    }
}

impl std::fmt::Debug for Compose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compose({} changes)", self.0.len())
    }
}

/// What changes of images need to know of them.
struct Images<'a> {
    x: &'a Tensor,
    n: usize,
    channels: usize,
    height: usize,
    width: usize,
    dtype: DType,
    device: Device,
}

impl Images<'_> {
    /// A number of every image, `[n, 1, 1, 1]`, between two bounds.
    fn uniform(&self, low: f64, high: f64) -> Tensor {
        Tensor::rand([self.n, 1, 1, 1], self.dtype, &self.device) * (high - low) + low
    }

    /// Whether something happens to every image, `[n, 1, 1, 1]`.
    fn chance(&self, p: f64) -> Tensor {
        Tensor::rand([self.n, 1, 1, 1], self.dtype, &self.device).lt(p)
    }

    /// Numbers of rows, `[1, 1, height, 1]`, and of columns, `[1, 1, 1, width]`.
    fn places(&self) -> (Tensor, Tensor) {
        let (h, w) = (self.height, self.width);
        (
            Tensor::iota([1, 1, h, 1], 2, self.dtype, &self.device),
            Tensor::iota([1, 1, 1, w], 3, self.dtype, &self.device),
        )
    }
}

/// What `f` makes of images that are some, else an error of `op`.
#[track_caller]
fn with_images(op: &'static str, x: &Tensor, f: impl FnOnce(&Images<'_>) -> Tensor) -> Tensor {
    let device = match x.device() {
        Ok(device) => device,
        Err(_) => return x.clone(),
    };
    let (shape, dtype) = (x.shape(), x.dtype());
    match *shape.dims() {
        [n, channels, height, width] if dtype.is_float() => {
            f(&Images { x, n, channels, height, width, dtype, device })
        }
        _ => {
            let found = shape.describe(dtype);
            let message = format!("images are floats [n, channels, height, width], found {found}");
            Tensor::error(Error::argument(op, message))
        }
    }
}
