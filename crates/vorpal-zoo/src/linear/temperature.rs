//! Calibration: how sure a classifier should be.

use vorpal_nn::{DType, Device, Module, Tensor};
#[cfg(not(target_arch = "wasm32"))]
use vorpal_nn::{Lbfgs, LbfgsOptions, Result};

/// Temperature scaling (Guo, Pleiss, Sun & Weinberger 2017): logits of a classifier are divided by one number, which is
/// fitted on data the classifier has not learned from. It changes no decision, only how sure it is. Logits `[rows, classes]`
/// to the same; one parameter.
///
/// `vorpal train temperature` cools a network of 101,770 parameters that has learned two thousand digits by heart: what it says
/// of digits it has not seen is to have a calibration error of at most 0.025.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::linear::Temperature;
/// let device = Device::cpu();
/// // Sure to 95 parts of 100, and right in three of four cases.
/// let logits = Tensor::from_slice(&[3.0f32, 0.0, 3.0, 0.0, 3.0, 0.0, 3.0, 0.0], [4, 2], &device);
/// let classes = Tensor::from_slice(&[0i32, 0, 0, 1], [4], &device);
/// let fitted = Temperature::fit(&logits, &classes)?;
/// let sure = fitted.forward(&logits).softmax(-1).to_vec::<f32>()?;
/// assert!((sure[0] - 0.75).abs() < 1e-3);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Temperature {
    /// Logarithm of the temperature, a scalar.
    pub log_temperature: Tensor,
}

impl Temperature {
    /// A temperature of 1, which changes nothing.
    pub fn new(device: &Device) -> Temperature {
        Temperature { log_temperature: Tensor::scalar(0.0, DType::F32, device) }
    }

    /// The temperature with the smallest cross-entropy of logits `[rows, classes]` and class numbers `[rows]`, by L-BFGS.
    ///
    /// # Errors
    /// What evaluation gives.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn fit(logits: &Tensor, classes: &Tensor) -> Result<Temperature> {
        let mut model = Temperature::new(&logits.device()?);
        let options = LbfgsOptions { max_iter: 50, strong_wolfe: true, ..LbfgsOptions::default() };
        Lbfgs::with_options(1.0, options).step(&mut model, |m| m.forward(logits).cross_entropy(classes))?;
        Ok(model)
    }

    /// Logits over the temperature, of the same shape.
    #[track_caller]
    pub fn forward(&self, logits: &Tensor) -> Tensor {
        logits * (-&self.log_temperature).exp()
    }
}

/// The score up to which a class belongs to a set that holds the right one in `coverage` of all cases: split conformal
/// prediction (Vovk, Gammerman & Shafer 2005; Sadinle, Lei & Wasserman 2019). A class's score is 1 less its probability;
/// `probabilities` are `[rows, classes]` of data nothing has learned from, with their `classes`, `[rows]`. Gives a scalar.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::linear::conformal_threshold;
/// let device = Device::cpu();
/// let sure = Tensor::from_slice(&[0.5f32, 0.5, 0.75, 0.25, 0.25, 0.75], [3, 2], &device);
/// let classes = Tensor::from_slice(&[0i32, 0, 0], [3], &device);
/// // Of scores 0.5, 0.25 and 0.75 the second smallest: two of four cases, the new one counted.
/// assert_eq!(conformal_threshold(&sure, &classes, 0.5).item::<f32>()?, 0.5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[track_caller]
pub fn conformal_threshold(probabilities: &Tensor, classes: &Tensor, coverage: f64) -> Tensor {
    let right = probabilities.gather(1, &classes.cast(DType::I32).unsqueeze(1)).squeeze(1);
    let rows = right.shape().numel();
    let rank = ((rows + 1) as f64 * coverage.clamp(0.0, 1.0) - 1e-9).ceil() as usize;
    // With too few rows for the coverage every class has to belong to the set.
    let scores: Tensor = 1.0 - right;
    let scores = Tensor::concat(&[&scores.sort(0, false).0, &scores.sum_keepdim([0]).full_like(1.0)], 0);
    scores.narrow(0, rank.clamp(1, rows + 1) - 1, 1).squeeze(0)
}
