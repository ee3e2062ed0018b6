//! Images and signals at other sizes: nearest, linear and cubic interpolation.

use vorpal_tensor::{At, DType, Device, Error};

use super::pointwise::{ADD, DIV, MAXIMUM, MINIMUM, MUL};
use super::{dtype_error, shape_error};
use crate::Tensor;

/// How [`Tensor::interpolate`] finds values between elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// The element in front.
    Nearest,
    /// A line between neighbours along each axis: `linear`, `bilinear`, `trilinear` in PyTorch.
    Linear,
    /// Cubic convolution with a = −0.75 (Keys 1981) along each axis: `bicubic` in PyTorch.
    Cubic,
}

/// Integer positions: elements of the source that those of the result lie behind, and how far.
struct Positions {
    /// `I32`, one for each element of the result.
    behind: Tensor,
    /// In units of the distance of two elements, 0..1.
    distance: Tensor,
}

/// Numerators and one denominator of positions in the source, in integers, so that they are exact on every device.
struct Ratio {
    scale: usize,
    shift: isize,
    denominator: usize,
}

impl Ratio {
    fn of(from: usize, to: usize, align_corners: bool) -> Ratio {
        if align_corners {
            let denominator = to.saturating_sub(1).max(1);
            return Ratio { scale: from - 1, shift: 0, denominator };
        }
        // (i + 1 ∕ 2) · from ∕ to − 1 ∕ 2
        Ratio { scale: 2 * from, shift: from as isize - to as isize, denominator: 2 * to }
    }

    /// Whether all numbers fit 32 bits, for `to` elements.
    fn fits(&self, to: usize) -> bool {
        let top = self.scale.saturating_mul(to).saturating_add(2 * self.denominator);
        top < i32::MAX as usize
    }

    /// Positions, limited to the first element from below where `clamped`.
    #[track_caller]
    fn positions(&self, to: usize, clamped: bool, dtype: DType, device: &Device) -> Positions {
        let count = Tensor::iota([to], 0, DType::I32, device);
        let numerator = count.with_constant(&MUL, self.scale as f64).with_constant(&ADD, self.shift as f64);
        // Division rounds towards zero: positions in front of the source are moved one element further first.
        let denominator = self.denominator as f64;
        let numerator = match clamped {
            true => numerator.with_constant(&MAXIMUM, 0.0),
            false => numerator.with_constant(&ADD, denominator),
        };
        let whole = numerator.with_constant(&DIV, denominator);
        let rest = &numerator - whole.with_constant(&MUL, denominator);
        let distance = rest.cast(dtype).with_constant(&DIV, denominator);
        let behind = if clamped { whole } else { whole.with_constant(&ADD, -1.0) };
        Positions { behind, distance }
    }
}

/// The elements `offset` places behind some positions of an axis, its ends repeated.
#[track_caller]
fn tap(x: &Tensor, axis: isize, behind: &Tensor, offset: isize) -> Tensor {
    let last = x.shape()[axis as usize] - 1;
    let moved = behind.with_constant(&ADD, offset as f64).with_constant(&MAXIMUM, 0.0);
    x.index_select(axis, &moved.with_constant(&MINIMUM, last as f64))
}

/// a + b·t + c·t² + d·t³.
#[track_caller]
fn cubic(t: &Tensor, [a, b, c, d]: [f64; 4]) -> Tensor {
    let inner = t.with_constant(&MUL, d).with_constant(&ADD, c);
    let middle = (inner * t).with_constant(&ADD, b);
    (middle * t).with_constant(&ADD, a)
}

/// One axis at another size.
#[track_caller]
fn along(x: &Tensor, axis: isize, to: usize, mode: Interpolation, ratio: &Ratio, device: &Device) -> Tensor {
    let dtype = x.dtype();
    // Weights run along the axis.
    let mut place = vec![1; x.rank()];
    place[axis as usize] = to;
    let clamped = mode != Interpolation::Cubic;
    let Positions { behind, distance } = ratio.positions(to, clamped, dtype, device);
    let weight = |w: &Tensor| w.reshape(&place[..]);
    match mode {
        Interpolation::Nearest => tap(x, axis, &behind, 0),
        Interpolation::Linear => {
            let (low, high) = (tap(x, axis, &behind, 0), tap(x, axis, &behind, 1));
            &low + (high - &low) * weight(&distance)
        }
        Interpolation::Cubic => {
            // Keys' kernel with a = −3 ∕ 4 at distances 1 + t, t, 1 − t and 2 − t.
            let coefficients = [
                [0.0, -0.75, 1.5, -0.75],
                [1.0, 0.0, -2.25, 1.25],
                [0.0, 0.75, 1.5, -1.25],
                [0.0, 0.0, -0.75, 0.75],
            ];
            let mut sum = tap(x, axis, &behind, -1) * weight(&cubic(&distance, coefficients[0]));
            for (offset, coefficients) in (0..).zip(&coefficients[1..]) {
                sum = sum + tap(x, axis, &behind, offset) * weight(&cubic(&distance, *coefficients));
            }
            sum
        }
    }
}

impl Tensor {
    /// `[examples, channels, …]` with the axes behind the channels at the sizes `size`, as
    /// `torch.nn.functional.interpolate`. Axes are interpolated one after the other. Where `align_corners` holds, the
    /// first and last elements keep their places; else the outer borders do.
    ///
    /// Positions are exact rational numbers. 16-bit floats are computed in f32.
    ///
    /// Carries [`Error::Shape`] when `size` has not one number for each axis or an axis is empty, [`Error::Argument`]
    /// for aligned corners of [`Interpolation::Nearest`] and for axes of more than some 20,000 elements,
    /// [`Error::DType`] for lines between integers.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor, ops::Interpolation};
    /// let x = Tensor::from_slice(&[0.0f32, 1.0], [1, 1, 2], &Device::cpu());
    /// let wide = x.interpolate(&[3], Interpolation::Linear, true);
    /// assert_eq!(wide.to_vec::<f32>()?, [0.0, 0.5, 1.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn interpolate(&self, size: &[usize], mode: Interpolation, align_corners: bool) -> Tensor {
        let (at, shape, dtype) = (At::caller(), self.shape(), self.dtype());
        let Ok(device) = self.device() else { return self.clone() };
        if shape.rank() != size.len() + 2 {
            let message =
                format!("{} sizes for {} axes behind the channels", size.len(), shape.rank().max(2) - 2);
            return Tensor::error(shape_error("interpolate", message, &[self], at));
        }
        if shape[2..].contains(&0) || size.contains(&0) {
            let message = format!("an empty axis cannot be brought to {size:?} elements or from none");
            return Tensor::error(shape_error("interpolate", message, &[self], at));
        }
        if mode != Interpolation::Nearest && !dtype.is_float() {
            let message = format!("{mode:?} needs floats, found {dtype}");
            return Tensor::error(dtype_error("interpolate", message, &[self], at));
        }
        let refuse = |message: String| Tensor::error(Error::Argument { op: "interpolate", message, at });
        if mode == Interpolation::Nearest && align_corners {
            return refuse("Nearest does not align corners".into());
        }
        let mut x = if dtype.is_float() { self.cast(dtype.compute()) } else { self.clone() };
        for (k, &to) in size.iter().enumerate() {
            let from = shape[k + 2];
            if from == to {
                continue;
            }
            let ratio = match mode {
                Interpolation::Nearest => Ratio { scale: from, shift: 0, denominator: to },
                _ => Ratio::of(from, to, align_corners),
            };
            if !ratio.fits(to) {
                return refuse(format!("positions from {from} to {to} elements do not fit 32 bits"));
            }
            x = along(&x, k as isize + 2, to, mode, &ratio, &device);
        }
        x.cast(dtype)
    }
}
