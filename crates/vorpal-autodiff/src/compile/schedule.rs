//! The order of launches: of those that can run, always the one after which the least memory is in use.
//!
//! A derivative of a weight runs as soon as it can and lets go of what it reads; what follows from the inputs alone (a
//! mask, a cast of a weight) waits until it is the last thing that something else waits for. Among equals the order of
//! the graph decides.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use super::fuse::Group;
use super::ir::{Kind, Node, NodeId};
use super::reads::each_source;

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

/// What is better left for later, and then by how many bytes memory grows when a group runs.
type Rank = (bool, bool, isize);

struct Scheduler<'a> {
    nodes: &'a [Node],
    donated: &'a [bool],
    /// Values that must be there in the end.
    target: Vec<bool>,
    /// Values each group reads from buffers.
    operands: Vec<Vec<NodeId>>,
    /// Values each group leaves in buffers.
    results: Vec<Vec<NodeId>>,
    /// Groups that read each value, and how many of them have yet to run.
    readers: Vec<SmallVec<[usize; 2]>>,
    unread: Vec<usize>,
    /// Groups that each group waits for, groups that wait for it, and for how many it still waits.
    earlier: Vec<SmallVec<[usize; 4]>>,
    followers: Vec<Vec<usize>>,
    waits: Vec<usize>,
    /// How many followers of each group wait for it alone.
    alone: Vec<usize>,
    done: Vec<bool>,
    /// Groups that can run, best first, and the rank of each.
    ready: BTreeSet<(Rank, usize)>,
    ranks: Vec<Option<Rank>>,
}

impl<'a> Scheduler<'a> {
    fn new(nodes: &'a [Node], groups: &[Group], targets: &[NodeId], donated: &'a [bool]) -> Scheduler<'a> {
        let (n, mut group_of) = (groups.len(), vec![None; nodes.len()]);
        for (g, group) in groups.iter().enumerate() {
            group.members.iter().for_each(|&m| group_of[m] = Some(g));
        }
        let mut target = vec![false; nodes.len()];
        targets.iter().for_each(|&t| target[t] = true);
        let in_buffer = |id: NodeId| group_of[id].is_some() || matches!(nodes[id].kind, Kind::Input { .. });
        let (mut operands, mut all_earlier) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let (mut followers, mut readers) = (vec![Vec::new(); n], vec![SmallVec::new(); nodes.len()]);
        for (g, group) in groups.iter().enumerate() {
            let (mut bases, mut earlier): (Vec<NodeId>, SmallVec<[usize; 4]>) = (Vec::new(), SmallVec::new());
            for &member in &group.members {
                each_source(nodes, member, |base, after| {
                    let sources = [Some(base), after].into_iter().flatten();
                    earlier.extend(sources.filter_map(|s| group_of[s]).filter(|&h| h != g));
                    if group_of[base] != Some(g) && in_buffer(base) {
                        bases.push(base);
                    }
                });
            }
            bases.sort_unstable();
            bases.dedup();
            earlier.sort_unstable();
            earlier.dedup();
            earlier.iter().for_each(|&before| followers[before].push(g));
            bases.iter().for_each(|&base: &NodeId| readers[base].push(g));
            operands.push(bases);
            all_earlier.push(earlier);
        }
        let stays = |m: &NodeId| target[*m] || !readers[*m].is_empty();
        let results = groups.iter().map(|g| g.members.iter().copied().filter(stays).collect()).collect();
        let mut scheduler = Scheduler {
            nodes,
            donated,
            operands,
            results,
            unread: readers.iter().map(SmallVec::len).collect(),
            readers,
            waits: all_earlier.iter().map(SmallVec::len).collect(),
            alone: vec![0; n],
            earlier: all_earlier,
            followers,
            target,
            done: vec![false; n],
            ready: BTreeSet::new(),
            ranks: vec![None; n],
        };
        for g in 0..n {
            if let [before] = scheduler.earlier[g][..] {
                scheduler.alone[before] += 1;
            }
        }
        let sources: Vec<usize> = (0..n).filter(|&g| scheduler.waits[g] == 0).collect();
        sources.into_iter().for_each(|g| scheduler.admit(g));
        scheduler
    }

    fn next(&mut self) -> Option<usize> {
        let (_, next) = self.ready.pop_first()?;
        (self.done[next], self.ranks[next]) = (true, None);
        for k in 0..self.operands[next].len() {
            let operand = self.operands[next][k];
            self.unread[operand] -= 1;
            if self.unread[operand] == 1 {
                // Whoever is left is the last to read it.
                let last = self.readers[operand].iter().copied().find(|&g| !self.done[g]);
                last.into_iter().for_each(|g| self.rank_anew(g));
            }
        }
        for k in 0..self.followers[next].len() {
            let follower = self.followers[next][k];
            self.waits[follower] -= 1;
            match self.waits[follower] {
                0 => self.admit(follower),
                1 => {
                    let before = self.earlier[follower].iter().copied().find(|&g| !self.done[g]);
                    if let Some(g) = before {
                        self.alone[g] += 1;
                        self.rank_anew(g);
                    }
                }
                _ => {}
            }
        }
        Some(next)
    }

    /// Lets a group wait for its turn.
    fn admit(&mut self, g: usize) {
        let rank = self.rank(g);
        self.ranks[g] = Some(rank);
        self.ready.insert((rank, g));
    }

    /// After something changed for a group.
    fn rank_anew(&mut self, g: usize) {
        if let Some(rank) = self.ranks[g] {
            self.ready.remove(&(rank, g));
            self.admit(g);
        }
    }

    fn rank(&self, g: usize) -> Rank {
        let mut grown: isize = self.results[g].iter().map(|&r| self.bytes(r)).sum();
        // A source that nothing else waits for alone.
        let source = self.earlier[g].is_empty() && !self.followers[g].is_empty();
        let early = source && self.alone[g] == 0;
        // The successor of a donated input would be written beside it, because others have yet to read it.
        let mut beside = false;
        for &operand in &self.operands[g] {
            let last = self.unread[operand] == 1;
            let (donated, free) = match self.nodes[operand].kind {
                Kind::Input { index } => {
                    let donated = self.donated.get(index).copied().unwrap_or(false);
                    (donated, donated)
                }
                _ => (false, !self.target[operand]),
            };
            if last && free {
                grown -= self.bytes(operand);
            }
            let successor = |r: &NodeId| self.target[*r] && self.bytes(*r) == self.bytes(operand);
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
    use super::super::fuse::{Fusion, fuse};
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
        let groups = fuse(b.nodes(), targets, Fusion::Off);
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
    fn a_barrier_waits_for_halves_whose_cast_nothing_reads() {
        let mut b = Builder::new();
        let (x, y) = (b.input(0, 1000, DType::F32), b.input(1, 1000, DType::F32));
        let twice = b.call(&ADD, &[y, y]);
        let halves = b.cast(twice, DType::F16);
        let wide = b.cast(halves, DType::F32);
        let marked = b.barrier(x, wide);
        let sum = b.reduce(ReduceKind::Sum, marked, &[true]);
        let more = b.call(&ADD, &[wide, wide]);
        let found = order(&b, &[sum, more], &[false, false]);
        let place = |id: NodeId| found.iter().position(|&have| have == id);
        assert!(place(wide).is_none() && place(halves) < place(sum), "{found:?}");
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
