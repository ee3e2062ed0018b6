//! A transformer that knows of a graph by where walks lead.

use vorpal_nn::{AttentionOptions, Device, LayerNorm, Linear, Module, Tensor, multi_head_attention};

/// Sizes of a [`GraphTransformer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GraphTransformerOptions {
    /// Columns of the features of a node.
    pub inputs: usize,
    /// Numbers that stand for a node.
    pub width: usize,
    /// Heads of each attention; divides the width.
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
    /// Columns of the result.
    pub outputs: usize,
}

/// A transformer of graphs with encodings by random walks (Dwivedi & Bresson 2021; Dwivedi et al. 2022; Rampášek et al.
/// 2022): every node sees all others of its graph, and learns of the edges by features, the probabilities that a walk
/// comes back after so many steps ([`Network::returns`](crate::data::Network::returns)). Features `[graphs, most nodes, inputs]`
/// to `[graphs, outputs]`.
///
/// `vorpal train graph-transformer` counts triangles of graphs of up to seven nodes, which no sum over neighbours can
/// (27,041 parameters; goal: 95 % of those it has not seen counted exactly).
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::graph::{GraphTransformer, GraphTransformerOptions};
/// let device = Device::cpu();
/// let options = GraphTransformerOptions { inputs: 3, width: 8, heads: 2, layers: 1, outputs: 1 };
/// let model = GraphTransformer::new(options, &device);
/// let nodes = Tensor::from_slice(&[3i32, 5], [2], &device);
/// assert_eq!(model.forward(&Tensor::ones([2, 5, 3], DType::F32, &device), &nodes).shape(), [2, 1].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct GraphTransformer {
    start: Linear,
    blocks: Vec<Block>,
    norm: LayerNorm,
    out1: Linear,
    out2: Linear,
}

#[derive(Clone, Debug, Module)]
struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
}

impl Block {
    #[track_caller]
    fn forward(&self, x: &Tensor, nodes: &Tensor) -> Tensor {
        let width = x.shape().last().copied().unwrap_or(0);
        let rows = self.qkv.forward(&self.norm1.forward(x));
        let [q, k, v] = [0, 1, 2].map(|part| rows.narrow(-1, part * width, width));
        let seen = AttentionOptions::default().lengths(None, nodes.clone());
        let x = x + self.proj.forward(&multi_head_attention(&q, &k, &v, self.heads, seen));
        &x + self.fc2.forward(&self.fc1.forward(&self.norm2.forward(&x)).gelu_tanh())
    }
}

impl GraphTransformer {
    /// Random weights.
    pub fn new(options: GraphTransformerOptions, device: &Device) -> GraphTransformer {
        let GraphTransformerOptions { inputs, width, heads, layers, outputs } = options;
        let block = |_| Block {
            norm1: LayerNorm::new(width, device),
            qkv: Linear::new(width, 3 * width, device),
            proj: Linear::new(width, width, device),
            norm2: LayerNorm::new(width, device),
            fc1: Linear::new(width, 2 * width, device),
            fc2: Linear::new(2 * width, width, device),
            heads,
        };
        GraphTransformer {
            start: Linear::new(inputs, width, device),
            blocks: (0..layers).map(block).collect(),
            norm: LayerNorm::new(width, device),
            out1: Linear::new(width, width, device),
            out2: Linear::new(width, outputs, device),
        }
    }

    /// `[graphs, outputs]` of features of nodes, `[graphs, most nodes, inputs]`, of which the first `nodes`, `[graphs]`,
    /// `I32`, are there.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, nodes: &Tensor) -> Tensor {
        let most = x.shape().get(1).copied().unwrap_or(0);
        let mut x = self.start.forward(x);
        for block in &self.blocks {
            x = block.forward(&x, nodes);
        }
        let each = self.out1.forward(&self.norm.forward(&x)).gelu_tanh();
        let there = nodes.sequence_mask(most).unsqueeze(-1).cast(each.dtype());
        self.out2.forward(&(each * there).sum(1))
    }
}
