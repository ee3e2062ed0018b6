//! Modules, initialisers, optimisers, checkpoints and data for Vorpal.

#[cfg(not(target_arch = "wasm32"))]
mod checkpoint;
pub mod data;
pub mod init;
pub mod interop;
mod layers;
pub mod loss;
#[cfg(not(target_arch = "wasm32"))]
pub mod metrics;
mod module;
mod optim;
#[cfg(not(target_arch = "wasm32"))]
pub mod plot;
pub mod schedule;
mod summary;
pub mod text;
#[cfg(not(target_arch = "wasm32"))]
pub mod trainer;

extern crate self as vorpal_nn;

#[cfg(not(target_arch = "wasm32"))]
pub use checkpoint::{
    from_safetensors, load, load_optimizer, optimizer_from_safetensors, optimizer_to_safetensors, save,
    save_optimizer, to_safetensors, write_whole,
};
pub use layers::*;
pub use module::{Module, Role, State, Training, join};
pub use optim::{
    Adadelta, AdadeltaOptions, Adafactor, AdafactorOptions, Adagrad, AdagradOptions, Adam, AdamOptions,
    Adamax, AdamaxOptions, Averaged, GradAccumulator, GradScaler, GradScalerOptions, Kept, Lamb, LambOptions,
    Lion, LionOptions, Muon, MuonOptions, MuonRate, NAdam, NAdamOptions, Optim, Optimizer, OptimizerState,
    ParameterGroup, RAdam, RAdamOptions, RmsProp, RmsPropOptions, Rprop, RpropOptions, Sgd, SgdOptions,
    Shampoo, ShampooOptions, Slot, Step, Unscaled, UpdateRule, clip_grad_norm, clip_grad_norm_p,
    clip_grad_value, global_norm, global_norm_p,
};
#[cfg(not(target_arch = "wasm32"))]
pub use optim::{Lbfgs, LbfgsOptions};
pub use summary::{LayerSummary, Summary, summary};
pub use vorpal_autodiff::{
    DType, Device, Element, Error, Result, Shape, Tensor, Tensors, Tree, eval, grad,
    ops::{
        AttentionOptions, Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvTranspose1dOptions,
        ConvTranspose2dOptions, ConvTranspose3dOptions, Interpolation, Padding, Pool1dOptions, Pool2dOptions,
        Pool3dOptions,
    },
    value_and_grad,
};
pub use vorpal_derive::Module;
