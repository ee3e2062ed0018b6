//! The derivative by the filters of convolutions of groups of few channels: for every element of the window the product of
//! the result's cotangent with a shifted plane, as sums that stay in registers while rows go by.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use smallvec::SmallVec;
use vorpal_tensor::Result;

use super::{TALL, cut};
use crate::conv::ConvShape;
use crate::conv::planes::{Copied, Plan, Run};
use crate::interp::{for_each, workers};
use crate::vector::Number;

/// Pixels of images after which sums are added to those of the images before: longer ones would lose digits.
const PIXELS_SUMMED: usize = 1 << 13;

/// Runs that are summed at once at most.
const WIDE: usize = 3;

/// How many runs of some elements fit into registers: each element has a sum and a row.
const fn wide(registers: usize, tall: usize) -> usize {
    let most = (registers - 2) / (2 * tall);
    if most > WIDE {
        WIDE
    } else if most < 1 {
        1
    } else {
        most
    }
}

/// Sets the derivative of the filters of some groups to what some images give.
pub(super) struct Products<'o, 'a, T> {
    plan: &'a Plan,
    shape: &'a ConvShape,
    x: &'a [T],
    dy: &'a [T],
    images: Range<usize>,
    groups: Range<usize>,
    out: &'o mut [T],
}

/// Rows of a vector of products: where they begin in the copy and in the cotangent, how many there are, and of how many
/// columns.
#[derive(Clone, Copy)]
struct Strip {
    from: usize,
    to: usize,
    rows: usize,
    columns: usize,
}

/// What is multiplied: the copy and a slice of the cotangent, with the distances of rows.
struct Factors<'a, T> {
    cells: &'a [T],
    grads: &'a [T],
    from_step: usize,
    to_step: usize,
    strips: &'a [Strip],
}

impl<T: Number> WithSimd for Products<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Products { plan, shape, x, dy, images, groups, out } = self;
        let [z, y, columns] = &plan.axes;
        let (of_image, of_slice) = (plan.sources * shape.input_plane(), y.to * columns.to);
        let len = plan.sources * plan.results * shape.window_len();
        let lanes = T::lanes::<S>();
        let (mut copied, mut sums) = (Copied::default(), vec![T::default(); len * lanes]);
        let mut strips = Vec::new();
        for (group, out) in groups.zip(out.chunks_exact_mut(len)) {
            sums.fill(T::default());
            out.fill(T::default());
            let mut pixels = 0;
            for image in images.clone() {
                let group = image * plan.groups + group;
                let planes = &x[group * of_image..][..of_image];
                for slice in 0..z.to {
                    let seen: SmallVec<[[usize; 2]; 8]> = z.seen(slice).collect();
                    for band in (0..y.to)
                        .step_by(plan.rows)
                        .flat_map(|row| plan.bands(row..(row + plan.rows).min(y.to)))
                    {
                        copied.take(plan, (group, slice), planes, &seen, &band);
                        let [pitch, block] = plan.sizes(&band);
                        let first = band.rows.start * columns.to + band.columns.start;
                        let steps = lay_out(
                            plan.flat,
                            [&band.rows, &band.columns],
                            [pitch, columns.to],
                            lanes,
                            &mut strips,
                        );
                        let each = y.starts.len() * columns.starts.len();
                        for result in 0..plan.results {
                            let plane = (group * plan.results + result) * z.to + slice;
                            let factors = Factors {
                                cells: &copied.cells,
                                grads: &dy[plane * of_slice..][..of_slice][first..],
                                from_step: steps[0],
                                to_step: steps[1],
                                strips: &strips,
                            };
                            let slices =
                                (0..plan.sources).flat_map(|s| seen.iter().map(move |&[e, _]| (s, e)));
                            for (k, (source, element)) in slices.enumerate() {
                                let at = plan.filter(0, source, result) + element * plan.of_slice();
                                let sums = &mut sums[at * lanes..];
                                let start =
                                    |run: &Run| (k * each + run.block) * block + run.row * pitch + run.column;
                                factors.add(s, &plan.runs[0], &start, pitch, sums);
                            }
                        }
                    }
                }
                pixels += shape.output_plane();
                if pixels >= PIXELS_SUMMED || image + 1 == images.end {
                    pixels = 0;
                    for (out, sums) in out.iter_mut().zip(sums.chunks_exact_mut(lanes)) {
                        let mut sum = T::default();
                        sums.iter().for_each(|&x| sum += x);
                        *out += sum;
                    }
                    sums.fill(T::default());
                }
            }
        }
    }
}

/// Lists the strips of a band and tells the distances of their rows.
fn lay_out(
    flat: bool,
    [rows, columns]: [&Range<usize>; 2],
    pitches: [usize; 2],
    lanes: usize,
    strips: &mut Vec<Strip>,
) -> [usize; 2] {
    strips.clear();
    let width = columns.len();
    if flat {
        let whole = width / lanes;
        let ends = [(0, whole, lanes), (whole * lanes, 1, width % lanes)];
        let ends = ends.into_iter().filter(|&(_, rows, columns)| rows * columns > 0);
        strips.extend(ends.map(|(at, rows, columns)| Strip { from: at, to: at, rows, columns }));
        return [lanes; 2];
    }
    let starts = (0..width).step_by(lanes);
    strips.extend(starts.map(|at| Strip {
        from: at,
        to: at,
        rows: rows.len(),
        columns: (width - at).min(lanes),
    }));
    pitches
}

impl<T: Number> Factors<'_, T> {
    /// Adds to the sums of every element of some runs.
    #[inline(always)]
    fn add<S: Simd>(&self, s: S, runs: &[Run], start: &impl Fn(&Run) -> usize, pitch: usize, sums: &mut [T]) {
        let alike = |a: &Run, b: &Run| a.row == b.row && a.elements.len() == b.elements.len();
        for alike in runs.chunk_by(alike) {
            match alike[0].elements.len() {
                1 => self.add_runs::<S, 1>(s, alike, start, pitch, sums),
                2 => self.add_runs::<S, 2>(s, alike, start, pitch, sums),
                3 => self.add_runs::<S, 3>(s, alike, start, pitch, sums),
                4 => self.add_runs::<S, 4>(s, alike, start, pitch, sums),
                5 => self.add_runs::<S, 5>(s, alike, start, pitch, sums),
                6 => self.add_runs::<S, 6>(s, alike, start, pitch, sums),
                _ => self.add_runs::<S, TALL>(s, alike, start, pitch, sums),
            }
        }
    }

    /// The same for runs of `R` elements.
    #[inline(always)]
    fn add_runs<S: Simd, const R: usize>(
        &self,
        s: S,
        runs: &[Run],
        start: &impl Fn(&Run) -> usize,
        pitch: usize,
        sums: &mut [T],
    ) {
        for runs in runs.chunks(wide(S::REGISTER_COUNT, R)) {
            for strip in self.strips {
                match runs {
                    [a, b, c] if wide(S::REGISTER_COUNT, R) >= 3 => {
                        self.strip::<S, R, 3>(s, [a, b, c], start, pitch, strip, sums);
                    }
                    [a, b] if wide(S::REGISTER_COUNT, R) >= 2 => {
                        self.strip::<S, R, 2>(s, [a, b], start, pitch, strip, sums);
                    }
                    _ => {
                        runs.iter().for_each(|run| self.strip::<S, R, 1>(s, [run], start, pitch, strip, sums))
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn strip<S: Simd, const R: usize, const C: usize>(
        &self,
        s: S,
        runs: [&Run; C],
        start: &impl Fn(&Run) -> usize,
        pitch: usize,
        strip: &Strip,
        sums: &mut [T],
    ) {
        let lanes = T::lanes::<S>();
        let read = |from: &[T], at: usize| match strip.columns == lanes {
            true => T::load::<S>(from, at),
            false => T::load_some(s, &from[at..at + strip.columns]),
        };
        let zero = T::splat(s, T::default());
        let (mut totals, mut lines, mut at) = ([[zero; C]; R], [[zero; C]; R], [0; C]);
        for c in 0..C {
            at[c] = start(runs[c]) + strip.from;
            for r in 0..R {
                totals[r][c] = T::load::<S>(sums, runs[c].elements[r] * lanes);
                if r + 1 < R {
                    lines[r][c] = read(self.cells, at[c] + r * pitch);
                }
            }
        }
        for row in 0..strip.rows {
            let grads = read(self.grads, strip.to + row * self.to_step);
            for c in 0..C {
                lines[R - 1][c] = read(self.cells, at[c] + (R - 1) * pitch + row * self.from_step);
                for r in 0..R {
                    totals[r][c] = T::mul_add(s, grads, lines[r][c], totals[r][c]);
                }
                for r in 1..R {
                    lines[r - 1][c] = lines[r][c];
                }
            }
        }
        for c in 0..C {
            for (total, &element) in totals.iter().zip(&runs[c].elements) {
                T::store::<S>(&mut sums[element * lanes..][..lanes], total[c]);
            }
        }
    }
}

/// Sets the derivative of all filters to what some images give; on all cores if this is no task itself.
pub(in crate::conv) fn backward_weight<T: Number>(
    shape: &ConvShape,
    x: &[T],
    dy: &[T],
    images: Range<usize>,
    out: &mut [T],
    many: bool,
) -> Result<()> {
    derivative(shape, x, dy, images, out, many, |products| Arch::new().dispatch(products))
}

/// The same; `run` runs what makes a part of it.
pub(super) fn derivative<T: Number>(
    shape: &ConvShape,
    x: &[T],
    dy: &[T],
    images: Range<usize>,
    out: &mut [T],
    many: bool,
    run: impl Fn(Products<'_, '_, T>) + Sync + Send,
) -> Result<()> {
    let plan = &Plan::new(shape, false, cut::<T>(TALL));
    let len = shape.filters * shape.channels * shape.window_len();
    let each = if many { shape.groups } else { shape.groups.div_ceil(super::TASKS_A_CORE * workers()) };
    let tasks = out.chunks_mut((each * len).max(1)).enumerate().collect();
    for_each(tasks, |(k, out): (usize, &mut [T])| {
        let groups = k * each..((k + 1) * each).min(shape.groups);
        run(Products { plan, shape, x, dy, images: images.clone(), groups, out });
        Ok(())
    })
}
