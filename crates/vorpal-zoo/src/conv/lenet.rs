//! The first convolutional network of digits.

use vorpal_nn::{AvgPool2d, Conv2d, Device, Linear, Module, Tensor};

/// LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998): three convolutions of 5 × 5 with 6, 16 and 120 filters, the first two
/// followed by means of 2 × 2 pixels, then 84 units and ten outputs, with tanh between; 61,706 parameters. As it is written
/// today: every filter of the second convolution sees all channels, means are not trained, and outputs are logits.
///
/// Images `[batch, 1, 28, 28]` to `[batch, 10]`. `vorpal train lenet` reads MNIST digits, of which it is to name 98 %.
///
/// ```
/// use vorpal_nn::{DType, Device, Module, Tensor};
/// use vorpal_zoo::conv::LeNet5;
/// let device = Device::cpu();
/// let model = LeNet5::new(&device);
/// assert_eq!(model.parameter_count(), 61_706);
/// assert_eq!(model.forward(&Tensor::zeros([2, 1, 28, 28], DType::F32, &device)).shape(), [2, 10].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct LeNet5 {
    c1: Conv2d,
    c3: Conv2d,
    c5: Conv2d,
    f6: Linear,
    output: Linear,
}

impl LeNet5 {
    /// Random weights.
    pub fn new(device: &Device) -> LeNet5 {
        LeNet5 {
            c1: Conv2d::new(1, 6, [5, 5], device).padding([2, 2]),
            c3: Conv2d::new(6, 16, [5, 5], device),
            c5: Conv2d::new(16, 120, [5, 5], device),
            f6: Linear::new(120, 84, device),
            output: Linear::new(84, 10, device),
        }
    }

    /// Logits `[batch, 10]` of images `[batch, 1, 28, 28]`.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let halves = AvgPool2d::new(2);
        let x = halves.forward(&self.c1.forward(images).tanh());
        let x = halves.forward(&self.c3.forward(&x).tanh());
        let x = self.c5.forward(&x).tanh().flatten(1, -1);
        self.output.forward(&self.f6.forward(&x).tanh())
    }
}
