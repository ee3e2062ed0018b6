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
