//! Which elements of rows come at some places in order, without the order of the others.

use vorpal_shaders::Shader;
use vorpal_tensor::{DType, Error, Result};

use crate::interp::{TASK, for_each};
use crate::lane::vectorized;
use crate::sort::{key_32, key_64};
use crate::{Arg, Cost, CpuRun, Kernel};

/// Elements that are looked at together for one that may count.
const BLOCK: usize = 64;

/// Rows from which on each is looked at by one thread.
const ROWS_SHARED: usize = 8;

/// Most parts of a row.
const PARTS_MAX: usize = 16;

/// Pairs from which on all cores sort them.
#[cfg(feature = "parallel")]
const SORT_SHARED: usize = 1 << 15;

/// Pairs up to which sorting is as fast as anything else.
const SMALL: usize = 32;

/// How much longer a row must be than its first elements up to the last that is asked for, so that looking for those is
/// faster than making pairs of all.
const FEW: usize = 4;

/// Numbers (`I32`) of the elements that [`Sort`](crate::Sort) puts at places `first`, `first + step`, … of its rows:
/// `count` of each of `rows` rows of `len`. Native code only.
#[derive(Clone, Debug)]
pub struct Ranked {
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub len: usize,
    /// Of the elements: f32, f64, i64, whole numbers of 32 bits and truth values.
    pub dtype: DType,
    /// Whether larger elements come first.
    pub descending: bool,
    /// Of the elements.
    pub offset: usize,
    /// The first place.
    pub first: usize,
    /// From a place to the next, at least 1.
    pub step: usize,
    /// How many places, the last of them within the row.
    pub count: usize,
}

impl Kernel for Ranked {
    fn name(&self) -> &'static str {
        "ranked"
    }

    fn describe(&self) -> String {
        let Ranked { rows, len, dtype, first, step, count, .. } = self;
        format!("ranked {count} from {first} by {step} of {rows}×{len} {dtype}")
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            Arg::read(self.dtype, self.offset + self.rows * self.len),
            Arg::write(DType::I32, self.rows * self.count),
        ]
    }

    fn shader(&self) -> Result<Shader> {
        Err(Error::internal("ranked", format!("{} has no shader", self.describe())))
    }

    fn groups(&self) -> [u32; 3] {
        [0; 3]
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.rows * self.count == 0 {
            return Ok(());
        }
        if self.end() > self.len || self.step == 0 {
            return Err(Error::internal("ranked", format!("no such places: {}", self.describe())));
        }
        let (down, wide_down) = if self.descending { (u32::MAX, u64::MAX) } else { (0, 0) };
        // Each has a loop of its own, so that the dtype is no question in it.
        match self.dtype {
            DType::F64 => self.native(&mut run, |w| key_64(w, DType::F64) ^ wide_down),
            DType::I64 => self.native(&mut run, |w| key_64(w, DType::I64) ^ wide_down),
            DType::F32 => self.native(&mut run, |w| key_32(w, DType::F32) ^ down),
            DType::I32 => self.native(&mut run, |w| key_32(w, DType::I32) ^ down),
            _ => self.native(&mut run, |w| key_32(w, DType::U32) ^ down),
        }
    }

    fn cost(&self) -> Cost {
        let bytes: usize = self.args().iter().map(Arg::traffic_bytes).sum();
        Cost { flops: 0, bytes: bytes as u64 }
    }
}

impl Ranked {
    /// Behind the last place.
    fn end(&self) -> usize {
        self.first + (self.count - 1) * self.step + 1
    }

    fn native<W: Word>(&self, run: &mut CpuRun<'_>, key: impl Fn(W) -> W + Sync + Send) -> Result<()> {
        let (len, count) = (self.len, self.count);
        let x = &run.read_as::<W>(0)?[self.offset..][..self.rows * len];
        let out = &mut run.write::<i32>(1)?[..self.rows * count];
        let end = self.end();
        let few = end <= len / FEW;
        let parts = if few && self.rows < ROWS_SHARED { len / TASK.max(FEW * end) } else { 1 };
        if parts > 1 {
            let part = len.div_ceil(parts.min(PARTS_MAX));
            for (out, x) in out.chunks_mut(count).zip(x.chunks(len)) {
                let mut found: Vec<Vec<W::Pair>> = x.chunks(part).map(|_| Vec::new()).collect();
                let tasks = found.iter_mut().zip(x.chunks(part)).enumerate().collect();
                for_each(tasks, |(k, (found, x)): (usize, (&mut Vec<W::Pair>, &[W]))| {
                    best(x, k * part, end, &key, found);
                    Ok(())
                })?;
                self.finish(&mut found.concat(), out);
            }
            return Ok(());
        }
        let rows = (TASK / len).max(1);
        let tasks: Vec<(&mut [i32], &[W])> = out.chunks_mut(rows * count).zip(x.chunks(rows * len)).collect();
        for_each(tasks, |(out, x)| {
            let mut pairs = Vec::new();
            for (out, x) in out.chunks_mut(count).zip(x.chunks(len)) {
                if few {
                    best(x, 0, end, &key, &mut pairs);
                } else {
                    all(x, &key, &mut pairs);
                }
                self.finish(&mut pairs, out);
            }
            Ok(())
        })
    }

    /// The numbers at the places, of pairs among which are the first of the row up to the last place.
    fn finish<P: Pair>(&self, pairs: &mut [P], out: &mut [i32]) {
        if pairs.len() <= SMALL {
            pairs.sort_unstable();
            for (out, pair) in out.iter_mut().zip(pairs[self.first..].iter().step_by(self.step)) {
                *out = pair.number() as i32;
            }
            return;
        }
        if self.step > 1 {
            let mut done = 0;
            for (k, out) in out.iter_mut().enumerate() {
                let place = self.first + k * self.step;
                *out = pairs[done..].select_nth_unstable(place - done).1.number() as i32;
                done = place + 1;
            }
            return;
        }
        let end = self.end();
        if end < pairs.len() {
            pairs.select_nth_unstable(end);
        }
        let mut pairs = &mut pairs[..end];
        if self.first > 0 {
            pairs.select_nth_unstable(self.first);
            pairs = &mut pairs[self.first..];
        }
        sort(pairs);
        for (out, pair) in out.iter_mut().zip(pairs) {
            *out = pair.number() as i32;
        }
    }
}

/// A word of elements or of the keys that order them.
trait Word: bytemuck::Pod + Ord + Send + Sync {
    /// The last of all.
    const LAST: Self;
    /// A key with the number of its element.
    type Pair: Pair<Word = Self>;
    /// The pair of a key and a number.
    fn with(self, number: usize) -> Self::Pair;
    /// The word in front of this one.
    fn in_front(self) -> Option<Self>;
}

/// A key and a number, in the order of keys and, where those are equal, of numbers.
trait Pair: Copy + Default + Ord + Send {
    /// The type of keys.
    type Word;
    /// The number.
    fn number(self) -> u32;
    /// The key.
    fn key(self) -> Self::Word;
}

impl Word for u32 {
    const LAST: u32 = u32::MAX;
    // One word sorts fastest.
    type Pair = u64;
    #[inline(always)]
    fn with(self, number: usize) -> u64 {
        u64::from(self) << 32 | number as u64
    }
    fn in_front(self) -> Option<u32> {
        self.checked_sub(1)
    }
}

impl Pair for u64 {
    type Word = u32;
    fn number(self) -> u32 {
        self as u32
    }
    fn key(self) -> u32 {
        (self >> 32) as u32
    }
}

impl Word for u64 {
    const LAST: u64 = u64::MAX;
    type Pair = (u64, u32);
    #[inline(always)]
    fn with(self, number: usize) -> (u64, u32) {
        (self, number as u32)
    }
    fn in_front(self) -> Option<u64> {
        self.checked_sub(1)
    }
}

impl Pair for (u64, u32) {
    type Word = u64;
    fn number(self) -> u32 {
        self.1
    }
    fn key(self) -> u64 {
        self.0
    }
}

/// The pairs of all elements.
fn all<W: Word>(x: &[W], key: &impl Fn(W) -> W, pairs: &mut Vec<W::Pair>) {
    pairs.resize(x.len(), W::Pair::default());
    vectorized(
        #[inline(always)]
        || {
            for (number, (pair, &word)) in pairs.iter_mut().zip(x).enumerate() {
                *pair = key(word).with(number);
            }
        },
    );
}

/// The pairs of elements numbered from `start` on, among which are the first `end` in order. Only blocks with an element that
/// comes before the last of those found so far are gone through.
fn best<W: Word>(x: &[W], start: usize, end: usize, key: &impl Fn(W) -> W, pairs: &mut Vec<W::Pair>) {
    let room = end + end.max(BLOCK);
    pairs.resize(room + BLOCK, W::Pair::default());
    let (mut found, mut limit, mut at) = (0, W::LAST, 0);
    let mut keys = [W::LAST; BLOCK];
    loop {
        at += passed(&x[at..], limit, key, &mut keys);
        let here = BLOCK.min(x.len() - at);
        for (k, &own) in keys[..here].iter().enumerate() {
            pairs[found] = own.with(start + at + k);
            found += usize::from(own <= limit);
        }
        at += here;
        if at == x.len() {
            break;
        }
        if found >= room {
            pairs[..found].select_nth_unstable(end - 1);
            found = end;
            // Of equals the earlier one comes first.
            match pairs[end - 1].key().in_front() {
                Some(below) => limit = below,
                None => break,
            }
        }
    }
    pairs.truncate(found);
}

/// Elements in front of the first block with a key up to `limit`, and the keys of that block.
fn passed<W: Word>(x: &[W], limit: W, key: &impl Fn(W) -> W, keys: &mut [W; BLOCK]) -> usize {
    vectorized(
        #[inline(always)]
        || {
            for (k, block) in x.chunks(BLOCK).enumerate() {
                let mut some = false;
                for (own, &word) in keys.iter_mut().zip(block) {
                    *own = key(word);
                    some |= *own <= limit;
                }
                if some {
                    return k * BLOCK;
                }
            }
            x.len()
        },
    )
}

/// Sorts what has no equals, where it is much on all cores if the feature `parallel` is on.
fn sort<T: Ord + Send>(x: &mut [T]) {
    #[cfg(feature = "parallel")]
    if x.len() >= SORT_SHARED {
        use rayon::prelude::*;
        x.par_sort_unstable();
        return;
    }
    x.sort_unstable();
}
