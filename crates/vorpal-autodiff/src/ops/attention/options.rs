//! What a user says about an attention.

use vorpal_kernels::{AttentionDropout, AttentionPass, AttentionRules, AttentionShape};
use vorpal_tensor::{At, DType, Device, Error, Result};

use super::Attention;
use crate::Tensor;
use crate::ops::random::fresh_key;
use crate::ops::{dtype_error, shape_error};

const OP: &str = "scaled_dot_product_attention";

/// Options of [`Tensor::scaled_dot_product_attention`]; by default every query sees every key.
///
/// Key t + s − t_all is *beside* query t of t_all queries and s keys: the last query and the last key stand side by
/// side. Where sequences have lengths of their own, these count.
///
/// ```
/// use vorpal_autodiff::ops::AttentionOptions;
/// let options = AttentionOptions::default().causal().window(128, None).dropout(0.1);
/// assert!(options.causal);
/// ```
#[derive(Clone, Debug, Default)]
pub struct AttentionOptions {
    /// Whether a query sees the key beside it and those before only: its past where there are as many keys as queries.
    pub causal: bool,
    /// Factor of the products of queries and keys, 1 ∕ √columns by default.
    pub scale: Option<f64>,
    /// Keys a query sees before and behind the one beside it (Beltagy et al. 2020); `None` for all.
    pub window: (Option<usize>, Option<usize>),
    /// c · tanh(product ∕ c) in place of the scaled products, as in Gemma 2.
    pub softcap: Option<f64>,
    /// Slope of each head, `[heads]`, of any float dtype: its product with the distance from the key beside a query is
    /// taken from the score (Press et al. 2022). Constant to derivatives. See [`Tensor::alibi_slopes`].
    pub alibi: Option<Tensor>,
    /// Added to the scores; broadcasts to `[batch, heads, t, s]`; any float dtype. A key whose score comes below −5·10²⁹
    /// is not seen, so −∞ may be used for a mask. Its derivative takes no more memory than it and one number for
    /// each key of each head.
    pub bias: Option<Tensor>,
    /// Truth values, true where a query may see a key; broadcasts to `[batch, heads, t, s]`.
    pub mask: Option<Tensor>,
    /// Queries of each sequence, `[batch]`, `I32`; those behind them have the result 0.
    pub query_lengths: Option<Tensor>,
    /// Keys of each sequence, `[batch]`, `I32`; those behind them are not seen.
    pub key_lengths: Option<Tensor>,
    /// Probability of dropping a probability; the others are multiplied by 1 ∕ (1 − p). What is dropped comes from the
    /// device's stream of keys (see [`Device::seed`]), the same on every device.
    pub dropout: f64,
}

impl AttentionOptions {
    /// Queries see their past only.
    #[must_use]
    pub fn causal(self) -> AttentionOptions {
        AttentionOptions { causal: true, ..self }
    }

    /// Another factor of the products.
    #[must_use]
    pub fn scale(self, scale: f64) -> AttentionOptions {
        AttentionOptions { scale: Some(scale), ..self }
    }

    /// Queries see so many keys before and behind the one beside them.
    #[must_use]
    pub fn window(self, left: impl Into<Option<usize>>, right: impl Into<Option<usize>>) -> AttentionOptions {
        AttentionOptions { window: (left.into(), right.into()), ..self }
    }

    /// Bounded products.
    #[must_use]
    pub fn softcap(self, softcap: f64) -> AttentionOptions {
        AttentionOptions { softcap: Some(softcap), ..self }
    }

    /// A linear bias with a slope for each head.
    #[must_use]
    pub fn alibi(self, slopes: Tensor) -> AttentionOptions {
        AttentionOptions { alibi: Some(slopes), ..self }
    }

    /// A bias of the scores.
    #[must_use]
    pub fn bias(self, bias: Tensor) -> AttentionOptions {
        AttentionOptions { bias: Some(bias), ..self }
    }

    /// A mask of the scores.
    #[must_use]
    pub fn mask(self, mask: Tensor) -> AttentionOptions {
        AttentionOptions { mask: Some(mask), ..self }
    }

    /// A length of its own for the queries of each sequence, and for the keys.
    #[must_use]
    pub fn lengths(
        self,
        queries: impl Into<Option<Tensor>>,
        keys: impl Into<Option<Tensor>>,
    ) -> AttentionOptions {
        AttentionOptions { query_lengths: queries.into(), key_lengths: keys.into(), ..self }
    }

    /// Dropout of probabilities.
    #[must_use]
    pub fn dropout(self, p: f64) -> AttentionOptions {
        AttentionOptions { dropout: p, ..self }
    }

    /// The rules of an attention, but for operands.
    fn rules(&self, shape: &AttentionShape, at: At) -> Result<AttentionRules> {
        let wrong = |message: String| Err(Error::Argument { op: OP, message, at });
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong(format!("dropout probability {} is not in 0..1", self.dropout));
        }
        if let Some(cap) = self.softcap.filter(|&cap| !(cap > 0.0 && cap.is_finite())) {
            return wrong(format!("softcap {cap} is not above 0"));
        }
        let scale = self.scale.unwrap_or(1.0 / (shape.columns.max(1) as f64).sqrt());
        if !scale.is_finite() {
            return wrong(format!("scale {scale} is not finite"));
        }
        let right = if self.causal { Some(0) } else { self.window.1 };
        let dropout = AttentionDropout { p: self.dropout, batch: shape.batch };
        Ok(AttentionRules {
            scale,
            left: self.window.0,
            right,
            softcap: self.softcap,
            slopes: self.alibi.is_some(),
            lengths: self.query_lengths.is_some() || self.key_lengths.is_some(),
            dropout: (self.dropout > 0.0).then_some(dropout),
        })
    }

    /// The operands of the options in order, in the dtype and shape that [`Attention`] wants them.
    fn operands(&self, shape: &AttentionShape, dtype: DType, device: &Device, at: At) -> Result<Vec<Tensor>> {
        let mut out = Vec::new();
        let whole = [shape.batch, shape.heads, shape.queries, shape.keys];
        let over_scores = |x: &Tensor, what: &str| {
            x.check()?;
            let dims = x.shape();
            let fits = dims.rank() <= 4
                && dims.iter().rev().zip(whole.iter().rev()).all(|(&own, &all)| own == all || own == 1);
            if !fits {
                let message = format!("the {what} does not broadcast to {whole:?}: batch, heads, t, s");
                return Err(shape_error(OP, message, &[x], at));
            }
            Ok((dims.rank()..4).fold(x.clone(), |x, _| x.unsqueeze(0)))
        };
        let float = |x: &Tensor, what: &str| match x.dtype().is_float() {
            true => Ok(()),
            false => Err(dtype_error(OP, format!("the {what} must be floats"), &[x], at)),
        };
        if let Some(bias) = &self.bias {
            let bias = over_scores(bias, "bias")?;
            float(&bias, "bias")?;
            out.push(bias.cast(dtype));
        }
        if let Some(mask) = &self.mask {
            let mask = over_scores(mask, "mask")?;
            if mask.dtype() != DType::Bool {
                return Err(dtype_error(OP, "the mask must be truth values", &[&mask], at));
            }
            out.push(mask);
        }
        if let Some(slopes) = &self.alibi {
            slopes.check()?;
            float(slopes, "slopes")?;
            if *slopes.shape().dims() != [shape.heads] {
                let message = format!("needs one slope for each of {} heads", shape.heads);
                return Err(shape_error(OP, message, &[slopes], at));
            }
            out.push(slopes.cast(dtype).broadcast_to([shape.batch, shape.heads]));
        }
        if self.query_lengths.is_some() || self.key_lengths.is_some() {
            let all = [(&self.query_lengths, shape.queries), (&self.key_lengths, shape.keys)];
            for (lengths, most) in all {
                let lengths = match lengths {
                    None => Tensor::full([shape.batch], most as f64, DType::I32, device),
                    Some(lengths) => lengths.clone(),
                };
                lengths.check()?;
                if lengths.dtype() != DType::I32 {
                    return Err(dtype_error(OP, "lengths must be I32", &[&lengths], at));
                }
                if *lengths.shape().dims() != [shape.batch] {
                    let message = format!("needs one length for each of {} sequences", shape.batch);
                    return Err(shape_error(OP, message, &[&lengths], at));
                }
                out.push(lengths);
            }
        }
        if self.dropout > 0.0 {
            let words = fresh_key(device).map(|word| Tensor::scalar(f64::from(word), DType::U32, device));
            out.extend(words);
        }
        Ok(out)
    }
}

impl Tensor {
    /// softmax(scale · Q Kᵀ + bias) V for each head (Vaswani et al. 2017): `self` are the queries `[batch, heads, t,
    /// columns]`, `keys` `[batch, kv heads, s, columns]` and `values` `[batch, kv heads, s, value columns]`; the result is
    /// `[batch, heads, t, value columns]`. Batch, or batch and heads, may be left out of all three.
    ///
    /// Neighbouring heads of queries share a head of keys where there are fewer of those (Ainslie et al. 2023); their
    /// number must divide that of the queries. Columns are 1 to 256. A query that sees no key has the result 0. 16-bit
    /// floats are computed in f32; cards that multiply matrices of halves round probabilities to halves of `F16` operands
    /// (and in derivatives the cotangents of scores), but none of their sums.
    ///
    /// Neither this nor its derivatives by queries, keys and values hold a matrix of scores: memory is linear in t and
    /// s (Dao et al. 2022), whatever the [`AttentionOptions`]. Second derivatives do hold one.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// use vorpal_autodiff::ops::AttentionOptions;
    /// let x = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 2.0], [2, 2], &Device::cpu());
    /// let y = x.scaled_dot_product_attention(&x, &x, AttentionOptions::default().causal());
    /// assert_eq!(y.slice(0, ..1).to_vec::<f32>()?, [1.0, 0.0], "the first sees itself alone");
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn scaled_dot_product_attention(
        &self,
        keys: &Tensor,
        values: &Tensor,
        options: AttentionOptions,
    ) -> Tensor {
        let at = At::caller();
        let operands = [self, keys, values];
        if let Some(broken) = operands.iter().find(|t| t.check().is_err()) {
            return (*broken).clone();
        }
        let rank = self.rank();
        if !(2..=4).contains(&rank) || operands.iter().any(|t| t.rank() != rank) {
            let message = "queries, keys and values need the same two to four axes";
            return Tensor::error(shape_error(OP, message, &operands, at));
        }
        let [q, k, v] = operands.map(|t| (rank..4).fold(t.clone(), |t, _| t.unsqueeze(0)));
        let shape = Attention::shape(&q.shape(), &k.shape(), &v.shape());
        let prepared = self.device().and_then(|device| {
            let rules = options.rules(&shape, at)?;
            Ok((rules, options.operands(&shape, self.dtype().compute(), &device, at)?))
        });
        let (rules, further) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Tensor::error(error),
        };
        let (bias, mask) = (options.bias.is_some(), options.mask.is_some());
        let op = Attention { pass: AttentionPass::Forward, rules, bias, mask };
        let all: Vec<&Tensor> = [&q, &k, &v].into_iter().chain(&further).collect();
        let columns = shape.value_columns as isize;
        let out = Tensor::apply(op, &all, at).slice(-1, ..columns).cast(self.dtype());
        (rank..4).fold(out, |t, _| t.squeeze(0))
    }

    /// The slopes of Press et al. 2022 for a number of heads, f32: 2^(−8 h ∕ heads) for h = 1, 2, … where `heads` is a
    /// power of two; else those for the next lower one, and every second of those for the next higher one.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let slopes = Tensor::alibi_slopes(3, &Device::cpu());
    /// assert_eq!(slopes.to_vec::<f32>()?, [1.0 / 16.0, 1.0 / 256.0, 1.0 / 4.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn alibi_slopes(heads: usize, device: &Device) -> Tensor {
        let of_power = |n: usize| (1..=n).map(move |h| (-8.0 * h as f64 / n as f64).exp2() as f32);
        let lower = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
        let slopes: Vec<f32> = of_power(lower).chain(of_power(2 * lower).step_by(2)).take(heads).collect();
        Tensor::from_slice(&slopes, [heads], device)
    }
}
