//! Networks against one another.

use vorpal_nn::{Device, Module, Role, Tensor, eval, grad};
use vorpal_zoo::generative::{Dcgan, WganGp};

use super::steady;
use crate::harness::{Case, check, losses, noisy, values};

#[test]
fn dcgan() {
    check(Case {
        // The two losses pull at one another: each falls while the other network rests, below.
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

/// Each loss moves its own network and falls while the other rests.
fn each_learns<M: Module>(make: impl Fn() -> M, all: impl Fn(&M) -> Tensor, judge: &str) {
    let device = Device::cpu();
    for (place, own) in [(0usize, judge), (1, "generator.")] {
        let _keys = device.fork_rng(1);
        let mut gan = make();
        let parameters = |gan: &M| {
            let mut found = Vec::new();
            gan.walk("", &mut |name, role, tensor| {
                if role == Role::Parameter {
                    found.push((name.to_string(), values(tensor)));
                }
            });
            found
        };
        let before = parameters(&gan);
        let found = losses(&mut gan, 20, 0.01, |gan| {
            let _keys = device.fork_rng(5);
            all(gan).narrow(0, place, 1).sum_all()
        });
        let (first, last) = (found[0], found[found.len() - 1]);
        assert!(last <= first - 0.1 * first.abs(), "loss {place} does not fall: {found:?}");
        let after = parameters(&gan);
        let moved = before.iter().zip(&after).filter(|(b, a)| b != a).map(|(b, _)| b.0.as_str());
        let moved: Vec<&str> = moved.collect();
        assert!(moved.iter().all(|name| name.starts_with(own)), "loss {place} moves {moved:?}");
        assert!(moved.len() > 4, "loss {place} moves only {moved:?}");
    }
}

#[test]
fn networks_of_a_dcgan_learn_each_by_its_own_loss() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let images = noisy(2, &[3, 1, 14, 14], &device);
    each_learns(|| Dcgan::new(3, 2, &device), |gan| gan.losses(&images), "discriminator.");
}

#[test]
fn networks_of_a_wgan_learn_each_by_its_own_loss() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let images = noisy(2, &[3, 1, 14, 14], &device);
    each_learns(|| WganGp::new(3, 2, &device), |gan| gan.losses(&images), "critic.");
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
