use vorpal_nn::{Device, Module, Role, Tensor, value_and_grad};
use vorpal_zoo::recurrent::{
    Aft, AftOptions, Cell, CharRnn, CharRnnOptions, Hyena, HyenaOptions, LinearTransformer,
    LinearTransformerOptions, Lru, LruLayer, Mamba, MambaOptions, Rwkv, RwkvAttention, RwkvOptions, S4d,
    S4dLayer, Seq2Seq, StateSpaceOptions, aft, linear_attention, linear_attention_step,
};

use crate::harness::{Case, assert_close, check, classes, distance, noise, noisy, values};

fn tokens(device: &Device) -> Tensor {
    classes(1, &[2, 6], 9, device)
}

fn next(device: &Device) -> Tensor {
    classes(2, &[2, 6], 9, device)
}

/// A case of a language model of nine tokens.
fn language<M: Module>(
    name: &'static str,
    make: fn(&Device) -> M,
    forward: fn(&M, &Device) -> Tensor,
    loss: fn(&M, &Device) -> Tensor,
) -> Case<M> {
    Case::new(name, make, forward, &[2, 6, 9], loss)
}

macro_rules! language_model {
    ($name:ident, $model:ident, $options:expr, $rate:expr) => {
        #[test]
        fn $name() {
            let make = |device: &Device| $model::new($options, device);
            check(Case {
                rate: $rate,
                ..language(
                    stringify!($name),
                    make,
                    |m, device| m.forward(&tokens(device)),
                    |m, device| m.forward(&tokens(device)).cross_entropy(&next(device)),
                )
            });
            // Token t is told nothing of those behind it.
            let device = Device::cpu();
            let model = make(&device);
            model.train(false);
            let answer = |last: i32| {
                let ids = [1, 2, 3, 4, 5, last];
                model.forward(&Tensor::from_slice(&ids, [1, 6], &device))
            };
            let (one, other) = (answer(6), answer(8));
            assert_close(&one.narrow(1, 0, 5), &other.narrow(1, 0, 5), 2e-5, "what comes before");
            assert!(distance(&one, &other) > 1e-4, "the last is seen by itself");
        }
    };
}

const RNN: CharRnnOptions =
    CharRnnOptions { vocabulary: 9, width: 6, hidden: 10, layers: 2, cell: Cell::Lstm };
const MAMBA: MambaOptions = MambaOptions { vocabulary: 9, width: 8, states: 4, layers: 2 };
const LINEAR: LinearTransformerOptions =
    LinearTransformerOptions { vocabulary: 9, context: 6, width: 8, heads: 2, layers: 1, chunk: 3 };
const AFT: AftOptions = AftOptions { vocabulary: 9, width: 8, heads: 2, window: 3, layers: 1 };

language_model!(char_rnn_lstm, CharRnn, CharRnnOptions { layers: 1, ..RNN }, 0.03);
language_model!(char_rnn_gru, CharRnn, CharRnnOptions { cell: Cell::Gru, layers: 1, ..RNN }, 0.03);
language_model!(char_rnn_elman, CharRnn, CharRnnOptions { cell: Cell::Rnn, layers: 1, ..RNN }, 0.03);
language_model!(mamba, Mamba, MambaOptions { layers: 1, ..MAMBA }, 0.03);
language_model!(rwkv, Rwkv, RwkvOptions { vocabulary: 9, width: 8, layers: 1 }, 0.02);
language_model!(linear_transformer, LinearTransformer, LINEAR, 0.02);
language_model!(aft_conv, Aft, AFT, 0.02);
language_model!(hyena, Hyena, HyenaOptions { vocabulary: 9, width: 8, filter: 6, layers: 1 }, 0.02);

#[test]
fn seq2seq() {
    let source = |device: &Device| Tensor::from_slice(&[2i32, 3, 4, 0, 5, 2, 0, 0], [2, 4], device);
    let target = Tensor::from_slice(&[3i32, 4, 5, 6], [2, 2], &Device::cpu());
    assert_eq!(target.shape(), [2, 2].into());
    check(Case {
        rate: 0.03,
        ..Case::new(
            "seq2seq",
            |device| Seq2Seq::new(7, 4, 8, device),
            |m, device| {
                let source = Tensor::from_slice(&[2i32, 3, 4, 0, 5, 2, 0, 0], [2, 4], device);
                m.forward(&source, &Tensor::from_slice(&[3i32, 4, 5, 6], [2, 2], device))
            },
            &[2, 2, 7],
            |m, device| {
                let source = Tensor::from_slice(&[2i32, 3, 4, 0, 5, 2, 0, 0], [2, 4], device);
                let target = Tensor::from_slice(&[3i32, 4, 5, 6], [2, 2], device);
                m.forward(&source, &target).cross_entropy(&target)
            },
        )
    });
    // What it writes is what it would say if it were told what it wrote; what fills up is not looked at.
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = Seq2Seq::new(7, 4, 8, &device);
    let (written, looked) = model.decode(&source(&device), 3);
    let told = model.forward(&source(&device), &written).argmax(-1);
    assert_eq!(told.to_vec::<i32>().expect("tokens"), written.to_vec::<i32>().expect("tokens"));
    let looked = looked.narrow(0, 1, 1).narrow(2, 2, 2);
    assert_close(&looked, &looked.full_like(0.0), 0.0, "what fills up");
}

const SPACE: StateSpaceOptions = StateSpaceOptions { inputs: 2, width: 6, states: 3, layers: 1, outputs: 4 };

#[test]
fn s4d() {
    check(Case::new(
        "s4d",
        |device| S4d::new(SPACE, device),
        |m, device| m.forward(&noisy(1, &[3, 8, 2], device)),
        &[3, 4],
        |m, device| m.forward(&noisy(1, &[3, 8, 2], device)).cross_entropy(&classes(2, &[3], 4, device)),
    ));
}

#[test]
fn lru() {
    check(Case::new(
        "lru",
        |device| Lru::new(SPACE, device),
        |m, device| m.forward(&noisy(1, &[3, 8, 2], device)),
        &[3, 4],
        |m, device| m.forward(&noisy(1, &[3, 8, 2], device)).cross_entropy(&classes(2, &[3], 4, device)),
    ));
}

/// Results of a step after another for `x`, `[batch, length, …]`.
fn in_steps<S>(x: &Tensor, mut step: impl FnMut(&Tensor, Option<&S>) -> (Tensor, S)) -> Tensor {
    let (mut state, mut rows) = (None, Vec::new());
    for t in 0..x.shape()[1] {
        let (row, next) = step(&x.narrow(1, t, 1).squeeze(1), state.as_ref());
        rows.push(row);
        state = Some(next);
    }
    Tensor::stack(&rows.iter().collect::<Vec<_>>(), 1)
}

#[test]
fn parallel_is_step_by_step() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    let x = noisy(1, &[2, 7, 6], &device);
    let layer = S4dLayer::new(6, 4, &device);
    let parallel = layer.forward(&x.transpose(1, 2)).transpose(1, 2);
    assert_close(&in_steps(&x, |x, s| layer.step(x, s)), &parallel, 2e-5, "s4d");
    let layer = LruLayer::new(6, 4, &device);
    assert_close(&in_steps(&x, |x, s| layer.step(x, s)), &layer.forward(&x), 2e-5, "lru");
    let layer = RwkvAttention::new(6, &device);
    assert_close(&in_steps(&x, |x, s| layer.step(x, s)), &layer.forward(&x), 2e-5, "rwkv");
}

#[test]
fn chunks_of_linear_attention_are_its_steps() {
    let device = Device::cpu();
    let [q, k, v] = [1, 2, 3].map(|series| noisy(series, &[2, 6, 4], &device));
    let all = Tensor::stack(&[&q, &k, &v], 2);
    let steps = in_steps(&all, |x, state| {
        let [q, k, v] = [0, 1, 2].map(|part| x.narrow(1, part, 1).squeeze(1));
        linear_attention_step(&q, &k, &v, state)
    });
    for chunk in [1, 2, 6] {
        assert_close(&linear_attention(&q, &k, &v, chunk), &steps, 2e-5, "linear attention");
    }
}

/// Rows and columns of the tests of attention without products, and rows with a bias.
const ROWS: usize = 7;
const COLUMNS: usize = 4;
const WINDOW: usize = 3;

/// The formula of an attention free transformer, written out: `bias` of a row, of one up to it, and of a column.
fn aft_by_hand(
    [q, k, v]: [&[f32]; 3],
    rows: usize,
    columns: usize,
    bias: impl Fn(usize, usize, usize) -> f64,
) -> Vec<f32> {
    let number = |x: &[f32], t: usize, c: usize| f64::from(x[t * columns + c]);
    let mut out = Vec::new();
    for t in 0..rows {
        for c in 0..columns {
            let scores: Vec<f64> = (0..=t).map(|s| number(k, s, c) + bias(t, s, c)).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
            let sum: f64 = weights.iter().enumerate().map(|(s, w)| w * number(v, s, c)).sum();
            let gate = 1.0 / (1.0 + (-number(q, t, c)).exp());
            out.push((gate * sum / weights.iter().sum::<f64>()) as f32);
        }
    }
    out
}

#[test]
fn attention_without_products_is_its_formula() {
    let device = Device::cpu();
    let tensor = |numbers: &[f32], shape: &[usize]| Tensor::from_slice(numbers, shape, &device);
    let shape = [ROWS, COLUMNS];
    let [q, k, v] = [1, 2, 3].map(|series| noise(series, ROWS * COLUMNS));
    // Where row s stands in the window of row t, if it does.
    let place = |t: usize, s: usize| (s + WINDOW).checked_sub(t + 1);
    // AFT-conv: biases of columns and steps. AFT-local: products of two rows, as in the paper, inside of the window.
    let of_steps = noise(4, COLUMNS * WINDOW);
    let [left, right] = [5, 6].map(|series| noise(series, ROWS * 2));
    let product = |t: usize, s: usize| left[2 * t] * right[2 * s] + left[2 * t + 1] * right[2 * s + 1];
    let pair = |n: usize| {
        let row = (n / WINDOW + n % WINDOW + 1).checked_sub(WINDOW);
        row.map_or(0.0, |s| product(n / WINDOW, s))
    };
    let of_pairs: Vec<f32> = (0..ROWS * WINDOW).map(pair).collect();
    // With keys of a thousand the scores themselves are known to 6e-5.
    for (size, tolerance) in [(1.0f32, 2e-5), (1e3, 5e-4)] {
        let k: Vec<f32> = k.iter().map(|key| key * size).collect();
        let rows = [&q[..], &k[..], &v[..]];
        let [tq, tk, tv] = rows.map(|x| tensor(x, &shape));
        let conv = aft_by_hand(rows, ROWS, COLUMNS, |t, s, c| {
            place(t, s).map_or(0.0, |at| f64::from(of_steps[c * WINDOW + at]))
        });
        let found = aft(&tq, &tk, &tv, &tensor(&of_steps, &[COLUMNS, WINDOW]));
        assert_close(&found, &tensor(&conv, &shape), tolerance, "AFT-conv");
        let local =
            aft_by_hand(rows, ROWS, COLUMNS, |t, s, _| place(t, s).map_or(0.0, |_| f64::from(product(t, s))));
        let found = aft(&tq, &tk, &tv, &tensor(&of_pairs, &[ROWS, 1, WINDOW]));
        assert_close(&found, &tensor(&local, &shape), tolerance, "AFT-local");
        let simple = aft_by_hand(rows, ROWS, COLUMNS, |_, _, _| 0.0);
        // A window wider than what there is to see.
        let found = aft(&tq, &tk, &tv, &tensor(&[0.0; 9], &[1, 9]));
        assert_close(&found, &tensor(&simple, &shape), tolerance, "AFT-simple");
    }
}

#[test]
fn attention_without_products_stands_any_keys() {
    let device = Device::cpu();
    let [q, k, v] = [1, 2, 3].map(|series| noisy(series, &[2, ROWS, COLUMNS], &device));
    let bias = noisy(4, &[COLUMNS, WINDOW], &device);
    for size in [-1e4, -1e3, 1e3, 1e4] {
        // Sorted, so that each key is far above those before it, or far below.
        let keys = k.sort(1, false).0 * size;
        let at = (q.clone(), keys, v.clone(), bias.clone());
        let (out, grads) =
            value_and_grad(&at, |(q, k, v, bias)| aft(q, k, v, bias).square().sum_all()).expect("a graph");
        assert!(values(&out)[0] > 0.0 && values(&out)[0].is_finite(), "{size}: {out:?}");
        for grad in [&grads.0, &grads.1, &grads.2, &grads.3] {
            assert!(values(grad).iter().all(|g| g.is_finite()), "{size}: {grad:?}");
        }
    }
}

#[test]
fn attention_without_products_does_not_see_what_comes() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = Aft::new(AftOptions { layers: 2, ..AFT }, &device);
    let ids = [1, 2, 3, 4, 5, 6, 7, 8];
    let answer = |ids: &[i32]| model.forward(&Tensor::from_slice(ids, [1, 8], &device));
    let before = answer(&ids);
    for at in 1..8 {
        let mut changed = ids;
        changed[at] = 0;
        let after = answer(&changed);
        assert_close(&after.narrow(1, 0, at), &before.narrow(1, 0, at), 2e-5, "what comes before");
        // Further back than the window of both blocks as well.
        assert!(distance(&after.narrow(1, 7, 1), &before.narrow(1, 7, 1)) > 1e-5, "{at} is forgotten");
    }
}

/// Puts the numbers of `golden/recurrent.py` into a model.
fn made_up<M: Module>(model: &mut M, device: &Device) {
    let mut p = 0;
    model.walk_mut("", &mut |name, role, tensor| {
        if role == Role::Parameter {
            let shape = tensor.shape();
            let inputs: usize = shape.iter().skip(1).product();
            let value = |v: &f32| match (shape.rank(), name.ends_with("weight")) {
                (1, true) => 1.0 + 0.2 * v,
                (1, false) => 0.1 * v,
                _ => v * (6.0 / inputs as f32).sqrt(),
            };
            let numbers: Vec<f32> = noise(p, shape.numel()).iter().map(value).collect();
            *tensor = Tensor::from_slice(&numbers, shape, device);
            p += 1;
        }
    });
}

#[test]
fn logits_are_pytorchs() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let tokens = Tensor::from_slice(&[1i32, 4, 2, 8, 5, 7, 3, 1, 0, 6, 6, 2], [2, 6], &device);
    let same = |found: &Tensor, text: &str, what: &str| {
        let wanted: Vec<f32> = serde_json::from_str(text).expect("a list of numbers");
        let apart = distance(found, &Tensor::from_slice(&wanted, [2, 6, 9], &device));
        assert!(apart <= 2e-5, "{what}: {apart}");
    };
    let mut mamba = Mamba::new(MAMBA, &device);
    made_up(&mut mamba, &device);
    same(&mamba.forward(&tokens), include_str!("../golden/mamba.json"), "mamba");
    let mut lstm = CharRnn::new(RNN, &device);
    made_up(&mut lstm, &device);
    same(&lstm.forward(&tokens), include_str!("../golden/char_rnn.json"), "char_rnn");
}
