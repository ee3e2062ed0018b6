//! What makes convolutions what they are: they look near by, what moves is seen to move, and blocks stand beside a way
//! straight through.

use vorpal_nn::{DType, Device, Module, Tensor, grad};
use vorpal_zoo::conv::{
    Conv3dNet, ConvNeXt, ConvNeXtOptions, LeNet5, MobileNetV2, MobileNetV2Options, ResNet, ResNetOptions,
    UNet, UNetOptions,
};
use vorpal_zoo::{MnistCnn, ResNetBlock};

use crate::harness::{assert_close, distance, noisy, set, silence, tensor, values};

/// A picture of `side` pixels that is zero but for noise of 4 × 4 pixels from (`at`, `at`) on.
fn spot(side: usize, at: usize, device: &Device) -> Tensor {
    let rest = side - at - 4;
    noisy(1, &[1, 1, 4, 4], device).pad(2, at, rest, 0.0).pad(3, at, rest, 0.0)
}

/// Where a gradient by a picture is not zero: first and last row, first and last column.
fn reach(seen: &Tensor) -> [usize; 4] {
    let bounds = |axis: isize| {
        let sums = values(&seen.abs().sum([0, 1, axis]));
        let at = |found: Option<usize>| found.expect("something is seen");
        [at(sums.iter().position(|s| *s != 0.0)), at(sums.iter().rposition(|s| *s != 0.0))]
    };
    let ([top, bottom], [left, right]) = (bounds(3), bounds(2));
    [top, bottom, left, right]
}

/// An axis of `places` numbers, one where it is `place`.
fn one_at(place: usize, places: usize, device: &Device) -> Tensor {
    Tensor::arange(places, DType::I32, device).eq(place as i32).cast(DType::F32)
}

#[test]
fn a_feature_of_lenet_sees_sixteen_pixels_either_way_and_moves_by_four() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = LeNet5::new(&device);
    // All that is behind the second pooling is one convolution of 5 × 5 places: leave it one of them.
    let alone = |row: usize, column: usize| {
        let mut model = model.clone();
        let place = one_at(5 * row + column, 25, &device).reshape([1, 1, 5, 5]);
        let weight = tensor(&model, "c5.weight").narrow(2, 0, 1).narrow(3, 0, 1) * place;
        set(&mut model, "c5.weight", &weight);
        model
    };
    let x = noisy(1, &[1, 1, 28, 28], &device);
    for (row, column) in [(2, 1), (3, 2)] {
        let one = alone(row, column);
        let seen = grad(&x, |x| one.forward(x).sum_all()).expect("a gradient");
        let ends = |k: usize| [4 * k - 2, 4 * k + 13];
        let ([top, bottom], [left, right]) = (ends(row), ends(column));
        assert_eq!(reach(&seen), [top, bottom, left, right], "place {row}, {column}");
        // Away from the borders one place sees what another sees elsewhere.
        let moved = alone(row - 1, column).forward(&x.roll(-4, 2));
        assert_close(&moved, &one.forward(&x), 1e-5, "four rows up");
        assert!(distance(&one.forward(&x.roll(-1, 2)), &one.forward(&x)) > 1e-4, "one row up");
    }
}

#[test]
fn a_feature_of_mnist_cnn_sees_ten_pixels_either_way_and_moves_by_four() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    let model = MnistCnn::new(&device);
    model.train(false);
    let alone = |row: usize, column: usize| {
        let mut model = model.clone();
        let weight = noisy(7, &[10, 32, 1], &device) * one_at(7 * row + column, 49, &device);
        set(&mut model, "out.weight", &weight.reshape([10, 32 * 49]));
        model
    };
    // Of maxima only the largest has a gradient: those of many pictures.
    let x = noisy(1, &[16, 1, 28, 28], &device);
    for (row, column) in [(2, 3), (4, 1)] {
        let one = alone(row, column);
        let seen = grad(&x, |x| one.forward(x).square().sum_all()).expect("a gradient");
        let ends = |k: usize| [4 * k - 3, 4 * k + 6];
        let ([top, bottom], [left, right]) = (ends(row), ends(column));
        assert_eq!(reach(&seen), [top, bottom, left, right], "place {row}, {column}");
        let moved = alone(row - 1, column).forward(&x.roll(-4, 2));
        assert_close(&moved, &one.forward(&x), 1e-5, "four rows up");
        assert!(distance(&one.forward(&x.roll(-1, 2)), &one.forward(&x)) > 1e-4, "one row up");
    }
}

/// Holds an answer to be the same wherever a picture stands, by whole strides, and no other steps.
fn moves(name: &str, forward: &dyn Fn(&Tensor) -> Tensor, picture: &Tensor, stride: isize) {
    let answer = forward(picture);
    let size = values(&answer).iter().fold(0.0f32, |size, v| size.max(v.abs()));
    for (down, right) in [(stride, 0), (0, stride), (-stride, stride)] {
        let moved = forward(&picture.roll(down, -2).roll(right, -1));
        assert_close(&moved, &answer, 2e-5, &format!("{name}: {down} down and {right} to the right"));
    }
    let between = distance(&forward(&picture.roll(1, -1)), &answer);
    assert!(between > 1e-3 * size, "{name}: less than a stride changes {between} of {size}");
    let other = distance(&forward(&picture.flip([-1])), &answer);
    assert!(other > 1e-3 * size, "{name}: another picture changes {other} of {size}");
}

const RESIDUAL: ResNetOptions =
    ResNetOptions { channels: 1, width: 4, stages: [1, 1, 1, 0], bottleneck: false, small: true, classes: 3 };

fn mobile(channels: usize, stages: &[[usize; 4]], last: usize, device: &Device) -> MobileNetV2 {
    let (stages, classes) = (stages.to_vec(), if channels == 1 { 3 } else { channels });
    let options = MobileNetV2Options { channels, first: [4, 1], stages, last, classes, dropout: 0.2 };
    let model = MobileNetV2::new(&options, device);
    model.train(false);
    model
}

/// Blocks that widen six times from four channels and come back to four, and one that ends with six at half the size.
const STAGES: [[usize; 4]; 2] = [[6, 4, 1, 1], [2, 6, 1, 2]];

fn next(device: &Device) -> ConvNeXt {
    let stages = vec![[1, 4], [1, 6]];
    let options =
        ConvNeXtOptions { channels: 1, patch: 2, stages, classes: 3, drop_path: 0.2, layer_scale: 1.0 };
    let model = ConvNeXt::new(&options, device);
    model.train(false);
    model
}

#[test]
fn what_moves_by_whole_strides_is_the_same() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    for bottleneck in [false, true] {
        let mut model = ResNet::new(ResNetOptions { bottleneck, ..RESIDUAL }, &device);
        model.train(false);
        silence(&mut model, "fc.bias");
        moves("resnet", &|x| model.forward(x), &spot(48, 20, &device), 4);
    }
    let mut model = mobile(1, &STAGES, 8, &device);
    silence(&mut model, "classifier.1.bias");
    moves("mobilenet", &|x| model.forward(x), &spot(32, 14, &device), 2);
    let mut model = next(&device);
    silence(&mut model, "head.bias");
    // So large that no feature sees both the picture and the border, which stays where it is.
    moves("convnext", &|x| model.forward(x), &spot(96, 44, &device), 4);
}

#[test]
fn conv3d_knows_neither_when_nor_where_but_what_comes_after_what() {
    let device = Device::cpu();
    let _keys = device.fork_rng(4);
    let mut model = Conv3dNet::new(1, 2, 3, &device);
    model.train(false);
    silence(&mut model, "fc.bias");
    // Three pictures in the middle of twelve.
    let film = noisy(1, &[1, 1, 3, 4, 4], &device);
    let film = film.pad(2, 4, 5, 0.0).pad(3, 16, 20, 0.0).pad(4, 16, 20, 0.0);
    moves("conv3d", &|x| model.forward(x), &film, 4);
    let answer = model.forward(&film);
    assert_close(&model.forward(&film.roll(1, 2)), &answer, 2e-5, "a picture later");
    let size = values(&answer).iter().fold(0.0f32, |size, v| size.max(v.abs()));
    let backwards = distance(&model.forward(&film.flip([2])), &answer);
    assert!(backwards > 1e-3 * size, "backwards: {backwards} of {size}");
}

#[test]
fn a_residual_block_is_the_way_straight_through_and_something_beside() {
    let device = Device::cpu();
    let _keys = device.fork_rng(5);
    let x = noisy(1, &[2, 8, 6, 6], &device);
    for (mut block, last) in [
        (ResNetBlock::basic(8, 8, 1, &device), "bn2.weight"),
        (ResNetBlock::bottleneck(8, 2, 1, &device), "bn3.weight"),
    ] {
        let answer = block.forward(&x);
        assert!(distance(&answer, &x.relu()) > 0.1, "there is something beside");
        silence(&mut block, last);
        assert_eq!(distance(&block.forward(&x), &x.relu()), 0.0, "{last}");
    }
}

/// Holds a block to be passed by when `gate` is zero: what is `inside` does not count any more, the picture does.
fn passed_by<M: Module + Clone>(model: &M, gate: &str, inside: &str, forward: impl Fn(&M) -> [Tensor; 2]) {
    let other = |model: &M| {
        let mut other = model.clone();
        let weight = tensor(model, inside);
        set(&mut other, inside, &(&weight + noisy(9, weight.shape().dims(), &Device::cpu())));
        other
    };
    let [one, _] = forward(model);
    assert!(distance(&one, &forward(&other(model))[0]) > 1e-4, "{inside} counts");
    let mut closed = model.clone();
    silence(&mut closed, gate);
    let [one, second] = forward(&closed);
    assert_eq!(distance(&one, &forward(&other(&closed))[0]), 0.0, "{inside} behind {gate}");
    assert!(distance(&one, &second) > 1e-4, "{gate}: pictures still count");
}

#[test]
fn closed_blocks_let_the_picture_pass() {
    let device = Device::cpu();
    let _keys = device.fork_rng(6);
    let pictures = [1, 2].map(|series| noisy(series, &[1, 1, 8, 8], &device));
    let net = mobile(1, &STAGES, 8, &device);
    let both = |m: &MobileNetV2| [0, 1].map(|k| m.forward(&pictures[k]));
    passed_by(&net, "features.1.conv.3.weight", "features.1.conv.1.0.weight", both);
    // The block at half the size has no way beside it: behind a closed one nothing is seen.
    let mut closed = net;
    silence(&mut closed, "features.2.conv.3.weight");
    let [one, second] = both(&closed);
    assert_eq!(distance(&one, &second), 0.0);
    for stage in 0..2 {
        let [gate, inside] = ["gamma", "pwconv1.weight"].map(|part| format!("stages.{stage}.0.{part}"));
        passed_by(&next(&device), &gate, &inside, |m| [0, 1].map(|k| m.forward(&pictures[k])));
    }
}

#[test]
fn a_mobilenet_looks_around_in_one_channel_at_a_time() {
    let device = Device::cpu();
    let _keys = device.fork_rng(7);
    let mut model = mobile(4, &[[2, 4, 1, 1]], 4, &device);
    let eye = Tensor::eye(4, DType::F32, &device);
    let centre = one_at(4, 9, &device).reshape([1, 1, 3, 3]);
    set(&mut model, "features.0.0.weight", &(eye.reshape([4, 4, 1, 1]) * centre));
    // Whatever mixes channels hands them on as they are.
    for (name, weight) in [
        ("features.1.conv.0.0.weight", Tensor::concat(&[&eye, &eye], 0).reshape([8, 4, 1, 1])),
        ("features.1.conv.2.weight", Tensor::concat(&[&eye, &eye], 1).reshape([4, 8, 1, 1])),
        ("features.2.0.weight", eye.reshape([4, 4, 1, 1])),
        ("classifier.1.weight", eye.clone()),
    ] {
        set(&mut model, name, &weight);
    }
    let x = noisy(1, &[3, 4, 6, 6], &device).abs();
    for k in 0..4 {
        let seen = grad(&x, |x| model.forward(x).narrow(1, k, 1).sum_all()).expect("a gradient");
        let seen = values(&seen.abs().sum([0, 2, 3]));
        for (channel, seen) in seen.iter().enumerate() {
            assert_eq!(*seen > 0.0, channel == k, "logit {k} of channel {channel}: {seen}");
        }
    }
}

#[test]
fn the_narrow_ends_of_a_mobilenet_are_linear_and_the_wide_ones_are_not() {
    let device = Device::cpu();
    let _keys = device.fork_rng(8);
    let model = mobile(1, &STAGES, 8, &device);
    let x = noisy(1, &[2, 1, 8, 8], &device);
    let answer = model.forward(&x);
    let turned = |names: [&str; 2]| {
        let mut turned = model.clone();
        for name in names {
            set(&mut turned, name, &-tensor(&model, name));
        }
        turned.forward(&x)
    };
    // Minus what a narrow end says, read by minus the weights, is the same; a ReLU has no other side.
    let narrow = turned(["features.2.conv.2.weight", "features.3.0.weight"]);
    assert_close(&narrow, &answer, 1e-6, "the narrow end");
    let wide = turned(["features.2.conv.1.0.weight", "features.2.conv.2.weight"]);
    assert!(distance(&wide, &answer) > 1e-3, "the wide end");
}

#[test]
fn a_map_of_a_unet_moves_along_and_its_fine_lines_come_straight_across() {
    let device = Device::cpu();
    let _keys = device.fork_rng(9);
    let mut net = UNet::new(UNetOptions { channels: 1, width: 4, depth: 2, classes: 2 }, &device);
    net.train(false);
    let x = noisy(1, &[1, 1, 64, 64], &device);
    let map = net.forward(&x);
    // A pixel sees no more than 23 others either way: away from the borders the map moves with its image.
    let inside = |map: &Tensor| map.narrow(2, 28, 8).narrow(3, 28, 8);
    for (down, right) in [(4, 0), (0, -4), (-4, 4)] {
        let moved = net.forward(&x.roll(down, 2).roll(right, 3)).roll(-down, 2).roll(-right, 3);
        assert_close(&inside(&moved), &inside(&map), 1e-5, &format!("{down} down, {right} to the right"));
    }
    let between = inside(&net.forward(&x.roll(1, 2)).roll(-1, 2));
    assert!(distance(&between, &inside(&map)) > 1e-4, "between the pixels of half the size");
    // With the way up closed there are two pairs of convolutions at full size: four pixels either way.
    let seen = |net: &UNet| {
        let pixel = |x: &Tensor| net.forward(x).narrow(2, 30, 1).narrow(3, 33, 1).sum_all();
        reach(&grad(&x, pixel).expect("a gradient"))
    };
    let [top, bottom, ..] = seen(&net);
    assert!(top < 20 && bottom > 40 && top >= 30 - 23 && bottom <= 30 + 23, "rows {top} to {bottom}");
    silence(&mut net, "ups.1.up.weight");
    assert_eq!(seen(&net), [26, 34, 29, 37], "what comes straight across");
}
