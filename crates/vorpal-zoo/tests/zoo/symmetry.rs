use vorpal_nn::{Device, Module, Tensor};
use vorpal_zoo::symmetry::{Egnn, EgnnOptions, P4mCnn, P4mConv, PointNet, PointNetOptions};

use crate::harness::{Case, assert_close, check, classes, distance, noisy, values};

#[test]
fn p4m_cnn() {
    check(Case {
        // What a bias adds in front of a normalisation is taken away again: its gradient is what rounding leaves.
        unused: &["convs.0.bias", "convs.1.bias", "convs.2.bias"],
        ..Case::new(
            "p4m_cnn",
            |device| P4mCnn::new(&[2, 3, 3], 4, device),
            |m, device| m.forward(&noisy(1, &[4, 1, 8, 8], device)),
            &[4, 4],
            |m, device| {
                m.forward(&noisy(1, &[4, 1, 8, 8], device)).cross_entropy(&classes(2, &[4], 4, device))
            },
        )
    });
}

/// Where an image is turned by `turns` quarters after a mirroring or none, an answer in position `k` goes to which position.
fn moved(turns: usize, mirrored: bool, k: usize) -> usize {
    let (mut turn, mut mirror) = (k % 4, k >= 4);
    if mirrored {
        (turn, mirror) = ((4 - turn) % 4, !mirror);
    }
    (turn + turns) % 4 + if mirror { 4 } else { 0 }
}

#[test]
fn p4m_convolutions_turn_along() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let (first, second) = (P4mConv::lifting(1, 2, 3, &device), P4mConv::new(2, 2, 3, &device));
    let network = |x: &Tensor| second.forward(&first.forward(x).relu());
    let x = noisy(1, &[1, 1, 6, 6], &device);
    let answer = network(&x);
    for (turns, mirrored) in [(1, false), (0, true), (3, true)] {
        let turn = |x: &Tensor| {
            let x = if mirrored { x.flip(-1) } else { x.clone() };
            x.rot90(turns as isize, -2, -1)
        };
        let other = network(&turn(&x));
        for k in 0..8 {
            let expected = turn(&answer.narrow(2, k, 1));
            let found = other.narrow(2, moved(turns, mirrored, k), 1);
            assert_close(
                &found,
                &expected,
                1e-6,
                &format!("{turns} turns, mirrored: {mirrored}, position {k}"),
            );
        }
    }
    // A plain convolution does not.
    assert!(distance(&answer.narrow(2, 0, 1), &answer.narrow(2, 1, 1)) > 1e-3);
}

#[test]
fn p4m_names_do_not_turn() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = P4mCnn::new(&[2, 3, 3], 4, &device);
    model.train(false);
    let x = noisy(1, &[2, 1, 8, 8], &device);
    let answer = model.forward(&x);
    for turned in [x.rot90(1, -2, -1), x.rot90(2, -2, -1), x.flip(-1), x.flip(-1).rot90(3, -2, -1)] {
        assert_close(&model.forward(&turned), &answer, 1e-5, "turned");
    }
}

const EGNN: EgnnOptions = EgnnOptions { features: 2, pairs: 1, hidden: 6, layers: 2 };

/// Features, places, velocities and pairs of four nodes.
fn nodes(device: &Device) -> [Tensor; 4] {
    let pairs = noisy(4, &[3, 4, 4, 1], device);
    [
        noisy(1, &[3, 4, 2], device),
        noisy(2, &[3, 4, 3], device) * 2.0,
        noisy(3, &[3, 4, 3], device),
        &pairs + pairs.transpose(1, 2),
    ]
}

#[test]
fn egnn() {
    // Features and places, so that every parameter matters.
    fn both(m: &Egnn, device: &Device) -> Tensor {
        let [h, x, v, pairs] = nodes(device);
        let (features, places) = m.forward(&h, &x, Some(&v), Some(&pairs));
        Tensor::concat(&[&features, &places], -1)
    }
    check(Case::new(
        "egnn",
        |device| Egnn::new(EGNN, device),
        both,
        &[3, 4, 9],
        |m, device| both(m, device).mse(&noisy(5, &[3, 4, 9], device)),
    ));
}

#[test]
fn egnn_turns_moves_and_renumbers_along() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = Egnn::new(EGNN, &device);
    let [h, x, v, pairs] = nodes(&device);
    let (features, places) = model.forward(&h, &x, Some(&v), Some(&pairs));
    // A turn about (1, 1, 1) by 120 degrees and one about the third axis, mirrored.
    let turn = Tensor::from_slice(&[0.0f32, 0.6, -0.8, 0.0, 0.8, 0.6, 1.0, 0.0, 0.0], [3, 3], &device);
    let away = Tensor::from_slice(&[3.0f32, -1.0, 2.0], [3], &device);
    let moved = |x: &Tensor| x.matmul(&turn) + &away;
    let (same, along) = model.forward(&h, &moved(&x), Some(&v.matmul(&turn)), Some(&pairs));
    assert_close(&same, &features, 1e-4, "features");
    assert_close(&along, &moved(&places), 1e-4, "places");
    let order = Tensor::from_slice(&[2i32, 0, 3, 1], [4], &device);
    let renumbered = |x: &Tensor| x.index_select(1, &order);
    let pairs = renumbered(&pairs).index_select(2, &order);
    let (other, along) = model.forward(&renumbered(&h), &renumbered(&x), Some(&renumbered(&v)), Some(&pairs));
    assert_close(&other, &renumbered(&features), 1e-5, "renumbered features");
    assert_close(&along, &renumbered(&places), 1e-5, "renumbered places");
    assert!(distance(&places, &x) > 1e-2, "places move");
}

fn point_net_options() -> PointNetOptions {
    PointNetOptions { dims: 2, classes: 3, width: 32, feature_transform: true, dropout: 0.0 }
}

#[test]
fn point_net() {
    check(Case {
        // In front of a normalisation.
        unused: &[
            "input_transform.shared.layers.0.bias",
            "input_transform.shared.layers.1.bias",
            "input_transform.shared.layers.2.bias",
            "input_transform.hidden.bias",
            "first.layers.0.bias",
            "first.layers.1.bias",
            "feature_transform.shared.layers.0.bias",
            "feature_transform.shared.layers.1.bias",
            "feature_transform.shared.layers.2.bias",
            "feature_transform.hidden.bias",
            "second.layers.0.bias",
            "second.layers.1.bias",
            "head.layers.0.bias",
            "head.layers.1.bias",
        ],
        ..Case::new(
            "point_net",
            |device| PointNet::new(point_net_options(), device),
            |m, device| m.forward(&noisy(1, &[6, 5, 2], device)),
            &[6, 3],
            |m, device| {
                let (logits, matrix) = m.forward_with_transform(&noisy(1, &[6, 5, 2], device));
                let off = matrix.map(|matrix| PointNet::orthogonality(&matrix)).expect("a transform");
                logits.cross_entropy(&classes(2, &[6], 3, device)) + off * 0.001
            },
        )
    });
}

#[test]
fn point_net_does_not_know_the_order() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = PointNet::new(point_net_options(), &device);
    model.train(false);
    let x = noisy(1, &[2, 5, 2], &device);
    let order = Tensor::from_slice(&[4i32, 2, 0, 1, 3], [5], &device);
    assert_close(&model.forward(&x.index_select(1, &order)), &model.forward(&x), 1e-6, "another order");
    assert!(distance(&model.forward(&(x.clone() * 2.0)), &model.forward(&x)) > 1e-4, "other points");
    let turn = Tensor::from_slice(&[0.6f32, -0.8, 0.8, 0.6], [1, 2, 2], &device);
    assert!(values(&PointNet::orthogonality(&turn))[0] < 1e-10);
    assert!((values(&PointNet::orthogonality(&(turn * 2.0)))[0] - 18.0).abs() < 1e-4);
}
