//! Attention.

mod cache;
mod multihead;

use vorpal_autodiff::ops::AttentionOptions;
use vorpal_autodiff::{At, DType, Device, Tensor};

pub use self::cache::KvCache;
pub use self::multihead::{AttentionMask, MultiheadAttention};
use super::per_device::PerDevice;
use super::{Dropout, Layer, Rotary, wrong};
use crate::init::{constant, xavier_uniform};
use crate::{Linear, Module};

/// `[batch, rows, width]` as `[batch, heads, rows, columns]`: what
/// [`scaled_dot_product_attention`](Tensor::scaled_dot_product_attention) takes.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor, merge_heads, split_heads};
/// let x = Tensor::ones([2, 3, 8], DType::F32, &Device::cpu());
/// assert_eq!(split_heads(&x, 4).shape(), [2, 4, 3, 2].into());
/// assert_eq!(merge_heads(&split_heads(&x, 4)).shape(), x.shape());
/// ```
#[track_caller]
pub fn split_heads(x: &Tensor, heads: usize) -> Tensor {
    split(x, heads, At::caller())
}

fn split(x: &Tensor, heads: usize, at: At) -> Tensor {
    match *x.shape().dims() {
        [batch, rows, width] if heads > 0 && width % heads == 0 => {
            x.reshape([batch, rows, heads, width / heads]).transpose(1, 2)
        }
        _ => {
            let message = format!("needs [batch, rows, width] and a width that {heads} heads divide");
            wrong::shape("multi_head_attention", message, &[x], at)
        }
    }
}

/// Attention of every head (Vaswani et al. 2017), each seeing its own columns of `queries`, `keys` and `values`,
/// `[batch, rows, width]`: the results side by side, `[batch, rows of queries, width]`. Where keys are narrower than
/// queries they have fewer heads of the same columns, which neighbouring heads of queries share (Ainslie et al. 2023).
#[track_caller]
pub fn multi_head_attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    heads: usize,
    options: AttentionOptions,
) -> Tensor {
    let at = At::caller();
    let q = split(queries, heads, at);
    let kv_heads = kv_heads(&q, keys, heads);
    let (k, v) = (split(keys, kv_heads, at), split(values, kv_heads, at));
    merge_heads(&q.scaled_dot_product_attention(&k, &v, options))
}

/// Heads of keys that have the columns of the queries `q`, `[…, columns]`.
fn kv_heads(q: &Tensor, keys: &Tensor, heads: usize) -> usize {
    let columns = q.shape().last().copied().unwrap_or(1).max(1);
    keys.shape().last().map_or(heads, |width| width / columns)
}

/// `[batch, heads, rows, columns]` as `[batch, rows, width]`: what [`split_heads`] took apart.
#[track_caller]
pub fn merge_heads(x: &Tensor) -> Tensor {
    x.transpose(1, 2).flatten(2, 3)
}

/// Self-attention with projections, `[batch, rows, width]` to the same. Named and laid out as PyTorch's
/// `MultiheadAttention` with `batch_first`.
///
/// ```
/// use vorpal_nn::{DType, Device, MultiHeadAttention, Tensor};
/// let layer = MultiHeadAttention::new(8, 2, &Device::cpu());
/// let x = Tensor::ones([1, 5, 8], DType::F32, &Device::cpu());
/// assert_eq!(layer.forward(&x).shape(), [1, 5, 8].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct MultiHeadAttention {
    /// Queries, keys and values, `[3 width, width]`; fewer rows where heads share keys.
    pub in_proj_weight: Tensor,
    /// One number for each row of the weight, zeros at first.
    pub in_proj_bias: Tensor,
    /// Of the heads side by side.
    pub out_proj: Linear,
    /// Number of heads; divides the width.
    pub heads: usize,
    /// Whether a row sees the rows before it only.
    pub causal: bool,
    /// Positions that queries and keys are turned by.
    pub rotary: Option<Rotary>,
    /// A linear bias by distance with a slope for each head.
    pub alibi: Option<Alibi>,
    /// Dropout of probabilities while training.
    pub dropout: Dropout,
}

/// Slopes of a bias by distance (Press et al. 2022): see [`Tensor::alibi_slopes`].
#[derive(Clone, Debug, Module)]
pub struct Alibi {
    heads: usize,
    #[module(skip)]
    table: PerDevice,
}

impl Alibi {
    /// The slopes for a number of heads.
    pub fn new(heads: usize) -> Alibi {
        Alibi { heads, table: PerDevice::default() }
    }

    /// The slopes on a device, `[heads]`.
    fn slopes(&self, device: &Device) -> Tensor {
        self.table.tensor(device, DType::F32, || Tensor::alibi_slopes(self.heads, device))
    }
}

impl MultiHeadAttention {
    /// Weights as PyTorch starts them (Glorot & Bengio 2010); every row sees every other.
    pub fn new(width: usize, heads: usize, device: &Device) -> MultiHeadAttention {
        MultiHeadAttention::grouped(width, heads, heads, device)
    }

    /// The same with fewer heads of keys and values, which neighbouring heads of queries share (Ainslie et al. 2023);
    /// `kv_heads` divides `heads`, 1 for all sharing one (Shazeer 2019).
    pub fn grouped(width: usize, heads: usize, kv_heads: usize, device: &Device) -> MultiHeadAttention {
        let zeros = |n: usize| constant([n], 0.0, device);
        let rows = width + 2 * (width / heads.max(1) * kv_heads);
        let out_proj = Linear { bias: Some(zeros(width)), ..Linear::new(width, width, device) };
        MultiHeadAttention {
            in_proj_weight: xavier_uniform([rows, width], device),
            in_proj_bias: zeros(rows),
            out_proj,
            heads,
            causal: false,
            rotary: None,
            alibi: None,
            dropout: Dropout::new(0.0),
        }
    }

    /// The same for rows that see only what came before.
    #[must_use]
    pub fn causal(self) -> MultiHeadAttention {
        MultiHeadAttention { causal: true, ..self }
    }

    /// The same with rotary positions, for so many of them: see [`Rotary`].
    #[must_use]
    pub fn rotary(self, rotary: Rotary) -> MultiHeadAttention {
        MultiHeadAttention { rotary: Some(rotary), ..self }
    }

    /// The same with a linear bias by distance: see [`Tensor::alibi_slopes`].
    #[must_use]
    pub fn alibi(self) -> MultiHeadAttention {
        MultiHeadAttention { alibi: Some(Alibi::new(self.heads)), ..self }
    }

    /// The same with dropout of probabilities.
    #[must_use]
    pub fn dropout(self, p: f64) -> MultiHeadAttention {
        MultiHeadAttention { dropout: Dropout::new(p), ..self }
    }

    /// The layer applied to a batch of sequences.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let [q, k, v] = self.projected(x, At::caller());
        let (q, k) = match &self.rotary {
            Some(rotary) => (rotary.apply(&q), rotary.apply(&k)),
            None => (q, k),
        };
        self.attend(&q, &k, &v, self.options(x))
    }

    /// The layer applied to the rows that follow those in `cache`, which takes them in: the same as
    /// [`forward`](MultiHeadAttention::forward) of all of them for rows that see their past only, which these do. All
    /// sequences are of one length.
    #[track_caller]
    pub fn forward_cached(&self, x: &Tensor, cache: &mut KvCache) -> Tensor {
        let at = At::caller();
        let [mut q, mut k, v] = self.projected(x, at);
        if let (Some(rotary), Ok(device)) = (&self.rotary, x.device()) {
            let rows = x.shape().get(1).copied().unwrap_or(0);
            let positions = Tensor::arange(rows, DType::I32, &device) + cache.position(x);
            (q, k) = (rotary.apply_at(&q, &positions), rotary.apply_at(&k, &positions));
        }
        let (keys, values, lengths) = cache.append(&k, &v);
        self.attend(&q, &keys, &values, self.options(x).causal().lengths(None, lengths))
    }

    /// Attention of `x` to the rows of another sequence, `[batch, rows of memory, width]`. Rotary positions do not count
    /// here.
    #[track_caller]
    pub fn cross(&self, x: &Tensor, memory: &Tensor) -> Tensor {
        let at = At::caller();
        let project = |x: &Tensor, k: usize| {
            let (weight, bias) = (&self.in_proj_weight, &self.in_proj_bias);
            let [start, len] = self.rows(k);
            x.matmul(&weight.narrow(0, start, len).t()) + bias.narrow(0, start, len)
        };
        let [q, k, v] = self.in_heads([project(x, 0), project(memory, 1), project(memory, 2)], at);
        self.attend(&q, &k, &v, self.options(x))
    }

    /// Queries, keys and values of `x`, `[batch, heads, rows, columns]`.
    fn projected(&self, x: &Tensor, at: At) -> [Tensor; 3] {
        let rows = x.matmul(&self.in_proj_weight.t()) + &self.in_proj_bias;
        let part = |k: usize| {
            let [start, len] = self.rows(k);
            rows.narrow(-1, start, len)
        };
        self.in_heads([part(0), part(1), part(2)], at)
    }

    fn in_heads(&self, [q, k, v]: [Tensor; 3], at: At) -> [Tensor; 3] {
        let q = split(&q, self.heads, at);
        let kv_heads = kv_heads(&q, &k, self.heads);
        [q, split(&k, kv_heads, at), split(&v, kv_heads, at)]
    }

    /// First row and number of rows of queries (0), keys (1) or values (2) in the projection.
    fn rows(&self, k: usize) -> [usize; 2] {
        let (all, width) = (self.in_proj_bias.shape().numel(), self.in_proj_weight.shape().last().copied());
        let width = width.unwrap_or(0);
        let kv_width = all.saturating_sub(width) / 2;
        if k == 0 { [0, width] } else { [width + (k - 1) * kv_width, kv_width] }
    }

    fn options(&self, x: &Tensor) -> AttentionOptions {
        let slopes = self.alibi.as_ref().zip(x.device().ok()).map(|(alibi, device)| alibi.slopes(&device));
        AttentionOptions {
            causal: self.causal,
            alibi: slopes,
            dropout: self.dropout.active(),
            ..AttentionOptions::default()
        }
    }

    #[track_caller]
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, options: AttentionOptions) -> Tensor {
        self.out_proj.forward(&merge_heads(&q.scaled_dot_product_attention(k, v, options)))
    }
}

layers!(MultiHeadAttention);
