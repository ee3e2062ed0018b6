use vorpal_nn::data::{Dataset, Digits};
use vorpal_nn::{DType, Device, Module, Tensor, eval};
use vorpal_zoo::MnistCnn;
use vorpal_zoo::conv::{
    Conv3dNet, ConvNeXt, ConvNeXtOptions, LeNet5, MobileNetV2, MobileNetV2Options, ResNet, ResNetOptions,
    UNet, UNetOptions, WaveNet, WaveNetOptions,
};
use vorpal_zoo::data::{MovingDigits, NoisyStrokes};

use crate::harness::{Case, assert_close, check, classes, distance, noisy};

#[test]
fn mnist_cnn() {
    check(Case {
        // What a bias adds in front of a normalisation is taken away again: its gradient is what rounding leaves.
        unused: &["conv1.bias", "conv2.bias"],
        ..Case::new(
            "mnist_cnn",
            MnistCnn::new,
            |m, device| m.forward(&noisy(1, &[4, 1, 28, 28], device)),
            &[4, 10],
            |m, device| {
                let images = noisy(1, &[4, 1, 28, 28], device);
                m.forward(&images).cross_entropy(&classes(2, &[4], 10, device))
            },
        )
    });
}

/// What is learned of four small images.
fn loss(forward: impl Fn(&Tensor) -> Tensor, device: &Device) -> Tensor {
    forward(&noisy(1, &[4, 1, 8, 8], device)).cross_entropy(&classes(2, &[4], 3, device))
}

#[test]
fn lenet() {
    check(Case::new(
        "lenet",
        LeNet5::new,
        |m, device| m.forward(&noisy(1, &[4, 1, 28, 28], device)),
        &[4, 10],
        |m, device| {
            m.forward(&noisy(1, &[4, 1, 28, 28], device)).cross_entropy(&classes(2, &[4], 10, device))
        },
    ));
}

fn residual(bottleneck: bool) -> ResNetOptions {
    ResNetOptions { channels: 1, width: 4, stages: [1, 1, 1, 0], bottleneck, small: true, classes: 3 }
}

#[test]
fn resnet() {
    check(Case::new(
        "resnet, basic",
        |device| ResNet::new(residual(false), device),
        |m, device| m.forward(&noisy(1, &[4, 1, 8, 8], device)),
        &[4, 3],
        |m, device| loss(|x| m.forward(x), device),
    ));
    check(Case::new(
        "resnet, bottleneck",
        |device| ResNet::new(residual(true), device),
        |m, device| m.forward(&noisy(1, &[4, 1, 8, 8], device)),
        &[4, 3],
        |m, device| loss(|x| m.forward(x), device),
    ));
}

#[test]
fn resnets_have_the_sizes_of_torchvision() {
    let device = Device::cpu();
    let count = |options| ResNet::new(options, &device).parameter_count();
    assert_eq!(count(ResNetOptions::resnet34(1000)), 21_797_672);
    assert_eq!(count(ResNetOptions::resnet50(1000)), 25_557_032);
}

#[test]
fn mobilenet() {
    check(Case {
        // Behind the narrow ends comes a normalisation, with nothing but convolutions of one pixel between.
        unused: &["features.1.conv.2.bias", "features.2.conv.3.bias", "features.3.conv.3.bias"],
        ..Case::new(
            "mobilenet",
            |device| {
                let options = MobileNetV2Options {
                    channels: 1,
                    first: [4, 1],
                    stages: vec![[1, 4, 1, 1], [2, 6, 2, 2]],
                    last: 8,
                    classes: 3,
                    dropout: 0.0,
                };
                MobileNetV2::new(&options, device)
            },
            |m, device| m.forward(&noisy(1, &[4, 1, 8, 8], device)),
            &[4, 3],
            |m, device| loss(|x| m.forward(x), device),
        )
    });
}

#[test]
fn names_of_a_mobilenet_are_torchvisions() {
    let mut names = Vec::new();
    MobileNetV2::new(&MobileNetV2Options::paper(10), &Device::cpu())
        .walk("", &mut |name, _, _| names.push(name.to_string()));
    let expected = [
        "features.0.0.weight",
        "features.1.conv.0.0.weight",
        "features.1.conv.1.weight",
        "features.1.conv.2.running_mean",
        "features.2.conv.0.0.weight",
        "features.2.conv.1.1.bias",
        "features.2.conv.2.weight",
        "features.17.conv.3.running_var",
        "features.18.1.weight",
        "classifier.1.weight",
    ];
    for name in expected {
        assert!(names.iter().any(|n| n == name), "{name} is not among {names:?}");
    }
}

#[test]
fn convnext() {
    check(Case::new(
        "convnext",
        |device| {
            let options = ConvNeXtOptions {
                channels: 1,
                patch: 2,
                stages: vec![[1, 4], [1, 6]],
                classes: 3,
                drop_path: 0.0,
                layer_scale: 0.1,
            };
            ConvNeXt::new(&options, device)
        },
        |m, device| m.forward(&noisy(1, &[4, 1, 8, 8], device)),
        &[4, 3],
        |m, device| loss(|x| m.forward(x), device),
    ));
}

#[test]
fn unet() {
    check(Case::new(
        "unet",
        |device| UNet::new(UNetOptions { channels: 1, width: 4, depth: 2, classes: 2 }, device),
        |m, device| m.forward(&noisy(1, &[2, 1, 8, 8], device)),
        &[2, 2, 8, 8],
        |m, device| {
            let out = m.forward(&noisy(1, &[2, 1, 8, 8], device)).movedim(1, -1);
            out.cross_entropy(&classes(2, &[2, 8, 8], 2, device))
        },
    ));
}

const WAVE: WaveNetOptions = WaveNetOptions { vocabulary: 5, width: 4, skip: 6, layers: 3 };

#[test]
fn wavenet() {
    check(Case {
        // What the last layer hands on is not looked at.
        unused: &["layers.2.residual.weight", "layers.2.residual.bias"],
        steps: 30,
        ..Case::new(
            "wavenet",
            |device| WaveNet::new(WAVE, device),
            |m, device| m.forward(&classes(1, &[2, 12], 5, device)),
            &[2, 12, 5],
            |m, device| {
                m.forward(&classes(1, &[2, 12], 5, device)).cross_entropy(&classes(2, &[2, 12], 5, device))
            },
        )
    });
}

#[test]
fn a_wavenet_sees_its_reach_and_nothing_that_comes_later() {
    let device = Device::cpu();
    let _keys = device.fork_rng(4);
    let model = WaveNet::new(WAVE, &device);
    assert_eq!(WAVE.reach(), 8);
    let text = classes(1, &[1, 16], 5, &device);
    let at = 5;
    let there = Tensor::arange(16, DType::I32, &device).eq(at).cast(DType::I32);
    let other = (&text + there).remainder(5);
    let (before, after) = (model.forward(&text), model.forward(&other));
    eval(&(&before, &after)).expect("values");
    for place in 0..16 {
        let apart = distance(&before.narrow(1, place, 1), &after.narrow(1, place, 1));
        let seen = (at as usize..at as usize + WAVE.reach()).contains(&place);
        assert_eq!(apart > 0.0, seen, "place {place}: {apart}");
    }
}

#[test]
fn conv3d_net() {
    check(Case::new(
        "conv3d",
        |device| Conv3dNet::new(1, 2, 3, device),
        |m, device| m.forward(&noisy(1, &[4, 1, 3, 8, 8], device)),
        &[4, 3],
        |m, device| {
            m.forward(&noisy(1, &[4, 1, 3, 8, 8], device)).cross_entropy(&classes(2, &[4], 3, device))
        },
    ));
}

#[test]
fn films_and_noisy_digits_are_what_they_say() {
    let device = Device::cpu();
    let (_, digits) = Digits::embedded().expect("digits");
    let steps = [[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]];
    let films = MovingDigits(digits.clone());
    let mut met = [false; 8];
    for index in 0..40 {
        let (film, direction) = films.get(index).expect("a film");
        met[direction as usize] = true;
        let film = film.to_tensor(&device).squeeze(0);
        let [right, down] = steps[direction as usize];
        let moved = film.narrow(0, 0, 5).roll(right, 2).roll(down, 1);
        assert_close(&film.narrow(0, 1, 5), &moved, 1e-6, "a picture later");
    }
    assert_eq!(met, [true; 8]);
    let (image, mask) = NoisyStrokes(digits.clone()).get(3).expect("a picture");
    let (digit, _) = digits.get(3).expect("a digit");
    let ink = digit.to_tensor(&device).gt(0.5).cast(DType::I32).squeeze(0);
    assert_eq!(mask.to_vec::<i32>().expect("a mask"), ink.to_vec::<i32>().expect("ink"));
    assert!(distance(&image.to_tensor(&device), &digit.to_tensor(&device)) > 0.2);
}
