//! Weights that are left out.

use vorpal_autodiff::custom_vjp;
use vorpal_nn::{DType, Device, Linear, Module, Role, State, Tensor};

use crate::dense::answer;

/// Whether a tensor is thinned: matrices and kernels of convolutions, not biases and scales.
fn thinned(role: Role, tensor: &Tensor) -> bool {
    role == Role::Parameter && tensor.rank() >= 2
}

/// The `kept` share of the largest elements of `scores` as ones, the others as zeros.
#[track_caller]
pub fn largest(scores: &Tensor, kept: f64) -> Tensor {
    let count = scores.shape().numel();
    let keep = ((count as f64 * kept.clamp(0.0, 1.0)).round() as usize).min(count);
    if keep == 0 {
        return scores.full_like(0.0);
    }
    let (sorted, _) = scores.reshape([count]).sort(0, true);
    scores.ge(sorted.narrow(0, keep - 1, 1)).cast(scores.dtype())
}

/// A model with weights left out for good: those where its masks are zero. They get no gradients and are zero whatever
/// the optimiser does.
///
/// ```
/// use vorpal_nn::{Device, Linear, eval};
/// use vorpal_zoo::memory::Pruned;
/// let mut model = Pruned::new(Linear::new(10, 10, &Device::cpu()));
/// model.prune(0.2);
/// eval(&model)?;
/// assert!((model.density()? - 0.2).abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Pruned<M: Module> {
    model: M,
    masks: Vec<State>,
}

impl<M: Module + Clone> Pruned<M> {
    /// A model with all its weights.
    pub fn new(model: M) -> Pruned<M> {
        let mut masks = Vec::new();
        model.walk("", &mut |_, role, tensor| {
            if thinned(role, tensor) {
                masks.push(State::new(tensor.full_like(1.0)));
            }
        });
        Pruned { model, masks }
    }

    /// The model as it answers: with the masks on its weights.
    pub fn masked(&self) -> M {
        let (mut model, mut masks) = (self.model.clone(), self.masks.iter());
        model.walk_mut("", &mut |_, role, tensor| {
            if let Some(mask) = thinned(role, tensor).then(|| masks.next()).flatten() {
                *tensor = &*tensor * mask.get();
            }
        });
        model
    }

    /// Leaves out all weights but the `kept` share of each matrix that is largest by magnitude (Han et al. 2015); what
    /// has been left out before stays out.
    pub fn prune(&mut self, kept: f64) {
        let (model, mut masks) = (self.masked(), self.masks.iter());
        model.walk("", &mut |_, role, tensor| {
            if let Some(mask) = thinned(role, tensor).then(|| masks.next()).flatten() {
                mask.set(largest(&tensor.abs(), kept));
            }
        });
    }

    /// Puts the weights back to those of `start`, under the masks that were found: a lottery ticket (Frankle & Carbin
    /// 2019).
    pub fn rewind(&mut self, start: &M) {
        self.model = start.map(&mut |tensor| tensor + 0.0);
    }

    /// The share of weights that are left.
    ///
    /// # Errors
    /// What evaluation gives.
    pub fn density(&self) -> vorpal_nn::Result<f64> {
        let (mut left, mut all) = (0.0, 0usize);
        for mask in &self.masks {
            let mask = mask.get();
            left += f64::from(mask.cast(DType::F32).sum_all().item::<f32>()?);
            all += mask.shape().numel();
        }
        Ok(left / all.max(1) as f64)
    }
}

/// A linear layer that learns which of its weights it needs while it is fitted to something new: movement pruning (Sanh et
/// al. 2020). Every weight has a score; the largest `kept` share of them counts. Scores get the gradient of the mask as if
/// it were the score itself, so that weights that move away from zero come in, and weights that shrink go out, however
/// large they were.
///
/// ```
/// use vorpal_nn::{DType, Device, Linear, Tensor};
/// use vorpal_zoo::memory::MovementLinear;
/// let device = Device::cpu();
/// let layer = MovementLinear::new(Linear::new(8, 4, &device), 0.5, &device);
/// assert_eq!(layer.forward(&Tensor::ones([2, 8], DType::F32, &device)).shape(), [2, 4].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct MovementLinear {
    weight: Tensor,
    scores: Tensor,
    bias: Option<Tensor>,
    kept: f64,
}

impl MovementLinear {
    /// A layer as it was trained before, and scores of zero.
    pub fn new(layer: Linear, kept: f64, device: &Device) -> MovementLinear {
        let scores = vorpal_nn::init::constant(layer.weight.shape(), 0.0, device);
        MovementLinear { weight: layer.weight, scores, bias: layer.bias, kept }
    }

    /// The share of weights that counts from now on.
    pub fn keep(&mut self, share: f64) {
        self.kept = share;
    }

    /// The weights as they answer, `[outputs, inputs]`.
    #[track_caller]
    pub fn masked(&self) -> Tensor {
        let kept = self.kept;
        let mask =
            custom_vjp(&[&self.scores], |s| largest(&s[0], kept), |_, _, grad| vec![Some(grad.clone())]);
        &self.weight * mask
    }

    /// The layer applied to the last axis of `x`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let y = x.matmul(&self.masked().t());
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}

/// A network of linear layers with ReLU between, for images that are made one row each: what is thinned here. Of 784, 300,
/// 100 and 10 numbers, the network of the lottery tickets' paper (Frankle & Carbin 2019), it has 266,610 parameters. Images
/// `[n, …]` to `[n, classes]`.
///
/// `vorpal train lottery` trains it, leaves out the smallest weights, puts the rest back to where they began and trains
/// again, until a tenth is left: that ticket is at least as good as the whole network less 1 %, and better than the same
/// mask on other random weights. `vorpal train magnitude` leaves weights out while it trains, nine of ten, at a cost of at
/// most 1 %. `vorpal train movement` fits a network for digits to turned digits with a twentieth of its weights (532,810
/// parameters with their scores), of which it is to name 92 %.
///
/// ```
/// use vorpal_nn::{DType, Device, Module, Tensor};
/// use vorpal_zoo::memory::Thin;
/// let device = Device::cpu();
/// let model = Thin::new(&[784, 300, 100, 10], &device);
/// assert_eq!(model.parameter_count(), 266_610);
/// assert_eq!(model.forward(&Tensor::zeros([2, 1, 28, 28], DType::F32, &device)).shape(), [2, 10].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Thin {
    layers: Vec<Linear>,
}

impl Thin {
    /// Random weights; `sizes` from the inputs to the outputs.
    pub fn new(sizes: &[usize], device: &Device) -> Thin {
        Thin { layers: sizes.windows(2).map(|s| Linear::new(s[0], s[1], device)).collect() }
    }

    /// Logits of images `[n, …]`.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        answer(&self.layers, images, Linear::forward)
    }

    /// The same with layers that learn which of their weights they need.
    pub fn moving(self, kept: f64, device: &Device) -> MovingThin {
        MovingThin {
            layers: self.layers.into_iter().map(|layer| MovementLinear::new(layer, kept, device)).collect(),
        }
    }
}

/// A [`Thin`] of [`MovementLinear`] layers.
#[derive(Clone, Debug, Module)]
pub struct MovingThin {
    /// The layers.
    pub layers: Vec<MovementLinear>,
}

impl MovingThin {
    /// Logits of images `[n, …]`.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        answer(&self.layers, images, MovementLinear::forward)
    }
}
