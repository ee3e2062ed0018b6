//! Networks whose edges are functions.

use vorpal_nn::{Device, KanLinear, Module, SplineGrid, Tensor};

/// A Kolmogorov–Arnold network (Liu et al. 2024): every unit adds up trained functions, one of each unit before it, that
/// are B-splines beside a SiLU. `[…, inputs]` to `[…, outputs]`; a layer has inputs · outputs · (1 + intervals + degree)
/// parameters.
///
/// `vorpal train kan` finds exp(sin(πx) + y²), the example of the paper, with six units (300 parameters; goal: a root of the
/// mean squared error of at most 0.02).
///
/// ```
/// use vorpal_nn::{DType, Device, Module, SplineGrid, Tensor};
/// use vorpal_zoo::dense::Kan;
/// let device = Device::cpu();
/// let kan = Kan::new(&[2, 5, 1], SplineGrid::default(), &device);
/// assert_eq!(kan.parameter_count(), (2 * 5 + 5) * 9);
/// assert_eq!(kan.forward(&Tensor::zeros([3, 2], DType::F32, &device)).shape(), [3, 1].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Kan {
    layers: Vec<KanLinear>,
}

impl Kan {
    /// A network of these sizes, from inputs to outputs, all of whose functions are made over one grid.
    pub fn new(sizes: &[usize], grid: SplineGrid, device: &Device) -> Kan {
        Kan { layers: sizes.windows(2).map(|pair| KanLinear::new(pair[0], pair[1], grid, device)).collect() }
    }

    /// Outputs `[…, outputs]` of inputs `[…, inputs]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.layers.iter().fold(x.clone(), |x, layer| layer.forward(&x))
    }
}
