//! Sound as a picture of its pitches over time.

use vorpal_autodiff::ops::{FftNorm, PadMode};
use vorpal_nn::{DType, Tensor};

/// How sound becomes a log-mel spectrogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mel {
    /// Samples of a second.
    pub rate: usize,
    /// Samples of a window.
    pub window: usize,
    /// Samples from one window to the next.
    pub step: usize,
    /// Bands, evenly spaced in mel.
    pub bands: usize,
}

impl Default for Mel {
    /// As Whisper hears: 80 bands of windows of 25 ms, one every 10 ms, at 16 kHz.
    fn default() -> Mel {
        Mel { rate: 16_000, window: 400, step: 160, bands: 80 }
    }
}

/// Slaney's scale: even up to 1000 Hz, logarithmic above.
fn mel(hertz: f64) -> f64 {
    if hertz < 1000.0 { hertz * 3.0 / 200.0 } else { 15.0 + (hertz / 1000.0).ln() * 27.0 / 6.4f64.ln() }
}

fn hertz(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp() }
}

impl Mel {
    /// Windows of a sound of so many samples.
    pub fn windows(&self, samples: usize) -> usize {
        samples / self.step.max(1)
    }

    /// Share of each frequency in each band: triangles of area 1, `[frequencies, bands]` row by row.
    fn filters(&self) -> Vec<f32> {
        let top = mel(self.rate as f64 / 2.0);
        let edge = |k: usize| hertz(top * k as f64 / (self.bands + 1) as f64);
        let frequencies = self.window / 2 + 1;
        let share = |f: usize, band: usize| {
            let at = f as f64 * self.rate as f64 / self.window as f64;
            let [low, middle, high] = [0, 1, 2].map(|k| edge(band + k));
            let height = ((at - low) / (middle - low)).min((high - at) / (high - middle)).max(0.0);
            (height * 2.0 / (high - low)) as f32
        };
        (0..frequencies).flat_map(|f| (0..self.bands).map(move |band| share(f, band))).collect()
    }

    /// Sounds `[batch, samples]` from −1 to 1 as `[batch, bands, samples ∕ step]`: the powers of Hann windows in
    /// each band as logarithms to the base 10, none more than 8 below the largest of its sound, plus 4, over 4, as Whisper
    /// (Radford et al. 2023) takes them.
    ///
    /// ```
    /// use vorpal_nn::{DType, Device, Tensor};
    /// use vorpal_zoo::transformer::Mel;
    /// let silence = Tensor::zeros([1, 1600], DType::F32, &Device::cpu());
    /// let picture = Mel::default().forward(&silence);
    /// assert_eq!(picture.shape(), [1, 80, 10].into());
    /// assert_eq!(picture.to_vec::<f32>()?[0], -1.5);
    /// # Ok::<(), vorpal_nn::Error>(())
    /// ```
    #[track_caller]
    pub fn forward(&self, sounds: &Tensor) -> Tensor {
        let Ok(device) = sounds.device() else { return sounds.clone() };
        let samples = sounds.shape().last().copied().unwrap_or(0);
        let turn = |k: usize| std::f64::consts::TAU * k as f64 / self.window as f64;
        let hann: Vec<f32> = (0..self.window).map(|k| (0.5 - 0.5 * turn(k).cos()) as f32).collect();
        let hann = Tensor::from_slice(&hann, [self.window], &device);
        let filters = Tensor::from_slice(&self.filters(), [self.window / 2 + 1, self.bands], &device);
        let half = self.window / 2;
        let around = sounds.cast(DType::F32).pad_with(-1, half, half, PadMode::Reflect);
        let windows = around.unfold(-1, self.window, self.step, 1).narrow(1, 0, self.windows(samples));
        let waves = (windows * hann).rfft(-1, FftNorm::Backward);
        let powers = waves.square().sum(-1);
        let logs = powers.matmul(&filters).clamp_min(1e-10).log10();
        let logs = logs.maximum(logs.max_keepdim([1, 2]) - 8.0);
        ((logs + 4.0) / 4.0).transpose(1, 2)
    }
}
