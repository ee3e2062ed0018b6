//! Numbers for data that is made up: the same everywhere, without a device.

/// The next number from 0 to 1 of a stream (SplitMix64, Steele et al. 2014), which is any number to begin with.
///
/// ```
/// use vorpal_zoo::data::uniform;
/// let mut stream = 7;
/// assert_ne!(uniform(&mut stream), uniform(&mut stream));
/// ```
pub fn uniform(stream: &mut u64) -> f64 {
    *stream = stream.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *stream;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// The next whole number below `bound` of a stream.
///
/// ```
/// let mut stream = 7;
/// assert!((0..100).all(|_| vorpal_zoo::data::below(&mut stream, 6) < 6));
/// ```
pub fn below(stream: &mut u64, bound: usize) -> usize {
    ((uniform(stream) * bound as f64) as usize).min(bound.saturating_sub(1))
}

/// Numbers of [`uniform`] and what is made of them.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Numbers of a seed; `stream` tells those of one example from those of another.
    pub fn new(seed: u64, stream: usize) -> Dice {
        // Streams that begin beside one another would be the same numbers, shifted.
        let mut mixed = seed ^ (stream as u64).wrapping_mul(0xd6e8_feb8_6659_fd93);
        Dice((uniform(&mut mixed) * u64::MAX as f64) as u64 ^ stream as u64)
    }

    /// From 0 to 1.
    pub fn uniform(&mut self) -> f64 {
        uniform(&mut self.0)
    }

    /// Of a normal distribution.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_their_moments() {
        let all: Vec<f64> = (0..4000).map(|k| Dice::new(1, k).normal()).collect();
        let mean = all.iter().sum::<f64>() / 4000.0;
        let variance = all.iter().map(|v| v * v).sum::<f64>() / 4000.0;
        assert!(mean.abs() < 0.06 && (variance - 1.0).abs() < 0.1, "{mean} {variance}");
    }
}
