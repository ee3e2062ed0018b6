//! Groups while nodes are placed, and what fits one.

use smallvec::SmallVec;
use vorpal_kernels::SCALARS_MAX;

use super::{BUFFERS, Rows};
use crate::compile::ir::NodeId;

/// What fits a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Buffers that a kernel may bind which is nothing but the program of a group.
    pub alone: usize,
    /// Results that an epilogue may write.
    pub results: usize,
    /// Buffers that a kernel and its epilogue may bind.
    pub buffers: usize,
    /// The same while nodes are placed, as some results are read by nodes that have yet to join.
    pub results_meanwhile: usize,
    pub buffers_meanwhile: usize,
    /// Whether an epilogue may take in groups that were there before its kernel.
    pub joins_groups: bool,
    /// Whether parts of a joined tensor become one group: where its launch stores them side by side.
    pub joins_parts: bool,
    /// Whether kernels of rows store 16-bit elements of rows that are whole fours.
    pub narrow_rows: bool,
}

impl Limits {
    /// Native code binds nothing: a weight goes through the update of its optimizer, with both moments, while its
    /// derivative is in the cache.
    pub const NATIVE: Limits = Limits {
        alone: 16,
        results: 3,
        buffers: 12,
        results_meanwhile: 6,
        buffers_meanwhile: 16,
        joins_groups: true,
        joins_parts: false,
        narrow_rows: false,
    };

    /// Of an epilogue say, what a derivative needs of a layer, and the layer's result. More make a kernel of an adapter
    /// slower than a launch of their own does.
    pub fn of_adapter(buffers: usize) -> Limits {
        Limits {
            alone: buffers,
            results: 2,
            buffers,
            results_meanwhile: 4,
            buffers_meanwhile: buffers,
            joins_groups: false,
            joins_parts: true,
            narrow_rows: true,
        }
    }
}

/// A group while nodes are placed.
#[derive(Default)]
pub struct Draft {
    /// In the order in which they joined.
    pub members: Vec<NodeId>,
    pub rows: Option<Rows>,
    pub len: usize,
    /// The kernel whose result the group goes on with.
    pub head: Option<NodeId>,
    /// Whether a member has a 16-bit type.
    pub sixteen: bool,
    /// Buffers it reads, and how many members read each.
    pub reads: SmallVec<[(NodeId, usize); BUFFERS]>,
    /// Run-time scalars it reads.
    pub scalars: Vec<usize>,
    /// Members that are read outside of it, or asked for.
    pub results: usize,
}

/// Nodes of one group. A kernel of hundreds of values gains nothing from one more, and takes long to compile.
const MEMBERS_MAX: usize = 256;

impl Draft {
    /// A group that has yet to get its first member.
    pub fn new(rows: Option<Rows>, len: usize, head: Option<NodeId>) -> Draft {
        Draft { rows, len, head, ..Draft::default() }
    }

    /// Whether a kernel can have so many members more that read such run-time scalars.
    pub fn has_room_for(&self, members: usize, scalars: impl Iterator<Item = usize>) -> bool {
        let new = scalars.filter(|index| !self.scalars.contains(index)).count();
        self.members.len() + members <= MEMBERS_MAX && (new == 0 || self.scalars.len() + new <= SCALARS_MAX)
    }

    /// Takes note of run-time scalars that a member reads.
    pub fn read_scalars(&mut self, scalars: impl IntoIterator<Item = usize>) {
        for index in scalars {
            if !self.scalars.contains(&index) {
                self.scalars.push(index);
            }
        }
    }

    /// Takes note of members that read a buffer.
    pub fn read(&mut self, base: NodeId, members: usize) {
        match self.reads.iter_mut().find(|have| have.0 == base) {
            Some(have) => have.1 += members,
            None => self.reads.push((base, members)),
        }
    }

    /// How many members read a buffer.
    pub fn reads_of(&self, base: NodeId) -> usize {
        self.reads.iter().find(|r| r.0 == base).map_or(0, |r| r.1)
    }

    /// Takes in another group, `inner` of whose results it read from buffers until then.
    pub fn take(&mut self, other: Draft, inner: &[(NodeId, usize)]) {
        self.reads.retain(|r| !inner.contains(r));
        other.reads.into_iter().for_each(|(base, members)| self.read(base, members));
        self.read_scalars(other.scalars);
        self.members.extend(other.members);
        if self.rows.is_none() && other.rows.is_some() {
            (self.rows, self.len) = (other.rows, other.len);
        }
        self.sixteen |= other.sixteen;
        self.head = self.head.or(other.head);
    }
}
