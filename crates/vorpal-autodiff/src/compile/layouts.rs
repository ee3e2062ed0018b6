//! Operands laid out once for all kernels that read them, as the weights of a recurrent layer in all of its steps.

use std::collections::HashMap;

use vorpal_kernels::LaidOut;
use vorpal_tensor::Layout;

use super::ir::{Builder, Kind, Node, NodeId};

/// Kernels that must read an operand before laying it out pays.
const READERS_MIN: usize = 4;

/// An operand of a kernel, and the window on it that gives the order the kernel had better read it in.
type Wanted = (NodeId, Layout);

/// Lays out what enough kernels read in one order; gives where every node is now, if anything changed.
pub(super) fn lay_out(builder: &mut Builder) -> Option<Vec<NodeId>> {
    if !builder.target().is_native() {
        return None;
    }
    let nodes = builder.nodes();
    let wanted = |node: &Node| -> Option<(Wanted, LaidOut)> {
        let Kind::Kernel { kernel, inputs, .. } = &node.kind else { return None };
        let laid_out = kernel.laid_out()?;
        Some(((inputs[laid_out.input], laid_out.layout.clone()), laid_out))
    };
    let mut all: Vec<Option<(Wanted, LaidOut)>> = nodes.iter().map(wanted).collect();
    let mut readers: HashMap<Wanted, usize> = HashMap::new();
    all.iter().flatten().for_each(|(wanted, _)| *readers.entry(wanted.clone()).or_default() += 1);
    readers.retain(|_, count| *count >= READERS_MIN);
    if readers.is_empty() {
        return None;
    }
    let mut copies: HashMap<Wanted, NodeId> = HashMap::new();
    let mut out: Vec<Node> = Vec::with_capacity(nodes.len() + 2 * readers.len());
    let mut now: Vec<NodeId> = Vec::with_capacity(nodes.len());
    for (node, wanted) in nodes.iter().zip(&mut all) {
        let mut node = node.clone();
        move_operands(&mut node.kind, &now);
        if let Kind::Kernel { kernel, inputs, .. } = &mut node.kind
            && let Some((wanted, laid_out)) = wanted.take().filter(|(wanted, _)| readers.contains_key(wanted))
        {
            let input = &mut inputs[laid_out.input];
            *input = *copies.entry(wanted).or_insert_with(|| copy(&mut out, *input, laid_out.layout));
            *kernel = laid_out.kernel;
        }
        now.push(out.len());
        out.push(node);
    }
    builder.replace(out);
    Some(now)
}

/// A copy of a window on a node that is a buffer, or such a node behind a barrier.
fn copy(nodes: &mut Vec<Node>, x: NodeId, layout: Layout) -> NodeId {
    let (base, barrier) = match nodes[x].kind {
        Kind::View { base, barrier, .. } => (base, barrier),
        _ => (x, None),
    };
    let (shape, dtype) = (layout.shape.clone(), nodes[x].dtype);
    nodes.push(Node { kind: Kind::View { base, layout, fill: 0.0, barrier }, shape: shape.clone(), dtype });
    nodes.push(Node { kind: Kind::Cast { x: nodes.len() - 1 }, shape, dtype });
    nodes.len() - 1
}

/// Points a node at where the nodes it reads are now.
pub(super) fn move_operands(kind: &mut Kind, now: &[NodeId]) {
    match kind {
        Kind::Input { .. } | Kind::Const { .. } | Kind::Scalar { .. } | Kind::Place { .. } => {}
        Kind::View { base, barrier, .. } => {
            *base = now[*base];
            barrier.iter_mut().for_each(|barrier| barrier.after = now[barrier.after]);
        }
        Kind::Call { args, .. } => args.iter_mut().for_each(|x| *x = now[*x]),
        Kind::Cast { x } | Kind::Reduce { x, .. } => *x = now[*x],
        Kind::Kernel { inputs, .. } => inputs.iter_mut().for_each(|x| *x = now[*x]),
    }
}
