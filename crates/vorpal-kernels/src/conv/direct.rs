//! Native convolutions of groups of few channels, as where every channel has a filter of its own: sums of shifted planes, as
//! columns would take longer to make than the sums.
//!
//! They are read from copies with zeros around them ([`planes`](super::planes)). A tile of sums stays in registers while
//! elements of the window go by; of elements below one another the rows they see move up by one each time, and only one more is
//! read.

mod weight;

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use smallvec::SmallVec;
use vorpal_tensor::Result;

pub(super) use weight::backward_weight;

use super::ConvShape;
use super::planes::{Band, Copied, Cut, Plan};
use crate::interp::{for_each, workers};
use crate::vector::Number;

/// Bytes of a copy: most of a first cache.
const COPY_BYTES: usize = 32 << 10;
/// Tasks for every core, so that one that was late does not hold up all.
const TASKS_A_CORE: usize = 8;
/// Numbers of the widest vector.
const LANES_MAX: usize = 16;
/// Rows of a tile and elements of a run at most.
const TALL: usize = 7;

/// A part of a result that one task makes: a band of rows of a slice of a plane.
struct Piece<'o, T> {
    plane: usize,
    slice: usize,
    rows: Range<usize>,
    out: &'o mut [T],
}

/// Some rows of a vector: where they begin in the copy and in the result, and how many columns are of use.
#[derive(Clone, Copy)]
struct Unit {
    from: usize,
    to: usize,
    columns: usize,
}

/// Some pieces of a result.
struct Sums<'o, 'a, T> {
    plan: &'a Plan,
    planes: &'a [T],
    filters: &'a [T],
    pieces: Vec<Piece<'o, T>>,
}

/// What sums of one kind share: lines of weights as they are used, and where tiles lie.
struct Tiles<T> {
    /// Where a run begins in the copy, and its length.
    runs: Vec<[usize; 2]>,
    weights: Vec<T>,
    units: Vec<Unit>,
    /// Distance of the rows of a tile, in the copy and in the result; that of rows below one another in the copy.
    from_step: usize,
    to_step: usize,
    pitch: usize,
    /// Distance of neighbours in the result.
    apart: usize,
}

impl<T: Number> WithSimd for Sums<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let mut copied = Copied::default();
        let mut tiles = Tiles {
            runs: vec![],
            weights: vec![],
            units: vec![],
            from_step: 0,
            to_step: 0,
            pitch: 0,
            apart: self.plan.axes[2].to_step,
        };
        let [z, y, x] = &self.plan.axes;
        let of_group = self.plan.sources * z.from * y.from * x.from;
        for Piece { plane, slice, rows, out } in self.pieces {
            let group = plane / self.plan.results;
            let planes = &self.planes[group * of_group..][..of_group];
            let seen: SmallVec<[[usize; 2]; 8]> = z.seen(slice).collect();
            for band in self.plan.bands(rows) {
                copied.take(self.plan, (group, slice), planes, &seen, &band);
                for place in 0..y.to_step * x.to_step {
                    let place = [place / x.to_step, place % x.to_step];
                    tiles.weigh(
                        self.plan,
                        (group, plane % self.plan.results),
                        self.filters,
                        &seen,
                        &band,
                        place,
                    );
                    let rows =
                        tiles.lay_out(self.plan, &band, place, T::lanes::<S>(), (S::REGISTER_COUNT - 3) / 4);
                    match rows {
                        0 => {}
                        1 => tiles.make::<S, 1>(s, &copied.cells, out),
                        2 => tiles.make::<S, 2>(s, &copied.cells, out),
                        3 => tiles.make::<S, 3>(s, &copied.cells, out),
                        4 => tiles.make::<S, 4>(s, &copied.cells, out),
                        5 => tiles.make::<S, 5>(s, &copied.cells, out),
                        6 => tiles.make::<S, 6>(s, &copied.cells, out),
                        _ => tiles.make::<S, TALL>(s, &copied.cells, out),
                    }
                }
            }
        }
    }
}

/// `n` in parts of at most `most`, as equal as can be: the size of all but the last.
fn part(n: usize, most: usize) -> usize {
    n.div_ceil(n.div_ceil(most.max(1)).max(1))
}

impl<T: Number> Tiles<T> {
    /// Lists the runs and the weights of a result, for one place in a step.
    fn weigh(
        &mut self,
        plan: &Plan,
        (group, result): (usize, usize),
        filters: &[T],
        seen: &[[usize; 2]],
        band: &Band,
        [down, side]: [usize; 2],
    ) {
        self.runs.clear();
        self.weights.clear();
        let [pitch, len] = plan.sizes(band);
        let each = plan.axes[1].starts.len() * plan.axes[2].starts.len();
        let runs = &plan.runs[down * plan.axes[2].to_step + side];
        let slices = (0..plan.sources).flat_map(|s| seen.iter().map(move |&[element, _]| (s, element)));
        for (k, (source, element)) in slices.enumerate() {
            let filter = &filters[plan.filter(group, source, result) + element * plan.of_slice()..];
            for run in runs {
                let at = (k * each + run.block) * len + run.row * pitch + run.column;
                self.runs.push([at, run.elements.len()]);
                self.weights.extend(run.elements.iter().map(|&element| filter[element]));
            }
        }
    }

    /// Lists the tiles of a band, for one place in a step, and tells their rows. The last one of a line goes back as far as
    /// makes it whole: what two tiles make they make alike.
    fn lay_out(
        &mut self,
        plan: &Plan,
        band: &Band,
        [down, side]: [usize; 2],
        lanes: usize,
        tall: usize,
    ) -> usize {
        let [_, y, x] = &plan.axes;
        let (height, width) = (y.count(down, band.rows.clone()), x.count(side, band.columns.clone()));
        self.units.clear();
        if height == 0 || width == 0 {
            return 0;
        }
        self.pitch = plan.sizes(band)[0];
        let first = down * x.to + band.columns.start * x.to_step + side;
        let tall = tall.min(TALL);
        if plan.flat && width >= lanes {
            let rows = part(width / lanes, tall);
            (self.from_step, self.to_step) = (lanes, lanes * x.to_step);
            self.units.extend((0..width.div_ceil(rows * lanes)).map(|k| {
                let from = (k * rows * lanes).min(width - rows * lanes);
                Unit { from, to: first + from * x.to_step, columns: lanes }
            }));
            return rows;
        }
        let rows = part(height, tall);
        (self.from_step, self.to_step) = (self.pitch, y.to_step * x.to);
        let columns = width.min(lanes);
        for row in (0..height.div_ceil(rows)).map(|k| (k * rows).min(height - rows)) {
            self.units.extend((0..width.div_ceil(lanes)).map(|k| {
                let column = (k * lanes).min(width - columns);
                let to = first + row * self.to_step + column * x.to_step;
                Unit { from: row * self.pitch + column, to, columns }
            }));
        }
        rows
    }

    #[inline(always)]
    fn make<S: Simd, const R: usize>(&self, s: S, cells: &[T], out: &mut [T]) {
        let (pairs, rest) = self.units.as_chunks::<2>();
        for &units in pairs {
            self.tile::<S, R, 2>(s, cells, units, out);
        }
        for &unit in rest {
            self.tile::<S, R, 1>(s, cells, [unit], out);
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize>(
        &self,
        s: S,
        cells: &[T],
        units: [Unit; C],
        out: &mut [T],
    ) {
        let zero = T::splat(s, T::default());
        let (mut sums, mut lines) = ([[zero; C]; R], [[zero; C]; R]);
        let mut weights = &self.weights[..];
        for &[at, len] in &self.runs {
            let (here, later) = weights.split_at(len);
            weights = later;
            // One way in and one loop: sums and lines then stay in registers.
            for c in 0..C {
                for (r, line) in lines.iter_mut().enumerate().take(R - 1) {
                    line[c] = T::load::<S>(cells, units[c].from + at + r * self.from_step);
                }
            }
            let mut last = at + (R - 1) * self.from_step;
            for &weight in here {
                let weight = T::splat(s, weight);
                for c in 0..C {
                    lines[R - 1][c] = T::load::<S>(cells, units[c].from + last);
                    for r in 0..R {
                        sums[r][c] = T::mul_add(s, weight, lines[r][c], sums[r][c]);
                    }
                    for r in 1..R {
                        lines[r - 1][c] = lines[r][c];
                    }
                }
                last += self.pitch;
            }
        }
        for r in 0..R {
            for c in 0..C {
                self.put(s, sums[r][c], units[c].columns, &mut out[units[c].to + r * self.to_step..]);
            }
        }
    }

    #[inline(always)]
    fn put<S: Simd>(&self, s: S, sums: T::Vector<S>, columns: usize, out: &mut [T]) {
        if self.apart > 1 {
            let mut numbers = [T::default(); LANES_MAX];
            T::store::<S>(&mut numbers[..T::lanes::<S>()], sums);
            let out = out.iter_mut().step_by(self.apart);
            out.zip(&numbers[..columns]).for_each(|(out, &sum)| *out = sum);
        } else if columns == T::lanes::<S>() {
            T::store::<S>(&mut out[..columns], sums);
        } else {
            T::store_some(s, &mut out[..columns], sums);
        }
    }
}

/// Bands for tiles of single planes; `longest` is that of a run.
fn cut<T>(longest: usize) -> Cut {
    Cut { longest, copy: COPY_BYTES / size_of::<T>(), rows: TALL }
}

/// Makes all planes of a result; `run` runs what makes a part of them.
fn make<T: Number>(
    plan: &Plan,
    planes: &[T],
    filters: &[T],
    out: &mut [T],
    run: impl Fn(Sums<'_, '_, T>) + Sync + Send,
) -> Result<()> {
    let [z, y, x] = &plan.axes;
    let (of_slice, of_band) = (y.to * x.to, plan.rows * y.to_step * x.to);
    let mut pieces = Vec::new();
    for (k, out) in out.chunks_mut(of_slice).enumerate() {
        for (band, out) in out.chunks_mut(of_band).enumerate() {
            let rows = band * plan.rows..((band + 1) * plan.rows).min(y.steps());
            pieces.push(Piece { plane: k / z.to, slice: k % z.to, rows, out });
        }
    }
    // Results that see the same follow one another, so that it is copied once.
    if plan.results > 1 {
        pieces.sort_by_key(|piece| (piece.plane / plan.results, piece.slice, piece.rows.start));
    }
    let each = pieces.len().div_ceil(TASKS_A_CORE * workers()).max(1);
    let (mut pieces, mut tasks) = (pieces.into_iter(), Vec::new());
    while pieces.len() > 0 {
        tasks.push(pieces.by_ref().take(each).collect::<Vec<_>>());
    }
    for_each(tasks, |pieces| {
        run(Sums { plan, planes, filters, pieces });
        Ok(())
    })
}

pub(super) fn forward<T: Number>(shape: &ConvShape, x: &[T], w: &[T], out: &mut [T]) -> Result<()> {
    let plan = Plan::new(shape, false, cut::<T>(usize::MAX));
    make(&plan, x, w, out, |sums| Arch::new().dispatch(sums))
}

pub(super) fn backward_data<T: Number>(shape: &ConvShape, dy: &[T], w: &[T], out: &mut [T]) -> Result<()> {
    let plan = Plan::new(shape, true, cut::<T>(usize::MAX));
    make(&plan, dy, w, out, |sums| Arch::new().dispatch(sums))
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::*;

    /// Runs with vectors of 256 bits where there are any.
    fn middle<W: WithSimd>(what: W) -> W::Output {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            return Simd::vectorize(simd, what);
        }
        Simd::vectorize(Scalar::new(), what)
    }

    /// What other processors run: vectors of one number, and of 256 bits where there are any.
    #[test]
    fn narrower_vectors_give_the_same() {
        for (input, window, stride, padding) in
            [([1, 19, 23], [1, 3, 3], [1, 1, 1], [0, 1, 1]), ([2, 9, 40], [2, 5, 4], [1, 2, 3], [1, 2, 0])]
        {
            let output = std::array::from_fn(|k| (input[k] + 2 * padding[k] - window[k]) / stride[k] + 1);
            let (batch, groups, dilation) = (2, 3, [1, 1, 1]);
            let shape = ConvShape {
                batch,
                groups,
                channels: 1,
                filters: 2,
                input,
                output,
                window,
                stride,
                padding,
                dilation,
            };
            let numbers =
                |n: usize| -> Vec<f32> { (0..n).map(|k| ((k * 37 % 101) as f32 - 50.0) / 16.0).collect() };
            let [x, dy] = [numbers(2 * 3 * shape.input_plane()), numbers(2 * 6 * shape.output_plane())];
            let filters = numbers(6 * shape.window_len());
            for (back, planes, len) in [(false, &x, dy.len()), (true, &dy, x.len())] {
                let plan = Plan::new(&shape, back, cut::<f32>(usize::MAX));
                let mut found = [vec![0.0; len], vec![0.0; len], vec![0.0; len]];
                let [widest, single, half] = &mut found;
                make(&plan, planes, &filters, widest, |sums| Arch::new().dispatch(sums)).expect("sums");
                make(&plan, planes, &filters, single, |sums| Simd::vectorize(Scalar::new(), sums))
                    .expect("sums");
                make(&plan, planes, &filters, half, |sums| middle(sums)).expect("sums");
                // The numbers are so short that no sum is rounded.
                assert!(found[0] == found[1] && found[0] == found[2], "{shape:?}, back: {back}");
            }
            let mut found = [(); 3].map(|()| vec![0.0; filters.len()]);
            let [widest, single, half] = &mut found;
            let made = [
                weight::derivative(&shape, &x, &dy, 0..2, widest, false, |part| Arch::new().dispatch(part)),
                weight::derivative(&shape, &x, &dy, 0..2, single, false, |part| {
                    Simd::vectorize(Scalar::new(), part)
                }),
                weight::derivative(&shape, &x, &dy, 0..2, half, false, |part| middle(part)),
            ];
            assert!(made.iter().all(Result::is_ok));
            assert!(found[0] == found[1] && found[0] == found[2], "{shape:?}, by the filters");
        }
    }
}
