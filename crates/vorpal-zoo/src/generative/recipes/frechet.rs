//! How far made digits are from real ones.

use vorpal_nn::data::{Array, DataLoader, Dataset, Samples, Stack};
use vorpal_nn::trainer::{Trainer, supervised};
use vorpal_nn::{Adam, Conv2d, DType, Device, Linear, Module, Result, Tensor, eval};

use crate::recipe::Run;

/// Numbers a digit is described by.
const FEATURES: usize = 32;
/// What keeps covariances from being singular, and steps to the polar factor.
const LEAST: f64 = 1e-6;
const POLAR: usize = 60;
const EPOCHS: u64 = 4;

/// A classifier of digits of 14 × 14 pixels, and what it computes before it decides: the part that Inception has in the
/// Fréchet Inception Distance (Heusel et al. 2017).
#[derive(Clone, Debug, Module)]
pub(super) struct Judge {
    conv1: Conv2d,
    conv2: Conv2d,
    hidden: Linear,
    out: Linear,
}

impl Judge {
    fn new(device: &Device) -> Judge {
        let conv = |from, to| Conv2d::new(from, to, [3, 3], device).stride([2, 2]).padding([1, 1]);
        Judge {
            conv1: conv(1, 16),
            conv2: conv(16, 32),
            hidden: Linear::new(32 * 16, FEATURES, device),
            out: Linear::new(FEATURES, 10, device),
        }
    }

    fn features(&self, images: &Tensor) -> Tensor {
        let x = self.conv2.forward(&self.conv1.forward(images).relu()).relu();
        self.hidden.forward(&x.flatten(1, -1)).relu()
    }

    fn forward(&self, images: &Tensor) -> Tensor {
        self.out.forward(&self.features(images))
    }

    /// Learns the names of digits.
    pub fn train(run: &mut Run, digits: &Samples<(Array, i32)>) -> Result<Judge> {
        let device = run.device().clone();
        let loader = DataLoader::builder(digits.clone()).batch_size(50).drop_last(true);
        let mut loader = loader.shuffle(run.seed()).device(&device).build()?;
        let task = supervised(Judge::forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
        let trainer = Trainer::new(task, Judge::new(&device), Adam::new(2e-3)).epochs(EPOCHS);
        let (trainer, _) = run.fit_aside(trainer, &mut loader, None)?;
        Ok(trainer.model)
    }

    /// Share of the images `[n, 1, 14, 14]` from 0 to 1 that are taken for what `labels` says.
    pub fn accuracy(&self, images: &Tensor, labels: &Tensor) -> Result<f64> {
        let right = self.forward(images).argmax(-1).cast(DType::I32).eq(labels);
        Ok(f64::from(right.cast(DType::F32).mean_all().item::<f32>()?))
    }

    /// The Fréchet distance of two sets of images from 0 to 1: that of normal distributions with the means and covariances
    /// of their features.
    pub fn distance(&self, a: &Tensor, b: &Tensor) -> Result<f64> {
        let (a, b) = (self.features(a), self.features(b));
        eval(&(&a, &b))?;
        let cpu = Device::cpu();
        let moments = |x: Tensor| {
            let x = x.to_device(&cpu).cast(DType::F64);
            let n = x.shape().first().copied().unwrap_or(1).max(2) as f64;
            let mean = x.mean_keepdim(0);
            let centred = x - &mean;
            let least = Tensor::eye(FEATURES, DType::F64, &cpu) * LEAST;
            (mean, centred.t().matmul(&centred) * (1.0 / (n - 1.0)) + least)
        };
        let ((mean_a, cov_a), (mean_b, cov_b)) = (moments(a), moments(b));
        // The trace of the root of the product is the sum of the singular values of the product of their Cholesky
        // factors: the trace of its symmetric polar factor, by Newton's iteration (Higham 1986).
        let product = cov_b.cholesky().t().matmul(&cov_a.cholesky());
        let mut polar = product.clone();
        for _ in 0..POLAR {
            polar = (&polar + polar.inv().t()) * 0.5;
            eval(&polar)?;
        }
        let root = polar.t().matmul(&product).trace();
        let means = (mean_a - mean_b).square().sum_all();
        (means + cov_a.trace() + cov_b.trace() - root * 2.0).item::<f64>()
    }
}

/// The first `n` images of some digits, from 0 to 1, and their names.
pub(super) fn first<D: Dataset<Item = (Array, i32)>>(
    digits: &D,
    n: usize,
    device: &Device,
) -> Result<(Tensor, Tensor)> {
    let digits = (0..n.min(digits.len())).map(|k| digits.get(k)).collect::<Result<Vec<_>>>()?;
    Stack::stack(digits, device)
}
