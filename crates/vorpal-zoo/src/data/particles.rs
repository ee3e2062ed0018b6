//! Charged particles that attract and repel one another.

use vorpal_nn::data::{Array, Dataset};
use vorpal_nn::{Error, Result};

use super::dice::Dice;

/// Places or velocities.
type Vectors = Vec<[f64; 3]>;

/// Systems of charged particles in space, after the task of Satorras et al. 2021: charges `[n]` of ±1, places and velocities
/// `[n, 3]`, and the places [`TIME`](Particles::TIME) later. Forces are those of Coulomb, softened near zero, and the motion is
/// followed in small steps of the leapfrog method.
///
/// ```
/// use vorpal_nn::data::Dataset;
/// use vorpal_zoo::data::Particles;
/// let systems = Particles::new(10, 5, 7);
/// let (charges, places, _, later) = systems.get(0)?;
/// assert_eq!((charges.len(), places.shape().dims()), (5, &[5, 3][..]));
/// assert_ne!(places, later);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Particles {
    systems: Vec<(Vec<f32>, [Array; 3])>,
}

impl Particles {
    /// Time from the places that are known to those that are asked for.
    pub const TIME: f64 = 1.0;
    const STEPS: usize = 100;
    /// Added to squares of distances.
    const SOFT: f64 = 0.02;

    /// So many systems of so many particles, drawn by a seed.
    pub fn new(systems: usize, particles: usize, seed: u64) -> Particles {
        let system = |k: usize| {
            let mut dice = Dice::new(seed, k);
            let charges: Vec<f64> =
                (0..particles).map(|_| if dice.uniform() < 0.5 { -1.0 } else { 1.0 }).collect();
            let mut vectors = |size: f64| -> Vectors {
                (0..particles).map(|_| [0; 3].map(|_| size * dice.normal())).collect()
            };
            let (places, speeds) = (vectors(1.0), vectors(0.5));
            let later = follow(&charges, places.clone(), speeds.clone());
            let array = |v: &Vectors| {
                Array::new(&v.as_flattened().iter().map(|&v| v as f32).collect::<Vec<_>>(), [particles, 3])
            };
            let arrays = [array(&places)?, array(&speeds)?, array(&later)?];
            Ok((charges.iter().map(|&q| q as f32).collect(), arrays))
        };
        // The numbers are as many as the shapes say.
        let systems = (0..systems).filter_map(|k| -> Option<_> { Result::<_>::ok(system(k)) }).collect();
        Particles { systems }
    }
}

/// The places later.
fn follow(charges: &[f64], mut places: Vectors, mut speeds: Vectors) -> Vectors {
    let step = Particles::TIME / Particles::STEPS as f64;
    let push = |places: &Vectors, speeds: &mut Vectors, time: f64| {
        for i in 0..places.len() {
            for j in 0..places.len() {
                let apart: [f64; 3] = std::array::from_fn(|c| places[i][c] - places[j][c]);
                let square = apart.iter().map(|v| v * v).sum::<f64>() + Particles::SOFT;
                let force = charges[i] * charges[j] / (square * square.sqrt());
                for c in 0..3 {
                    speeds[i][c] += time * force * apart[c];
                }
            }
        }
    };
    push(&places, &mut speeds, step / 2.0);
    for k in 0..Particles::STEPS {
        for (place, speed) in places.iter_mut().zip(&speeds) {
            for c in 0..3 {
                place[c] += step * speed[c];
            }
        }
        if k + 1 < Particles::STEPS {
            push(&places, &mut speeds, step);
        }
    }
    places
}

impl Dataset for Particles {
    type Item = (Vec<f32>, Array, Array, Array);

    fn len(&self) -> usize {
        self.systems.len()
    }

    fn get(&self, index: usize) -> Result<Self::Item> {
        let missing = || Error::format("particles", format!("asked for system {index} of {}", self.len()));
        let (charges, [places, speeds, later]) = self.systems.get(index).cloned().ok_or_else(missing)?;
        Ok((charges, places, speeds, later))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_all_moves_straight_on_and_charges_repel() {
        let (places, speeds) =
            (vec![[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], vec![[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]);
        let later = follow(&[1.0, 1.0], places.clone(), speeds.clone());
        for (c, expected) in [0.5, 0.5, 0.0].into_iter().enumerate() {
            assert!(((later[0][c] + later[1][c]) / 2.0 - expected).abs() < 1e-9, "{later:?}");
        }
        assert!(later[1][0] - later[0][0] > 1.3, "{later:?}");
        let later = follow(&[1.0, -1.0], places, speeds);
        assert!(later[1][0] - later[0][0] < 0.7, "{later:?}");
    }
}
