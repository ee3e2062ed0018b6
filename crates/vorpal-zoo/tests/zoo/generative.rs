use vorpal_nn::{DType, Device, Module, Role, Tensor, eval, grad};
use vorpal_zoo::data::Mixture;
use vorpal_zoo::generative::{
    Dcgan, Ddpm, Denoiser, Dit, DitOptions, Ebm, FlowMatching, MaskedConv2d, PixelCnn, RealNvp, TimeUNet,
    Vae, VaeOptions, WganGp,
};

use crate::harness::{Case, assert_close, check, classes, distance, noisy, values};

/// Zeros and ones.
fn ink(series: u32, shape: &[usize], device: &Device) -> Tensor {
    classes(series, shape, 2, device).cast(DType::F32)
}

/// The mean of losses that draw random numbers: the same ones every time.
fn steady(device: &Device, losses: impl FnOnce() -> Tensor) -> Tensor {
    let _keys = device.fork_rng(5);
    losses().mean_all()
}

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

/// Small images, in the middle of their way to noise.
fn drowned(device: &Device) -> (Tensor, Tensor) {
    (noisy(1, &[2, 1, 4, 4], device), noisy(2, &[2], device).abs())
}

#[test]
fn time_unet_in_a_diffusion() {
    check(Case::new(
        "ddpm",
        |device| Ddpm::new(TimeUNet::new(1, 4, device), 100),
        |m, device| {
            let (x, times) = drowned(device);
            m.net.forward(&x, &times)
        },
        &[2, 1, 4, 4],
        |m, device| steady(device, || m.losses(&noisy(1, &[2, 1, 4, 4], device), None)),
    ));
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

#[test]
fn dcgan() {
    check(Case {
        // The two losses pull at one another: that both together fall is not what they are for.
        falls_to: 1.5,
        tolerance: 1e-3,
        unused: &["discriminator.conv2.bias"],
        ..Case::new(
            "dcgan",
            |device| Dcgan::new(3, 2, device),
            |m, device| m.discriminator.forward(&m.generator.forward(&noisy(1, &[3, 3], device))),
            &[3],
            |m, device| steady(device, || m.losses(&noisy(2, &[3, 1, 14, 14], device))),
        )
    });
}

#[test]
fn networks_of_a_gan_see_their_own_loss() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let gan = Dcgan::new(3, 2, &device);
    let images = noisy(2, &[3, 1, 14, 14], &device);
    for (place, own) in [(0usize, "discriminator."), (1, "generator.")] {
        let grads = grad(&gan, |gan| gan.losses(&images).narrow(0, place, 1).sum_all()).expect("gradients");
        let mut moved = 0;
        grads.walk("", &mut |name, role, grad| {
            let moves = role == Role::Parameter && values(grad).iter().any(|&g| g != 0.0);
            assert!(!moves || name.starts_with(own), "loss {place} moves {name}");
            moved += usize::from(moves);
        });
        assert!(moved > 4, "loss {place} moves {moved} parameters");
    }
}

#[test]
fn wgan_gp() {
    check(Case {
        falls_to: 1.0,
        // It moves real and made images alike.
        unused: &["critic.out.bias"],
        ..Case::new(
            "wgan_gp",
            |device| WganGp::new(3, 2, device),
            |m, device| m.critic.forward(&m.generator.forward(&noisy(1, &[3, 3], device))),
            &[3],
            |m, device| steady(device, || m.losses(&noisy(2, &[3, 1, 14, 14], device))),
        )
    });
}

#[test]
fn slopes_are_differences_and_have_derivatives() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let gan = WganGp::new(3, 2, &device);
    let x = noisy(1, &[2, 1, 14, 14], &device);
    let slope = values(&gan.slopes(&x));
    // Along its own gradient the critic rises by the norm of it.
    let along = grad(&x, |x| gan.critic.forward(x).sum_all()).expect("a gradient");
    let unit = &along / along.square().sum([1, 2, 3]).sqrt().reshape([2, 1, 1, 1]);
    let rise = (gan.critic.forward(&(&x + &unit * 1e-2)) - gan.critic.forward(&(&x - &unit * 1e-2))) / 0.02;
    for (norm, rise) in slope.iter().zip(values(&rise)) {
        assert!((norm - rise).abs() < 0.02 * norm, "{norm}, found {rise}");
    }
    // The penalty moves the weights that make the slope, by derivatives of derivatives.
    let grads = grad(&gan, |gan| gan.slopes(&x).sum_all()).expect("gradients");
    eval(&grads).expect("gradients");
    grads.critic.walk("", &mut |name, _, grad| {
        let moves = values(grad).iter().any(|&g| g != 0.0);
        assert_eq!(moves, name.ends_with("weight"), "{name}: biases do not change a slope between kinks");
    });
}

#[test]
fn sizes_are_as_documented() {
    let device = Device::cpu();
    let dit = DitOptions { size: 14, channels: 1, patch: 2, width: 64, heads: 4, layers: 3, classes: 10 };
    let counts = [
        Vae::new(VaeOptions { features: 784, width: 200, latent: 16 }, &device).parameter_count(),
        RealNvp::new(2, 8, 64, &device).parameter_count(),
        Dcgan::new(32, 32, &device).parameter_count(),
        WganGp::new(32, 32, &device).parameter_count(),
        TimeUNet::new(1, 16, &device).parameter_count(),
        Dit::new(dit, &device).parameter_count(),
        FlowMatching::new(2, 128, &device).parameter_count(),
        Ebm::new(128, 0.2, &device).parameter_count(),
        PixelCnn::new(32, 4, &device).parameter_count(),
    ];
    assert_eq!(counts, [404_816, 35_352, 153_794, 153_666, 101_569, 241_924, 37_762, 17_024, 16_257]);
}
