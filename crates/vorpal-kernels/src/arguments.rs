//! Arguments of native bodies: elements to read and to write, whatever their type.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use smallvec::SmallVec;
use vorpal_tensor::{DType, Error, Layout, Result};

use crate::halves::{shorten_bf16, shorten_f16};
use crate::lane::{alike, vectorized};
use crate::stream::{call_for, stream};
use crate::tape::Class;
use crate::{Access, Arg, CpuArg, CpuRun, Lane, LaneElement, LaneMut};

/// A buffer argument to read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    F64(&'a [f64]),
    F32(&'a [f32]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
    I64(&'a [i64]),
    I32(&'a [i32]),
    U32(&'a [u32]),
    I8(&'a [i8]),
    U8(&'a [u8]),
}

/// A buffer argument, or a part of one, to write.
#[derive(Debug)]
pub(crate) enum Sink<'a> {
    F64(&'a mut [f64]),
    F32(&'a mut [f32]),
    F16(&'a mut [f16]),
    BF16(&'a mut [bf16]),
    I64(&'a mut [i64]),
    I32(&'a mut [i32]),
    U32(&'a mut [u32]),
    I8(&'a mut [i8]),
    U8(&'a mut [u8]),
}

fn cast_read<T: bytemuck::Pod>(bytes: &[u8], len: usize, arg: usize) -> Result<&[T]> {
    let all: &[T] = bytemuck::try_cast_slice(&bytes[..bytes.len() / size_of::<T>() * size_of::<T>()])
        .map_err(|e| Error::internal("interp", format!("argument {arg}: {e}")))?;
    all.get(..len).ok_or_else(|| Error::internal("interp", format!("argument {arg} is shorter than {len}")))
}

fn cast_write<T: bytemuck::Pod>(bytes: &mut [u8], len: usize, arg: usize) -> Result<&mut [T]> {
    let whole = bytes.len() / size_of::<T>() * size_of::<T>();
    let all: &mut [T] = bytemuck::try_cast_slice_mut(&mut bytes[..whole])
        .map_err(|e| Error::internal("interp", format!("argument {arg}: {e}")))?;
    all.get_mut(..len)
        .ok_or_else(|| Error::internal("interp", format!("argument {arg} is shorter than {len}")))
}

macro_rules! each_type {
    ($enum:ident, $value:expr, $x:ident => $body:expr) => {
        match $value {
            $enum::F64($x) => $body,
            $enum::F32($x) => $body,
            $enum::F16($x) => $body,
            $enum::BF16($x) => $body,
            $enum::I64($x) => $body,
            $enum::I32($x) => $body,
            $enum::U32($x) => $body,
            $enum::I8($x) => $body,
            $enum::U8($x) => $body,
        }
    };
}

impl<'a> Sink<'a> {
    pub fn len(&self) -> usize {
        each_type!(Sink, self, x => x.len())
    }

    /// The first `at` elements and the rest.
    pub fn split_at(self, at: usize) -> (Sink<'a>, Sink<'a>) {
        macro_rules! cut {
            ($variant:ident, $x:ident) => {{
                let (a, b) = $x.split_at_mut(at);
                (Sink::$variant(a), Sink::$variant(b))
            }};
        }
        match self {
            Sink::F64(x) => cut!(F64, x),
            Sink::F32(x) => cut!(F32, x),
            Sink::F16(x) => cut!(F16, x),
            Sink::BF16(x) => cut!(BF16, x),
            Sink::I64(x) => cut!(I64, x),
            Sink::I32(x) => cut!(I32, x),
            Sink::U32(x) => cut!(U32, x),
            Sink::I8(x) => cut!(I8, x),
            Sink::U8(x) => cut!(U8, x),
        }
    }

    /// Whether elements are stored shorter than they are computed.
    pub fn is_short(&self) -> bool {
        matches!(self, Sink::F16(_) | Sink::BF16(_))
    }

    /// `n` elements from `from` on, to fill; `None` where they are stored shorter than they are computed.
    #[inline(always)]
    pub fn lane_mut(&mut self, from: usize, n: usize) -> Option<LaneMut<'_>> {
        let range = from..from + n;
        match self {
            Sink::F64(x) => x.get_mut(range).map(LaneMut::F64),
            Sink::F32(x) => x.get_mut(range).map(LaneMut::F32),
            Sink::I64(x) => x.get_mut(range).map(LaneMut::I64),
            Sink::I32(x) => x.get_mut(range).map(LaneMut::I32),
            Sink::U32(x) => x.get_mut(range).map(LaneMut::U32),
            Sink::I8(x) => x.get_mut(range).map(LaneMut::I8),
            Sink::U8(x) => x.get_mut(range).map(LaneMut::U8),
            Sink::F16(_) | Sink::BF16(_) => None,
        }
    }

    /// The elements, as a source.
    pub fn read(&self) -> Source<'_> {
        match self {
            Sink::F64(x) => Source::F64(x),
            Sink::F32(x) => Source::F32(x),
            Sink::F16(x) => Source::F16(x),
            Sink::BF16(x) => Source::BF16(x),
            Sink::I64(x) => Source::I64(x),
            Sink::I32(x) => Source::I32(x),
            Sink::U32(x) => Source::U32(x),
            Sink::I8(x) => Source::I8(x),
            Sink::U8(x) => Source::U8(x),
        }
    }

    /// Writes a block at `from` past the caches, while what lies `ahead` is called for.
    pub fn stream(&mut self, from: usize, lane: Lane<'_>, ahead: Lane<'_>) {
        match (self, lane) {
            (Sink::F32(o), Lane::F32(v)) => stream(&mut o[from..from + v.len()], v, f32::of(ahead)),
            (sink, lane) => sink.store(from, lane),
        }
    }

    /// Writes a block at `from`.
    pub fn store(&mut self, from: usize, lane: Lane<'_>) {
        alike!((self, lane), Sink, Lane, (o, v) => o[from..from + v.len()].copy_from_slice(v);
            (Sink::F16(o), Lane::F32(v)) => shorten_f16(v, &mut o[from..from + v.len()]),
            (Sink::BF16(o), Lane::F32(v)) => shorten_bf16(v, &mut o[from..from + v.len()]),
            _ => {}
        );
    }
}

impl<'a> Source<'a> {
    /// `n` elements from `from` on; `None` where they are stored shorter than they are computed.
    #[inline(always)]
    pub fn lane(self, from: usize, n: usize) -> Option<Lane<'a>> {
        let range = from..from + n;
        match self {
            Source::F64(x) => x.get(range).map(Lane::F64),
            Source::F32(x) => x.get(range).map(Lane::F32),
            Source::I64(x) => x.get(range).map(Lane::I64),
            Source::I32(x) => x.get(range).map(Lane::I32),
            Source::U32(x) => x.get(range).map(Lane::U32),
            Source::I8(x) => x.get(range).map(Lane::I8),
            Source::U8(x) => x.get(range).map(Lane::U8),
            Source::F16(_) | Source::BF16(_) => None,
        }
    }
}

/// A stretch of a result, from the element with linear index `start` on.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub arg: usize,
    /// What the result has an element for.
    pub class: Class,
    pub start: usize,
    pub sink: Sink<'a>,
}

impl<'a> Piece<'a> {
    /// Whole results.
    pub fn all(sinks: Vec<(usize, Sink<'a>)>, class: Class) -> SmallVec<[Piece<'a>; 4]> {
        sinks.into_iter().map(|(arg, sink)| Piece { arg, class, start: 0, sink }).collect()
    }

    /// The first `n` elements and the rest.
    pub fn split_at(self, n: usize) -> (Piece<'a>, Piece<'a>) {
        let Piece { arg, class, start, sink } = self;
        let (first, rest) = sink.split_at(n);
        (Piece { arg, class, start, sink: first }, Piece { arg, class, start: start + n, sink: rest })
    }

    /// `n` elements from linear index `start` on, as they are before they are written.
    pub fn lane(&self, start: usize, n: usize) -> Option<Lane<'_>> {
        self.sink.read().lane(start - self.start, n)
    }

    /// Reads elements from linear index `start` on into a register.
    pub fn load(&self, start: usize, out: LaneMut<'_>) {
        let layout = Layout::contiguous([self.sink.len()]);
        load(self.sink.read(), &layout, start - self.start, Some(0.0), out);
    }
}

/// Pieces cut at the same places: `step` elements of rows, `step · per` of all elements.
pub(crate) fn cut<'a>(
    pieces: SmallVec<[Piece<'a>; 4]>,
    step: usize,
    per: usize,
) -> Vec<SmallVec<[Piece<'a>; 4]>> {
    let mut out: Vec<SmallVec<[Piece<'a>; 4]>> = Vec::new();
    for Piece { arg, class, mut start, sink } in pieces {
        let chunk = if class == Class::Full { step * per } else { step };
        let (mut rest, mut k) = (sink, 0);
        loop {
            let here = chunk.min(rest.len());
            let (sink, more) = rest.split_at(here);
            if out.len() == k {
                out.push(SmallVec::new());
            }
            out[k].push(Piece { arg, class, start, sink });
            (rest, k, start) = (more, k + 1, start + here);
            if rest.len() == 0 {
                break;
            }
        }
    }
    out
}

/// The arguments of a run: what is read, and what is written with its argument number.
pub(crate) struct Arguments<'a> {
    pub sources: Vec<Option<Source<'a>>>,
    pub sinks: Vec<(usize, Sink<'a>)>,
}

/// Takes arguments `first..` of a run.
pub(crate) fn take<'a>(run: &mut CpuRun<'a>, args: &[Arg], first: usize) -> Result<Arguments<'a>> {
    let mut out = Arguments { sources: vec![None; args.len()], sinks: Vec::new() };
    for (k, arg) in args.iter().enumerate().skip(first) {
        let (dtype, len) = (arg.dtype, arg.len);
        match (run.take(k), arg.access) {
            (Some(CpuArg::Read(bytes)), Access::Read) => {
                out.sources[k] = Some(match dtype {
                    DType::F64 => Source::F64(cast_read(bytes, len, k)?),
                    DType::F32 => Source::F32(cast_read(bytes, len, k)?),
                    DType::F16 => Source::F16(cast_read(bytes, len, k)?),
                    DType::BF16 => Source::BF16(cast_read(bytes, len, k)?),
                    DType::I64 => Source::I64(cast_read(bytes, len, k)?),
                    DType::I32 => Source::I32(cast_read(bytes, len, k)?),
                    DType::U32 | DType::Bool => Source::U32(cast_read(bytes, len, k)?),
                    DType::I8 => Source::I8(cast_read(bytes, len, k)?),
                    DType::U8 => Source::U8(cast_read(bytes, len, k)?),
                });
            }
            (Some(CpuArg::Write(bytes)), Access::Write | Access::ReadWrite) => out.sinks.push((
                k,
                match dtype {
                    DType::F64 => Sink::F64(cast_write(bytes, len, k)?),
                    DType::F32 => Sink::F32(cast_write(bytes, len, k)?),
                    DType::F16 => Sink::F16(cast_write(bytes, len, k)?),
                    DType::BF16 => Sink::BF16(cast_write(bytes, len, k)?),
                    DType::I64 => Sink::I64(cast_write(bytes, len, k)?),
                    DType::I32 => Sink::I32(cast_write(bytes, len, k)?),
                    DType::U32 | DType::Bool => Sink::U32(cast_write(bytes, len, k)?),
                    DType::I8 => Sink::I8(cast_write(bytes, len, k)?),
                    DType::U8 => Sink::U8(cast_write(bytes, len, k)?),
                },
            )),
            _ => {
                return Err(Error::internal(
                    "interp",
                    format!("argument {k} is not what the kernel asked for"),
                ));
            }
        }
    }
    Ok(out)
}

/// Elements of a block whose places are described together.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Stretches(Stretches),
    Column(Column),
}

/// Stretches of a block, equally far apart, alike but for their places, each of which one stride describes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretches {
    /// Where in the block the first one starts.
    pub at: usize,
    /// Elements of one, and how far the next one starts behind it in the block.
    pub len: usize,
    pub pitch: usize,
    /// Place of the first element; `None` outside of the bounds.
    pub place: Option<isize>,
    /// Distance of the places of neighbours.
    pub stride: isize,
    /// How many there are, and the distance of their places.
    pub times: usize,
    pub step: isize,
}

/// Elements that lie as far apart in the block as a pattern of short axes is long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Where in the block the first one lies, how many there are, and how far apart.
    pub at: usize,
    pub n: usize,
    pub apart: usize,
    /// Place of the first one, `None` outside of the bounds, and the distance of places.
    pub place: Option<isize>,
    pub step: isize,
}

impl Column {
    /// The elements of a block.
    #[inline(always)]
    pub fn of<T>(self, block: &[T]) -> impl Iterator<Item = &T> {
        block[self.at..].iter().step_by(self.apart).take(self.n)
    }

    /// The same, to be written.
    #[inline(always)]
    pub fn of_mut<T>(self, block: &mut [T]) -> impl Iterator<Item = &mut T> {
        block[self.at..].iter_mut().step_by(self.apart).take(self.n)
    }
}

/// Inner axes so short that what is done once for a line of them would count.
struct Pattern {
    /// The axis before them.
    axis: usize,
    /// Elements of them, and their places from that of the first one; `None` outside of the bounds.
    places: SmallVec<[Option<isize>; PATTERN_MAX]>,
}

/// Elements of a line from which on lines are gone through one by one.
const LINE_LONG: usize = 16;

/// Neighbours from which on they are copied together.
const COPY_SHORT: usize = 8;

/// Most elements of a pattern: a block has many of them.
const PATTERN_MAX: usize = 64;

/// Patterns behind one another that are worth going through by columns.
const PATTERNS_MIN: usize = 32;

/// Patterns that are gone through together where each lies on lines of the caches of its own: those stay there meanwhile.
const PATTERNS_APART: usize = 32;

/// Places that are on one line of the caches at most.
const LINE_PLACES: isize = 16;

impl Pattern {
    /// The short inner axes of a layout before whose first one is the longest axis.
    fn of(layout: &Layout) -> Option<Pattern> {
        let rank = layout.shape.len();
        if rank < 2 || layout.shape[rank - 1] >= LINE_LONG {
            return None;
        }
        // Short copies, many of them at a time, are better than columns.
        if layout.strides[rank - 1] == 1 && layout.shape[rank - 1] >= COPY_SHORT && layout.bounds.is_empty() {
            return None;
        }
        let mut len = 1;
        let mut best: Option<(usize, usize)> = None;
        for axis in (0..rank - 1).rev() {
            len *= layout.shape[axis + 1];
            if len == 0 || len > PATTERN_MAX {
                break;
            }
            if best.is_none_or(|(best, _)| layout.shape[axis] > layout.shape[best]) {
                best = Some((axis, len));
            }
        }
        let (axis, len) = best.filter(|&(axis, _)| layout.shape[axis] >= PATTERNS_MIN)?;
        let place = |mut index: usize| {
            let mut place = 0;
            for k in (axis + 1..rank).rev() {
                let coordinate = index % layout.shape[k];
                index /= layout.shape[k];
                if !is_inside(layout, k, coordinate) {
                    return None;
                }
                place += coordinate as isize * layout.strides[k];
            }
            Some(place)
        };
        Some(Pattern { axis, places: (0..len).map(place).collect() })
    }

    /// Calls `run` for the columns of `n` elements from linear index `start` on, both whole patterns; they lie in the block
    /// from `at` on.
    fn columns(&self, layout: &Layout, start: usize, n: usize, at: usize, run: &mut impl FnMut(Part)) {
        let (axis, apart) = (self.axis, self.places.len());
        let (size, step) = (layout.shape[axis], layout.strides[axis]);
        let (mut index, end) = (start / apart, (start + n) / apart);
        let mut at = at;
        while index < end {
            let first = index % size;
            let together = if step.abs() >= LINE_PLACES { PATTERNS_APART } else { size };
            let count = (size - first).min(end - index).min(together);
            let (mut rest, mut base, mut inside) = (index / size, layout.offset, true);
            for k in (0..axis).rev() {
                let coordinate = rest % layout.shape[k];
                rest /= layout.shape[k];
                base += coordinate as isize * layout.strides[k];
                inside &= is_inside(layout, k, coordinate);
            }
            let (low, high) = layout.bounds.get(axis).copied().unwrap_or((0, size));
            let low = if inside { low.clamp(first, first + count) } else { first };
            let high = if inside { high.clamp(low, first + count) } else { first };
            for (k, &place) in self.places.iter().enumerate() {
                let mut column = |from: usize, to: usize, place: Option<isize>| {
                    if from < to {
                        let at = at + (from - first) * apart + k;
                        run(Part::Column(Column { at, n: to - from, apart, place, step }));
                    }
                };
                column(first, low, None);
                column(low, high, place.map(|place| base + place + low as isize * step));
                column(high, first + count, None);
            }
            index += count;
            at += count * apart;
        }
    }
}

/// Whether there is memory behind a coordinate of an axis.
fn is_inside(layout: &Layout, axis: usize, coordinate: usize) -> bool {
    layout.bounds.get(axis).is_none_or(|&(lo, hi)| (lo..hi).contains(&coordinate))
}

/// Calls `run` for parts that make up the `n` elements from linear index `start` on.
pub(crate) fn parts(layout: &Layout, start: usize, n: usize, mut run: impl FnMut(Part)) {
    let pattern = Pattern::of(layout).filter(|pattern| n >= PATTERNS_MIN * pattern.places.len());
    let Some(pattern) = pattern else { return lines(layout, start, n, 0, &mut run) };
    let len = pattern.places.len();
    let ahead = (start.next_multiple_of(len) - start).min(n);
    let whole = (n - ahead) / len * len;
    lines(layout, start, ahead, 0, &mut run);
    pattern.columns(layout, start + ahead, whole, ahead, &mut run);
    lines(layout, start + ahead + whole, n - ahead - whole, ahead + whole, &mut run);
}

/// Calls `run` for stretches of the `n` elements from linear index `start` on, which lie in the block from `at` on.
fn lines(layout: &Layout, start: usize, n: usize, at: usize, run: &mut impl FnMut(Part)) {
    let rank = layout.shape.len();
    if n == 0 {
        return;
    }
    if rank == 0 {
        let place = Some(layout.offset);
        return run(Part::Stretches(Stretches { at, len: 1, pitch: 1, place, stride: 0, times: n, step: 0 }));
    }
    let inner = rank - 1;
    let (size, stride) = (layout.shape[inner], layout.strides[inner]);
    let mut coordinates: SmallVec<[usize; 6]> = smallvec::smallvec![0; rank];
    let mut rest = start;
    for axis in (0..rank).rev() {
        let d = layout.shape[axis].max(1);
        coordinates[axis] = rest % d;
        rest /= d;
    }
    let within = |axis: usize| layout.bounds.get(axis).copied().unwrap_or((0, usize::MAX));
    let (low, high) = within(inner);
    // Lines follow one another along the axis before; what those before that say is said once for all of them.
    let outer = inner.checked_sub(1);
    let ((first, end), step) =
        outer.map_or(((0, usize::MAX), 0), |outer| (within(outer), layout.strides[outer]));
    let mut done = 0;
    while done < n {
        let before = 0..outer.unwrap_or(0);
        let plane: isize = before.clone().map(|a| coordinates[a] as isize * layout.strides[a]).sum();
        let is_inside = before.into_iter().all(|axis| is_inside(layout, axis, coordinates[axis]));
        let mut row = outer.map_or(0, |outer| coordinates[outer]);
        let rows = outer.map_or(usize::MAX, |outer| layout.shape[outer]);
        while done < n && row < rows {
            let from = coordinates[inner];
            let len = (size - from).min(n - done);
            let seen = is_inside && (first..end).contains(&row);
            // Whole lines in a row, as far as all of them are seen or none.
            let until =
                if seen { end } else { first.checked_sub(row).map_or(rows, |more| row + more.max(1)) };
            let is_whole = len == size && outer.is_some();
            let times = if is_whole { ((n - done) / size).min(rows.min(until) - row) } else { 1 };
            let a = if seen { low.clamp(from, from + len) } else { from + len };
            let b = if seen { high.clamp(a, from + len) } else { a };
            let base = layout.offset + plane + row as isize * step;
            let middle = Some(base + a as isize * stride);
            for (start, end, place) in [(from, a, None), (a, b, middle), (b, from + len, None)] {
                if start < end {
                    let (at, len) = (at + done + start - from, end - start);
                    run(Part::Stretches(Stretches { at, len, pitch: size, place, stride, times, step }));
                }
            }
            done += times * len;
            row += times;
            coordinates[inner] = 0;
        }
        // Advance to the next plane.
        if let Some(outer) = outer {
            coordinates[outer] = 0;
            for axis in (0..outer).rev() {
                coordinates[axis] += 1;
                if coordinates[axis] < layout.shape[axis] {
                    break;
                }
                coordinates[axis] = 0;
            }
        }
    }
}

/// Fills `out` with elements of a source through a layout, from linear index `start` on; `copy` is for those without gaps. Those
/// outside of its bounds stay as they are where there is nothing to fill them with.
pub(crate) fn gather<S: Copy, T: Copy>(
    layout: &Layout,
    start: usize,
    source: &[S],
    out: &mut [T],
    fill: Option<T>,
    (widen, copy): (impl Fn(S) -> T + Copy, impl Fn(&[S], &mut [T])),
) {
    parts(layout, start, out.len(), |part| match part {
        Part::Stretches(Stretches { at, len, pitch, place, stride, times, step }) => {
            let out = &mut out[at..at + (times - 1) * pitch + len];
            let Some(mut place) = place else {
                return fill.into_iter().for_each(|fill| {
                    out.chunks_mut(pitch).for_each(|out| out[..len].fill(fill));
                });
            };
            if times > 1 && step == 1 && stride > 1 && pitch == len {
                return transpose(&source[place as usize..], stride as usize, len, out, widen);
            }
            for out in out.chunks_mut(pitch) {
                let (out, p) = (&mut out[..len], place as usize);
                match stride {
                    0 => out.fill(widen(source[p])),
                    1 => copy(&source[p..p + len], out),
                    stride => {
                        let mut p = place;
                        for o in out {
                            *o = widen(source[p as usize]);
                            p += stride;
                        }
                    }
                }
                place += step;
            }
        }
        Part::Column(column) => {
            let Some(place) = column.place else {
                return fill.into_iter().for_each(|fill| column.of_mut(out).for_each(|o| *o = fill));
            };
            let values = &source[if column.step < 0 { 0 } else { place as usize }..];
            let out = column.of_mut(out);
            match column.step {
                0 => {
                    let value = widen(values[0]);
                    out.for_each(|o| *o = value);
                }
                1 => out.zip(values).for_each(|(o, &x)| *o = widen(x)),
                2.. => {
                    out.zip(values.iter().step_by(column.step as usize)).for_each(|(o, &x)| *o = widen(x));
                }
                step => {
                    let mut p = place;
                    for o in out {
                        *o = widen(values[p as usize]);
                        p += step;
                    }
                }
            }
        }
    });
}

/// Fills lines of `len` elements that lie `stride` apart, and of which the neighbour is the same element of the next line.
/// Of what a line of the caches holds all is used before the next one is read, and what is written makes lines as well:
/// places a power of two apart share a place of the cache, which holds fewer of them than there are.
fn transpose<S: Copy, T: Copy>(
    source: &[S],
    stride: usize,
    len: usize,
    out: &mut [T],
    widen: impl Fn(S) -> T,
) {
    const SIDE: usize = 16;
    const FEW: usize = 4;
    // What lies behind these lines is read next, in pieces too far apart for a processor to foresee.
    let next = (out.len() / len).max(SIDE);
    for (k, out) in out.chunks_mut(SIDE * len).enumerate() {
        let lines = out.len() / len;
        for from in (0..len).step_by(SIDE) {
            let width = SIDE.min(len - from);
            let source = &source[k * SIDE + from * stride..];
            if lines < FEW {
                for element in 0..width {
                    for (line, &x) in source[element * stride..][..lines].iter().enumerate() {
                        out[line * len + from + element] = widen(x);
                    }
                }
                continue;
            }
            let mut tile = [[widen(source[0]); SIDE]; SIDE];
            for element in 0..width {
                let values = &source[element * stride..];
                call_for(values.get(next..=next).unwrap_or_default());
                for (line, &x) in tile.iter_mut().zip(&values[..lines]) {
                    line[element] = widen(x);
                }
            }
            for (out, line) in out.chunks_exact_mut(len).zip(&tile) {
                out[from..from + width].copy_from_slice(&line[..width]);
            }
        }
    }
}

/// Copies elements, a few at a time. A copy of all at once to a place a little further on in another page, as of rows that are rolled,
/// takes ten times as long: processors take what they read for what was just written, as the low bits of the addresses agree.
pub(crate) fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    const FEW: usize = 64;
    for (to, from) in to.chunks_mut(FEW).zip(from.chunks(FEW)) {
        to.copy_from_slice(from);
    }
}

fn widen_bf16(from: &[bf16], out: &mut [f32]) {
    vectorized(|| out.iter_mut().zip(from).for_each(|(o, x)| *o = x.to_f32()));
}

/// Reads elements of a source through a layout, from linear index `start` on. Outside of its bounds they are `fill`, or stay as
/// they are.
pub(crate) fn load(source: Source<'_>, layout: &Layout, start: usize, fill: Option<f64>, out: LaneMut<'_>) {
    let float = fill.map(|fill| fill as f32);
    alike!((source, out), Source, LaneMut, (s, o) => gather(layout, start, s, o, fill.map(LaneElement::from_number), (|x| x, copy));
        (Source::F16(s), LaneMut::F32(o)) => gather(layout, start, s, o, float, (f16::to_f32, |s, o| s.convert_to_f32_slice(o))),
        (Source::BF16(s), LaneMut::F32(o)) => gather(layout, start, s, o, float, (bf16::to_f32, widen_bf16)),
        _ => {}
    );
}

/// Places of a layout from linear index `start` on.
pub(crate) fn place(layout: &Layout, start: usize, out: LaneMut<'_>) {
    if let LaneMut::U32(out) = out {
        let n = out.len();
        parts(layout, start, n, |part| match part {
            Part::Stretches(Stretches { at, len, pitch, place, stride, times, step }) => {
                let (mut first, stride, step) = place.map_or((0, 0, 0), |place| (place, stride, step));
                for out in out[at..at + (times - 1) * pitch + len].chunks_mut(pitch) {
                    let mut p = first;
                    for o in &mut out[..len] {
                        *o = p as u32;
                        p += stride;
                    }
                    first += step;
                }
            }
            Part::Column(column) => {
                let (mut p, step) = column.place.map_or((0, 0), |place| (place, column.step));
                for o in column.of_mut(out) {
                    *o = p as u32;
                    p += step;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts of windows on memory of all kinds, element by element.
    #[test]
    fn every_element_is_read_from_its_place() {
        let source: Vec<f32> = (0..4000).map(|k| k as f32).collect();
        let layout = |shape: &[usize], strides: &[isize], offset, bounds: &[(usize, usize)]| Layout {
            shape: shape.into(),
            strides: strides.into(),
            offset,
            bounds: bounds.into(),
        };
        for layout in [
            layout(&[40, 70], &[70, 1], 3, &[]),
            layout(&[40, 70], &[1, 40], 5, &[]),
            layout(&[7, 33, 5], &[165, 1, 33], 0, &[]),
            layout(&[3, 20, 6], &[2, 1, 3], 0, &[]),
            layout(&[5, 8, 4], &[0, 1, 0], 9, &[]),
            layout(&[4, 9, 3], &[3, 0, 1], 0, &[]),
            layout(&[6, 5, 4], &[-20, 4, -1], 110, &[]),
            layout(&[9, 8], &[8, 1], 0, &[(2, 7), (1, 8)]),
            layout(&[40, 70], &[1, 40], 5, &[(3, 38), (0, 70)]),
            layout(&[40, 70], &[1, 40], 5, &[(3, 38), (2, 69)]),
            layout(&[9, 20], &[-20, -1], 179, &[(1, 8), (3, 20)]),
            layout(&[3, 5, 20], &[100, 20, 1], 0, &[(1, 2), (4, 4), (0, 20)]),
            layout(&[30], &[7], 1, &[]),
            // Tiles, and what is left beside them.
            layout(&[35, 37], &[1, 40], 5, &[]),
            layout(&[2, 17, 33], &[600, 1, 18], 0, &[]),
            // Patterns of short axes, with bounds on them, before them and on the axis that they repeat along.
            layout(&[60, 2], &[3, 1], 2, &[]),
            layout(&[60, 2], &[2, 0], 2, &[(0, 60), (1, 2)]),
            layout(&[3, 20, 3, 3], &[100, 1, 30, 2], 0, &[]),
            layout(&[3, 20, 3, 3], &[100, 1, 30, 2], -31, &[(1, 3), (2, 19), (1, 3), (0, 2)]),
            layout(&[4, 9, 40, 2, 1, 3], &[0, 1, 9, -5, 7, 360], 5, &[]),
            layout(&[12, 5, 2], &[-7, 1, 90], 80, &[]),
            layout(&[2, 9, 4], &[5, 0, 1], 0, &[(0, 2), (3, 3), (0, 4)]),
            layout(&[], &[], 12, &[]),
        ] {
            let all = layout.shape.numel();
            let place = |mut index: usize| {
                let mut at = layout.offset;
                for axis in (0..layout.shape.len()).rev() {
                    let coordinate = index % layout.shape[axis];
                    index /= layout.shape[axis];
                    if !layout.bounds.get(axis).is_none_or(|&(lo, hi)| (lo..hi).contains(&coordinate)) {
                        return None;
                    }
                    at += coordinate as isize * layout.strides[axis];
                }
                Some(at as usize)
            };
            for (start, n) in [(0, all), (1.min(all - 1), all / 2), (all / 3, all - all / 3), (all - 1, 1)] {
                let (mut found, mut places) = (vec![-1f32; n], vec![0u32; n]);
                load(Source::F32(&source), &layout, start, Some(-2.0), LaneMut::F32(&mut found));
                let mut kept = vec![-3f32; n];
                load(Source::F32(&source), &layout, start, None, LaneMut::F32(&mut kept));
                super::place(&layout, start, LaneMut::U32(&mut places));
                for k in 0..n {
                    let expected = place(start + k).map_or(-2.0, |at| source[at]);
                    assert_eq!(found[k], expected, "{layout:?} from {start}, element {k}");
                    assert_eq!(
                        kept[k],
                        if expected == -2.0 { -3.0 } else { expected },
                        "{layout:?}, element {k}"
                    );
                    assert_eq!(places[k], place(start + k).unwrap_or(0) as u32, "{layout:?} from {start}");
                }
            }
        }
    }
}
