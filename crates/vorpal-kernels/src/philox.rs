//! Counter-based random numbers: the same bits on every device.

use crate::lane::vectorized;

/// What words are multiplied by, and what is added to the key after each of the rounds.
const FACTORS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Blocks that are made side by side.
const LANES: usize = 16;

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
    blocks(counter.map(|word| [word]), key.map(|word| [word])).map(|[word]| word)
}

/// Word `index` of the stream named by `key` and the upper half of the counter, `stream`.
pub fn philox_word(index: u32, key: [u32; 2], stream: [u32; 2]) -> u32 {
    philox4x32([index >> 2, 0, stream[0], stream[1]], key)[(index & 3) as usize]
}

/// [`philox_word`] of many words, each with a key of its own. The slices are equally long. All words, or every other one, of
/// one key's stream are made some at a time.
pub fn philox_words(index: &[u32], keys: [&[u32]; 2], stream: [u32; 2], out: &mut [u32]) {
    vectorized(
        #[inline(always)]
        || {
            let (mut at, end) = (0, out.len().min(index.len()).min(keys[0].len()).min(keys[1].len()));
            while at < end {
                let rest = [&index[at..end], &keys[0][at..end], &keys[1][at..end]];
                let mut made = run::<1>(rest, stream, &mut out[at..end]);
                if made == 0 {
                    made = run::<2>(rest, stream, &mut out[at..end]);
                }
                if made == 0 {
                    made = LANES.min(end - at);
                    for k in at..at + made {
                        out[k] = philox_word(index[k], [keys[0][k], keys[1][k]], stream);
                    }
                }
                at += made;
            }
        },
    );
}

/// Makes the first words, if every `STEP`th of a stream is asked for from the start of a block on; gives how many.
#[inline(always)]
fn run<const STEP: usize>([index, k0, k1]: [&[u32]; 3], stream: [u32; 2], out: &mut [u32]) -> usize {
    let each = 4 / STEP;
    let len = LANES * each;
    if index.len() < len {
        return 0;
    }
    let (first, key) = (index[0], [k0[0], k1[0]]);
    let mut other = 0;
    for k in 0..len {
        other |= index[k] ^ first.wrapping_add((STEP * k) as u32);
        other |= (k0[k] ^ key[0]) | (k1[k] ^ key[1]);
    }
    let from = (first & 3) as usize;
    if other != 0 || from >= STEP {
        return 0;
    }
    // A counter is the number of a block: there are as many as fit 30 bits.
    let number = std::array::from_fn(|lane| ((first >> 2) + lane as u32) & (u32::MAX >> 2));
    let counter = [number, [0; LANES], [stream[0]; LANES], [stream[1]; LANES]];
    let words = blocks(counter, key.map(|k| [k; LANES]));
    for (lane, some) in out[..len].chunks_exact_mut(each).enumerate() {
        for (k, o) in some.iter_mut().enumerate() {
            *o = words[from + STEP * k][lane];
        }
    }
    len
}

/// [`philox4x32`] of some counters and keys side by side.
#[inline(always)]
fn blocks<const N: usize>(mut x: [[u32; N]; 4], [mut k0, mut k1]: [[u32; N]; 2]) -> [[u32; N]; 4] {
    for _ in 0..ROUNDS {
        let mut next = x;
        for lane in 0..N {
            let [high0, low0] = multiply_wide(FACTORS[0], x[0][lane]);
            let [high1, low1] = multiply_wide(FACTORS[1], x[2][lane]);
            next[0][lane] = high1 ^ x[1][lane] ^ k0[lane];
            next[1][lane] = low1;
            next[2][lane] = high0 ^ x[3][lane] ^ k1[lane];
            next[3][lane] = low0;
        }
        x = next;
        for lane in 0..N {
            k0[lane] = k0[lane].wrapping_add(WEYL[0]);
            k1[lane] = k1[lane].wrapping_add(WEYL[1]);
        }
    }
    x
}

#[inline(always)]
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
    fn many_words_are_those_of_each() {
        let spread = |k: usize, seed: u32| philox_word(k as u32, [seed, 1], [0, 0]);
        for len in [0, 1, 15, 16, 63, 64, 65, 200, 1000] {
            let own: [Vec<u32>; 2] = [3, 4].map(|seed| (0..len).map(|k| spread(k, seed)).collect());
            let same = [vec![7; len], vec![8; len]];
            // In order from the start of a block, from elsewhere, with a gap, every other word, the last ones there are, and
            // in no order.
            let orders: [&dyn Fn(usize) -> u32; 6] = [
                &|k| 4 * 1000 + k as u32,
                &|k| 4 * 1000 + 3 + k as u32,
                &|k| k as u32 + u32::from(k >= 100),
                &|k| 2 * k as u32 + 1,
                &|k| (u32::MAX - 67).wrapping_add(k as u32),
                &|k| spread(k, 5),
            ];
            for order in orders {
                let index: Vec<u32> = (0..len).map(order).collect();
                for keys in [&same, &own] {
                    let mut found = vec![0; len];
                    philox_words(&index, [&keys[0], &keys[1]], [9, 2], &mut found);
                    let word = |k: usize| philox_word(index[k], [keys[0][k], keys[1][k]], [9, 2]);
                    assert_eq!(
                        found,
                        (0..len).map(word).collect::<Vec<_>>(),
                        "{len} from {:?}",
                        index.first()
                    );
                }
            }
        }
    }

    #[test]
    fn words_walk_through_blocks() {
        let block = philox4x32([1, 0, 7, 8], [5, 6]);
        let words: Vec<u32> = (4..8).map(|i| philox_word(i, [5, 6], [7, 8])).collect();
        assert_eq!(words, block);
    }
}
