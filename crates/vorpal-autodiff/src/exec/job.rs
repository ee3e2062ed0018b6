//! What one evaluation needs to know of the graph: its nodes in order, its identity, how to compile it.

use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
use vorpal_tensor::{Buffer, DType, Device, Error, Layout, Result};

use super::prepared::{Prepared, Table, Times, prepared};
use crate::compile::ir::{Builder, NodeId, Target};
use crate::compile::plan::{Place, Plan, compile};
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
    /// What is there of each node before anything runs.
    given: Vec<Option<Given>>,
    leaves: Vec<Leaf>,
    /// Whether a node that is there is read by one that is not, or asked for: what is only seen through windows is no part
    /// of a plan.
    seen: Vec<bool>,
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

/// A node that is there: a leaf by its number, or a window on one.
enum Given {
    Leaf(usize),
    Window(usize, Layout),
}

/// A buffer that leaves are windows on.
pub(super) struct LeafBuffer {
    pub buffer: Buffer,
    dtype: DType,
    /// The elements that are read, rounded down to where a binding can start; empty where none are.
    range: Range<usize>,
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
            given: Vec::new(),
            leaves: Vec::new(),
            seen: Vec::new(),
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
        let first = self.inputs.len();
        self.inputs.extend(visit.inputs.iter().filter_map(|input| position.get(&input.id)));
        self.inputs_end.push(self.inputs.len());
        self.given.push(match (visit.value, &self.inputs[first..]) {
            (Some(value), _) => {
                self.leaves.push(Leaf { value, buffer: 0 });
                Some(Given::Leaf(self.leaves.len() - 1))
            }
            (None, &[of]) => self.place(of).and_then(|(leaf, layout)| {
                visit.node.op.window(layout).map(|layout| Given::Window(leaf, layout))
            }),
            _ => None,
        });
        self.order.push(visit.node);
    }

    /// The leaf that a node is, or is a window on, and where it lies in its buffer.
    fn place(&self, k: usize) -> Option<(usize, &Layout)> {
        match self.given[k].as_ref()? {
            Given::Leaf(leaf) => Some((*leaf, &self.leaves[*leaf].value.layout)),
            Given::Window(leaf, layout) => Some((*leaf, layout)),
        }
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
        for (k, given) in self.given.iter().enumerate() {
            let Some(Given::Leaf(leaf)) = *given else { continue };
            let Leaf { value, buffer } = &mut self.leaves[leaf];
            match known.entry(value.buffer.id()) {
                Entry::Occupied(have) => {
                    *buffer = *have.get();
                    self.buffers[*buffer].donated = false;
                }
                Entry::Vacant(new) => {
                    *buffer = *new.insert(self.buffers.len());
                    // The value is held by the node and here, its buffer by the value, and no one else holds either.
                    let alone = Arc::strong_count(value) == 2 && value.buffer.holders() == 1;
                    let (buffer, dtype, donated) =
                        (value.buffer.clone(), self.order[k].spec.dtype, !pinned[k] && alone);
                    self.buffers.push(LeafBuffer { buffer, dtype, range: 0..0, donated });
                }
            }
        }
        let mut seen = is_root;
        for k in self.computed() {
            self.inputs(k).iter().for_each(|&input| seen[input] = true);
        }
        self.seen = seen;
        self.find_ranges();
    }

    /// Which elements of the buffers are read.
    fn find_ranges(&mut self) {
        for k in (0..self.order.len()).filter(|&k| self.seen[k]) {
            let Some((leaf, layout)) = self.place(k) else { continue };
            let (first, end) = (layout.first().unwrap_or(0), layout.span());
            let range = &mut self.buffers[self.leaves[leaf].buffer].range;
            *range = match range.end {
                0 => first..end,
                _ if end == 0 => continue,
                _ => range.start.min(first)..range.end.max(end),
            };
        }
        for LeafBuffer { buffer, dtype, range, .. } in &mut self.buffers {
            let alignment = buffer.device().info().limits.binding_alignment as usize;
            range.start -= range.start % alignment.div_ceil(dtype.size()).max(1);
        }
        // What may be overwritten is all of it: a small result must not stay in a large buffer.
        for Leaf { value, buffer } in &self.leaves {
            let LeafBuffer { range, donated, .. } = &mut self.buffers[*buffer];
            if *donated {
                *range = 0..value.layout.span();
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
            let place = self.place(k);
            if place.is_some() && !self.seen[k] {
                key.push(3usize);
                continue;
            }
            key.push(if place.is_some() { 1usize } else { 2 });
            key.push(node.spec.dtype as usize);
            key.push_list(&node.spec.shape);
            match place {
                Some((leaf, layout)) => {
                    let buffer = self.leaves[leaf].buffer;
                    let LeafBuffer { range, donated, .. } = &self.buffers[buffer];
                    key.push_list(&[buffer, range.len(), usize::from(*donated)]);
                    layout.strides.iter().for_each(|&s| key.push_signed(s));
                    key.push_signed(offset_in(range, layout));
                    key.push(layout.bounds.len());
                    layout.bounds.iter().for_each(|&(lo, hi)| key.push_list(&[lo, hi]));
                }
                None => {
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
        matches!(self.given[k], Some(Given::Leaf(_)))
    }

    /// Positions of the nodes that are to be computed.
    pub fn computed(&self) -> impl Iterator<Item = usize> {
        (0..self.order.len()).filter(|&k| self.given[k].is_none())
    }

    pub fn compile(&self, target: Target) -> Result<Plan> {
        let mut builder = Builder::new();
        builder.target = target;
        let mut ids: Vec<Option<NodeId>> = Vec::with_capacity(self.order.len());
        let (mut scalars, mut declared) = (0, vec![None; self.buffers.len()]);
        let missing = || Error::internal("executor", "an operand is not there");
        for (k, node) in self.order.iter().enumerate() {
            let place = self.place(k);
            if place.is_some() && !self.seen[k] {
                ids.push(None);
                continue;
            }
            let id = match place {
                Some((leaf, layout)) => {
                    let (buffer, dtype) = (self.leaves[leaf].buffer, node.spec.dtype);
                    let range = &self.buffers[buffer].range;
                    let base =
                        *declared[buffer].get_or_insert_with(|| builder.input(buffer, range.len(), dtype));
                    if builder.dtype(base) != dtype {
                        return Err(Error::internal("executor", "one buffer with two dtypes"));
                    }
                    let offset = offset_in(range, layout);
                    builder.view(base, |_| Some(Layout { offset, ..layout.clone() }))?
                }
                None => {
                    builder.origin = k;
                    let mut own: SmallVec<[NodeId; 4]> = SmallVec::new();
                    for (_, dtype) in node.op.scalars() {
                        own.push(builder.scalar(scalars, dtype));
                        scalars += 1;
                    }
                    let operands: Option<SmallVec<[NodeId; 4]>> =
                        self.inputs(k).iter().map(|&i| ids[i]).collect();
                    node.op.lower(&mut builder, &operands.ok_or_else(missing)?, &own)?
                }
            };
            let (shape, dtype) = (builder.shape(id), builder.dtype(id));
            if (shape, dtype) != (&node.spec.shape, node.spec.dtype) {
                let found = Spec::new(shape.clone(), dtype);
                let message = format!("{} was lowered to {found}, expected {}", node.op.name(), node.spec);
                return Err(Error::internal("executor", message));
            }
            ids.push(Some(id));
        }
        let roots: Option<Vec<NodeId>> = self.roots.iter().map(|&r| ids[r]).collect();
        let roots = roots.ok_or_else(missing)?;
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
        let Plan { slots, outputs, .. } = &prepared.plan;
        let mut table = Table {
            buffers: Vec::with_capacity(slots.len() + self.buffers.len()),
            starts: vec![0; slots.len()],
        };
        for &bytes in slots {
            table.buffers.push(device.alloc(bytes)?);
        }
        table.buffers.extend(self.buffers.iter().map(|b| b.buffer.clone()));
        table.starts.extend(self.buffers.iter().map(|b| (b.range.start * b.dtype.size()) as u64));
        prepared.run(device, &self, &table, times)?;
        for (&root, output) in self.roots.iter().zip(outputs) {
            let mut layout = output.layout.clone();
            if let Place::Input(index) = output.place {
                layout.offset += self.buffers[index].range.start as isize;
            }
            let buffer = table.buffers[prepared.plan.table_index(output.place)].clone();
            self.order[root].evaluated(Value { buffer, layout });
        }
        // The pool hands out first what came last: the next run finds every slot where this one had it.
        while table.buffers.pop().is_some() {}
        Ok(())
    }
}

/// Where a layout starts in a part of its buffer.
fn offset_in(part: &Range<usize>, layout: &Layout) -> isize {
    layout.first().map_or(0, |_| layout.offset - part.start as isize)
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
