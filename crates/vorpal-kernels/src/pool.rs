//! Pooling: maxima and sums of windows that move over planes, and their adjoints.

use std::ops::{AddAssign, Range};

use vorpal_shaders::{Linker, POOL_MAX, POOL_MAX_BACKWARD, POOL_SUM, POOL_SUM_BACKWARD, Shader};
use vorpal_tensor::{DType, Element, Result};

use crate::conv::{by, of_window};
use crate::interp::{TASK, for_each};
use crate::lane::vectorized;
use crate::{Arg, Cost, CpuRun, Kernel, LaneElement, spread};

/// Elements a window may have: software adapters end longer loops early.
pub const POOL_WINDOW_MAX: usize = 60_000;

/// Sizes of a pooling of planes. Lists are (depth, height, width); planes of fewer axes have depth (and height) 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Planes: images times channels.
    pub planes: usize,
    /// Pixels of a plane.
    pub input: [usize; 3],
    /// Elements of the window; of the largest if it is adaptive.
    pub window: [usize; 3],
    /// Pixels of a result: as many places of the window as are wanted.
    pub output: [usize; 3],
    /// Steps of the window.
    pub stride: [usize; 3],
    /// Pixels outside in front of each axis. Behind it there are as many as the places of the window reach over.
    pub padding: [usize; 3],
    /// Distance of the elements of the window.
    pub dilation: [usize; 3],
    /// Whether window i of n along an axis of s pixels reaches from ⌊i s ∕ n⌋ to ⌈(i + 1) s ∕ n⌉, instead of moving by
    /// steps. Stride and dilation must then be 1 and padding 0, and s n below 2³¹.
    pub adaptive: bool,
}

/// The pixels of a window along an axis.
#[derive(Clone, Copy, Debug)]
struct Pixels {
    first: usize,
    count: usize,
    step: usize,
}

impl Pixels {
    fn iter(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |k| self.first + k * self.step)
    }
}

impl PoolShape {
    /// A pooling into `output` windows that share out all pixels.
    pub fn adaptive(planes: usize, input: [usize; 3], output: [usize; 3]) -> PoolShape {
        let mut window = [1; 3];
        for (axis, largest) in window.iter_mut().enumerate() {
            let (size, parts) = (input[axis], output[axis].max(1));
            // The part that starts deepest within a pixel reaches over one more.
            *largest = if size % parts == 0 { size / parts } else { (size / parts + 2).min(size) };
        }
        let (stride, padding, dilation) = ([1; 3], [0; 3], [1; 3]);
        PoolShape { planes, input, window, output, stride, padding, dilation, adaptive: true }
    }

    /// Elements of all planes.
    pub fn input_len(&self) -> usize {
        self.planes * self.input.iter().product::<usize>()
    }
    /// Elements of all results.
    pub fn output_len(&self) -> usize {
        self.planes * self.output.iter().product::<usize>()
    }

    /// The pixels of window `o` along an axis.
    fn pixels(&self, axis: usize, o: usize) -> Pixels {
        let size = self.input[axis];
        if self.adaptive {
            let first = o * size / self.output[axis];
            return Pixels { first, count: ((o + 1) * size).div_ceil(self.output[axis]) - first, step: 1 };
        }
        let (start, step) = (o * self.stride[axis], self.dilation[axis]);
        let before = self.padding[axis].saturating_sub(start).div_ceil(step);
        let until = (size + self.padding[axis]).saturating_sub(start).div_ceil(step).min(self.window[axis]);
        let first = (start + before * step).saturating_sub(self.padding[axis]);
        Pixels { first, count: until.saturating_sub(before), step }
    }

    /// The pixels of every window along every axis.
    fn windows(&self) -> [Vec<Pixels>; 3] {
        [0, 1, 2].map(|axis| (0..self.output[axis]).map(|o| self.pixels(axis, o)).collect())
    }

    /// Calls `f` for every run of windows of a plane with one element of each that is inside. The elements of a window
    /// come in order.
    fn each(&self, windows: &[Vec<Pixels>; 3], mut f: impl FnMut(Run)) {
        let [depths, lines, columns] = windows;
        let runs = self.runs(columns);
        for (oz, z) in depths.iter().enumerate() {
            for (oy, y) in lines.iter().enumerate() {
                let o = (oz * lines.len() + oy) * columns.len();
                for line in z.iter().flat_map(|iz| y.iter().map(move |iy| iz * self.input[1] + iy)) {
                    let i = line * self.input[2];
                    runs.iter()
                        .for_each(|run| f(Run { output: o + run.output, input: i + run.input, ..*run }));
                }
            }
        }
    }

    /// The runs of one line: windows next to one another at one element, in the order of elements.
    fn runs(&self, columns: &[Pixels]) -> Vec<Run> {
        if self.adaptive {
            // Neighbours need not be equally far apart.
            let one = |(o, x): (usize, &Pixels)| {
                x.iter().map(move |i| Run { output: o, input: i, step: 1, len: 1 }).collect::<Vec<_>>()
            };
            return columns.iter().enumerate().flat_map(one).collect();
        }
        let (stride, padding, size) = (self.stride[2], self.padding[2], self.input[2]);
        let of_element = |k: usize| {
            let shift = k * self.dilation[2];
            let from = padding.saturating_sub(shift).div_ceil(stride);
            let to = (size + padding).saturating_sub(shift).div_ceil(stride).min(columns.len());
            let input = (from * stride + shift).saturating_sub(padding);
            (from < to).then(|| Run { output: from, input, step: stride, len: to - from })
        };
        (0..self.window[2]).filter_map(of_element).collect()
    }
}

/// Windows next to one another, and an element of each: window `output + k` and pixel `input + k · step`.
#[derive(Clone, Copy, Debug)]
struct Run {
    output: usize,
    input: usize,
    step: usize,
    len: usize,
}

impl Run {
    fn windows(&self) -> Range<usize> {
        self.output..self.output + self.len
    }

    /// From the first pixel to the last.
    fn pixels(&self) -> Range<usize> {
        self.input..self.input + (self.len - 1) * self.step + 1
    }
}

/// What is done with the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolPass {
    /// Place in its plane (`U32`) of the maximum: the first of equal ones, the first NaN if there is one; the padding is
    /// never it. Every window must hold a pixel.
    MaxPlace,
    /// From values at the windows and their places: every pixel is the sum of the values whose place it is.
    MaxBackward,
    /// Sum; the padding counts as zeros.
    Sum,
    /// Every pixel is the sum of the values at the windows that hold it.
    SumBackward,
}

/// A pooling of gapless planes.
#[derive(Clone, Debug)]
pub struct Pool {
    shape: PoolShape,
    pass: PoolPass,
    dtype: DType,
    offsets: [usize; 2],
}

impl Pool {
    /// A pass over elements of `dtype` (f32; natively f64, too) that start at the first of `offsets`; places start at
    /// the second.
    pub fn new(shape: PoolShape, pass: PoolPass, dtype: DType, offsets: [usize; 2]) -> Pool {
        Pool { shape, pass, dtype, offsets }
    }

    fn len(&self) -> usize {
        match self.pass {
            PoolPass::MaxPlace | PoolPass::Sum => self.shape.output_len(),
            PoolPass::MaxBackward | PoolPass::SumBackward => self.shape.input_len(),
        }
    }

    fn native<T>(&self, run: &mut CpuRun<'_>) -> Result<()>
    where
        T: Element<Stored = T> + bytemuck::Pod + LaneElement + AddAssign,
    {
        if self.len() == 0 {
            return Ok(());
        }
        let shape = self.shape;
        let (input, output): (usize, usize) = (shape.input.iter().product(), shape.output.iter().product());
        let windows = shape.windows();
        let x = &run.read::<T>(0)?[self.offsets[0]..];
        match self.pass {
            PoolPass::MaxPlace => {
                // Some planes at a time, which share what is made in advance.
                let planes = (TASK / input.max(1)).max(1);
                let tasks =
                    run.write::<u32>(1)?.chunks_mut(planes * output).zip(x.chunks(planes * input)).collect();
                for_each(tasks, |(out, x): (&mut [u32], &[T])| {
                    let planes = out.chunks_mut(output).zip(x.chunks(input));
                    if shape.adaptive {
                        planes.for_each(|(out, x)| max_places_adaptive(&shape, &windows, x, out));
                        return Ok(());
                    }
                    let mut places = MaxPlaces::new(&shape, &windows);
                    vectorized(
                        #[inline(always)]
                        || {
                            for (out, x) in planes {
                                places.find(x, out);
                            }
                        },
                    );
                    Ok(())
                })
            }
            PoolPass::Sum => {
                let tasks = run.write::<T>(1)?.chunks_mut(output).zip(x.chunks(input)).collect();
                for_each(tasks, |(out, x): (&mut [T], &[T])| {
                    out.fill(T::default());
                    shape.each(&windows, |run| {
                        let pixels = x[run.pixels()].iter().step_by(run.step);
                        out[run.windows()].iter_mut().zip(pixels).for_each(|(o, &x)| *o += x);
                    });
                    Ok(())
                })
            }
            PoolPass::SumBackward => {
                let out = run.write::<T>(1)?;
                out.fill(T::default());
                let tasks = out.chunks_mut(input).zip(x.chunks(output.max(1))).collect();
                for_each(tasks, |(out, dy): (&mut [T], &[T])| {
                    shape.each(&windows, |run| {
                        let pixels = out[run.pixels()].iter_mut().step_by(run.step);
                        pixels.zip(&dy[run.windows()]).for_each(|(o, &dy)| *o += dy);
                    });
                    Ok(())
                })
            }
            PoolPass::MaxBackward => {
                let places = &run.read::<u32>(1)?[self.offsets[1]..];
                let out = run.write::<T>(2)?;
                out.fill(T::default());
                let values = x.chunks(output.max(1)).zip(places.chunks(output.max(1)));
                let tasks = out.chunks_mut(input).zip(values).collect();
                for_each(tasks, |(out, (dy, places)): (&mut [T], (&[T], &[u32]))| {
                    for (&dy, &place) in dy.iter().zip(places) {
                        if let Some(out) = out.get_mut(place as usize) {
                            *out += dy;
                        }
                    }
                    Ok(())
                })
            }
        }
    }
}

/// Windows whose maxima are looked for at a time: as many as the widest vectors hold.
const WIDE: usize = 16;

/// Whether a value is a greater maximum than the one so far: of equal ones the first stays, and a NaN is better than any
/// number. Without branches, which would be guesses.
#[inline(always)]
fn is_better<T: LaneElement>(value: T, best: T) -> bool {
    (value > best) | (value.nan() & !best.nan())
}

/// Finds the places of the maxima of planes whose windows move by steps. A plane is laid out so that the pixels under one
/// element of neighbouring windows are neighbours: those whose place along a line has the same remainder by the step lie
/// together, with a lowest value wherever a window reaches over the line.
struct MaxPlaces<'s, T> {
    shape: &'s PoolShape,
    /// Windows along the first two axes.
    windows: [&'s [Pixels]; 2],
    /// First pixels of the windows along a line; `u32::MAX` where a window has none.
    columns: Vec<u32>,
    /// For every element of a line of the window: where the pixels under it lie, and how far its pixel is from the start of
    /// the window.
    elements: Vec<(usize, u32)>,
    /// Cells of a line with one remainder, and of all lines with it.
    line: usize,
    remainder: usize,
    cells: Vec<T>,
}

impl<'s, T: LaneElement> MaxPlaces<'s, T> {
    fn new(shape: &'s PoolShape, windows: &'s [Vec<Pixels>; 3]) -> MaxPlaces<'s, T> {
        let [depths, lines, columns] = windows;
        let (stride, padding, width) = (shape.stride[2], shape.padding[2], shape.input[2]);
        let reach = |k: usize| k * shape.dilation[2];
        let under_last = columns.len() + reach(shape.window[2] - 1) / stride;
        let line = (width + padding).div_ceil(stride).max(under_last);
        // Behind the last line there is room for the windows that are looked at only to have as many as a vector holds.
        let remainder = shape.input[0] * shape.input[1] * line + WIDE;
        let first = |x: &Pixels| if x.count > 0 { x.first as u32 } else { u32::MAX };
        let element = |k: usize| {
            let at = reach(k) % stride * remainder + reach(k) / stride;
            (at, (reach(k) as u32).wrapping_sub(padding as u32))
        };
        let mut columns: Vec<u32> = columns.iter().map(first).collect();
        columns.resize(columns.len().next_multiple_of(WIDE), u32::MAX);
        MaxPlaces {
            shape,
            windows: [depths, lines],
            columns,
            elements: (0..shape.window[2]).map(element).collect(),
            line,
            remainder,
            cells: vec![T::LOWEST; stride * remainder],
        }
    }

    /// Lays out a plane. What lies outside of lines stays as it is.
    #[inline(always)]
    fn lay_out(&mut self, x: &[T]) {
        let (stride, padding, width) = (self.shape.stride[2], self.shape.padding[2], self.shape.input[2]);
        if padding == 0 && width == stride * self.line {
            // Lines follow one another without gaps, like one.
            return lay_out(x, stride, 0, self.remainder, &mut self.cells);
        }
        for (k, x) in x.chunks_exact(width).enumerate() {
            lay_out(x, stride, padding, self.remainder, &mut self.cells[k * self.line..]);
        }
    }

    /// The places of the maxima of a plane.
    #[inline(always)]
    fn find(&mut self, x: &[T], out: &mut [u32]) {
        self.lay_out(x);
        let [depths, lines] = self.windows;
        let width = self.shape.output[2];
        for (oz, z) in depths.iter().enumerate() {
            for (oy, y) in lines.iter().enumerate() {
                let out = &mut out[(oz * lines.len() + oy) * width..];
                for from in (0..width).step_by(WIDE) {
                    let places = self.of_windows(z, y, from);
                    // What is too much at the end of a line is written over by the next one.
                    match out[from..].first_chunk_mut::<WIDE>() {
                        Some(out) => *out = places,
                        None => {
                            let count = (width - from).min(WIDE);
                            out[from..from + count].copy_from_slice(&places[..count]);
                        }
                    }
                }
            }
        }
    }

    /// The places of the maxima of the windows of a line from one of them on.
    #[inline(always)]
    fn of_windows(&self, z: &Pixels, y: &Pixels, from: usize) -> [u32; WIDE] {
        let [_, height, width] = self.shape.input;
        let stride = self.shape.stride[2] as u32;
        let mut places = [u32::MAX; WIDE];
        if z.count.min(y.count) == 0 {
            return places;
        }
        let first = ((z.first * height + y.first) * width) as u32;
        for (place, &column) in places.iter_mut().zip(&self.columns[from..]) {
            *place = if column == u32::MAX { column } else { first + column };
        }
        let mut best = [T::LOWEST; WIDE];
        for line in (0..z.count).flat_map(|kz| (0..y.count).map(move |ky| (kz, ky))).map(
            #[inline(always)]
            |(kz, ky)| (z.first + kz * z.step) * height + y.first + ky * y.step,
        ) {
            let start = (line * width + from * self.shape.stride[2]) as u32;
            for &(at, shift) in &self.elements {
                let Some(values) = self.cells[at + line * self.line + from..].first_chunk::<WIDE>() else {
                    continue;
                };
                let start = start.wrapping_add(shift);
                for k in 0..WIDE {
                    let better = is_better(values[k], best[k]);
                    places[k] = if better { start.wrapping_add(k as u32 * stride) } else { places[k] };
                    best[k] = if better { values[k] } else { best[k] };
                }
            }
        }
        places
    }
}

/// Lays out a line: the pixel at `i + padding` by its remainder by the step, of which each has as many cells.
#[inline(always)]
fn lay_out<T: Copy>(x: &[T], stride: usize, padding: usize, remainder: usize, cells: &mut [T]) {
    match stride {
        1 => cells[padding..padding + x.len()].copy_from_slice(x),
        2 => {
            let (even, odd) = cells.split_at_mut(remainder);
            let (single, x) = x.split_at((padding % 2).min(x.len()));
            let at = padding / 2;
            odd[at..at + single.len()].copy_from_slice(single);
            let at = at + single.len();
            let (pairs, last) = x.as_chunks::<2>();
            let both = even[at..].iter_mut().zip(&mut odd[at..]);
            for ((even, odd), pair) in both.zip(pairs) {
                (*even, *odd) = (pair[0], pair[1]);
            }
            even[at + pairs.len()..][..last.len()].copy_from_slice(last);
        }
        _ => {
            for (rest, cells) in cells.chunks_mut(remainder).take(stride).enumerate() {
                // The first pixel with this remainder.
                let first = (rest + stride - padding % stride) % stride;
                let pixels = x.iter().skip(first).step_by(stride);
                cells[(first + padding) / stride..].iter_mut().zip(pixels).for_each(|(o, &x)| *o = x);
            }
        }
    }
}

/// Places of the maxima of a plane with windows that share out its pixels.
fn max_places_adaptive<T: LaneElement>(
    shape: &PoolShape,
    windows: &[Vec<Pixels>; 3],
    x: &[T],
    out: &mut [u32],
) {
    let [depths, lines, columns] = windows;
    let all =
        depths.iter().flat_map(|z| lines.iter().flat_map(move |y| columns.iter().map(move |x| [z, y, x])));
    for (out, [z, y, columns]) in out.iter_mut().zip(all) {
        let lines =
            z.iter().flat_map(|iz| y.iter().map(move |iy| (iz * shape.input[1] + iy) * shape.input[2]));
        let mut pixels = lines.flat_map(|line| columns.iter().map(move |ix| line + ix));
        let first = pixels.next();
        let better = |best, i| if is_better(x[i], x[best]) { i } else { best };
        *out = first.map_or(u32::MAX, |first| pixels.fold(first, better) as u32);
    }
}

impl Kernel for Pool {
    fn name(&self) -> &'static str {
        match self.pass {
            PoolPass::MaxPlace => "pool_max",
            PoolPass::MaxBackward => "pool_max_backward",
            PoolPass::Sum => "pool_sum",
            PoolPass::SumBackward => "pool_sum_backward",
        }
    }

    fn describe(&self) -> String {
        let PoolShape { planes, input, window, .. } = self.shape;
        let adaptive = if self.shape.adaptive { "adaptive " } else { "" };
        format!("{} {planes}×{} {adaptive}window {}", self.name(), by(input), by(window))
    }

    fn args(&self) -> Vec<Arg> {
        let (input, output) = (self.shape.input_len(), self.shape.output_len());
        let [first, second] = self.offsets;
        let read = |len: usize| Arg::read(self.dtype, first + len);
        match self.pass {
            PoolPass::MaxPlace => vec![read(input), Arg::write(DType::U32, output)],
            PoolPass::Sum => vec![read(input), Arg::write(self.dtype, output)],
            PoolPass::SumBackward => vec![read(output), Arg::write(self.dtype, input)],
            PoolPass::MaxBackward => {
                vec![read(output), Arg::read(DType::U32, second + output), Arg::write(self.dtype, input)]
            }
        }
    }

    fn shader(&self) -> Result<Shader> {
        let shape = &self.shape;
        let linker = match self.pass {
            PoolPass::MaxPlace => Linker::new(POOL_MAX),
            PoolPass::Sum => Linker::new(POOL_SUM),
            PoolPass::SumBackward => Linker::new(POOL_SUM_BACKWARD),
            PoolPass::MaxBackward => {
                Linker::new(POOL_MAX_BACKWARD).constant("PLACES_OFFSET", self.offsets[1])
            }
        };
        let linker = linker
            .constant("X_OFFSET", self.offsets[0])
            .constant("PLANES", shape.planes)
            .constant("ADAPTIVE", usize::from(shape.adaptive));
        let (input, output) = (shape.input.map(|n| n.max(1)), shape.output.map(|n| n.max(1)));
        let lists = [input, output, shape.window, shape.stride, shape.padding, shape.dilation];
        Ok(of_window(linker, lists).finish())
    }

    fn groups(&self) -> [u32; 3] {
        spread(self.len().div_ceil(64))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.dtype == DType::F64 { self.native::<f64>(&mut run) } else { self.native::<f32>(&mut run) }
    }

    fn cost(&self) -> Cost {
        let looked_at = self.shape.output_len() * self.shape.window.iter().product::<usize>();
        let bytes: usize = self.args().iter().map(|a| a.dtype.bytes(a.len)).sum();
        Cost { flops: looked_at as u64, bytes: bytes as u64 }
    }
}
