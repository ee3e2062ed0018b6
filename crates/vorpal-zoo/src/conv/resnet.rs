//! Residual networks for images.

use vorpal_nn::{BatchNorm2d, Conv2d, Device, Linear, Module, Pool2dOptions, Tensor, init};

/// ResNet-18 (He et al. 2016): a convolution of 7 × 7, four stages of two [`BasicBlock`]s with 64, 128, 256 and 512
/// filters, each but the first at half the resolution, the mean over all pixels and one fully connected layer; 11.7
/// million parameters for 1000 classes. Parameters are named and laid out as torchvision's.
///
/// ```
/// use vorpal_nn::{DType, Device, Module, Tensor};
/// use vorpal_zoo::ResNet18;
/// let model = ResNet18::new(1000, &Device::cpu());
/// assert_eq!(model.parameter_count(), 11_689_512);
/// let images = Tensor::zeros([2, 3, 64, 64], DType::F32, &Device::cpu());
/// assert_eq!(model.forward(&images).shape(), [2, 1000].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct ResNet18 {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layer1: Vec<BasicBlock>,
    layer2: Vec<BasicBlock>,
    layer3: Vec<BasicBlock>,
    layer4: Vec<BasicBlock>,
    fc: Linear,
}

impl ResNet18 {
    /// Random weights, as torchvision starts.
    pub fn new(classes: usize, device: &Device) -> ResNet18 {
        let stage = |channels: usize, filters: usize, stride: usize| {
            vec![
                BasicBlock::new(channels, filters, stride, device),
                BasicBlock::new(filters, filters, 1, device),
            ]
        };
        ResNet18 {
            conv1: convolution(3, 64, 7, 2, device),
            bn1: BatchNorm2d::new(64, device),
            layer1: stage(64, 64, 1),
            layer2: stage(64, 128, 2),
            layer3: stage(128, 256, 2),
            layer4: stage(256, 512, 2),
            fc: Linear::new(512, classes, device),
        }
    }

    /// Logits `[batch, classes]` of images `[batch, 3, height, width]` of at least 32 × 32 pixels.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let overlapping = Pool2dOptions { stride: [2, 2], padding: [1, 1], ..Pool2dOptions::from(3) };
        let mut x = self.bn1.forward(&self.conv1.forward(images)).relu().max_pool2d(overlapping);
        for block in [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten() {
            x = block.forward(&x);
        }
        self.fc.forward(&x.mean([2, 3]))
    }
}

/// Two convolutions of 3 × 3, each with batch normalisation, added to what came in.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::BasicBlock;
/// let block = BasicBlock::new(8, 16, 2, &Device::cpu());
/// let x = Tensor::ones([1, 8, 6, 6], DType::F32, &Device::cpu());
/// assert_eq!(block.forward(&x).shape(), [1, 16, 3, 3].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<Downsample>,
}

/// What brings the input of a [`BasicBlock`] to the shape of its output.
#[derive(Clone, Debug, Module)]
struct Downsample {
    #[module(name = "0")]
    conv: Conv2d,
    #[module(name = "1")]
    norm: BatchNorm2d,
}

impl BasicBlock {
    /// From `channels` to `filters`, at every `stride`-th pixel of each axis.
    pub fn new(channels: usize, filters: usize, stride: usize, device: &Device) -> BasicBlock {
        let downsample = (stride != 1 || channels != filters).then(|| Downsample {
            conv: convolution(channels, filters, 1, stride, device),
            norm: BatchNorm2d::new(filters, device),
        });
        BasicBlock {
            conv1: convolution(channels, filters, 3, stride, device),
            bn1: BatchNorm2d::new(filters, device),
            conv2: convolution(filters, filters, 3, 1, device),
            bn2: BatchNorm2d::new(filters, device),
            downsample,
        }
    }

    /// The block applied to images `[batch, channels, height, width]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let inner = self.bn1.forward(&self.conv1.forward(x)).relu();
        let inner = self.bn2.forward(&self.conv2.forward(&inner));
        let beside = match &self.downsample {
            Some(Downsample { conv, norm }) => norm.forward(&conv.forward(x)),
            None => x.clone(),
        };
        (inner + beside).relu()
    }
}

/// A convolution without bias, padded so that only the stride makes images smaller, with normal weights of deviation
/// √(2 ∕ outputs of a pixel) (He et al. 2015).
fn convolution(channels: usize, filters: usize, window: usize, stride: usize, device: &Device) -> Conv2d {
    let deviation = (2.0 / (filters * window * window).max(1) as f64).sqrt();
    let conv = Conv2d::new(channels, filters, [window; 2], device).without_bias();
    let weight = init::normal([filters, channels, window, window], deviation, device);
    Conv2d { weight, ..conv.stride([stride; 2]).padding([window / 2; 2]) }
}
