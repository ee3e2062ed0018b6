//! Groups that become one.

use smallvec::SmallVec;

use super::{BUFFERS, Draft, Fuser, Rows};
use crate::compile::ir::{Kind, NodeId};
use crate::compile::reads::is_fusable;

/// Elements up to which what is computed apart from the rows of a kernel, one element each, joins it: a launch less.
/// Results for rows cannot be in the place of an operand, as those of a launch of their own can.
pub(super) const ROWS_JOINED_MAX: usize = 1 << 15;

impl Fuser<'_> {
    /// After `id` was placed: takes the groups of its other operands into its own where they fit.
    pub fn merge_operands(&mut self, id: NodeId) {
        let mut others = self.candidates(id);
        if let Some(group) = self.group_of[id].map(|g| &self.groups[g]).filter(|g| g.sixteen) {
            // What kept them apart may have been 16 bits that are no longer stored.
            let bases = group.reads.iter().map(|r| r.0).filter(|&base| is_fusable(&self.nodes[base].kind));
            others.extend(bases.filter_map(|base| self.group_of[base]));
        }
        for other in others {
            let Some(g) = self.group_of[id] else { return };
            if other != g && !self.groups[other].members.is_empty() && self.merges(g, other) {
                self.merge(g, other);
            }
        }
    }

    /// After a kernel was placed that puts parts side by side: parts that need nothing of one another are made by one group
    /// where they fit, which then stores them where they belong.
    pub fn merge_parts(&mut self, id: NodeId) {
        let joins = matches!(&self.nodes[id].kind, Kind::Kernel { kernel, .. } if kernel.copies().is_some());
        if !joins || !self.limits.joins_parts {
            return;
        }
        let parts = self.bases(id);
        for (k, &part) in parts.iter().enumerate() {
            let into = parts[..k].iter().find_map(|&earlier| {
                let (g, other) = (self.group_of[earlier]?, self.group_of[part]?);
                let plain = |g: usize| self.groups[g].rows.is_none() && self.groups[g].head.is_none();
                let apart = || !self.dag.reaches(g, [other]) && !self.dag.reaches(other, [g]);
                (g != other && plain(g) && plain(other) && apart() && self.merges(g, other))
                    .then_some((g, other))
            });
            if let Some((g, other)) = into {
                self.merge(g, other);
            }
        }
    }

    /// Reads that lead from group `g` to group `other`, and how many members of `g` make each.
    fn crossing(&self, g: usize, other: usize) -> impl Iterator<Item = (NodeId, usize)> {
        self.groups[g].reads.iter().copied().filter(move |r| self.group_of[r.0] == Some(other))
    }

    /// Whether group `other`, which group `g` reads or has nothing to do with, may become part of it.
    fn merges(&self, g: usize, other: usize) -> bool {
        let (a, b) = (&self.groups[g], &self.groups[other]);
        // A kernel that takes no epilogue stands alone.
        let alone = |draft: &Draft| {
            draft.head.is_none() && draft.members.iter().any(|&m| !is_fusable(&self.nodes[m].kind))
        };
        if alone(a) || alone(b) {
            return false;
        }
        let head = match (a.head, b.head) {
            (Some(_), Some(_)) => return false,
            (one, two) => one.or(two),
        };
        // What a kernel reads must be there before it, and an epilogue reduces nothing.
        if let Some(head) = head {
            let inside = |base: &NodeId| matches!(self.group_of[*base], Some(h) if h == g || h == other);
            let plain = a.rows.is_none() && b.rows.is_none() && !a.sixteen && !b.sixteen;
            if !plain || !self.limits.joins_groups || self.bases(head).iter().any(inside) {
                return false;
            }
        }
        // What has one element for each row of the other is row values there.
        let of_rows = |plain: &Draft, rows: &Rows| plain.len == rows.count() && plain.len <= ROWS_JOINED_MAX;
        let (rows, one_space) = match (&a.rows, &b.rows) {
            (Some(x), Some(y)) => (Some(x), a.len == b.len && x.map() == y.map() && x.count() == y.count()),
            (Some(x), None) => (Some(x), a.len == b.len || of_rows(b, x)),
            (None, Some(y)) => (Some(y), a.len == b.len || of_rows(a, y)),
            (None, None) => (None, a.len == b.len),
        };
        if !one_space {
            return false;
        }
        if let Some(rows) = rows.filter(|_| a.sixteen || b.sixteen) {
            let inside = |m: NodeId| if self.group_of[m] == Some(other) { a.reads_of(m) } else { 0 };
            let both = a.members.iter().chain(&b.members).copied();
            if !self.hold_narrow(rows, a.len.max(b.len), both, inside) {
                return false;
            }
        }
        if !a.has_room_for(b.members.len(), b.scalars.iter().copied()) {
            return false;
        }
        // Buffers they bind together.
        let joint = |r: &&(NodeId, usize)| a.reads.iter().any(|have| have.0 == r.0);
        let inner = self.crossing(g, other).count();
        let reads = a.reads.len() + b.reads.len() - b.reads.iter().filter(joint).count() - inner;
        let (results, buffers) = head.map_or((usize::MAX, self.limits.alone + 1), |head| self.room(head));
        let both = self.results_of_both(g, other);
        // What a kernel and its epilogue both read counts twice.
        let own = head.map_or(0, |head| self.bases(head).len());
        if both > results || reads + own + both >= buffers {
            return false;
        }
        let crossing = a.members.iter().flat_map(|&m| {
            let len = self.operand_len(m);
            self.reads[m].iter().filter(|r| self.group_of[r.base] == Some(other)).map(move |r| (r, len))
        });
        let space = if a.rows.is_some() { a.len } else { b.len };
        crossing.into_iter().all(|(read, len)| self.is_value(read, len, space, rows))
            && !self.dag.reaches(other, self.dag.waits_for(g).iter().copied().filter(|&h| h != other))
    }

    /// Results of two groups once they are one.
    fn results_of_both(&self, g: usize, other: usize) -> usize {
        let done = |&(base, count): &(NodeId, usize)| !self.wanted[base] && self.readers[base] == count;
        self.groups[g].results + self.groups[other].results - self.crossing(g, other).filter(done).count()
    }

    fn merge(&mut self, g: usize, other: usize) {
        let results = self.results_of_both(g, other);
        let crossing: SmallVec<[(NodeId, usize); BUFFERS]> = self.crossing(g, other).collect();
        for &(base, count) in &crossing {
            self.readers[base] -= count;
        }
        let merged = std::mem::take(&mut self.groups[other]);
        for &member in &merged.members {
            self.group_of[member] = Some(g);
        }
        self.groups[g].take(merged, &crossing);
        self.groups[g].results = results;
        self.dag.merge(other, g);
    }
}
