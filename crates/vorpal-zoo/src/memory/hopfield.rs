//! A memory that completes what it is shown.

use vorpal_nn::{Device, Linear, Module, Tensor, init};

/// Patterns that `stored` ones become after `updates` steps of the modern Hopfield network (Ramsauer et al. 2021) from
/// `state` `[n, width]`: ξ ← softmax(β ξ Xᵀ) X, where X is `stored`, `[patterns, width]`. With a large β one step finds the
/// nearest of exponentially many patterns; with a small one it finds means of several. It is attention, said otherwise.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::memory::retrieve;
/// let device = Device::cpu();
/// let stored = Tensor::from_slice(&[1.0f32, -1.0, 1.0, -1.0, 1.0, 1.0], [2, 3], &device);
/// let half = Tensor::from_slice(&[1.0f32, -1.0, 0.0], [1, 3], &device);
/// let whole = retrieve(&half, &stored, 8.0, 1);
/// assert!((whole.to_vec::<f32>()?[2] - 1.0).abs() < 1e-3);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[track_caller]
pub fn retrieve(state: &Tensor, stored: &Tensor, beta: f64, updates: usize) -> Tensor {
    let mut state = state.clone();
    for _ in 0..updates {
        state = (state.matmul(&stored.transpose(-1, -2)) * beta).softmax(-1).matmul(stored);
    }
    state
}

/// Energy `[n]` of states `[n, width]`, up to a constant: what an update of [`retrieve`] never makes larger.
#[track_caller]
pub fn energy(state: &Tensor, stored: &Tensor, beta: f64) -> Tensor {
    let near = (state.matmul(&stored.transpose(-1, -2)) * beta).logsumexp(-1) * (1.0 / beta);
    state.square().sum(-1) * 0.5 - near
}

/// Hopfield pooling (Ramsauer et al. 2021) for bags of instances: trained states look up what a bag holds, whatever
/// the order and number of its instances. Here instances are images of 28 × 28 pixels, and the question is whether a bag
/// holds something: `hidden` units for each image, `states` trained patterns to look for, and one logit. With 64 units and 4
/// states it has 59,009 parameters. Bags `[bags, instances, 784]` to logits `[bags]`.
///
/// `vorpal train hopfield` is told of bags of ten digits only whether there is a 9 among them, not where: it is right for
/// at least 90 % of new bags.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::memory::HopfieldPooling;
/// let device = Device::cpu();
/// let model = HopfieldPooling::new(64, 4, &device);
/// let bags = Tensor::rand([3, 10, 28 * 28], DType::F32, &device);
/// assert_eq!(model.forward(&bags).shape(), [3].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct HopfieldPooling {
    embed: Linear,
    key: Linear,
    value: Linear,
    states: Tensor,
    out: Linear,
}

impl HopfieldPooling {
    /// Random weights.
    pub fn new(hidden: usize, states: usize, device: &Device) -> HopfieldPooling {
        HopfieldPooling {
            embed: Linear::new(28 * 28, hidden, device),
            key: Linear::without_bias(hidden, hidden, device),
            value: Linear::new(hidden, hidden, device),
            states: init::normal([states, hidden], 1.0, device),
            out: Linear::new(states * hidden, 1, device),
        }
    }

    /// What each trained state finds most in each bag: weights `[bags, states, instances]` that sum to 1 over the
    /// instances, of `bags` `[bags, instances, 784]`.
    #[track_caller]
    pub fn association(&self, bags: &Tensor) -> Tensor {
        self.associate(&self.embed.forward(bags).relu())
    }

    fn associate(&self, instances: &Tensor) -> Tensor {
        let width = self.states.shape().last().copied().unwrap_or(1);
        let beta = 1.0 / (width as f64).sqrt();
        (self.states.matmul(&self.key.forward(instances).transpose(-1, -2)) * beta).softmax(-1)
    }

    /// Logits `[bags]` of `bags` `[bags, instances, 784]`.
    #[track_caller]
    pub fn forward(&self, bags: &Tensor) -> Tensor {
        let instances = self.embed.forward(bags).relu();
        let found = self.associate(&instances).matmul(&self.value.forward(&instances));
        self.out.forward(&found.relu().flatten(1, -1)).squeeze(-1)
    }
}
