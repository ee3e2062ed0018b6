//! Learning without labels: what two views of the same picture have in common.

use vorpal_nn::loss::NtXentLoss;
use vorpal_nn::{BatchNorm1d, Conv2d, Device, Frozen, Linear, Module, Tensor};

/// What the two learners below train: two convolutions of 3 × 3 with 16 and 32 filters at every second pixel, then a
/// layer of `width` numbers; for images of 28 × 28 pixels. With 64 numbers it has 105,216 parameters.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::beyond::Encoder;
/// let encoder = Encoder::new(64, &Device::cpu());
/// let images = Tensor::zeros([2, 1, 28, 28], DType::F32, &Device::cpu());
/// assert_eq!(encoder.forward(&images).shape(), [2, 64].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Encoder {
    conv1: Conv2d,
    conv2: Conv2d,
    out: Linear,
}

impl Encoder {
    /// Random weights.
    pub fn new(width: usize, device: &Device) -> Encoder {
        let conv = |from, to| Conv2d::new(from, to, [3, 3], device).stride([2, 2]).padding([1, 1]);
        Encoder { conv1: conv(1, 16), conv2: conv(16, 32), out: Linear::new(32 * 7 * 7, width, device) }
    }

    /// Numbers `[n, width]` that stand for images `[n, 1, 28, 28]`.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let x = self.conv2.forward(&self.conv1.forward(images).relu()).relu();
        self.out.forward(&x.flatten(1, -1)).relu()
    }
}

/// Two layers with a ReLU between, and in front of it a normalisation over the batch where there is one.
#[derive(Clone, Debug, Module)]
struct Head {
    first: Linear,
    norm: Option<BatchNorm1d>,
    second: Linear,
}

impl Head {
    fn new(inputs: usize, hidden: usize, outputs: usize, device: &Device) -> Head {
        Head {
            first: Linear::new(inputs, hidden, device),
            norm: None,
            second: Linear::new(hidden, outputs, device),
        }
    }

    fn normalised(inputs: usize, hidden: usize, outputs: usize, device: &Device) -> Head {
        Head {
            // The normalisation has a bias of its own.
            first: Linear::without_bias(inputs, hidden, device),
            norm: Some(BatchNorm1d::new(hidden, device)),
            second: Linear::new(hidden, outputs, device),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.first.forward(x);
        let x = match &self.norm {
            Some(norm) => norm.forward(&x),
            None => x,
        };
        self.second.forward(&x.relu())
    }
}

/// SimCLR (Chen et al. 2020): two views of a picture are to be more alike than any two views of different pictures of the
/// batch. The head is thrown away afterwards, the encoder stays. Images `[n, 1, 28, 28]`, numbers `[n, width]`.
///
/// `vorpal train simclr` sees digits without their names, turned, moved and with pieces missing. Then a linear layer is
/// trained on what the encoder makes of 300 digits with names: it names at least 90 % of the test digits. The same on an
/// encoder with random weights and on the pixels themselves is told beside it. With 64 and 32 numbers it has 111,456 parameters.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::beyond::SimClr;
/// let device = Device::cpu();
/// let model = SimClr::new(64, 32, &device);
/// let views = Tensor::rand([6, 1, 28, 28], DType::F32, &device);
/// assert_eq!(model.forward(&views).shape(), [6, 32].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct SimClr {
    /// What stays.
    pub encoder: Encoder,
    head: Head,
}

impl SimClr {
    /// Random weights: an encoder of `width` numbers, compared by `compared` numbers.
    pub fn new(width: usize, compared: usize, device: &Device) -> SimClr {
        SimClr { encoder: Encoder::new(width, device), head: Head::new(width, width, compared, device) }
    }

    /// What views `[n, 1, 28, 28]` are compared by.
    #[track_caller]
    pub fn forward(&self, views: &Tensor) -> Tensor {
        self.head.forward(&self.encoder.forward(views))
    }

    /// How unlike the two views of each picture are: the first half of `compared` holds one view of each, the second half
    /// the other in the same order.
    #[track_caller]
    pub fn loss(compared: &Tensor, temperature: f64) -> Tensor {
        let half = compared.shape().first().copied().unwrap_or(0) / 2;
        let (first, second) = (compared.narrow(0, 0, half), compared.narrow(0, half, half));
        NtXentLoss { temperature, ..NtXentLoss::default() }.forward(&first, &second)
    }
}

/// BYOL (Grill et al. 2020): a network predicts what a slowly moving copy of itself makes of another view of the picture.
/// Nothing pushes different pictures apart; the predictor, the copy's slowness and the normalisation keep all from
/// becoming one. Images `[n, 1, 28, 28]`, numbers `[n, width]`.
///
/// `vorpal train byol` learns and is tested as [`SimClr`]: at least 87 % of the test digits by 300 names. With 64 and 32
/// numbers 126,272 parameters are trained.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::beyond::Byol;
/// let device = Device::cpu();
/// let model = Byol::new(64, 32, &device);
/// let views = Tensor::rand([6, 1, 28, 28], DType::F32, &device);
/// assert_eq!(model.loss(&views).shape().rank(), 0);
/// ```
#[derive(Clone, Debug, Module)]
pub struct Byol {
    online: SimClr,
    predictor: Head,
    target: Frozen<SimClr>,
}

impl Byol {
    /// Random weights, the copy's the same.
    pub fn new(width: usize, compared: usize, device: &Device) -> Byol {
        let net = || SimClr {
            encoder: Encoder::new(width, device),
            head: Head::normalised(width, 2 * width, compared, device),
        };
        let (online, mut target) = (net(), Frozen(net()));
        super::follow(&mut target.0, &online, 1.0);
        Byol { online, predictor: Head::normalised(compared, 2 * width, compared, device), target }
    }

    /// What stays.
    pub fn encoder(&self) -> &Encoder {
        &self.online.encoder
    }

    /// Two less twice the cosine of prediction and copy, the mean over both ways, for `views` as in [`SimClr::loss`].
    #[track_caller]
    pub fn loss(&self, views: &Tensor) -> Tensor {
        let half = views.shape().first().copied().unwrap_or(0) / 2;
        let predicted = self.predictor.forward(&self.online.forward(views));
        // The other view of each.
        let other = self.target.forward(views).stop_gradient().roll(half as isize, 0);
        2.0 - 2.0 * predicted.cosine_similarity(&other, 1, 1e-8).mean_all()
    }

    /// Moves the copy by `share` of the way to the network.
    pub fn follow(&mut self, share: f64) {
        super::follow(&mut self.target.0, &self.online, share);
    }
}
