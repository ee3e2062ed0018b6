//! Where values belong in sorted rows.

use vorpal_shaders::{BITS, Linker, SEARCH_SORTED, Shader};
use vorpal_tensor::{DType, Error, Result};

use crate::interp::{TASK, for_each};
use crate::sort::{key_32, key_64, key_text};
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// For each of `rows` rows of `count` values, how many elements of a sorted row of `len` come before them (`I32`). NaN
/// counts as largest.
#[derive(Clone, Debug)]
pub struct SearchSorted {
    /// Rows of values.
    pub rows: usize,
    /// Elements of a sorted row.
    pub len: usize,
    /// Values of a row.
    pub count: usize,
    /// Whether all rows of values are looked up in one sorted row.
    pub shared: bool,
    /// Whether equal elements come before a value.
    pub right: bool,
    /// Of elements and values: f32, whole numbers of 32 bits, natively f64 and i64, too.
    pub dtype: DType,
    /// Offsets of the sorted rows and of the values.
    pub offsets: [usize; 2],
}

impl Kernel for SearchSorted {
    fn name(&self) -> &'static str {
        "search_sorted"
    }

    fn describe(&self) -> String {
        format!("search_sorted {}×{} in {} {}", self.rows, self.count, self.len, self.dtype)
    }

    fn args(&self) -> Vec<Arg> {
        let (sorted, values) = (if self.shared { 1 } else { self.rows } * self.len, self.rows * self.count);
        vec![
            Arg::read(self.dtype, self.offsets[0] + sorted),
            Arg::read(self.dtype, self.offsets[1] + values),
            Arg::write(DType::I32, values),
        ]
    }

    fn shader(&self) -> Result<Shader> {
        Ok(Linker::new(SEARCH_SORTED)
            .replace("key", &key_text(self.dtype, false))
            .map_err(|e| Error::internal("search_sorted", e))?
            .append(BITS)
            .constant("ROWS", self.rows)
            .constant("LEN", self.len)
            .constant("COUNT", self.count.max(1))
            .constant("ROW_STRIDE", if self.shared { 0 } else { self.len })
            .constant("RIGHT", usize::from(self.right))
            .constant("SORTED_OFFSET", self.offsets[0])
            .constant("X_OFFSET", self.offsets[1])
            .finish())
    }

    fn groups(&self) -> [u32; 3] {
        spread((self.rows * self.count).div_ceil(64))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.dtype.size() == 8 {
            self.native(&mut run, |word: u64| key_64(word, self.dtype))
        } else {
            self.native(&mut run, |word: u32| key_32(word, self.dtype))
        }
    }

    fn cost(&self) -> Cost {
        let bytes: usize = self.args().iter().map(Arg::traffic_bytes).sum();
        Cost { flops: 0, bytes: bytes as u64 }
    }
}

impl SearchSorted {
    fn native<W: bytemuck::Pod + Ord + Sync>(
        &self,
        run: &mut CpuRun<'_>,
        key: impl Fn(W) -> W + Sync,
    ) -> Result<()> {
        let (len, count) = (self.len, self.count);
        if self.rows * count == 0 {
            return Ok(());
        }
        let sorted = &run.read_as::<W>(0)?[self.offsets[0]..];
        let values = &run.read_as::<W>(1)?[self.offsets[1]..];
        let tasks = run.write::<i32>(2)?.chunks_mut(TASK).enumerate().collect();
        for_each(tasks, |(task, out): (usize, &mut [i32])| {
            for (k, out) in out.iter_mut().enumerate() {
                let at = task * TASK + k;
                let start = if self.shared { 0 } else { at / count * len };
                let own = key(values[at]);
                let before = |&there: &W| if self.right { key(there) <= own } else { key(there) < own };
                *out = sorted[start..start + len].partition_point(before) as i32;
            }
            Ok(())
        })
    }
}
