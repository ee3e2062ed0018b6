//! Series in time, and windows of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use vorpal_nn::data::{Dataset, Table};
use vorpal_nn::{Error, Result};

/// Numbers in the order of time, and after how many of them a season comes back.
///
/// ```
/// use vorpal_zoo::data::Series;
/// let co2 = Series::co2()?;
/// assert_eq!((co2.values.len(), co2.period), (526, 12));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What is measured.
    pub name: String,
    /// The numbers.
    pub values: Vec<f64>,
    /// Length of a season.
    pub period: usize,
}

impl Series {
    /// Carbon dioxide over Mauna Loa, monthly means from March 1958 to December 2001 in ppm; the five months without a
    /// measurement lie on the line between their neighbours.
    ///
    /// # Errors
    /// [`Error::Format`] when the embedded file is damaged.
    pub fn co2() -> Result<Series> {
        let table = Table::parse(include_bytes!("../../data/series/co2.csv"), "co2.csv")?;
        let mut months: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        let weeks = table.missing(f64::NAN);
        for (date, value) in weeks.numbers("date")?.into_iter().zip(weeks.numbers("co2")?) {
            if value.is_finite() {
                let month = date as usize / 100;
                let (sum, count) = months.entry(month / 100 * 12 + month % 100).or_insert((0.0, 0.0));
                (*sum, *count) = (*sum + value, *count + 1.0);
            }
        }
        let known: Vec<(usize, f64)> = months.into_iter().map(|(k, (sum, count))| (k, sum / count)).collect();
        let mut values = Vec::new();
        for pair in known.windows(2) {
            let ((from, a), (to, b)) = (pair[0], pair[1]);
            values.extend((from..to).map(|k| a + (b - a) * (k - from) as f64 / (to - from) as f64));
        }
        values.extend(known.last().map(|(_, last)| last));
        Ok(Series { name: "CO2 over Mauna Loa, ppm".to_string(), values, period: 12 })
    }

    /// Temperature of the sea surface in the eastern Pacific, by months from 1950 to 2010, in °C.
    ///
    /// # Errors
    /// [`Error::Format`] when the embedded file is damaged.
    pub fn el_nino() -> Result<Series> {
        let table = Table::parse(include_bytes!("../../data/series/elnino.csv"), "elnino.csv")?;
        let months: Vec<Vec<f64>> =
            table.names().iter().skip(1).map(|month| table.numbers(month)).collect::<Result<_>>()?;
        let values = (0..table.len()).flat_map(|year| months.iter().map(move |m| m[year])).collect();
        Ok(Series { name: "sea surface temperature, °C".to_string(), values, period: 12 })
    }

    /// Sunspots of the years from 1700 to 2008, in cycles of about eleven years.
    ///
    /// # Errors
    /// [`Error::Format`] when the embedded file is damaged.
    pub fn sunspots() -> Result<Series> {
        let table = Table::parse(include_bytes!("../../data/series/sunspots.csv"), "sunspots.csv")?;
        Ok(Series { name: "sunspots".to_string(), values: table.numbers("SUNACTIVITY")?, period: 11 })
    }

    /// Columns of a table of comma-separated values, gzipped or plain.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a column that is missing or has something else than numbers.
    pub fn load(path: impl AsRef<Path>, columns: &[&str], period: usize) -> Result<Vec<Series>> {
        let table = Table::load(path)?;
        let series = |name: &&str| {
            Ok(Series { name: (*name).to_string(), values: table.numbers(name)?, period: period.max(1) })
        };
        columns.iter().map(series).collect()
    }

    /// Mean and standard deviation of the first `count` numbers.
    pub fn moments(&self, count: usize) -> (f64, f64) {
        let part = &self.values[..count.min(self.values.len())];
        let n = part.len().max(1) as f64;
        let mean = part.iter().sum::<f64>() / n;
        let variance = part.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        (mean, variance.sqrt().max(f64::MIN_POSITIVE))
    }
}

/// Windows of a series: `input` numbers, and the `horizon` numbers behind them.
///
/// ```
/// use vorpal_nn::data::Dataset;
/// use vorpal_zoo::data::SeriesWindows;
/// let windows = SeriesWindows::new(&[0.0, 1.0, 2.0, 3.0, 4.0], 2, 1);
/// assert_eq!(windows.len(), 3);
/// assert_eq!(windows.get(0)?, (vec![0.0, 1.0], vec![2.0]));
/// // Only what is to be known before the fifth number.
/// assert_eq!(windows.clone().targets(0..4)?.len(), 2);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesWindows {
    values: Vec<f32>,
    input: usize,
    horizon: usize,
    /// Where windows begin.
    starts: Range<usize>,
}

impl SeriesWindows {
    /// All windows.
    pub fn new(values: &[f32], input: usize, horizon: usize) -> SeriesWindows {
        let count = (values.len() + 1).saturating_sub(input + horizon);
        SeriesWindows { values: values.to_vec(), input, horizon, starts: 0..count }
    }

    /// Only the windows whose `horizon` lies in `range`; what comes before it may still be seen.
    ///
    /// # Errors
    /// [`Error::Format`] when there is none.
    pub fn targets(mut self, range: Range<usize>) -> Result<SeriesWindows> {
        let first = range.start.saturating_sub(self.input);
        let end = (range.end + 1).saturating_sub(self.input + self.horizon);
        self.starts = first.max(self.starts.start)..end.min(self.starts.end);
        if self.starts.is_empty() {
            let message = format!(
                "{} numbers have no window of {} and {} that ends in {range:?}",
                self.values.len(),
                self.input,
                self.horizon
            );
            return Err(Error::format("the series", message));
        }
        Ok(self)
    }

    /// Where the window of a number begins in the series.
    pub fn start(&self, index: usize) -> usize {
        self.starts.start + index
    }
}

impl Dataset for SeriesWindows {
    type Item = (Vec<f32>, Vec<f32>);

    fn len(&self) -> usize {
        self.starts.len()
    }

    fn get(&self, index: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let (from, size) = (self.start(index), self.input + self.horizon);
        let window = self.values.get(from..from + size).filter(|_| index < self.starts.len());
        let missing = || Error::format("the series", format!("asked for window {index} of {}", self.len()));
        let (past, future) = window.ok_or_else(missing)?.split_at(self.input);
        Ok((past.to_vec(), future.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_series_are_whole() {
        let (co2, sea) = (Series::co2().expect("co2"), Series::el_nino().expect("sea"));
        assert_eq!((co2.values.len(), sea.values.len()), (526, 732));
        assert!((co2.values[0] - 316.1).abs() < 1.0 && co2.values.iter().all(|v| (310.0..375.0).contains(v)));
        assert_eq!((sea.values[0], sea.values[12]), (23.11, 24.19));
        assert_eq!(Series::sunspots().expect("sunspots").values[2], 16.0);
    }

    #[test]
    fn a_held_out_end_is_not_learned() {
        let values: Vec<f32> = (0..20).map(|v| v as f32).collect();
        let windows = SeriesWindows::new(&values, 4, 2);
        let (train, test) =
            (windows.clone().targets(0..15).expect("some"), windows.targets(15..20).expect("some"));
        assert_eq!(
            train.get(train.len() - 1).expect("the last"),
            (vec![9.0, 10.0, 11.0, 12.0], vec![13.0, 14.0])
        );
        assert_eq!(test.get(0).expect("the first").1, [15.0, 16.0]);
        assert_eq!(test.get(test.len() - 1).expect("the last").1, [18.0, 19.0]);
        assert!(SeriesWindows::new(&values, 19, 2).targets(0..20).is_err());
    }
}
