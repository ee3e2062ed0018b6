//! Graphs on a device: edges by number, and many graphs as one.

use vorpal_autodiff::ops::SparseCsr;
use vorpal_nn::{DType, Device, Tensor, Tensors, Tree};

use crate::data::Network;

/// Directed edges of a graph, in the order of the nodes they lead to.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::data::Network;
/// use vorpal_zoo::graph::Edges;
/// let path = Network::new(3, &[(0, 1), (1, 2)]);
/// let edges = Edges::new(&path, false, &Device::cpu());
/// let x = Tensor::from_slice(&[1.0f32, 10.0, 100.0], [3, 1], &Device::cpu());
/// let sums = edges.sum(&edges.sources(&x));
/// assert_eq!(sums.to_vec::<f32>()?, [10.0, 101.0, 10.0]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Edges {
    /// The node each edge comes from, `[edges]`, `I32`.
    pub from: Tensor,
    /// The node each edge leads to, `[edges]`, `I32`, not decreasing.
    pub to: Tensor,
    /// Number of nodes.
    pub nodes: usize,
}

impl Tensors for Edges {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        f(&self.from);
        f(&self.to);
    }
}

impl Tree for Edges {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> Edges {
        Edges { from: f(&self.from), to: f(&self.to), nodes: self.nodes }
    }
}

impl Edges {
    /// Every pair of the graph in both directions, and every node beside itself where `loops` says so.
    pub fn new(graph: &Network, loops: bool, device: &Device) -> Edges {
        let mut pairs = both_ways(&graph.edges);
        if loops {
            pairs.extend((0..graph.nodes).map(|v| (v, v)));
        }
        pairs.sort_by_key(|&(from, to)| (to, from));
        Edges::of_pairs(&pairs, graph.nodes, device)
    }

    /// Pairs as they are, which must be in the order of where they lead.
    fn of_pairs(pairs: &[(usize, usize)], nodes: usize, device: &Device) -> Edges {
        let list = |f: fn(&(usize, usize)) -> usize| {
            let numbers: Vec<i32> = pairs.iter().map(|pair| f(pair) as i32).collect();
            Tensor::from_slice(&numbers, [numbers.len()], device)
        };
        Edges { from: list(|p| p.0), to: list(|p| p.1), nodes }
    }

    /// Rows of `x`, `[nodes, …]`, where edges come from: `[edges, …]`.
    #[track_caller]
    pub fn sources(&self, x: &Tensor) -> Tensor {
        x.index_select(0, &self.from)
    }

    /// Rows of `x`, `[nodes, …]`, where edges lead: `[edges, …]`.
    #[track_caller]
    pub fn targets(&self, x: &Tensor) -> Tensor {
        x.index_select(0, &self.to)
    }

    /// The sum of what comes to each node: `[edges, …]` to `[nodes, …]`.
    #[track_caller]
    pub fn sum(&self, messages: &Tensor) -> Tensor {
        messages.segment_sum(&self.to, self.nodes, true)
    }

    /// Probabilities over the edges that lead to one node: `[edges, …]` to `[edges, …]`.
    #[track_caller]
    pub fn softmax(&self, scores: &Tensor) -> Tensor {
        scores.segment_softmax(&self.to, self.nodes, true)
    }

    /// The matrix D^(−1∕2) (A + I) D^(−1∕2) of these edges A and their degrees D with every node beside itself, that
    /// graph convolutions take means by. Edges must not hold nodes beside themselves.
    pub fn normalized(&self) -> SparseCsr {
        let device = match self.from.device() {
            Ok(device) => device,
            Err(_) => return SparseCsr::new(&self.from, &self.to, &self.from, [self.nodes; 2]),
        };
        let own = Tensor::arange(self.nodes, DType::I32, &device);
        let rows = Tensor::concat(&[&self.to, &own], 0);
        let columns = Tensor::concat(&[&self.from, &own], 0);
        let ones = Tensor::ones(rows.shape(), DType::F32, &device);
        let degree = ones.segment_sum(&rows, self.nodes, false).rsqrt();
        let matrix = vorpal_autodiff::ops::SparseCoo::new(&ones, &rows, &columns, [self.nodes; 2]);
        matrix.to_csr().scaled(&degree, &degree)
    }
}

fn both_ways(edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    edges.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect()
}

/// Several graphs as one that hangs together nowhere, filled up so that batches have few shapes: behind the nodes of all
/// graphs are nodes of a graph of their own, and edges of the last of them to itself.
///
/// ```
/// use vorpal_nn::Device;
/// use vorpal_zoo::data::Network;
/// use vorpal_zoo::graph::Union;
/// let graphs = [Network::new(2, &[(0, 1)]), Network::new(3, &[(0, 1), (1, 2)])];
/// let union = Union::new(&graphs, 4, 8, &Device::cpu());
/// assert_eq!((union.edges.nodes, union.graphs), (9, 2));
/// assert_eq!(union.graph.to_vec::<i32>()?, [0, 0, 1, 1, 1, 2, 2, 2, 2]);
/// assert_eq!(union.edges.to.to_vec::<i32>()?, [0, 1, 2, 3, 3, 4, 8, 8]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Union {
    /// Edges of all.
    pub edges: Edges,
    /// Number of the pair among those of its graph that each edge belongs to, all graphs counted one after the other; that
    /// behind the last for what fills up. `[edges]`, `I32`.
    pub pairs: Tensor,
    /// The graph of each node, `[nodes]`, `I32`, not decreasing.
    pub graph: Tensor,
    /// Number of graphs, without what fills up.
    pub graphs: usize,
}

impl Tensors for Union {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.edges.visit(f);
        f(&self.pairs);
        f(&self.graph);
    }
}

impl Tree for Union {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> Union {
        let edges = self.edges.map(f);
        Union { edges, pairs: f(&self.pairs), graph: f(&self.graph), graphs: self.graphs }
    }
}

impl Union {
    /// The union of `graphs`, filled up to `room` nodes for each and one more, and to a multiple of `multiple` edges.
    pub fn new(graphs: &[Network], room: usize, multiple: usize, device: &Device) -> Union {
        let (mut pairs, mut owner, mut number) = (Vec::new(), Vec::new(), Vec::new());
        for (k, graph) in graphs.iter().enumerate() {
            let first = owner.len();
            let counted = number.len() / 2;
            let ways = both_ways(&graph.edges);
            number.extend((0..ways.len()).map(|e| (counted + e / 2) as i32));
            pairs.extend(ways.iter().map(|&(a, b)| (first + a, first + b)));
            owner.extend(std::iter::repeat_n(k as i32, graph.nodes));
        }
        let nodes = (graphs.len() * room).max(owner.len()) + 1;
        owner.resize(nodes, graphs.len() as i32);
        let filled = pairs.len().next_multiple_of(multiple.max(1));
        let nobody = (number.len() / 2) as i32;
        number.resize(filled, nobody);
        pairs.resize(filled, (nodes - 1, nodes - 1));
        let mut order: Vec<usize> = (0..filled).collect();
        order.sort_by_key(|&e| (pairs[e].1, pairs[e].0));
        let pairs: Vec<(usize, usize)> = order.iter().map(|&e| pairs[e]).collect();
        let number: Vec<i32> = order.iter().map(|&e| number[e]).collect();
        Union {
            edges: Edges::of_pairs(&pairs, nodes, device),
            pairs: Tensor::from_slice(&number, [filled], device),
            graph: Tensor::from_slice(&owner, [nodes], device),
            graphs: graphs.len(),
        }
    }

    /// The sum over the nodes of each graph: `[nodes, n]` to `[graphs, n]`.
    #[track_caller]
    pub fn sum(&self, x: &Tensor) -> Tensor {
        x.segment_sum(&self.graph, self.graphs + 1, true).narrow(0, 0, self.graphs)
    }
}
