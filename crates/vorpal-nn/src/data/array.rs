//! Numbers in the host's memory, with a shape.

use vorpal_autodiff::{DType, Device, Element, Error, Result, Shape, Tensor};

use super::Dataset;

/// A dense row-major array in the host's memory: what data sets and file readers hand out before a batch goes to a
/// device. As a [`Dataset`] it is the rows along its first axis.
///
/// ```
/// use vorpal_nn::data::{Array, Dataset};
/// let x = Array::new(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2])?;
/// assert_eq!(x.len(), 3);
/// assert_eq!(x.get(1)?.to_vec::<f32>()?, [3.0, 4.0]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    shape: Shape,
    dtype: DType,
    bytes: Vec<u8>,
}

impl Array {
    /// Elements in row-major order.
    ///
    /// # Errors
    /// [`Error::Format`] when their number is not that of the shape.
    pub fn new<T: Element>(values: &[T], shape: impl Into<Shape>) -> Result<Array> {
        let stored: Vec<T::Stored> = values.iter().map(|&v| v.to_stored()).collect();
        Array::from_bytes(bytemuck::cast_slice(&stored).to_vec(), shape, T::DTYPE)
    }

    /// Elements as they are stored: little endian, row-major, `Bool` as 32-bit words.
    ///
    /// # Errors
    /// [`Error::Format`] when their number is not that of the shape.
    pub fn from_bytes(bytes: Vec<u8>, shape: impl Into<Shape>, dtype: DType) -> Result<Array> {
        let shape = shape.into();
        match shape.checked_numel().and_then(|n| n.checked_mul(dtype.size())) {
            Some(n) if n == bytes.len() => Ok(Array { shape, dtype, bytes }),
            _ => Err(Error::format(
                "array",
                format!("{} bytes do not fill {}", bytes.len(), shape.describe(dtype)),
            )),
        }
    }

    /// One number.
    pub fn scalar<T: Element>(value: T) -> Array {
        let bytes = bytemuck::bytes_of(&value.to_stored()).to_vec();
        Array { shape: Shape::scalar(), dtype: T::DTYPE, bytes }
    }

    /// Sizes of the axes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The elements as they are stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements, without a copy.
    ///
    /// # Errors
    /// [`Error::Format`] when they are of another type, or do not lie in memory as the type must.
    pub fn as_slice<T: Element<Stored = T> + bytemuck::Pod>(&self) -> Result<&[T]> {
        self.expect(T::DTYPE)?;
        bytemuck::try_cast_slice(&self.bytes).map_err(|e| Error::format("array", e.to_string()))
    }

    /// A copy of the elements.
    ///
    /// # Errors
    /// [`Error::Format`] when they are of another type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.expect(T::DTYPE)?;
        let stored: Vec<T::Stored> = bytemuck::pod_collect_to_vec(&self.bytes);
        Ok(stored.into_iter().map(T::from_stored).collect())
    }

    fn expect(&self, dtype: DType) -> Result<()> {
        if self.dtype == dtype {
            return Ok(());
        }
        Err(Error::format("array", format!("asked for {dtype}, found {}", self.shape.describe(self.dtype))))
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// [`Error::Format`] when it has another number of elements.
    pub fn reshape(self, shape: impl Into<Shape>) -> Result<Array> {
        Array::from_bytes(self.bytes, shape, self.dtype)
    }

    /// The elements in another type, converted as [`Tensor::cast`] does.
    ///
    /// # Errors
    /// What the conversion gives.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn cast(&self, dtype: DType) -> Result<Array> {
        if self.dtype == dtype {
            return Ok(self.clone());
        }
        Array::from_tensor(&self.to_tensor(&Device::cpu()).cast(dtype))
    }

    /// The array on a device. Carries an error when the device has no such elements or no room.
    #[track_caller]
    pub fn to_tensor(&self, device: &Device) -> Tensor {
        Tensor::from_bytes(&self.bytes, &self.shape, self.dtype, device)
    }

    /// The values of a tensor.
    ///
    /// # Errors
    /// What evaluating it gives.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_tensor(tensor: &Tensor) -> Result<Array> {
        Array::from_bytes(tensor.to_bytes()?, tensor.shape(), tensor.dtype())
    }

    /// Bytes of one row along the first axis.
    fn row(&self) -> usize {
        self.bytes.len().checked_div(self.shape.first().copied().unwrap_or(0)).unwrap_or(0)
    }
}

impl Dataset for Array {
    type Item = Array;
    fn len(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }
    fn get(&self, index: usize) -> Result<Array> {
        super::dataset::check(index, self.len())?;
        let row = self.row();
        let shape = self.shape.without_axis(0);
        Ok(Array { shape, dtype: self.dtype, bytes: self.bytes[index * row..(index + 1) * row].to_vec() })
    }
}
