//! What only windows read is computed in their order: a cast that heads are then put side by side of, say, is made where they
//! end up. What was a launch for the values and one for the windows is the latter alone.

use smallvec::SmallVec;
use vorpal_tensor::{Error, Layout, Result};

use super::fuse::takes_epilogue;
use super::ir::{Barrier, Builder, Kind, Node, NodeId};
use super::layouts::move_operands;
use super::reads::{is_fusable, operands};

/// Nodes that sink together, those below each window counted. Much more is a program of its own, worth its launch.
const NODES_MAX: usize = 32;

/// Lets what is computed element by element sink below the windows on it, where that is no more work and what it is computed
/// from is in memory anyway. `roots` must be there in the end. Gives where every node is now, if anything changed.
pub(super) fn sink(builder: &mut Builder, roots: &[NodeId]) -> Result<Option<Vec<NodeId>>> {
    let graph = Readers::of(builder.nodes(), roots);
    let sunk: Vec<bool> = (0..graph.nodes.len()).map(|id| graph.sinks(id)).collect();
    if !sunk.contains(&true) {
        return Ok(None);
    }
    let mut rebuilt = Rebuilt { old: graph.nodes, now: Vec::new(), out: Vec::new() };
    for (id, node) in graph.nodes.iter().enumerate() {
        let place = match &node.kind {
            Kind::View { base, layout, .. } if sunk[*base] && !graph.of[id].is_empty() => {
                rebuilt.at(*base, layout)?
            }
            _ => {
                let mut node = node.clone();
                move_operands(&mut node.kind, &rebuilt.now);
                rebuilt.push(node)
            }
        };
        rebuilt.now.push(place);
    }
    let Rebuilt { now, out, .. } = rebuilt;
    builder.replace(out);
    Ok(Some(now))
}

/// Who reads what.
struct Readers<'a> {
    nodes: &'a [Node],
    /// Nodes that read each node, of those that something asked for depends on.
    of: Vec<SmallVec<[NodeId; 2]>>,
    /// Nodes that must be there as they are.
    pinned: Vec<bool>,
}

impl Readers<'_> {
    fn of<'a>(nodes: &'a [Node], roots: &[NodeId]) -> Readers<'a> {
        let mut readers =
            Readers { nodes, of: vec![SmallVec::new(); nodes.len()], pinned: vec![false; nodes.len()] };
        let mut live = vec![false; nodes.len()];
        for &root in roots {
            live[root] = true;
            readers.pinned[root] = true;
            if let Kind::View { base, .. } = nodes[root].kind {
                readers.pinned[base] = true;
            }
        }
        for id in (0..nodes.len()).rev() {
            if !live[id] {
                continue;
            }
            for &x in operands(&nodes[id]) {
                readers.of[x].push(id);
                live[x] = true;
            }
            if let Kind::View { barrier: Some(Barrier { after, .. }), .. } = nodes[id].kind {
                readers.pinned[after] = true;
                live[after] = true;
            }
        }
        readers
    }

    /// Whether a node is computed below the windows on it.
    fn sinks(&self, id: NodeId) -> bool {
        if !matches!(self.nodes[id].kind, Kind::Call { .. } | Kind::Cast { .. }) || self.pinned[id] {
            return false;
        }
        let (mut work, mut plain, mut left) = (0, true, NODES_MAX);
        for &reader in &self.of[id] {
            let Kind::View { layout, fill, barrier: None, .. } = &self.nodes[reader].kind else {
                return false;
            };
            let fills = !layout.bounds.is_empty();
            let readers = &self.of[reader];
            if self.pinned[reader]
                || !readers.iter().all(|&r| is_fusable(&self.nodes[r].kind))
                || fills && fill.to_bits() != 0
                || !self.moves(id, layout, &mut left)
            {
                return false;
            }
            work += shown(layout);
            plain &= layout.is_identity();
        }
        !plain && work <= self.nodes[id].shape.numel()
    }

    /// Whether node `x` can be computed in the order of a window on it, from what is in memory, in which neighbours stay
    /// neighbours. What is filled in is 0, which casts keep. `left` nodes may go along.
    fn moves(&self, x: NodeId, window: &Layout, left: &mut usize) -> bool {
        let node = &self.nodes[x];
        let Some(rest) = left.checked_sub(1) else { return false };
        *left = rest;
        let part = |&x: &NodeId| {
            let alone = || !self.pinned[x] && self.of[x].len() == 1;
            match &self.nodes[x].kind {
                Kind::Call { .. } | Kind::Cast { .. } => alone() && self.moves(x, window, left),
                Kind::Const { .. } | Kind::Scalar { .. } => window.bounds.is_empty(),
                Kind::Place { .. } => false,
                Kind::View { base, layout, .. } => {
                    layout.bounds.is_empty()
                        && self.is_there(*base)
                        && layout.through(window).is_some_and(|l| has_runs(&l))
                }
                _ => self.is_there(x) && has_runs(window),
            }
        };
        let keeps_zeros = window.bounds.is_empty() || matches!(node.kind, Kind::Cast { .. });
        keeps_zeros && operands(node).iter().all(part)
    }

    /// Whether a value is in memory whatever becomes of those who read it.
    fn is_there(&self, id: NodeId) -> bool {
        match self.nodes[id].kind {
            Kind::Input { .. } => true,
            Kind::Kernel { .. } => !takes_epilogue(&self.nodes[id]),
            _ => false,
        }
    }
}

/// Elements that a window shows of what it is on.
fn shown(layout: &Layout) -> usize {
    let bound =
        |axis: usize| layout.bounds.get(axis).map_or(layout.shape[axis], |(lo, hi)| hi.saturating_sub(*lo));
    (0..layout.shape.rank()).map(bound).product()
}

/// Whether neighbours along the last axis lie side by side, or are one.
fn has_runs(layout: &Layout) -> bool {
    let last = layout.shape.iter().zip(&layout.strides).rfind(|(size, _)| **size > 1);
    last.is_none_or(|(_, &stride)| matches!(stride, 0 | 1))
}

/// The graph as it becomes.
struct Rebuilt<'a> {
    old: &'a [Node],
    /// Where the nodes so far are.
    now: Vec<NodeId>,
    out: Vec<Node>,
}

impl Rebuilt<'_> {
    fn push(&mut self, node: Node) -> NodeId {
        self.out.push(node);
        self.out.len() - 1
    }

    /// What a window shows of node `x`, computed from what shows as much of the operands.
    fn at(&mut self, x: NodeId, window: &Layout) -> Result<NodeId> {
        let Node { kind, dtype, .. } = &self.old[x];
        let kind = match kind {
            Kind::Call { f, args } => {
                let args = args.iter().map(|&arg| self.at(arg, window)).collect::<Result<_>>()?;
                Kind::Call { f, args }
            }
            // A copy has nothing left to do.
            Kind::Cast { x: from } if self.old[*from].dtype == *dtype => return self.at(*from, window),
            Kind::Cast { x: from } => Kind::Cast { x: self.at(*from, window)? },
            Kind::Const { .. } | Kind::Scalar { .. } => kind.clone(),
            Kind::View { base, layout, barrier, .. } => {
                let layout = layout.through(window);
                let layout =
                    layout.ok_or_else(|| Error::internal("sink", "a window went through no longer"))?;
                self.window(*base, layout, *barrier)
            }
            _ => self.window(x, window.clone(), None),
        };
        if let Kind::View { base, layout, barrier: None, .. } = &kind
            && layout.is_identity()
            && layout.shape == self.out[*base].shape
        {
            return Ok(*base);
        }
        Ok(self.push(Node { kind, shape: window.shape.clone(), dtype: *dtype }))
    }

    /// A window on an old node.
    fn window(&self, base: NodeId, layout: Layout, barrier: Option<Barrier>) -> Kind {
        let barrier = barrier.map(|b| Barrier { after: self.now[b.after], ..b });
        Kind::View { base: self.now[base], layout, fill: 0.0, barrier }
    }
}

#[cfg(test)]
mod tests {
    use super::NODES_MAX;
    use crate::compile::ir::Target;
    use crate::{DType, Device, Tensor, Tensors, plan};

    fn numbers(shape: &[usize]) -> Tensor {
        let numbers: Vec<f32> = (0..shape.iter().product()).map(|k: usize| k as f32 * 0.25 - 3.0).collect();
        Tensor::from_slice(&numbers, shape, &Device::cpu())
    }

    fn launches(y: &impl Tensors) -> [usize; 2] {
        [Target::CARD, Target::NATIVE].map(|target| plan(y, target).expect("a plan").launches.len())
    }

    #[test]
    fn casts_are_made_where_heads_are_merged() {
        // Two examples of three heads, five rows of nine columns, of which the last is something else.
        let heads = numbers(&[2, 3, 5, 9]);
        let halves = heads.narrow(-1, 0, 8).cast(DType::F16);
        let merged = halves.transpose(1, 2).flatten(2, 3);
        assert_eq!(launches(&merged), [1, 1]);
        let expected = heads.narrow(-1, 0, 8).transpose(1, 2).flatten(2, 3);
        assert_eq!(merged.cast(DType::F32).to_vec::<f32>(), expected.to_vec::<f32>());
        // What others read is there in its own order, too.
        assert_eq!(launches(&(&halves, &merged)), [2, 2]);
    }

    #[test]
    fn what_is_no_more_work_sinks() {
        let (x, y) = (numbers(&[4, 6, 8]), numbers(&[4, 6, 8]));
        let both = (&x * &y).exp();
        let turned = |y: &Tensor| y.transpose(0, 1).flatten(1, 2).tanh();
        assert_eq!(launches(&turned(&both)), [1, 1]);
        // Halves of it are as much work as the whole.
        let part = |start, len| both.narrow(1, start, len).flatten(1, 2).tanh();
        assert_eq!(launches(&(part(0, 2), part(2, 4))), [2, 2]);
        assert_eq!(launches(&(part(0, 3), part(2, 4))), [3, 3]);
        // Columns side by side would not be so where they are read, and what is repeated would be computed over and over.
        assert_eq!(launches(&turned(&both.transpose(1, 2))), [2, 2]);
        assert_eq!(launches(&turned(&both.unsqueeze(1).broadcast_to([4, 2, 6, 8]))), [2, 2]);
        // A function of what fills would be another number.
        let padded = |y: &Tensor| y.pad(1, 1, 1, 0.0).transpose(0, 1).flatten(1, 2).tanh();
        assert_eq!(launches(&padded(&both.cos())), [2, 2]);
        let fill = padded(&both.cos()).to_vec::<f32>().expect("values");
        assert_eq!(fill[..32], [0.0; 32]);
        assert_eq!(launches(&padded(&x.cast(DType::F16))), [1, 1]);
        assert_eq!(
            padded(&x.cast(DType::F16)).cast(DType::F32).to_vec::<f32>().expect("values")[..32],
            [0.0; 32]
        );
    }

    #[test]
    fn what_sinks_is_short() {
        let x = numbers(&[4, 6, 8]);
        let turned = |y: &Tensor| y.transpose(0, 1).flatten(1, 2).tanh();
        let chain = |n: usize| (0..n).fold(x.clone(), |y, _| y.sin());
        assert_eq!(
            [launches(&turned(&chain(NODES_MAX))), launches(&turned(&chain(NODES_MAX + 1)))],
            [[1; 2], [2; 2]]
        );
        // As many windows as are worth it.
        let long = numbers(&[NODES_MAX + 1, 8, 4]).exp();
        let steps = |n: usize| -> Vec<Tensor> {
            (0..n).map(|k| (long.narrow(0, k, 1) * k as f64).sum_all()).collect()
        };
        assert_eq!(launches(&steps(NODES_MAX)), [NODES_MAX; 2]);
        assert_eq!(launches(&steps(NODES_MAX + 1)), [NODES_MAX + 2; 2]);
    }

    #[test]
    fn epilogues_keep_what_they_have() {
        let (x, w) = (numbers(&[2 * 5, 16]), numbers(&[16, 24]));
        let rows = x.matmul(&w).tanh().reshape([2, 5, 3, 8]).transpose(1, 2).flatten(2, 3).exp();
        for (target, count) in [(Target::CARD, 2), (Target::NATIVE, 2)] {
            let plan = plan(&rows, target).expect("a plan");
            assert_eq!(plan.launches.len(), count);
            assert!(plan.launches[0].kernel.describe().contains("then"), "{plan}");
        }
    }
}
