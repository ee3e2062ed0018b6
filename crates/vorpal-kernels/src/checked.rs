//! Numbers that must be below a size, and in order where that was promised.

use vorpal_shaders::{CHECKED, Linker, Shader};
use vorpal_tensor::{DType, Result};

use crate::interp::{TASK, for_each};
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// Copies numbers, and reports those out of range or out of order.
#[derive(Clone, Debug)]
pub struct Checked {
    /// How many.
    pub count: usize,
    /// What all must be below.
    pub size: usize,
    /// Length of rows within which numbers must not decrease; `None` where they may.
    pub sorted: Option<usize>,
    /// `I32` or `U32`.
    pub dtype: DType,
    /// Of the numbers.
    pub offset: usize,
}

impl Kernel for Checked {
    fn name(&self) -> &'static str {
        "checked"
    }

    fn describe(&self) -> String {
        format!("checked {} below {}", self.count, self.size)
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

    fn shader(&self) -> Result<Shader> {
        Ok(Linker::new(CHECKED)
            .constant("COUNT", self.count)
            .constant("SIZE", self.size)
            .constant("X_OFFSET", self.offset)
            .constant("SORTED", usize::from(self.sorted.is_some()))
            .constant("ROW", self.sorted.unwrap_or(1).max(1))
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
                let ordered = self.sorted.is_none_or(|row| at.is_multiple_of(row) || x[at - 1] <= number);
                if number as usize >= self.size || !ordered {
                    let signed = self.dtype == DType::I32;
                    let number = if signed { i64::from(number as i32) } else { i64::from(number) };
                    return Err(run.index_error(number, self.size));
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
