use vorpal_nn::data::Dataset;
use vorpal_nn::{Device, Tensor};
use vorpal_zoo::data::Tones;
use vorpal_zoo::transformer::{Mel, T5, T5Options, Whisper, WhisperOptions};

use crate::harness::{Case, assert_close, check, classes, distance, noisy, values};

const T: T5Options = T5Options { vocabulary: 11, width: 8, head_width: 4, hidden: 12, heads: 2, layers: 2 };
const WHISPER: WhisperOptions =
    WhisperOptions { vocabulary: 11, bands: 3, windows: 8, context: 4, width: 8, heads: 2, layers: 1 };

fn source(device: &Device) -> Tensor {
    classes(1, &[2, 5], 11, device)
}

fn target(device: &Device) -> Tensor {
    classes(2, &[2, 4], 11, device)
}

fn sound(device: &Device) -> Tensor {
    noisy(3, &[2, 3, 8], device)
}

#[test]
fn t5() {
    check(Case::new(
        "t5",
        |device| T5::new(T, device),
        |m, device| m.forward(&source(device), &target(device)),
        &[2, 4, 11],
        |m, device| m.forward(&source(device), &target(device)).cross_entropy(&target(device)),
    ));
}

#[test]
fn t5_answers_step_by_step_what_it_gives_at_once() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = T5::new(T, &device);
    let source = source(&device);
    let found = model.answer(&source, 4).expect("tokens");
    let whole = Tensor::from_slice(&found.concat(), [2, 4], &device);
    let again = model.forward(&source, &whole).argmax(-1).cast(vorpal_nn::DType::I32);
    assert_eq!(again.to_vec::<i32>().expect("tokens"), found.concat());
    let (memory, keep) = (model.encode(&source, None), [true, true, true, false, false]);
    assert_eq!(memory.shape(), [2, 5, 8].into());
    let mask = Tensor::from_slice(&[keep, keep].concat(), [2, 5], &device);
    let short = model.encode(&source.narrow(1, 0, 3), None);
    let masked = model.encode(&source, Some(&mask));
    assert_close(&masked.narrow(1, 0, 3), &short, 1e-5, "masked");
    let (of_masked, looks) = model.decode(&target(&device), &masked, Some(&mask));
    assert_close(&of_masked, &model.decode(&target(&device), &short, None).0, 1e-5, "masked memory");
    assert_eq!(looks.shape(), [2, 2, 4, 5].into());
}

#[test]
fn whisper() {
    check(Case::new(
        "whisper",
        |device| Whisper::new(WHISPER, device),
        |m, device| m.forward(&sound(device), &target(device)),
        &[2, 4, 11],
        |m, device| {
            m.forward(&sound(device), &target(device)).cross_entropy(&classes(4, &[2, 4], 11, device))
        },
    ));
}

#[test]
fn whisper_writes_in_order() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    let model = Whisper::new(WHISPER, &device);
    let tokens = |last: i32| Tensor::from_slice(&[10, 2, last], [1, 3], &device);
    let sound = sound(&device).narrow(0, 0, 1);
    let (one, other) = (model.forward(&sound, &tokens(1)), model.forward(&sound, &tokens(5)));
    assert_close(&one.narrow(1, 0, 2), &other.narrow(1, 0, 2), 0.0, "the first two");
    assert!(distance(&one, &other) > 1e-6);
    let silent = model.forward(&(&sound * 0.0), &tokens(1));
    assert!(distance(&one, &silent) > 1e-6, "the sound is heard");
    let found = model.answer(&sound, 10, 3).expect("tokens").concat();
    let given = Tensor::from_slice(&[10, found[0], found[1]], [1, 3], &device);
    let again = model.forward(&sound, &given).argmax(-1).cast(vorpal_nn::DType::I32);
    assert_eq!(again.to_vec::<i32>().expect("tokens"), found);
    let looks = model.decode(&given, &model.encode(&sound)).1;
    assert!(values(&looks.sum(-1)).iter().all(|all| (all - 1.0).abs() < 1e-5));
}

#[test]
fn the_spectrogram_shows_pitches_where_they_sound() {
    let device = Device::cpu();
    let mel = Mel { rate: 8000, window: 256, step: 80, bands: 40 };
    // 500 Hz, then 3000 Hz.
    let wave = |t: usize| {
        let pitch = if t < 800 { 500.0 } else { 3000.0 };
        (std::f32::consts::TAU * pitch * t as f32 / 8000.0).sin()
    };
    let wave: Vec<f32> = (0..1600).map(wave).collect();
    let picture = mel.forward(&Tensor::from_slice(&wave, [1, 1600], &device));
    assert_eq!(picture.shape(), [1, 40, 20].into());
    let loudest = picture.argmax(1).cast(vorpal_nn::DType::I32).to_vec::<i32>().expect("bands");
    // Band k has its middle at (k + 1) ∕ 41 of the mels of 4000 Hz.
    assert!(loudest[2..8].iter().all(|&band| (7..=9).contains(&band)), "{loudest:?}");
    assert!(loudest[12..18].iter().all(|&band| (34..=36).contains(&band)), "{loudest:?}");
    let (sound, ..) = Tones { first: 0, count: 1 }.get(0).expect("a sound");
    assert!(sound.iter().all(|v| v.abs() <= 1.0));
    assert_eq!(mel.forward(&Tensor::from_slice(&sound, [1, 8000], &device)).shape(), [1, 40, 100].into());
}
