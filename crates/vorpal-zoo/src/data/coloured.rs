//! Digits whose colour tells more than their shape, as long as nothing changes.

use vorpal_nn::Result;
use vorpal_nn::data::{Array, Digits, PIXELS};

use super::dice::Dice;

/// Pixels of a row of a coloured digit: every other one.
const SIDE: usize = 14;

/// Digits in red or green (Arjovsky et al. 2019), for the question whether one is 5 or larger. A quarter of the answers is wrong;
/// the colour is the answer, but for a share that depends on the environment. Images `[n, 2, 14, 14]` from 0 to 1 and answers
/// `[n]`, 0 or 1.
///
/// ```
/// use vorpal_nn::data::Digits;
/// use vorpal_zoo::data::coloured_digits;
/// let (images, answers) = coloured_digits(&Digits::embedded()?.1, 0..100, 0.9, 7)?;
/// assert_eq!((images.shape().dims(), answers.shape().dims()), (&[100, 2, 14, 14][..], &[100][..]));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
///
/// # Errors
/// None but those of [`Array::new`].
pub fn coloured_digits(
    digits: &Digits,
    range: std::ops::Range<usize>,
    misled: f64,
    seed: u64,
) -> Result<(Array, Array)> {
    let (mut images, mut answers) = (Vec::new(), Vec::new());
    for index in range.start..range.end.min(digits.len()) {
        let mut dice = Dice::new(seed, index);
        let answer = (digits.labels[index] >= 5) != (dice.uniform() < 0.25);
        let colour = answer != (dice.uniform() < misled);
        let image = &digits.images[index * PIXELS..(index + 1) * PIXELS];
        for channel in [true, false] {
            images.extend((0..SIDE * SIDE).map(|k| {
                let ink = image[k / SIDE * 2 * 2 * SIDE + k % SIDE * 2];
                if channel == colour { f32::from(ink) / 255.0 } else { 0.0 }
            }));
        }
        answers.push(f32::from(u8::from(answer)));
    }
    let n = answers.len();
    Ok((Array::new(&images, [n, 2, SIDE, SIDE])?, Array::new(&answers, [n])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_mislead_as_often_as_told() {
        let (digits, _) = Digits::embedded().expect("digits");
        let (images, answers) = coloured_digits(&digits, 0..2000, 0.2, 1).expect("images");
        let (images, answers) =
            (images.to_vec::<f32>().expect("floats"), answers.to_vec::<f32>().expect("floats"));
        let (mut colour, mut shape) = (0, 0);
        for (k, answer) in answers.iter().enumerate() {
            let first = images[k * 2 * SIDE * SIDE..][..SIDE * SIDE].iter().any(|&v| v > 0.0);
            colour += usize::from(first == (*answer == 1.0));
            shape += usize::from((digits.labels[k] >= 5) == (*answer == 1.0));
        }
        assert!((1540..1660).contains(&colour) && (1430..1570).contains(&shape), "{colour} {shape}");
    }
}
