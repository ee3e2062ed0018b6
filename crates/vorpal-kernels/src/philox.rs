//! Counter-based random numbers: the same bits on every device.

/// Philox 4×32-10, the block function of all randomness in Vorpal: four random words from a counter
/// and a key, without state. The shader twin is `shaders/shared/philox.wgsl`.
///
/// Reference: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
///
/// ```
/// let words = vorpal_kernels::philox4x32([0; 4], [0; 2]);
/// assert_eq!(words, [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
/// ```
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let (mut x, mut k) = (counter, key);
    for _ in 0..10 {
        let [high0, low0] = multiply_wide(0xD251_1F53, x[0]);
        let [high1, low1] = multiply_wide(0xCD9E_8D57, x[2]);
        x = [high1 ^ x[1] ^ k[0], low1, high0 ^ x[3] ^ k[1], low0];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    x
}

/// Word `index` of the stream named by `key` and the upper half of the counter, `stream`.
pub fn philox_word(index: u32, key: [u32; 2], stream: [u32; 2]) -> u32 {
    philox4x32([index >> 2, 0, stream[0], stream[1]], key)[(index & 3) as usize]
}

fn multiply_wide(a: u32, b: u32) -> [u32; 2] {
    let product = u64::from(a) * u64::from(b);
    [(product >> 32) as u32, product as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with Random123 for philox4x32-10.
    #[test]
    fn known_answers() {
        let ones = u32::MAX;
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([ones; 4], [ones; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn words_walk_through_blocks() {
        let block = philox4x32([1, 0, 7, 8], [5, 6]);
        let words: Vec<u32> = (4..8).map(|i| philox_word(i, [5, 6], [7, 8])).collect();
        assert_eq!(words, block);
    }
}
