//! Messages along edges of different kinds.

use vorpal_nn::{Device, GruCell, Linear, Module, Tensor};

use super::Edges;

/// A message passing network (Gilmer et al. 2017): what an edge hands on is a product with a matrix that a network makes of
/// the edge's features; what comes to a node is added up and taken in by a gated unit, `rounds` times. Features of nodes
/// `[nodes, inputs]` and of edges `[edges, features]` to `[nodes, outputs]`.
///
/// `vorpal train mpnn` is told one node of a graph of seven, and how long edges are, and finds out how far away the others
/// are (10,577 parameters; goal: 97 % of the variance for graphs it has not seen).
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::data::Network;
/// use vorpal_zoo::graph::{Edges, Mpnn};
/// let device = Device::cpu();
/// let edges = Edges::new(&Network::new(3, &[(0, 1), (1, 2)]), false, &device);
/// let (nodes, lengths) = (Tensor::ones([3, 2], DType::F32, &device), Tensor::ones([4, 1], DType::F32, &device));
/// assert_eq!(Mpnn::new(2, 1, 8, 1, 3, &device).forward(&nodes, &lengths, &edges).shape(), [3, 1].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Mpnn {
    start: Linear,
    edge1: Linear,
    edge2: Linear,
    update: GruCell,
    out1: Linear,
    out2: Linear,
    rounds: usize,
}

impl Mpnn {
    /// From `inputs` columns of nodes and `features` of edges through `hidden` to `outputs` columns of nodes.
    pub fn new(
        inputs: usize,
        features: usize,
        hidden: usize,
        outputs: usize,
        rounds: usize,
        device: &Device,
    ) -> Mpnn {
        Mpnn {
            start: Linear::new(inputs, hidden, device),
            edge1: Linear::new(features, 2 * hidden, device),
            edge2: Linear::new(2 * hidden, hidden * hidden, device),
            update: GruCell::new(hidden, hidden, device),
            out1: Linear::new(hidden + inputs, hidden, device),
            out2: Linear::new(hidden, outputs, device),
            rounds,
        }
    }

    /// `[nodes, outputs]` of features of nodes, `[nodes, inputs]`, and of edges, `[edges, features]`.
    #[track_caller]
    pub fn forward(&self, nodes: &Tensor, features: &Tensor, edges: &Edges) -> Tensor {
        let mut x = self.start.forward(nodes).tanh();
        let hidden = x.shape().last().copied().unwrap_or(0);
        let count = features.shape().first().copied().unwrap_or(0);
        let matrices = self.edge2.forward(&self.edge1.forward(features).relu());
        let matrices = matrices.reshape([count, hidden, hidden]);
        for _ in 0..self.rounds {
            let messages = (&matrices * edges.sources(&x).unsqueeze(1)).sum(-1);
            x = self.update.forward(&edges.sum(&messages), Some(&x));
        }
        self.out2.forward(&self.out1.forward(&Tensor::concat(&[&x, nodes], 1)).relu())
    }
}
