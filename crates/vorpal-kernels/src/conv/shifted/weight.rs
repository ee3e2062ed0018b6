//! The derivative by the filters of convolutions of many channels: products of shifted planes with the cotangents.

use std::ops::Range;

use bytemuck::{try_cast_slice, try_cast_slice_mut};
use vorpal_tensor::Result;

use super::{PIECES, Room, Seen, is_near, is_possible, is_worth_it, planned};
use crate::conv::ConvShape;
use crate::conv::planes::{Band, Plan};
use crate::gemm::panels::{PANEL, add_product};
use crate::interp::for_each;
use crate::scratch::Scratch;
use crate::vector::Number;

/// The derivative by the filters of a group: products of the runs under all elements of the window with the cotangents.
struct Products<'a> {
    shape: &'a ConvShape,
    plan: &'a Plan,
    x: &'a [f32],
    dy: &'a [f32],
    /// Filters and what they lack to fill panels.
    wide: usize,
}

/// What a product is made of at a time: some rows of a slice of the result of an image.
#[derive(Clone)]
struct Span {
    image: usize,
    slice: usize,
    rows: Range<usize>,
}

impl Products<'_> {
    /// Elements of the window in a slice of the depth, but for those that never see a pixel.
    fn of_slice(&self) -> usize {
        self.plan.runs[0].len()
    }

    /// Sums of a group.
    fn len(&self) -> usize {
        self.shape.channels * self.shape.window[0] * self.of_slice() * self.wide
    }

    /// Adds to the sums, a row for each term, what some spans of a group give.
    fn add(&self, group: usize, spans: &[Span], sums: &mut [f32], room: &mut Room) -> Result<()> {
        let (shape, plan) = (self.shape, self.plan);
        let of_image = shape.channels * shape.input_plane();
        for Span { image, slice, rows } in spans.iter().cloned() {
            let group = image * shape.groups + group;
            let planes = &self.x[group * of_image..][..of_image];
            let seen: Seen = plan.axes[0].seen(slice).collect();
            for band in plan.bands(rows) {
                room.copied.take(plan, (group, slice), planes, &seen, &band);
                plan.offsets(&seen, 0, &band, &mut room.offsets);
                let count = self.lay_out(group, slice, &band, &mut room.sums);
                let cells = &room.copied.cells;
                let rows: Vec<&[f32]> = room.offsets.iter().map(|&at| &cells[at..at + count]).collect();
                // In the order of the offsets: that of the slices that are seen, which strides change.
                let slices = sums.chunks_mut((self.of_slice() * self.wide).max(1));
                let mut slices: Vec<Option<&mut [f32]>> = slices.map(Some).collect();
                let mut out = Vec::with_capacity(rows.len());
                for source in 0..shape.channels {
                    for &[element, _] in &seen {
                        let slice = slices.get_mut(source * shape.window[0] + element).and_then(Option::take);
                        out.extend(slice.unwrap_or_default().chunks_mut(self.wide));
                    }
                }
                add_product(out, &rows, &room.sums)?;
            }
        }
        Ok(())
    }

    /// Lays the cotangents of a band out as panels, with zeros between rows, and tells how many terms they have.
    fn lay_out(&self, group: usize, slice: usize, band: &Band, out: &mut Scratch<f32>) -> usize {
        let [z, y, x] = &self.plan.axes;
        let [pitch, _] = self.plan.sizes(band);
        let (filters, width) = (self.shape.filters, band.columns.len());
        let count = (band.rows.len() - 1) * pitch + width;
        out.resize(count * self.wide);
        out.fill(0.0);
        for (panel, out) in out.chunks_exact_mut(count * PANEL).enumerate() {
            for filter in panel * PANEL..filters.min((panel + 1) * PANEL) {
                let plane = ((group * filters + filter) * z.to + slice) * y.to;
                for (row, out) in band.rows.clone().zip(out.chunks_mut(pitch * PANEL)) {
                    let from = &self.dy[(plane + row) * x.to + band.columns.start..][..width];
                    let out = out[filter % PANEL..].iter_mut().step_by(PANEL);
                    out.zip(from).for_each(|(out, &grad)| *out = grad);
                }
            }
        }
        count
    }

    /// Brings sums into the order of the filters.
    fn put(&self, sums: &[f32], out: &mut [f32]) {
        let (plan, shape) = (self.plan, self.shape);
        let terms = shape.channels * shape.window_len();
        out.fill(0.0);
        for (slice, sums) in sums.chunks((self.of_slice() * self.wide).max(1)).enumerate() {
            for (run, sums) in plan.runs[0].iter().zip(sums.chunks(self.wide)) {
                let out = out[slice * plan.of_slice() + run.elements[0]..].iter_mut().step_by(terms);
                out.zip(sums).for_each(|(out, &sum)| *out = sum);
            }
        }
    }
}

/// Sums of all parts at most.
const SUMS_MAX: usize = 1 << 24;

/// Sets the derivative of the filters to what some images give, in at most so many parts that are made side by side.
fn derivative(products: &Products<'_>, images: Range<usize>, out: &mut [f32], parts: usize) -> Result<()> {
    let Products { shape, plan, .. } = *products;
    let [z, y, _] = &plan.axes;
    let (terms, len) = (shape.channels * shape.window_len(), products.len());
    let parts = parts.min(SUMS_MAX / len.max(1)).max(1);
    let rows = plan.rows.min(y.to.div_ceil(parts)).max(1);
    let bands = |image, slice| {
        let rows = (0..y.to).step_by(rows).map(move |row| row..(row + rows).min(y.to));
        rows.map(move |rows| Span { image, slice, rows })
    };
    let slices = images.flat_map(|image| (0..z.to).map(move |slice| (image, slice)));
    let spans: Vec<Span> = slices.flat_map(|(image, slice)| bands(image, slice)).collect();
    let each = spans.len().div_ceil(parts).max(1);
    let mut sums = vec![0f32; spans.len().div_ceil(each).max(1) * len];
    for (group, out) in out.chunks_mut((shape.filters * terms).max(1)).enumerate() {
        sums.fill(0.0);
        let tasks = spans.chunks(each).zip(sums.chunks_mut(len.max(1))).collect();
        for_each(tasks, |(spans, sums)| products.add(group, spans, sums, &mut Room::default()))?;
        let (sum, others) = sums.split_at_mut(len);
        for other in others.chunks(len.max(1)) {
            sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        }
        products.put(sum, out);
    }
    Ok(())
}

/// Sets the derivative of the filters to what some images give, if this is the way to do it; whether it is done. On all cores
/// if this is no task itself.
pub(in crate::conv) fn backward_weight<T: Number>(
    shape: &ConvShape,
    x: &[T],
    dy: &[T],
    images: Range<usize>,
    out: &mut [T],
    many: bool,
) -> Result<bool> {
    let numbers = (try_cast_slice(x), try_cast_slice(dy), try_cast_slice_mut(out));
    let (true, (Ok(x), Ok(dy), Ok(out))) = (is_possible::<T>(shape, false), numbers) else {
        return Ok(false);
    };
    let (plan, wide) = (planned(shape, false), shape.filters.next_multiple_of(PANEL));
    let is = is_worth_it(shape, &plan) && (shape.filters <= PANEL || is_near(wide, shape.filters));
    if is {
        let products = Products { shape, plan: &plan, x, dy, wide };
        // As many whatever the cores are, so that equal sums have equal bits.
        derivative(&products, images, out, if many { 1 } else { PIECES })?;
    }
    Ok(is)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::native;
    use crate::conv::shifted::make;

    /// Windows of every kind on images of every kind, also where columns are faster, in bands of some rows, beside sums of f64.
    #[test]
    fn shifted_planes_beside_columns() {
        if pulp::x86::V3::try_new().is_none() {
            return;
        }
        for (input, window, stride, padding, dilation) in [
            ([1, 13, 37], [1, 3, 3], [1, 1, 1], [0, 1, 1], [1, 1, 1]),
            ([1, 2, 3], [1, 7, 5], [1, 1, 1], [0, 3, 3], [1, 1, 1]),
            ([1, 15, 33], [1, 3, 3], [1, 2, 2], [0, 1, 1], [1, 1, 1]),
            ([1, 14, 50], [1, 5, 4], [1, 3, 2], [0, 2, 5], [1, 1, 1]),
            ([1, 17, 18], [1, 3, 4], [1, 2, 3], [0, 4, 3], [1, 3, 2]),
            ([1, 6, 9], [1, 3, 3], [1, 1, 1], [0, 40, 40], [1, 40, 40]),
            ([1, 4, 4], [1, 2, 2], [1, 5, 5], [0, 1, 1], [1, 1, 1]),
            ([1, 1, 71], [1, 1, 5], [1, 1, 2], [0, 0, 2], [1, 1, 3]),
            ([1, 1, 4500], [1, 1, 3], [1, 1, 1], [0, 0, 1], [1, 1, 1]),
            ([4, 5, 18], [3, 3, 3], [1, 1, 1], [1, 1, 1], [1, 1, 1]),
            ([5, 6, 7], [2, 3, 2], [2, 2, 3], [1, 2, 1], [2, 1, 1]),
            ([5, 6, 9], [3, 3, 2], [2, 1, 1], [1, 1, 0], [1, 1, 1]),
            ([9, 5, 7], [5, 2, 3], [3, 2, 2], [2, 0, 1], [1, 1, 1]),
        ] {
            let out_size =
                |k: usize| (input[k] + 2 * padding[k] - dilation[k] * (window[k] - 1) - 1) / stride[k] + 1;
            let output = [0, 1, 2].map(out_size);
            for ([batch, groups, channels, filters], rows) in
                [([1, 1, 5, 7], 3), ([3, 2, 6, 18], 1), ([2, 1, 1, 9], 100), ([2, 1, 9, 1], 2)]
            {
                let shape = ConvShape {
                    batch,
                    groups,
                    channels,
                    filters,
                    input,
                    window,
                    output,
                    stride,
                    padding,
                    dilation,
                };
                // The numbers are so short that no sum is rounded.
                let numbers = |n: usize, seed: usize| -> Vec<f32> {
                    (0..n).map(|k| ((k * 37 + seed) % 101) as f32 / 16.0 - 3.0).collect()
                };
                let (x, w) = (numbers(shape.input_len(), 1), numbers(shape.filters_len(), 2));
                let dy = numbers(shape.output_len(), 3);
                let doubles = |x: &[f32]| -> Vec<f64> { x.iter().copied().map(f64::from).collect() };
                let (x64, w64, dy64) = (doubles(&x), doubles(&w), doubles(&dy));
                let mut found = [vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]];
                let mut sought = [vec![0.0; dy.len()], vec![0.0; x.len()]];
                for (back, planes) in [(false, &x), (true, &dy)] {
                    let mut plan = planned(&shape, back);
                    plan.rows = plan.rows.min(rows);
                    make(plan, planes, &w, &mut found[usize::from(back)]).expect("sums");
                }
                native::forward(&shape, &x64, &w64, &mut sought[0]).expect("sums");
                native::backward_data(&shape, &dy64, &w64, &mut sought[1]).expect("sums");
                for (found, sought) in found.iter().zip(&sought) {
                    assert_eq!(doubles(found), *sought, "{shape:?}");
                }
                let mut sought = vec![0.0; w.len()];
                native::backward_weight(&shape, &x64, &dy64, &mut sought, 1).expect("sums");
                for parts in [1, 3] {
                    let mut plan = planned(&shape, false);
                    plan.rows = plan.rows.min(rows);
                    let wide = filters.next_multiple_of(PANEL);
                    let products = Products { shape: &shape, plan: &plan, x: &x, dy: &dy, wide };
                    let mut found = vec![f32::NAN; w.len()];
                    derivative(&products, 0..batch, &mut found, parts).expect("sums");
                    assert_eq!(doubles(&found), sought, "{shape:?} by the filters in {parts}");
                }
            }
        }
    }
}
