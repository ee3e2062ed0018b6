//! Residual networks for images.

use vorpal_nn::{BatchNorm2d, Conv2d, Device, Linear, Module, Pool2dOptions, Tensor, init};

/// Sizes of a [`ResNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetOptions {
    /// Channels of an image.
    pub channels: usize,
    /// Filters of the first stage; each further one has twice as many.
    pub width: usize,
    /// Blocks of every stage.
    pub stages: [usize; 4],
    /// Whether blocks are bottlenecks, which give four times the filters of their stage.
    pub bottleneck: bool,
    /// Whether the stem is a single convolution of 3 × 3 at full resolution, for images of some thirty pixels.
    pub small: bool,
    /// Number of classes.
    pub classes: usize,
}

impl ResNetOptions {
    /// ResNet-18: 11.7 million parameters for 1000 classes.
    pub fn resnet18(classes: usize) -> ResNetOptions {
        ResNetOptions { channels: 3, width: 64, stages: [2; 4], bottleneck: false, small: false, classes }
    }

    /// ResNet-34: 21.8 million parameters for 1000 classes.
    pub fn resnet34(classes: usize) -> ResNetOptions {
        ResNetOptions { stages: [3, 4, 6, 3], ..ResNetOptions::resnet18(classes) }
    }

    /// ResNet-50: 25.6 million parameters for 1000 classes.
    pub fn resnet50(classes: usize) -> ResNetOptions {
        ResNetOptions { bottleneck: true, ..ResNetOptions::resnet34(classes) }
    }
}

/// A residual network (He et al. 2016): a convolution of 7 × 7, four stages of [`ResNetBlock`]s, each but the first at half
/// the resolution, the mean over all pixels and one fully connected layer. Parameters are named and laid out as
/// torchvision's; bottlenecks have their stride at the convolution of 3 × 3, as there. Images
/// `[batch, channels, height, width]` to `[batch, classes]`.
///
/// `vorpal train resnet` teaches one of four blocks with 16 to 128 filters (308,538 parameters) MNIST digits of 14 × 14
/// pixels, of which it is to name 97.5 %.
///
/// ```
/// use vorpal_nn::{DType, Device, Module, Tensor};
/// use vorpal_zoo::{ResNet, ResNetOptions};
/// let model = ResNet::new(ResNetOptions::resnet18(1000), &Device::cpu());
/// assert_eq!(model.parameter_count(), 11_689_512);
/// let images = Tensor::zeros([2, 3, 64, 64], DType::F32, &Device::cpu());
/// assert_eq!(model.forward(&images).shape(), [2, 1000].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layer1: Vec<ResNetBlock>,
    layer2: Vec<ResNetBlock>,
    layer3: Vec<ResNetBlock>,
    layer4: Vec<ResNetBlock>,
    fc: Linear,
    #[module(skip)]
    small: bool,
}

impl ResNet {
    /// Random weights, as torchvision starts.
    pub fn new(options: ResNetOptions, device: &Device) -> ResNet {
        let ResNetOptions { channels, width, stages, bottleneck, small, classes } = options;
        let mut from = width;
        let mut stage = |k: usize| {
            let block = |j: usize| {
                let filters = width << k;
                let stride = if k > 0 && j == 0 { 2 } else { 1 };
                let block = if bottleneck {
                    ResNetBlock::bottleneck(from, filters, stride, device)
                } else {
                    ResNetBlock::basic(from, filters, stride, device)
                };
                from = if bottleneck { 4 * filters } else { filters };
                block
            };
            (0..stages[k]).map(block).collect::<Vec<_>>()
        };
        let (layer1, layer2, layer3, layer4) = (stage(0), stage(1), stage(2), stage(3));
        let (window, stride) = if small { (3, 1) } else { (7, 2) };
        ResNet {
            conv1: convolution(channels, width, window, stride, device),
            bn1: BatchNorm2d::new(width, device),
            layer1,
            layer2,
            layer3,
            layer4,
            fc: Linear::new(from, classes, device),
            small,
        }
    }

    /// Logits `[batch, classes]` of images `[batch, channels, height, width]`, of at least 32 × 32 pixels unless the stem is
    /// small.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let overlapping = Pool2dOptions { stride: [2, 2], padding: [1, 1], ..Pool2dOptions::from(3) };
        let mut x = self.bn1.forward(&self.conv1.forward(images)).relu();
        if !self.small {
            x = x.max_pool2d(overlapping);
        }
        for block in [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten() {
            x = block.forward(&x);
        }
        self.fc.forward(&x.mean([2, 3]))
    }
}

/// Two or three convolutions, each with batch normalisation, added to what came in.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::ResNetBlock;
/// let x = Tensor::ones([1, 8, 6, 6], DType::F32, &Device::cpu());
/// let block = ResNetBlock::basic(8, 16, 2, &Device::cpu());
/// assert_eq!(block.forward(&x).shape(), [1, 16, 3, 3].into());
/// let block = ResNetBlock::bottleneck(8, 2, 1, &Device::cpu());
/// assert_eq!(block.forward(&x).shape(), [1, 8, 6, 6].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct ResNetBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    conv3: Option<Conv2d>,
    bn3: Option<BatchNorm2d>,
    downsample: Option<Downsample>,
}

/// What brings the input of a [`ResNetBlock`] to the shape of its output.
#[derive(Clone, Debug, Module)]
struct Downsample {
    #[module(name = "0")]
    conv: Conv2d,
    #[module(name = "1")]
    norm: BatchNorm2d,
}

impl Downsample {
    fn new(channels: usize, filters: usize, stride: usize, device: &Device) -> Option<Downsample> {
        (stride != 1 || channels != filters).then(|| Downsample {
            conv: convolution(channels, filters, 1, stride, device),
            norm: BatchNorm2d::new(filters, device),
        })
    }
}

impl ResNetBlock {
    /// Two convolutions of 3 × 3 from `channels` to `filters`, at every `stride`-th pixel of each axis.
    pub fn basic(channels: usize, filters: usize, stride: usize, device: &Device) -> ResNetBlock {
        ResNetBlock {
            conv1: convolution(channels, filters, 3, stride, device),
            bn1: BatchNorm2d::new(filters, device),
            conv2: convolution(filters, filters, 3, 1, device),
            bn2: BatchNorm2d::new(filters, device),
            conv3: None,
            bn3: None,
            downsample: Downsample::new(channels, filters, stride, device),
        }
    }

    /// A bottleneck: convolutions of 1 × 1 to `filters`, 3 × 3 at every `stride`-th pixel, and 1 × 1 to 4 · `filters`.
    pub fn bottleneck(channels: usize, filters: usize, stride: usize, device: &Device) -> ResNetBlock {
        ResNetBlock {
            conv1: convolution(channels, filters, 1, 1, device),
            bn1: BatchNorm2d::new(filters, device),
            conv2: convolution(filters, filters, 3, stride, device),
            bn2: BatchNorm2d::new(filters, device),
            conv3: Some(convolution(filters, 4 * filters, 1, 1, device)),
            bn3: Some(BatchNorm2d::new(4 * filters, device)),
            downsample: Downsample::new(channels, 4 * filters, stride, device),
        }
    }

    /// The block applied to images `[batch, channels, height, width]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let inner = self.bn1.forward(&self.conv1.forward(x)).relu();
        let mut inner = self.bn2.forward(&self.conv2.forward(&inner));
        if let (Some(conv), Some(norm)) = (&self.conv3, &self.bn3) {
            inner = norm.forward(&conv.forward(&inner.relu()));
        }
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
