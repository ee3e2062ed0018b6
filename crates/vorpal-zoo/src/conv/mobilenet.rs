//! Networks for small computers.

use vorpal_nn::{
    BatchNorm2d, Conv2d, Conv2dOptions, Device, Dropout, Layer, Linear, Module, Padding, Relu6, Sequential,
    Tensor,
};

/// Sizes of a [`MobileNetV2`].
#[derive(Clone, Debug, PartialEq)]
pub struct MobileNetV2Options {
    /// Channels of an image.
    pub channels: usize,
    /// Filters of the first convolution, and its stride.
    pub first: [usize; 2],
    /// Stages: how many times wider a block is inside, filters, blocks, stride of the first block.
    pub stages: Vec<[usize; 4]>,
    /// Filters of the last convolution.
    pub last: usize,
    /// Number of classes.
    pub classes: usize,
    /// Probability of dropout in front of the classifier.
    pub dropout: f64,
}

impl MobileNetV2Options {
    /// The network of the paper: 3.5 million parameters for 1000 classes.
    pub fn paper(classes: usize) -> MobileNetV2Options {
        MobileNetV2Options {
            channels: 3,
            first: [32, 2],
            stages: vec![
                [1, 16, 1, 1],
                [6, 24, 2, 2],
                [6, 32, 3, 2],
                [6, 64, 4, 2],
                [6, 96, 3, 1],
                [6, 160, 3, 2],
                [6, 320, 1, 1],
            ],
            last: 1280,
            classes,
            dropout: 0.2,
        }
    }
}

/// MobileNetV2 (Sandler et al. 2018): blocks that widen their input by a convolution of 1 × 1, look around by one of 3 × 3
/// that keeps channels apart, and narrow it again, without an activation at the narrow ends, where blocks are added to what
/// came in. Parameters are named as torchvision's. Images `[batch, channels, height, width]` to `[batch, classes]`.
///
/// `vorpal train mobilenet` teaches one of five blocks with 16 to 32 filters (32,234 parameters) MNIST digits of 14 × 14
/// pixels, of which it is to name 97 %.
///
/// ```
/// use vorpal_nn::{Device, Module};
/// use vorpal_zoo::conv::{MobileNetV2, MobileNetV2Options};
/// let model = MobileNetV2::new(&MobileNetV2Options::paper(1000), &Device::cpu());
/// assert_eq!(model.parameter_count(), 3_504_872);
/// ```
#[derive(Clone, Debug, Module)]
pub struct MobileNetV2 {
    features: Sequential,
    classifier: Sequential,
}

/// A convolution without bias, batch normalisation and a ReLU that ends at 6.
fn convolution(
    channels: usize,
    filters: usize,
    window: usize,
    stride: usize,
    groups: usize,
    device: &Device,
) -> Sequential {
    let around = window / 2;
    let options = Conv2dOptions {
        stride: [stride; 2],
        padding: Padding::Zeros([around; 2]),
        groups,
        ..Conv2dOptions::default()
    };
    let conv = Conv2d::with_options(channels, filters, [window; 2], options, device).without_bias();
    Sequential::new().then(conv).then(BatchNorm2d::new(filters, device)).then(Relu6)
}

/// An inverted residual block.
#[derive(Clone, Debug, Module)]
struct InvertedResidual {
    conv: Sequential,
    #[module(skip)]
    added: bool,
}

impl InvertedResidual {
    fn new(
        channels: usize,
        filters: usize,
        widen: usize,
        stride: usize,
        device: &Device,
    ) -> InvertedResidual {
        let inside = channels * widen;
        let mut conv = Sequential::new();
        if widen != 1 {
            conv = conv.then(convolution(channels, inside, 1, 1, 1, device));
        }
        let conv = conv
            .then(convolution(inside, inside, 3, stride, inside, device))
            .then(Conv2d::new(inside, filters, [1, 1], device).without_bias())
            .then(BatchNorm2d::new(filters, device));
        InvertedResidual { conv, added: stride == 1 && channels == filters }
    }
}

impl Layer for InvertedResidual {
    fn forward(&self, x: &Tensor) -> Tensor {
        let inner = self.conv.forward(x);
        if self.added { x + inner } else { inner }
    }
}

impl MobileNetV2 {
    /// Random weights.
    pub fn new(options: &MobileNetV2Options, device: &Device) -> MobileNetV2 {
        let [mut channels, stride] = options.first;
        let mut features =
            Sequential::new().then(convolution(options.channels, channels, 3, stride, 1, device));
        for &[widen, filters, blocks, stride] in &options.stages {
            for k in 0..blocks {
                let stride = if k == 0 { stride } else { 1 };
                features = features.then(InvertedResidual::new(channels, filters, widen, stride, device));
                channels = filters;
            }
        }
        let classifier = Sequential::new().then(Dropout::new(options.dropout)).then(Linear::new(
            options.last,
            options.classes,
            device,
        ));
        MobileNetV2 {
            features: features.then(convolution(channels, options.last, 1, 1, 1, device)),
            classifier,
        }
    }

    /// Logits `[batch, classes]` of images `[batch, channels, height, width]`.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        self.classifier.forward(&self.features.forward(images).mean([2, 3]))
    }
}
