//! Models that know how likely data are, or nearly.

use vorpal_nn::{DType, Device, Module, Tensor, grad};
use vorpal_zoo::data::Mixture;
use vorpal_zoo::generative::{Ebm, FlowMatching, MaskedConv2d, PixelCnn, RealNvp, Vae, VaeOptions};

use super::{ink, steady};
use crate::harness::{Case, assert_close, check, distance, noisy, values};

const VAE: VaeOptions = VaeOptions { features: 16, width: 8, latent: 3 };

#[test]
fn vae() {
    check(Case {
        falls_to: 0.95,
        ..Case::new(
            "vae",
            |device| Vae::new(VAE, device),
            |m, device| m.decode(&m.encode(&ink(1, &[4, 1, 4, 4], device)).0),
            &[4, 16],
            |m, device| steady(device, || m.losses(&ink(1, &[4, 1, 4, 4], device))),
        )
    });
}

#[test]
fn vae_bounds_become_tighter() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    // A prior and a posterior that lie apart: one draw is a bad bound.
    let mut model = Vae::new(VAE, &device);
    model.walk_mut("", &mut |_, _, tensor| *tensor = &*tensor * 2.0);
    let x = ink(1, &[200, 16], &device);
    let bound = |draws| values(&model.importance_losses(&x, draws).mean_all())[0];
    let (elbo, one, many) = (values(&model.losses(&x).mean_all())[0], bound(1), bound(64));
    assert!((elbo - one).abs() < 0.05 * one, "one draw: {one}, ELBO: {elbo}");
    assert!(many < one - 0.01, "64 draws: {many}, one: {one}");
}

#[test]
fn real_nvp() {
    check(Case::new(
        "real_nvp",
        |device| RealNvp::new(3, 2, 8, device),
        |m, device| m.forward(&noisy(1, &[4, 3], device)).0,
        &[4, 3],
        |m, device| m.losses(&(noisy(1, &[4, 3], device) * 3.0)).mean_all(),
    ));
}

#[test]
fn real_nvp_is_invertible_and_knows_its_determinant() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    for features in [2, 5] {
        let flow = RealNvp::new(features, 4, 8, &device);
        let x = noisy(1, &[3, features], &device);
        let (z, log_det) = flow.forward(&x);
        assert!(distance(&z, &x) > 0.1);
        assert_close(&flow.inverse(&z), &x, 1e-5, "there and back");
        let rows: Vec<Tensor> = (0..features)
            .map(|k| {
                grad(&x, |x| flow.forward(x).0.narrow(-1, k, 1).sum_all()).expect("a row of the Jacobian")
            })
            .collect();
        let jacobian = Tensor::stack(&rows.iter().collect::<Vec<_>>(), 1);
        assert_close(&jacobian.slogdet().1, &log_det, 1e-4, "the logarithm of the determinant");
    }
}

#[test]
fn mixtures_are_densities() {
    let device = Device::cpu();
    let _keys = device.fork_rng(4);
    for truth in [Mixture::ring(8, 1.0, 0.3), Mixture::moons(0.2), Mixture::ring(2, 1.0, 0.3).with_noise(0.4)]
    {
        let along = Tensor::linspace(-3.5, 3.5, 141, DType::F32, &device);
        let grid = Tensor::meshgrid(&[&along, &along]);
        let points = Tensor::stack(&[&grid[0], &grid[1]], -1).reshape([141 * 141, 2]);
        let mass = values(&truth.log_density(&points).exp().sum_all())[0] * 0.05 * 0.05;
        assert!((mass - 1.0).abs() < 1e-3, "{truth:?} integrates to {mass}");
        // The entropy by the grid, and by samples.
        let log = truth.log_density(&points);
        let entropy = values(&-(log.exp() * &log).sum_all())[0] * 0.05 * 0.05;
        let found = values(&-truth.log_density(&truth.sample(20_000, &device)).mean_all())[0];
        assert!((entropy - found).abs() < 0.03, "{truth:?}: {entropy}, by samples {found}");
    }
}

#[test]
fn flow_matching() {
    check(Case::new(
        "flow_matching",
        |device| FlowMatching::new(2, 8, device),
        |m, device| m.forward(&noisy(1, &[4, 2], device), &noisy(2, &[4], device).abs()),
        &[4, 2],
        |m, device| steady(device, || m.losses(&(noisy(1, &[4, 2], device) + 3.0))),
    ));
}

#[test]
fn flow_matching_knows_its_density() {
    let device = Device::cpu();
    let _keys = device.fork_rng(6);
    let flow = FlowMatching::new(2, 8, &device);
    let samples = flow.sample(6, 8, &device).expect("samples");
    let found = flow.log_prob(&samples, 8).expect("densities");
    // The Jacobian of the whole way from noise to data, by derivatives through all steps.
    let _keys = device.fork_rng(6);
    let _ = FlowMatching::new(2, 8, &device);
    let noise = Tensor::randn([6, 2], DType::F32, &device);
    let way = |noise: &Tensor| {
        let mut x = noise.clone();
        let size = 1.0 / 64.0;
        for k in 0..64 {
            let times = Tensor::full([6], (k as f64 + 0.5) * size, DType::F32, &device);
            let half = &x + flow.forward(&x, &times) * (0.5 * size);
            x = &x + flow.forward(&half, &times) * size;
        }
        x
    };
    assert_close(&way(&noise), &samples, 1e-3, "the same way in small steps");
    let rows = [0, 1].map(|k| grad(&noise, |z| way(z).narrow(-1, k, 1).sum_all()).expect("a row"));
    let jacobian = Tensor::stack(&[&rows[0], &rows[1]], 1);
    let normal = noise.square().sum(-1) * -0.5 - std::f64::consts::TAU.ln();
    assert_close(&found, &(normal - jacobian.slogdet().1), 2e-3, "densities");
}

#[test]
fn ebm() {
    check(Case {
        rate: 0.05,
        ..Case::new(
            "ebm",
            |device| Ebm::new(8, 0.5, device),
            |m, device| m.score(&noisy(1, &[4, 2], device)),
            &[4, 2],
            |m, device| steady(device, || m.losses(&(noisy(1, &[4, 2], device) + 2.0))),
        )
    });
}

#[test]
fn ebm_scores_fall_with_energy_and_densities_are_normal() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let mut model = Ebm::new(8, 0.5, &device);
    let x = noisy(1, &[3, 2], &device);
    let h = 1e-2f32;
    for axis in 0..2 {
        let mut step = [0.0f32; 2];
        step[axis] = h;
        let step = Tensor::from_slice(&step, [1, 2], &device);
        let slope = (model.energy(&(&x - &step)) - model.energy(&(&x + &step))) * (0.5 / h);
        let own = model.score(&x).narrow(-1, axis, 1).squeeze(-1);
        assert_close(&own, &slope, 1e-2, "minus the slope of the energy");
    }
    // Without its network the model is the wide normal distribution of deviation 3.
    model.walk_mut("", &mut |_, _, tensor| *tensor = &*tensor * 0.0);
    let size = values(&model.log_partition(&device))[0];
    assert!((size - (std::f32::consts::TAU * 9.0).ln()).abs() < 0.03, "{size}");
}

#[test]
fn pixel_cnn() {
    check(Case {
        steps: 20,
        rate: 0.02,
        ..Case::new(
            "pixel_cnn",
            |device| PixelCnn::new(8, 1, device),
            |m, device| m.forward(&ink(1, &[2, 1, 5, 5], device)),
            &[2, 1, 5, 5],
            |m, device| m.losses(&ink(1, &[2, 1, 5, 5], device)).mean_all(),
        )
    });
}

#[test]
fn pixel_cnn_sees_only_what_is_in_front() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    let model = PixelCnn::new(8, 2, &device);
    let images = ink(1, &[1, 1, 6, 6], &device);
    for k in [0usize, 14, 35] {
        let logit = |x: &Tensor| model.forward(x).reshape([36]).narrow(0, k, 1).sum_all();
        let seen = values(&grad(&images, logit).expect("what it depends on"));
        assert!(seen[k..].iter().all(|&g| g == 0.0), "pixel {k} sees what comes: {seen:?}");
        assert_eq!(k > 0, seen[..k].iter().any(|&g| g != 0.0), "pixel {k} sees what is in front");
    }
    // The pixel itself is seen by mask B alone.
    for (without_itself, expected) in [(true, false), (false, true)] {
        let conv = MaskedConv2d::new(1, 1, 3, without_itself, &device);
        let seen =
            grad(&images, |x| conv.forward(x).reshape([36]).narrow(0, 14, 1).sum_all()).expect("a gradient");
        assert_eq!(values(&seen)[14] != 0.0, expected);
    }
}

#[test]
fn pixel_cnn_probabilities_of_all_images_add_up() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    let model = PixelCnn::new(4, 1, &device);
    let all: Vec<f32> = (0..64).flat_map(|k| (0..6).map(move |bit| (k >> bit & 1) as f32)).collect();
    let images = Tensor::from_slice(&all, [64, 1, 2, 3], &device);
    let sum = values(&(model.losses(&images) * -6.0).exp().sum_all())[0];
    assert!((sum - 1.0).abs() < 1e-4, "{sum}");
}
