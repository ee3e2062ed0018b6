//! A small convolutional network for handwritten digits.

use vorpal_nn::{BatchNorm2d, Conv2d, Device, Dropout, Linear, Module, Tensor};

/// Two convolutions of 3 × 3 with 16 and 32 filters, each with batch normalisation, ReLU and maximum pooling, dropout,
/// and one fully connected layer, after LeNet (LeCun et al. 1998). Images `[batch, 1, 28, 28]` to `[batch, 10]`; 20,586
/// parameters.
///
/// `vorpal train mnist` reads MNIST digits, of which it is to name 97 %.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::MnistCnn;
/// let model = MnistCnn::new(&Device::cpu());
/// let images = Tensor::zeros([5, 1, 28, 28], DType::F32, &Device::cpu());
/// assert_eq!(model.forward(&images).shape(), [5, 10].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct MnistCnn {
    conv1: Conv2d,
    norm1: BatchNorm2d,
    conv2: Conv2d,
    norm2: BatchNorm2d,
    drop: Dropout,
    out: Linear,
}

impl MnistCnn {
    /// Random weights.
    pub fn new(device: &Device) -> MnistCnn {
        MnistCnn {
            conv1: Conv2d::new(1, 16, [3, 3], device).padding([1, 1]),
            norm1: BatchNorm2d::new(16, device),
            conv2: Conv2d::new(16, 32, [3, 3], device).padding([1, 1]),
            norm2: BatchNorm2d::new(32, device),
            drop: Dropout::new(0.4),
            out: Linear::new(32 * 7 * 7, 10, device),
        }
    }

    /// Logits `[batch, 10]` of images `[batch, 1, 28, 28]` with pixels from 0 to 1.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let x = self.norm1.forward(&self.conv1.forward(images)).relu().max_pool2d(2);
        let x = self.norm2.forward(&self.conv2.forward(&x)).relu().max_pool2d(2);
        self.out.forward(&self.drop.forward(&x.flatten(1, -1)))
    }
}
