//! Attention that looks at few blocks.

use vorpal_nn::{AttentionOptions, DType, Device, Embedding, Error, Linear, Module, Tensor};

/// Causal self-attention in which each block of queries sees its own block and the `chosen` earlier ones that fit it
/// best, by the product of the query block's mean and the means of their keys (mixture of block attention, Lu et al.
/// 2025; the choice is not differentiated). Time and memory grow with T · (1 + chosen) · block, not with T²; with as many
/// chosen as there are earlier blocks it is full attention.
///
/// Queries, keys `[batch, heads, t, width]` and values `[batch, heads, t, columns]`; t is a multiple of `block`. The result
/// is `[batch, heads, t, columns]`.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::memory::block_attention;
/// let x = Tensor::randn([1, 2, 16, 8], DType::F32, &Device::cpu());
/// assert_eq!(block_attention(&x, &x, &x, 4, 1).shape(), [1, 2, 16, 8].into());
/// ```
#[track_caller]
pub fn block_attention(q: &Tensor, k: &Tensor, v: &Tensor, block: usize, chosen: usize) -> Tensor {
    let shape = q.shape();
    let (&[batch, heads, t, width], Ok(device)) = (shape.dims(), q.device()) else {
        let message = format!("asked for {shape}: needs [batch, heads, t, width] and a t of whole blocks");
        return Tensor::error(Error::format("block_attention", message));
    };
    let (block, folded) = (block.clamp(1, t.max(1)), batch * heads);
    let blocks = t / block;
    let chosen = chosen.min(blocks.saturating_sub(1));
    let values = v.shape().last().copied().unwrap_or(0);
    let cut = |x: &Tensor, width: usize| x.reshape([folded, blocks, block, width]);
    let (q, k, v) = (cut(q, width), cut(k, width), cut(v, values));
    // Which earlier blocks: [folded, blocks, chosen]. Where there are too few, later ones come in, and are masked.
    let fit = q.mean([2]).matmul(&k.mean([2]).transpose(1, 2)).stop_gradient();
    let row = Tensor::iota([blocks, blocks], 0, DType::I32, &device);
    let column = Tensor::iota([blocks, blocks], 1, DType::I32, &device);
    let earlier = column.lt(&row);
    let fit = earlier.select(&fit, fit.full_like(f64::from(f32::MIN)));
    let (_, order) = fit.topk(chosen.max(1), -1, true);
    let order = order.cast(DType::I32);
    let own = Tensor::iota([blocks, 1], 0, DType::I32, &device).broadcast_to([folded, blocks, 1]);
    let picked = match chosen {
        0 => own.clone(),
        _ => Tensor::concat(&[&order, &own], 2),
    };
    let seen = picked.shape().last().copied().unwrap_or(1);
    // Rows of [folded · blocks, block · width], one for each block.
    let base = Tensor::iota([folded, 1, 1], 0, DType::I32, &device) * blocks as i32;
    let rows = (&picked + base).reshape([folded * blocks * seen]);
    let gather = |x: &Tensor, width: usize| {
        let all = x.reshape([folded * blocks, block * width]).index_select(0, &rows);
        all.reshape([folded * blocks, seen * block, width])
    };
    // A chosen block counts where it is earlier; the own one up to each query.
    let usable = picked.lt(&own).cast(DType::F32).reshape([folded * blocks, 1, seen, 1]);
    let usable = usable.broadcast_to([folded * blocks, block, seen, block]);
    let causal = Tensor::ones([block, block], DType::F32, &device).tril(0);
    let causal = causal.reshape([1, block, 1, block]).broadcast_to([folded * blocks, block, 1, block]);
    let mask = match seen {
        1 => causal,
        _ => Tensor::concat(&[&usable.narrow(2, 0, seen - 1), &causal], 2),
    };
    let mask = mask.reshape([folded * blocks, 1, block, seen * block]).gt(0.5);
    let query = q.reshape([folded * blocks, 1, block, width]);
    let found = query.scaled_dot_product_attention(
        &gather(&k, width).unsqueeze(1),
        &gather(&v, values).unsqueeze(1),
        AttentionOptions::default().mask(mask),
    );
    found.reshape([batch, heads, t, values])
}

/// Sizes of a [`Recall`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecallOptions {
    /// Different keys.
    pub keys: usize,
    /// Different values.
    pub values: usize,
    /// Numbers that stand for a symbol.
    pub width: usize,
    /// Tokens of a block.
    pub block: usize,
    /// Earlier blocks each block sees; 0 for its own alone.
    pub chosen: usize,
}

/// A layer of [`block_attention`] that recalls: pairs of a key and a value go by, and where a key comes without a value
/// the one it came with before is wanted: pairs `[batch, t, 2]` to logits `[batch, t, values]`. With 128 keys and 32 values of
/// 64 numbers it has 20,576 parameters.
///
/// `vorpal train block_attention` learns it on sequences of 256 in blocks of 16, each of which sees itself and one of
/// up to fifteen others: at least 95 % of the values are right, with an eighth of the scores that full attention takes.
/// Seeing its own block alone it could guess no better than one in 32.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::memory::{Recall, RecallOptions};
/// let device = Device::cpu();
/// let model = Recall::new(RecallOptions { keys: 3, values: 5, width: 8, block: 2, chosen: 1 }, &device);
/// let pairs = Tensor::from_slice(&[0i32, 3, 1, 4, 2, 2, 0, 5], [1, 4, 2], &device);
/// assert_eq!(model.forward(&pairs).shape(), [1, 4, 5].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Recall {
    keys: Embedding,
    values: Embedding,
    key: Linear,
    value: Linear,
    out: Linear,
    block: usize,
    chosen: usize,
}

impl Recall {
    /// Random weights.
    pub fn new(options: RecallOptions, device: &Device) -> Recall {
        let RecallOptions { keys, values, width, block, chosen } = options;
        let layer = || Linear::without_bias(width, width, device);
        Recall {
            keys: Embedding::new(keys, width, device),
            // One more: no value.
            values: Embedding::new(values + 1, width, device),
            key: layer(),
            value: layer(),
            out: Linear::new(width, values, device),
            block,
            chosen,
        }
    }

    /// Logits `[batch, t, values]` of the value at each place of `pairs` `[batch, t, 2]`: a key, and a value or the number
    /// of values for none.
    #[track_caller]
    pub fn forward(&self, pairs: &Tensor) -> Tensor {
        let key = self.keys.forward(&pairs.narrow(2, 0, 1).squeeze(2));
        let x = &key + self.values.forward(&pairs.narrow(2, 1, 1).squeeze(2));
        let one = |x: Tensor| x.unsqueeze(1);
        // What asks is made as what is asked for (Kitaev et al. 2020): the means of blocks fit from the beginning.
        let asked = one(self.key.forward(&key));
        let found = block_attention(&asked, &asked, &one(self.value.forward(&x)), self.block, self.chosen);
        self.out.forward(&found.squeeze(1))
    }
}
