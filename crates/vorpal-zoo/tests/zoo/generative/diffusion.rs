//! From noise to data, step by step.

use vorpal_nn::{Device, Module, Tensor};
use vorpal_zoo::generative::{Ddpm, Denoiser, Dit, DitOptions, TimeUNet};

use super::steady;
use crate::harness::{Case, assert_close, check, classes, distance, noisy, silence, values};

/// Small images, in the middle of their way to noise.
fn drowned(device: &Device) -> (Tensor, Tensor) {
    (noisy(1, &[2, 1, 4, 4], device), noisy(2, &[2], device).abs())
}

#[test]
fn time_unet_in_a_diffusion() {
    check(Case::new(
        "ddpm",
        |device| Ddpm::new(TimeUNet::new(1, 8, device), 100),
        |m, device| {
            let (x, times) = drowned(device);
            m.net.forward(&x, &times)
        },
        &[2, 1, 4, 4],
        |m, device| steady(device, || m.losses(&noisy(1, &[2, 1, 4, 4], device), None)),
    ));
}

#[test]
fn time_unet_hears_the_time() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    let mut model = TimeUNet::new(1, 8, &device);
    let (x, times) = drowned(&device);
    let first = Tensor::from_slice(&[0.5f32, 1.0], [2], &device);
    let answer = model.forward(&x, &times);
    let other = model.forward(&x, &(&times * &first));
    assert!(distance(&other.narrow(0, 0, 1), &answer.narrow(0, 0, 1)) > 1e-4, "another time");
    assert_close(&other.narrow(0, 1, 1), &answer.narrow(0, 1, 1), 0.0, "the same time");
    let labels = classes(3, &[2], 3, &device);
    assert_close(&model.denoise(&x, &times, Some(&labels)), &answer, 0.0, "labels are not looked at");
    // Every block hears it by a layer of its own; the sum over what they hear is all there is.
    let blocks = ["fine", "coarse", "middle", "back", "joined"];
    for block in blocks {
        let mut deaf = model.clone();
        for name in blocks.iter().filter(|name| **name != block) {
            silence(&mut deaf, &format!("{name}.time.weight"));
        }
        let apart = distance(&deaf.forward(&x, &times), &deaf.forward(&x, &(&times * 0.5)));
        assert!(apart > 1e-5, "{block} does not hear the time: {apart}");
    }
    blocks.iter().for_each(|name| silence(&mut model, &format!("{name}.time.weight")));
    assert_close(&model.forward(&x, &(times * 0.5)), &model.forward(&x, &drowned(&device).1), 0.0, "deaf");
}

const DIT: DitOptions =
    DitOptions { size: 4, channels: 1, patch: 2, width: 8, heads: 2, layers: 1, classes: 3 };

/// A model with numbers instead of zeros behind its gates.
fn awake(device: &Device) -> Dit {
    let mut model = Dit::new(DIT, device);
    let mut series = 0;
    model.walk_mut("", &mut |_, _, tensor| {
        series += 1;
        *tensor = &*tensor + noisy(series, tensor.shape().dims(), device) * 0.1;
    });
    model
}

#[test]
fn dit() {
    check(Case::new(
        "dit",
        awake,
        |m, device| {
            let (x, times) = drowned(device);
            m.forward(&x, &times, Some(&classes(3, &[2], 3, device)))
        },
        &[2, 1, 4, 4],
        |m, device| {
            let (x, times) = drowned(device);
            let labels = classes(3, &[2], 3, device);
            (m.forward(&x, &times, Some(&labels)) - noisy(4, &[2, 1, 4, 4], device)).square().mean_all()
        },
    ));
}

#[test]
fn dit_begins_at_zero_and_hears_time_and_class() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let (x, times) = drowned(&device);
    let one = Tensor::from_slice(&[1i32, 1], [2], &device);
    let new = Dit::new(DIT, &device).forward(&x, &times, Some(&one));
    assert!(values(&new).iter().all(|&v| v == 0.0), "{new:?}");
    let model = awake(&device);
    let first = model.forward(&x, &times, Some(&one));
    let other = Tensor::from_slice(&[2i32, 1], [2], &device);
    let second = model.forward(&x, &times, Some(&other));
    assert!(distance(&first.narrow(0, 0, 1), &second.narrow(0, 0, 1)) > 1e-4, "another class");
    assert_close(&first.narrow(0, 1, 1), &second.narrow(0, 1, 1), 0.0, "the same class");
    assert!(distance(&first, &model.forward(&x, &(times * 0.5), Some(&one))) > 1e-4, "another time");
}

/// What knows the one image there is.
#[derive(Clone, Debug, Module)]
struct Knows(Tensor);

impl Denoiser for Knows {
    fn denoise(&self, x: &Tensor, times: &Tensor, _: Option<&Tensor>) -> Tensor {
        let share = Ddpm::new(self.clone(), 1000).share(&(times * 1000.0)).reshape([2, 1, 1, 1]);
        let rest: Tensor = 1.0 - &share;
        let noise = (x - share.sqrt() * &self.0) / rest.clamp_min(1e-6).sqrt();
        share.sqrt() * noise - rest.sqrt() * &self.0
    }
}

#[test]
fn diffusion_goes_to_noise_and_back() {
    let device = Device::cpu();
    let _keys = device.fork_rng(8);
    let image = noisy(1, &[2, 1, 4, 4], &device);
    let model = Ddpm::new(Knows(image.clone()), 1000);
    let after = |k: f32| Tensor::from_slice(&[k, k], [2], &device);
    let shares: Vec<f32> = (0..=10).map(|k| values(&model.share(&after(k as f32 * 100.0)))[0]).collect();
    assert!((shares[0] - 1.0).abs() < 1e-6 && shares[10] < 1e-6, "{shares:?}");
    assert!(shares.windows(2).all(|w| w[1] < w[0]), "{shares:?}");
    let noise = noisy(9, &[2, 1, 4, 4], &device);
    assert_close(&model.drown(&image, &noise, &after(0.0)), &image, 1e-6, "no noise at first");
    let half = model.drown(&image, &noise, &after(500.0));
    // DDIM knows the way: one step leads where many lead.
    let step = model.step_back(&half, &after(500.0), &after(200.0), 0.0, None);
    assert_close(&step, &model.drown(&image, &noise, &after(200.0)), 1e-4, "one step back");
    for (count, eta) in [(1, 0.0), (10, 0.0), (50, 1.0)] {
        let made = model.sample([2, 1, 4, 4], count, eta, None, &device).expect("samples");
        assert_close(&made, &image, 1e-2, "the image that is known");
    }
}
