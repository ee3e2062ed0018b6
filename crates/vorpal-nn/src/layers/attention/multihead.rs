//! Attention in the form of PyTorch.

use vorpal_autodiff::ops::AttentionOptions;
use vorpal_autodiff::{At, DType, Device, Tensor};

use super::{merge_heads, split};
use crate::init::{constant, xavier_uniform};
use crate::layers::{Dropout, wrong};
use crate::{Linear, Module};

/// What queries do not see, with PyTorch's meanings: truth values that hold where a key is *not* seen, or floats added to
/// the scores.
///
/// ```
/// use vorpal_nn::{AttentionMask, Device, Tensor};
/// let behind_the_end = Tensor::from_slice(&[false, false, true], [1, 3], &Device::cpu());
/// let mask = AttentionMask::causal().key_padding(behind_the_end);
/// assert!(mask.is_causal && mask.attn_mask.is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct AttentionMask {
    /// Of each key of each sequence, `[batch, keys]`.
    pub key_padding_mask: Option<Tensor>,
    /// Of each query and key, `[queries, keys]`, or of each sequence and head as well, `[batch · heads, queries, keys]`.
    pub attn_mask: Option<Tensor>,
    /// Whether a query sees no later keys; the last query and the last key stand side by side.
    pub is_causal: bool,
}

impl AttentionMask {
    /// Every query sees every key.
    pub fn none() -> AttentionMask {
        AttentionMask::default()
    }

    /// Queries see their past only.
    pub fn causal() -> AttentionMask {
        AttentionMask { is_causal: true, ..AttentionMask::default() }
    }

    /// The same without some keys of each sequence.
    #[must_use]
    pub fn key_padding(self, mask: Tensor) -> AttentionMask {
        AttentionMask { key_padding_mask: Some(mask), ..self }
    }

    /// The same with a mask of queries and keys.
    #[must_use]
    pub fn attn(self, mask: Tensor) -> AttentionMask {
        AttentionMask { attn_mask: Some(mask), ..self }
    }

    /// As options of attention over `batch` sequences and `heads`.
    fn options(&self, batch: usize, heads: usize, at: At) -> Result<AttentionOptions, Tensor> {
        let mut options = AttentionOptions { causal: self.is_causal, ..AttentionOptions::default() };
        let padding = self.key_padding_mask.as_ref().map(|mask| match *mask.shape().dims() {
            [own, keys] if own == batch => Ok(mask.reshape([batch, 1, 1, keys])),
            _ => Err(wrong::shape(NAME, format!("key_padding_mask must be [{batch}, keys]"), &[mask], at)),
        });
        let scores = self.attn_mask.as_ref().map(|mask| match *mask.shape().dims() {
            [_, _] => Ok(mask.clone()),
            [all, t, s] if all == batch * heads => Ok(mask.reshape([batch, heads, t, s])),
            _ => {
                let message =
                    format!("attn_mask must be [queries, keys] or [{}, queries, keys]", batch * heads);
                Err(wrong::shape(NAME, message, &[mask], at))
            }
        });
        for mask in [padding, scores].into_iter().flatten() {
            let mask = mask?;
            if mask.dtype() == DType::Bool {
                let seen = mask.logical_not();
                options.mask = Some(options.mask.map_or(seen.clone(), |other| other.logical_and(&seen)));
            } else {
                options.bias = Some(options.bias.map_or(mask.clone(), |other| other + &mask));
            }
        }
        Ok(options)
    }
}

const NAME: &str = "multihead_attention";

/// `torch.nn.MultiheadAttention` (Vaswani et al. 2017): attention of queries to keys and values with projections before and
/// behind. Operands are `[rows, batch, width]`, or `[batch, rows, width]` with [`batch_first`](Self::batch_first).
///
/// In contrast to PyTorch a query that sees no key has zeros in front of the last projection, not NaN.
///
/// ```
/// use vorpal_nn::{AttentionMask, DType, Device, MultiheadAttention, Tensor};
/// let layer = MultiheadAttention::new(8, 2, &Device::cpu()).batch_first();
/// let x = Tensor::ones([3, 5, 8], DType::F32, &Device::cpu());
/// assert_eq!(layer.forward(&x, &x, &x, &AttentionMask::causal()).shape(), [3, 5, 8].into());
/// assert_eq!(layer.weights(&x, &x, &AttentionMask::none()).shape(), [3, 2, 5, 5].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct MultiheadAttention {
    /// Queries, keys and values, `[3 width, width]`; apart where keys or values have another width.
    pub in_proj_weight: Option<Tensor>,
    /// Of queries, `[width, width]`.
    pub q_proj_weight: Option<Tensor>,
    /// Of keys, `[width, kdim]`.
    pub k_proj_weight: Option<Tensor>,
    /// Of values, `[width, vdim]`.
    pub v_proj_weight: Option<Tensor>,
    /// One number for each row of the weights, `[3 width]`, zeros at first.
    pub in_proj_bias: Option<Tensor>,
    /// Of the heads side by side.
    pub out_proj: Linear,
    num_heads: usize,
    dropout: Dropout,
    batch_first: bool,
}

impl MultiheadAttention {
    /// Weights as PyTorch starts them (Glorot & Bengio 2010), with biases; `num_heads` divides `embed_dim`.
    pub fn new(embed_dim: usize, num_heads: usize, device: &Device) -> MultiheadAttention {
        let zeros = |n: usize| Some(constant([n], 0.0, device));
        MultiheadAttention {
            in_proj_weight: Some(xavier_uniform([3 * embed_dim, embed_dim], device)),
            q_proj_weight: None,
            k_proj_weight: None,
            v_proj_weight: None,
            in_proj_bias: zeros(3 * embed_dim),
            out_proj: Linear { bias: zeros(embed_dim), ..Linear::new(embed_dim, embed_dim, device) },
            num_heads,
            dropout: Dropout::new(0.0),
            batch_first: false,
        }
    }

    /// The same with keys and values of other widths.
    #[must_use]
    pub fn kv_dims(self, kdim: usize, vdim: usize, device: &Device) -> MultiheadAttention {
        let width = self.out_proj.weight.shape().first().copied().unwrap_or(0);
        let draw = |columns: usize| Some(xavier_uniform([width, columns], device));
        MultiheadAttention {
            in_proj_weight: None,
            q_proj_weight: draw(width),
            k_proj_weight: draw(kdim),
            v_proj_weight: draw(vdim),
            ..self
        }
    }

    /// The same without biases.
    #[must_use]
    pub fn without_bias(mut self) -> MultiheadAttention {
        self.out_proj.bias = None;
        MultiheadAttention { in_proj_bias: None, ..self }
    }

    /// The same for operands `[batch, rows, width]`.
    #[must_use]
    pub fn batch_first(self) -> MultiheadAttention {
        MultiheadAttention { batch_first: true, ..self }
    }

    /// The same with dropout of probabilities while training.
    #[must_use]
    pub fn dropout(self, p: f64) -> MultiheadAttention {
        MultiheadAttention { dropout: Dropout::new(p), ..self }
    }

    /// What queries take from values: as many rows as there are queries.
    #[track_caller]
    pub fn forward(&self, query: &Tensor, key: &Tensor, value: &Tensor, mask: &AttentionMask) -> Tensor {
        let at = At::caller();
        let [q, k, v] = match self.projected([query, key, value], at) {
            Ok(projected) => projected,
            Err(wrong) => return wrong,
        };
        let options = match mask.options(q.shape()[0], self.num_heads, at) {
            Ok(options) => AttentionOptions { dropout: self.dropout.active(), ..options },
            Err(wrong) => return wrong,
        };
        let out = self.out_proj.forward(&merge_heads(&q.scaled_dot_product_attention(&k, &v, options)));
        if self.batch_first { out } else { out.transpose(0, 1) }
    }

    /// The probabilities by which queries take from values, `[batch, heads, queries, keys]`. PyTorch's `need_weights` gives
    /// their mean over the heads.
    #[track_caller]
    pub fn weights(&self, query: &Tensor, key: &Tensor, mask: &AttentionMask) -> Tensor {
        let at = At::caller();
        // Only queries and keys are needed; the projection of keys as values is never computed.
        let [q, k, _] = match self.projected([query, key, key], at) {
            Ok(projected) => projected,
            Err(wrong) => return wrong,
        };
        let options = match mask.options(q.shape()[0], self.num_heads, at) {
            Ok(options) => options,
            Err(wrong) => return wrong,
        };
        let columns = q.shape().last().copied().unwrap_or(1).max(1) as f64;
        let mut scores = q.matmul(&k.t()) * (1.0 / columns.sqrt());
        if let Some(bias) = &options.bias {
            scores = scores + bias;
        }
        let mut seen = options.mask.unwrap_or_else(|| scores.eq(&scores)).broadcast_to(scores.shape());
        if mask.is_causal {
            let [queries, keys] = [2, 3].map(|axis: usize| scores.shape().get(axis).copied().unwrap_or(0));
            seen = seen.tril(keys as i32 - queries as i32);
        }
        scores.masked_softmax(&seen, -1)
    }

    /// Queries, keys and values, `[batch, heads, rows, columns]`.
    fn projected(&self, operands: [&Tensor; 3], at: At) -> Result<[Tensor; 3], Tensor> {
        let width = self.out_proj.weight.shape().first().copied().unwrap_or(0);
        let apart = [&self.q_proj_weight, &self.k_proj_weight, &self.v_proj_weight];
        let project = |k: usize| {
            let x = operands[k];
            if x.rank() != 3 {
                let axes = if self.batch_first { "[batch, rows, width]" } else { "[rows, batch, width]" };
                return Err(wrong::shape(NAME, format!("needs {axes}"), &[x], at));
            }
            let x = if self.batch_first { x.clone() } else { x.transpose(0, 1) };
            let weight = match (&self.in_proj_weight, apart[k]) {
                (_, Some(weight)) => weight.clone(),
                (Some(all), None) => all.narrow(0, k * width, width),
                (None, None) => return Err(wrong::argument(NAME, "there are no weights of inputs", at)),
            };
            let rows = x.matmul(&weight.t());
            let rows = match &self.in_proj_bias {
                Some(bias) => rows + bias.narrow(0, k * width, width),
                None => rows,
            };
            let heads = split(&rows, self.num_heads, at);
            if heads.check().is_err() { Err(heads) } else { Ok(heads) }
        };
        Ok([project(0)?, project(1)?, project(2)?])
    }
}
