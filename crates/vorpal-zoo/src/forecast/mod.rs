//! Forecasting: what comes next, and how sure that is.
//!
//! | model | what |
//! |---|---|
//! | [`naive`], [`seasonal_naive`], [`HoltWinters`] | what a model has to beat |
//! | [`NBeats`] | blocks that explain a part of a window and hand on the rest |
//! | [`TcnForecaster`] | dilated causal convolutions |
//! | [`PatchTst`] | a transformer that reads patches of a window as words |
//! | [`DeepAr`] | a recurrent network that answers with a distribution |
//! | [`Esn`] | a recurrent network at random, of which only the readout is solved for |

mod baseline;
mod deep_ar;
mod esn;
mod nbeats;
mod patch_tst;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;
mod tcn;

pub use baseline::{HoltWinters, naive, seasonal_naive};
pub use deep_ar::{DeepAr, DeepArOptions, Likelihood, season};
pub use esn::{Esn, EsnOptions, spectral_radius};
pub use nbeats::{NBeats, NBeatsBasis, NBeatsBlock, NBeatsOptions, NBeatsStack};
pub use patch_tst::{PatchTst, PatchTstOptions};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
pub use tcn::{TcnBlock, TcnForecaster, TcnOptions};
