//! From tensors to the host.

use std::sync::Arc;

#[cfg(not(target_arch = "wasm32"))]
use vorpal_tensor::Device;
use vorpal_tensor::{Element, Error, Layout, Result};

use super::eval;
use crate::Tensor;
use crate::graph::Value;

impl Tensor {
    /// Computes the value now. Without this it happens when the value is first asked for.
    ///
    /// # Errors
    /// As [`eval`].
    pub fn eval(&self) -> Result<()> {
        eval(self)
    }

    /// The elements in row-major order, without blocking where the device answers later.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`].
    #[track_caller]
    pub fn to_vec_async<T: Element>(&self) -> impl Future<Output = Result<Vec<T>>> {
        let at = vorpal_tensor::At::caller();
        let tensor = self.clone();
        async move {
            let spec = tensor.ready()?.spec.clone();
            if spec.dtype != T::DTYPE {
                return Err(Error::DType {
                    op: "to_vec",
                    message: format!("asked for {}, found {}", T::DTYPE, spec.dtype),
                    operands: spec.to_string(),
                    at,
                });
            }
            let bytes = tensor.bytes_async().await?;
            let stored: Vec<T::Stored> = bytemuck::pod_collect_to_vec(&bytes);
            Ok(stored.into_iter().map(T::from_stored).collect())
        }
    }

    /// The stored bytes of the elements in row-major order.
    async fn bytes_async(&self) -> Result<Vec<u8>> {
        let wanted = self.ready()?.spec.clone();
        self.eval()?;
        let value = self.value()?;
        let n = wanted.shape.numel() * wanted.dtype.size();
        let gapless = Layout::contiguous(wanted.shape.clone());
        let whole =
            value.layout == gapless && value.buffer.bytes() == wanted.dtype.bytes(wanted.shape.numel());
        let value = if whole {
            value
        } else {
            let copy = Tensor::apply(crate::ops::Copy, &[self], self.ready()?.at);
            copy.eval()?;
            copy.value()?
        };
        let mut bytes = value.buffer.download_async().await?;
        bytes.truncate(n);
        Ok(bytes)
    }

    /// The same value without the graph behind it.
    ///
    /// # Errors
    /// As [`eval`].
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn detached(&self) -> Result<Tensor> {
        self.eval()?;
        let (node, value) = (self.ready()?, self.value()?);
        Ok(Tensor::leaf(crate::ops::Given, node.spec.clone(), &node.device, Some(value), node.at))
    }

    fn value(&self) -> Result<Arc<Value>> {
        self.ready()?.value().ok_or_else(|| Error::internal("executor", "an evaluated tensor has no value"))
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// [`Error::DType`] when `T` is not the tensor's dtype, else as [`eval`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        pollster::block_on(self.to_vec_async())
    }

    /// The stored bytes of the elements in row-major order: little endian, `Bool` as 32-bit words.
    ///
    /// # Errors
    /// As [`eval`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        pollster::block_on(self.bytes_async())
    }

    /// The one element of a tensor with one element.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are more or none, else as [`Tensor::to_vec`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn item<T: Element>(&self) -> Result<T> {
        let at = vorpal_tensor::At::caller();
        let values = self.to_vec::<T>()?;
        match values[..] {
            [value] => Ok(value),
            _ => Err(crate::ops::shape_error(
                "item",
                format!("{} elements, not one", values.len()),
                &[self],
                at,
            )),
        }
    }

    /// The values on another device.
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn to_device(&self, device: &Device) -> Tensor {
        match self.ready() {
            Ok(node) if node.device == *device => self.clone(),
            Ok(node) => match self.to_bytes() {
                Ok(bytes) => Tensor::from_bytes(&bytes, node.spec.shape.clone(), node.spec.dtype, device),
                Err(error) => Tensor::error(error),
            },
            Err(_) => self.clone(),
        }
    }
}
