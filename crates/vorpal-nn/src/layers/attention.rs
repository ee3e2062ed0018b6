//! Attention.

use vorpal_autodiff::ops::AttentionOptions;
use vorpal_autodiff::{At, Device, Error, Tensor};

use crate::init::{constant, xavier_uniform};
use crate::{Linear, Module};

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
    let split = |x: &Tensor, heads: usize| {
        let shape = x.shape();
        match *shape.dims() {
            [batch, rows, width] if heads > 0 && width % heads == 0 => {
                x.reshape([batch, rows, heads, width / heads]).transpose(1, 2)
            }
            _ if x.check().is_err() => x.clone(),
            _ => Tensor::error(Error::Shape {
                op: "multi_head_attention",
                message: format!("needs [batch, rows, width] and a width that {heads} heads divide"),
                operands: format!("{}{shape}", x.dtype()),
                at,
            }),
        }
    };
    let q = split(queries, heads);
    let columns = q.shape().last().copied().unwrap_or(1).max(1);
    let kv_heads = keys.shape().last().map_or(heads, |width| width / columns);
    let out = q.scaled_dot_product_attention(&split(keys, kv_heads), &split(values, kv_heads), options);
    out.transpose(1, 2).flatten(2, 3)
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
        }
    }

    /// The same for rows that see only what came before.
    #[must_use]
    pub fn causal(self) -> MultiHeadAttention {
        MultiHeadAttention { causal: true, ..self }
    }

    /// The layer applied to a batch of sequences.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let rows = x.matmul(&self.in_proj_weight.t()) + &self.in_proj_bias;
        self.attend(&self.part(&rows, 0), &self.part(&rows, 1), &self.part(&rows, 2))
    }

    /// Attention of `x` to the rows of another sequence, `[batch, rows of memory, width]`.
    #[track_caller]
    pub fn cross(&self, x: &Tensor, memory: &Tensor) -> Tensor {
        let project = |x: &Tensor, k: usize| {
            let (weight, bias) = (&self.in_proj_weight, &self.in_proj_bias);
            let [start, len] = self.rows(k);
            x.matmul(&weight.narrow(0, start, len).t()) + bias.narrow(0, start, len)
        };
        self.attend(&project(x, 0), &project(memory, 1), &project(memory, 2))
    }

    /// First row and number of rows of queries (0), keys (1) or values (2) in the projection.
    fn rows(&self, k: usize) -> [usize; 2] {
        let (all, width) = (self.in_proj_bias.shape().numel(), self.in_proj_weight.shape().last().copied());
        let width = width.unwrap_or(0);
        let kv_width = all.saturating_sub(width) / 2;
        if k == 0 { [0, width] } else { [width + (k - 1) * kv_width, kv_width] }
    }

    fn part(&self, rows: &Tensor, k: usize) -> Tensor {
        let [start, len] = self.rows(k);
        rows.narrow(-1, start, len)
    }

    #[track_caller]
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
        let options = AttentionOptions { causal: self.causal, ..AttentionOptions::default() };
        self.out_proj.forward(&multi_head_attention(q, k, v, self.heads, options))
    }
}
