//! Handwritten digits of a quarter of the pixels.

use vorpal_nn::Result;
use vorpal_nn::data::{Array, Digits, PIXELS, Samples};

/// Pixels of a side.
const SIDE: usize = 14;

/// Digits of 14 × 14 pixels, each the mean of 2 × 2 of the original's: images `[1, 14, 14]` from 0 to 1 and their names.
/// They are as easy to read, and cost a quarter.
///
/// # Errors
/// None for digits as they are read.
///
/// ```
/// use vorpal_nn::data::{Dataset, Digits};
/// use vorpal_zoo::data::small_digits;
/// let (_, test) = Digits::embedded()?;
/// let (image, _) = small_digits(&test)?.get(0)?;
/// assert_eq!(image.shape().dims(), [1, 14, 14]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub fn small_digits(digits: &Digits) -> Result<Samples<(Array, i32)>> {
    let small = |(image, &label): (&[u8], &u8)| {
        let mean = |k: usize| {
            let from = k / SIDE * 2 * 2 * SIDE + k % SIDE * 2;
            let four = [from, from + 1, from + 2 * SIDE, from + 2 * SIDE + 1];
            four.iter().map(|&p| f32::from(image[p])).sum::<f32>() / (4.0 * 255.0)
        };
        let pixels: Vec<f32> = (0..SIDE * SIDE).map(mean).collect();
        Ok((Array::new(&pixels, [1, SIDE, SIDE])?, i32::from(label)))
    };
    let images = digits.images.chunks_exact(PIXELS);
    images.zip(&digits.labels).map(small).collect::<Result<Vec<_>>>().map(Samples)
}
