//! What is trained: how a model answers a batch, and how wrong that is.

use std::marker::PhantomData;

use vorpal_autodiff::{Tensor, Tree};

use crate::Module;

/// What is trained: how a model answers a batch, and how wrong that is. [`supervised`] makes one of two functions.
pub trait Task {
    /// The model.
    type Model: Module;
    /// What the loader gives.
    type Batch: Tree + Send + 'static;

    /// What the model makes of a batch. With a [`Precision`](vorpal_autodiff::Precision), floats of the model and of
    /// the batch come in the dtype to compute in, and what is returned is widened.
    fn forward(&self, model: &Self::Model, batch: &Self::Batch) -> Tensor;

    /// The mean loss, one float.
    fn loss(&self, output: &Tensor, batch: &Self::Batch) -> Tensor;

    /// What metrics compare the output with.
    fn target(&self, batch: &Self::Batch) -> Tensor;

    /// Pictures `[n, channels, height, width]` of a batch, for the report; none unless told.
    fn pictures(&self, _batch: &Self::Batch) -> Option<Tensor> {
        None
    }
}

/// Batches of inputs and targets: see [`supervised`].
pub struct Supervised<M, F, L> {
    forward: F,
    loss: L,
    model: PhantomData<fn(&M)>,
}

impl<M, F, L> std::fmt::Debug for Supervised<M, F, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Supervised")
    }
}

/// The task of a model that answers inputs, and of a loss of its answers and the targets. Batches are pairs
/// `(inputs, targets)`.
///
/// ```
/// use vorpal_nn::trainer::{Task, supervised};
/// use vorpal_nn::{DType, Device, Linear, Tensor};
/// let task = supervised(|m: &Linear, x: &Tensor| m.forward(x), |out, y| out.cross_entropy(y));
/// let device = Device::cpu();
/// let batch = (Tensor::zeros([2, 4], DType::F32, &device), Tensor::zeros([2], DType::I32, &device));
/// let output = task.forward(&Linear::new(4, 3, &device), &batch);
/// assert_eq!(output.shape(), [2, 3].into());
/// ```
pub fn supervised<M, F, L>(forward: F, loss: L) -> Supervised<M, F, L>
where
    M: Module,
    F: Fn(&M, &Tensor) -> Tensor,
    L: Fn(&Tensor, &Tensor) -> Tensor,
{
    Supervised { forward, loss, model: PhantomData }
}

impl<M, F, L> Task for Supervised<M, F, L>
where
    M: Module,
    F: Fn(&M, &Tensor) -> Tensor,
    L: Fn(&Tensor, &Tensor) -> Tensor,
{
    type Model = M;
    type Batch = (Tensor, Tensor);

    fn forward(&self, model: &M, (x, _): &(Tensor, Tensor)) -> Tensor {
        (self.forward)(model, x)
    }

    fn loss(&self, output: &Tensor, (_, y): &(Tensor, Tensor)) -> Tensor {
        (self.loss)(output, y)
    }

    fn target(&self, (_, y): &(Tensor, Tensor)) -> Tensor {
        y.clone()
    }

    fn pictures(&self, (x, _): &(Tensor, Tensor)) -> Option<Tensor> {
        let shape = x.shape();
        (shape.rank() == 4 && matches!(shape.dims()[1], 1 | 3)).then(|| x.clone())
    }
}
