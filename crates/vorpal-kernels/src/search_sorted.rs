//! Where values belong in sorted rows.

use std::hint::select_unpredictable;

use vorpal_shaders::{BITS, Linker, SEARCH_SORTED, Shader};
use vorpal_tensor::{DType, Error, Result};

use crate::interp::{TASK, for_each};
use crate::lane::vectorized;
use crate::sort::{key_32, key_64, key_text};
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// Searches that go side by side.
const TOGETHER: usize = 32;

/// Elements that a search looks at, about.
const PROBES: usize = 16;

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
    fn native<W: bytemuck::Pod + Ord + Send + Sync>(
        &self,
        run: &mut CpuRun<'_>,
        key: impl Fn(W) -> W + Sync,
    ) -> Result<()> {
        let (len, count) = (self.len, self.count);
        if self.rows * count == 0 {
            return Ok(());
        }
        let rows = if self.shared { 1 } else { self.rows };
        let sorted = &run.read_as::<W>(0)?[self.offsets[0]..][..rows * len];
        let values = &run.read_as::<W>(1)?[self.offsets[1]..];
        let out = run.write::<i32>(2)?;
        if self.rows * count < sorted.len() / PROBES {
            // Most of what is sorted is never looked at.
            return self.places(out, values, &key, |k| key(sorted[k]));
        }
        let mut keys = vec![W::zeroed(); sorted.len()];
        let tasks = keys.chunks_mut(TASK).zip(sorted.chunks(TASK)).collect();
        for_each(tasks, |(keys, sorted): (&mut [W], &[W])| {
            vectorized(
                #[inline(always)]
                || {
                    for (own, &word) in keys.iter_mut().zip(sorted) {
                        *own = key(word);
                    }
                },
            );
            Ok(())
        })?;
        self.places(out, values, &key, |k| keys[k])
    }

    /// The places of values among the keys of sorted rows.
    fn places<W: bytemuck::Pod + Ord + Sync>(
        &self,
        out: &mut [i32],
        values: &[W],
        key: &(impl Fn(W) -> W + Sync),
        there: impl Fn(usize) -> W + Sync,
    ) -> Result<()> {
        let (len, count) = (self.len, self.count);
        let tasks = out[..self.rows * count].chunks_mut(TASK).enumerate().collect();
        for_each(tasks, |(task, mut out): (usize, &mut [i32])| {
            let mut at = task * TASK;
            while !out.is_empty() {
                // Values of one row.
                let (here, rest) = out.split_at_mut(out.len().min(count - at % count).min(TOGETHER));
                let start = if self.shared { 0 } else { at / count * len };
                let values = &values[at..at + here.len()];
                if self.right {
                    search(here, values, key, len, |k, own| there(start + k) <= own);
                } else {
                    search(here, values, key, len, |k, own| there(start + k) < own);
                }
                (at, out) = (at + here.len(), rest);
            }
            Ok(())
        })
    }
}

/// How many of `len` elements come before each of a few values. Searches go side by side: each waits for memory at every step.
fn search<W: bytemuck::Pod>(
    out: &mut [i32],
    values: &[W],
    key: impl Fn(W) -> W,
    len: usize,
    before: impl Fn(usize, W) -> bool,
) {
    let mut keys = [W::zeroed(); TOGETHER];
    for (own, &value) in keys.iter_mut().zip(values) {
        *own = key(value);
    }
    out.fill(0);
    let mut left = len;
    while left > 1 {
        let half = left / 2;
        for (place, &own) in out.iter_mut().zip(&keys) {
            let middle = *place as usize + half;
            // A branch would go wrong every other time.
            *place = select_unpredictable(before(middle, own), middle as i32, *place);
        }
        left -= half;
    }
    if len > 0 {
        for (place, &own) in out.iter_mut().zip(&keys) {
            *place += i32::from(before(*place as usize, own));
        }
    }
}
