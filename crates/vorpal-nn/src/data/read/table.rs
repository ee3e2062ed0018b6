//! Tables of comma-separated values.

use std::path::Path;

use vorpal_autodiff::{Error, Result};

use crate::data::Array;
use crate::data::idx::unzipped;

/// A table of texts, its columns read as what they are asked for.
///
/// ```
/// use vorpal_nn::data::Table;
/// let table = Table::parse(b"length,kind\n1.5,toad\n2,frog\n0.5,toad\n", "pond")?;
/// assert_eq!(table.numbers("length")?, [1.5, 2.0, 0.5]);
/// let (kinds, names) = table.categories("kind")?;
/// assert_eq!((kinds, names), (vec![1, 0, 1], vec!["frog".to_string(), "toad".to_string()]));
/// assert_eq!(table.array(&["length"])?.shape().dims(), &[3, 1]);
/// let error = table.numbers("kind").unwrap_err().to_string();
/// assert_eq!(error, "pond: line 2, column \"kind\": \"toad\" is no number");
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    what: String,
    names: Vec<String>,
    rows: Vec<csv::StringRecord>,
    missing: Option<f64>,
}

impl Table {
    /// A table whose first line has the names of the columns, gzipped or plain.
    ///
    /// # Errors
    /// [`Error::Io`], or as [`parse`](Table::parse).
    pub fn load(path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
        Table::parse(&bytes, &path.display().to_string())
    }

    /// A table in memory, commas between its columns, names in its first line; `what` names it in errors.
    ///
    /// # Errors
    /// As [`with_options`](Table::with_options).
    pub fn parse(bytes: &[u8], what: &str) -> Result<Table> {
        Table::with_options(bytes, what, b',', true)
    }

    /// A table with other separators, or without a line of names: then columns are called `0`, `1`, ….
    ///
    /// # Errors
    /// [`Error::Format`] with the line that has more or fewer columns than the first, or is not UTF-8.
    pub fn with_options(bytes: &[u8], what: &str, separator: u8, names: bool) -> Result<Table> {
        let bytes = unzipped(bytes, what)?;
        let fail = |e: csv::Error| Error::format(what, e.to_string());
        let mut builder = csv::ReaderBuilder::new();
        let mut reader =
            builder.delimiter(separator).has_headers(names).trim(csv::Trim::All).from_reader(&bytes[..]);
        let rows = reader.records().collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let names = if names {
            reader.headers().map_err(fail)?.iter().map(str::to_string).collect()
        } else {
            (0..rows.first().map_or(0, csv::StringRecord::len)).map(|k| k.to_string()).collect()
        };
        Ok(Table { what: what.to_string(), names, rows, missing: None })
    }

    /// Reads empty fields, `NA` and `?` as this number; they are errors otherwise.
    #[must_use]
    pub fn missing(mut self, number: f64) -> Table {
        self.missing = Some(number);
        self
    }

    /// Names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn column(&self, name: &str) -> Result<usize> {
        self.names.iter().position(|n| n == name).ok_or_else(|| {
            Error::format(&self.what, format!("no column \"{name}\" among {}", self.names.join(", ")))
        })
    }

    /// A column as texts.
    ///
    /// # Errors
    /// [`Error::Format`] when there is no such column.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>> {
        let column = self.column(name)?;
        Ok(self.rows.iter().map(|row| row.get(column).unwrap_or("")).collect())
    }

    /// A column as numbers.
    ///
    /// # Errors
    /// [`Error::Format`] when there is no such column, or with line and column of a field that is no number.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let column = self.column(name)?;
        let number = |row: &csv::StringRecord| {
            let field = row.get(column).unwrap_or("");
            match (self.missing, field) {
                (Some(number), "" | "NA" | "?") => Ok(number),
                _ => field.parse().map_err(|_| {
                    let line = row.position().map_or(0, csv::Position::line);
                    let message = format!("line {line}, column \"{name}\": \"{field}\" is no number");
                    Error::format(&self.what, message)
                }),
            }
        };
        self.rows.iter().map(number).collect()
    }

    /// A column as numbers of classes, and what they stand for, sorted.
    ///
    /// # Errors
    /// [`Error::Format`] when there is no such column.
    pub fn categories(&self, name: &str) -> Result<(Vec<i32>, Vec<String>)> {
        let texts = self.texts(name)?;
        let mut kinds = texts.clone();
        kinds.sort_unstable();
        kinds.dedup();
        let class = |text: &&str| kinds.partition_point(|kind| kind < text) as i32;
        Ok((texts.iter().map(class).collect(), kinds.iter().map(ToString::to_string).collect()))
    }

    /// Columns side by side, `F32`, `[rows, columns]`: as a [`Dataset`](crate::data::Dataset) its rows.
    ///
    /// # Errors
    /// As [`numbers`](Table::numbers).
    pub fn array(&self, names: &[&str]) -> Result<Array> {
        let columns = names.iter().map(|name| self.numbers(name)).collect::<Result<Vec<_>>>()?;
        let values: Vec<f32> = (0..self.rows.len())
            .flat_map(|row| columns.iter().map(move |column| column[row] as f32))
            .collect();
        Array::new(&values, [self.rows.len(), names.len()])
    }
}
