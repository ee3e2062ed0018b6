//! Recurrent and long-range models.

mod aft;
mod char_rnn;
mod complex;
mod hyena;
mod linear_attention;
mod lru;
mod mamba;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;
mod rwkv;
mod s4d;
mod seq2seq;
mod state_space;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;

pub use aft::{Aft, AftOptions, aft};
pub use char_rnn::{Cell, CharRnn, CharRnnOptions};
pub use hyena::{Hyena, HyenaOperator, HyenaOptions};
pub use linear_attention::{
    LinearTransformer, LinearTransformerOptions, linear_attention, linear_attention_step,
};
pub use lru::{Lru, LruLayer};
pub use mamba::{Mamba, MambaMixer, MambaOptions};
pub use rwkv::{Rwkv, RwkvAttention, RwkvOptions, RwkvState};
pub use s4d::{S4d, S4dLayer};
pub use seq2seq::Seq2Seq;
pub use state_space::{StateSpace, StateSpaceOptions, TimeLayer};
