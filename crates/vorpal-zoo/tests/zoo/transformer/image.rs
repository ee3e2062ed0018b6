use vorpal_nn::{DType, Device, Tensor};
use vorpal_zoo::transformer::{Clip, ClipOptions, Mae, MaeOptions, Vit, VitOptions};

use crate::harness::{Case, assert_close, check, classes, distance, noisy, set, values};

const VIT: VitOptions =
    VitOptions { image: 8, patch: 4, channels: 1, width: 8, heads: 2, layers: 1, classes: 5 };
const MAE: MaeOptions = MaeOptions { encoder: VIT, width: 8, heads: 2, layers: 1, seen: 2 };
const CLIP: ClipOptions =
    ClipOptions { images: VIT, vocabulary: 7, context: 4, width: 8, heads: 2, layers: 1 };

fn images(device: &Device) -> Tensor {
    noisy(1, &[3, 1, 8, 8], device)
}

#[test]
fn vit() {
    check(Case::new(
        "vit",
        |device| Vit::new(VIT, device),
        |m, device| m.forward(&images(device)),
        &[3, 5],
        |m, device| m.forward(&images(device)).cross_entropy(&classes(2, &[3], 5, device)),
    ));
}

#[test]
fn vit_looks_at_patches_by_shares() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let looks = Vit::new(VIT, &device).attention(&images(&device));
    assert_eq!(looks.shape(), [3, 2, 2, 2].into());
    assert!(values(&looks.sum([2, 3])).iter().all(|all| (0.0..1.0).contains(all)), "the rest is its own");
}

#[test]
fn mae() {
    check(Case::new(
        "mae",
        |device| Mae::new(MAE, device),
        |m, device| m.forward(&images(device), &noisy(2, &[3, 4], device)).0,
        &[3, 4, 16],
        |m, device| m.errors(&images(device), &noisy(2, &[3, 4], device)).mean_all(),
    ));
}

#[test]
fn mae_does_not_see_what_is_hidden() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = Mae::new(MAE, &device);
    let noise = Tensor::from_slice(&[0.9f32, 0.1, 0.5, 0.7], [1, 4], &device);
    let image = noisy(1, &[1, 1, 8, 8], &device);
    let (drawn, hidden) = model.forward(&image, &noise);
    assert_eq!(values(&hidden), [1.0, 0.0, 0.0, 1.0], "the smallest are seen");
    let patches = model.patches(&image);
    assert_close(&model.images(&patches), &image, 0.0, "there and back");
    assert_close(
        &patches.narrow(1, 1, 1).reshape([4, 4]),
        &image.narrow(2, 0, 4).narrow(3, 4, 4).reshape([4, 4]),
        0.0,
        "the second patch is at the right of the first",
    );
    let other = noisy(3, &[1, 4, 16], &device);
    let mixed = |hidden: &Tensor| &patches * (hidden.full_like(1.0) - hidden) + &other * hidden;
    let elsewhere = model.forward(&model.images(&mixed(&hidden.unsqueeze(-1))), &noise).0;
    assert_close(&elsewhere, &drawn, 0.0, "hidden patches are not looked at");
    let seen: Tensor = 1.0 - hidden;
    let seen = model.forward(&model.images(&mixed(&seen.unsqueeze(-1))), &noise).0;
    assert!(distance(&seen, &drawn) > 1e-4, "those that are seen are");
}

fn same(device: &Device) -> Tensor {
    Tensor::from_slice(&[1.0f32, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], [3, 3], device)
}

#[test]
fn clip() {
    check(Case::new(
        "clip",
        |device| Clip::new(CLIP, device),
        |m, device| m.likeness(&m.images(&images(device)), &m.texts(&classes(2, &[3, 4], 7, device))),
        &[3, 3],
        |m, device| {
            let texts = m.texts(&classes(2, &[3, 4], 7, device));
            Clip::loss(&m.likeness(&m.images(&images(device)), &texts), &same(device))
        },
    ));
}

#[test]
fn clip_compares_directions() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = Clip::new(CLIP, &device);
    let places = model.images(&images(&device));
    assert!(values(&places.square().sum(-1)).iter().all(|all| (all - 1.0).abs() < 1e-5));
    let itself = values(&model.likeness(&places, &places));
    assert!((itself[0] - 1.0 / 0.07).abs() < 1e-3, "a factor of 1 ∕ 0.07: {}", itself[0]);
    // Where all fit equally well, the loss is the logarithm of their number; where two are the same, both are right.
    let even = Tensor::from_slice(&[0.0f32; 9], [3, 3], &device);
    let loss = |same: &Tensor| values(&Clip::loss(&even, same))[0];
    assert!((loss(&same(&device)) - 3f32.ln()).abs() < 1e-6);
    let sure = same(&device) * 50.0;
    let twins = Tensor::from_slice(&[1.0f32, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0], [3, 3], &device);
    assert!(values(&Clip::loss(&sure, &same(&device)))[0] < 1e-6);
    assert!((values(&Clip::loss(&(&twins * 50.0), &twins))[0] - 2.0 / 3.0 * 2f32.ln()).abs() < 1e-5);
}

#[test]
fn the_texts_of_clip_are_read_in_order() {
    let device = Device::cpu();
    let _keys = device.fork_rng(4);
    let text = |ids: [i32; 4]| Tensor::from_slice(&ids, [1, 4], &device);
    let (one, turned, other) = (text([1, 2, 3, 4]), text([2, 1, 3, 4]), text([5, 2, 3, 4]));
    // Without places only the mask tells what came first: tokens that do not see what comes. A second layer reads it.
    for layers in [1, 2] {
        let mut model = Clip::new(ClipOptions { layers, ..CLIP }, &device);
        set(&mut model, "positional_embedding", &Tensor::zeros([4, 8], DType::F32, &device));
        let place = model.texts(&one);
        assert!(distance(&model.texts(&other), &place) > 1e-3, "{layers} layers: the last sees the first");
        let apart = distance(&model.texts(&turned), &place);
        assert_eq!(apart > 1e-3, layers == 2, "{layers} layers, the first two turned round: {apart}");
    }
}
