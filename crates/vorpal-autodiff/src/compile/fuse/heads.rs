//! Kernels that go on with their results: what their epilogues have room for, and which had better stay alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{Draft, Fuser, Limits};
use crate::compile::ir::NodeId;

impl Fuser<'_> {
    /// The heads of epilogues for which more was let in than fits in the end.
    pub fn too_large(&self) -> Vec<NodeId> {
        let large = |g: &Draft| {
            g.head.filter(|head| {
                let bound = g.reads.len() + g.results + self.twice(g, *head, &[]);
                g.members.len() > 1 && (g.results > self.limits.results || bound >= self.limits.buffers)
            })
        };
        self.groups.iter().filter_map(large).filter(|head| !self.strict.contains(head)).collect()
    }

    /// The heads whose epilogues begin what a launch of its own goes on with, such as the update of a weight, and move more than
    /// they save: that launch had better do all of it.
    pub fn better_apart(&self) -> Vec<NodeId> {
        // The groups with a head, and the pointwise ones over as many elements that read results of each.
        let mut goes_on: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (after, group) in
            self.groups.iter().enumerate().filter(|(_, g)| g.head.is_none() && g.rows.is_none())
        {
            for before in group.reads.iter().filter_map(|r| self.group_of[r.0]) {
                if self.groups[before].head.is_some() && self.groups[before].len == group.len {
                    goes_on.entry(before).or_default().insert(after);
                }
            }
        }
        let apart = |(before, afters): (usize, BTreeSet<usize>)| {
            let before = &self.groups[before];
            let head = before.head?;
            let own = self.bases(head);
            let operands: Vec<NodeId> =
                before.reads.iter().map(|r| r.0).filter(|r| !own.contains(r)).collect();
            let result = |m: &NodeId| self.wanted[*m] || self.readers[*m] > 0;
            let results: Vec<NodeId> = before.members.iter().copied().filter(result).collect();
            let less = |after: &Draft| {
                let passed = |m: &&NodeId| !self.wanted[**m] && self.readers[**m] == after.reads_of(**m);
                let other = |r: &&(NodeId, usize)| !results.contains(&r.0) && !operands.contains(&r.0);
                let others = after.reads.iter().filter(other).count();
                let now = operands.len() + results.len() + after.reads.len() + after.results;
                // The head is stored and read.
                let stored = results.len() - results.iter().filter(passed).count() + after.results;
                let bound = 1 + operands.len() + others + stored;
                bound + 1 < now && bound <= self.limits.alone
            };
            (results.len() > 1 && afters.iter().any(|&after| less(&self.groups[after]))).then_some(head)
        };
        goes_on.into_iter().filter_map(apart).collect()
    }

    /// Results and buffers that the epilogue of a kernel may have while nodes are placed.
    pub fn room(&self, head: NodeId) -> (usize, usize) {
        let Limits { results, buffers, results_meanwhile, buffers_meanwhile, .. } = self.limits;
        if self.strict.contains(&head) { (results, buffers) } else { (results_meanwhile, buffers_meanwhile) }
    }

    /// How many of the buffers that a kernel reads its epilogue reads, too, `more` among it: they are bound twice.
    pub fn twice(&self, group: &Draft, head: NodeId, more: &[NodeId]) -> usize {
        let own = self.bases(head);
        let by_others =
            |(base, count): &&(NodeId, usize)| own.contains(base) && (*count > 1 || more.contains(base));
        group.reads.iter().filter(by_others).count()
    }
}
