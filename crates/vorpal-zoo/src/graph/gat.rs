//! Graph attention.

use vorpal_nn::{Device, Dropout, Linear, Module, Tensor, init};

use super::Edges;

/// Sizes of a [`Gat`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatOptions {
    /// Columns of the features.
    pub inputs: usize,
    /// Columns of each head of the first layer.
    pub hidden: usize,
    /// Heads of the first layer.
    pub heads: usize,
    /// Classes.
    pub classes: usize,
    /// Dropout of what goes into a layer, and of attention.
    pub dropout: f64,
    /// Whether scores are those of GATv2.
    pub v2: bool,
}

/// One layer of graph attention: every node takes the mean of its neighbours, weighted by a softmax of scores.
///
/// The scores of the first version (Veličković et al. 2018), LeakyReLU(a · Wx + b · Wy), rank neighbours alike for all
/// nodes; those of the second (Brody, Alon, Yahav 2022), a · LeakyReLU(Wx + Vy), need not. Parameters are named as those
/// of PyTorch Geometric's `GATConv`, with `lin_r` for V.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::data::Network;
/// use vorpal_zoo::graph::{Edges, GatConv};
/// let device = Device::cpu();
/// let edges = Edges::new(&Network::new(3, &[(0, 1), (1, 2)]), true, &device);
/// let x = Tensor::ones([3, 4], DType::F32, &device);
/// assert_eq!(GatConv::new(4, 5, 2, 0.0, true, &device).forward(&x, &edges).shape(), [3, 2, 5].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct GatConv {
    lin: Linear,
    lin_r: Option<Linear>,
    att_src: Tensor,
    att_dst: Option<Tensor>,
    drop: Dropout,
    heads: usize,
}

impl GatConv {
    /// From `inputs` to `outputs` columns of each of `heads`, dropping attention with probability `dropout`.
    pub fn new(
        inputs: usize,
        outputs: usize,
        heads: usize,
        dropout: f64,
        v2: bool,
        device: &Device,
    ) -> GatConv {
        let lin = || Linear { weight: init::xavier_uniform([heads * outputs, inputs], device), bias: None };
        let att = || init::xavier_uniform([heads, outputs], device);
        GatConv {
            lin: lin(),
            lin_r: v2.then(lin),
            att_src: att(),
            att_dst: (!v2).then(att),
            drop: Dropout::new(dropout),
            heads,
        }
    }

    /// Attention `[edges, heads]` along every edge, and what is weighted by it, `[nodes, heads, outputs]`.
    #[track_caller]
    pub fn attention(&self, x: &Tensor, edges: &Edges) -> (Tensor, Tensor) {
        let rows = x.shape().first().copied().unwrap_or(0);
        let columns = self.att_src.shape().last().copied().unwrap_or(0);
        let split = |lin: &Linear| lin.forward(x).reshape([rows, self.heads, columns]);
        let values = split(&self.lin);
        let scores = match (&self.lin_r, &self.att_dst) {
            (Some(lin_r), _) => {
                let both = edges.sources(&values) + edges.targets(&split(lin_r));
                (both.leaky_relu(0.2) * &self.att_src).sum(-1)
            }
            (None, Some(att_dst)) => {
                let by = |att: &Tensor| (&values * att).sum(-1);
                (edges.sources(&by(&self.att_src)) + edges.targets(&by(att_dst))).leaky_relu(0.2)
            }
            (None, None) => edges.sources(&(&values * &self.att_src).sum(-1)).leaky_relu(0.2),
        };
        (edges.softmax(&scores), values)
    }

    /// `[nodes, inputs]` to `[nodes, heads, outputs]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, edges: &Edges) -> Tensor {
        let (attention, values) = self.attention(x, edges);
        edges.sum(&(self.drop.forward(&attention).unsqueeze(-1) * edges.sources(&values)))
    }
}

/// A graph attention network: a [`GatConv`] whose heads stand side by side, an ELU, and one of a single head; features
/// `[nodes, inputs]` to logits `[nodes, classes]`.
///
/// `vorpal train gat --data cora.npz` names the fields of papers (92,373 parameters; goal: 80 % of the usual test), and
/// `vorpal train gatv2` does by GATv2 on a karate club what `vorpal train karate` does by convolutions (2,372 parameters; goal:
/// 93 %).
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::data::Network;
/// use vorpal_zoo::graph::{Edges, Gat, GatOptions};
/// let device = Device::cpu();
/// let edges = Edges::new(&Network::karate()?, true, &device);
/// let model = Gat::new(GatOptions { inputs: 34, hidden: 4, heads: 2, classes: 2, dropout: 0.5, v2: false }, &device);
/// assert_eq!(model.forward(&Tensor::eye(34, DType::F32, &device), &edges).shape(), [34, 2].into());
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Gat {
    conv1: GatConv,
    bias1: Tensor,
    conv2: GatConv,
    bias2: Tensor,
    drop: Dropout,
}

impl Gat {
    /// Random weights.
    pub fn new(options: GatOptions, device: &Device) -> Gat {
        let GatOptions { inputs, hidden, heads, classes, dropout, v2 } = options;
        Gat {
            conv1: GatConv::new(inputs, hidden, heads, dropout, v2, device),
            bias1: init::constant([heads * hidden], 0.0, device),
            conv2: GatConv::new(heads * hidden, classes, 1, dropout, v2, device),
            bias2: init::constant([classes], 0.0, device),
            drop: Dropout::new(dropout),
        }
    }

    /// What the first layer makes of the nodes: `[nodes, heads · hidden]`.
    #[track_caller]
    pub fn embed(&self, x: &Tensor, edges: &Edges) -> Tensor {
        (self.conv1.forward(&self.drop.forward(x), edges).flatten(1, -1) + &self.bias1).elu(1.0)
    }

    /// Logits `[nodes, classes]` of features `[nodes, inputs]`. Edges should hold every node beside itself.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, edges: &Edges) -> Tensor {
        let x = self.embed(x, edges);
        self.conv2.forward(&self.drop.forward(&x), edges).flatten(1, -1) + &self.bias2
    }
}
