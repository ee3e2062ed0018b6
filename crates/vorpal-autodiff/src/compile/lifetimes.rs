//! When the buffers of a plan hold something, read off the plan itself.

use vorpal_kernels::Access;

use super::plan::{Place, Plan};

/// The life of one value in a slot: the launch that writes it, and the last one that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The slot.
    pub slot: usize,
    /// The launch that writes the value.
    pub first: usize,
    /// The last launch that touches it; the number of launches for a result.
    pub last: usize,
}

impl Plan {
    /// The lives of all values that the plan keeps in its slots, by the launch that writes them. A value that is
    /// changed in place lives on.
    pub fn lifetimes(&self) -> Vec<Lifetime> {
        let mut lives: Vec<Lifetime> = Vec::new();
        let mut tenant: Vec<Option<usize>> = vec![None; self.slots.len()];
        for (step, launch) in self.launches.iter().enumerate() {
            let args = launch.kernel.args();
            for (place, arg) in launch.buffers.iter().zip(&args) {
                let Place::Slot(slot) = *place else { continue };
                match tenant[slot] {
                    Some(life) if arg.access != Access::Write => lives[life].last = step,
                    _ => {
                        tenant[slot] = Some(lives.len());
                        lives.push(Lifetime { slot, first: step, last: step });
                    }
                }
            }
        }
        for output in &self.outputs {
            if let Place::Slot(slot) = output.place
                && let Some(life) = tenant[slot]
            {
                lives[life].last = self.launches.len();
            }
        }
        lives
    }

    /// Bytes of values that are alive while each launch runs.
    pub fn live_bytes(&self) -> Vec<usize> {
        let mut live = vec![0; self.launches.len()];
        for life in self.lifetimes() {
            let end = live.len().min(life.last + 1);
            live[life.first..end].iter_mut().for_each(|bytes| *bytes += self.slots[life.slot]);
        }
        live
    }
}

#[cfg(test)]
mod tests {
    use crate::compile::ir::Target;
    use crate::{Device, Tensor, plan};

    #[test]
    fn what_is_read_later_lives_longer() {
        let x = Tensor::from_slice(&[1.0f32; 16], [4, 4], &Device::cpu());
        let first = x.matmul(&x);
        let second = first.matmul(&x);
        let plan = plan(&second.matmul(&first), Target::NATIVE).expect("a plan");
        let spans: Vec<_> = plan.lifetimes().iter().map(|l| (l.first, l.last)).collect();
        assert_eq!(spans, [(0, 2), (1, 2), (2, 3)], "{plan}");
        assert_eq!(plan.live_bytes(), [64, 128, 192]);
    }
}
