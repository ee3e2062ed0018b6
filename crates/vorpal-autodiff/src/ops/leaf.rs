//! Leaves: values from outside, constants, counters, run-time scalars.

use std::sync::Arc;

use smallvec::SmallVec;
use vorpal_tensor::{At, DType, Device, Element, Error, Layout, Result, Shape};

use crate::compile::ir::{Builder, NodeId};
use crate::graph::Value;
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// A value that is there already. Never lowered: the executor binds its buffer.
#[derive(Debug)]
pub(crate) struct Given;

impl Op for Given {
    fn name(&self) -> &'static str {
        "given"
    }
    fn infer(&self, _: &[Spec]) -> Result<Spec, Misfit> {
        Misfit::shape("a given value has no operands")
    }
    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.of_leaf(self)
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, _: &mut Builder, _: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Err(Error::internal("graph", "a given value has lost its buffer"))
    }
}

/// The same constant everywhere, part of the plan.
#[derive(Debug)]
struct Full {
    value: f64,
    spec: Spec,
}

impl Op for Full {
    fn name(&self) -> &'static str {
        "full"
    }
    fn infer(&self, _: &[Spec]) -> Result<Spec, Misfit> {
        Ok(self.spec.clone())
    }
    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.of_leaf(self)
    }
    fn attributes(&self, key: &mut Key) {
        key.push_float(self.value);
    }
    fn lower(&self, cx: &mut Builder, _: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(cx.constant(self.value, self.spec.shape.clone(), self.spec.dtype))
    }
}

/// One number handed to the kernels anew in every run.
#[derive(Debug)]
struct Scalar {
    value: f64,
    dtype: DType,
}

impl Op for Scalar {
    fn name(&self) -> &'static str {
        "scalar"
    }
    fn infer(&self, _: &[Spec]) -> Result<Spec, Misfit> {
        Ok(Spec::new(Shape::scalar(), self.dtype))
    }
    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.of_leaf(self)
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, _: &mut Builder, _: &[NodeId], scalars: &[NodeId]) -> Result<NodeId> {
        Ok(scalars[0])
    }
    fn scalars(&self) -> SmallVec<[(f64, DType); 4]> {
        smallvec::smallvec![(self.value, self.dtype)]
    }
}

/// The position along an axis.
#[derive(Debug)]
struct Iota {
    spec: Spec,
    axis: usize,
}

impl Op for Iota {
    fn name(&self) -> &'static str {
        "iota"
    }
    fn infer(&self, _: &[Spec]) -> Result<Spec, Misfit> {
        Ok(self.spec.clone())
    }
    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.of_leaf(self)
    }
    fn attributes(&self, key: &mut Key) {
        key.push(self.axis);
    }
    fn lower(&self, cx: &mut Builder, _: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let position = cx.coordinate(&self.spec.shape, self.axis);
        Ok(cx.cast(position, self.spec.dtype))
    }
}

/// The same values under another identity: what a differentiation calls its variables.
#[derive(Debug)]
pub(crate) struct Variable;

impl Op for Variable {
    fn name(&self) -> &'static str {
        "variable"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(inputs[0].clone())
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(v.grad.clone())]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Variable)
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, _: &mut Builder, inputs: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(inputs[0])
    }
}

/// The same values, constant to derivatives.
#[derive(Debug)]
struct StopGradient;

impl Op for StopGradient {
    fn name(&self) -> &'static str {
        "stop_gradient"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(inputs[0].clone())
    }
    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(StopGradient)
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, _: &mut Builder, inputs: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(inputs[0])
    }
}

impl Tensor {
    /// Elements in row-major order, copied to a device.
    ///
    /// Carries [`Error::Shape`] when the number of elements is not that of the shape,
    /// [`Error::OutOfMemory`] when the device has no room.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1i32, 2, 3, 4], [2, 2], &Device::cpu());
    /// assert_eq!(x.sum_all().item::<i32>()?, 10);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn from_slice<T: Element>(values: &[T], shape: impl Into<Shape>, device: &Device) -> Tensor {
        let (at, spec) = (At::caller(), Spec::new(shape, T::DTYPE));
        if spec.shape.checked_numel() != Some(values.len()) {
            let message = format!("{} elements do not fill shape {}", values.len(), spec.shape);
            return Tensor::error(Error::Shape { op: "from_slice", message, operands: spec.to_string(), at });
        }
        let stored: Vec<T::Stored> = values.iter().map(|&v| v.to_stored()).collect();
        Tensor::from_stored(bytemuck::cast_slice(&stored), spec, device, at)
    }

    /// A tensor from the bytes of its elements as they are stored: little endian, row-major, `Bool` as
    /// 32-bit words.
    #[track_caller]
    pub fn from_bytes(bytes: &[u8], shape: impl Into<Shape>, dtype: DType, device: &Device) -> Tensor {
        let (at, spec) = (At::caller(), Spec::new(shape, dtype));
        let needed = spec.shape.checked_numel().and_then(|n| n.checked_mul(dtype.size()));
        if needed != Some(bytes.len()) {
            let message = format!("{} bytes do not fill the shape", bytes.len());
            return Tensor::error(Error::Shape { op: "from_bytes", message, operands: spec.to_string(), at });
        }
        Tensor::from_stored(bytes, spec, device, at)
    }

    fn from_stored(bytes: &[u8], spec: Spec, device: &Device, at: At) -> Tensor {
        if !device.supports(spec.dtype) {
            return Tensor::leaf(Given, spec, device, None, at);
        }
        let whole = spec.dtype.bytes(spec.shape.numel());
        let uploaded = if whole == bytes.len() {
            device.upload(bytes)
        } else {
            let mut padded = bytes.to_vec();
            padded.resize(whole, 0);
            device.upload(&padded)
        };
        match uploaded {
            Ok(buffer) => {
                let layout = Layout::contiguous(spec.shape.clone());
                Tensor::leaf(Given, spec, device, Some(Arc::new(Value { buffer, layout })), at)
            }
            Err(error) => Tensor::error(error),
        }
    }

    /// One number as a tensor without axes.
    #[track_caller]
    pub fn from_item<T: Element>(value: T, device: &Device) -> Tensor {
        Tensor::from_slice(&[value], Shape::scalar(), device)
    }

    /// The same constant everywhere. It is part of the program that computes with it: for a number
    /// that changes from step to step use [`Tensor::scalar`].
    #[track_caller]
    pub fn full(shape: impl Into<Shape>, value: f64, dtype: DType, device: &Device) -> Tensor {
        let spec = Spec::new(shape, dtype);
        Tensor::leaf(Full { value, spec: spec.clone() }, spec, device, None, At::caller())
    }

    /// Zeros.
    #[track_caller]
    pub fn zeros(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Tensor {
        Tensor::full(shape, 0.0, dtype, device)
    }

    /// Ones.
    #[track_caller]
    pub fn ones(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Tensor {
        Tensor::full(shape, 1.0, dtype, device)
    }

    /// A constant with shape, dtype and device of `self`.
    #[track_caller]
    pub fn full_like(&self, value: f64) -> Tensor {
        match self.ready() {
            Ok(node) => Tensor::full(node.spec.shape.clone(), value, node.spec.dtype, &node.device),
            Err(_) => self.clone(),
        }
    }

    /// A number that is handed to the device anew in every run, without changing the compiled program:
    /// a learning rate, a step count.
    #[track_caller]
    pub fn scalar(value: f64, dtype: DType, device: &Device) -> Tensor {
        let spec = Spec::new(Shape::scalar(), dtype);
        Tensor::leaf(Scalar { value, dtype }, spec, device, None, At::caller())
    }

    /// `0, 1, …, n − 1`.
    #[track_caller]
    pub fn arange(n: usize, dtype: DType, device: &Device) -> Tensor {
        Tensor::iota([n], 0, dtype, device)
    }

    /// The position along `axis` of every element of a shape.
    #[track_caller]
    pub fn iota(shape: impl Into<Shape>, axis: usize, dtype: DType, device: &Device) -> Tensor {
        let (at, spec) = (At::caller(), Spec::new(shape, dtype));
        if axis >= spec.shape.rank() || dtype == DType::Bool {
            let message = format!("positions along axis {axis}");
            return Tensor::error(Error::Shape { op: "iota", message, operands: spec.to_string(), at });
        }
        Tensor::leaf(Iota { spec: spec.clone(), axis }, spec, device, None, at)
    }

    /// The same values, constant to derivatives.
    #[track_caller]
    pub fn stop_gradient(&self) -> Tensor {
        Tensor::apply(StopGradient, &[self], At::caller())
    }
}
