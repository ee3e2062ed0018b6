//! Attention, transformers and positions.

use vorpal_nn::*;

use crate::harness::{Case, Golden, Input, case, check_adapter, check_native, numbers};

const WIDTH: usize = 4;
const HEADS: usize = 2;

fn shapes(list: &[&[usize]]) -> Vec<Input> {
    list.iter().map(|&shape| shape.into()).collect()
}

fn truths(like: &Tensor, values: &[bool], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &like.device().expect("a device"))
}

/// The last key of the first of two sequences is padding.
fn padding(like: &Tensor) -> Tensor {
    truths(like, &[false, false, false, true, false, false, false, false], &[2, 4])
}

fn options(small: TransformerOptions) -> TransformerOptions {
    TransformerOptions { dim_feedforward: 5, dropout: 0.0, ..small }
}

fn first() -> TransformerOptions {
    options(TransformerOptions { batch_first: true, ..TransformerOptions::default() })
}

fn attentions() -> Vec<Case> {
    let (q, kv) = (&[2, 3, WIDTH][..], &[2, 4, WIDTH][..]);
    vec![
        case(
            "Multihead",
            shapes(&[&[3, 2, WIDTH]]),
            |d| MultiheadAttention::new(WIDTH, HEADS, d),
            |layer, x| {
                let none = AttentionMask::none();
                vec![layer.forward(&x[0], &x[0], &x[0], &none), layer.weights(&x[0], &x[0], &none).mean(1)]
            },
        ),
        case(
            "Multihead masks",
            shapes(&[q, kv, kv]),
            |d| MultiheadAttention::new(WIDTH, HEADS, d).batch_first(),
            |layer, x| {
                let unseen = [[0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]].concat();
                let unseen: Vec<bool> = unseen.iter().map(|&n| n == 1).collect();
                let mask =
                    AttentionMask::none().key_padding(padding(&x[0])).attn(truths(&x[0], &unseen, &[3, 4]));
                vec![layer.forward(&x[0], &x[1], &x[2], &mask), layer.weights(&x[0], &x[1], &mask)]
            },
        ),
        case(
            "Multihead dims",
            shapes(&[q, &[2, 4, 3], &[2, 4, 5], &[4, 3, 4]]),
            |d| MultiheadAttention::new(WIDTH, HEADS, d).kv_dims(3, 5, d).batch_first(),
            |layer, x| {
                let mask = AttentionMask::none().attn(x[3].clone());
                vec![layer.forward(&x[0], &x[1], &x[2], &mask)]
            },
        ),
        case(
            "Multihead causal",
            shapes(&[q]),
            |d| MultiheadAttention::new(WIDTH, HEADS, d).without_bias().batch_first(),
            |layer, x| vec![layer.forward(&x[0], &x[0], &x[0], &AttentionMask::causal())],
        ),
    ]
}

fn transformers() -> Vec<Case> {
    let (q, kv) = (&[2, 3, WIDTH][..], &[2, 4, WIDTH][..]);
    vec![
        case(
            "EncoderLayer",
            shapes(&[&[3, 2, WIDTH]]),
            |d| TransformerEncoderLayer::new(WIDTH, HEADS, &options(TransformerOptions::default()), d),
            |layer, x| vec![Layer::forward(layer, &x[0])],
        ),
        case(
            "EncoderLayer masks",
            shapes(&[q]),
            |d| {
                let activation = BoxedLayer::new(Gelu::default());
                let options = TransformerOptions { norm_first: true, activation, ..first() };
                TransformerEncoderLayer::new(WIDTH, HEADS, &options, d)
            },
            |layer, x| {
                let mask = AttentionMask::causal().key_padding(padding(&x[0]).narrow(1, 1, 3));
                vec![layer.forward(&x[0], &mask)]
            },
        ),
        case(
            "DecoderLayer",
            shapes(&[q, kv]),
            |d| TransformerDecoderLayer::new(WIDTH, HEADS, &first(), d),
            |layer, x| {
                let memory_mask = AttentionMask::none().key_padding(padding(&x[0]));
                vec![layer.forward(&x[0], &x[1], &AttentionMask::causal(), &memory_mask)]
            },
        ),
        case(
            "DecoderLayer norm first",
            shapes(&[q, kv]),
            |d| {
                let options = TransformerOptions { norm_first: true, bias: false, ..first() };
                TransformerDecoderLayer::new(WIDTH, HEADS, &options, d)
            },
            |layer, x| vec![layer.forward(&x[0], &x[1], &AttentionMask::none(), &AttentionMask::none())],
        ),
        case(
            "Transformer",
            shapes(&[kv, q]),
            |d| Transformer::new(WIDTH, HEADS, [1, 2], &first(), d),
            |model, x| {
                let none = AttentionMask::none();
                vec![model.forward(&x[0], &x[1], &none, &AttentionMask::causal(), &none)]
            },
        ),
    ]
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/attention.json")).expect("lists of numbers")
}

fn cases() -> Vec<Case> {
    attentions().into_iter().chain(transformers()).collect()
}

#[test]
fn attention_is_pytorchs() {
    check_native(&cases(), &golden());
}

#[test]
fn adapters_give_the_same() {
    check_adapter(&cases(), &golden(), &["Multihead masks", "DecoderLayer"]);
}

fn apart(a: &Tensor, b: &Tensor) -> f32 {
    let axes: Vec<isize> = (0..a.rank() as isize).collect();
    (a - b).abs().max(&axes[..]).item::<f32>().expect("a number")
}

fn kinds(device: &Device) -> Vec<MultiHeadAttention> {
    let plain = MultiHeadAttention::new(8, 2, device).causal();
    let grouped = MultiHeadAttention::grouped(8, 4, 2, device).causal();
    vec![
        plain.clone(),
        grouped.clone(),
        plain.clone().rotary(Rotary::new(4, 16)),
        grouped.rotary(Rotary::new(2, 16).interleaved()),
        plain.alibi(),
    ]
}

#[test]
fn a_cache_gives_what_all_rows_at_once_give() {
    let _keys = Device::cpu().fork_rng(1);
    let mut devices = vec![Device::cpu()];
    devices.extend(Device::software().inspect_err(|e| println!("skipped: no software adapter ({e})")));
    for device in devices {
        let x = Tensor::randn([2, 6, 8], DType::F32, &device);
        // Every kind natively, the two that differ most on the adapter, where each shader takes its time.
        let chosen = if device == Device::cpu() { 0..5 } else { 3..5 };
        for layer in &kinds(&device)[chosen] {
            let whole = layer.forward(&x);
            let mut cache = KvCache::new(8);
            // Three rows at once, then one after the other.
            let mut parts = Vec::new();
            for (start, rows) in [(0, 3), (3, 1), (4, 1), (5, 1)] {
                let part = layer.forward_cached(&x.narrow(1, start, rows), &mut cache);
                eval(&(&part, &cache)).expect("values");
                parts.push(part);
            }
            let together = Tensor::concat(&parts.iter().collect::<Vec<_>>(), 1);
            let apart = apart(&together, &whole);
            assert!(apart < 2e-6, "{apart} on {device:?}: {layer:?}");
            assert_eq!(cache.len(), 6);
            let full = layer.forward_cached(&x, &mut cache).check().expect_err("12 rows of 8").to_string();
            assert!(full.contains("6 rows behind 6 do not fit into 8"), "{full}");
        }
    }
}

/// One number by the definition of rotary positions.
fn turned(x: &[f64], t: usize, column: usize, interleaved: bool) -> f64 {
    let half = x.len() / 2;
    let (pair, second) = if interleaved { (column / 2, column % 2) } else { (column % half, column / half) };
    let angle = t as f64 * 10_000f64.powf(-2.0 * pair as f64 / x.len() as f64);
    let [a, b] = if interleaved { [2 * pair, 2 * pair + 1] } else { [pair, pair + half] }.map(|k| x[k]);
    if second == 0 { a * angle.cos() - b * angle.sin() } else { b * angle.cos() + a * angle.sin() }
}

#[test]
fn rotary_positions_are_as_defined() {
    let device = Device::cpu();
    let (rows, columns) = (5, 6);
    let values = numbers(&[rows, columns], 3);
    let x = Tensor::from_slice(&values, [1, 1, rows, columns], &device);
    for interleaved in [false, true] {
        let rotary = Rotary::new(columns, 64);
        let rotary = if interleaved { rotary.interleaved() } else { rotary };
        let positions = Tensor::from_slice(&[40i32, 0, 63, 7, 1], [rows], &device);
        let found =
            [rotary.apply(&x), rotary.apply_at(&x, &positions)].map(|y| y.to_vec::<f64>().expect("values"));
        for (list, places) in found.iter().zip([[0, 1, 2, 3, 4], [40, 0, 63, 7, 1]]) {
            for (k, &y) in list.iter().enumerate() {
                let row = &values[k / columns * columns..][..columns];
                let expected = turned(row, places[k / columns], k % columns, interleaved);
                assert!((y - expected).abs() < 1e-12, "{k}: {y}, should be {expected}");
            }
        }
        let shifted = positions.full_like(0.0) + 64;
        assert!(matches!(rotary.apply_at(&x, &shifted).to_vec::<f64>(), Err(Error::Index { .. })));
    }
}

#[test]
fn slopes_of_distances_are_a_bias() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let x = Tensor::randn([2, 5, 8], DType::F32, &device);
    let layer = MultiHeadAttention::new(8, 2, &device);
    let part = |k: usize| {
        let weight = layer.in_proj_weight.narrow(0, 8 * k, 8);
        x.matmul(&weight.t())
    };
    let place = |axis: usize| Tensor::iota([2, 5, 5], axis, DType::F32, &device);
    let slopes = Tensor::alibi_slopes(2, &device).reshape([2, 1, 1]);
    let bias = -((place(1) - place(2)).abs() * slopes);
    let options = AttentionOptions::default().bias(bias);
    let expected = layer.out_proj.forward(&multi_head_attention(&part(0), &part(1), &part(2), 2, options));
    assert!(apart(&layer.alibi().forward(&x), &expected) < 2e-6);
}

#[test]
fn odd_operands_are_told() {
    let device = &Device::cpu();
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, device);
    let says = |out: Tensor, word: &str| {
        let error = out.check().expect_err("it does not fit").to_string();
        assert!(error.contains(word) && error.contains("attention.rs"), "{error} does not say {word}, where");
    };
    let none = AttentionMask::none();
    let layer = MultiheadAttention::new(4, 2, device).batch_first();
    let x = ones(&[2, 3, 4]);
    says(layer.forward(&ones(&[3, 4]), &x, &x, &none), "[batch, rows, width]");
    says(layer.forward(&x, &x, &x, &AttentionMask::none().attn(ones(&[3, 3, 3]))), "[4, queries, keys]");
    says(layer.forward(&x, &x, &x, &AttentionMask::none().key_padding(ones(&[3]))), "[2, keys]");
    says(MultiheadAttention::new(4, 3, device).forward(&x, &x, &x, &none), "3 heads");
    says(Rotary::new(4, 2).apply(&x), "2 positions");
    says(Rotary::new(3, 2).apply(&ones(&[2, 3])), "even number");
    says(LearnedPositions::new(2, 4, device).forward(&x), "within [2, 4]");
    says(SinusoidalPositions::new(8, 6).forward(&x), "within [8, 6]");
}
