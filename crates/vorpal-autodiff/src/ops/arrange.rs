//! Rearrangements made of views: rolls, repetitions, diagonals, turns, paddings with the tensor's own elements.

use smallvec::SmallVec;
use vorpal_tensor::{At, DType, Error, Result, Shape};

use super::pointwise::{ADD, GREATER_EQUAL, LESS_EQUAL, PointwiseFn};
use super::{axis_of, shape_error};
use crate::{Axes, Tensor};

/// What padding repeats of a tensor, as `mode` of `torch.nn.functional.pad`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// The elements in front of the border, mirrored at it; the border itself is not repeated.
    Reflect,
    /// The border.
    Replicate,
    /// The elements of the other end.
    Circular,
}

impl Tensor {
    /// Elements moved `shift` places towards the end of an axis; those that leave come back at its front, as
    /// `torch.roll`.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1i32, 2, 3, 4], [4], &Device::cpu());
    /// assert_eq!(x.roll(1, 0).to_vec::<i32>()?, [4, 1, 2, 3]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn roll(&self, shift: isize, axis: isize) -> Tensor {
        let size = match axis_of(self, "roll", axis, At::caller()) {
            Ok(k) => self.shape()[k],
            Err(error) => return Tensor::error(error),
        };
        let shift = if size == 0 { 0 } else { shift.rem_euclid(size as isize) as usize };
        if shift == 0 {
            return self.clone();
        }
        let front = self.narrow(axis, size - shift, shift);
        Tensor::concat(&[&front, &self.narrow(axis, 0, size - shift)], axis)
    }

    /// The whole tensor repeated `times[k]` times along axis `k`, as `torch.Tensor.repeat` and `numpy.tile`; the
    /// shorter of shape and times gets ones in front.
    #[track_caller]
    pub fn repeat(&self, times: &[usize]) -> Tensor {
        let shape = self.shape();
        let rank = shape.rank().max(times.len());
        let from_right = |list: &[usize], k: usize| {
            let missing = rank - list.len();
            if k < missing { 1 } else { list[k - missing] }
        };
        let (mut split, mut spread, mut joined) = (Vec::new(), Vec::new(), Vec::new());
        for k in 0..rank {
            let (size, n) = (from_right(&shape, k), from_right(times, k));
            split.extend([1, size]);
            spread.extend([n, size]);
            joined.push(n * size);
        }
        self.reshape(split).broadcast_to(spread).reshape(joined)
    }

    /// Every element of an axis repeated `times` times in a row, as `torch.repeat_interleave`.
    #[track_caller]
    pub fn repeat_interleave(&self, times: usize, axis: isize) -> Tensor {
        let k = match axis_of(self, "repeat_interleave", axis, At::caller()) {
            Ok(k) => k,
            Err(error) => return Tensor::error(error),
        };
        let shape = self.shape();
        let mut spread: SmallVec<[usize; 8]> = shape.iter().copied().collect();
        spread.insert(k + 1, times);
        let raised = self.unsqueeze(k as isize + 1);
        raised.broadcast_to(&spread[..]).reshape(shape.with_axis(k, shape[k] * times))
    }

    /// The slices of an axis, which disappears.
    ///
    /// # Errors
    /// The carried error, or [`Error::Shape`] when there is no such axis.
    #[track_caller]
    pub fn unbind(&self, axis: isize) -> Result<Vec<Tensor>> {
        let k = axis_of(self, "unbind", axis, At::caller())?;
        let mut out = Vec::with_capacity(self.shape()[k]);
        for place in 0..self.shape()[k] {
            out.push(self.narrow(axis, place, 1).squeeze(axis));
        }
        Ok(out)
    }

    /// An axis cut into at most `pieces` pieces of equal size, the last of which may be smaller, as `torch.chunk`.
    ///
    /// # Errors
    /// The carried error, [`Error::Shape`] when there is no such axis, [`Error::Argument`] for no pieces.
    #[track_caller]
    pub fn chunk(&self, pieces: usize, axis: isize) -> Result<Vec<Tensor>> {
        let at = At::caller();
        let k = axis_of(self, "chunk", axis, at)?;
        if pieces == 0 {
            let message = "cannot cut into 0 pieces".to_string();
            return Err(Error::Argument { op: "chunk", message, at });
        }
        let size = self.shape()[k];
        let each = size.div_ceil(pieces).max(1);
        let mut sizes = vec![each; size / each];
        if !size.is_multiple_of(each) || size == 0 {
            sizes.push(size % each);
        }
        self.split(axis, &sizes)
    }

    /// An axis taken out and put in at another place, the others in their order.
    #[track_caller]
    pub fn movedim(&self, from: isize, to: isize) -> Tensor {
        let at = At::caller();
        let pair =
            axis_of(self, "movedim", from, at).and_then(|f| Ok((f, axis_of(self, "movedim", to, at)?)));
        match pair {
            Err(error) => Tensor::error(error),
            Ok((from, to)) => {
                let mut axes: SmallVec<[isize; 6]> = (0..self.rank() as isize).collect();
                let axis = axes.remove(from);
                axes.insert(to, axis);
                self.permute(&axes[..])
            }
        }
    }

    /// The elements of axes `a` and `b` whose positions differ by `offset` (b − a), along a new last axis, as
    /// `torch.diagonal`.
    #[track_caller]
    pub fn diagonal(&self, offset: isize, a: isize, b: isize) -> Tensor {
        let at = At::caller();
        let axes = match Axes::from([a, b]).resolve(self, "diagonal", at) {
            Ok(axes) => axes,
            Err(error) => return Tensor::error(error),
        };
        let shape = self.shape();
        let (rows, columns) = (shape[axes[0]], shape[axes[1]]);
        let below = offset.min(0).unsigned_abs();
        let right = offset.max(0).unsigned_abs();
        let len = rows.saturating_sub(below).min(columns.saturating_sub(right));
        let mut order: SmallVec<[isize; 6]> =
            (0..shape.rank()).filter(|k| !axes.contains(k)).map(|k| k as isize).collect();
        order.extend([axes[0] as isize, axes[1] as isize]);
        // In row-major order the elements of a diagonal lie columns + 1 apart.
        let flat = self.permute(&order[..]).flatten(-2, -1);
        let (start, end) = match len {
            0 => (0, 0),
            _ => (below * columns + right, below * columns + right + (len - 1) * (columns + 1) + 1),
        };
        flat.slice_step(-1, start as isize..end as isize, columns + 1)
    }

    /// Square matrices with the last axis on diagonal `offset` and zeros elsewhere, as `torch.diag_embed`.
    #[track_caller]
    pub fn diag_embed(&self, offset: isize) -> Tensor {
        let at = At::caller();
        let k = match axis_of(self, "diag_embed", -1, at) {
            Ok(k) => k,
            Err(error) => return Tensor::error(error),
        };
        let Ok(device) = self.device() else { return self.clone() };
        let n = self.shape()[k] + offset.unsigned_abs();
        // Row r holds element r, counted from the first row that has one.
        let by_row = self.pad(-1, offset.min(0).unsigned_abs(), offset.max(0).unsigned_abs(), 0.0);
        let shape: Shape = self.shape()[..k].iter().copied().chain([n, n]).collect();
        let rows = Tensor::iota(shape.clone(), k, DType::I32, &device);
        let columns = Tensor::iota(shape.clone(), k + 1, DType::I32, &device);
        let on = columns.eq(rows.with_constant(&ADD, offset as f64));
        let spread = by_row.unsqueeze(-1).broadcast_to(shape);
        on.select(&spread, spread.full_like(0.0))
    }

    /// The diagonal of a matrix, or a matrix with a vector on its diagonal, as `torch.diag`.
    ///
    /// Carries [`Error::Shape`] for any other number of axes.
    #[track_caller]
    pub fn diag(&self, offset: isize) -> Tensor {
        let at = At::caller();
        match self.rank() {
            1 => self.diag_embed(offset),
            2 => self.diagonal(offset, 0, 1),
            _ if self.check().is_err() => self.clone(),
            rank => {
                let message = format!("needs a vector or a matrix, found {rank} axes");
                Tensor::error(shape_error("diag", message, &[self], at))
            }
        }
    }

    /// The lower triangle of the last two axes: elements right of diagonal `k` become 0.
    #[track_caller]
    pub fn tril(&self, k: i32) -> Tensor {
        triangle(self, "tril", k, &LESS_EQUAL)
    }

    /// The upper triangle of the last two axes: elements left of diagonal `k` become 0.
    #[track_caller]
    pub fn triu(&self, k: i32) -> Tensor {
        triangle(self, "triu", k, &GREATER_EQUAL)
    }

    /// The plane of axes `a` and `b` turned by `quarters` quarter turns from `a` towards `b`, as `torch.rot90`.
    #[track_caller]
    pub fn rot90(&self, quarters: isize, a: isize, b: isize) -> Tensor {
        let axes = match Axes::from([a, b]).resolve(self, "rot90", At::caller()) {
            Ok(axes) => axes,
            Err(error) => return Tensor::error(error),
        };
        let (a, b) = (axes[0] as isize, axes[1] as isize);
        match quarters.rem_euclid(4) {
            0 => self.clone(),
            1 => self.flip(b).transpose(a, b),
            2 => self.flip([a, b]),
            _ => self.transpose(a, b).flip(b),
        }
    }

    /// `before` and `after` elements around one axis, taken from the tensor itself.
    ///
    /// Carries [`Error::Shape`] when the axis has too few of them: [`PadMode::Reflect`] needs one more than it adds on
    /// a side, [`PadMode::Circular`] as many, [`PadMode::Replicate`] one.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor, ops::PadMode};
    /// let x = Tensor::from_slice(&[1i32, 2, 3], [3], &Device::cpu());
    /// assert_eq!(x.pad_with(0, 2, 1, PadMode::Reflect).to_vec::<i32>()?, [3, 2, 1, 2, 3, 2]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn pad_with(&self, axis: isize, before: usize, after: usize, mode: PadMode) -> Tensor {
        let at = At::caller();
        let k = match axis_of(self, "pad", axis, at) {
            Ok(k) => k,
            Err(error) => return Tensor::error(error),
        };
        let (size, most) = (self.shape()[k], before.max(after));
        let needed = match mode {
            _ if most == 0 => return self.clone(),
            PadMode::Reflect => most + 1,
            PadMode::Replicate => 1,
            PadMode::Circular => most,
        };
        if size < needed {
            let message =
                format!("{mode:?} padding of {before} and {after} needs {needed} elements, found {size}");
            return Tensor::error(shape_error("pad", message, &[self], at));
        }
        let edge = |place: usize, len: usize| {
            self.narrow(axis, place, 1).broadcast_to(self.shape().with_axis(k, len))
        };
        let (front, back) = match mode {
            PadMode::Reflect => (
                self.narrow(axis, 1, before).flip(axis),
                self.narrow(axis, size - 1 - after, after).flip(axis),
            ),
            PadMode::Replicate => (edge(0, before), edge(size - 1, after)),
            PadMode::Circular => (self.narrow(axis, size - before, before), self.narrow(axis, 0, after)),
        };
        Tensor::concat(&[&front, self, &back], axis)
    }
}

/// Elements whose column compares with their row plus `k`; the others become 0.
#[track_caller]
fn triangle(x: &Tensor, op: &'static str, k: i32, kept: &'static PointwiseFn) -> Tensor {
    let row = match axis_of(x, op, -2, At::caller()) {
        Ok(row) => row,
        Err(error) => return Tensor::error(error),
    };
    let Ok(device) = x.device() else { return x.clone() };
    let rows = Tensor::iota(x.shape(), row, DType::I32, &device);
    let columns = Tensor::iota(x.shape(), row + 1, DType::I32, &device);
    columns.pointwise2(kept, rows.with_constant(&ADD, f64::from(k))).select(x, x.full_like(0.0))
}
