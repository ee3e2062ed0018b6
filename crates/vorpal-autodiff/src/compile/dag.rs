//! Which groups wait for which, while groups are opened, joined and merged.
//!
//! Every group has a level, higher than the levels of what it waits for. So most questions for a way between two
//! groups are answered at once, and the search for the others looks between two levels only, from both ends.

use std::cell::Cell;
use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use smallvec::SmallVec;

use crate::graph::IdHasher;

/// Edges a search looks at before it takes a way for granted: planning stays linear in the number of nodes, and what
/// is so far apart gains little from one kernel.
const SEARCH_MAX: usize = 256;

type Seen = HashSet<usize, BuildHasherDefault<IdHasher>>;

/// Groups and the order between them.
#[derive(Debug, Default)]
pub(super) struct Dag {
    groups: Vec<Vertex>,
    /// Edges that searches and updates looked at.
    looked: Cell<usize>,
}

#[derive(Debug, Default)]
struct Vertex {
    waits_for: SmallVec<[usize; 6]>,
    /// Groups that wait for this one; some of them gone, some more than once.
    followers: Vec<usize>,
    level: usize,
    /// Merged into another.
    gone: bool,
}

impl Dag {
    /// A new group that waits for nothing.
    pub fn open(&mut self) -> usize {
        self.groups.push(Vertex::default());
        self.groups.len() - 1
    }

    /// The groups that a group waits for.
    pub fn waits_for(&self, g: usize) -> &[usize] {
        &self.groups[g].waits_for
    }

    /// Work so far, in edges.
    #[cfg(test)]
    pub fn looked(&self) -> usize {
        self.looked.get()
    }

    fn look(&self, edges: usize) {
        self.looked.set(self.looked.get() + edges);
    }

    /// Makes group `g` wait for group `before`, which must not wait for `g`.
    pub fn wait(&mut self, g: usize, before: usize) {
        if g == before || self.groups[g].waits_for.contains(&before) {
            return;
        }
        self.groups[g].waits_for.push(before);
        self.groups[before].followers.push(g);
        self.raise(g, self.groups[before].level + 1);
    }

    fn raise(&mut self, g: usize, level: usize) {
        let mut pending: SmallVec<[(usize, usize); 8]> = smallvec::smallvec![(g, level)];
        while let Some((g, level)) = pending.pop() {
            let vertex = &mut self.groups[g];
            if !vertex.gone && vertex.level < level {
                vertex.level = level;
                pending.extend(vertex.followers.iter().map(|&f| (f, level + 1)));
                self.look(self.groups[g].followers.len());
            }
        }
    }

    /// Group `other` becomes part of group `g`; nothing else may lie between them.
    pub fn merge(&mut self, other: usize, g: usize) {
        let mut merged = std::mem::take(&mut self.groups[other]);
        self.groups[other].gone = true;
        self.groups[g].waits_for.retain(|before| *before != other);
        for before in merged.waits_for {
            self.wait(g, before);
        }
        merged.followers.retain(|&f| f != g && !self.groups[f].gone);
        self.look(merged.followers.len());
        for follower in merged.followers {
            self.groups[follower].waits_for.retain(|before| *before != other);
            self.wait(follower, g);
        }
    }

    /// Whether one of `ends` is group `from` or runs after it, directly or through others. A way too long to find is
    /// taken for granted.
    pub fn reaches(&self, from: usize, ends: impl IntoIterator<Item = usize>) -> bool {
        let level = |g: usize| self.groups[g].level;
        let mut back: SmallVec<[usize; 16]> = SmallVec::new();
        for end in ends {
            if end == from {
                return true;
            }
            if level(end) > level(from) {
                back.push(end);
            }
        }
        let Some(top) = back.iter().map(|&g| level(g)).max() else { return false };
        let (mut behind, mut ahead): (Seen, Seen) = (back.iter().copied().collect(), Seen::default());
        let mut front: SmallVec<[usize; 16]> = smallvec::smallvec![from];
        ahead.insert(from);
        let mut left = SEARCH_MAX;
        while left > 0 {
            let (Some(g), Some(h)) = (front.pop(), back.pop()) else { return false };
            let (followers, waits_for) = (&self.groups[g].followers, &self.groups[h].waits_for);
            for &next in followers.iter().take(left) {
                if behind.contains(&next) {
                    return true;
                }
                if !self.groups[next].gone && level(next) <= top && ahead.insert(next) {
                    front.push(next);
                }
            }
            for &next in waits_for {
                if ahead.contains(&next) {
                    return true;
                }
                if level(next) > level(from) && behind.insert(next) {
                    back.push(next);
                }
            }
            let looked = followers.len() + waits_for.len() + 1;
            self.look(looked.min(left));
            left = left.saturating_sub(looked);
        }
        true
    }

    /// The groups in an order in which they can run: of those that are ready always the one whose `rank` is least.
    pub fn ordered(&self, groups: impl Iterator<Item = usize>, rank: impl Fn(usize) -> usize) -> Vec<usize> {
        use std::cmp::Reverse;
        use std::collections::BinaryHeap;
        let mut waits: Vec<usize> = self.groups.iter().map(|v| v.waits_for.len()).collect();
        let mut followers: Vec<SmallVec<[usize; 4]>> = vec![SmallVec::new(); self.groups.len()];
        let mut ready = BinaryHeap::new();
        for g in groups {
            self.groups[g].waits_for.iter().for_each(|&before| followers[before].push(g));
            if waits[g] == 0 {
                ready.push(Reverse((rank(g), g)));
            }
        }
        let mut out = Vec::new();
        while let Some(Reverse((_, g))) = ready.pop() {
            out.push(g);
            for &follower in &followers[g] {
                waits[follower] -= 1;
                if waits[follower] == 0 {
                    ready.push(Reverse((rank(follower), follower)));
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chain(n: usize) -> Dag {
        let mut dag = Dag::default();
        for g in 0..n {
            dag.open();
            if g > 0 {
                dag.wait(g, g - 1);
            }
        }
        dag
    }

    #[test]
    fn a_search_looks_at_few_edges() {
        let dag = chain(100_000);
        let before = dag.looked();
        assert!(dag.reaches(3, [3]) && !dag.reaches(50_000, [7, 49_999]));
        assert_eq!(dag.looked() - before, 0, "levels tell");
        assert!(dag.reaches(1, [99_999]), "taken for granted");
        assert!(dag.looked() - before <= SEARCH_MAX);
        // What nothing waits for is no way to anywhere.
        let mut dag = dag;
        let alone = dag.open();
        assert!(!dag.reaches(alone, [99_999]));
    }

    proptest! {
        #[test]
        fn searches_agree_with_the_closure(
            edges in prop::collection::vec((0usize..24, 0usize..24), 0..60),
            merges in prop::collection::vec((0usize..24, 0usize..24), 0..12),
        ) {
            let n = 24;
            let mut dag = Dag::default();
            for _ in 0..n {
                dag.open();
            }
            // `to[g]`: the group that g has become part of; `direct`: what waits for what.
            let mut to: Vec<usize> = (0..n).collect();
            let mut direct = vec![vec![false; n]; n];
            let closure = |direct: &Vec<Vec<bool>>| {
                let mut all = direct.clone();
                for k in 0..n {
                    for i in 0..n {
                        for j in 0..n {
                            all[i][j] |= all[i][k] && all[k][j];
                        }
                    }
                }
                all
            };
            for &(a, b) in &edges {
                if a > b {
                    dag.wait(a, b);
                    direct[a][b] = true;
                }
            }
            for &(a, b) in &merges {
                let (a, b) = (to[a], to[b]);
                let all = closure(&direct);
                let between = |from: usize, ends: usize| (0..n).any(|k| direct[ends][k] && all[k][from]);
                // The later one takes the earlier one in, where nothing lies between.
                if a == b || all[b][a] || between(b, a) {
                    continue;
                }
                prop_assert!(!dag.reaches(b, dag.waits_for(a).iter().copied().filter(|&k| k != b)));
                dag.merge(b, a);
                let before = std::mem::replace(&mut direct[b], vec![false; n]);
                for row in &mut direct {
                    row[a] |= std::mem::take(&mut row[b]);
                }
                direct[a].iter_mut().zip(before).for_each(|(have, more)| *have |= more);
                direct[a][a] = false;
                to.iter_mut().filter(|t| **t == b).for_each(|t| *t = a);
            }
            let all = closure(&direct);
            let live: Vec<usize> = (0..n).filter(|&g| to[g] == g).collect();
            for &a in &live {
                for &b in &live {
                    prop_assert_eq!(dag.reaches(b, [a]), a == b || all[a][b], "{} after {}", a, b);
                }
            }
            let order = dag.ordered(live.iter().copied(), |g| g);
            prop_assert_eq!(order.len(), live.len());
            for (k, &g) in order.iter().enumerate() {
                prop_assert!(order[k..].iter().all(|&later| !all[g][later]));
            }
        }
    }
}
