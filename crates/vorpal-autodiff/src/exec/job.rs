//! What one evaluation needs to know of the graph: its nodes in order, its identity, how to compile it.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use smallvec::SmallVec;
use vorpal_tensor::{Buffer, Device, Error, Result};

use super::prepared::{Prepared, Times, prepared};
use crate::compile::ir::{Builder, NodeId, Target};
use crate::compile::plan::{Plan, compile};
use crate::graph::{IdMap, Node, Value};
use crate::{Key, Spec};

/// A graph to evaluate.
pub(super) struct Job {
    /// Nodes in topological order, evaluated ones (leaves) among them. The order follows from the structure of the graph
    /// alone, whatever was made first: equal graphs are one plan.
    pub order: Vec<Arc<Node>>,
    /// Positions of the inputs of all nodes, node by node, and where those of each node end.
    inputs: Vec<usize>,
    inputs_end: Vec<usize>,
    /// For each node its number among the leaves, if it is one.
    leaf: Vec<Option<usize>>,
    leaves: Vec<Leaf>,
    /// Distinct buffers of the leaves.
    pub buffers: Vec<LeafBuffer>,
    /// Positions of what was asked for.
    roots: Vec<usize>,
}

/// A node whose value is there.
struct Leaf {
    value: Arc<Value>,
    /// Number of its buffer.
    buffer: usize,
}

/// A buffer that leaves are windows on.
pub(super) struct LeafBuffer {
    pub buffer: Buffer,
    /// Elements that the leaves reach.
    len: usize,
    /// Whether it may be overwritten.
    donated: bool,
}

/// A node on the way to its inputs.
struct Visit {
    node: Arc<Node>,
    value: Option<Arc<Value>>,
    inputs: SmallVec<[Arc<Node>; 3]>,
    next: usize,
}

/// Position of a node that is still on the way.
const ON_THE_WAY: usize = usize::MAX;

impl Job {
    pub fn collect(roots: &[Arc<Node>]) -> Job {
        let mut job = Job {
            order: Vec::new(),
            inputs: Vec::new(),
            inputs_end: Vec::new(),
            leaf: Vec::new(),
            leaves: Vec::new(),
            buffers: Vec::new(),
            roots: Vec::with_capacity(roots.len()),
        };
        let mut position: IdMap<usize> = IdMap::default();
        let mut way: Vec<Visit> = Vec::new();
        for root in roots {
            enter(root, &mut position, &mut way);
            while let Some(visit) = way.last_mut() {
                if let Some(input) = visit.inputs.get(visit.next) {
                    let input = input.clone();
                    visit.next += 1;
                    enter(&input, &mut position, &mut way);
                } else if let Some(visit) = way.pop() {
                    job.leave(visit, &mut position);
                }
            }
            job.roots.extend(position.get(&root.id));
        }
        job.find_buffers();
        job
    }

    /// Puts a node behind all its inputs.
    fn leave(&mut self, visit: Visit, position: &mut IdMap<usize>) {
        position.insert(visit.node.id, self.order.len());
        self.inputs.extend(visit.inputs.iter().filter_map(|input| position.get(&input.id)));
        self.inputs_end.push(self.inputs.len());
        self.leaf.push(visit.value.is_some().then_some(self.leaves.len()));
        self.leaves.extend(visit.value.map(|value| Leaf { value, buffer: 0 }));
        self.order.push(visit.node);
    }

    /// Positions of the inputs of a node.
    pub fn inputs(&self, k: usize) -> &[usize] {
        let start = k.checked_sub(1).map_or(0, |before| self.inputs_end[before]);
        &self.inputs[start..self.inputs_end[k]]
    }

    /// Lists the buffers and decides which may be overwritten: those that nobody can ask for again once the
    /// roots are evaluated.
    fn find_buffers(&mut self) {
        let n = self.order.len();
        let (mut used, mut is_root) = (vec![0usize; n], vec![false; n]);
        self.inputs.iter().for_each(|&k| used[k] += 1);
        self.roots.iter().for_each(|&k| is_root[k] = true);
        let mut pinned = vec![false; n];
        for k in (0..n).rev() {
            let node = &self.order[k];
            // One handle is ours, some are the graph's; the rest is held by the world.
            let held = Arc::strong_count(node) > used[k] + 1;
            pinned[k] |= node.is_traced() || (held && !is_root[k]);
            if pinned[k] {
                self.inputs(k).iter().for_each(|&input| pinned[input] = true);
            }
        }
        let mut known: IdMap<usize> = IdMap::default();
        for (k, leaf) in self.leaf.iter().enumerate().filter_map(|(k, leaf)| Some((k, (*leaf)?))) {
            let Leaf { value, buffer } = &mut self.leaves[leaf];
            let span = value.layout.span();
            match known.entry(value.buffer.id()) {
                Entry::Occupied(have) => {
                    *buffer = *have.get();
                    let shared = &mut self.buffers[*buffer];
                    (shared.donated, shared.len) = (false, shared.len.max(span));
                }
                Entry::Vacant(new) => {
                    *buffer = *new.insert(self.buffers.len());
                    // The value is held by the node and here, its buffer by the value, and no one else holds either.
                    let alone = Arc::strong_count(value) == 2 && value.buffer.holders() == 1;
                    let donated = !pinned[k] && alone;
                    self.buffers.push(LeafBuffer { buffer: value.buffer.clone(), len: span, donated });
                }
            }
        }
    }

    /// Identity of the graph on a device: equal keys, equal plans.
    fn key(&self, device: &Device) -> Key {
        let mut key = Key::with_capacity(16 * self.order.len());
        key.push_text(&device.info().selector);
        key.push(usize::from(fusion()));
        #[cfg(not(target_arch = "wasm32"))]
        key.push(crate::tune::tunings());
        for (k, node) in self.order.iter().enumerate() {
            key.push(node.spec.dtype as usize);
            key.push_list(&node.spec.shape);
            match self.leaf[k].map(|leaf| &self.leaves[leaf]) {
                Some(Leaf { value, buffer }) => {
                    key.push(1usize);
                    let LeafBuffer { len, donated, .. } = self.buffers[*buffer];
                    key.push_list(&[*buffer, len, usize::from(donated)]);
                    value.layout.strides.iter().for_each(|&s| key.push_signed(s));
                    key.push_signed(value.layout.offset);
                    value.layout.bounds.iter().for_each(|&(lo, hi)| key.push_list(&[lo, hi]));
                }
                None => {
                    key.push(2usize);
                    key.push_text(node.op.name());
                    node.op.attributes(&mut key);
                    key.push_list(self.inputs(k));
                }
            }
        }
        key.push_list(&self.roots);
        key
    }

    /// Shapes and dtypes of the operands of a node.
    pub fn operands(&self, k: usize) -> Vec<Spec> {
        self.inputs(k).iter().map(|&i| self.order[i].spec.clone()).collect()
    }

    /// Whether the value of a node is there already.
    pub fn is_given(&self, k: usize) -> bool {
        self.leaf[k].is_some()
    }

    /// Positions of the nodes that are to be computed.
    pub fn computed(&self) -> impl Iterator<Item = usize> {
        (0..self.order.len()).filter(|&k| self.leaf[k].is_none())
    }

    pub fn compile(&self, target: Target) -> Result<Plan> {
        let mut builder = Builder::new();
        builder.target = target;
        let mut ids: Vec<NodeId> = Vec::with_capacity(self.order.len());
        let (mut scalars, mut declared) = (0, vec![None; self.buffers.len()]);
        for (k, node) in self.order.iter().enumerate() {
            let id = match self.leaf[k].map(|leaf| &self.leaves[leaf]) {
                Some(Leaf { value, buffer }) => {
                    let (len, dtype) = (self.buffers[*buffer].len, node.spec.dtype);
                    let base = *declared[*buffer].get_or_insert_with(|| builder.input(*buffer, len, dtype));
                    if builder.dtype(base) != dtype {
                        return Err(Error::internal("executor", "one buffer with two dtypes"));
                    }
                    builder.view(base, |_| Some(value.layout.clone()))?
                }
                None => {
                    builder.origin = k;
                    let mut own: SmallVec<[NodeId; 4]> = SmallVec::new();
                    for (_, dtype) in node.op.scalars() {
                        own.push(builder.scalar(scalars, dtype));
                        scalars += 1;
                    }
                    let operands: SmallVec<[NodeId; 4]> = self.inputs(k).iter().map(|&i| ids[i]).collect();
                    node.op.lower(&mut builder, &operands, &own)?
                }
            };
            let (shape, dtype) = (builder.shape(id), builder.dtype(id));
            if (shape, dtype) != (&node.spec.shape, node.spec.dtype) {
                let found = Spec::new(shape.clone(), dtype);
                let message = format!("{} was lowered to {found}, expected {}", node.op.name(), node.spec);
                return Err(Error::internal("executor", message));
            }
            ids.push(id);
        }
        let roots: Vec<NodeId> = self.roots.iter().map(|&r| ids[r]).collect();
        let donated: Vec<bool> = self.buffers.iter().map(|b| b.donated).collect();
        compile(builder, &roots, &donated, fusion())
    }

    /// Evaluates the roots; `times` takes what every launch took, if asked.
    pub fn run(self, device: &Device, times: Times<'_>) -> Result<Arc<Prepared>> {
        let prepared = prepared(device, self.key(device), &self)?;
        self.run_prepared(device, &prepared, times)?;
        Ok(prepared)
    }

    /// Evaluates the roots by a plan of this job.
    pub fn run_prepared(self, device: &Device, prepared: &Prepared, times: Times<'_>) -> Result<()> {
        device.check_room(0)?;
        let mut table = Vec::with_capacity(prepared.plan.slots.len() + self.buffers.len());
        for &bytes in &prepared.plan.slots {
            table.push(device.alloc(bytes)?);
        }
        table.extend(self.buffers.iter().map(|b| b.buffer.clone()));
        prepared.run(device, &self, &table, times)?;
        for (&root, output) in self.roots.iter().zip(&prepared.plan.outputs) {
            let buffer = table[prepared.plan.table_index(output.place)].clone();
            self.order[root].evaluated(Value { buffer, layout: output.layout.clone() });
        }
        // The pool hands out first what came last: the next run finds every slot where this one had it.
        while table.pop().is_some() {}
        Ok(())
    }
}

/// Goes to a node that was not seen before.
fn enter(node: &Arc<Node>, position: &mut IdMap<usize>, way: &mut Vec<Visit>) {
    if let Entry::Vacant(new) = position.entry(node.id) {
        new.insert(ON_THE_WAY);
        let (value, inputs) = node.snapshot();
        way.push(Visit { node: node.clone(), value, inputs, next: 0 });
    }
}

/// Whether kernels are fused; `VORPAL_FUSE=off` turns it off, to find out whether fusion is to blame.
fn fusion() -> bool {
    std::env::var_os("VORPAL_FUSE").is_none_or(|v| v != "off")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;
    use crate::exec::eval;

    /// Which buffers of what `root` stands on may be overwritten.
    fn donated(root: &Tensor) -> Vec<bool> {
        let root = root.0.clone().expect("it is a tensor");
        Job::collect(&[root]).buffers.iter().map(|buffer| buffer.donated).collect()
    }

    #[test]
    fn what_no_one_can_ask_for_again_may_be_overwritten() {
        let device = Device::cpu();
        let ones = || Tensor::from_slice(&[1f32; 8], [8], &device);
        // A step that replaces what it starts from.
        let mut x = ones();
        x = &x + 1.0;
        assert_eq!(donated(&x), [true]);
        eval(&x).expect("it runs");
        x = &x * 2.0;
        assert_eq!(donated(&x), [true]);
        // Someone still has the operand, or what it was made from.
        let y = &x + 1.0;
        drop(x);
        let z = &y + 1.0;
        assert_eq!(donated(&z), [false]);
        let (a, b) = (ones(), ones());
        let sum = &a + &b;
        drop(a);
        assert_eq!(donated(&sum), [true, false]);
        // Windows on one buffer.
        eval(&b).expect("it runs");
        let window = b.narrow(0, 2, 4);
        eval(&window).expect("it runs");
        let sum = &window + 1.0;
        drop(window);
        assert_eq!(donated(&sum), [false]);
    }
}
