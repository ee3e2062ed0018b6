//! Tables that ship with the zoo.

use vorpal_nn::data::{Samples, Table};
use vorpal_nn::{Device, Element, Error, Result, Tensor};

use super::uniform;

/// Rows of a table: what is known of each, and what is wanted.
///
/// ```
/// use vorpal_zoo::data::Rows;
/// let (train, test) = Rows::diabetes()?.split(0.2, 0);
/// assert_eq!((train.len(), test.len()), (354, 88));
/// assert_eq!(train.features[0].len(), 10);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rows<T> {
    /// Numbers of each row.
    pub features: Vec<Vec<f32>>,
    /// What is wanted of each row.
    pub targets: Vec<T>,
}

/// Columns of a table without names, as numbers, one list a row.
fn numbers(bytes: &[u8], what: &str, separator: u8) -> Result<Vec<Vec<f32>>> {
    let table = Table::with_options(bytes, what, separator, false)?;
    let columns = table.names().iter().map(|name| table.numbers(name)).collect::<Result<Vec<_>>>()?;
    Ok((0..table.len()).map(|row| columns.iter().map(|column| column[row] as f32).collect()).collect())
}

/// Rows whose last number is a class.
fn classes(rows: Vec<Vec<f32>>, what: &str) -> Result<Rows<i32>> {
    let apart = rows.into_iter().map(|mut row| row.pop().map(|class| (row, class as i32)));
    let apart: Option<(Vec<_>, Vec<_>)> =
        apart.collect::<Option<Vec<_>>>().map(|rows| rows.into_iter().unzip());
    let (features, targets) = apart.ok_or_else(|| Error::format(what, "a row is empty"))?;
    Ok(Rows { features, targets })
}

impl Rows<f32> {
    /// 442 patients with diabetes: age, sex, body mass, blood pressure and six blood values, and how far the disease has
    /// come a year later, from 25 to 346 (Efron et al. 2004).
    ///
    /// # Errors
    /// None for the table that ships.
    pub fn diabetes() -> Result<Rows<f32>> {
        let features = include_bytes!("../../data/tables/diabetes_data_raw.csv.gz");
        let targets = include_bytes!("../../data/tables/diabetes_target.csv.gz");
        let features = numbers(features, "diabetes_data_raw.csv.gz", b' ')?;
        let targets = numbers(targets, "diabetes_target.csv.gz", b' ')?.concat();
        Ok(Rows { features, targets })
    }
}

impl Rows<i32> {
    /// 569 tumours of the breast: thirty measurements of the nuclei of cells, and whether they are malignant (0) or benign
    /// (1) (Wolberg et al. 1995).
    ///
    /// # Errors
    /// None for the table that ships.
    pub fn breast_cancer() -> Result<Rows<i32>> {
        let what = "breast_cancer.csv.gz";
        classes(numbers(include_bytes!("../../data/tables/breast_cancer.csv.gz"), what, b',')?, what)
    }

    /// 1,797 handwritten digits of 8 × 8 pixels from 0 to 16, row by row (Alpaydin & Kaynak 1998).
    ///
    /// # Errors
    /// None for the table that ships.
    pub fn digits() -> Result<Rows<i32>> {
        let what = "digits.csv.gz";
        classes(numbers(include_bytes!("../../data/tables/digits.csv.gz"), what, b',')?, what)
    }
}

impl<T: Element> Rows<T> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Rows to learn from, and a share of them, drawn at random, to be tested on. Features of both are standardised by
    /// what is learned from: the mean of each becomes 0, its deviation 1.
    pub fn split(&self, share: f64, seed: u64) -> (Rows<T>, Rows<T>) {
        let mut order: Vec<usize> = (0..self.len()).collect();
        let mut stream = seed;
        for k in (1..order.len()).rev() {
            order.swap(k, (uniform(&mut stream) * (k + 1) as f64) as usize);
        }
        let kept = self.len() - (share.clamp(0.0, 1.0) * self.len() as f64) as usize;
        let of = |which: &[usize]| Rows {
            features: which.iter().map(|&k| self.features[k].clone()).collect(),
            targets: which.iter().map(|&k| self.targets[k]).collect(),
        };
        let (mut train, mut test) = (of(&order[..kept]), of(&order[kept..]));
        let width = train.features.first().map_or(0, Vec::len);
        for column in 0..width {
            let values = || train.features.iter().map(|row| f64::from(row[column]));
            let mean = values().sum::<f64>() / kept as f64;
            let variance = values().map(|v| (v - mean).powi(2)).sum::<f64>() / kept as f64;
            // A column that never changes says nothing: it becomes 0.
            let size = if variance > 0.0 { variance.sqrt() } else { 1.0 };
            for row in train.features.iter_mut().chain(&mut test.features) {
                row[column] = ((f64::from(row[column]) - mean) / size) as f32;
            }
        }
        (train, test)
    }

    /// Features `[rows, features]` and targets `[rows]`.
    pub fn tensors(&self, device: &Device) -> (Tensor, Tensor) {
        let width = self.features.first().map_or(0, Vec::len);
        let x = Tensor::from_slice(&self.features.concat(), [self.len(), width], device);
        (x, Tensor::from_slice(&self.targets, [self.len()], device))
    }

    /// A data set of the rows.
    pub fn samples(&self) -> Samples<(Vec<f32>, T)> {
        Samples(self.features.iter().cloned().zip(self.targets.iter().copied()).collect())
    }
}
