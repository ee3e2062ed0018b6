//! Buffers bound from where a kernel first reads them: kernels that differ in nothing else are one.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::{Access, Arg, Inst, Kernel, Program};

/// Bytes whose multiples a binding may start at on every device: what WebGPU promises of
/// `minStorageBufferOffsetAlignment`.
pub const START_BYTES: usize = 256;

/// Elements of each argument's buffer in front of where it is bound, whole [`START_BYTES`] each.
pub type Starts = SmallVec<[usize; 8]>;

/// A kernel that is bound further on in its buffers.
#[derive(Clone, Debug)]
pub struct Rebased {
    /// The kernel.
    pub kernel: Arc<dyn Kernel>,
    /// Where each of its arguments is bound.
    pub starts: Starts,
}

/// Where an argument can be bound whose elements are touched from `first` on.
pub(crate) fn start_of(arg: &Arg, first: usize) -> usize {
    first - first % (START_BYTES / arg.dtype.size())
}

impl Program {
    /// Moves what is read of arguments that are only read to where their bindings can start; the arguments are then no
    /// longer than what is read of them.
    pub(crate) fn rebase(&mut self, args: &mut [Arg]) -> Starts {
        let mut read: SmallVec<[Option<[usize; 2]>; 8]> = smallvec![None; args.len()];
        for inst in &self.insts {
            if let Inst::Load { arg, layout, .. } = inst
                && let Some(first) = layout.first()
            {
                let end = layout.span();
                read[*arg] = Some(match read[*arg] {
                    Some([low, high]) => [low.min(first), high.max(end)],
                    None => [first, end],
                });
            }
        }
        let mut starts: Starts = smallvec![0; args.len()];
        for ((arg, start), range) in args.iter_mut().zip(&mut starts).zip(read) {
            if let (Access::Read, Some([first, end])) = (arg.access, range) {
                *start = start_of(arg, first);
                arg.len = end - *start;
            }
        }
        for inst in &mut self.insts {
            if let Inst::Load { arg, layout, .. } = inst {
                layout.offset -= starts[*arg] as isize;
            }
        }
        starts
    }
}

/// What [`Kernel::rebased`] answers, if any argument starts further on.
pub(crate) fn rebased(kernel: impl Kernel, starts: Starts) -> Option<Rebased> {
    starts.iter().any(|&start| start > 0).then(|| Rebased { kernel: Arc::new(kernel), starts })
}

#[cfg(test)]
mod tests {
    use vorpal_tensor::{DType, Layout};

    use super::*;
    use crate::{Domain, Store};

    fn load(arg: usize, layout: Layout) -> Inst {
        Inst::Load { arg, layout, fill: 0.0, domain: Domain::Full }
    }

    #[test]
    fn what_is_read_starts_at_whole_steps_of_bindings() {
        let rows = Layout::contiguous([10, 8, 32]);
        let near = rows.slice(0, 5, 1, 1);
        let far = rows.slice(0, 7, 1, 1).flip(2);
        let padded = rows.slice(0, 4, 1, 1).pad(&[2, 0, 0], &[0; 3]).expect("unpadded").slice(0, 1, 2, 1);
        let whole = Layout::contiguous([8, 32]);
        let insts =
            vec![load(0, near), load(0, far), load(1, padded), load(2, whole.clone()), load(3, whole)];
        let mut program = Program { insts, stores: vec![Store { value: 0, arg: 4 }] };
        let before: Vec<Vec<_>> = program.insts.iter().map(places).collect();
        let mut args = vec![
            Arg::read(DType::F32, 2560),
            Arg::read(DType::F16, 2560),
            Arg::read(DType::F32, 256),
            Arg { access: Access::ReadWrite, ..Arg::read(DType::F32, 256) },
            Arg::write(DType::F32, 256),
        ];
        let starts = program.rebase(&mut args);
        assert_eq!(starts[..], [1280, 1024, 0, 0, 0]);
        assert_eq!(args.iter().map(|a| a.len).collect::<Vec<_>>(), [768, 256, 256, 256, 256]);
        for (inst, before) in program.insts.iter().zip(&before) {
            let Inst::Load { arg, .. } = inst else { continue };
            let now: Vec<_> = places(inst).iter().map(|p| p.map(|p| p + starts[*arg])).collect();
            assert_eq!(&now, before);
        }
    }

    fn places(inst: &Inst) -> Vec<Option<usize>> {
        let Inst::Load { layout, .. } = inst else { panic!("a load") };
        (0..layout.shape.numel()).map(|k| layout.place(k)).collect()
    }

    #[test]
    fn bindings_start_where_every_device_lets_them() {
        for dtype in [DType::F32, DType::F16, DType::F64, DType::Bool] {
            let arg = Arg::read(dtype, 10_000);
            for first in [0, 1, 31, 32, 127, 128, 5_000] {
                let start = start_of(&arg, first);
                assert!(start <= first && dtype.bytes(start) % START_BYTES == 0, "{dtype} {first}");
                assert!((first - start) * dtype.size() < START_BYTES, "{dtype} {first}");
            }
        }
    }
}
