//! Denoising diffusion.

use std::f64::consts::FRAC_PI_2;

use vorpal_nn::{DType, Device, Module, Result, Shape, Tensor, eval};

use super::{beside, examples, normal_like};

/// A network that tells data from noise in what it is given: [`TimeUNet`](super::TimeUNet), [`Dit`](super::Dit).
pub trait Denoiser: Module {
    /// The velocity √share · noise − √(1 − share) · data of what is mixed in `x`, `[n, …]`, at times `[n]` from 0 (data) to
    /// 1 (noise), as [`Ddpm`] has it; of classes `[n]`, whole numbers, where the network knows classes.
    fn denoise(&self, x: &Tensor, times: &Tensor, labels: Option<&Tensor>) -> Tensor;
}

/// Denoising diffusion (Ho, Jain & Abbeel 2020): data is drowned in noise in many steps, and a network learns to tell one
/// from the other. The share of data falls along a cosine (Nichol & Dhariwal 2021). What is learned is the velocity
/// (Salimans & Ho 2022), from which noise and data follow: where there is nothing but noise the noise alone would not say
/// what the data is. Samples are drawn step by step from noise, by DDPM's own random way or by DDIM's, which may leave
/// out steps and needs no dice (Song, Meng & Ermon 2021).
///
/// Data `[n, …]` from −1 to 1. `vorpal train ddpm` learns digits of 14 × 14 pixels with a [`TimeUNet`](super::TimeUNet) of
/// 101,569 parameters to a Fréchet distance of 16, in the features of a classifier, to digits it has not seen; `vorpal train
/// dit` with a [`Dit`](super::Dit).
///
/// ```
/// use vorpal_nn::Device;
/// use vorpal_zoo::generative::{Ddpm, TimeUNet};
/// let device = Device::cpu();
/// let model = Ddpm::new(TimeUNet::new(1, 4, &device), 1000);
/// let images = model.sample([2, 1, 4, 4], 3, 0.0, None, &device)?;
/// assert_eq!(model.losses(&images, None).shape(), [2].into());
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Ddpm<N: Denoiser> {
    /// The network.
    pub net: N,
    steps: usize,
}

/// What keeps the first steps from being too small.
const OFFSET: f64 = 0.008;

/// What is missing to 1.
#[track_caller]
fn rest(share: &Tensor) -> Tensor {
    1.0 - share
}

impl<N: Denoiser> Ddpm<N> {
    /// A diffusion in so many steps around a network.
    pub fn new(net: N, steps: usize) -> Ddpm<N> {
        Ddpm { net, steps: steps.max(1) }
    }

    /// The share of the variance that is data's after steps `[n]`: 1 at 0, nothing at the last one.
    #[track_caller]
    pub fn share(&self, steps: &Tensor) -> Tensor {
        let quarter = FRAC_PI_2 / (1.0 + OFFSET);
        let first = (OFFSET * quarter).cos().powi(2);
        let angle = steps * (quarter / self.steps as f64) + OFFSET * quarter;
        (angle.cos().square() * (1.0 / first)).clamp(0.0, 1.0)
    }

    fn predict(&self, x: &Tensor, steps: &Tensor, labels: Option<&Tensor>) -> Tensor {
        self.net.denoise(x, &(steps * (1.0 / self.steps as f64)), labels)
    }

    /// `data` with noise after steps `[n]`.
    #[track_caller]
    pub fn drown(&self, data: &Tensor, noise: &Tensor, steps: &Tensor) -> Tensor {
        let share = beside(&self.share(steps), data);
        share.sqrt() * data + rest(&share).sqrt() * noise
    }

    /// Mean squared error of the velocity for every example, `[n]`, after a random number of steps.
    #[track_caller]
    pub fn losses(&self, data: &Tensor, labels: Option<&Tensor>) -> Tensor {
        let Ok(device) = data.device() else { return data.clone() };
        let noise = normal_like(data);
        let steps = Tensor::randint([examples(data)], 1, self.steps as i32 + 1, DType::F32, &device);
        let found = self.predict(&self.drown(data, &noise, &steps), &steps, labels);
        let share = beside(&self.share(&steps), data);
        let velocity = share.sqrt() * noise - rest(&share).sqrt() * data;
        (found - velocity).square().flatten(1, -1).mean(-1)
    }

    /// One step back, from after steps `from` to after steps `to`, both `[n]`. With `eta` 0 it is DDIM's, with 1 DDPM's.
    #[track_caller]
    pub fn step_back(
        &self,
        x: &Tensor,
        from: &Tensor,
        to: &Tensor,
        eta: f64,
        labels: Option<&Tensor>,
    ) -> Tensor {
        let (here, there) = (beside(&self.share(from), x), beside(&self.share(to), x));
        let velocity = self.predict(x, from, labels);
        let data = (here.sqrt() * x - rest(&here).sqrt() * velocity).clamp(-1.0, 1.0);
        // The noise that goes with data within its bounds.
        let noise = (x - here.sqrt() * &data) / rest(&here).sqrt();
        if eta == 0.0 {
            return there.sqrt() * data + rest(&there).sqrt() * noise;
        }
        let variance = rest(&there) / rest(&here) * rest(&(&here / &there)) * (eta * eta);
        let kept = (rest(&there) - &variance).clamp_min(0.0).sqrt();
        there.sqrt() * data + kept * noise + variance.sqrt() * normal_like(x)
    }

    /// Draws of a shape `[n, …]` from noise, in `count` of the steps, evenly; `labels` `[n]` for networks that know
    /// classes.
    ///
    /// # Errors
    /// What evaluation gives.
    pub fn sample(
        &self,
        shape: impl Into<Shape>,
        count: usize,
        eta: f64,
        labels: Option<&Tensor>,
        device: &Device,
    ) -> Result<Tensor> {
        let mut x = Tensor::randn(shape, DType::F32, device);
        let (n, count) = (examples(&x), count.clamp(1, self.steps));
        let after = |k: usize| Tensor::from_slice(&vec![(k * self.steps / count) as f32; n], [n], device);
        for k in (0..count).rev() {
            x = self.step_back(&x, &after(k + 1), &after(k), eta, labels);
            eval(&x)?;
        }
        Ok(x)
    }
}
