use vorpal_nn::{DType, Device, Module, Role, SplineGrid, Tensor};
use vorpal_zoo::dense::{
    DeepSets, DeepSetsOptions, Kan, MixerOptions, Mlp, MlpMixer, MlpOptions, Pool, monte_carlo,
};

use crate::harness::{Case, assert_close, check, classes, distance, noisy, set, silence, tensor, values};

#[test]
fn mlp() {
    check(Case {
        // Dropout shakes the loss.
        steps: 60,
        rate: 0.03,
        ..Case::new(
            "mlp",
            |device| {
                let options = MlpOptions { sizes: vec![5, 8, 6, 3], activation: Tensor::tanh, dropout: 0.1 };
                Mlp::new(options, device)
            },
            |m, device| m.forward(&noisy(1, &[9, 5], device)),
            &[9, 3],
            |m, device| m.forward(&noisy(1, &[9, 5], device)).cross_entropy(&classes(2, &[9], 3, device)),
        )
    });
}

#[test]
fn an_mlp_is_lines_with_kinks() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    let make = |activation| {
        let model = Mlp::new(MlpOptions { sizes: vec![5, 8, 6, 3], activation, dropout: 0.5 }, &device);
        model.train(false);
        model
    };
    let (x, y) = (noisy(1, &[9, 5], &device), noisy(2, &[9, 5], &device));
    // Without an activation all layers are one.
    let line = make(Tensor::clone);
    let zero = line.forward(&(&x * 0.0));
    assert_close(&(line.forward(&(&x + &y)) + &zero), &(line.forward(&x) + line.forward(&y)), 1e-5, "a line");
    assert!(distance(&zero, &(&zero * 0.0)) > 1e-3, "there are biases");
    // With ReLU and without biases it is a line along every ray from zero, of another slope on each.
    let mut kinked = make(Tensor::relu);
    kinked.walk_mut("", &mut |name, _, tensor| {
        if name.ends_with("bias") {
            *tensor = &*tensor * 0.0;
        }
    });
    let answer = kinked.forward(&x);
    assert_close(&kinked.forward(&(&x * 3.0)), &(&answer * 3.0), 1e-5, "three times as far");
    assert!(distance(&kinked.forward(&-&x), &-&answer) > 1e-2, "the other way");
    // Rows know nothing of one another, however they are arranged.
    let cube = kinked.forward(&x.reshape([3, 3, 5]));
    assert_close(&cube.narrow(0, 1, 1).squeeze(0), &answer.narrow(0, 3, 3), 1e-6, "rows of a cube");
    // Outside of training nothing is dropped; while training half of the units are.
    assert_eq!(distance(&kinked.forward(&x), &answer), 0.0);
    kinked.train(true);
    assert!(distance(&kinked.forward(&x), &answer) > 1e-2, "dropout");
}

#[test]
fn dropout_says_what_an_mlp_does_not_know() {
    let device = Device::cpu();
    let x = noisy(1, &[9, 5], &device) * 3.0;
    let make = |dropout| {
        let _keys = device.fork_rng(2);
        let mut model =
            Mlp::new(MlpOptions { sizes: vec![5, 16, 3], dropout, ..Default::default() }, &device);
        model.walk_mut("", &mut |_, _, tensor| *tensor = &*tensor * 3.0);
        model
    };
    let sure = make(0.0);
    let found = monte_carlo(&sure, 4, |m| m.forward(&x));
    assert_close(&found.probabilities, &sure.forward(&x).softmax(-1), 1e-6, "one network");
    assert!(values(&found.information).iter().all(|i| i.abs() < 1e-6), "nothing is left to know");

    // The formulas, written out over the same draws.
    let model = make(0.5);
    let found = {
        let _keys = device.fork_rng(3);
        monte_carlo(&model, 6, |m| m.forward(&x))
    };
    let once = model.forward(&x);
    assert_eq!(distance(&model.forward(&x), &once), 0.0, "afterwards nothing is dropped");
    model.train(true);
    let passes: Vec<Vec<f32>> = {
        let _keys = device.fork_rng(3);
        (0..6).map(|_| values(&model.forward(&x).softmax(-1))).collect()
    };
    let nats = |p: &[f64]| -p.iter().filter(|&&p| p > 0.0).map(|p| p * p.ln()).sum::<f64>();
    let (all, information) = (values(&found.entropy), values(&found.information));
    for row in 0..9 {
        let of =
            |pass: &Vec<f32>| -> Vec<f64> { pass[3 * row..3 * row + 3].iter().map(|&p| p.into()).collect() };
        let each: Vec<Vec<f64>> = passes.iter().map(of).collect();
        let mean: Vec<f64> = (0..3).map(|c| each.iter().map(|p| p[c]).sum::<f64>() / 6.0).collect();
        let known = nats(&mean) - each.iter().map(|p| nats(p)).sum::<f64>() / 6.0;
        assert!((f64::from(all[row]) - nats(&mean)).abs() < 1e-5, "entropy of row {row}");
        assert!(
            (f64::from(information[row]) - known).abs() < 1e-5 && known > 1e-3,
            "information of row {row}"
        );
    }
}

const MIXER: MixerOptions =
    MixerOptions { image: [1, 8, 8], patch: 4, width: 8, hidden: [6, 12], layers: 2, classes: 3 };

#[test]
fn mixer() {
    check(Case {
        // The same for all numbers of a patch, which every normalisation takes away.
        unused: &["blocks.0.mlp_tokens.fc2.bias", "blocks.1.mlp_tokens.fc2.bias"],
        ..Case::new(
            "mixer",
            |device| MlpMixer::new(MIXER, device),
            |m, device| m.forward(&noisy(1, &[4, 1, 8, 8], device)),
            &[4, 3],
            |m, device| {
                m.forward(&noisy(1, &[4, 1, 8, 8], device)).cross_entropy(&classes(2, &[4], 3, device))
            },
        )
    });
}

/// The four patches of images of 8 × 8 pixels in another order.
fn rearranged(x: &Tensor, order: [usize; 4]) -> Tensor {
    let patch = |k: usize| x.narrow(2, k / 2 * 4, 4).narrow(3, k % 2 * 4, 4);
    let [a, b, c, d] = order.map(patch);
    Tensor::concat(&[&Tensor::concat(&[&a, &b], 3), &Tensor::concat(&[&c, &d], 3)], 2)
}

#[test]
fn a_mixer_knows_places_by_what_mixes_them_alone() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    let mut model = MlpMixer::new(MIXER, &device);
    let x = noisy(1, &[4, 1, 8, 8], &device);
    let order = [2, 0, 3, 1];
    let answer = model.forward(&x);
    let moved = rearranged(&x, order);
    assert!(distance(&model.forward(&moved), &answer) > 1e-4, "another order of patches");
    // Place k of the new order is place order[k] of the old one, for weights as well.
    let rows = Tensor::from_slice(&order.map(|k| k as i32), [4], &device);
    let mut along = model.clone();
    for block in 0..2 {
        for (part, axis) in [("fc1.weight", 1), ("fc2.weight", 0), ("fc2.bias", 0)] {
            let name = format!("blocks.{block}.mlp_tokens.{part}");
            set(&mut along, &name, &tensor(&model, &name).index_select(axis, &rows));
        }
    }
    assert_close(&along.forward(&moved), &answer, 1e-5, "weights in that order");
    // What mixes the numbers of a patch does not mix patches: without the rest each adds its own to the answer.
    let (top, bottom) = (|x: &Tensor| x.narrow(2, 0, 4), |x: &Tensor| x.narrow(2, 4, 4));
    let y = noisy(2, &[4, 1, 8, 8], &device);
    let mixed = |model: &MlpMixer| {
        let crossed = |a: &Tensor, b: &Tensor| model.forward(&Tensor::concat(&[&top(a), &bottom(b)], 2));
        distance(&(crossed(&x, &x) + crossed(&y, &y)), &(crossed(&x, &y) + crossed(&y, &x)))
    };
    assert!(mixed(&model) > 1e-4, "patches are mixed");
    for block in 0..2 {
        for part in ["fc2.weight", "fc2.bias"] {
            silence(&mut model, &format!("blocks.{block}.mlp_tokens.{part}"));
        }
    }
    assert!(mixed(&model) < 2e-6, "they are mixed by numbers: {}", mixed(&model));
    assert!(distance(&model.forward(&x), &model.forward(&y)) > 1e-3, "patches count");
}

#[test]
fn a_mixer_of_the_paper_has_its_size() {
    let options = MixerOptions {
        image: [3, 224, 224],
        patch: 16,
        width: 512,
        hidden: [256, 2048],
        layers: 8,
        classes: 1000,
    };
    let model = MlpMixer::new(options, &Device::cpu());
    assert_eq!(model.parameter_count(), 18_528_264);
}

#[test]
fn kan() {
    check(Case::new(
        "kan",
        |device| Kan::new(&[2, 3, 1], SplineGrid::default(), device),
        |m, device| m.forward(&noisy(1, &[9, 2], device)),
        &[9, 1],
        |m, device| m.forward(&noisy(1, &[9, 2], device)).mse(&noisy(2, &[9, 1], device)),
    ));
}

#[test]
fn a_layer_of_a_kan_adds_functions_of_one_number_each() {
    let device = Device::cpu();
    let _keys = device.fork_rng(4);
    // f(x, y) + f(x', y') against f(x, y') + f(x', y): the same where f is a sum of functions of x and of y.
    let mixed = |sizes: &[usize]| {
        let mut model = Kan::new(sizes, SplineGrid::default(), &device);
        model.walk_mut("", &mut |_, role, tensor| {
            if role == Role::Parameter {
                *tensor = Tensor::randn(tensor.shape(), DType::F32, &device);
            }
        });
        let [x, y] = [1, 2].map(|series| noisy(series, &[9, 2], &device));
        let crossed = |a: &Tensor, b: &Tensor| {
            model.forward(&Tensor::concat(&[&a.narrow(1, 0, 1), &b.narrow(1, 1, 1)], 1))
        };
        let (first, other) = (crossed(&x, &x), crossed(&y, &y));
        assert!(distance(&first, &other) > 0.1, "the numbers count");
        distance(&(first + other), &(crossed(&x, &y) + crossed(&y, &x)))
    };
    let (one, two) = (mixed(&[2, 3]), mixed(&[2, 3, 1]));
    assert!(one < 1e-5, "a layer: {one}");
    assert!(two > 1e-2, "two layers, which can take products: {two}");
    // Each function is one of its own: an input changes what its weights say and nothing else.
    let mut model = Kan::new(&[2, 3], SplineGrid::default(), &device);
    for name in ["layers.0.base_weight", "layers.0.spline_weight"] {
        let weight = tensor(&model, name);
        let kept = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0], [3, 2], &device);
        let kept = kept.reshape(if weight.rank() == 3 { vec![3, 2, 1] } else { vec![3, 2] });
        set(&mut model, name, &(weight * kept));
    }
    let x = noisy(1, &[9, 2], &device);
    let other = &x + Tensor::from_slice(&[0.0f32, 0.1], [2], &device);
    let apart = (model.forward(&x) - model.forward(&other)).abs().max([0]);
    let apart = apart.to_vec::<f32>().expect("numbers");
    assert!(apart[0] == 0.0 && apart[1] > 1e-4 && apart[2] > 1e-4, "{apart:?}");
}

#[test]
fn deep_sets() {
    check(Case {
        steps: 60,
        ..Case::new(
            "deep_sets",
            |device| {
                DeepSets::new(DeepSetsOptions { features: 2, width: 8, outputs: 3, pool: Pool::Mean }, device)
            },
            |m, device| m.forward(&noisy(1, &[4, 5, 2], device), None),
            &[4, 3],
            |m, device| {
                let sets = noisy(1, &[4, 5, 2], device);
                m.forward(&sets, None).cross_entropy(&classes(2, &[4], 3, device))
            },
        )
    });
}

#[test]
fn sets_have_no_order_and_what_does_not_count_is_not_seen() {
    let device = Device::cpu();
    let sets = noisy(1, &[2, 5, 2], &device);
    let order = Tensor::from_slice(&[3i32, 0, 4, 1, 2], [5], &device);
    let sizes = Tensor::from_slice(&[3i32, 3], [2], &device);
    for pool in [Pool::Mean, Pool::Max] {
        let _keys = device.fork_rng(3);
        let model = DeepSets::new(DeepSetsOptions { features: 2, width: 8, outputs: 3, pool }, &device);
        let all = model.forward(&sets, None);
        assert_close(&model.forward(&sets.index_select(1, &order), None), &all, 1e-5, "another order");
        // Every element twice has the same mean, and nothing greater.
        assert_close(&model.forward(&sets.repeat(&[1, 2, 1]), None), &all, 1e-5, "twice");
        let part = model.forward(&sets.narrow(1, 0, 3), None);
        assert_close(&model.forward(&sets, Some(&sizes)), &part, 1e-5, "three of five");
        assert!(distance(&part, &all) > 1e-4);
    }
}
