//! Transformers in the form of PyTorch.

use vorpal_autodiff::{Device, Tensor};

use super::{AttentionMask, BoxedLayer, Dropout, Layer, LayerNorm, Linear, MultiheadAttention, Relu};
use crate::init::xavier_uniform;
use crate::{Module, Role};

/// What the layers of a transformer are made of. The default is that of PyTorch.
#[derive(Clone, Debug)]
pub struct TransformerOptions {
    /// Width between the two linear layers, 2,048 by default.
    pub dim_feedforward: usize,
    /// Dropout, 0.1 by default.
    pub dropout: f64,
    /// What stands between the two linear layers, a ReLU by default.
    pub activation: BoxedLayer,
    /// Added to variances, 1e-5 by default.
    pub layer_norm_eps: f64,
    /// Whether operands are `[batch, rows, width]` instead of `[rows, batch, width]`.
    pub batch_first: bool,
    /// Whether norms stand in front of attention and linear layers instead of behind the sums.
    pub norm_first: bool,
    /// Whether there are biases, as by default.
    pub bias: bool,
}

impl Default for TransformerOptions {
    fn default() -> TransformerOptions {
        TransformerOptions {
            dim_feedforward: 2048,
            dropout: 0.1,
            activation: BoxedLayer::new(Relu),
            layer_norm_eps: 1e-5,
            batch_first: false,
            norm_first: false,
            bias: true,
        }
    }
}

impl TransformerOptions {
    fn norm(&self, width: usize, device: &Device) -> LayerNorm {
        let norm = LayerNorm::new(width, device).eps(self.layer_norm_eps);
        if self.bias { norm } else { norm.without_bias() }
    }

    fn linear(&self, inputs: usize, outputs: usize, device: &Device) -> Linear {
        match self.bias {
            true => Linear::new(inputs, outputs, device),
            false => Linear::without_bias(inputs, outputs, device),
        }
    }

    fn attention(&self, width: usize, heads: usize, device: &Device) -> MultiheadAttention {
        let mut layer = MultiheadAttention::new(width, heads, device).dropout(self.dropout);
        if self.batch_first {
            layer = layer.batch_first();
        }
        if self.bias { layer } else { layer.without_bias() }
    }
}

/// `torch.nn.TransformerEncoderLayer`: self-attention, then two linear layers, each added to what came in.
///
/// ```
/// use vorpal_nn::{AttentionMask, DType, Device, Tensor, TransformerEncoderLayer, TransformerOptions};
/// let options = TransformerOptions { dim_feedforward: 16, batch_first: true, ..TransformerOptions::default() };
/// let layer = TransformerEncoderLayer::new(8, 2, &options, &Device::cpu());
/// let x = Tensor::ones([3, 5, 8], DType::F32, &Device::cpu());
/// assert_eq!(layer.forward(&x, &AttentionMask::none()).shape(), x.shape());
/// ```
#[derive(Clone, Debug, Module)]
pub struct TransformerEncoderLayer {
    self_attn: MultiheadAttention,
    linear1: Linear,
    linear2: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
    dropout: Dropout,
    activation: BoxedLayer,
    norm_first: bool,
}

impl TransformerEncoderLayer {
    /// For rows of width `d_model` and `nhead` heads.
    pub fn new(
        d_model: usize,
        nhead: usize,
        options: &TransformerOptions,
        device: &Device,
    ) -> TransformerEncoderLayer {
        TransformerEncoderLayer {
            self_attn: options.attention(d_model, nhead, device),
            linear1: options.linear(d_model, options.dim_feedforward, device),
            linear2: options.linear(options.dim_feedforward, d_model, device),
            norm1: options.norm(d_model, device),
            norm2: options.norm(d_model, device),
            dropout: Dropout::new(options.dropout),
            activation: options.activation.clone(),
            norm_first: options.norm_first,
        }
    }

    /// The layer applied to a batch of sequences.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, mask: &AttentionMask) -> Tensor {
        let (drop, first) = (&self.dropout, self.norm_first);
        let rows = before(x, &self.norm1, first);
        let x = added(x, &self.self_attn.forward(&rows, &rows, &rows, mask), &self.norm1, drop, first);
        let rows = self.activation.forward(&self.linear1.forward(&before(&x, &self.norm2, first)));
        added(&x, &self.linear2.forward(&drop.forward(&rows)), &self.norm2, drop, first)
    }
}

/// What a part of a layer begins with.
#[track_caller]
fn before(x: &Tensor, norm: &LayerNorm, norm_first: bool) -> Tensor {
    if norm_first { norm.forward(x) } else { x.clone() }
}

/// `x` and what a part of a layer made of it, added.
#[track_caller]
fn added(x: &Tensor, made: &Tensor, norm: &LayerNorm, dropout: &Dropout, norm_first: bool) -> Tensor {
    let sum = x + dropout.forward(made);
    if norm_first { sum } else { norm.forward(&sum) }
}

/// `torch.nn.TransformerDecoderLayer`: self-attention, attention to the rows of an encoder, then two linear layers, each
/// added to what came in.
///
/// ```
/// use vorpal_nn::{AttentionMask, DType, Device, Tensor, TransformerDecoderLayer, TransformerOptions};
/// let options = TransformerOptions { dim_feedforward: 16, batch_first: true, ..TransformerOptions::default() };
/// let layer = TransformerDecoderLayer::new(8, 2, &options, &Device::cpu());
/// let x = Tensor::ones([3, 5, 8], DType::F32, &Device::cpu());
/// let memory = Tensor::ones([3, 7, 8], DType::F32, &Device::cpu());
/// let y = layer.forward(&x, &memory, &AttentionMask::causal(), &AttentionMask::none());
/// assert_eq!(y.shape(), x.shape());
/// ```
#[derive(Clone, Debug, Module)]
pub struct TransformerDecoderLayer {
    self_attn: MultiheadAttention,
    multihead_attn: MultiheadAttention,
    linear1: Linear,
    linear2: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
    norm3: LayerNorm,
    dropout: Dropout,
    activation: BoxedLayer,
    norm_first: bool,
}

impl TransformerDecoderLayer {
    /// For rows of width `d_model` and `nhead` heads.
    pub fn new(
        d_model: usize,
        nhead: usize,
        options: &TransformerOptions,
        device: &Device,
    ) -> TransformerDecoderLayer {
        TransformerDecoderLayer {
            self_attn: options.attention(d_model, nhead, device),
            multihead_attn: options.attention(d_model, nhead, device),
            linear1: options.linear(d_model, options.dim_feedforward, device),
            linear2: options.linear(options.dim_feedforward, d_model, device),
            norm1: options.norm(d_model, device),
            norm2: options.norm(d_model, device),
            norm3: options.norm(d_model, device),
            dropout: Dropout::new(options.dropout),
            activation: options.activation.clone(),
            norm_first: options.norm_first,
        }
    }

    /// The layer applied to a batch of sequences and what an encoder made of others. `mask` is that of the rows of `x`
    /// among themselves, `memory_mask` that of the rows of `memory`.
    #[track_caller]
    pub fn forward(
        &self,
        x: &Tensor,
        memory: &Tensor,
        mask: &AttentionMask,
        memory_mask: &AttentionMask,
    ) -> Tensor {
        let (drop, first) = (&self.dropout, self.norm_first);
        let rows = before(x, &self.norm1, first);
        let x = added(x, &self.self_attn.forward(&rows, &rows, &rows, mask), &self.norm1, drop, first);
        let rows = before(&x, &self.norm2, first);
        let seen = self.multihead_attn.forward(&rows, memory, memory, memory_mask);
        let x = added(&x, &seen, &self.norm2, drop, first);
        let rows = self.activation.forward(&self.linear1.forward(&before(&x, &self.norm3, first)));
        added(&x, &self.linear2.forward(&drop.forward(&rows)), &self.norm3, drop, first)
    }
}

/// `torch.nn.TransformerEncoder`: encoder layers one after the other, and a norm if there is one. In contrast to PyTorch
/// every layer starts with weights of its own.
///
/// ```
/// use vorpal_nn::{AttentionMask, DType, Device, Tensor, TransformerEncoder, TransformerOptions};
/// let options = TransformerOptions { dim_feedforward: 16, ..TransformerOptions::default() };
/// let encoder = TransformerEncoder::new(8, 2, 3, &options, &Device::cpu());
/// let x = Tensor::ones([5, 1, 8], DType::F32, &Device::cpu());
/// assert_eq!(encoder.forward(&x, &AttentionMask::none()).shape(), x.shape());
/// ```
#[derive(Clone, Debug, Module)]
pub struct TransformerEncoder {
    /// The layers.
    pub layers: Vec<TransformerEncoderLayer>,
    /// What stands behind them.
    pub norm: Option<LayerNorm>,
}

impl TransformerEncoder {
    /// So many layers without a norm behind them.
    pub fn new(
        d_model: usize,
        nhead: usize,
        num_layers: usize,
        options: &TransformerOptions,
        device: &Device,
    ) -> TransformerEncoder {
        let layer = |_| TransformerEncoderLayer::new(d_model, nhead, options, device);
        TransformerEncoder { layers: (0..num_layers).map(layer).collect(), norm: None }
    }

    /// The same with a norm behind the layers.
    #[must_use]
    pub fn with_norm(self, norm: LayerNorm) -> TransformerEncoder {
        TransformerEncoder { norm: Some(norm), ..self }
    }

    /// The layers applied to a batch of sequences.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, mask: &AttentionMask) -> Tensor {
        let mut x = x.clone();
        for layer in &self.layers {
            x = layer.forward(&x, mask);
        }
        match &self.norm {
            Some(norm) => norm.forward(&x),
            None => x,
        }
    }
}

/// `torch.nn.TransformerDecoder`: decoder layers one after the other, and a norm if there is one. In contrast to PyTorch
/// every layer starts with weights of its own.
///
/// ```
/// use vorpal_nn::{AttentionMask, DType, Device, Tensor, TransformerDecoder, TransformerOptions};
/// let options = TransformerOptions { dim_feedforward: 16, ..TransformerOptions::default() };
/// let decoder = TransformerDecoder::new(8, 2, 3, &options, &Device::cpu());
/// let x = Tensor::ones([5, 1, 8], DType::F32, &Device::cpu());
/// let y = decoder.forward(&x, &x, &AttentionMask::causal(), &AttentionMask::none());
/// assert_eq!(y.shape(), x.shape());
/// ```
#[derive(Clone, Debug, Module)]
pub struct TransformerDecoder {
    /// The layers.
    pub layers: Vec<TransformerDecoderLayer>,
    /// What stands behind them.
    pub norm: Option<LayerNorm>,
}

impl TransformerDecoder {
    /// So many layers without a norm behind them.
    pub fn new(
        d_model: usize,
        nhead: usize,
        num_layers: usize,
        options: &TransformerOptions,
        device: &Device,
    ) -> TransformerDecoder {
        let layer = |_| TransformerDecoderLayer::new(d_model, nhead, options, device);
        TransformerDecoder { layers: (0..num_layers).map(layer).collect(), norm: None }
    }

    /// The same with a norm behind the layers.
    #[must_use]
    pub fn with_norm(self, norm: LayerNorm) -> TransformerDecoder {
        TransformerDecoder { norm: Some(norm), ..self }
    }

    /// The layers applied to a batch of sequences and what an encoder made of others: see
    /// [`TransformerDecoderLayer::forward`].
    #[track_caller]
    pub fn forward(
        &self,
        x: &Tensor,
        memory: &Tensor,
        mask: &AttentionMask,
        memory_mask: &AttentionMask,
    ) -> Tensor {
        let mut x = x.clone();
        for layer in &self.layers {
            x = layer.forward(&x, memory, mask, memory_mask);
        }
        match &self.norm {
            Some(norm) => norm.forward(&x),
            None => x,
        }
    }
}

/// `torch.nn.Transformer` (Vaswani et al. 2017): an encoder and a decoder, a norm behind each.
///
/// ```
/// use vorpal_nn::{AttentionMask, DType, Device, Tensor, Transformer, TransformerOptions};
/// let options = TransformerOptions { dim_feedforward: 16, batch_first: true, ..TransformerOptions::default() };
/// let model = Transformer::new(8, 2, [1, 1], &options, &Device::cpu());
/// let source = Tensor::ones([3, 7, 8], DType::F32, &Device::cpu());
/// let target = Tensor::ones([3, 5, 8], DType::F32, &Device::cpu());
/// let none = AttentionMask::none();
/// let y = model.forward(&source, &target, &none, &AttentionMask::causal(), &none);
/// assert_eq!(y.shape(), target.shape());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Transformer {
    /// What reads the source.
    pub encoder: TransformerEncoder,
    /// What writes the target.
    pub decoder: TransformerDecoder,
}

impl Transformer {
    /// Numbers of layers of the encoder and the decoder, 6 each in PyTorch. All weights are uniform as Glorot & Bengio
    /// (2010) have them, as there.
    pub fn new(
        d_model: usize,
        nhead: usize,
        [encoders, decoders]: [usize; 2],
        options: &TransformerOptions,
        device: &Device,
    ) -> Transformer {
        let norm = || options.norm(d_model, device);
        let mut model = Transformer {
            encoder: TransformerEncoder::new(d_model, nhead, encoders, options, device).with_norm(norm()),
            decoder: TransformerDecoder::new(d_model, nhead, decoders, options, device).with_norm(norm()),
        };
        model.walk_mut("", &mut |_, role, tensor| {
            if role == Role::Parameter && tensor.rank() > 1 {
                *tensor = xavier_uniform(tensor.shape(), device);
            }
        });
        model
    }

    /// The target's rows by what the source says: `source_mask` is that of the source, `mask` that of the target, and
    /// `memory_mask` says what the target sees of the source.
    #[track_caller]
    pub fn forward(
        &self,
        source: &Tensor,
        target: &Tensor,
        source_mask: &AttentionMask,
        mask: &AttentionMask,
        memory_mask: &AttentionMask,
    ) -> Tensor {
        let memory = self.encoder.forward(source, source_mask);
        self.decoder.forward(target, &memory, mask, memory_mask)
    }
}

/// Without a mask, so that it fits into a [`Sequential`](crate::Sequential).
impl Layer for TransformerEncoderLayer {
    fn forward(&self, x: &Tensor) -> Tensor {
        TransformerEncoderLayer::forward(self, x, &AttentionMask::none())
    }
}
