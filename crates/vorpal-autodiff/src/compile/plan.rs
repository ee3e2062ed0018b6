//! The plan: launches over inputs and slots, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use smallvec::smallvec;
use vorpal_kernels::{Abilities, Access, Kernel, Pointwise, Rebased, Row, SCALARS_MAX, Starts};
use vorpal_tensor::{Error, Layout, Result};

use super::fuse::{Fusion, Group, Rows, fuse};
use super::ir::{Builder, Class, Kind, Node, NodeId};
use super::layouts::lay_out;
use super::lower::lower;
use super::memory::{self, Home, Use, Values};
use super::parts::join_where_made;
use super::reads::{each_source, reads};
use super::schedule::schedule;
use super::sink::sink;

/// Where a buffer of a launch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A buffer handed to the plan.
    Input(usize),
    /// A buffer the plan allocates.
    Slot(usize),
}

/// One kernel with its buffers and scalars.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What runs.
    pub kernel: Arc<dyn Kernel>,
    /// Its buffers, in order of its arguments.
    pub buffers: Vec<Place>,
    /// Where in each of them its binding starts, in elements; those that are not told start at 0.
    pub starts: Starts,
    /// Its run-time scalars, by their number in the graph.
    pub scalars: Vec<usize>,
    /// Number of the op to blame for indices out of range.
    pub origin: Option<usize>,
}

impl Launch {
    /// Where in its buffer argument `k` starts, in elements.
    pub fn start(&self, k: usize) -> usize {
        self.starts.get(k).copied().unwrap_or(0)
    }
}

/// A result: a window on a buffer.
#[derive(Clone, Debug)]
pub struct Output {
    /// The buffer.
    pub place: Place,
    /// The window.
    pub layout: Layout,
}

/// Work and traffic of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanCost {
    /// Floating point operations.
    pub flops: u64,
    /// Bytes that the launches read and write in all.
    pub bytes: u64,
    /// Bytes that any plan must move: what it is given, read once, and its results, written once.
    pub bytes_least: u64,
}

/// Everything that has to happen, in order.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Launches in order.
    pub launches: Vec<Launch>,
    /// Bytes of each slot.
    pub slots: Vec<usize>,
    /// Where the results are.
    pub outputs: Vec<Output>,
}

impl Plan {
    /// Bytes the plan takes from its device beyond its inputs, results included.
    pub fn peak_bytes(&self) -> usize {
        self.slots.iter().sum()
    }

    /// What the launches do and move together, and how little could be moved.
    pub fn cost(&self) -> PlanCost {
        // Of every input which bytes launches touch, and how many they do all told.
        let (mut cost, mut touched) = (PlanCost::default(), BTreeMap::<usize, (Range<usize>, usize)>::new());
        for launch in &self.launches {
            let own = launch.kernel.cost();
            cost.flops += own.flops;
            cost.bytes += own.bytes;
            for (k, arg) in launch.kernel.args().iter().enumerate() {
                if let Place::Input(index) = launch.buffers[k] {
                    let (start, len) = (arg.dtype.bytes(launch.start(k)), arg.dtype.bytes(arg.len));
                    let (range, all) = touched.entry(index).or_insert((start..start, 0));
                    *range = range.start.min(start)..range.end.max(start + len);
                    *all += len;
                }
            }
        }
        let given: BTreeMap<usize, usize> =
            touched.into_iter().map(|(index, (range, all))| (index, range.len().min(all))).collect();
        let results: BTreeSet<Place> = self.outputs.iter().map(|o| o.place).collect();
        let written = |place: &Place| match *place {
            Place::Slot(slot) => self.slots[slot],
            Place::Input(index) => given.get(&index).copied().unwrap_or(0),
        };
        let least = given.values().sum::<usize>() + results.iter().map(written).sum::<usize>();
        cost.bytes_least = least as u64;
        cost
    }

    /// Where a buffer stands in a table of all: slots first, inputs behind them.
    pub(crate) fn table_index(&self, place: Place) -> usize {
        match place {
            Place::Slot(slot) => slot,
            Place::Input(index) => self.slots.len() + index,
        }
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (k, launch) in self.launches.iter().enumerate() {
            writeln!(f, "{k:4} {} {:?}", launch.kernel.describe(), launch.buffers)?;
        }
        write!(
            f,
            "slots {:?}, results {:?}",
            self.slots,
            self.outputs.iter().map(|o| o.place).collect::<Vec<_>>()
        )
    }
}

/// A launch before buffers are assigned: the node behind every argument.
pub(super) struct Draft {
    pub kernel: Arc<dyn Kernel>,
    pub nodes: Vec<NodeId>,
    scalars: Vec<usize>,
    origin: Option<usize>,
}

impl Draft {
    /// Which arguments it writes.
    pub fn written(&self) -> Vec<bool> {
        self.kernel.args().iter().map(|arg| arg.access != Access::Read).collect()
    }
}

/// Compiles the graph behind `roots`. `donated` tells for every input whether it may be overwritten; with
/// `fused` false every node is a launch of its own.
///
/// # Errors
/// [`Error::Internal`] when a pass breaks its promise to the next.
pub fn compile(mut builder: Builder, roots: &[NodeId], donated: &[bool], fused: bool) -> Result<Plan> {
    let mut roots = roots.to_vec();
    if let Some(now) = lay_out(&mut builder) {
        roots.iter_mut().for_each(|root| *root = now[*root]);
    }
    if fused && let Some(now) = sink(&mut builder, &roots)? {
        roots.iter_mut().for_each(|root| *root = now[*root]);
    }
    let windows: Vec<(NodeId, Layout)> = roots
        .iter()
        .map(|&root| {
            let (buffer, layout) = builder.strided(root);
            (builder.base(buffer), layout)
        })
        .collect();
    let (nodes, abilities) = (builder.nodes(), builder.target().abilities);
    let is_input = |id: NodeId| matches!(nodes[id].kind, Kind::Input { .. });
    let targets: Vec<NodeId> = windows
        .iter()
        .map(|w| w.0)
        .filter(|&id| !is_input(id))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let fusion = match (fused, builder.target().class) {
        (false, _) => Fusion::Off,
        (true, Class::Native) => Fusion::Native,
        (true, _) => Fusion::Adapter(abilities.buffers as usize),
    };
    let groups = schedule(nodes, fuse(nodes, &targets, fusion), &targets, donated);
    let wanted = outside_readers(nodes, &groups, &targets);
    let mut drafts = Vec::new();
    for group in &groups {
        let stored = group.members.iter().copied().filter(|&m| wanted[m]).collect();
        draft(nodes, group, stored, abilities, &mut drafts)?;
    }
    if fused && !builder.target().is_native() {
        join_where_made(nodes, &mut drafts, &targets, abilities.buffers as usize);
    }
    let uses: Vec<Use> = drafts.iter().map(uses_of).collect();
    let values = values(nodes, &drafts, donated, &windows);
    let memory = memory::plan(&uses, &values);
    memory::verify(&uses, &values, &memory).map_err(|message| Error::internal("memory plan", message))?;
    let place = |id: NodeId| match (memory.homes.get(&id), &nodes[id].kind) {
        (Some(Home::Slot(slot)), _) => Ok(Place::Slot(*slot)),
        (Some(Home::Input(input)), _) => match nodes[*input].kind {
            Kind::Input { index } => Ok(Place::Input(index)),
            _ => Err(Error::internal("plan", format!("node {input} is no input"))),
        },
        (None, Kind::Input { index }) => Ok(Place::Input(*index)),
        (None, _) => Err(Error::internal("plan", format!("node {id} has no home"))),
    };
    let mut launches = Vec::with_capacity(drafts.len());
    for (draft, pairs) in drafts.into_iter().zip(&memory.in_place) {
        let Draft { mut kernel, nodes: mut bound, scalars, origin } = draft;
        for &(operand, result) in pairs {
            let (input, output) = argument_pair(&*kernel, &bound, operand, result)
                .ok_or_else(|| Error::internal("plan", "a pair in place has no arguments"))?;
            kernel = kernel
                .in_place(input, output)
                .ok_or_else(|| Error::internal("plan", "a kernel took back that it runs in place"))?;
            bound.remove(input);
        }
        let buffers = bound.iter().map(|&id| place(id)).collect::<Result<Vec<_>>>()?;
        let (kernel, starts) = match kernel.rebased() {
            Some(Rebased { kernel, starts }) => (kernel, starts),
            None => (kernel, smallvec![0; buffers.len()]),
        };
        launches.push(Launch { kernel, buffers, starts, scalars, origin });
    }
    let mut outputs = Vec::with_capacity(windows.len());
    for (id, layout) in windows {
        outputs.push(Output { place: place(id)?, layout });
    }
    Ok(Plan { launches, slots: memory.slots, outputs })
}

/// Which nodes' values are needed outside of their group.
fn outside_readers(nodes: &[Node], groups: &[Group], targets: &[NodeId]) -> Vec<bool> {
    let (mut wanted, mut group_of) = (vec![false; nodes.len()], vec![None; nodes.len()]);
    targets.iter().for_each(|&t| wanted[t] = true);
    for (g, group) in groups.iter().enumerate() {
        group.members.iter().for_each(|&m| group_of[m] = Some(g));
    }
    for (g, group) in groups.iter().enumerate() {
        for &member in &group.members {
            each_source(nodes, member, |base, _| wanted[base] |= group_of[base] != Some(g));
        }
    }
    wanted
}

/// The launch of a group, or of each of its members where one launch cannot hold it. `stored` are the members whose
/// values are needed outside of it.
fn draft(
    nodes: &[Node],
    group: &Group,
    mut stored: Vec<NodeId>,
    abilities: Abilities,
    out: &mut Vec<Draft>,
) -> Result<()> {
    if let [single] = group.members[..]
        && let Kind::Kernel { kernel, origin, .. } = &nodes[single].kind
    {
        let mut bound: Vec<NodeId> = reads(nodes, single).iter().map(|r| r.base).collect();
        bound.push(single);
        let origin = kernel.checks_indices().then_some(*origin);
        out.push(Draft { kernel: kernel.clone(), nodes: bound, scalars: Vec::new(), origin });
        return Ok(());
    }
    if let Kind::Kernel { kernel, inputs, .. } = &nodes[group.members[0]].kind {
        let head = group.members[0];
        let acc = nodes[head].dtype;
        if !kernel.stores_16bit() && stored.iter().all(|&m| nodes[m].dtype != acc) {
            // Natively the accumulators need a place.
            stored.push(head);
        }
        let fused = lower(nodes, group, &stored)?;
        let (scalars, few) = (fused.scalar_indices.clone(), fused.scalars.len() <= SCALARS_MAX);
        let (epilogue, further) = fused.epilogue(inputs.len(), acc);
        if let Some(kernel) = kernel.with_epilogue(epilogue).filter(|_| few) {
            let bound = reads(nodes, head).iter().map(|r| r.base).chain(further).collect();
            out.push(Draft { kernel, nodes: bound, scalars, origin: None });
            return Ok(());
        }
        return apart(nodes, group, abilities, out);
    }
    let fused = lower(nodes, group, &stored)?;
    if fused.scalars.len() <= SCALARS_MAX {
        let kernel: Option<Arc<dyn Kernel>> = match &group.rows {
            None => {
                let pointwise = Pointwise::new(fused.program, fused.args, fused.scalars, group.len);
                Some(Arc::new(pointwise.with_abilities(abilities)))
            }
            Some(rows) => Row::new(fused.program, fused.args, fused.scalars, rows.shape.clone(), &rows.axes)
                .map(|row| Arc::new(row.with_abilities(abilities)) as Arc<dyn Kernel>),
        };
        if let Some(kernel) = kernel {
            out.push(Draft { kernel, nodes: fused.nodes, scalars: fused.scalar_indices, origin: None });
            return Ok(());
        }
    }
    if group.members.len() == 1 {
        let node = &nodes[group.members[0]];
        return Err(Error::internal(
            "plan",
            format!("{:?} of {} does not fit a launch", node.kind, node.shape),
        ));
    }
    apart(nodes, group, abilities, out)
}

/// A launch for each member of a group, all of which need a buffer then.
fn apart(nodes: &[Node], group: &Group, abilities: Abilities, out: &mut Vec<Draft>) -> Result<()> {
    for &member in &group.members {
        let (rows, len) = match &nodes[member].kind {
            Kind::Reduce { x, axes, .. } => {
                let shape = nodes[*x].shape.clone();
                let len = shape.numel();
                (Some(Rows { shape, axes: axes.clone() }), len)
            }
            _ => (None, nodes[member].shape.numel()),
        };
        let alone = Group { members: vec![member], rows, len };
        draft(nodes, &alone, vec![member], abilities, out)?;
    }
    Ok(())
}

fn uses_of(draft: &Draft) -> Use {
    let args = draft.kernel.args();
    let of = |access: fn(Access) -> bool| {
        let picked = args.iter().zip(&draft.nodes).filter(move |(a, _)| access(a.access));
        picked.map(|(_, &id)| id).collect::<Vec<_>>()
    };
    let (reads, writes) = (of(|a| a == Access::Read), of(|a| a != Access::Read));
    let mut in_place = Vec::new();
    // Of a value that more than one argument reads, only one is known to be read in place.
    let once = |id: NodeId| draft.nodes.iter().filter(|&&other| other == id).count() == 1;
    let inputs = args.iter().enumerate().filter(|(k, a)| a.access == Access::Read && once(draft.nodes[*k]));
    for (input, arg) in inputs {
        for (output, result) in args.iter().enumerate().filter(|(_, a)| a.access != Access::Read) {
            if arg.len == result.len && draft.kernel.in_place(input, output).is_some() {
                in_place.push((draft.nodes[input], draft.nodes[output]));
            }
        }
    }
    Use { reads, writes, in_place }
}

/// Argument numbers of a pair of nodes.
fn argument_pair(
    kernel: &dyn Kernel,
    bound: &[NodeId],
    operand: NodeId,
    result: NodeId,
) -> Option<(usize, usize)> {
    let args = kernel.args();
    let find = |id: NodeId, read: bool| {
        (0..bound.len()).find(|&k| bound[k] == id && (args[k].access == Access::Read) == read)
    };
    Some((find(operand, true)?, find(result, false)?))
}

fn values(nodes: &[Node], drafts: &[Draft], donated: &[bool], windows: &[(NodeId, Layout)]) -> Values {
    let mut values = Values { outputs: windows.iter().map(|w| w.0).collect(), ..Values::default() };
    let mut bytes: BTreeMap<NodeId, usize> = BTreeMap::new();
    for &id in drafts.iter().flat_map(|d| &d.nodes).chain(&values.outputs) {
        bytes.insert(id, nodes[id].dtype.bytes(nodes[id].shape.numel()));
        if let Kind::Input { index } = nodes[id].kind {
            values.inputs.insert(id, donated.get(index).copied().unwrap_or(false));
        }
    }
    values.bytes = bytes;
    values
}
