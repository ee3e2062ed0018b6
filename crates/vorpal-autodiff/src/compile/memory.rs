//! The memory plan: which buffer every value lives in, known before anything runs.
//!
//! Values that are never alive together share a slot; a launch may write its result over an operand
//! that nobody reads again; inputs that the caller donates (old parameters and optimiser state) are
//! overwritten by the results that replace them.

use std::collections::{BTreeMap, BTreeSet};

use super::ir::NodeId;

/// One launch as the memory plan sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Values it reads.
    pub reads: Vec<NodeId>,
    /// Values it writes, each in full.
    pub writes: Vec<NodeId>,
    /// Pairs (operand, result) for which the kernel can write over the operand.
    pub in_place: Vec<(NodeId, NodeId)>,
}

/// Everything the plan needs to know of the values.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Bytes of every value that occurs.
    pub bytes: BTreeMap<NodeId, usize>,
    /// Values that are there before the first launch, and whether each may be overwritten.
    pub inputs: BTreeMap<NodeId, bool>,
    /// Values that must be there after the last launch.
    pub outputs: Vec<NodeId>,
}

/// Where a value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Home {
    /// The buffer of an input, by its node.
    Input(NodeId),
    /// A slot of the plan.
    Slot(usize),
}

/// The memory plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of every slot.
    pub slots: Vec<usize>,
    /// Where every value lives.
    pub homes: BTreeMap<NodeId, Home>,
    /// For every launch, the pairs (operand, result) that share a buffer.
    pub in_place: Vec<Vec<(NodeId, NodeId)>>,
}

impl Memory {
    /// Bytes the slots take together: what the plan needs beyond its inputs.
    pub fn peak_bytes(&self) -> usize {
        self.slots.iter().sum()
    }
}

/// Plans the memory of launches that run in the given order.
pub fn plan(launches: &[Use], values: &Values) -> Memory {
    let mut planner = Planner::new(launches, values);
    for (step, launch) in launches.iter().enumerate() {
        planner.launch(step, launch);
    }
    planner.memory
}

struct Planner<'a> {
    values: &'a Values,
    /// Last launch that reads each value; outputs are read by the world after the end.
    last_read: BTreeMap<NodeId, usize>,
    /// Slots nobody lives in, by their bytes.
    free: BTreeMap<usize, Vec<usize>>,
    /// Values that must be there after the last launch.
    outputs: BTreeSet<NodeId>,
    memory: Memory,
}

impl<'a> Planner<'a> {
    fn new(launches: &[Use], values: &'a Values) -> Planner<'a> {
        let mut last_read = BTreeMap::new();
        for (step, launch) in launches.iter().enumerate() {
            for &value in launch.writes.iter().chain(&launch.reads) {
                last_read.insert(value, step);
            }
        }
        for &output in &values.outputs {
            last_read.insert(output, launches.len());
        }
        let homes = values.inputs.keys().map(|&input| (input, Home::Input(input))).collect();
        let memory = Memory { slots: Vec::new(), homes, in_place: Vec::new() };
        let outputs = values.outputs.iter().copied().collect();
        Planner { values, last_read, free: BTreeMap::new(), outputs, memory }
    }

    fn bytes(&self, value: NodeId) -> usize {
        self.values.bytes.get(&value).copied().unwrap_or(0)
    }

    fn launch(&mut self, step: usize, launch: &Use) {
        let mut shared: Vec<(NodeId, NodeId)> = Vec::new();
        for &result in &launch.writes {
            let taken = |operand: NodeId| shared.iter().any(|&(o, _)| o == operand);
            let pair = launch.in_place.iter().copied().find(|&(operand, to)| {
                to == result && !taken(operand) && self.may_overwrite(step, launch, operand, result)
            });
            let home = match pair {
                Some((operand, _)) => {
                    shared.push((operand, result));
                    self.memory.homes[&operand]
                }
                None => Home::Slot(self.slot(self.bytes(result), self.outputs.contains(&result))),
            };
            self.memory.homes.insert(result, home);
        }
        self.release(step, launch, &shared);
        self.memory.in_place.push(shared);
    }

    /// Whether nobody needs `operand` after this launch, its buffer may be written, has the size of
    /// the result, and no other value of the launch lives in it.
    fn may_overwrite(&self, step: usize, launch: &Use, operand: NodeId, result: NodeId) -> bool {
        let Some(&home) = self.memory.homes.get(&operand) else { return false };
        let writable = match home {
            Home::Input(input) => self.values.inputs.get(&input).copied().unwrap_or(false),
            Home::Slot(_) => true,
        };
        let alone = launch.reads.iter().all(|&r| r == operand || self.memory.homes.get(&r) != Some(&home));
        // Results that stay take no more room than they need.
        let tight = match home {
            Home::Slot(slot) if self.outputs.contains(&result) => {
                self.memory.slots[slot] == self.bytes(result)
            }
            _ => true,
        };
        writable
            && tight
            && alone
            && self.last_read.get(&operand) == Some(&step)
            && self.bytes(operand) == self.bytes(result)
    }

    /// The free slot that fits best: the smallest that is large enough, else the largest, which grows. Results
    /// that stay take a slot of just their size: their buffers live on, and the next plan must find them alike.
    fn slot(&mut self, bytes: usize, stays: bool) -> usize {
        let large_enough =
            self.free.range(bytes..).next().map(|(&have, _)| have).filter(|&have| !stays || have == bytes);
        let best = large_enough.or_else(|| self.free.keys().next_back().copied().filter(|_| !stays));
        let free = best.and_then(|have| self.free.get_mut(&have).and_then(Vec::pop).map(|slot| (have, slot)));
        match free {
            Some((have, slot)) => {
                if self.free.get(&have).is_some_and(Vec::is_empty) {
                    self.free.remove(&have);
                }
                self.memory.slots[slot] = have.max(bytes);
                slot
            }
            None => {
                self.memory.slots.push(bytes);
                self.memory.slots.len() - 1
            }
        }
    }

    /// Frees the slots of values whose last use this was, unless a result has moved in.
    fn release(&mut self, step: usize, launch: &Use, shared: &[(NodeId, NodeId)]) {
        let mut ended: Vec<NodeId> = launch.reads.iter().chain(&launch.writes).copied().collect();
        ended.sort_unstable();
        ended.dedup();
        for value in ended {
            let moved = shared.iter().any(|&(operand, _)| operand == value);
            if !moved
                && self.last_read.get(&value) == Some(&step)
                && let Some(&Home::Slot(slot)) = self.memory.homes.get(&value)
            {
                self.free.entry(self.memory.slots[slot]).or_default().push(slot);
            }
        }
    }
}

/// Checks a memory plan against the launches: every value a launch reads must still be in its home.
///
/// # Errors
/// A message that names the launch, the value and who overwrote it.
pub fn verify(launches: &[Use], values: &Values, memory: &Memory) -> Result<(), String> {
    let mut tenants: BTreeMap<Home, NodeId> = BTreeMap::new();
    for &input in values.inputs.keys() {
        tenants.insert(Home::Input(input), input);
    }
    let home = |v: NodeId| memory.homes.get(&v).copied().ok_or(format!("value {v} has no home"));
    for (step, launch) in launches.iter().enumerate() {
        for &read in &launch.reads {
            let tenant = tenants.get(&home(read)?);
            if tenant != Some(&read) {
                return Err(format!("launch {step} reads value {read}, but {tenant:?} lives there"));
            }
        }
        for &write in &launch.writes {
            let there = home(write)?;
            let shared = memory.in_place[step].iter().any(|&(_, result)| result == write);
            if !shared && launch.reads.iter().any(|&r| home(r) == Ok(there)) {
                return Err(format!("launch {step} writes value {write} over one of its operands"));
            }
            if let Home::Input(input) = there
                && values.inputs.get(&input) != Some(&true)
            {
                return Err(format!("launch {step} writes value {write} over input {input}, not donated"));
            }
            tenants.insert(there, write);
        }
    }
    match values.outputs.iter().find(|&&o| home(o).map(|h| tenants.get(&h) != Some(&o)).unwrap_or(true)) {
        Some(lost) => Err(format!("output {lost} is overwritten before the end")),
        None => Ok(()),
    }
}

impl PartialOrd for Home {
    fn partial_cmp(&self, other: &Home) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Home {
    fn cmp(&self, other: &Home) -> std::cmp::Ordering {
        let rank = |home: &Home| match *home {
            Home::Input(node) => (0, node),
            Home::Slot(slot) => (1, slot),
        };
        rank(self).cmp(&rank(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(bytes: &[usize], inputs: &[(NodeId, bool)], outputs: &[NodeId]) -> Values {
        Values {
            bytes: bytes.iter().copied().enumerate().collect(),
            inputs: inputs.iter().copied().collect(),
            outputs: outputs.to_vec(),
        }
    }

    fn unary(from: NodeId, to: NodeId) -> Use {
        Use { reads: vec![from], writes: vec![to], in_place: vec![(from, to)] }
    }

    #[test]
    fn a_chain_runs_in_one_slot() {
        let launches = [unary(0, 1), unary(1, 2), unary(2, 3)];
        let values = values(&[64; 4], &[(0, false)], &[3]);
        let memory = plan(&launches, &values);
        assert_eq!(memory.slots, [64]);
        assert_eq!(verify(&launches, &values, &memory), Ok(()));
    }

    #[test]
    fn a_donated_parameter_is_updated_in_place() {
        let launches = [
            Use { reads: vec![0, 1], writes: vec![2], in_place: vec![] },
            Use { reads: vec![0, 2], writes: vec![3], in_place: vec![(0, 3)] },
        ];
        let donated = values(&[64, 8, 64, 64], &[(0, true), (1, false)], &[3]);
        let memory = plan(&launches, &donated);
        assert_eq!(memory.homes[&3], Home::Input(0));
        assert_eq!(memory.in_place[1], [(0, 3)]);
        let kept = values(&[64, 8, 64, 64], &[(0, false), (1, false)], &[3]);
        assert!(matches!(plan(&launches, &kept).homes[&3], Home::Slot(_)));
    }

    #[test]
    fn a_result_nobody_reads_gives_its_slot_back() {
        let launches = [unary(0, 1), Use { reads: vec![0], writes: vec![2], in_place: vec![] }];
        let memory = plan(&launches, &values(&[16; 3], &[(0, false)], &[2]));
        assert_eq!(memory.slots, [16]);
    }

    proptest! {
        #[test]
        fn random_plans_hold(
            seeds in prop::collection::vec((any::<u16>(), any::<u16>(), 1usize..5, any::<bool>()), 1..40),
            donate in any::<bool>(),
        ) {
            // Value 0 and 1 are inputs; launch k writes value k + 2 from two earlier ones.
            let mut bytes = vec![4, 8];
            let mut launches = Vec::new();
            for (k, &(a, b, size, overwrite)) in seeds.iter().enumerate() {
                let (a, b) = (a as usize % (k + 2), b as usize % (k + 2));
                bytes.push(4 * size);
                let in_place = if overwrite { vec![(a, k + 2), (b, k + 2)] } else { vec![] };
                launches.push(Use { reads: vec![a, b], writes: vec![k + 2], in_place });
            }
            let outputs = [bytes.len() - 1, bytes.len() / 2];
            let values = values(&bytes, &[(0, donate), (1, false)], &outputs);
            let memory = plan(&launches, &values);
            prop_assert_eq!(verify(&launches, &values, &memory), Ok(()));
            prop_assert!(memory.peak_bytes() <= bytes[2..].iter().sum::<usize>());
        }
    }
}
