//! What convolutions without columns read: copies of planes with zeros around them.
//!
//! What a band of the result sees is copied to where zeros lie around it. Where windows move by more than a pixel, each place
//! in a step has a block of its own, so that neighbours in a block are under the same element of neighbouring windows. The
//! derivative by the images is the same sum with sources and results exchanged; there each place in a step of the result
//! sees other elements.

use std::ops::Range;

use super::ConvShape;
use crate::scratch::Scratch;
use crate::vector::Number;

/// Columns of a band at most.
const COLUMNS_MAX: usize = 4096;
/// Numbers that may be read behind the last of a copy: three of the widest vectors.
const SLACK: usize = 48;

/// An element of the window along an axis: it sees the place `shift` further on than that of the result.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    pub element: usize,
    /// Number of the block, along the axis, that it sees.
    pub block: usize,
    pub shift: isize,
}

/// One axis of a sum. Places of the result are worked on `to_step` apart, and `from_step` apart are those of the source that
/// lie side by side in a block.
pub(super) struct Axis {
    pub from: usize,
    pub from_step: usize,
    pub to: usize,
    pub to_step: usize,
    /// The source place that each block starts at, were there no shifts.
    pub starts: Vec<isize>,
    /// Elements seen from the places of the result in a step, without those that never see any place of the source.
    pub taps: Vec<Vec<Tap>>,
    /// The least shift, and how much larger the largest is.
    pub low: isize,
    pub span: usize,
}

impl Axis {
    pub fn new(shape: &ConvShape, axis: usize, back: bool) -> Axis {
        let (stride, padding) = (shape.stride[axis], shape.padding[axis] as isize);
        let (input, output) = (shape.input[axis], shape.output[axis]);
        let (from, to) = if back { (output, input) } else { (input, output) };
        let (from_step, to_step) = if back { (1, stride) } else { (stride, 1) };
        let mut made =
            Axis { from, from_step, to, to_step, starts: vec![], taps: vec![], low: isize::MAX, span: 0 };
        let mut high = isize::MIN;
        for place in 0..to_step {
            let mut taps = Vec::new();
            let reached = if back { place as isize + padding } else { 0 };
            for element in 0..shape.window[axis] {
                let distance = element * shape.dilation[axis];
                let rest = (distance % stride) as isize;
                let steps = (distance / stride) as isize;
                let (start, shift) = match back {
                    false => (rest - padding, steps),
                    true if reached % stride as isize == rest => (0, reached / stride as isize - steps),
                    true => continue,
                };
                if !made.sees(place, start, shift) {
                    continue;
                }
                let known = made.starts.iter().position(|&other| other == start);
                let block = known.unwrap_or_else(|| {
                    made.starts.push(start);
                    made.starts.len() - 1
                });
                (made.low, high) = (made.low.min(shift), high.max(shift));
                taps.push(Tap { element, block, shift });
            }
            taps.sort_by_key(|tap| (tap.block, tap.shift));
            made.taps.push(taps);
        }
        if made.low <= high {
            made.span = (high - made.low) as usize;
        } else {
            made.low = 0;
        }
        made
    }

    /// Whether any place of the result sees one of the source.
    pub fn sees(&self, place: usize, start: isize, shift: isize) -> bool {
        let (step, count) = (self.from_step as isize, self.count(place, 0..self.steps()) as isize);
        let first = (-(start + step * shift)).max(0).div_euclid(step)..count;
        first.take(2).any(|j| (0..self.from as isize).contains(&(start + step * (j + shift))))
    }

    /// Steps of the result.
    pub fn steps(&self) -> usize {
        self.to.div_ceil(self.to_step)
    }

    /// How many of some steps have a place.
    pub fn count(&self, place: usize, steps: Range<usize>) -> usize {
        self.to.saturating_sub(place).div_ceil(self.to_step).min(steps.end).saturating_sub(steps.start)
    }

    /// Elements of the window and the source places that a place of the result sees under them.
    pub fn seen(&self, place: usize) -> impl Iterator<Item = [usize; 2]> {
        let step = (place / self.to_step) as isize;
        self.taps[place % self.to_step].iter().filter_map(move |tap| {
            let at = self.starts[tap.block] + self.from_step as isize * (step + tap.shift);
            (0..self.from as isize).contains(&at).then_some([tap.element, at as usize])
        })
    }

    /// Cells of a block, from that of step `first` on, that hold places of the source, and the first of these.
    pub fn inside(&self, block: usize, first: usize, cells: usize) -> (Range<usize>, usize) {
        let step = self.from_step as isize;
        let start = self.starts[block] + step * (first as isize + self.low);
        let before = (-start).max(0) as usize;
        let low = before.div_ceil(self.from_step).min(cells);
        let high = (self.from as isize - start).max(0) as usize;
        let high = high.div_ceil(self.from_step).clamp(low, cells);
        (low..high, (start + step * low as isize).max(0) as usize)
    }
}

/// Elements of the window below one another.
pub(super) struct Run {
    pub block: usize,
    /// Where it begins in its block.
    pub row: usize,
    pub column: usize,
    pub elements: Vec<usize>,
}

/// How results are cut into bands.
pub(super) struct Cut {
    /// Elements of a run at most.
    pub longest: usize,
    /// Numbers of a copy, about.
    pub copy: usize,
    /// Rows that bands have a multiple of, twice as many at least.
    pub rows: usize,
}

/// A convolution as sums over sources, the planes of a group.
pub(super) struct Plan {
    pub axes: [Axis; 3],
    pub sources: usize,
    pub results: usize,
    pub groups: usize,
    pub window: [usize; 3],
    pub back: bool,
    /// Whether results are single rows: then a tile is of vectors that follow one another.
    pub flat: bool,
    /// Elements of the window in runs, for every place in a step of rows and columns.
    pub runs: Vec<Vec<Run>>,
    /// Steps of a band.
    pub rows: usize,
    pub columns: usize,
}

impl Plan {
    pub fn new(shape: &ConvShape, back: bool, cut: Cut) -> Plan {
        let axes = [0, 1, 2].map(|axis| Axis::new(shape, axis, back));
        let [_, y, x] = &axes;
        let flat = y.to == 1;
        let longest = if flat { 1 } else { cut.longest };
        let places = y.taps.iter().flat_map(|rows| x.taps.iter().map(move |columns| (rows, columns)));
        let runs =
            places.map(|(rows, columns)| runs(&axes, rows, columns, longest, shape.window[2])).collect();
        let (sources, results) =
            if back { (shape.filters, shape.channels) } else { (shape.channels, shape.filters) };
        let columns = x.steps().clamp(1, COLUMNS_MAX);
        let blocks = sources * axes[0].taps.iter().map(Vec::len).max().unwrap_or(0) * y.starts.len();
        let row = (blocks * x.starts.len() * (columns + x.span)).max(1);
        let most = (cut.copy / row).saturating_sub(y.span).max(2 * cut.rows);
        let bands = y.steps().div_ceil(most).max(1);
        let rows = y.steps().div_ceil(bands).next_multiple_of(cut.rows);
        let (groups, window) = (shape.groups, shape.window);
        Plan { axes, sources, results, groups, window, back, flat, runs, rows, columns }
    }

    /// Elements of a filter that see one slice.
    pub fn of_slice(&self) -> usize {
        self.window[1] * self.window[2]
    }

    /// First element of the filter between a source and a result of a group.
    pub fn filter(&self, group: usize, source: usize, result: usize) -> usize {
        let (rows, columns) = (self.results, self.sources);
        let of_group = if self.back { source * rows + result } else { result * columns + source };
        (group % self.groups * rows * columns + of_group) * self.window[0] * self.of_slice()
    }

    /// Numbers of a row of a block, and of a block.
    pub fn sizes(&self, band: &Band) -> [usize; 2] {
        let pitch = band.columns.len() + self.axes[2].span;
        [pitch, (band.rows.len() + self.axes[1].span) * pitch]
    }

    /// Where what lies under each element of the window begins in a copy, for one place in a step: of every source all slices
    /// that are seen.
    #[cfg(target_arch = "x86_64")]
    pub fn offsets(&self, seen: &[[usize; 2]], place: usize, band: &Band, out: &mut Vec<usize>) {
        let ([pitch, len], each) = (self.sizes(band), self.axes[1].starts.len() * self.axes[2].starts.len());
        out.clear();
        for slice in 0..self.sources * seen.len() {
            let first = |run: &Run| (slice * each + run.block) * len + run.row * pitch + run.column;
            out.extend(self.runs[place].iter().map(first));
        }
    }

    /// The bands of columns.
    pub fn bands(&self, rows: Range<usize>) -> impl Iterator<Item = Band> {
        let all = self.axes[2].steps();
        (0..all).step_by(self.columns).map(move |start| {
            let columns = start..(start + self.columns).min(all);
            Band { rows: rows.clone(), columns }
        })
    }
}

/// Runs of elements that see rows below one another in one block.
fn runs(axes: &[Axis; 3], rows: &[Tap], columns: &[Tap], longest: usize, width: usize) -> Vec<Run> {
    let [_, y, x] = axes;
    let mut made = Vec::new();
    let below = |a: &Tap, b: &Tap| a.block == b.block && a.shift + 1 == b.shift;
    for run in
        rows.chunk_by(below).flat_map(|run| run.chunks(run.len().div_ceil(run.len().div_ceil(longest))))
    {
        made.extend(columns.iter().map(|tap| Run {
            block: run[0].block * x.starts.len() + tap.block,
            row: (run[0].shift - y.low) as usize,
            column: (tap.shift - x.low) as usize,
            elements: run.iter().map(|row| row.element * width + tap.element).collect(),
        }));
    }
    made
}

/// Steps of rows and columns of a result that are made from one copy.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Band {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

/// A copy of what a band sees.
#[derive(Default)]
pub(super) struct Copied<T> {
    pub cells: Scratch<T>,
    /// What is copied: group, slice of the result, band.
    pub holds: Option<(usize, usize, Band)>,
    /// Number of blocks and band around whose places zeros lie.
    pub clear: Option<(usize, Band)>,
}

impl<T: Number> Copied<T> {
    /// Copies what a band of a slice sees: of the planes of a group those slices that are told.
    pub fn take(
        &mut self,
        plan: &Plan,
        (group, slice): (usize, usize),
        planes: &[T],
        seen: &[[usize; 2]],
        band: &Band,
    ) {
        let wanted = (group, slice, band.clone());
        if self.holds.as_ref() == Some(&wanted) {
            return;
        }
        self.holds = Some(wanted);
        let [z, y, x] = &plan.axes;
        let ([pitch, len], each) = (plan.sizes(band), y.starts.len() * x.starts.len());
        if each == 0 {
            return;
        }
        let clear = (plan.sources * seen.len() * each, band.clone());
        if self.clear.as_ref() != Some(&clear) {
            // Vectors reach over the end.
            self.cells.resize(clear.0 * len + SLACK);
            self.cells.fill(T::default());
            self.clear = Some(clear);
        }
        let size = y.from * x.from;
        let blocks = self.cells.chunks_exact_mut(len * each);
        let slices = (0..plan.sources).flat_map(|s| seen.iter().map(move |&[_, at]| s * z.from + at));
        for (blocks, slice) in blocks.zip(slices) {
            let plane = &planes[slice * size..][..size];
            for (block, cells) in blocks.chunks_exact_mut(len).enumerate() {
                let (down, side) = (block / x.starts.len(), block % x.starts.len());
                let (rows, first) = y.inside(down, band.rows.start, len / pitch);
                let (columns, left) = x.inside(side, band.columns.start, pitch);
                if columns.is_empty() {
                    continue;
                }
                let to = cells.chunks_exact_mut(pitch).skip(rows.start).take(rows.len());
                let from = plane.chunks_exact(x.from).skip(first).step_by(y.from_step);
                for (to, from) in to.zip(from) {
                    copy(&mut to[columns.clone()], &from[left..], x.from_step);
                }
            }
        }
    }
}

/// Every `step`-th of some numbers.
#[inline(always)]
fn copy<T: Number>(to: &mut [T], from: &[T], step: usize) {
    match step {
        1 => to.copy_from_slice(&from[..to.len()]),
        // A step that is known makes vector code.
        2 => to.iter_mut().zip(from.iter().step_by(2)).for_each(|(to, &x)| *to = x),
        _ => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, &x)| *to = x),
    }
}
