//! Films and noisy pictures of digits: tasks that are made up, with answers that are known.

use std::f64::consts::TAU;

use vorpal_nn::Result;
use vorpal_nn::data::{Array, Dataset, Digits, PIXELS};

use super::uniform;

/// Digits under noise and lines, and the pixels of their strokes.
///
/// An image `[1, 28, 28]` is six tenths of the digit, three lines as bright and as wide as its strokes across the picture, and
/// normal noise of deviation 0.25; its mask `[28, 28]` is 1 where the digit is brighter than half, and 0 elsewhere. Every
/// number of a sample always gives the same one.
///
/// ```
/// use vorpal_nn::data::{Dataset, Digits};
/// use vorpal_zoo::data::NoisyStrokes;
/// let (_, test) = Digits::embedded()?;
/// let (image, mask) = NoisyStrokes(test).get(0)?;
/// assert_eq!((image.shape().dims(), mask.shape().dims()), (&[1, 28, 28][..], &[28, 28][..]));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NoisyStrokes(
    /// The digits.
    pub Digits,
);

/// Pixels of a side of a digit.
const SIDE: usize = 28;

impl Dataset for NoisyStrokes {
    type Item = (Array, Array);

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<(Array, Array)> {
        // The reader of digits says what is wrong with a number.
        let (digit, _) = self.0.get(index)?;
        let digit = digit.to_vec::<f32>()?;
        let mut stream = (index as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
        let mut image: Vec<f32> = digit.iter().map(|p| 0.6 * p).collect();
        for _ in 0..3 {
            let (sin, cos) = (TAU * uniform(&mut stream)).sin_cos();
            let off = 20.0 * uniform(&mut stream) - 10.0;
            for (k, pixel) in image.iter_mut().enumerate() {
                let [x, y] = [k % SIDE, k / SIDE].map(|place| place as f64 - 13.5);
                if (x * cos + y * sin - off).abs() < 1.0 {
                    *pixel = pixel.max(0.6);
                }
            }
        }
        for pixel in &mut image {
            let size = (-2.0 * (1.0 - uniform(&mut stream)).ln()).sqrt();
            *pixel += (0.25 * size * (TAU * uniform(&mut stream)).cos()) as f32;
        }
        let mask: Vec<i32> = digit.iter().map(|&p| i32::from(p > 0.5)).collect();
        Ok((Array::new(&image, [1, SIDE, SIDE])?, Array::new(&mask, [SIDE, SIDE])?))
    }
}

/// Films of a digit of 14 × 14 pixels that moves in one of eight directions over 20 × 20 pixels.
///
/// A film is `[1, 6, 20, 20]`: six pictures, in each of which the digit is a pixel further than in the one before, from a
/// place that is drawn and around the edges; its class counts directions from the right through below. A single picture says
/// nothing about it.
///
/// ```
/// use vorpal_nn::data::{Dataset, Digits};
/// use vorpal_zoo::data::MovingDigits;
/// let (_, test) = Digits::embedded()?;
/// let (film, _direction) = MovingDigits(test).get(0)?;
/// assert_eq!(film.shape().dims(), [1, 6, 20, 20]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MovingDigits(
    /// The digits.
    pub Digits,
);

/// Pictures of a film, and pixels of a side of each.
const PICTURES: usize = 6;
const FIELD: usize = 20;
/// Steps of a direction to the right and down, less 1.
const STEPS: [[usize; 2]; 8] = [[2, 1], [2, 2], [1, 2], [0, 2], [0, 1], [0, 0], [1, 0], [2, 0]];

impl Dataset for MovingDigits {
    type Item = (Array, i32);

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<(Array, i32)> {
        self.0.get(index)?;
        let image = &self.0.images[index * PIXELS..(index + 1) * PIXELS];
        let mut stream = (index as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
        let mut draw = |below: usize| (uniform(&mut stream) * below as f64) as usize;
        let (direction, from) = (draw(STEPS.len()), [draw(FIELD), draw(FIELD)]);
        let mut film = vec![0.0f32; PICTURES * FIELD * FIELD];
        for picture in 0..PICTURES {
            // A step of -1 is one of FIELD - 1 around the edge.
            let place = |axis: usize| from[axis] + picture * (STEPS[direction][axis] + FIELD - 1);
            let [right, down] = [place(0), place(1)];
            for (k, &pixel) in image.iter().enumerate() {
                let (x, y) = ((right + k % SIDE / 2) % FIELD, (down + k / SIDE / 2) % FIELD);
                film[(picture * FIELD + y) * FIELD + x] += f32::from(pixel) / (4.0 * 255.0);
            }
        }
        Ok((Array::new(&film, [1, PICTURES, FIELD, FIELD])?, direction as i32))
    }
}
