//! Digits dialled by tones.

use std::f32::consts::TAU;

use vorpal_autodiff::philox_word;
use vorpal_nn::Result;
use vorpal_nn::data::Dataset;

/// Made-up sounds of a telephone: a second in which five digits are dialled, each as two tones at once (ITU-T Q.23), of
/// any loudness, length and pause, in noise. A sample is the sound, the digits behind [`START`](Tones::START) but for the
/// last one, and the digits.
///
/// ```
/// use vorpal_nn::data::Dataset;
/// use vorpal_zoo::data::Tones;
/// let (sound, given, digits) = Tones { first: 0, count: 2 }.get(1)?;
/// assert_eq!((sound.len(), given[0], &given[1..]), (8000, Tones::START, &digits[..4]));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tones {
    /// Number of the first sound.
    pub first: usize,
    /// Sounds.
    pub count: usize,
}

/// Lower and higher tone of each digit, in Hertz.
const PITCHES: [(f32, f32); 10] = [
    (941.0, 1336.0),
    (697.0, 1209.0),
    (697.0, 1336.0),
    (697.0, 1477.0),
    (770.0, 1209.0),
    (770.0, 1336.0),
    (770.0, 1477.0),
    (852.0, 1209.0),
    (852.0, 1336.0),
    (852.0, 1477.0),
];

impl Tones {
    /// Samples of a second.
    pub const RATE: usize = 8000;
    /// Digits of a sound.
    pub const DIGITS: usize = 5;
    /// The token in front of the digits.
    pub const START: i32 = 10;
}

impl Dataset for Tones {
    type Item = (Vec<f32>, Vec<i32>, Vec<i32>);

    fn len(&self) -> usize {
        self.count
    }

    fn get(&self, index: usize) -> Result<(Vec<f32>, Vec<i32>, Vec<i32>)> {
        let number = (self.first + index) as u32;
        let word = |k: u32, stream: u32| philox_word(k, [number, 29], [stream, 0]);
        let between =
            |k: u32, low: f32, high: f32| low + (high - low) * (word(k, 1) as f32 / u32::MAX as f32);
        let digits: Vec<i32> = (0..Tones::DIGITS as u32).map(|k| (word(k, 0) % 10) as i32).collect();
        // The sum of two words is noise enough.
        let noise = between(0, 0.02, 0.2);
        let hiss = |k: usize| (word(k as u32, 2) as f32 - word(k as u32, 3) as f32) / u32::MAX as f32 * noise;
        let mut sound: Vec<f32> = (0..Tones::RATE).map(hiss).collect();
        let mut start = between(1, 0.0, 0.06);
        for (k, &digit) in digits.iter().enumerate() {
            let of = |what: u32, low: f32, high: f32| between(8 * (k as u32 + 1) + what, low, high);
            let (length, loud) = (of(0, 0.07, 0.12), of(1, 0.1, 0.4));
            let (low, high) = PITCHES[digit as usize % 10];
            let places =
                (start * Tones::RATE as f32) as usize..((start + length) * Tones::RATE as f32) as usize;
            for (t, sample) in places.clone().zip(sound.get_mut(places).into_iter().flatten()) {
                let time = TAU * t as f32 / Tones::RATE as f32;
                *sample += loud * ((low * time).sin() + (high * time).sin());
            }
            start += length + of(2, 0.03, 0.07);
        }
        let given =
            std::iter::once(Tones::START).chain(digits.iter().copied().take(Tones::DIGITS - 1)).collect();
        Ok((sound, given, digits))
    }
}
