//! Treatments whose effects are known.

use vorpal_nn::data::Table;
use vorpal_nn::{Error, Result};

use super::dice::Dice;

/// People, whether they were treated, what came of it, and what the treatment did to each: known, because the outcomes are
/// made up.
///
/// ```
/// use vorpal_zoo::data::Treatment;
/// let people = Treatment::smokers(7)?;
/// assert_eq!((people.covariates.len(), people.effect.len()), (1566, 1566));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Treatment {
    /// What is known of each before the treatment, brought to mean 0 and variance 1.
    pub covariates: Vec<[f64; 9]>,
    /// 1 for those who were treated, else 0.
    pub treated: Vec<f64>,
    /// What came of it.
    pub outcome: Vec<f64>,
    /// The expected outcome with the treatment less the one without.
    pub effect: Vec<f64>,
}

/// Columns of the table.
const COLUMNS: [&str; 9] =
    ["sex", "age", "race", "education", "smokeintensity", "smokeyrs", "exercise", "active", "wt71"];
/// How the outcome and the choice of a treatment depend on them.
const OUTCOME: [f64; 9] = [0.1, 0.3, 0.1, 0.2, 0.2, 0.2, 0.1, 0.2, 0.3];
const CHOICE: [f64; 9] = [0.5, 0.5, -0.3, 0.2, -0.4, -0.3, 0.2, 0.3, 0.5];
/// Deviation of outcomes from what is expected.
const NOISE: f64 = 0.5;

impl Treatment {
    /// 1,566 smokers of the study NHEFS, with a treatment and outcomes that are made up after the second surface of Hill 2011:
    /// with s a sum of the covariates, exp(s + 1∕2) without the treatment (s at most 2) and s + 5 with it. Who is treated
    /// depends on the covariates as well.
    ///
    /// # Errors
    /// [`Error::Format`] when the embedded file is damaged.
    pub fn smokers(seed: u64) -> Result<Treatment> {
        let table = Table::parse(include_bytes!("../../data/tables/nhefs.csv.gz"), "nhefs.csv.gz")?;
        let columns: Vec<Vec<f64>> =
            COLUMNS.iter().map(|name| Ok(scaled(&table.numbers(name)?))).collect::<Result<_>>()?;
        let person = |k: usize| std::array::from_fn(|c| columns.get(c).map_or(0.0, |column| column[k]));
        let covariates: Vec<[f64; 9]> = (0..table.len()).map(person).collect();
        let mut dice = Dice::new(seed, 0);
        let (mut treated, mut outcome, mut effect) = (Vec::new(), Vec::new(), Vec::new());
        for x in &covariates {
            let sum = |by: [f64; 9]| x.iter().zip(by).map(|(x, by)| x * by).sum::<f64>();
            let (with, without) = (sum(OUTCOME) + 5.0, (sum(OUTCOME).min(2.0) + 0.5).exp());
            let chosen = dice.uniform() < 1.0 / (1.0 + (-sum(CHOICE)).exp());
            treated.push(f64::from(u8::from(chosen)));
            outcome.push(if chosen { with } else { without } + NOISE * dice.normal());
            effect.push(with - without);
        }
        Ok(Treatment { covariates, treated, outcome, effect })
    }

    /// The effect on each that two lines have, one through the outcomes of the treated, one through those of the others, of the
    /// first `learned` people: by least squares.
    ///
    /// # Errors
    /// [`Error::Format`] when there are too few people to tell.
    pub fn by_lines(&self, learned: usize) -> Result<Vec<f64>> {
        let line = |arm: f64| {
            let rows = (0..learned.min(self.treated.len())).filter(|&k| self.treated[k] == arm);
            least_squares(rows.map(|k| (with_one(&self.covariates[k]), self.outcome[k])))
        };
        let (with, without) = (line(1.0)?, line(0.0)?);
        let at = |w: &[f64; 10], x: &[f64; 10]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
        Ok(self.covariates.iter().map(with_one).map(|x| at(&with, &x) - at(&without, &x)).collect())
    }
}

fn with_one(x: &[f64; 9]) -> [f64; 10] {
    std::array::from_fn(|k| x.get(k).copied().unwrap_or(1.0))
}

/// A column with mean 0 and variance 1.
fn scaled(column: &[f64]) -> Vec<f64> {
    let n = column.len().max(1) as f64;
    let mean = column.iter().sum::<f64>() / n;
    let deviation = (column.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt();
    column.iter().map(|v| (v - mean) / deviation.max(f64::MIN_POSITIVE)).collect()
}

/// The weights with the least squares of errors, from the normal equations by Gauss's elimination.
fn least_squares(rows: impl Iterator<Item = ([f64; 10], f64)>) -> Result<[f64; 10]> {
    let mut system = [[0.0; 11]; 10];
    for (x, y) in rows {
        for i in 0..10 {
            for j in 0..10 {
                system[i][j] += x[i] * x[j];
            }
            system[i][10] += x[i] * y;
        }
    }
    for k in 0..10 {
        let pivot = system[k][k];
        if pivot.abs() < 1e-9 {
            return Err(Error::format("least squares", "there are too few people to tell"));
        }
        system[k].iter_mut().for_each(|v| *v /= pivot);
        let row = system[k];
        for (_, other) in system.iter_mut().enumerate().filter(|(i, _)| *i != k) {
            let factor = other[k];
            other.iter_mut().zip(row).for_each(|(v, r)| *v -= factor * r);
        }
    }
    Ok(system.map(|row| row[10]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_are_what_outcomes_say() {
        let people = Treatment::smokers(1).expect("people");
        let share = people.treated.iter().sum::<f64>() / 1566.0;
        assert!((0.4..0.6).contains(&share), "{share}");
        // Those who are treated lie on a line, up to the noise: their line is the true one.
        let weights = least_squares(
            (0..1566)
                .filter(|&k| people.treated[k] == 1.0)
                .map(|k| (with_one(&people.covariates[k]), people.outcome[k])),
        );
        let weights = weights.expect("enough people");
        for (found, expected) in weights.iter().zip(OUTCOME.iter().chain(&[5.0])) {
            assert!((found - expected).abs() < 0.1, "{weights:?}");
        }
    }
}
