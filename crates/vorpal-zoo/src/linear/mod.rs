//! Linear models: least squares, logistic and softmax regression, calibration.

mod least_squares;
mod logistic;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;
mod temperature;

pub use least_squares::{LinearRegression, condition_number};
pub use logistic::{LogisticRegression, SoftmaxRegression};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
pub use temperature::{Temperature, conformal_threshold};
