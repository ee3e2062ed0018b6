//! Recurrent layers, cells and packed sequences.

use vorpal_nn::*;

use crate::harness::{Case, Golden, Input, case, check_adapter, check_native};

const STEPS: usize = 4;
const BATCH: usize = 3;
const INPUTS: usize = 2;
const HIDDEN: usize = 3;

fn two() -> RecurrentOptions {
    RecurrentOptions { layers: 2, bidirectional: true, ..RecurrentOptions::default() }
}

fn shapes(list: &[&[usize]]) -> Vec<Input> {
    list.iter().map(|&shape| shape.into()).collect()
}

/// Layer `k` of states stacked as PyTorch has them.
fn layer(all: &Tensor, k: usize) -> Tensor {
    all.narrow(0, k, 1).squeeze(0)
}

fn stacked(states: &[&Tensor]) -> Tensor {
    Tensor::stack(states, 0)
}

/// Runs a network whose state is one tensor, with stacked states.
fn single<K: RecurrentKind<State = Tensor>>(net: &Recurrent<K>, x: &[Tensor], packed: bool) -> Vec<Tensor> {
    let start: Option<Vec<Tensor>> = x.get(1).map(|h| (0..net.layers.len()).map(|k| layer(h, k)).collect());
    let (outputs, last) = match packed {
        true => net.forward_packed(&x[0], &lengths(&x[0]), start.as_deref()),
        false => net.forward(&x[0], start.as_deref()),
    };
    vec![outputs, stacked(&last.iter().collect::<Vec<_>>())]
}

fn lengths(x: &Tensor) -> Tensor {
    Tensor::from_slice(&[4i32, 1, 3], [3], &x.device().expect("a device"))
}

fn lstm(net: &Lstm, x: &[Tensor], packed: bool) -> Vec<Tensor> {
    let start: Option<Vec<LstmState>> =
        x.get(2).map(|c| (0..net.layers.len()).map(|k| (layer(&x[1], k), layer(c, k))).collect());
    let (outputs, last) = match packed {
        true => net.forward_packed(&x[0], &lengths(&x[0]), start.as_deref()),
        false => net.forward(&x[0], start.as_deref()),
    };
    let (h, c): (Vec<&Tensor>, Vec<&Tensor>) = last.iter().map(|(h, c)| (h, c)).unzip();
    vec![outputs, stacked(&h), stacked(&c)]
}

fn cases() -> Vec<Case> {
    let (x, h) = (&[STEPS, BATCH, INPUTS][..], &[4, BATCH, HIDDEN][..]);
    let (row, state) = (&[BATCH, INPUTS][..], &[BATCH, HIDDEN][..]);
    vec![
        case("RNN", shapes(&[x]), |d| Rnn::new(INPUTS, HIDDEN, 2, d), |net, x| single(net, x, false)),
        case(
            "RNN relu packed",
            shapes(&[x, h]),
            |d| Rnn::with_options(INPUTS, HIDDEN, RecurrentOptions { bias: false, ..two() }, d).relu(),
            |net, x| single(net, x, true),
        ),
        case(
            "LSTM",
            shapes(&[x, h, h]),
            |d| Lstm::with_options(INPUTS, HIDDEN, two(), d),
            |net, x| lstm(net, x, false),
        ),
        case(
            "LSTM packed",
            shapes(&[&[BATCH, STEPS, INPUTS]]),
            |d| Lstm::with_options(INPUTS, HIDDEN, RecurrentOptions { batch_first: true, ..two() }, d),
            |net, x| lstm(net, x, true),
        ),
        case(
            "LSTM packed start",
            shapes(&[x, h, h]),
            |d| Lstm::with_options(INPUTS, HIDDEN, two(), d),
            |net, x| lstm(net, x, true),
        ),
        case(
            "LSTM projected",
            shapes(&[x]),
            |d| Lstm::projected(INPUTS, HIDDEN, 2, two(), d),
            |net, x| lstm(net, x, true),
        ),
        case(
            "GRU",
            shapes(&[x, h]),
            |d| Gru::with_options(INPUTS, HIDDEN, two(), d),
            |net, x| single(net, x, false),
        ),
        case(
            "GRU packed",
            shapes(&[x, h]),
            |d| Gru::with_options(INPUTS, HIDDEN, two(), d),
            |net, x| single(net, x, true),
        ),
        case(
            "GRU no bias",
            shapes(&[x]),
            |d| Gru::with_options(INPUTS, HIDDEN, RecurrentOptions { bias: false, ..Default::default() }, d),
            |net, x| single(net, x, false),
        ),
        case(
            "RNNCell",
            shapes(&[row, state]),
            |d| RnnCell::new(INPUTS, HIDDEN, d),
            |cell, x| vec![cell.forward(&x[0], Some(&x[1]))],
        ),
        case(
            "LSTMCell",
            shapes(&[row]),
            |d| LstmCell::new(INPUTS, HIDDEN, d),
            |cell, x| {
                let (h, c) = cell.forward(&x[0], Some(&cell.forward(&x[0], None)));
                vec![h, c]
            },
        ),
        case(
            "GRUCell",
            shapes(&[row, state]),
            |d| GruCell::new(INPUTS, HIDDEN, d).without_bias(),
            |cell, x| vec![cell.forward(&x[0], Some(&x[1]))],
        ),
    ]
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/recurrent.json")).expect("lists of numbers")
}

#[test]
fn recurrent_layers_are_pytorchs() {
    check_native(&cases(), &golden());
}

#[test]
fn adapters_give_the_same() {
    check_adapter(&cases(), &golden(), &["LSTM projected", "GRU no bias"]);
}

#[test]
fn dropout_stands_between_layers_while_training() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let x = Tensor::ones([3, 2, 4], DType::F32, &device);
    let run = |layers: usize, train: bool| {
        let options = RecurrentOptions { layers, dropout: 0.5, ..RecurrentOptions::default() };
        let net = Gru::with_options(4, 4, options, &device);
        net.train(train);
        let twice = [0, 1].map(|_| net.forward(&x, None).0.to_vec::<f32>().expect("values"));
        twice[0] == twice[1]
    };
    assert_eq!([run(2, true), run(1, true), run(2, false)], [false, true, true]);
}

#[test]
fn odd_operands_are_told() {
    let device = &Device::cpu();
    let x = Tensor::ones([3, 2, 4], DType::F32, device);
    let gru = Gru::new(4, 5, 2, device);
    let says = |out: &Tensor, word: &str| {
        let error = out.check().expect_err("it does not fit").to_string();
        assert!(error.contains(word), "{error} does not say {word}");
    };
    says(&gru.forward(&x.narrow(0, 0, 1).squeeze(0), None).0, "steps, a batch and inputs");
    says(&gru.forward(&x, Some(&[])).0, "2 layers");
    let wrong = Tensor::from_slice(&[1i32], [1], device);
    says(&gru.forward_packed(&x, &wrong, None).0, "2 sequences");
    says(&gru.forward_packed(&x, &Tensor::ones([2], DType::F32, device), None).0, "integers");
    says(&GruCell::new(4, 5, device).forward(&x, None), "[batch, inputs]");
    says(&gru.forward(&Tensor::ones([3, 2, 3], DType::F32, device), None).0, "matmul");
}
