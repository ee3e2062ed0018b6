//! Graph convolutions.

use vorpal_autodiff::ops::SparseCsr;
use vorpal_nn::{Device, Dropout, Linear, Module, Tensor, init};

/// One graph convolution: every node takes the mean of its neighbours and itself, weighted by degrees, of what a linear
/// layer makes of them. Parameters are named as those of PyTorch Geometric.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::data::Network;
/// use vorpal_zoo::graph::{Edges, GcnConv};
/// let device = Device::cpu();
/// let matrix = Edges::new(&Network::new(3, &[(0, 1), (1, 2)]), false, &device).normalized();
/// let layer = GcnConv::new(4, 2, &device);
/// assert_eq!(layer.forward(&Tensor::ones([3, 4], DType::F32, &device), &matrix).shape(), [3, 2].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct GcnConv {
    lin: Linear,
    bias: Tensor,
}

impl GcnConv {
    /// From `inputs` to `outputs` columns, with Glorot's weights.
    pub fn new(inputs: usize, outputs: usize, device: &Device) -> GcnConv {
        GcnConv {
            lin: Linear { weight: init::xavier_uniform([outputs, inputs], device), bias: None },
            bias: init::constant([outputs], 0.0, device),
        }
    }

    /// `[nodes, inputs]` to `[nodes, outputs]` along a matrix of [`Edges::normalized`](super::Edges::normalized).
    #[track_caller]
    pub fn forward(&self, x: &Tensor, matrix: &SparseCsr) -> Tensor {
        matrix.matmul(&self.lin.forward(x)) + &self.bias
    }
}

/// A graph convolutional network (Kipf & Welling 2017): two [`GcnConv`] with a ReLU between them, dropout before each;
/// features `[nodes, inputs]` to logits `[nodes, classes]`.
///
/// `vorpal train gcn --data cora.npz` names the fields of papers from 140 that are known (23,063 parameters; goal: 80 % of
/// the 1,000 of the usual test), `vorpal train karate` the sides of a karate club from its two leaders (594 parameters; goal:
/// 93 %).
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::data::Network;
/// use vorpal_zoo::graph::{Edges, Gcn};
/// let device = Device::cpu();
/// let club = Network::karate()?;
/// let matrix = Edges::new(&club, false, &device).normalized();
/// let model = Gcn::new(34, 16, 2, 0.5, &device);
/// assert_eq!(model.forward(&Tensor::eye(34, DType::F32, &device), &matrix).shape(), [34, 2].into());
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Gcn {
    conv1: GcnConv,
    conv2: GcnConv,
    drop: Dropout,
}

impl Gcn {
    /// From `inputs` columns through `hidden` to `classes`, with a probability of dropout.
    pub fn new(inputs: usize, hidden: usize, classes: usize, dropout: f64, device: &Device) -> Gcn {
        Gcn {
            conv1: GcnConv::new(inputs, hidden, device),
            conv2: GcnConv::new(hidden, classes, device),
            drop: Dropout::new(dropout),
        }
    }

    /// What the first convolution makes of the nodes: `[nodes, hidden]`.
    #[track_caller]
    pub fn embed(&self, x: &Tensor, matrix: &SparseCsr) -> Tensor {
        self.conv1.forward(&self.drop.forward(x), matrix).relu()
    }

    /// Logits `[nodes, classes]` of features `[nodes, inputs]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, matrix: &SparseCsr) -> Tensor {
        self.conv2.forward(&self.drop.forward(&self.embed(x, matrix)), matrix)
    }
}

/// A graph autoencoder (Kipf & Welling 2016): two [`GcnConv`] give every node a place, and two nodes are joined the
/// likelier the larger the product of their places: features `[nodes, inputs]` to places `[nodes, columns]`.
///
/// `vorpal train links` learns from nine tenths of the pairs of Les Misérables, and tells those of the last tenth that are
/// joined from those that are not (3,024 parameters; goal: an area under the curve of 0.85).
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::data::Network;
/// use vorpal_zoo::graph::{Edges, Gae};
/// let device = Device::cpu();
/// let (people, _) = Network::miserables()?;
/// let matrix = Edges::new(&people, false, &device).normalized();
/// let places = Gae::new(77, 32, 16, &device).forward(&Tensor::eye(77, DType::F32, &device), &matrix);
/// let pair = Tensor::from_slice(&[10i32, 11], [1, 2], &device);
/// assert_eq!(Gae::scores(&places, &pair).shape(), [1].into());
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Gae {
    conv1: GcnConv,
    conv2: GcnConv,
}

impl Gae {
    /// From `inputs` columns through `hidden` to places of `columns` numbers.
    pub fn new(inputs: usize, hidden: usize, columns: usize, device: &Device) -> Gae {
        Gae { conv1: GcnConv::new(inputs, hidden, device), conv2: GcnConv::new(hidden, columns, device) }
    }

    /// Places `[nodes, columns]` of features `[nodes, inputs]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, matrix: &SparseCsr) -> Tensor {
        self.conv2.forward(&self.conv1.forward(x, matrix).relu(), matrix)
    }

    /// Logits `[n]` of an edge between the nodes of `pairs`, `[n, 2]`.
    #[track_caller]
    pub fn scores(places: &Tensor, pairs: &Tensor) -> Tensor {
        let ends = places.embedding(pairs);
        (ends.narrow(1, 0, 1) * ends.narrow(1, 1, 1)).sum([1, 2])
    }
}
