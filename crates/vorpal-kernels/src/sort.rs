//! Sorting rows by number: which element comes first, second, …

use vorpal_shaders::{BITS, Linker, SORT_STRIDE, SORT_TILE, Shader};
use vorpal_tensor::{DType, Error, Result};

use crate::{Arg, Cost, CpuRun, Kernel, Ranked, spread};

/// Pairs of key and number that a workgroup sorts in its memory.
pub const SORT_TILE_LEN: usize = 2048;

/// What a launch does to rows that are padded to a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SortPass {
    /// From elements to numbers at once. Natively rows may be of any length, else [`SORT_TILE_LEN`] at most.
    Whole,
    /// From elements to pairs, sorted within tiles.
    First,
    /// The strides within tiles of a level, from pairs to pairs.
    Tile {
        /// Elements that the level joins.
        level: usize,
    },
    /// The same for the last level, from pairs to numbers.
    Last,
    /// One stride of a level, or twice as long a one and then this.
    Stride {
        /// Elements that the level joins.
        level: usize,
        /// Distance of elements that are compared.
        stride: usize,
        /// Whether the stride twice as long comes first.
        double: bool,
    },
}

/// Numbers (`I32`) of the elements of each of `rows` rows of `len` in ascending or descending order. Equal elements
/// stay in order; NaN counts as largest, and zeros of both signs are equal.
#[derive(Clone, Debug)]
pub struct Sort {
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub len: usize,
    /// Of the elements: f32, whole numbers of 32 bits and truth values, natively f64 and i64, too.
    pub dtype: DType,
    /// Whether larger elements come first.
    pub descending: bool,
    /// Of the elements.
    pub offset: usize,
    /// What the launch does.
    pub pass: SortPass,
}

impl Sort {
    /// Elements of a padded row.
    pub fn width(&self) -> usize {
        self.len.next_power_of_two()
    }

    /// The launches that sort.
    pub fn passes(&self, native: bool) -> Vec<SortPass> {
        let width = self.width();
        if native || width <= SORT_TILE_LEN {
            return vec![SortPass::Whole];
        }
        let mut passes = vec![SortPass::First];
        let mut level = 2 * SORT_TILE_LEN;
        while level <= width {
            let mut stride = level / 2;
            while stride >= SORT_TILE_LEN {
                let double = stride > SORT_TILE_LEN;
                let shorter = if double { stride / 2 } else { stride };
                passes.push(SortPass::Stride { level, stride: shorter, double });
                stride = shorter / 2;
            }
            passes.push(if level == width { SortPass::Last } else { SortPass::Tile { level } });
            level *= 2;
        }
        passes
    }

    /// Words of pairs of all rows.
    pub fn pairs(&self) -> usize {
        2 * self.rows * self.width()
    }

    fn reads_elements(&self) -> bool {
        matches!(self.pass, SortPass::Whole | SortPass::First)
    }

    fn to_numbers(&self) -> bool {
        matches!(self.pass, SortPass::Whole | SortPass::Last)
    }

    /// Levels of the network, first and last, and strides of each.
    fn levels(&self) -> (usize, usize) {
        match self.pass {
            SortPass::Whole => (2, self.width()),
            SortPass::First => (2, SORT_TILE_LEN),
            SortPass::Tile { level } | SortPass::Stride { level, .. } => (level, level),
            SortPass::Last => (self.width(), self.width()),
        }
    }
}

/// The function of a shader that orders words as values are.
pub(crate) fn key_text(dtype: DType, descending: bool) -> String {
    let key = match dtype {
        // Zeros of both signs are equal.
        DType::F32 => "let v = bitcast<f32>(word);\n    let own = order_f32(select(v, 0.0, v == 0.0));",
        DType::I32 => "let own = word ^ 0x80000000u;",
        _ => "let own = word;",
    };
    let own = if descending { "~own" } else { "own" };
    format!("fn key(word: u32) -> u32 {{\n    {key}\n    return {own};\n}}")
}

impl Kernel for Sort {
    fn name(&self) -> &'static str {
        if matches!(self.pass, SortPass::Stride { .. }) { "sort_stride" } else { "sort_tile" }
    }

    fn describe(&self) -> String {
        format!("sort {:?} {}×{} {}", self.pass, self.rows, self.len, self.dtype)
    }

    fn args(&self) -> Vec<Arg> {
        let elements = self.rows * self.len;
        let pairs = |read: bool| {
            if read { Arg::read(DType::U32, self.pairs()) } else { Arg::write(DType::U32, self.pairs()) }
        };
        vec![
            if self.reads_elements() { Arg::read(self.dtype, self.offset + elements) } else { pairs(true) },
            if self.to_numbers() { Arg::write(DType::I32, elements) } else { pairs(false) },
        ]
    }

    fn shader(&self) -> Result<Shader> {
        let width = self.width();
        if let SortPass::Stride { level, stride, double } = self.pass {
            return Ok(Linker::new(SORT_STRIDE)
                .constant("COUNT", self.rows * width)
                .constant("WIDTH", width)
                .constant("LEVEL", level)
                .constant("STRIDE", stride)
                .constant("DOUBLE", usize::from(double))
                .finish());
        }
        if self.pass == SortPass::Whole && width > SORT_TILE_LEN {
            return Err(Error::internal("sort", format!("{} elements do not fit a tile", self.len)));
        }
        let (low, high) = self.levels();
        Ok(Linker::new(SORT_TILE)
            .replace("key", &key_text(self.dtype, self.descending))
            .map_err(|e| Error::internal("sort", e))?
            .append(BITS)
            .constant("ROWS", self.rows)
            .constant("LEN", self.len)
            .constant("WIDTH", width)
            .constant("X_OFFSET", self.offset)
            .constant("LEVEL_LOW", low)
            .constant("LEVEL_HIGH", high)
            .constant("FIRST", usize::from(self.reads_elements()))
            .constant("LAST", usize::from(self.to_numbers()))
            .finish())
    }

    fn groups(&self) -> [u32; 3] {
        let elements = self.rows * self.width();
        match self.pass {
            _ if self.rows * self.len == 0 => spread(0),
            SortPass::Stride { double, .. } => spread((elements / if double { 4 } else { 2 }).div_ceil(256)),
            _ => spread(elements.div_ceil(SORT_TILE_LEN)),
        }
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.rows * self.len == 0 {
            return Ok(());
        }
        if self.pass == SortPass::Whole {
            return self.whole(run);
        }
        let down = if self.descending { u32::MAX } else { 0 };
        let mut pairs: Vec<(u32, u32)> = if self.reads_elements() {
            let (words, len, width) = (run.read_as::<u32>(0)?, self.len, self.width());
            let words = &words[self.offset..];
            let pair = |place: usize| match (place / width, place % width) {
                (row, p) if p < len => (key_32(words[row * len + p], self.dtype) ^ down, p as u32),
                (_, p) => (u32::MAX, p as u32),
            };
            (0..self.rows * width).map(pair).collect()
        } else {
            run.read_as::<u32>(0)?.chunks_exact(2).map(|p| (p[0], p[1])).collect()
        };
        self.network(&mut pairs);
        if self.to_numbers() {
            let out = run.write_as::<u32>(1)?;
            for (out, pairs) in out.chunks_mut(self.len).zip(pairs.chunks(self.width())) {
                out.iter_mut().zip(pairs).for_each(|(out, &(_, number))| *out = number);
            }
        } else {
            let out = run.write_as::<u32>(1)?;
            out.chunks_exact_mut(2).zip(&pairs).for_each(|(out, &(key, number))| {
                out.copy_from_slice(&[key, number]);
            });
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        let bytes: usize = self.args().iter().map(Arg::traffic_bytes).sum();
        Cost { flops: 0, bytes: bytes as u64 }
    }
}

/// Orders the words of elements as their values are. What is rare alone is decided by comparison.
#[inline(always)]
pub(crate) fn key_32(word: u32, dtype: DType) -> u32 {
    let sign = 1 << 31;
    match (dtype, word & !sign) {
        (DType::F32, 0) => sign,
        (DType::F32, size) if size > f32::INFINITY.to_bits() => u32::MAX,
        (DType::F32, _) => word ^ ((word as i32 >> 31) as u32 | sign),
        (DType::I32, _) => word ^ sign,
        _ => word,
    }
}

/// Orders the words of f64 or i64 as their values are.
#[inline(always)]
pub(crate) fn key_64(word: u64, dtype: DType) -> u64 {
    let sign = 1 << 63;
    match word & !sign {
        _ if dtype == DType::I64 => word ^ sign,
        0 => sign,
        size if size > f64::INFINITY.to_bits() => u64::MAX,
        _ => word ^ ((word as i64 >> 63) as u64 | sign),
    }
}

impl Sort {
    /// The part of the network that this launch is.
    fn network(&self, pairs: &mut [(u32, u32)]) {
        let (low, high) = self.levels();
        let mut level = low;
        while level <= high {
            let (mut stride, last) = match self.pass {
                SortPass::Stride { stride, double, .. } => (if double { 2 * stride } else { stride }, stride),
                _ => (level.min(SORT_TILE_LEN) / 2, 1),
            };
            while stride >= last {
                for k in 0..pairs.len() / 2 {
                    let a = k / stride * 2 * stride + k % stride;
                    let up = (a % self.width()) & level == 0;
                    if (pairs[a] > pairs[a + stride]) == up {
                        pairs.swap(a, a + stride);
                    }
                }
                stride /= 2;
            }
            level *= 2;
        }
    }

    /// Sorts rows natively.
    fn whole(&self, run: CpuRun<'_>) -> Result<()> {
        let Sort { rows, len, dtype, descending, offset, .. } = *self;
        Ranked { rows, len, dtype, descending, offset, first: 0, step: 1, count: len }.run_cpu(run)
    }
}
