//! Layers.

/// Says of types that their method `forward` is that of a [`Layer`].
macro_rules! layers {
    ($($name:ident),+ $(,)?) => {$(
        impl Layer for $name {
            fn forward(&self, x: &vorpal_autodiff::Tensor) -> vorpal_autodiff::Tensor {
                $name::forward(self, x)
            }
        }
    )+};
    (<N> $($name:ident),+ $(,)?) => {$(
        impl<const N: usize> Layer for $name<N> {
            fn forward(&self, x: &vorpal_autodiff::Tensor) -> vorpal_autodiff::Tensor {
                $name::forward(self, x)
            }
        }
    )+};
}

mod activation;
mod adapt;
mod attention;
mod conv;
mod dropout;
mod embedding;
mod experts;
mod frozen;
mod glu;
mod layer;
mod linear;
mod norm;
mod per_device;
mod pool;
mod position;
mod recurrent;
mod reparametrize;
mod reshape;
mod spline;
mod transformer;
mod wrong;

pub use self::activation::{
    Celu, Elu, Gelu, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, LeakyRelu, LogSigmoid, LogSoftmax, Mish,
    Prelu, Relu, Relu6, Rrelu, Selu, Sigmoid, Silu, Softmax, Softmax2d, Softmin, Softplus, Softshrink,
    Softsign, Tanh, Tanhshrink, Threshold,
};
pub use self::adapt::{Adapter, Lora};
pub use self::attention::{
    Alibi, AttentionMask, KvCache, MultiHeadAttention, MultiheadAttention, merge_heads, multi_head_attention,
    split_heads,
};
pub use self::conv::{
    Conv, Conv1d, Conv2d, Conv3d, ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d,
};
pub use self::dropout::{
    AlphaDropout, ChannelDropout, DropPath, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout,
};
pub use self::embedding::{BagMode, Embedding, EmbeddingBag};
pub use self::experts::MixtureOfExperts;
pub use self::frozen::Frozen;
pub use self::glu::{GeGlu, Glu, ReGlu, SwiGlu};
pub use self::layer::{BoxedLayer, Lambda, Layer, Residual, Sequential};
pub use self::linear::{Bilinear, Identity, Linear};
pub use self::norm::{
    BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, InstanceNorm, InstanceNorm1d,
    InstanceNorm2d, InstanceNorm3d, LayerNorm, LocalResponseNorm, RmsNorm,
};
pub use self::pool::{
    AdaptiveAvgPool, AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool,
    AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d, AvgPool, AvgPool1d, AvgPool2d, AvgPool3d,
    LpPool, LpPool1d, LpPool2d, LpPool3d, MaxPool, MaxPool1d, MaxPool2d, MaxPool3d,
};
pub use self::position::{LearnedPositions, Rotary, SinusoidalPositions};
pub use self::recurrent::{
    Gru, GruCell, GruKind, Lstm, LstmCell, LstmKind, LstmState, Recurrent, RecurrentCell, RecurrentKind,
    RecurrentLayer, RecurrentOptions, Rnn, RnnCell, RnnKind,
};
pub use self::reparametrize::{SpectralNorm, WeightNorm, Weighted, spectral_norm, weight_norm};
pub use self::reshape::{
    Around, ChannelShuffle, CircularPad, CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad,
    ConstantPad1d, ConstantPad2d, ConstantPad3d, Flatten, PixelShuffle, PixelUnshuffle, ReflectionPad,
    ReflectionPad1d, ReflectionPad2d, ReflectionPad3d, ReplicationPad, ReplicationPad1d, ReplicationPad2d,
    ReplicationPad3d, Unflatten, Upsample,
};
pub use self::spline::{KanLinear, SplineActivation, SplineGrid};
pub use self::transformer::{
    Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer,
    TransformerOptions,
};
