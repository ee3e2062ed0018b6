//! Digits that are turned, digits as clouds of points.

use std::f64::consts::TAU;

use vorpal_nn::data::{Array, Dataset, Digits, PIXELS};
use vorpal_nn::{Error, Result};

use super::dice::Dice;

/// Pixels of a row of a digit.
const SIDE: usize = 28;

fn pixels(digits: &Digits, index: usize) -> Result<(&[u8], i32)> {
    let missing = || Error::format("digits", format!("asked for digit {index} of {}", digits.len()));
    let pixels = digits.images.get(index * PIXELS..(index + 1) * PIXELS).ok_or_else(missing)?;
    Ok((pixels, i32::from(*digits.labels.get(index).ok_or_else(missing)?)))
}

/// Digits, each turned by an angle of its own: images `[1, 28, 28]` from 0 to 1 and their names. Pixels are mixed from the
/// four they come from.
///
/// ```
/// use vorpal_nn::data::{Dataset, Digits};
/// use vorpal_zoo::data::TurnedDigits;
/// let turned = TurnedDigits::new(Digits::embedded()?.1, 7);
/// let (image, name) = turned.get(0)?;
/// assert!(image.shape().dims() == [1, 28, 28] && (0..10).contains(&name));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TurnedDigits {
    digits: Digits,
    seed: u64,
}

impl TurnedDigits {
    /// Angles from a seed.
    pub fn new(digits: Digits, seed: u64) -> TurnedDigits {
        TurnedDigits { digits, seed }
    }
}

impl Dataset for TurnedDigits {
    type Item = (Array, i32);

    fn len(&self) -> usize {
        self.digits.len()
    }

    fn get(&self, index: usize) -> Result<(Array, i32)> {
        let (image, name) = pixels(&self.digits, index)?;
        let (sin, cos) = (TAU * Dice::new(self.seed, index).uniform()).sin_cos();
        let middle = (SIDE as f64 - 1.0) / 2.0;
        let ink = |y: f64, x: f64| {
            let inside = (0.0..SIDE as f64).contains(&y) && (0.0..SIDE as f64).contains(&x);
            if inside { f64::from(image[y as usize * SIDE + x as usize]) / 255.0 } else { 0.0 }
        };
        let turned: Vec<f32> = (0..PIXELS)
            .map(|k| {
                let (y, x) = ((k / SIDE) as f64 - middle, (k % SIDE) as f64 - middle);
                let (y, x) = (cos * y - sin * x + middle, sin * y + cos * x + middle);
                let (top, left) = (y.floor(), x.floor());
                let (down, right) = (y - top, x - left);
                let row = |y: f64| ink(y, left) * (1.0 - right) + ink(y, left + 1.0) * right;
                (row(top) * (1.0 - down) + row(top + 1.0) * down) as f32
            })
            .collect();
        Ok((Array::new(&turned, [1, SIDE, SIDE])?, name))
    }
}

/// Digits as clouds of points in the plane `[points, 2]`, from -1 to 1 to the right and downwards, and their names: pixels
/// are drawn as often as they have ink, a point lies anywhere in its pixel.
///
/// ```
/// use vorpal_nn::data::{Dataset, Digits};
/// use vorpal_zoo::data::PointDigits;
/// let clouds = PointDigits::new(Digits::embedded()?.1, 64, 7);
/// assert_eq!(clouds.get(0)?.0.shape().dims(), [64, 2]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PointDigits {
    digits: Digits,
    points: usize,
    seed: u64,
}

impl PointDigits {
    /// So many points of each digit, drawn by a seed.
    pub fn new(digits: Digits, points: usize, seed: u64) -> PointDigits {
        PointDigits { digits, points, seed }
    }
}

impl Dataset for PointDigits {
    type Item = (Array, i32);

    fn len(&self) -> usize {
        self.digits.len()
    }

    fn get(&self, index: usize) -> Result<(Array, i32)> {
        let (image, name) = pixels(&self.digits, index)?;
        let mut sum = 0u32;
        let sums: Vec<u32> = image
            .iter()
            .map(|&ink| {
                sum += u32::from(ink);
                sum
            })
            .collect();
        let mut dice = Dice::new(self.seed, index);
        let mut cloud = Vec::with_capacity(2 * self.points);
        for _ in 0..self.points {
            let at = (dice.uniform() * f64::from(sum)) as u32;
            let pixel = sums.partition_point(|&sum| sum <= at).min(PIXELS - 1);
            for place in [pixel % SIDE, pixel / SIDE] {
                cloud.push(((place as f64 + dice.uniform()) / SIDE as f64 * 2.0 - 1.0) as f32);
            }
        }
        Ok((Array::new(&cloud, [self.points, 2])?, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_and_drawing_keep_the_ink_in_its_place() {
        let (_, digits) = Digits::embedded().expect("digits");
        let (image, name) = pixels(&digits, 3).expect("a digit");
        let ink: f64 = image.iter().map(|&v| f64::from(v) / 255.0).sum();
        let (turned, same) = TurnedDigits::new(digits.clone(), 1).get(3).expect("a digit");
        let after: f64 = turned.to_vec::<f32>().expect("pixels").iter().map(|&v| f64::from(v)).sum();
        assert_eq!(name, same);
        assert!((after / ink - 1.0).abs() < 0.05, "{after} of {ink}");
        let (cloud, _) = PointDigits::new(digits.clone(), 2000, 1).get(3).expect("a cloud");
        let right: f64 =
            cloud.to_vec::<f32>().expect("points").iter().step_by(2).map(|&v| f64::from(v)).sum();
        let place = |k: usize| (k % SIDE) as f64 / SIDE as f64 * 2.0 - 1.0 + 1.0 / SIDE as f64;
        let middle: f64 =
            image.iter().enumerate().map(|(k, &v)| f64::from(v) / 255.0 * place(k)).sum::<f64>() / ink;
        assert!((right / 2000.0 - middle).abs() < 0.03, "{} and {middle}", right / 2000.0);
    }
}
