//! Fusion: which nodes of the compiler's graph share a kernel.
//!
//! Nodes are placed one by one, in topological order, into the group of one of their operands where
//! that keeps the order of groups free of cycles and the kernel within its bindings. A group without
//! reductions becomes a pointwise kernel; one with reductions over the same rows becomes a row kernel
//! with as many passes as its reductions depend on one another; one that begins with a matrix product or a
//! convolution becomes that kernel with an epilogue.

mod draft;
mod heads;
mod merge;

use std::collections::BTreeSet;

use smallvec::SmallVec;
use vorpal_kernels::Epilogue;
use vorpal_tensor::{Layout, Shape};

use super::dag::Dag;
use super::ir::{Kind, Node, NodeId};
use super::reads::{Read, Reads, is_fusable, is_inline, reads};
use draft::{Draft, Limits};

/// Buffers a kernel binds as a rule.
const BUFFERS: usize = 8;

/// Nodes that are computed by one launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Members in order of evaluation.
    pub members: Vec<NodeId>,
    /// Iteration space and reduced axes of a row kernel; `None` for a pointwise kernel and for a
    /// kernel that stands alone.
    pub rows: Option<Rows>,
    /// Elements of the iteration space.
    pub len: usize,
}

/// Iteration space of a row kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Shape of the full space.
    pub shape: Shape,
    /// Which axes are reduced.
    pub axes: SmallVec<[bool; 6]>,
}

impl Rows {
    /// Map from the linear index of an element to the number of its row, with as few axes as possible.
    fn map(&self) -> Layout {
        let kept: Shape = self.shape.iter().zip(&self.axes).map(|(&d, &r)| if r { 1 } else { d }).collect();
        Layout::contiguous(kept).broadcast_to(&self.shape).collapse()
    }

    /// Number of rows.
    pub(crate) fn count(&self) -> usize {
        self.shape.iter().zip(&self.axes).filter(|&(_, &r)| !r).map(|(&d, _)| d).product()
    }
}

/// Rounds of placing nodes after which no epilogue is let have more than fits in the end.
const ROUNDS_MAX: usize = 4;

/// Whether a node is a kernel that can do more with its result before it stores it.
pub(super) fn takes_epilogue(node: &Node) -> bool {
    let Kind::Kernel { kernel, inputs, .. } = &node.kind else { return false };
    let stored = Epilogue::store(inputs.len(), node.dtype, node.shape.numel());
    kernel.with_epilogue(stored).is_some()
}

/// The state of placing nodes.
struct Fuser<'a> {
    nodes: &'a [Node],
    reads: &'a [Reads],
    /// How many nodes outside of its group read each node.
    readers: Vec<usize>,
    /// Nodes that are asked for from outside, and those that take an epilogue.
    wanted: Vec<bool>,
    heads: &'a [bool],
    /// What fits an epilogue, and the heads of those that turned out too large when more was let in for the time being.
    limits: Limits,
    strict: &'a BTreeSet<NodeId>,
    groups: Vec<Draft>,
    dag: Dag,
    group_of: Vec<Option<usize>>,
}

/// How nodes are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fusion {
    /// Every node stands alone, which is what fusion is tested against.
    Off,
    /// For kernels of an adapter that bind so many buffers at most.
    Adapter(usize),
    /// For native code.
    Native,
}

/// Groups of the live nodes, in an order in which they can run. `roots` must be nodes with a buffer of their own (no views,
/// constants, scalars or places).
pub fn fuse(nodes: &[Node], roots: &[NodeId], fusion: Fusion) -> Vec<Group> {
    let limits = match fusion {
        Fusion::Native => Limits::NATIVE,
        Fusion::Adapter(buffers) => Limits::of_adapter(buffers),
        Fusion::Off => Limits::of_adapter(BUFFERS),
    };
    let reads: Vec<_> = (0..nodes.len()).map(|id| reads(nodes, id)).collect();
    let mut heads: Vec<bool> = nodes.iter().map(takes_epilogue).collect();
    let (mut strict, mut rounds) = (BTreeSet::new(), 0);
    loop {
        rounds += 1;
        let mut fuser = Fuser::new(nodes, roots, (&reads, &heads), limits, &strict);
        fuser.place(fusion != Fusion::Off);
        let too_large = fuser.too_large();
        if too_large.is_empty() {
            let apart = if rounds < 2 * ROUNDS_MAX { fuser.better_apart() } else { Vec::new() };
            if apart.is_empty() {
                return fuser.ordered();
            }
            apart.into_iter().for_each(|head| heads[head] = false);
            continue;
        }
        // What is taken back from some may be too much for others. Two rounds do as a rule.
        let all = (0..nodes.len()).filter(|&id| rounds >= ROUNDS_MAX && heads[id]);
        strict.extend(too_large.into_iter().chain(all));
    }
}

impl<'a> Fuser<'a> {
    fn new(
        nodes: &'a [Node],
        roots: &[NodeId],
        (reads, heads): (&'a [Reads], &'a [bool]),
        limits: Limits,
        strict: &'a BTreeSet<NodeId>,
    ) -> Fuser<'a> {
        let mut wanted = vec![false; nodes.len()];
        for &root in roots {
            wanted[root] = true;
        }
        Fuser {
            nodes,
            reads,
            readers: vec![0; nodes.len()],
            wanted,
            heads,
            limits,
            strict,
            groups: Vec::new(),
            dag: Dag::default(),
            group_of: vec![None; nodes.len()],
        }
    }

    fn place(&mut self, fused: bool) {
        let live = self.live();
        for &id in &live {
            for base in self.bases(id) {
                self.readers[base] += 1;
            }
        }
        for id in live {
            let candidates = if fused { self.candidates(id) } else { SmallVec::new() };
            match candidates.into_iter().find(|&g| self.fits(id, g)) {
                Some(g) => self.join(id, g),
                None => self.open(id),
            }
            if fused {
                self.merge_operands(id);
                self.merge_parts(id);
            }
        }
    }

    /// Nodes with a launch of their own that something asked for depends on, in topological order.
    fn live(&self) -> Vec<NodeId> {
        let mut live = self.wanted.clone();
        for id in (0..self.nodes.len()).rev() {
            if live[id] {
                for read in &self.reads[id] {
                    live[read.base] = true;
                }
            }
        }
        let launched = |kind: &Kind| is_fusable(kind) || matches!(kind, Kind::Kernel { .. });
        (0..self.nodes.len()).filter(|&id| live[id] && launched(&self.nodes[id].kind)).collect()
    }

    /// Nodes whose values a node reads, each once, but for those that need no buffer.
    fn bases(&self, id: NodeId) -> SmallVec<[NodeId; 4]> {
        let mut out = SmallVec::new();
        for base in self.reads[id].iter().map(|r| r.base) {
            if !is_inline(&self.nodes[base].kind) && !out.contains(&base) {
                out.push(base);
            }
        }
        out
    }

    /// Run-time scalars that a node reads.
    fn scalars(&self, id: NodeId) -> impl Iterator<Item = usize> {
        self.reads[id].iter().filter_map(|read| match self.nodes[read.base].kind {
            Kind::Scalar { index } => Some(index),
            _ => None,
        })
    }

    /// Groups of fusable operands, the latest first.
    fn candidates(&self, id: NodeId) -> SmallVec<[usize; 4]> {
        let mut groups: SmallVec<[usize; 4]> = SmallVec::new();
        if is_fusable(&self.nodes[id].kind) {
            let joined = |base: NodeId| is_fusable(&self.nodes[base].kind) || self.heads[base];
            let of_operands = self.reads[id].iter().filter(|r| joined(r.base));
            groups.extend(of_operands.filter_map(|r| self.group_of[r.base]));
            groups.sort_unstable_by(|a, b| b.cmp(a));
            groups.dedup();
        }
        groups
    }

    /// Whether `read`, made by a node of `len` elements, is a value of a group over `space` elements and not a buffer.
    fn is_value(&self, read: &Read, len: usize, space: usize, rows: Option<&Rows>) -> bool {
        if read.barrier.is_some() {
            return false;
        }
        let base_len = self.nodes[read.base].shape.numel();
        if read.layout.is_identity() && base_len == len {
            return true;
        }
        // A row value broadcast back over the columns.
        let Some(rows) = rows else { return false };
        len == space && base_len == rows.count() && read.layout.collapse() == rows.map()
    }

    /// Results of a group once a node has joined: what others, placed or not, still read from it.
    fn results_with(&self, id: NodeId, g: usize) -> usize {
        let done = |b: &NodeId| self.group_of[*b] == Some(g) && !self.wanted[*b] && self.readers[*b] == 1;
        self.groups[g].results + 1 - self.bases(id).iter().filter(|b| done(b)).count()
    }

    /// Buffers that a group binds once a node has joined.
    fn buffers_with(&self, id: NodeId, g: usize) -> usize {
        let known = |b: &NodeId| self.group_of[*b] == Some(g) || self.groups[g].reads_of(*b) > 0;
        let new = self.bases(id).iter().filter(|b| !known(b)).count();
        self.groups[g].reads.len() + new + self.results_with(id, g)
    }

    /// Whether an epilogue can go on with a node.
    fn fits_epilogue(&self, id: NodeId, g: usize, head: NodeId) -> bool {
        let (node, (results, buffers)) = (&self.nodes[id], self.room(head));
        let narrow = node.dtype.is_16bit();
        !matches!(node.kind, Kind::Reduce { .. })
            && (!narrow || matches!(&self.nodes[head].kind, Kind::Kernel { kernel, .. } if kernel.stores_16bit()))
            && self.results_with(id, g) <= results
            // One more, should none of the results be able to hold the accumulators.
            && self.buffers_with(id, g) + self.twice(&self.groups[g], head, &self.bases(id)) < buffers
    }

    /// Whether a node can be evaluated in a group.
    fn fits(&self, id: NodeId, g: usize) -> bool {
        let (group, node) = (&self.groups[g], &self.nodes[id]);
        let buffers = group.head.map_or(self.limits.alone, |head| self.room(head).1);
        if !group.has_room_for(1, self.scalars(id)) || self.buffers_with(id, g) > buffers {
            return false;
        }
        if group.head.is_some_and(|head| !self.fits_epilogue(id, g, head)) {
            return false;
        }
        let Some(rows) = self.rows_with(id, g) else { return false };
        let len = node.shape.numel();
        if let Some(rows) = rows.as_ref().filter(|_| group.sixteen || node.dtype.is_16bit()) {
            let bases = self.bases(id);
            let joined = group.members.iter().copied().chain([id]);
            if !self.hold_narrow(rows, group.len, joined, |m| usize::from(bases.contains(&m))) {
                return false;
            }
        }
        let operand_len = self.operand_len(id);
        let row_len = rows.as_ref().map(Rows::count);
        if operand_len != group.len && Some(operand_len) != row_len {
            return false;
        }
        if !matches!(node.kind, Kind::Reduce { .. }) && len != group.len && Some(len) != row_len {
            return false;
        }
        let inside = |base: NodeId| self.group_of[base] == Some(g);
        let mut values = self.reads[id].iter().filter(|r| inside(r.base));
        values.all(|r| self.is_value(r, operand_len, group.len, rows.as_ref()))
            && !self.dag.reaches(g, self.earlier(id).filter(|&h| h != g))
    }

    /// Whether a kernel of such rows over `len` elements can have some members. Those of 16 bits that it stores must be whole
    /// fours and as many as there are elements; `inside` of the readers of each are members, too.
    fn hold_narrow(
        &self,
        rows: &Rows,
        len: usize,
        mut members: impl Iterator<Item = NodeId>,
        inside: impl Fn(NodeId) -> usize,
    ) -> bool {
        members.all(|m| {
            let node = &self.nodes[m];
            let is_stored = || self.wanted[m] || self.readers[m] > inside(m);
            let fits = || !is_stored() || (self.stores_narrow(rows) && node.shape.numel() == len);
            !node.dtype.is_16bit() || (self.limits.narrow_rows && fits())
        })
    }

    /// Whether a kernel of such rows stores elements of 16 bits, of which no invocation has but one.
    fn stores_narrow(&self, rows: &Rows) -> bool {
        // Without elements nothing tells those of rows from those of columns.
        let fours = rows.shape.last().is_some_and(|size| size.is_multiple_of(4)) && rows.shape.numel() > 0;
        fours && rows.axes.last() == Some(&true)
    }

    /// Elements of the operands of a node (those of a reduction are more than its own).
    fn operand_len(&self, id: NodeId) -> usize {
        match &self.nodes[id].kind {
            Kind::Reduce { x, .. } => self.nodes[*x].shape.numel(),
            _ => self.nodes[id].shape.numel(),
        }
    }

    /// Row space of a group once a node has joined; the outer `None` when they contradict.
    fn rows_with(&self, id: NodeId, g: usize) -> Option<Option<Rows>> {
        let group = &self.groups[g];
        let Kind::Reduce { x, axes, .. } = &self.nodes[id].kind else { return Some(group.rows.clone()) };
        let wanted = Rows { shape: self.nodes[*x].shape.clone(), axes: axes.clone() };
        match &group.rows {
            None if wanted.shape.numel() == group.len => Some(Some(wanted)),
            Some(have) if have.map() == wanted.map() && have.count() == wanted.count() => {
                Some(Some(have.clone()))
            }
            _ => None,
        }
    }

    fn open(&mut self, id: NodeId) {
        let node = &self.nodes[id];
        let rows = match &node.kind {
            Kind::Reduce { x, axes, .. } => {
                Some(Rows { shape: self.nodes[*x].shape.clone(), axes: axes.clone() })
            }
            _ => None,
        };
        self.groups.push(Draft::new(rows, self.operand_len(id), self.heads[id].then_some(id)));
        let g = self.dag.open();
        self.add(id, g);
    }

    fn join(&mut self, id: NodeId, g: usize) {
        if let Some(rows) = self.rows_with(id, g) {
            self.groups[g].rows = rows;
        }
        self.add(id, g);
    }

    fn add(&mut self, id: NodeId, g: usize) {
        let results = self.results_with(id, g);
        for base in self.bases(id) {
            if self.group_of[base] == Some(g) {
                self.readers[base] -= 1;
            } else {
                self.groups[g].read(base, 1);
            }
        }
        let scalars: SmallVec<[usize; 3]> = self.scalars(id).collect();
        let group = &mut self.groups[g];
        group.results = results;
        group.read_scalars(scalars);
        group.sixteen |= self.nodes[id].dtype.is_16bit();
        group.members.push(id);
        self.group_of[id] = Some(g);
        let earlier: SmallVec<[usize; 6]> = self.earlier(id).collect();
        earlier.into_iter().for_each(|before| self.dag.wait(g, before));
    }

    /// Groups that must run before a node, if they are not its own: those of its operands and of what their barriers
    /// wait for.
    fn earlier(&self, id: NodeId) -> impl Iterator<Item = usize> {
        let sources = self.reads[id].iter().flat_map(|r| [Some(r.base), r.barrier.map(|b| b.after)]);
        sources.flatten().filter_map(|node| self.group_of[node])
    }

    /// The groups in an order in which they can run: always the earliest that is ready.
    fn ordered(mut self) -> Vec<Group> {
        for draft in &mut self.groups {
            // A kernel comes before its epilogue.
            let head = draft.head;
            draft.members.sort_unstable_by_key(|&member| (Some(member) != head, member));
        }
        let live = (0..self.groups.len()).filter(|&g| !self.groups[g].members.is_empty());
        let order = self.dag.ordered(live.clone(), |g| self.groups[g].members[0]);
        debug_assert_eq!(order.len(), live.count(), "groups depend on one another in a circle");
        let mut finish = |g: usize| {
            let draft = &mut self.groups[g];
            Group { members: std::mem::take(&mut draft.members), rows: draft.rows.take(), len: draft.len }
        };
        order.into_iter().map(&mut finish).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ir::Builder;
    use super::merge::ROWS_JOINED_MAX;
    use super::*;
    use vorpal_kernels::{Lane, LaneMut, ReduceKind, ResultType, SCALARS_MAX, ScalarFn, map1, map2};
    use vorpal_tensor::DType;

    const fn binary(name: &'static str, cpu: fn(&[Lane<'_>], LaneMut<'_>)) -> ScalarFn {
        ScalarFn { name, arity: 2, result: ResultType::Last, wgsl: "", support: "", cpu, flops: 1 }
    }
    static SUB: ScalarFn = binary("sub", |a, o| map2(a, o, |x: f32, y: f32| x - y));
    static DIV: ScalarFn = binary("div", |a, o| map2(a, o, |x: f32, y: f32| x / y));
    static ADD: ScalarFn = binary("add", |a, o| map2(a, o, |x: f32, y: f32| x + y));
    static EXP: ScalarFn =
        ScalarFn { name: "exp", arity: 1, cpu: |a, o| map1(a, o, |x: f32| x.exp()), ..binary("", |_, _| ()) };

    fn matrix(b: &mut Builder, index: usize, rows: usize, cols: usize) -> NodeId {
        let x = b.input(index, rows * cols, DType::F32);
        b.view(x, |l| l.reshape(&Shape::from([rows, cols]))).expect("a view")
    }

    fn spread(b: &mut Builder, x: NodeId, shape: [usize; 2]) -> NodeId {
        let shape = Shape::from(shape);
        b.view(x, |l| Some(l.broadcast_to(&shape))).expect("a view")
    }

    fn softmax(b: &mut Builder, x: NodeId, shape: [usize; 2]) -> NodeId {
        let max = b.reduce(ReduceKind::Max, x, &[false, true]);
        let max = spread(b, max, shape);
        let shifted = b.call(&SUB, &[x, max]);
        let e = b.call(&EXP, &[shifted]);
        let sum = b.reduce(ReduceKind::Sum, e, &[false, true]);
        let sum = spread(b, sum, shape);
        b.call(&DIV, &[e, sum])
    }

    #[test]
    fn softmax_is_one_row_kernel() {
        let mut b = Builder::new();
        let x = matrix(&mut b, 0, 5, 7);
        let y = softmax(&mut b, x, [5, 7]);
        let groups = fuse(b.nodes(), &[y], Fusion::Adapter(BUFFERS));
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].members.len(), 5);
        assert!(groups[0].rows.is_some());
        assert_eq!(fuse(b.nodes(), &[y], Fusion::Off).len(), 5);
    }

    #[test]
    fn reductions_over_other_rows_stay_apart() {
        let mut b = Builder::new();
        let x = matrix(&mut b, 0, 5, 7);
        let e = b.call(&EXP, &[x]);
        let rows = b.reduce(ReduceKind::Sum, e, &[false, true]);
        let cols = b.reduce(ReduceKind::Sum, e, &[true, false]);
        let groups = fuse(b.nodes(), &[rows, cols], Fusion::Adapter(BUFFERS));
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].members, [e, rows]);
    }

    #[test]
    fn a_transposed_read_needs_a_buffer() {
        let mut b = Builder::new();
        let x = matrix(&mut b, 0, 4, 4);
        let e = b.call(&EXP, &[x]);
        let t = b.view(e, |l| Some(l.permute(&[1, 0]))).expect("a view");
        let y = b.call(&ADD, &[e, t]);
        assert_eq!(fuse(b.nodes(), &[y], Fusion::Adapter(BUFFERS)).len(), 2);
    }

    #[test]
    fn independent_chains_merge_where_they_meet() {
        let mut b = Builder::new();
        let (x, z) = (matrix(&mut b, 0, 3, 4), matrix(&mut b, 1, 3, 4));
        let (ex, ez) = (b.call(&EXP, &[x]), b.call(&EXP, &[z]));
        let y = b.call(&ADD, &[ex, ez]);
        let groups = fuse(b.nodes(), &[y], Fusion::Adapter(BUFFERS));
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].members, [ex, ez, y]);
    }

    #[test]
    fn what_is_apart_for_every_row_joins_the_rows() {
        for (rows, groups) in [(6, 1), (ROWS_JOINED_MAX + 1, 2)] {
            let mut b = Builder::new();
            let x = matrix(&mut b, 0, rows, 4);
            let old = b.input(1, rows, DType::F32);
            let kept = b.view(old, |l| l.reshape(&Shape::from([rows, 1]))).expect("a view");
            let kept = b.call(&EXP, &[kept]);
            let sum = b.reduce(ReduceKind::Sum, x, &[false, true]);
            let new = b.call(&ADD, &[kept, sum]);
            let found = fuse(b.nodes(), &[new], Fusion::Adapter(BUFFERS));
            assert_eq!(found.len(), groups, "{found:?}");
            assert!(found.iter().any(|g| g.len == rows * 4 && g.rows.is_some()));
        }
    }

    #[test]
    fn a_detour_through_another_kernel_is_no_cycle() {
        let mut b = Builder::new();
        let x = matrix(&mut b, 0, 4, 4);
        let e = b.call(&EXP, &[x]);
        let t = b.view(e, |l| Some(l.permute(&[1, 0]))).expect("a view");
        let detour = b.call(&EXP, &[t]);
        let y = b.call(&ADD, &[e, detour]);
        let groups = fuse(b.nodes(), &[y], Fusion::Adapter(BUFFERS));
        let order: Vec<usize> = groups.iter().map(|g| g.members[0]).collect();
        assert_eq!(groups.iter().map(|g| g.members.len()).sum::<usize>(), 3);
        assert!(order.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(groups[0].members, [e]);
    }

    #[test]
    fn bindings_stay_within_webgpu() {
        let mut b = Builder::new();
        let mut sum = matrix(&mut b, 0, 2, 3);
        for index in 1..20 {
            let x = matrix(&mut b, index, 2, 3);
            sum = b.call(&ADD, &[sum, x]);
        }
        let groups = fuse(b.nodes(), &[sum], Fusion::Adapter(BUFFERS));
        assert_eq!(groups.len(), 4, "each sums seven inputs or six and a partial sum");
        let groups = fuse(b.nodes(), &[sum], Fusion::Adapter(16));
        assert_eq!(groups.len(), 2, "fifteen inputs, the others and a partial sum");
    }

    #[test]
    fn kernels_take_so_many_scalars() {
        let mut b = Builder::new();
        let shape = Shape::from([2, 3]);
        let mut y = matrix(&mut b, 0, 2, 3);
        for index in 0..SCALARS_MAX + 10 {
            let scalar = b.scalar(index, DType::F32);
            let scalar = b.view(scalar, |l| Some(l.broadcast_to(&shape))).expect("a view");
            y = b.call(&SUB, &[y, scalar]);
            y = b.call(&DIV, &[y, scalar]);
        }
        let groups = fuse(b.nodes(), &[y], Fusion::Adapter(BUFFERS));
        let members: Vec<usize> = groups.iter().map(|g| g.members.len()).collect();
        assert_eq!(members, [2 * SCALARS_MAX, 20]);
    }

    #[test]
    fn a_product_goes_on_with_bias_and_residual() {
        let mut b = Builder::new();
        let shape = Shape::from([4, 4]);
        let layout = Layout::contiguous(shape.clone());
        let inputs: Vec<NodeId> = (0..4).map(|k| b.input(k, 16, DType::F32)).collect();
        let kernel = vorpal_kernels::MatMul::new(&layout, &layout, DType::F32).expect("a product");
        let product = b.kernel(std::sync::Arc::new(kernel), &inputs[..2], shape.clone(), DType::F32);
        let wide = |b: &mut Builder, x| b.view(x, |l| l.reshape(&shape)).expect("a view");
        let bias = b.view(inputs[2], |l| Some(l.slice(0, 0, 4, 1).broadcast_to(&shape))).expect("a view");
        let biased = b.call(&ADD, &[product, bias]);
        let residual = wide(&mut b, inputs[0]);
        let sum = b.call(&ADD, &[residual, biased]);
        let groups = fuse(b.nodes(), &[sum], Fusion::Adapter(BUFFERS));
        assert_eq!(groups.len(), 1, "{groups:?}");
        assert_eq!(groups[0].members, [product, biased, sum]);
        // A third result is a launch of its own, a reduction always is.
        let other = wide(&mut b, inputs[3]);
        let (exp, more) = (b.call(&EXP, &[biased]), b.call(&SUB, &[biased, other]));
        let total = b.reduce(ReduceKind::Sum, sum, &[true, true]);
        let groups = fuse(b.nodes(), &[biased, sum, exp, more, total], Fusion::Adapter(BUFFERS));
        let first = groups.iter().find(|g| g.members.contains(&product)).expect("a group");
        assert_eq!(first.members, [product, biased, sum], "{groups:?}");
        assert!(groups.iter().all(|g| g.rows.is_none() || g.members.contains(&total)));
    }

    /// A product of square matrices, `depth` values of which the last needs all, and `results` of them that are asked for.
    fn product_with(depth: usize, results: usize, fusion: Fusion) -> Vec<Group> {
        let mut b = Builder::new();
        let shape = Shape::from([4, 4]);
        let layout = Layout::contiguous(shape.clone());
        let inputs: Vec<NodeId> = (0..3).map(|k| b.input(k, 16, DType::F32)).collect();
        // Made before the product, of another operand.
        let state = b.view(inputs[2], |l| l.reshape(&shape)).expect("a view");
        let before = b.call(&EXP, &[state]);
        let kernel = vorpal_kernels::MatMul::new(&layout, &layout, DType::F32).expect("a product");
        let product = b.kernel(std::sync::Arc::new(kernel), &inputs[..2], shape, DType::F32);
        let mut values = vec![b.call(&ADD, &[before, product])];
        for _ in 1..depth {
            values.push(b.call(&EXP, &[values[values.len() - 1]]));
        }
        let last = values.iter().copied().reduce(|sum, v| b.call(&ADD, &[sum, v])).expect("a value");
        let asked: Vec<NodeId> = values.into_iter().take(results - 1).chain([last]).collect();
        fuse(b.nodes(), &asked, fusion)
    }

    #[test]
    fn native_epilogues_hold_an_update() {
        // Five values wait for the last one, which is more than may be written.
        for (depth, results, groups) in [(5, 1, 1), (5, 3, 1), (2, 2, 1)] {
            let found = product_with(depth, results, Fusion::Native);
            assert_eq!(found.len(), groups, "{depth} {results}: {found:?}");
            assert!(found[0].members[1..].is_sorted() && found[0].members[0] > found[0].members[1]);
        }
        // Four results are one too many: the kernel goes on as far as fits.
        let found = product_with(5, 4, Fusion::Native);
        assert!(found.len() > 1, "{found:?}");
        assert!(product_with(5, 3, Fusion::Adapter(BUFFERS)).len() > 1);
    }

    #[test]
    fn an_update_is_one_launch() {
        let mut b = Builder::new();
        let shape = Shape::from([4, 4]);
        let layout = Layout::contiguous(shape.clone());
        let inputs: Vec<NodeId> = (0..5).map(|k| b.input(k, 16, DType::F32)).collect();
        let state = |b: &mut Builder, k: usize| b.view(inputs[k], |l| l.reshape(&shape)).expect("a view");
        let kernel = vorpal_kernels::MatMul::new(&layout, &layout, DType::F32).expect("a product");
        let slope = b.kernel(std::sync::Arc::new(kernel), &inputs[..2], shape.clone(), DType::F32);
        let [mean, square, weight] = [2, 3, 4].map(|k| state(&mut b, k));
        let (mean, more) = (b.call(&EXP, &[mean]), b.call(&EXP, &[slope]));
        let mean = b.call(&ADD, &[mean, slope]);
        let square = b.call(&EXP, &[square]);
        let square = b.call(&ADD, &[square, more]);
        let step = b.call(&DIV, &[mean, square]);
        let weight = b.call(&SUB, &[weight, step]);
        let asked = [mean, square, weight];
        let groups = fuse(b.nodes(), &asked, Fusion::Adapter(BUFFERS));
        assert_eq!(groups.iter().map(|g| g.members.len()).collect::<Vec<_>>(), [1, 7], "{groups:?}");
        assert_eq!(groups[0].members, [slope]);
        assert_eq!(fuse(b.nodes(), &asked, Fusion::Native).len(), 1);
        // What a layer leaves for its derivative beside its result goes on as an epilogue.
        let bound = b.call(&EXP, &[slope]);
        let far = b.view(bound, |l| Some(l.permute(&[1, 0]))).expect("a view");
        let far = b.call(&EXP, &[far]);
        let groups = fuse(b.nodes(), &[slope, bound, far], Fusion::Adapter(BUFFERS));
        assert_eq!(groups[0].members, [slope, bound], "{groups:?}");
    }
}
