//! Logistic and softmax regression.

use vorpal_nn::loss::BceWithLogitsLoss;
use vorpal_nn::{DType, Device, Linear, Module, Tensor};

/// Logistic regression (Cox 1958): the log odds of one of two classes are a weighted sum of the features and a constant, for
/// `[rows, features]` to `[rows]`; features + 1 parameters.
///
/// An elastic net (Zou & Hastie 2005) holds the weights small: `l1` times their magnitudes and `l2` ∕ 2 times their squares
/// are added to the [`loss`](LogisticRegression::loss) by [`shrink`](LogisticRegression::shrink) after every step of
/// gradient descent (the proximal gradient method, Beck & Teboulle 2009), which makes weights that are not needed exactly
/// 0.
///
/// `vorpal train logistic` tells tumours of [`Rows::breast_cancer`](crate::data::Rows::breast_cancer) apart by thirty
/// measurements (31 parameters; goal: 97.5 % of those it has not seen).
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::linear::LogisticRegression;
/// let device = Device::cpu();
/// let mut model = LogisticRegression::new(2, &device);
/// model.weight = Tensor::from_slice(&[0.3f32, -1.0], [2], &device);
/// model.shrink(0.1, 5.0, 0.0);
/// assert_eq!(model.weight.to_vec::<f32>()?, [0.0, -0.5]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct LogisticRegression {
    /// Weights `[features]`.
    pub weight: Tensor,
    /// The constant, a scalar.
    pub bias: Tensor,
}

impl LogisticRegression {
    /// Weights of 0.
    pub fn new(features: usize, device: &Device) -> LogisticRegression {
        LogisticRegression {
            weight: Tensor::zeros([features], DType::F32, device),
            bias: Tensor::scalar(0.0, DType::F32, device),
        }
    }

    /// Log odds `[rows]` of class 1, of rows `[rows, features]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.matmul(&self.weight.unsqueeze(-1)).squeeze(-1) + &self.bias
    }

    /// The mean negative log likelihood of classes 0 and 1, `[rows]` of any dtype.
    #[track_caller]
    pub fn loss(&self, x: &Tensor, classes: &Tensor) -> Tensor {
        let logits = self.forward(x);
        BceWithLogitsLoss::default().forward(&logits, &classes.cast(logits.dtype()))
    }

    /// The proximal step of an elastic net after a step of gradient descent of size `rate`: the weights that are best when
    /// their distance from these, squared, over 2 `rate` is added to the penalty. The constant is free.
    #[track_caller]
    pub fn shrink(&mut self, rate: f64, l1: f64, l2: f64) {
        let size = (self.weight.abs() - rate * l1).relu() * (1.0 / (1.0 + rate * l2));
        self.weight = size * self.weight.sign();
    }
}

/// Softmax regression, multinomial logistic regression (Cox 1966): the logarithms of the odds of many classes are weighted
/// sums of the features, for `[rows, features]` to `[rows, classes]`; (features + 1) · classes parameters, named as those of
/// PyTorch's `Linear`.
///
/// `vorpal train softmax` reads the digits of [`Rows::digits`](crate::data::Rows::digits) by their 64 pixels (650 parameters;
/// goal: 96 % of those it has not seen).
///
/// ```
/// use vorpal_nn::{DType, Device, Module, Tensor};
/// use vorpal_zoo::linear::SoftmaxRegression;
/// let device = Device::cpu();
/// let model = SoftmaxRegression::new(64, 10, &device);
/// assert_eq!(model.parameter_count(), 650);
/// assert_eq!(model.forward(&Tensor::zeros([3, 64], DType::F32, &device)).shape(), [3, 10].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct SoftmaxRegression {
    linear: Linear,
}

impl SoftmaxRegression {
    /// Random weights.
    pub fn new(features: usize, classes: usize, device: &Device) -> SoftmaxRegression {
        SoftmaxRegression { linear: Linear::new(features, classes, device) }
    }

    /// Logits `[rows, classes]` of rows `[rows, features]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.linear.forward(x)
    }
}
