//! The graph: immutable nodes behind a cheap handle, with errors that are carried along.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;
use vorpal_tensor::{At, Buffer, DType, Device, Error, Layout, Result, Shape};

use crate::op::among;
use crate::{Misfit, Op, Spec};

/// A lazy multi-dimensional array: a node of a graph that runs when its value is asked for.
///
/// Building never runs anything, never panics and needs no `?`. An op that does not fit gives a
/// tensor that carries the error, with the op's name, the operands and the caller's place; it flows
/// through later ops and surfaces from the first call that returns a [`Result`].
#[derive(Clone)]
pub struct Tensor(pub(crate) std::result::Result<Arc<Node>, Arc<Error>>);

/// One node. Inputs may be dropped once the value is known.
pub(crate) struct Node {
    /// Grows with creation, so that ascending order is topological.
    pub id: u64,
    pub op: Arc<dyn Op>,
    pub spec: Spec,
    pub device: Device,
    pub at: At,
    /// Differentiations this node takes part in: while one is open, evaluation keeps the inputs.
    pub traces: Traces,
    state: Mutex<State>,
}

/// Open and closed differentiations; a flag turns false when its differentiation ends.
pub(crate) type Traces = SmallVec<[Arc<AtomicBool>; 1]>;

/// What of a node changes: its inputs until it is evaluated, its value from then on.
#[derive(Default)]
struct State {
    inputs: SmallVec<[Arc<Node>; 3]>,
    value: Option<Arc<Value>>,
}

/// The value of an evaluated node: a window on a buffer.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub buffer: Buffer,
    pub layout: Layout,
}

/// Maps and sets by the numbers of nodes or buffers.
pub(crate) type IdMap<T> = HashMap<u64, T, BuildHasherDefault<IdHasher>>;
pub(crate) type IdSet = HashSet<u64, BuildHasherDefault<IdHasher>>;

/// Spreads numbers that are different already.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u64(u64::from(b)));
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    fn write_usize(&mut self, id: usize) {
        self.write_u64(id as u64);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// What is made from now on has this number or a higher one.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.load(Ordering::Relaxed)
}

impl Node {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere cannot leave the two fields inconsistent: each is replaced whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The inputs; empty for leaves and for evaluated nodes that dropped theirs.
    pub fn inputs(&self) -> SmallVec<[Arc<Node>; 3]> {
        self.lock().inputs.clone()
    }

    /// The value if it is there, else the inputs that it is computed from.
    pub fn snapshot(&self) -> (Option<Arc<Value>>, SmallVec<[Arc<Node>; 3]>) {
        let state = self.lock();
        match &state.value {
            Some(value) => (Some(value.clone()), SmallVec::new()),
            None => (None, state.inputs.clone()),
        }
    }

    /// Whether the value is there.
    pub fn is_evaluated(&self) -> bool {
        self.lock().value.is_some()
    }

    /// Whether a differentiation may still need the inputs.
    pub fn is_traced(&self) -> bool {
        self.traces.iter().any(|open| open.load(Ordering::Relaxed))
    }

    /// Calls `f` with every input.
    pub fn each_input(&self, mut f: impl FnMut(&Arc<Node>)) {
        self.lock().inputs.iter().for_each(&mut f);
    }

    /// Sets the value. Unless a differentiation still needs them, the inputs are let go.
    pub fn evaluated(&self, value: Value) {
        let keep = self.is_traced();
        let mut state = self.lock();
        state.value = Some(Arc::new(value));
        let inputs = if keep { SmallVec::new() } else { std::mem::take(&mut state.inputs) };
        drop(state);
        unlink(inputs);
    }

    /// The value, if it has been evaluated.
    pub fn value(&self) -> Option<Arc<Value>> {
        self.lock().value.clone()
    }
}

impl Drop for Node {
    /// Unlinks a chain of nodes step by step: dropping them inside one another would overflow the
    /// stack on a loop of a million unevaluated ops.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        unlink(std::mem::take(&mut state.inputs));
    }
}

fn unlink(inputs: SmallVec<[Arc<Node>; 3]>) {
    let mut pending: SmallVec<[Arc<Node>; 8]> = inputs.into_iter().collect();
    while let Some(node) = pending.pop() {
        if let Some(mut node) = Arc::into_inner(node) {
            let state = node.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            pending.extend(std::mem::take(&mut state.inputs));
        }
    }
}

impl Tensor {
    /// A node without a computed value: `op` applied to `inputs` at the place `at`.
    pub(crate) fn apply(op: impl Op, inputs: &[&Tensor], at: At) -> Tensor {
        let mut nodes: SmallVec<[Arc<Node>; 3]> = SmallVec::new();
        for input in inputs {
            match &input.0 {
                Ok(node) => nodes.push(node.clone()),
                Err(error) => return Tensor(Err(error.clone())),
            }
        }
        let Some(device) = nodes.first().map(|n| n.device.clone()) else {
            return Tensor::error(Error::internal("graph", format!("{} has no operands", op.name())));
        };
        if let Some(other) = nodes.iter().find(|n| n.device != device) {
            let message = format!("operands live on two devices, {device} and {}", other.device);
            return Tensor::error(Error::Device { op: op.name(), message, at });
        }
        // One to three operands, nearly always: their specs are copied to the stack.
        let spec = |k: usize| nodes[k].spec.clone();
        let inferred = match nodes.len() {
            1 => op.infer(&[spec(0)]),
            2 => op.infer(&[spec(0), spec(1)]),
            3 => op.infer(&[spec(0), spec(1), spec(2)]),
            n => op.infer(&(0..n).map(spec).collect::<Vec<_>>()),
        };
        match inferred {
            Ok(spec) => Tensor::node(Arc::new(op), spec, device, nodes, None, at),
            Err(misfit) => Tensor::error(located(misfit, &op, &nodes, at)),
        }
    }

    /// A node once more, on other operands of the same shapes.
    ///
    /// # Errors
    /// An error that an operand carries.
    pub(crate) fn again(node: &Node, operands: &[Tensor]) -> Result<Tensor> {
        let inputs = operands.iter().map(|x| x.ready().cloned()).collect::<Result<_>>()?;
        let (spec, device) = (node.spec.clone(), node.device.clone());
        Ok(Tensor::node(node.op.clone(), spec, device, inputs, None, node.at))
    }

    /// A leaf: an op without operands, or a value that is there already.
    pub(crate) fn leaf(
        op: impl Op,
        spec: Spec,
        device: &Device,
        value: Option<Arc<Value>>,
        at: At,
    ) -> Tensor {
        Tensor::node(Arc::new(op), spec, device.clone(), SmallVec::new(), value, at)
    }

    fn node(
        op: Arc<dyn Op>,
        spec: Spec,
        device: Device,
        inputs: SmallVec<[Arc<Node>; 3]>,
        value: Option<Arc<Value>>,
        at: At,
    ) -> Tensor {
        if !device.supports(spec.dtype) {
            let message = format!("{device} does not hold {} tensors", spec.dtype);
            return Tensor::error(Error::Device { op: op.name(), message, at });
        }
        let mut traces = Traces::new();
        for trace in inputs.iter().flat_map(|n| &n.traces) {
            if trace.load(Ordering::Relaxed) && !traces.iter().any(|have| Arc::ptr_eq(have, trace)) {
                traces.push(trace.clone());
            }
        }
        Tensor::with_traces(op, spec, device, inputs, value, at, traces)
    }

    #[allow(clippy::too_many_arguments)]
    fn with_traces(
        op: Arc<dyn Op>,
        spec: Spec,
        device: Device,
        inputs: SmallVec<[Arc<Node>; 3]>,
        value: Option<Arc<Value>>,
        at: At,
        traces: Traces,
    ) -> Tensor {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let state = Mutex::new(State { inputs, value });
        Tensor(Ok(Arc::new(Node { id, op, spec, device, at, traces, state })))
    }

    /// The same values as a variable of a differentiation, told apart from `self` itself.
    pub(crate) fn variable(&self, op: impl Op, trace: Arc<AtomicBool>) -> Tensor {
        match &self.0 {
            Err(error) => Tensor(Err(error.clone())),
            Ok(node) => {
                let mut traces: Traces =
                    node.traces.iter().filter(|t| t.load(Ordering::Relaxed)).cloned().collect();
                traces.push(trace);
                let inputs = smallvec::smallvec![node.clone()];
                let (spec, device) = (node.spec.clone(), node.device.clone());
                Tensor::with_traces(Arc::new(op), spec, device, inputs, None, node.at, traces)
            }
        }
    }

    /// A tensor that carries an error.
    ///
    /// With `VORPAL_STRICT=1` in the environment this panics instead, so that a backtrace shows the
    /// op that failed.
    pub fn error(error: Error) -> Tensor {
        if std::env::var_os("VORPAL_STRICT").is_some_and(|v| v == "1") {
            strict(&error);
        }
        Tensor(Err(Arc::new(error)))
    }

    /// The node, or the error this tensor carries.
    ///
    /// # Errors
    /// The carried error.
    pub(crate) fn ready(&self) -> Result<&Arc<Node>> {
        self.0.as_ref().map_err(|error| Error::clone(error))
    }

    /// Nothing, or the error this tensor carries.
    ///
    /// # Errors
    /// The carried error.
    pub fn check(&self) -> Result<()> {
        self.ready().map(|_| ())
    }

    /// Sizes of the axes, known without running anything. A tensor that carries an error has the
    /// shape of a scalar.
    pub fn shape(&self) -> Shape {
        self.0.as_ref().map_or_else(|_| Shape::scalar(), |n| n.spec.shape.clone())
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape().rank()
    }

    /// The sizes as an array of a known number of axes.
    ///
    /// # Errors
    /// The carried error, or [`Error::Shape`] when the rank is another.
    #[track_caller]
    pub fn dims<const N: usize>(&self) -> Result<[usize; N]> {
        let at = At::caller();
        let node = self.ready()?;
        <[usize; N]>::try_from(node.spec.shape.dims()).map_err(|_| Error::Shape {
            op: "dims",
            message: format!("asked for {N} axes, found {}", node.spec.shape.rank()),
            operands: node.spec.to_string(),
            at,
        })
    }

    /// Element type. A tensor that carries an error says `F32`.
    pub fn dtype(&self) -> DType {
        self.0.as_ref().map_or(DType::F32, |n| n.spec.dtype)
    }

    /// The device that holds or will compute the values.
    ///
    /// # Errors
    /// The carried error.
    pub fn device(&self) -> Result<Device> {
        Ok(self.ready()?.device.clone())
    }
}

/// `VORPAL_STRICT=1` asks for a panic at the op.
#[allow(clippy::panic)]
fn strict(error: &Error) {
    panic!("{error}");
}

fn located(misfit: Misfit, op: &impl Op, nodes: &[Arc<Node>], at: At) -> Error {
    let tensors = nodes.iter().map(|node| node.spec.to_string()).collect();
    let (op, operands) = (op.name(), among(tensors, &op.numbers()));
    match misfit {
        Misfit::Shape(message) => Error::Shape { op, message, operands, at },
        Misfit::DType(message) => Error::DType { op, message, operands, at },
    }
}

impl From<Result<Tensor>> for Tensor {
    fn from(result: Result<Tensor>) -> Tensor {
        result.unwrap_or_else(Tensor::error)
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Ok(node) => write!(f, "Tensor({} {} on {})", node.op.name(), node.spec, node.device),
            Err(error) => write!(f, "Tensor(error: {error})"),
        }
    }
}
