//! How often numbers come up.

use vorpal_shaders::Shader;
use vorpal_tensor::{DType, Error, Result};

use crate::gather::told;
use crate::interp::{TASK, for_each};
use crate::{Arg, Cost, CpuRun, Kernel};

/// Numbers of a part of a row at least, all parts being counted apart.
const PART: usize = 4 * TASK;

/// Most parts of a row.
const PARTS_MAX: usize = 16;

/// How often each of the numbers 0 … `size` − 1 comes up (`I32`) in each of `rows` rows of `len`. One that is not below
/// `size` is reported. Native code only.
#[derive(Clone, Debug)]
pub struct Count {
    /// Number of rows.
    pub rows: usize,
    /// Numbers of a row.
    pub len: usize,
    /// What numbers are below.
    pub size: usize,
    /// `I32` or `U32`.
    pub dtype: DType,
    /// Of the numbers.
    pub offset: usize,
}

impl Kernel for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    fn describe(&self) -> String {
        format!("count {}×{} below {}", self.rows, self.len, self.size)
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            Arg::read(self.dtype, self.offset + self.rows * self.len),
            Arg::write(DType::I32, self.rows * self.size),
        ]
    }

    fn scalars(&self) -> Vec<DType> {
        vec![DType::U32]
    }

    fn checks_indices(&self) -> bool {
        true
    }

    fn shader(&self) -> Result<Shader> {
        Err(Error::internal("count", format!("{} has no shader", self.describe())))
    }

    fn groups(&self) -> [u32; 3] {
        [0; 3]
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        let (len, size) = (self.len, self.size);
        let x = &run.read_as::<u32>(0)?[self.offset..][..self.rows * len];
        let out = &mut run.write_as::<u32>(1)?[..self.rows * size];
        let wrong = |number: u32| run.index_error(told(self.dtype, number), size);
        out.fill(0);
        let Some(&number) = x.first() else { return Ok(()) };
        if size == 0 {
            return Err(wrong(number));
        }
        let parts = if self.rows == 1 { (len / PART.max(size)).clamp(1, PARTS_MAX) } else { 1 };
        if parts == 1 {
            let tasks = out.chunks_mut(size).zip(x.chunks(len)).collect();
            return for_each(tasks, |(out, x): (&mut [u32], &[u32])| count(x, out).map_err(wrong));
        }
        let part = len.div_ceil(parts);
        let mut counts = vec![0; parts * size];
        let tasks = counts.chunks_mut(size).zip(x.chunks(part)).collect();
        for_each(tasks, |(out, x): (&mut [u32], &[u32])| count(x, out).map_err(wrong))?;
        for counts in counts.chunks(size) {
            out.iter_mut().zip(counts).for_each(|(out, count)| *out += count);
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        let bytes: usize = self.args().iter().map(Arg::traffic_bytes).sum();
        Cost { flops: 0, bytes: bytes as u64 }
    }
}

/// Adds how often each number comes up; the first that is too large is an error.
fn count(x: &[u32], out: &mut [u32]) -> Result<(), u32> {
    for &number in x {
        match out.get_mut(number as usize) {
            Some(count) => *count += 1,
            None => return Err(number),
        }
    }
    Ok(())
}
