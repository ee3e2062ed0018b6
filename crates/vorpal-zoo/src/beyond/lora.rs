//! A model that is fitted to something new by few numbers.

use vorpal_nn::{Device, Linear, Lora, Module, Tensor};

use crate::dense::answer;

/// A network of three layers whose weights stay as they are, each with a product of two matrices of small rank beside it,
/// which is trained (Hu et al. 2021). Images `[n, …]` to `[n, classes]`; around layers of 784, 256, 256 and 10 numbers and with
/// rank 4 there are 7,272 numbers to train beside 269,322 that are not.
///
/// `vorpal train lora` takes a network that names digits, and shows it digits turned by a quarter: it names 13 % of
/// them. After the training of 2.7 % of its numbers it names at least 90 %; what it knew before is a matter of taking the
/// products off again.
///
/// ```
/// use vorpal_nn::{DType, Device, Linear, Module, Tensor};
/// use vorpal_zoo::beyond::LoraMlp;
/// let device = Device::cpu();
/// let base = [(784, 256), (256, 256), (256, 10)].map(|(from, to)| Linear::new(from, to, &device));
/// let model = LoraMlp::new(base.to_vec(), 4, &device);
/// assert_eq!(model.parameter_count(), 7_272);
/// assert_eq!(model.forward(&Tensor::zeros([2, 1, 28, 28], DType::F32, &device)).shape(), [2, 10].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct LoraMlp {
    layers: Vec<Lora>,
}

impl LoraMlp {
    /// Products of `rank` beside each of the layers; they change nothing at first.
    pub fn new(base: Vec<Linear>, rank: usize, device: &Device) -> LoraMlp {
        let beside = |layer| Lora::new(layer, rank, 2.0 * rank as f64, device);
        LoraMlp { layers: base.into_iter().map(beside).collect() }
    }

    /// Logits of images `[n, …]`.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        answer(&self.layers, images, Lora::forward)
    }

    /// The layers with the products added to their weights: nothing is slower than before.
    pub fn merged(self) -> Vec<Linear> {
        self.layers.into_iter().map(Lora::into_linear).collect()
    }
}
