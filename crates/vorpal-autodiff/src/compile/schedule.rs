//! The order of launches: of those that can run, always the one after which the least memory is in use.
//!
//! A derivative of a weight runs as soon as it can and lets go of what it reads; what follows from the inputs alone (a
//! mask, a cast of a weight) waits until it is the last thing that something else waits for. Among equals the order of
//! the graph decides.

use std::collections::{BTreeMap, BTreeSet};

use super::fuse::{Group, reads};
use super::ir::{Kind, Node, NodeId};

/// Groups in the order in which they run. `groups` come in an order in which they could run; `targets` are the values
/// that must be there in the end, `donated` tells for every input whether it may be overwritten.
pub fn schedule(nodes: &[Node], groups: Vec<Group>, targets: &[NodeId], donated: &[bool]) -> Vec<Group> {
    let mut scheduler = Scheduler::new(nodes, &groups, targets, donated);
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    let mut out = Vec::with_capacity(groups.len());
    while let Some(next) = scheduler.next() {
        out.extend(groups[next].take());
    }
    debug_assert!(groups.iter().all(Option::is_none), "groups depend on one another in a circle");
    out
}

struct Scheduler<'a> {
    nodes: &'a [Node],
    donated: &'a [bool],
    targets: BTreeSet<NodeId>,
    /// Values each group reads from buffers.
    operands: Vec<Vec<NodeId>>,
    /// Values each group leaves in buffers.
    results: Vec<Vec<NodeId>>,
    /// How many groups have yet to read each value.
    readers: BTreeMap<NodeId, usize>,
    /// Groups that wait for each group, and for how many each waits.
    followers: Vec<Vec<usize>>,
    waits: Vec<usize>,
    /// Groups that wait for nothing.
    sources: Vec<bool>,
    ready: BTreeSet<usize>,
}

impl<'a> Scheduler<'a> {
    fn new(nodes: &'a [Node], groups: &[Group], targets: &[NodeId], donated: &'a [bool]) -> Scheduler<'a> {
        let mut group_of: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (g, group) in groups.iter().enumerate() {
            group_of.extend(group.members.iter().map(|&m| (m, g)));
        }
        let in_buffer =
            |id: NodeId| group_of.contains_key(&id) || matches!(nodes[id].kind, Kind::Input { .. });
        let (mut operands, mut followers) = (Vec::new(), vec![Vec::new(); groups.len()]);
        let (mut waits, mut readers) = (Vec::new(), BTreeMap::new());
        for (g, group) in groups.iter().enumerate() {
            let (mut bases, mut earlier) = (BTreeSet::new(), BTreeSet::new());
            for read in group.members.iter().flat_map(|&m| reads(nodes, m)) {
                let sources = [Some(read.base), read.barrier.map(|b| b.after)];
                earlier.extend(sources.into_iter().flatten().filter_map(|s| group_of.get(&s).copied()));
                if group_of.get(&read.base) != Some(&g) && in_buffer(read.base) {
                    bases.insert(read.base);
                }
            }
            earlier.remove(&g);
            for &before in &earlier {
                followers[before].push(g);
            }
            for &base in &bases {
                *readers.entry(base).or_insert(0) += 1;
            }
            waits.push(earlier.len());
            operands.push(bases.into_iter().collect());
        }
        let targets: BTreeSet<NodeId> = targets.iter().copied().collect();
        let stays = |m: &NodeId| targets.contains(m) || readers.contains_key(m);
        let results = groups.iter().map(|g| g.members.iter().copied().filter(stays).collect()).collect();
        let sources: Vec<bool> = waits.iter().map(|&w| w == 0).collect();
        let ready = (0..groups.len()).filter(|&g| sources[g]).collect();
        Scheduler { nodes, donated, targets, operands, results, readers, followers, waits, sources, ready }
    }

    fn next(&mut self) -> Option<usize> {
        let next = self.ready.iter().copied().min_by_key(|&g| (self.rank(g), g))?;
        self.ready.remove(&next);
        for operand in &self.operands[next] {
            if let Some(left) = self.readers.get_mut(operand) {
                *left -= 1;
            }
        }
        for &follower in &self.followers[next] {
            self.waits[follower] -= 1;
            if self.waits[follower] == 0 {
                self.ready.insert(follower);
            }
        }
        Some(next)
    }

    /// What is better left for later, and then by how many bytes memory grows when a group runs.
    fn rank(&self, g: usize) -> (bool, bool, isize) {
        let mut grown: isize = self.results[g].iter().map(|&r| self.bytes(r)).sum();
        // A source that nothing else waits for alone.
        let early = self.sources[g] && !self.followers[g].is_empty();
        let early = early && self.followers[g].iter().all(|&f| self.waits[f] > 1);
        // The successor of a donated input would be written beside it, because others have yet to read it.
        let mut beside = false;
        for &operand in &self.operands[g] {
            let last = self.readers.get(&operand) == Some(&1);
            let (donated, free) = match self.nodes[operand].kind {
                Kind::Input { index } => {
                    let donated = self.donated.get(index).copied().unwrap_or(false);
                    (donated, donated)
                }
                _ => (false, !self.targets.contains(&operand)),
            };
            if last && free {
                grown -= self.bytes(operand);
            }
            let successor = |r: &NodeId| self.targets.contains(r) && self.bytes(*r) == self.bytes(operand);
            beside |= donated && !last && self.results[g].iter().any(successor);
        }
        (beside, early, if early { 0 } else { grown })
    }

    fn bytes(&self, id: NodeId) -> isize {
        let node = &self.nodes[id];
        node.dtype.bytes(node.shape.numel()) as isize
    }
}

#[cfg(test)]
mod tests {
    use super::super::fuse::fuse;
    use super::super::ir::Builder;
    use super::*;
    use vorpal_kernels::{ReduceKind, ResultType, ScalarFn};
    use vorpal_tensor::DType;

    static ADD: ScalarFn = ScalarFn {
        name: "add",
        arity: 2,
        result: ResultType::Last,
        wgsl: "a + b",
        support: "",
        cpu: |_, _| (),
        flops: 1,
    };

    /// The first members of the groups of a graph, one node each, in the order in which they run.
    fn order(b: &Builder, targets: &[NodeId], donated: &[bool]) -> Vec<NodeId> {
        let groups = fuse(b.nodes(), targets, false);
        schedule(b.nodes(), groups, targets, donated).iter().map(|g| g.members[0]).collect()
    }

    #[test]
    fn what_frees_memory_runs_first() {
        let mut b = Builder::new();
        let (x, y) = (b.input(0, 1000, DType::F32), b.input(1, 1000, DType::F32));
        let (twice_x, twice_y) = (b.call(&ADD, &[x, x]), b.call(&ADD, &[y, y]));
        let (sum_x, sum_y) =
            (b.reduce(ReduceKind::Sum, twice_x, &[true]), b.reduce(ReduceKind::Sum, twice_y, &[true]));
        let total = b.call(&ADD, &[sum_x, sum_y]);
        assert_eq!(order(&b, &[total], &[false, false]), [twice_x, sum_x, twice_y, sum_y, total]);
    }

    #[test]
    fn nothing_is_read_through_a_barrier_too_early() {
        let mut b = Builder::new();
        let (x, y) = (b.input(0, 1000, DType::F32), b.input(1, 1000, DType::F32));
        let twice = b.call(&ADD, &[y, y]);
        let more = b.call(&ADD, &[twice, y]);
        let marked = b.barrier(x, more);
        let sum = b.reduce(ReduceKind::Sum, marked, &[true]);
        assert_eq!(order(&b, &[sum, more], &[false, false]), [twice, more, sum]);
        let at_once = b.reduce(ReduceKind::Sum, x, &[true]);
        assert_eq!(order(&b, &[at_once, more], &[false, false]), [at_once, twice, more]);
    }

    #[test]
    fn a_donated_input_is_overwritten_last() {
        let mut b = Builder::new();
        let (w, g) = (b.input(0, 1000, DType::F32), b.input(1, 1000, DType::F32));
        let new = b.call(&ADD, &[w, g]);
        let large = b.call(&ADD, &[w, w]);
        assert_eq!(order(&b, &[new, large], &[true, false]), [new, large], "both write a successor");
        let sum = b.reduce(ReduceKind::Sum, large, &[true]);
        let other = b.call(&ADD, &[g, w]);
        assert_eq!(order(&b, &[other, sum], &[true, false]), [large, sum, other]);
    }
}
