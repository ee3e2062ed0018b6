//! Tensors made from a rule: ranges, the identity, one-hot rows, grids.

use vorpal_tensor::{At, DType, Device, Error, Shape};

use super::index::checked;
use super::pointwise::{ADD, MUL};
use super::shape_error;
use crate::Tensor;

impl Tensor {
    /// `start, start + step, …` up to, but without, `end`, as `torch.arange`. Integers are counted in `I32`, 16-bit
    /// floats in `F32`.
    ///
    /// Carries [`Error::Argument`] when `step` does not lead from `start` to `end`, or integers are asked for from
    /// numbers that are not whole.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, DType, Tensor};
    /// let x = Tensor::arange_step(1.0, 2.0, 0.25, DType::F32, &Device::cpu());
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 1.25, 1.5, 1.75]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn arange_step(start: f64, end: f64, step: f64, dtype: DType, device: &Device) -> Tensor {
        let at = At::caller();
        let steps = (end - start) / step;
        let refuse = |message: String| Tensor::error(Error::Argument { op: "arange", message, at });
        if !steps.is_finite() || steps < 0.0 || steps > f64::from(i32::MAX) {
            return refuse(format!("steps of {step} do not lead from {start} to {end}"));
        }
        let whole = |x: f64| x.fract() == 0.0 && x.abs() < f64::from(i32::MAX);
        let counted = if dtype.is_float() { dtype.compute() } else { DType::I32 };
        if counted == DType::I32 && !(whole(start) && whole(step) && whole(end)) {
            return refuse(format!("{dtype} numbers from {start} to {end} in steps of {step} are not whole"));
        }
        let count = Tensor::iota([steps.ceil() as usize], 0, counted, device);
        count.with_constant(&MUL, step).with_constant(&ADD, start).cast(dtype)
    }

    /// `count` numbers from `start` to `end`, both included, at equal distances, as `torch.linspace`. The ends are
    /// exact.
    ///
    /// Carries [`Error::DType`] unless `dtype` is a float.
    #[track_caller]
    pub fn linspace(start: f64, end: f64, count: usize, dtype: DType, device: &Device) -> Tensor {
        let at = At::caller();
        if !dtype.is_float() {
            let (message, operands) = (format!("needs floats, asked for {dtype}"), dtype.to_string());
            return Tensor::error(Error::DType { op: "linspace", message, operands, at });
        }
        let compute = dtype.compute();
        let step = if count > 1 { (end - start) / (count - 1) as f64 } else { 0.0 };
        let front = Tensor::iota([count], 0, compute, device);
        // From both ends to the middle, so that neither is off by rounding.
        let rising = front.with_constant(&MUL, step).with_constant(&ADD, start);
        let back = front.with_constant(&MUL, -1.0).with_constant(&ADD, count as f64 - 1.0);
        let falling = back.with_constant(&MUL, -step).with_constant(&ADD, end);
        let near = Tensor::iota([count], 0, DType::I32, device);
        let line = near.lt(near.full_like(count.div_ceil(2) as f64)).select(&rising, &falling);
        if count < 2 {
            return line.cast(dtype);
        }
        // Compilers of shaders may join the factors, and miss the end by a rounding.
        near.eq(near.full_like(count as f64 - 1.0)).select(line.full_like(end), line).cast(dtype)
    }

    /// The identity matrix `[n, n]`.
    #[track_caller]
    pub fn eye(n: usize, dtype: DType, device: &Device) -> Tensor {
        let rows = Tensor::iota([n, n], 0, DType::I32, device);
        let columns = Tensor::iota([n, n], 1, DType::I32, device);
        rows.eq(columns).cast(dtype)
    }

    /// A row `[…, classes]` for every class number, with 1 at the number and 0 elsewhere. Numbers that are no class are
    /// an [`Error::Index`] when the value is read.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, DType, Tensor};
    /// let classes = Tensor::from_slice(&[2i32, 0], [2], &Device::cpu());
    /// assert_eq!(classes.one_hot(3, DType::F32).to_vec::<f32>()?, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn one_hot(&self, classes: usize, dtype: DType) -> Tensor {
        let at = At::caller();
        let Ok(device) = self.device() else { return self.clone() };
        if self.dtype().is_float() || self.dtype() == DType::Bool {
            let message = format!("class numbers must be integers, found {}", self.dtype());
            return Tensor::error(super::dtype_error("one_hot", message, &[self], at));
        }
        let numbers = checked("one_hot", self, classes, at);
        let shape: Shape = self.shape().iter().copied().chain([classes]).collect();
        let positions = Tensor::iota(shape, self.rank(), self.dtype(), &device);
        positions.eq(numbers.unsqueeze(-1)).cast(dtype)
    }

    /// Every list spread over the grid of all of them: tensor `k` varies along axis `k` only, as `torch.meshgrid` with
    /// `indexing="ij"`.
    ///
    /// A tensor with more than one axis gives [`Error::Shape`] in its place.
    #[track_caller]
    pub fn meshgrid(lists: &[&Tensor]) -> Vec<Tensor> {
        let at = At::caller();
        let grid: Shape = lists.iter().map(|x| x.shape().numel()).collect();
        let mut out = Vec::with_capacity(lists.len());
        for (k, list) in lists.iter().enumerate() {
            if list.rank() > 1 {
                let message = format!("list {k} has {} axes", list.rank());
                out.push(Tensor::error(shape_error("meshgrid", message, &[list], at)));
                continue;
            }
            let place: Shape = (0..grid.rank()).map(|j| if j == k { grid[k] } else { 1 }).collect();
            out.push(list.reshape(place).broadcast_to(grid.clone()));
        }
        out
    }
}
