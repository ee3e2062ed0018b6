use vorpal_nn::{Device, SplineGrid, Tensor};
use vorpal_zoo::dense::{DeepSets, DeepSetsOptions, Kan, MixerOptions, Mlp, MlpMixer, MlpOptions};

use crate::harness::{Case, assert_close, check, classes, distance, noisy};

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

const MIXER: MixerOptions =
    MixerOptions { image: [1, 8, 8], patch: 4, width: 8, hidden: [6, 12], layers: 2, classes: 3 };

#[test]
fn mixer() {
    check(Case::new(
        "mixer",
        |device| MlpMixer::new(MIXER, device),
        |m, device| m.forward(&noisy(1, &[4, 1, 8, 8], device)),
        &[4, 3],
        |m, device| m.forward(&noisy(1, &[4, 1, 8, 8], device)).cross_entropy(&classes(2, &[4], 3, device)),
    ));
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
    assert_eq!(vorpal_nn::Module::parameter_count(&model), 18_528_264);
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
fn deep_sets() {
    check(Case {
        steps: 60,
        ..Case::new(
            "deep_sets",
            |device| DeepSets::new(DeepSetsOptions { features: 2, width: 8, outputs: 3 }, device),
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
    let _keys = device.fork_rng(3);
    let model = DeepSets::new(DeepSetsOptions { features: 2, width: 8, outputs: 3 }, &device);
    let sets = noisy(1, &[2, 5, 2], &device);
    let order = Tensor::from_slice(&[3i32, 0, 4, 1, 2], [5], &device);
    let all = model.forward(&sets, None);
    assert_close(&model.forward(&sets.index_select(1, &order), None), &all, 1e-5, "another order");
    // Every element twice is the same mean.
    assert_close(&model.forward(&sets.repeat(&[1, 2, 1]), None), &all, 1e-5, "twice");
    let sizes = Tensor::from_slice(&[3i32, 3], [2], &device);
    let part = model.forward(&sets.narrow(1, 0, 3), None);
    assert_close(&model.forward(&sets, Some(&sizes)), &part, 1e-5, "three of five");
    assert!(distance(&part, &all) > 1e-4);
}
