//! Conversions from and to the crate `ndarray`.

use ndarray::{ArrayBase, ArrayD, Data, Dimension, IxDyn};
use vorpal_autodiff::{Element, Error, Result};

use crate::data::Array;

impl Array {
    /// The elements of an array of the crate `ndarray`, views and any strides included.
    ///
    /// ```
    /// use vorpal_nn::data::Array;
    /// let x = ndarray::array![[1.0f32, 2.0], [3.0, 4.0]];
    /// let y = Array::from_ndarray(&x.t())?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 3.0, 2.0, 4.0]);
    /// assert_eq!(y.to_ndarray::<f32>()?, x.t().into_dyn());
    /// # Ok::<(), vorpal_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// None that a well-formed array gives.
    pub fn from_ndarray<T, S, D>(array: &ArrayBase<S, D>) -> Result<Array>
    where
        T: Element,
        S: Data<Elem = T>,
        D: Dimension,
    {
        match array.as_slice() {
            Some(values) => Array::new(values, array.shape()),
            None => Array::new(&array.iter().copied().collect::<Vec<T>>(), array.shape()),
        }
    }

    /// A copy of the elements as an array of the crate `ndarray`.
    ///
    /// # Errors
    /// [`Error::Format`] when they are of another type.
    pub fn to_ndarray<T: Element>(&self) -> Result<ArrayD<T>> {
        ArrayD::from_shape_vec(IxDyn(self.shape().dims()), self.to_vec()?)
            .map_err(|e| Error::format("ndarray", e.to_string()))
    }
}
