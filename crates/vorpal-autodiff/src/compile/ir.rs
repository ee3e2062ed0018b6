//! The compiler's own graph: few kinds of nodes, every view already a layout.
//!
//! [`Builder`] is where ops lower themselves to. It canonicalises as it goes: equal nodes are one
//! node, views of views are one view, constants are folded, and what would only copy disappears.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;
use vorpal_kernels::{Abilities, Kernel, Lanes, ReduceKind, ScalarFn};
use vorpal_tensor::{DType, DeviceInfo, DeviceKind, Error, Layout, Result, Shape};

/// Position of a node; nodes only refer to earlier ones.
pub type NodeId = usize;

/// One node of the compiler's graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Sizes of its axes.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

/// The kinds of nodes.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Buffer number `index` handed to the plan, `len` elements long, as it lies in memory.
    Input {
        /// Which buffer.
        index: usize,
    },
    /// The same constant everywhere.
    Const {
        /// The value.
        value: f64,
    },
    /// Run-time scalar number `index`, the same everywhere.
    Scalar {
        /// Which scalar.
        index: usize,
    },
    /// `U32`: the place that a layout gives to each element. Coordinates and counters.
    Place {
        /// The map.
        layout: Layout,
    },
    /// A window on another node, which is a contiguous buffer.
    View {
        /// Never itself a view, constant, scalar or place.
        base: NodeId,
        /// Window on the base.
        layout: Layout,
        /// Value outside the bounds of a padded layout.
        fill: f64,
        /// What keeps the window apart from others like it.
        barrier: Option<Barrier>,
    },
    /// A scalar function, element by element; operands have the node's shape.
    Call {
        /// The function.
        f: &'static ScalarFn,
        /// Operands.
        args: SmallVec<[NodeId; 3]>,
    },
    /// Conversion to the node's dtype.
    Cast {
        /// Operand.
        x: NodeId,
    },
    /// Reduction over some axes, which keep size 1.
    Reduce {
        /// How.
        kind: ReduceKind,
        /// Operand.
        x: NodeId,
        /// Which axes, one flag per axis of the operand.
        axes: SmallVec<[bool; 6]>,
    },
    /// Any other kernel: reads contiguous buffers, writes one.
    Kernel {
        /// The launch.
        kernel: Arc<dyn Kernel>,
        /// Its inputs, in order of its arguments.
        inputs: SmallVec<[NodeId; 6]>,
        /// Number of the op that asked for it, to blame for indices out of range.
        origin: usize,
    },
}

/// A mark on a window: what is computed from it is another value than what is computed from the window without it,
/// and is not computed before `after`. The window is always read from a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Barrier {
    /// Tells barriers apart.
    pub tag: usize,
    /// The node to wait for.
    pub after: NodeId,
}

/// Identity of a node for common subexpressions.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    Const(u64, Shape, DType),
    Scalar(usize, Shape, DType),
    Place(Layout),
    View(NodeId, Layout, u64, Option<Barrier>),
    Call(&'static str, SmallVec<[NodeId; 3]>),
    Cast(NodeId, DType),
    Reduce(ReduceKind, NodeId, SmallVec<[bool; 6]>),
    Kernel(&'static str, String, SmallVec<[NodeId; 6]>),
}

/// Builds the compiler's graph.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: Vec<Node>,
    known: HashMap<Identity, NodeId>,
    /// Number of the op that is being lowered.
    pub(crate) origin: usize,
    /// What kind of device the kernels are for.
    pub(crate) target: Target,
}

/// What executes kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Class {
    /// Native code on the processor.
    #[default]
    Native,
    /// A graphics interface emulated on the processor.
    Software,
    /// A graphics card.
    Card,
}

/// What kernels are chosen for: plain data, so that plans can be made for devices that are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Target {
    /// What executes kernels.
    pub class: Class,
    /// What its shaders can do beyond what WebGPU promises.
    pub abilities: Abilities,
}

impl Target {
    /// The processor.
    pub const NATIVE: Target = Target::plain(Class::Native);
    /// A software adapter with nothing but what WebGPU promises.
    pub const SOFTWARE: Target = Target::plain(Class::Software);
    /// A graphics card with nothing but what WebGPU promises.
    pub const CARD: Target = Target::plain(Class::Card);
    /// A graphics card that multiplies matrices of halves, with as much of the rest as such cards have.
    pub const MATRICES: Target = Target { class: Class::Card, abilities: Abilities::MATRICES };

    const fn plain(class: Class) -> Target {
        let slow_barriers = matches!(class, Class::Software);
        Target { class, abilities: Abilities { slow_barriers, ..Abilities::PROMISED } }
    }

    /// What kernels are chosen for on a device.
    pub fn of(info: &DeviceInfo) -> Target {
        let class = match info.kind {
            DeviceKind::NativeCpu => Class::Native,
            DeviceKind::Software => Class::Software,
            _ => Class::Card,
        };
        Target { class, abilities: Abilities::of(info) }
    }

    /// Whether native code executes kernels.
    pub fn is_native(self) -> bool {
        self.class == Class::Native
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl Builder {
    /// An empty graph.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// What kernels are chosen for.
    pub fn target(&self) -> Target {
        self.target
    }

    /// The nodes so far, in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Puts other nodes in the place of all.
    pub(super) fn replace(&mut self, nodes: Vec<Node>) {
        self.known.clear();
        self.nodes = nodes;
    }

    /// Shape of a node.
    pub fn shape(&self, x: NodeId) -> &Shape {
        &self.nodes[x].shape
    }

    /// dtype of a node.
    pub fn dtype(&self, x: NodeId) -> DType {
        self.nodes[x].dtype
    }

    fn push(&mut self, identity: Option<Identity>, kind: Kind, shape: Shape, dtype: DType) -> NodeId {
        if let Some(identity) = identity {
            if let Some(&known) = self.known.get(&identity) {
                return known;
            }
            self.known.insert(identity, self.nodes.len());
        }
        self.nodes.push(Node { kind, shape, dtype });
        self.nodes.len() - 1
    }

    /// Buffer `index` of the plan, seen through `layout`. Each buffer is declared once by the caller.
    pub fn input(&mut self, index: usize, len: usize, dtype: DType) -> NodeId {
        self.push(None, Kind::Input { index }, Shape::from(len), dtype)
    }

    /// A constant.
    pub fn constant(&mut self, value: f64, shape: impl Into<Shape>, dtype: DType) -> NodeId {
        let shape = shape.into();
        let identity = Identity::Const(value.to_bits(), shape.clone(), dtype);
        self.push(Some(identity), Kind::Const { value }, shape, dtype)
    }

    /// Run-time scalar number `index`.
    pub fn scalar(&mut self, index: usize, dtype: DType) -> NodeId {
        self.scalar_as(index, Shape::scalar(), dtype)
    }

    fn scalar_as(&mut self, index: usize, shape: Shape, dtype: DType) -> NodeId {
        let identity = Identity::Scalar(index, shape.clone(), dtype);
        self.push(Some(identity), Kind::Scalar { index }, shape, dtype)
    }

    /// The coordinate along `axis` of every element of a shape, as `U32`.
    pub fn coordinate(&mut self, shape: &Shape, axis: usize) -> NodeId {
        let mut layout = Layout::contiguous(shape.clone());
        for (k, stride) in layout.strides.iter_mut().enumerate() {
            *stride = isize::from(k == axis);
        }
        self.place(layout)
    }

    /// The linear index of every element of a shape, as `U32`.
    pub fn linear_index(&mut self, shape: &Shape) -> NodeId {
        self.place(Layout::contiguous(shape.clone()))
    }

    fn place(&mut self, layout: Layout) -> NodeId {
        let shape = layout.shape.clone();
        self.push(Some(Identity::Place(layout.clone())), Kind::Place { layout }, shape, DType::U32)
    }

    /// Applies a change of layout to a node, composing it with the view that is there.
    ///
    /// `change` gives `None` where the present layout cannot take it; the node is then copied first.
    pub fn view(&mut self, x: NodeId, change: impl Fn(&Layout) -> Option<Layout>) -> Result<NodeId> {
        let node = self.nodes[x].clone();
        let whole = Layout::contiguous(node.shape.clone());
        if let Kind::Const { value } = node.kind {
            let shape = self.changed(&change, &whole)?.shape;
            return Ok(self.constant(value, shape, node.dtype));
        }
        if let Kind::Scalar { index } = node.kind {
            let shape = self.changed(&change, &whole)?.shape;
            return Ok(self.scalar_as(index, shape, node.dtype));
        }
        if let Kind::Place { layout } = &node.kind
            && let Some(layout) = change(layout)
            && layout.bounds.is_empty()
        {
            return Ok(self.place(layout));
        }
        let (base, layout, fill, barrier) = match node.kind {
            Kind::View { base, layout, fill, barrier } => (base, layout, fill, barrier),
            _ => (x, whole.clone(), 0.0, None),
        };
        match change(&layout) {
            Some(layout) => Ok(self.window(base, layout, fill, barrier)),
            None => {
                let copy = self.copy(x);
                let layout = self.changed(&change, &whole)?;
                Ok(self.window(copy, layout, 0.0, None))
            }
        }
    }

    fn changed(&self, change: &impl Fn(&Layout) -> Option<Layout>, whole: &Layout) -> Result<Layout> {
        change(whole).ok_or_else(|| Error::internal("lowering", "a contiguous layout refused a view"))
    }

    /// `x` behind a barrier of its own: the same values without a copy, but nothing computed from them is shared with
    /// what is computed from `x`, nor runs before `after`. Constants and run-time scalars have no buffer to read and
    /// stay what they are.
    pub fn barrier(&mut self, x: NodeId, after: NodeId) -> NodeId {
        let barrier = Some(Barrier { tag: self.origin, after: self.base(after) });
        match self.nodes[x].kind.clone() {
            Kind::Const { .. } | Kind::Scalar { .. } | Kind::Place { .. } => x,
            Kind::View { base, layout, fill, .. } => self.window(base, layout, fill, barrier),
            _ => self.window(x, Layout::contiguous(self.shape(x).clone()), 0.0, barrier),
        }
    }

    fn window(&mut self, base: NodeId, mut layout: Layout, fill: f64, barrier: Option<Barrier>) -> NodeId {
        let whole = |(&(lo, hi), &size): (&(usize, usize), &usize)| lo == 0 && hi >= size;
        if layout.bounds.iter().zip(layout.shape.iter()).all(whole) {
            layout.bounds.clear();
        }
        // What shows nothing but fill needs no buffer: of the steps of a loop all but one, where only that is read.
        if layout.bounds.iter().any(|(lo, hi)| lo >= hi) {
            return self.constant(fill, layout.shape, self.nodes[base].dtype);
        }
        if barrier.is_none() && layout.is_identity() && layout.shape == self.nodes[base].shape {
            return base;
        }
        let (shape, dtype) = (layout.shape.clone(), self.nodes[base].dtype);
        let identity = Identity::View(base, layout.clone(), fill.to_bits(), barrier);
        self.push(Some(identity), Kind::View { base, layout, fill, barrier }, shape, dtype)
    }

    /// Adds `before` and `after` elements of value `fill` around each axis.
    pub fn pad(&mut self, x: NodeId, before: &[usize], after: &[usize], fill: f64) -> Result<NodeId> {
        let padded = self.view(x, |l| l.pad(before, after))?;
        if let Kind::View { base, layout, barrier, .. } = self.nodes[padded].kind.clone()
            && !layout.bounds.is_empty()
        {
            return Ok(self.window(base, layout, fill, barrier));
        }
        // Constants and scalars carry no bounds: materialise them, then pad the buffer.
        let copy = self.copy(x);
        let layout =
            self.changed(&|l: &Layout| l.pad(before, after), &Layout::contiguous(self.shape(x).clone()))?;
        Ok(self.window(copy, layout, fill, None))
    }

    /// A node that is a buffer in its own right with the elements of `x` in order.
    pub fn copy(&mut self, x: NodeId) -> NodeId {
        let Node { shape, dtype, .. } = self.nodes[x].clone();
        self.push(Some(Identity::Cast(x, dtype)), Kind::Cast { x }, shape, dtype)
    }

    /// A scalar function of operands of one shape.
    pub fn call(&mut self, f: &'static ScalarFn, args: &[NodeId]) -> NodeId {
        let shape = self.shape(args[0]).clone();
        let last = self.dtype(args[args.len() - 1]);
        let dtype = match f.result {
            vorpal_kernels::ResultType::Last => last,
            vorpal_kernels::ResultType::Bool => DType::Bool,
            vorpal_kernels::ResultType::F32 => DType::F32,
            vorpal_kernels::ResultType::U32 => DType::U32,
        };
        if let Some(value) = self.fold(f, args, dtype) {
            return self.constant(value, shape, dtype);
        }
        let args: SmallVec<[NodeId; 3]> = args.iter().copied().collect();
        self.push(Some(Identity::Call(f.name, args.clone())), Kind::Call { f, args }, shape, dtype)
    }

    /// The value of a function of constants.
    fn fold(&self, f: &ScalarFn, args: &[NodeId], dtype: DType) -> Option<f64> {
        let mut blocks: SmallVec<[Lanes; 3]> = SmallVec::new();
        for &arg in args {
            let Kind::Const { value } = self.nodes[arg].kind else { return None };
            blocks.push(lanes_of(value, self.dtype(arg)));
        }
        let borrowed: SmallVec<[_; 3]> = blocks.iter().map(Lanes::lane).collect();
        let mut out = Lanes::of(dtype, 1);
        (f.cpu)(&borrowed, out.lane_mut());
        out.first()
    }

    /// Conversion; nothing where the dtype is the same.
    pub fn cast(&mut self, x: NodeId, dtype: DType) -> NodeId {
        if self.dtype(x) == dtype {
            return x;
        }
        let shape = self.shape(x).clone();
        self.push(Some(Identity::Cast(x, dtype)), Kind::Cast { x }, shape, dtype)
    }

    /// Reduction over the flagged axes, which keep size 1.
    pub fn reduce(&mut self, kind: ReduceKind, x: NodeId, axes: &[bool]) -> NodeId {
        let node = &self.nodes[x];
        let dtype = node.dtype;
        let shape: Shape = node.shape.iter().zip(axes).map(|(&d, &r)| if r { 1 } else { d }).collect();
        if shape == node.shape {
            return x;
        }
        let axes: SmallVec<[bool; 6]> = axes.iter().copied().collect();
        let identity = Identity::Reduce(kind, x, axes.clone());
        self.push(Some(identity), Kind::Reduce { kind, x, axes }, shape, dtype)
    }

    /// Any other kernel. Inputs are made contiguous buffers; the result has `shape`.
    pub fn kernel(
        &mut self,
        kernel: Arc<dyn Kernel>,
        inputs: &[NodeId],
        shape: Shape,
        dtype: DType,
    ) -> NodeId {
        let inputs: SmallVec<[NodeId; 6]> = inputs.iter().map(|&x| self.buffer(x)).collect();
        let identity = Identity::Kernel(kernel.name(), format!("{kernel:?}"), inputs.clone());
        let origin = self.origin;
        self.push(Some(identity), Kind::Kernel { kernel, inputs, origin }, shape, dtype)
    }

    /// `x` as a window without fill on a buffer, for kernels that read through strides.
    pub fn strided(&mut self, x: NodeId) -> (NodeId, Layout) {
        if let Kind::View { base, layout, barrier, .. } = self.nodes[x].kind.clone()
            && layout.bounds.is_empty()
        {
            return (self.marked(base, barrier), layout);
        }
        let buffer = self.buffer(x);
        (buffer, Layout::contiguous(self.shape(buffer).clone()))
    }

    /// `x` as a gapless run of elements from an offset of a buffer.
    pub fn dense(&mut self, x: NodeId) -> (NodeId, usize) {
        if let Kind::View { base, layout, barrier, .. } = self.nodes[x].kind.clone()
            && layout.is_contiguous()
            && layout.offset >= 0
        {
            // An empty window may start behind the end.
            let empty = layout.shape.contains(&0);
            return (self.marked(base, barrier), if empty { 0 } else { layout.offset as usize });
        }
        (self.buffer(x), 0)
    }

    /// The node whose buffer `x` is read from: itself or the base of a window.
    pub fn base(&self, x: NodeId) -> NodeId {
        match self.nodes[x].kind {
            Kind::View { base, .. } => base,
            _ => x,
        }
    }

    /// The whole buffer `base`, behind a barrier if there is one.
    fn marked(&mut self, base: NodeId, barrier: Option<Barrier>) -> NodeId {
        let layout = Layout::contiguous(self.shape(base).clone());
        self.window(base, layout, 0.0, barrier)
    }

    /// `x` itself where it is a buffer of exactly its elements, else a copy of it.
    pub fn buffer(&mut self, x: NodeId) -> NodeId {
        match self.nodes[x].kind.clone() {
            Kind::View { base, layout, barrier, .. }
                if layout.is_identity() && layout.shape.numel() == self.nodes[base].shape.numel() =>
            {
                self.marked(base, barrier)
            }
            Kind::View { .. } | Kind::Const { .. } | Kind::Scalar { .. } | Kind::Place { .. } => self.copy(x),
            _ => x,
        }
    }
}

/// A block of one element.
fn lanes_of(value: f64, dtype: DType) -> Lanes {
    let mut out = Lanes::of(dtype, 1);
    out.splat(value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use vorpal_kernels::{ResultType, map2};

    static ADD: ScalarFn = ScalarFn {
        name: "add",
        arity: 2,
        result: ResultType::Last,
        wgsl: "a + b",
        support: "",
        cpu: |args, out| map2(args, out, |a: f32, b: f32| a + b),
        flops: 1,
    };

    #[test]
    fn equal_nodes_are_one_and_constants_fold() {
        let mut b = Builder::new();
        let x = b.input(0, 6, DType::F32);
        let one = b.constant(1.0, [6], DType::F32);
        assert_eq!(b.call(&ADD, &[x, one]), b.call(&ADD, &[x, one]));
        let two = b.call(&ADD, &[one, one]);
        assert!(matches!(b.nodes()[two].kind, Kind::Const { value } if value == 2.0));
    }

    #[test]
    fn views_compose_and_cancel() {
        let mut b = Builder::new();
        let x = b.input(0, 6, DType::F32);
        let m = b.view(x, |l| l.reshape(&Shape::from([2, 3]))).expect("a view");
        let t = b.view(m, |l| Some(l.permute(&[1, 0]))).expect("a view");
        let back = b.view(t, |l| Some(l.permute(&[1, 0]))).expect("a view");
        assert_eq!(m, back);
        let flat = b.view(m, |l| l.reshape(&Shape::from([6]))).expect("a view");
        assert_eq!(flat, x);
        // A transposed matrix has no flat view: it is copied, once.
        let a = b.view(t, |l| l.reshape(&Shape::from([6]))).expect("a copy");
        let c = b.view(t, |l| l.reshape(&Shape::from([6]))).expect("a copy");
        assert_eq!(a, c);
        let Kind::View { base, .. } = b.nodes()[a].kind else { panic!("a view of the copy") };
        assert!(matches!(b.nodes()[base].kind, Kind::Cast { x } if x == t));
    }

    #[test]
    fn a_barrier_keeps_values_apart_without_a_copy() {
        let mut b = Builder::new();
        let x = b.input(0, 6, DType::F32);
        let one = b.constant(1.0, [6], DType::F32);
        let sum = b.call(&ADD, &[x, one]);
        b.origin = 7;
        let marked = b.barrier(x, sum);
        assert_ne!(b.call(&ADD, &[marked, one]), sum);
        // Views keep the mark, and kernels read the buffer itself.
        let matrix = b.view(marked, |l| l.reshape(&Shape::from([2, 3]))).expect("a view");
        assert_eq!(b.view(matrix, |l| l.reshape(&Shape::from([6]))).expect("a view"), marked);
        assert_eq!((b.strided(matrix).0, b.dense(matrix).0, b.buffer(matrix)), (marked, marked, marked));
        assert_eq!(b.base(marked), x);
        // A constant has nothing to be kept apart from.
        assert_eq!(b.barrier(one, sum), one);
    }

    #[test]
    fn slicing_a_pad_away_is_the_original() {
        let mut b = Builder::new();
        let x = b.input(0, 4, DType::F32);
        let p = b.pad(x, &[2], &[1], 0.0).expect("a padded view");
        assert_eq!(b.shape(p), &Shape::from([7]));
        let s = b.view(p, |l| Some(l.slice(0, 2, 4, 1))).expect("a view");
        assert_eq!(s, x);
        // What is left of the fill alone is a constant.
        let p = b.pad(x, &[2], &[1], 7.0).expect("a padded view");
        let fill = b.view(p, |l| Some(l.slice(0, 0, 2, 1))).expect("a view");
        assert_eq!(fill, b.constant(7.0, [2], DType::F32));
    }

    #[test]
    fn coordinates_are_free_under_views() {
        let mut b = Builder::new();
        let c = b.coordinate(&Shape::from([2, 3]), 1);
        let t = b.view(c, |l| Some(l.permute(&[1, 0]))).expect("a view");
        let Kind::Place { layout } = &b.nodes()[t].kind else { panic!("a place") };
        assert_eq!((0..6).map(|i| layout.place(i)).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2].map(Some));
    }

    #[test]
    fn reducing_nothing_is_nothing() {
        let mut b = Builder::new();
        let x = b.input(0, 4, DType::F32);
        let m = b.view(x, |l| l.reshape(&Shape::from([4, 1]))).expect("a view");
        assert_eq!(b.reduce(ReduceKind::Sum, m, &[false, true]), m);
        let s = b.reduce(ReduceKind::Sum, m, &[true, false]);
        assert_eq!(b.shape(s), &Shape::from([1, 1]));
    }
}
