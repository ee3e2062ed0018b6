//! Numbers that must be below a size, and in order where that was promised.

use vorpal_shaders::{CHECKED, Linker, Shader};
use vorpal_tensor::{DType, Error, Fault, Result};

use crate::gather::told;
use crate::interp::{TASK, for_each};
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// What numbers must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Below a size. One that is not is reported itself.
    Below(usize),
    /// Never smaller than the one before it, within rows of this many. One that is has its place reported.
    Sorted(usize),
}

/// Copies numbers, and reports those that break a promise.
#[derive(Clone, Debug)]
pub struct Checked {
    /// How many.
    pub count: usize,
    /// What they must be.
    pub promise: Promise,
    /// `I32` or `U32`; numbers in order must not be negative.
    pub dtype: DType,
    /// Of the numbers.
    pub offset: usize,
}

impl Kernel for Checked {
    fn name(&self) -> &'static str {
        "checked"
    }

    fn describe(&self) -> String {
        format!("checked {} {:?}", self.count, self.promise)
    }

    fn args(&self) -> Vec<Arg> {
        vec![Arg::read(self.dtype, self.offset + self.count), Arg::write(self.dtype, self.count)]
    }

    fn scalars(&self) -> Vec<DType> {
        vec![DType::U32]
    }

    fn checks_indices(&self) -> bool {
        true
    }

    fn fault(&self) -> Option<Fault> {
        match self.promise {
            Promise::Below(_) => None,
            Promise::Sorted(_) => Some(Fault::Value {
                what: "the number at place",
                problem: "is smaller than the one before it, but sorted numbers were promised,",
            }),
        }
    }

    fn shader(&self) -> Result<Shader> {
        let (size, row) = match self.promise {
            Promise::Below(size) => (size, 0),
            Promise::Sorted(row) => (0, row.max(1)),
        };
        Ok(Linker::new(CHECKED)
            .constant("COUNT", self.count)
            .constant("SIZE", size)
            .constant("X_OFFSET", self.offset)
            .constant("ROW", row)
            .finish())
    }

    fn groups(&self) -> [u32; 3] {
        spread(self.count.div_ceil(64))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        let x = &run.read_as::<u32>(0)?[self.offset..];
        let tasks = run.write_as::<u32>(1)?.chunks_mut(TASK).enumerate().collect();
        for_each(tasks, |(task, out): (usize, &mut [u32])| {
            for (k, out) in out.iter_mut().enumerate() {
                let at = task * TASK + k;
                let number = x[at];
                match self.promise {
                    Promise::Below(size) if number as usize >= size => {
                        return Err(run.index_error(told(self.dtype, number), size));
                    }
                    Promise::Sorted(row) if !at.is_multiple_of(row.max(1)) && x[at - 1] > number => {
                        return Err(self.fault().map_or_else(
                            || Error::internal("checked", "a promise without a fault"),
                            |fault| run.fault_error(fault, at as i64),
                        ));
                    }
                    _ => {}
                }
                *out = number;
            }
            Ok(())
        })
    }

    fn cost(&self) -> Cost {
        Cost { flops: 0, bytes: 8 * self.count as u64 }
    }
}
