//! Tables of constants, made once for each device.

use std::sync::{Arc, Mutex, PoisonError};

use vorpal_autodiff::{DType, Device, Shape, Tensor};

/// Tensors of constants that belong to a layer and to no file, made where they are first needed. Copies share them.
#[derive(Clone, Default)]
pub(super) struct PerDevice(Arc<Mutex<Vec<Tensor>>>);

impl std::fmt::Debug for PerDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PerDevice")
    }
}

impl PerDevice {
    /// The numbers of `make` on a device, in f64 or, for all other dtypes, in f32.
    pub fn numbers(
        &self,
        device: &Device,
        dtype: DType,
        shape: impl Into<Shape>,
        make: impl FnOnce() -> Vec<f64>,
    ) -> Tensor {
        if dtype == DType::F64 {
            return self.tensor(device, dtype, || Tensor::from_slice(&make(), shape, device));
        }
        self.tensor(device, DType::F32, || {
            Tensor::from_slice(&make().iter().map(|&v| v as f32).collect::<Vec<_>>(), shape, device)
        })
    }

    /// What `make` gives for a device and dtype.
    pub fn tensor(&self, device: &Device, dtype: DType, make: impl FnOnce() -> Tensor) -> Tensor {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |x: &&Tensor| x.dtype() == dtype && x.device().is_ok_and(|own| own == *device);
        if let Some(table) = tables.iter().find(fits) {
            return table.clone();
        }
        let table = make();
        tables.push(table.clone());
        table
    }
}
