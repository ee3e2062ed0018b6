//! What nodes read: views and casts of halves resolved down to the node that owns the values.

use smallvec::SmallVec;
use vorpal_tensor::Layout;

use super::ir::{Barrier, Kind, Node, NodeId};

/// How a node reads an operand: which buffer or value, and through which window.
#[derive(Clone, Debug)]
pub struct Read {
    /// Node that owns the values; never a view.
    pub base: NodeId,
    /// Window on the base.
    pub layout: Layout,
    /// Value outside of a padded window.
    pub fill: f64,
    /// What keeps the window apart and late.
    pub barrier: Option<Barrier>,
}

/// The operands of a node, views among them.
pub(super) fn operands(node: &Node) -> &[NodeId] {
    match &node.kind {
        Kind::Call { args, .. } => args,
        Kind::Cast { x } | Kind::Reduce { x, .. } | Kind::View { base: x, .. } => std::slice::from_ref(x),
        Kind::Kernel { inputs, .. } => inputs,
        Kind::Input { .. } | Kind::Const { .. } | Kind::Scalar { .. } | Kind::Place { .. } => &[],
    }
}

/// What a node reads.
pub(super) type Reads = SmallVec<[Read; 3]>;

/// The reads of a node, views resolved. What is computed element by element, or reduced, reads halves as they are in place of the
/// floats that they are cast to: to read them is to cast them.
pub fn reads(nodes: &[Node], id: NodeId) -> Reads {
    let widens = is_fusable(&nodes[id].kind);
    operands(&nodes[id]).iter().map(|&x| read(nodes, x, widens)).collect()
}

/// How a node is read, views resolved, and casts to floats if that `widens`.
fn read(nodes: &[Node], x: NodeId, widens: bool) -> Read {
    let found = match &nodes[x].kind {
        Kind::View { base, layout, fill, barrier } => {
            // What a barrier waits for may be a cast that nothing reads.
            let wait = |b: Barrier| Barrier { after: computed(nodes, b.after), ..b };
            Read { base: *base, layout: layout.clone(), fill: *fill, barrier: barrier.map(wait) }
        }
        _ => Read { base: x, layout: Layout::contiguous(nodes[x].shape.clone()), fill: 0.0, barrier: None },
    };
    match &nodes[found.base].kind {
        Kind::Cast { x: halves } if widens && is_widened(nodes, found.base, *halves) => {
            let is_whole = found.base == x;
            match &nodes[*halves].kind {
                Kind::View { .. } if is_whole => read(nodes, *halves, false),
                Kind::View { .. } => found,
                kind if is_inline(kind) => found,
                _ => Read { base: *halves, ..found },
            }
        }
        _ => found,
    }
}

/// The node whose values are there when those of a node are: of a cast of 16-bit floats to what is computed with them, theirs.
fn computed(nodes: &[Node], id: NodeId) -> NodeId {
    match &nodes[id].kind {
        Kind::Cast { x } if is_widened(nodes, id, *x) => match &nodes[*x].kind {
            Kind::View { base, .. } => *base,
            _ => *x,
        },
        _ => id,
    }
}

/// Whether a cast gives 16-bit floats as what is computed with them.
fn is_widened(nodes: &[Node], cast: NodeId, from: NodeId) -> bool {
    let (narrow, wide) = (nodes[from].dtype, nodes[cast].dtype);
    narrow.is_16bit() && wide == narrow.compute()
}

/// Calls `f` with every node that a node reads, views and casts resolved, and with what a barrier makes it wait for.
pub(super) fn each_source(nodes: &[Node], id: NodeId, mut f: impl FnMut(NodeId, Option<NodeId>)) {
    for read in reads(nodes, id) {
        f(read.base, read.barrier.map(|b| b.after));
    }
}

/// Whether a node is computed inside whatever kernel needs it, without a buffer.
pub(super) fn is_inline(kind: &Kind) -> bool {
    matches!(kind, Kind::Const { .. } | Kind::Scalar { .. } | Kind::Place { .. })
}

pub(super) fn is_fusable(kind: &Kind) -> bool {
    matches!(kind, Kind::Call { .. } | Kind::Cast { .. } | Kind::Reduce { .. })
}
