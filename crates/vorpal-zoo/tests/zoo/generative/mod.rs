mod codes;
mod density;
mod diffusion;
mod gan;

use vorpal_nn::{DType, Device, Module, Tensor};
use vorpal_zoo::generative::{
    Dcgan, Dit, DitOptions, Ebm, FlowMatching, PixelCnn, RealNvp, TimeUNet, Vae, VaeOptions, VqVae,
    VqVaeOptions, WganGp,
};

use crate::harness::classes;

/// Zeros and ones.
fn ink(series: u32, shape: &[usize], device: &Device) -> Tensor {
    classes(series, shape, 2, device).cast(DType::F32)
}

/// The mean of losses that draw random numbers: the same ones every time.
fn steady(device: &Device, losses: impl FnOnce() -> Tensor) -> Tensor {
    let _keys = device.fork_rng(5);
    losses().mean_all()
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
        VqVae::new(VqVaeOptions { width: 32, entries: 64, latent: 16 }, &device).parameter_count(),
    ];
    assert_eq!(counts, [404_816, 35_352, 153_794, 153_666, 101_569, 241_924, 37_762, 17_024, 16_257, 44_177]);
}
