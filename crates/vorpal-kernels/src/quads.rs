//! Four neighbouring elements in one invocation: what one load of four words brings.

use vorpal_tensor::Layout;

use crate::{Access, Arg, Domain, Inst, Program, Store};

/// Neighbours that an invocation evaluates together.
pub(crate) const QUAD: usize = 4;

/// Who works on a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// One invocation.
    Alone,
    /// A subgroup of so many.
    Subgroup(usize),
    /// So many of a workgroup.
    Group(usize),
}

/// What an invocation evaluates four of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quads {
    /// Nothing: one element.
    None,
    /// Four elements, in one row where there are rows.
    Full,
    /// Four rows, and an element of each at a time.
    Rows,
}

/// How the places of four neighbours follow one another, the first of which has a number that 4 divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// One place.
    Same,
    /// Neighbours in memory, the first of them at a place that 4 divides.
    Vector,
    /// So many elements apart.
    Steps(isize),
    /// Each for itself.
    Apart,
}

impl Walk {
    pub fn of(layout: &Layout) -> Walk {
        let layout = layout.collapse();
        let four = |x: isize| x % QUAD as isize == 0;
        let Some(axis) = layout.shape.len().checked_sub(1) else {
            // A single element, which may be read and written in place.
            return if four(layout.offset) { Walk::Vector } else { Walk::Same };
        };
        let (size, stride) = (layout.shape[axis], layout.strides[axis]);
        let aligned = four(layout.offset) && layout.strides[..axis].iter().all(|&s| four(s));
        let bound = layout.bounds.get(axis).copied().unwrap_or((0, size));
        let whole = size.is_multiple_of(QUAD);
        match stride {
            _ if bound.0 > 0 || bound.1 < size => Walk::Apart,
            0 if whole || axis == 0 => Walk::Same,
            1 if aligned && (whole || axis == 0) => Walk::Vector,
            _ if whole => Walk::Steps(stride),
            _ => Walk::Apart,
        }
    }
}

impl Quads {
    /// Whether numbers of a domain come in fours.
    fn of(self, domain: Domain) -> bool {
        match self {
            Quads::None => false,
            Quads::Full => domain == Domain::Full,
            Quads::Rows => true,
        }
    }

    /// Which values differ between the four.
    pub fn own(self, program: &Program) -> Vec<bool> {
        let mut own: Vec<bool> = Vec::with_capacity(program.insts.len());
        for inst in &program.insts {
            own.push(match inst {
                Inst::Load { layout, domain, .. } | Inst::Place { layout, domain } => {
                    self.of(*domain) && Walk::of(layout) != Walk::Same
                }
                Inst::Const { .. } | Inst::Scalar { .. } => false,
                Inst::Acc { .. } => self == Quads::Full,
                Inst::Reduce { .. } => self == Quads::Rows,
                Inst::Cast { x, .. } => own[*x],
                Inst::Call { args, .. } => args.iter().any(|&a| own[a]),
            });
        }
        own
    }

    /// Which arguments are read and written by fours alone.
    pub fn fours(self, program: &Program, args: &[Arg], row_stores: &[Store]) -> Vec<bool> {
        let mut fours: Vec<bool> =
            args.iter().map(|a| self != Quads::None && a.access != Access::Read).collect();
        let mut alone = vec![false; args.len()];
        for inst in &program.insts {
            if let Inst::Load { arg, layout, domain, .. } = inst {
                let vector = self.of(*domain) && Walk::of(layout) == Walk::Vector;
                fours[*arg] |= vector;
                alone[*arg] |= !vector;
            }
        }
        for store in row_stores {
            alone[store.arg] |= self != Quads::Rows;
        }
        fours.iter().zip(alone).map(|(&four, alone)| four && !alone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vorpal_tensor::Shape;

    #[test]
    fn neighbours_walk_as_their_layout_says() {
        let whole = Layout::contiguous([6, 8]);
        assert_eq!(Walk::of(&whole), Walk::Vector);
        assert_eq!(Walk::of(&Layout::contiguous([7])), Walk::Vector, "what stands behind is read with it");
        assert_eq!(Walk::of(&whole.slice(1, 0, 4, 1)), Walk::Vector);
        assert_eq!(Walk::of(&whole.slice(1, 2, 4, 1)), Walk::Steps(1));
        assert_eq!(Walk::of(&whole.slice(1, 0, 4, 2)), Walk::Steps(2));
        assert_eq!(Walk::of(&whole.slice(1, 0, 3, 1)), Walk::Apart);
        assert_eq!(Walk::of(&whole.flip(1)), Walk::Steps(-1));
        let broadcast = |l: Layout| l.broadcast_to(&Shape::from([6, 8]));
        assert_eq!(Walk::of(&broadcast(Layout::contiguous([8]))), Walk::Vector);
        assert_eq!(Walk::of(&broadcast(Layout::contiguous([6, 1]))), Walk::Same);
        let padded = Layout::contiguous([6, 4]).pad(&[0, 2], &[0, 2]).expect("unpadded");
        assert_eq!(Walk::of(&padded), Walk::Apart);
        let below = Layout::contiguous([6, 8]).pad(&[1, 0], &[1, 0]).expect("unpadded");
        assert_eq!(Walk::of(&below), Walk::Vector);
    }
}
