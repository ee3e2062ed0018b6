//! Native convolutions of many channels without columns: products of the filters with shifted planes.
//!
//! The planes are copied with zeros around them ([`planes`](super::planes)); then what lies under an element of the window, for
//! neighbouring places, is a run of a plane, also from row to row. A product reads such runs as the lines of its second
//! factor, so that windows are never laid out as columns. Sums between rows are of no use and are not stored.

mod weight;

use std::any::TypeId;
use std::ops::Range;

use bytemuck::{try_cast_slice, try_cast_slice_mut};
use pulp::x86::V3;
use smallvec::SmallVec;
use vorpal_tensor::Result;

pub(super) use weight::backward_weight;

use super::ConvShape;
use super::planes::{Copied, Cut, Plan};
use crate::gemm::has_widest;
use crate::gemm::panels::{PANEL, Shifted, laid_out};
use crate::interp::{for_each, workers};
use crate::scratch::Scratch;
use crate::vector::Number;

/// Numbers of a copy: half of a second cache.
const COPY: usize = 64 << 10;
/// Tasks for every core, so that one that was late does not hold up all.
const TASKS_A_CORE: usize = 4;
/// Pieces of a result at least, where it has rows enough, whatever the cores are.
const PIECES: usize = 8;
/// Pieces without which columns, which are shared out otherwise, are better.
const PIECES_MIN: usize = 4;
/// Terms of a sum at least: with few, the columns are few.
const TERMS_MIN: usize = 64;
/// Channels at least of a derivative by images: it makes so many columns.
const RESULTS_MIN: usize = 4;
/// Pixels at least that make use of filters which are laid out for them.
const PIXELS_MIN: usize = 512;
/// Elements of the window along the depth at most: all those that slices see together have filters laid out.
const DEPTH_MAX: usize = 8;
/// How many times as many cells columns would copy, at least.
const REUSE_MIN: usize = 2;

/// Whether so many may be made where fewer count.
fn is_near(made: usize, count: usize) -> bool {
    made * 10 <= count * 13
}

/// Elements of the window along the depth that places of a slice see, and the slices of the source under them.
type Seen = SmallVec<[[usize; 2]; 8]>;

/// The same sums as products with shifted planes.
fn planned(shape: &ConvShape, back: bool) -> Plan {
    let mut plan = Plan::new(shape, back, Cut { longest: 1, copy: COPY, rows: 1 });
    let [z, y, _] = &plan.axes;
    let bands = PIECES.div_ceil((shape.batch * shape.groups * z.to).max(1));
    plan.rows = plan.rows.min(y.steps().div_ceil(bands)).max(1);
    plan
}

/// Whether they take less time than with columns. On vectors of 512 bits that was not seen yet.
fn is_worth_it(shape: &ConvShape, plan: &Plan) -> bool {
    let [z, y, x] = &plan.axes;
    let (rows, width) = (y.count(0, 0..plan.rows), x.count(0, 0..x.steps()));
    let sums = (rows.saturating_sub(1) * (width + x.span) + width).next_multiple_of(PANEL);
    let (places, blocks) = (y.to_step * x.to_step, y.starts.len() * x.starts.len());
    let terms = plan.sources * shape.window_len();
    let enough = if plan.back { plan.results >= RESULTS_MIN } else { terms >= TERMS_MIN };
    let copied = REUSE_MIN * places.max(blocks) * (plan.rows + y.span);
    let pieces = shape.batch * shape.groups * z.to * y.steps().div_ceil(plan.rows);
    enough
        && pieces >= PIECES_MIN
        && shape.batch * shape.output_plane() >= PIXELS_MIN
        && shape.window_len() * plan.rows >= copied
        && is_near(sums, rows * width)
}

/// Whether there are the numbers and the vectors that this takes, and there is a plan: one of a derivative by images has as many
/// kinds of sums as windows have steps.
fn is_possible<T: 'static>(shape: &ConvShape, back: bool) -> bool {
    let places = if back { shape.stride[1].saturating_mul(shape.stride[2]) } else { 1 };
    let has_plan = shape.window[0] <= DEPTH_MAX && shape.window_len() / REUSE_MIN >= places;
    TypeId::of::<T>() == TypeId::of::<f32>() && has_plan && V3::try_new().is_some() && !has_widest()
}

/// Filters as rows of terms, for what sees the same elements.
struct Weights {
    group: usize,
    /// Number of the list of elements along the depth, and the place in a step of rows and columns.
    set: usize,
    place: usize,
    rows: Vec<f32>,
}

/// The sums of a convolution.
struct Sums<'a> {
    plan: Plan,
    planes: &'a [f32],
    /// Of each slice of a result.
    seen: Vec<Seen>,
    /// The elements along the depth that differ, and which of them each slice sees.
    sets: Vec<Vec<usize>>,
    set_of: Vec<usize>,
    weights: Vec<Weights>,
}

/// A part of a result that one task makes: some rows of a slice of all planes of a group.
struct Piece<'o> {
    group: usize,
    slice: usize,
    rows: Range<usize>,
    out: Vec<&'o mut [f32]>,
}

/// What a thread keeps from piece to piece.
#[derive(Default)]
struct Room {
    copied: Copied<f32>,
    offsets: Vec<usize>,
    sums: Scratch<f32>,
}

impl<'a> Sums<'a> {
    fn new(plan: Plan, planes: &'a [f32], filters: &[f32]) -> Result<Sums<'a>> {
        let seen: Vec<Seen> = (0..plan.axes[0].to).map(|slice| plan.axes[0].seen(slice).collect()).collect();
        let mut sets: Vec<Vec<usize>> = Vec::new();
        let mut set_of = Vec::with_capacity(seen.len());
        for seen in &seen {
            let set: Vec<usize> = seen.iter().map(|&[element, _]| element).collect();
            let known = sets.iter().position(|other| *other == set);
            set_of.push(known.unwrap_or(sets.len()));
            if known.is_none() {
                sets.push(set);
            }
        }
        let (places, groups) = (plan.runs.len(), plan.groups);
        let keys = (0..groups * sets.len() * places).map(|key| {
            let (group, set, place) = (key / places / sets.len(), key / places % sets.len(), key % places);
            Weights { group, set, place, rows: Vec::new() }
        });
        let mut weights: Vec<Weights> = keys.collect();
        for_each(weights.iter_mut().collect(), |weights: &mut Weights| {
            weights.fill(&plan, &sets, filters);
            Ok(())
        })?;
        Ok(Sums { plan, planes, seen, sets, set_of, weights })
    }

    fn weights(&self, group: usize, slice: usize, place: usize) -> &[f32] {
        let set = (group % self.plan.groups) * self.sets.len() + self.set_of[slice];
        &self.weights[set * self.plan.runs.len() + place].rows
    }

    /// Makes a piece.
    fn make(&self, piece: Piece<'_>, room: &mut Room) -> Result<()> {
        let (plan, Piece { group, slice, rows, mut out }) = (&self.plan, piece);
        let [z, y, x] = &plan.axes;
        let of_group = plan.sources * z.from * y.from * x.from;
        let (planes, seen) = (&self.planes[group * of_group..][..of_group], &self.seen[slice][..]);
        for band in plan.bands(rows) {
            room.copied.take(plan, (group, slice), planes, seen, &band);
            let [pitch, _] = plan.sizes(&band);
            for place in 0..plan.runs.len() {
                let (down, side) = (place / x.to_step, place % x.to_step);
                let (height, width) = (y.count(down, band.rows.clone()), x.count(side, band.columns.clone()));
                if height * width == 0 {
                    continue;
                }
                plan.offsets(seen, place, &band, &mut room.offsets);
                let first = down * x.to + band.columns.start * x.to_step + side;
                let steps = [y.to_step * x.to, x.to_step];
                let columns = (height - 1) * pitch + width;
                if room.offsets.is_empty() {
                    let none = |out: &mut &mut [f32]| {
                        put(out, first, steps, [pitch, width], 0, &vec![0.0; columns]);
                    };
                    out.iter_mut().for_each(none);
                    continue;
                }
                let (rows, cells) = (self.weights(group, slice, place), &room.copied.cells[..]);
                let factors = Shifted { rows, cells, offsets: &room.offsets };
                factors.product(columns, &mut room.sums, |[start, count], sums| {
                    let each = count.next_multiple_of(PANEL);
                    for (out, sums) in out.iter_mut().zip(sums.chunks_exact(each)) {
                        put(out, first, steps, [pitch, width], start, &sums[..count]);
                    }
                })?;
            }
        }
        Ok(())
    }
}

/// Stores neighbouring sums, the first of which is at `start`, as far as they are of places.
#[inline(always)]
fn put(
    out: &mut [f32],
    first: usize,
    [down, side]: [usize; 2],
    [pitch, width]: [usize; 2],
    start: usize,
    sums: &[f32],
) {
    let (mut row, mut column, mut at) = (start / pitch, start % pitch, 0);
    while at < sums.len() {
        let count = (width.max(column) - column).min(sums.len() - at);
        let (to, from) = (first + row * down + column * side, &sums[at..at + count]);
        match side {
            _ if count == 0 => {}
            1 => out[to..to + count].copy_from_slice(from),
            _ => out[to..].iter_mut().step_by(side).zip(from).for_each(|(out, &sum)| *out = sum),
        }
        at += pitch - column;
        (row, column) = (row + 1, 0);
    }
}

impl Weights {
    /// Brings the filters of a group into the order of the terms.
    fn fill(&mut self, plan: &Plan, sets: &[Vec<usize>], filters: &[f32]) {
        let mut from = Vec::new();
        for source in 0..plan.sources {
            for element in &sets[self.set] {
                let first = plan.filter(self.group, source, 0) + element * plan.of_slice();
                from.extend(plan.runs[self.place].iter().map(|run| first + run.elements[0]));
            }
        }
        let step = plan.filter(self.group, 0, 1) - plan.filter(self.group, 0, 0);
        self.rows.reserve_exact(plan.results * from.len());
        let follow = from.windows(2).all(|pair| pair[1] == pair[0] + 1);
        for result in 0..plan.results {
            match from.first() {
                Some(&first) if follow => {
                    self.rows.extend_from_slice(&filters[first + result * step..][..from.len()]);
                }
                _ => self.rows.extend(from.iter().map(|at| filters[at + result * step])),
            }
        }
        self.rows = laid_out(&self.rows, from.len());
    }
}

/// Calls `f` with all pieces of a result, on all cores.
fn pieces(
    plan: &Plan,
    out: &mut [f32],
    f: impl Fn(Piece<'_>, &mut Room) -> Result<()> + Sync + Send,
) -> Result<()> {
    let [z, y, x] = &plan.axes;
    let (of_slice, of_band) = (y.to * x.to, plan.rows * y.to_step * x.to);
    let bands = of_slice.div_ceil(of_band);
    let each = z.to * bands;
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    for (plane, out) in out.chunks_mut(of_slice * z.to).enumerate() {
        let group = plane / plan.results;
        for (slice, out) in out.chunks_mut(of_slice).enumerate() {
            for (band, out) in out.chunks_mut(of_band).enumerate() {
                if plane % plan.results == 0 {
                    let rows = band * plan.rows..((band + 1) * plan.rows).min(y.steps());
                    pieces.push(Piece { group, slice, rows, out: Vec::with_capacity(plan.results) });
                }
                pieces[group * each + slice * bands + band].out.push(out);
            }
        }
    }
    let size = pieces.len().div_ceil(TASKS_A_CORE * workers()).max(1);
    let (mut pieces, mut tasks) = (pieces.into_iter(), Vec::new());
    while pieces.len() > 0 {
        tasks.push(pieces.by_ref().take(size).collect::<Vec<_>>());
    }
    for_each(tasks, |pieces| {
        let mut room = Room::default();
        pieces.into_iter().try_for_each(|piece| f(piece, &mut room))
    })
}

/// Makes a result.
fn make(plan: Plan, planes: &[f32], filters: &[f32], out: &mut [f32]) -> Result<()> {
    let sums = Sums::new(plan, planes, filters)?;
    pieces(&sums.plan, out, |piece, room| sums.make(piece, room))
}

/// Makes a result, if this is the way to do it; whether it is done.
pub(super) fn sums<T: Number>(
    shape: &ConvShape,
    planes: &[T],
    filters: &[T],
    out: &mut [T],
    back: bool,
) -> Result<bool> {
    let numbers = (try_cast_slice(planes), try_cast_slice(filters), try_cast_slice_mut(out));
    let (true, (Ok(planes), Ok(filters), Ok(out))) = (is_possible::<T>(shape, back), numbers) else {
        return Ok(false);
    };
    let plan = planned(shape, back);
    let is = is_worth_it(shape, &plan);
    if is {
        make(plan, planes, filters, out)?;
    }
    Ok(is)
}
