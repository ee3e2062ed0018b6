//! Attention with options drawn at random.

use vorpal_autodiff::ops::AttentionOptions;
use vorpal_autodiff::{DType, Device, Tensor};

use crate::harness::{Array, Case, Draw, Role, Sample};

/// What a case is made of, besides its operands.
#[derive(Clone, Copy)]
struct Setup {
    rank: usize,
    sizes: Sizes,
    causal: bool,
    scale: Option<f64>,
    window: (Option<usize>, Option<usize>),
    softcap: Option<f64>,
    dropout: f64,
    bias: bool,
    mask: bool,
    alibi: bool,
    lengths: [bool; 2],
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    t: usize,
    s: usize,
    columns: usize,
    value_columns: usize,
}

/// The operands by their meaning, those of options where there are some.
struct Parts<'a, T> {
    bias: Option<&'a T>,
    mask: Option<&'a T>,
    alibi: Option<&'a T>,
    lengths: [Option<&'a T>; 2],
}

impl Setup {
    fn parts<'a, T>(&self, x: &'a [T]) -> Parts<'a, T> {
        let mut rest = x[3..].iter();
        let mut next = |there: bool| if there { rest.next() } else { None };
        Parts {
            bias: next(self.bias),
            mask: next(self.mask),
            alibi: next(self.alibi),
            lengths: self.lengths.map(&mut next),
        }
    }

    fn run(&self, x: &[Tensor]) -> Tensor {
        let parts = self.parts(x);
        // What is dropped must be the same in every run.
        let _keys = x[0].device().map(|device| device.fork_rng(11));
        let options = AttentionOptions {
            causal: self.causal,
            scale: self.scale,
            window: self.window,
            softcap: self.softcap,
            alibi: parts.alibi.cloned(),
            bias: parts.bias.cloned(),
            mask: parts.mask.cloned(),
            query_lengths: parts.lengths[0].cloned(),
            key_lengths: parts.lengths[1].cloned(),
            dropout: self.dropout,
        };
        x[0].scaled_dot_product_attention(&x[1], &x[2], options)
    }

    /// What probabilities are multiplied by, seen through values that tell the keys apart.
    fn kept(&self) -> Array {
        let Sizes { batch, heads, t, s, .. } = self.sizes;
        let shape = [batch, heads, t, s];
        if self.dropout == 0.0 || shape.contains(&0) {
            return Array::from_fn(&shape, |_| 1.0);
        }
        let device = Device::cpu();
        let _keys = device.fork_rng(11);
        let ones = |rows: usize| Tensor::ones([batch, heads, rows, 1], DType::F64, &device);
        let row = Tensor::iota([batch, heads, s, s], 2, DType::I32, &device);
        let column = Tensor::iota([batch, heads, s, s], 3, DType::I32, &device);
        let values = row.eq(column).cast(DType::F64) * s as f64;
        let options = AttentionOptions::default().dropout(self.dropout);
        let kept = ones(t).scaled_dot_product_attention(&ones(s), &values, options);
        let kept = kept.to_vec::<f64>().expect("values");
        Array { data: kept, ..Array::from_fn(&shape, |_| 0.0) }
    }

    fn reference(&self, x: &[Array]) -> Array {
        let (parts, sizes, kept) = (self.parts(x), self.sizes, self.kept());
        let full = |a: &Array, axes: usize| -> Array {
            let shape = [vec![1; axes - a.shape.len()], a.shape.clone()].concat();
            Array { shape, ..a.clone() }
        };
        let [q, k, v] = [0, 1, 2].map(|n| full(&x[n], 4));
        let over_scores = |a: Option<&Array>, at: [usize; 4]| {
            a.map(|a| {
                let a = full(a, 4);
                let place: Vec<usize> = at.iter().zip(&a.shape).map(|(&k, &n)| k.min(n - 1)).collect();
                a.at(&place)
            })
        };
        let group = sizes.heads / sizes.kv_heads.max(1);
        let columns = sizes.columns;
        let scale = self.scale.unwrap_or(1.0 / (columns as f64).sqrt());
        let mut shape = vec![sizes.batch, sizes.heads, sizes.t, sizes.value_columns];
        let own = |k: usize, b: usize, most: usize| {
            parts.lengths[k].map_or(most, |lengths| (lengths.at(&[b]).max(0.0) as usize).min(most)) as i64
        };
        let mut out = Array::from_fn(&shape, |at| {
            let [b, h, i] = [at[0], at[1], at[2]];
            let (t, s) = (own(0, b, sizes.t), own(1, b, sizes.s));
            let weigh = |j: usize| {
                let ahead = j as i64 - (i as i64 + s - t);
                let seen = (i as i64) < t
                    && (j as i64) < s
                    && !(self.causal && ahead > 0)
                    && self.window.0.is_none_or(|w| -ahead <= w as i64)
                    && (self.causal || self.window.1.is_none_or(|w| ahead <= w as i64))
                    && over_scores(parts.mask, [b, h, i, j]).is_none_or(|m| m != 0.0);
                if !seen {
                    return 0.0;
                }
                let product: f64 =
                    (0..columns).map(|c| q.at(&[b, h, i, c]) * k.at(&[b, h / group, j, c])).sum();
                let product = scale * product;
                let bounded = self.softcap.map_or(product, |c| c * (product / c).tanh());
                let slope = parts.alibi.map_or(0.0, |a| a.at(&[h]));
                let bias = over_scores(parts.bias, [b, h, i, j]).unwrap_or(0.0);
                (bounded + bias - slope * ahead.abs() as f64).exp()
            };
            let weights: Vec<f64> = (0..sizes.s).map(weigh).collect();
            let total: f64 = weights.iter().sum();
            if total == 0.0 {
                return 0.0;
            }
            let value = |j: usize| kept.at(&[b, h, i, j]) * v.at(&[b, h / group, j, at[3]]);
            weights.iter().enumerate().map(|(j, w)| w / total * value(j)).sum()
        });
        shape.drain(..4 - self.rank);
        out.shape = shape;
        out
    }
}

/// A shape that broadcasts to one of scores.
fn broadcasting(draw: &mut Draw, scores: &[usize]) -> Vec<usize> {
    let from = draw.whole(0, scores.len());
    scores[from..].iter().map(|&n| if draw.flip() { n } else { 1 }).collect()
}

fn attention(draw: &mut Draw) -> Sample {
    let rank = draw.whole(2, 4);
    let (kv_heads, group) = if rank > 2 { (draw.whole(1, 2), draw.whole(1, 2)) } else { (1, 1) };
    let columns = draw.full_axis();
    let sizes = Sizes {
        batch: if rank > 3 { draw.axis().min(2) } else { 1 },
        heads: kv_heads * group,
        kv_heads,
        t: draw.axis(),
        s: draw.axis(),
        columns,
        value_columns: if draw.flip() { columns } else { draw.full_axis() },
    };
    let mut option = || draw.whole(0, 2) == 0;
    let causal = option();
    let (left, right, scaled, capped, dropped) = (option(), option(), option(), option(), option());
    let (bias, mask, alibi, lengths) = (option(), option(), option(), [option(), option()]);
    let setup = Setup {
        rank,
        sizes,
        causal,
        scale: scaled.then_some(0.7),
        window: (left.then(|| draw.whole(0, 3)), right.then(|| draw.whole(0, 2))),
        softcap: capped.then_some(1.3),
        dropout: if dropped { 0.25 } else { 0.0 },
        bias,
        mask,
        alibi,
        lengths,
    };
    let Sizes { batch, heads, t, s, value_columns, .. } = sizes;
    let scores = &[batch, heads, t, s][4 - rank..];
    let whole = |shape: [usize; 4]| shape[4 - rank..].to_vec();
    let mut inputs = vec![
        draw.array(&whole([batch, heads, t, columns]), -1.5, 1.5),
        draw.array(&whole([batch, kv_heads, s, columns]), -1.5, 1.5),
        draw.array(&whole([batch, kv_heads, s, value_columns]), -1.5, 1.5),
    ];
    if bias {
        let shape = broadcasting(draw, scores);
        inputs.push(draw.array(&shape, -1.0, 1.0));
    }
    if mask {
        let shape = broadcasting(draw, scores);
        inputs.push(draw.truths(&shape));
    }
    if alibi {
        inputs.push(draw.array(&[heads], 0.0, 0.5).with_role(Role::Constant));
    }
    for (_, most) in lengths.iter().zip([t, s]).filter(|(there, _)| **there) {
        inputs.push(draw.numbers(&[batch], most + 2));
    }
    Sample::new(inputs, move |x| setup.run(x), move |x| setup.reference(x))
}

pub fn cases() -> Vec<Case> {
    vec![Case { tolerance: 3e-5, ..Case::smooth("scaled_dot_product_attention", attention) }]
}

/// Misuse, told with the place in this file.
pub fn misfits() {
    let device = Device::cpu();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &device);
    let plain = AttentionOptions::default;
    let with = |shapes: [&[usize]; 3], options: AttentionOptions| {
        let [q, k, v] = shapes.map(zeros);
        let error =
            q.scaled_dot_product_attention(&k, &v, options).check().expect_err("a misfit").to_string();
        assert!(
            error.contains("scaled_dot_product_attention") && error.contains("ops/attention.rs:"),
            "{error}"
        );
        error
    };
    let says = |shapes: [&[usize]; 3], options: AttentionOptions, text: &str| {
        let error = with(shapes, options);
        assert!(error.contains(text), "{error}");
    };
    says([&[2, 3], &[2, 4], &[2, 4]], plain(), "needs queries [batch, heads, t, columns]");
    says([&[2, 3], &[2, 3], &[3, 3]], plain(), "needs queries [batch, heads, t, columns]");
    says([&[3], &[3], &[3]], plain(), "two to four axes");
    says([&[2, 3], &[1, 2, 3], &[2, 3]], plain(), "two to four axes");
    says([&[2, 300], &[2, 300], &[2, 4]], plain(), "300 columns are not in 1..=256");
    says([&[3, 2, 4], &[2, 2, 4], &[2, 2, 4]], plain(), "2 heads of keys do not divide 3 heads of queries");
    let fits: [&[usize]; 3] = [&[2, 3, 5, 4], &[2, 3, 6, 4], &[2, 3, 6, 4]];
    says(fits, plain().bias(zeros(&[2, 6])), "the bias does not broadcast to [2, 3, 5, 6]");
    says(fits, plain().mask(zeros(&[5, 7])), "the mask does not broadcast to [2, 3, 5, 6]");
    says(fits, plain().mask(zeros(&[5, 6])), "the mask must be truth values");
    says(fits, plain().bias(zeros(&[5, 6]).cast(DType::I32)), "the bias must be floats");
    says(fits, plain().alibi(zeros(&[2])), "one slope for each of 3 heads");
    says(fits, plain().alibi(zeros(&[3]).cast(DType::I32)), "the slopes must be floats");
    says(fits, plain().lengths(zeros(&[2]), None), "lengths must be I32");
    says(fits, plain().lengths(None, zeros(&[3]).cast(DType::I32)), "one length for each of 2 sequences");
    says(fits, plain().dropout(1.0), "dropout probability 1 is not in 0..1");
    says(fits, plain().softcap(0.0), "softcap 0 is not above 0");
    says(fits, plain().scale(f64::NAN), "scale NaN is not finite");
    let mixed = zeros(&[2, 3]).scaled_dot_product_attention(
        &zeros(&[2, 3]).cast(DType::F16),
        &zeros(&[2, 3]),
        plain(),
    );
    let error = mixed.check().expect_err("two dtypes").to_string();
    assert!(error.contains("ops/attention.rs:"), "{error}");
}
