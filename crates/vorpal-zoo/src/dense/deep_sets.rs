//! Functions of sets.

use vorpal_nn::{Device, Module, Tensor};

use super::{Mlp, MlpOptions};

/// Sizes of [`DeepSets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeepSetsOptions {
    /// Numbers of an element.
    pub features: usize,
    /// Hidden units of both networks, and numbers that an element is described by.
    pub width: usize,
    /// Outputs.
    pub outputs: usize,
}

/// Deep Sets (Zaheer et al. 2017): ρ of the mean of φ of every element, two perceptrons, so that neither the order nor the
/// number of the elements counts. Sets `[batch, elements, features]` to `[batch, outputs]`; for 2 features, width 128 and 10
/// outputs there are 51,210 parameters.
///
/// `vorpal train deep_sets` reads MNIST digits that are given as a hundred points.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::dense::{DeepSets, DeepSetsOptions};
/// let device = Device::cpu();
/// let model = DeepSets::new(DeepSetsOptions { features: 2, width: 8, outputs: 3 }, &device);
/// let sets = Tensor::ones([4, 5, 2], DType::F32, &device);
/// let sizes = Tensor::from_slice(&[5i32, 2, 1, 3], [4], &device);
/// assert_eq!(model.forward(&sets, Some(&sizes)).shape(), [4, 3].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct DeepSets {
    phi: Mlp,
    rho: Mlp,
}

impl DeepSets {
    /// Random weights.
    pub fn new(options: DeepSetsOptions, device: &Device) -> DeepSets {
        let DeepSetsOptions { features, width, outputs } = options;
        let mlp = |sizes: Vec<usize>| Mlp::new(MlpOptions { sizes, ..MlpOptions::default() }, device);
        DeepSets { phi: mlp(vec![features, width, width, width]), rho: mlp(vec![width, width, outputs]) }
    }

    /// Outputs `[batch, outputs]` of sets `[batch, elements, features]`. `sizes`, `[batch]` of whole numbers, says how many
    /// elements of each set count, from the first one on; all do without it.
    #[track_caller]
    pub fn forward(&self, sets: &Tensor, sizes: Option<&Tensor>) -> Tensor {
        let described = self.phi.forward(sets).relu();
        let mean = match sizes {
            None => described.mean([1]),
            Some(sizes) => {
                let elements = sets.shape().get(1).copied().unwrap_or(0);
                let counts = sizes.sequence_mask(elements).cast(described.dtype()).unsqueeze(-1);
                (described * &counts).sum([1]) / counts.sum([1]).clamp_min(1.0)
            }
        };
        self.rho.forward(&mean)
    }
}
