//! Handwritten digits: the ten thousand that ship with Vorpal, or the full MNIST files.

use std::path::Path;

use vorpal_tensor::{Error, Result};

use super::{Array, Dataset, Idx};

/// Images and labels of handwritten digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digits {
    /// Pixels of all images, 784 bytes each, 0 (paper) to 255 (ink), row by row.
    pub images: Vec<u8>,
    /// The digit of each image, 0 to 9.
    pub labels: Vec<u8>,
}

/// Pixels of one image: 28 rows of 28.
pub const PIXELS: usize = 28 * 28;

macro_rules! embedded {
    ($name:literal) => {
        (include_bytes!(concat!("../../data/mnist10k/", $name, ".gz")), concat!("embedded ", $name))
    };
}

impl Digits {
    /// The embedded 8,000 digits for training and 2,000 for testing (MNIST: LeCun, Cortes, Burges;
    /// CC BY-SA 3.0).
    ///
    /// # Errors
    /// [`Error::Format`] when the embedded files are damaged.
    ///
    /// ```
    /// let (train, test) = vorpal_nn::data::Digits::embedded()?;
    /// assert_eq!((train.len(), test.len()), (8_000, 2_000));
    /// # Ok::<(), vorpal_tensor::Error>(())
    /// ```
    pub fn embedded() -> Result<(Digits, Digits)> {
        let parse = |(bytes, what): (&[u8], &str)| Idx::parse(bytes, what);
        let train = Digits::pair(
            parse(embedded!("train-images-idx3-ubyte"))?,
            parse(embedded!("train-labels-idx1-ubyte"))?,
            "embedded training digits",
        )?;
        let test = Digits::pair(
            parse(embedded!("t10k-images-idx3-ubyte"))?,
            parse(embedded!("t10k-labels-idx1-ubyte"))?,
            "embedded test digits",
        )?;
        Ok((train, test))
    }

    /// The four MNIST files in a folder, under their usual names, gzipped (`.gz`) or plain.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that is missing or unreadable, [`Error::Format`] for one that is not
    /// what its name says.
    pub fn load(folder: impl AsRef<Path>) -> Result<(Digits, Digits)> {
        let folder = folder.as_ref();
        let load = |name: &str| {
            let packed = folder.join(format!("{name}.gz"));
            Idx::load(if packed.exists() { packed } else { folder.join(name) })
        };
        let pair = |part: &str| {
            let images = load(&format!("{part}-images-idx3-ubyte"))?;
            let labels = load(&format!("{part}-labels-idx1-ubyte"))?;
            Digits::pair(images, labels, &format!("{part} digits in {}", folder.display()))
        };
        Ok((pair("train")?, pair("t10k")?))
    }

    fn pair(images: Idx, labels: Idx, what: &str) -> Result<Digits> {
        let fail = |message: String| Err(Error::format(what, message));
        match (images.shape.dims(), labels.shape.dims()) {
            (&[n, 28, 28], &[m]) if n == m => {}
            _ => {
                return fail(format!(
                    "expected images [n, 28, 28] and labels [n], found {} and {}",
                    images.shape, labels.shape
                ));
            }
        }
        if let Some(at) = labels.data.iter().position(|&label| label > 9) {
            return fail(format!("label {} of image {at} is no digit", labels.data[at]));
        }
        Ok(Digits { images: images.data, labels: labels.data })
    }

    /// Number of digits.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Images `[1, 28, 28]` from 0 to 1 and their names.
impl Dataset for Digits {
    type Item = (Array, i32);
    fn len(&self) -> usize {
        self.labels.len()
    }
    fn get(&self, index: usize) -> Result<(Array, i32)> {
        super::dataset::check(index, self.labels.len())?;
        let pixels = &self.images[index * PIXELS..(index + 1) * PIXELS];
        let pixels: Vec<f32> = pixels.iter().map(|&p| f32::from(p) / 255.0).collect();
        Ok((Array::new(&pixels, [1, 28, 28])?, i32::from(self.labels[index])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vorpal_tensor::Shape;

    fn idx(shape: impl Into<Shape>, fill: u8) -> Idx {
        let shape = shape.into();
        Idx { data: vec![fill; shape.numel()], shape }
    }

    #[test]
    fn the_embedded_digits_are_whole() {
        let (train, test) = Digits::embedded().expect("embedded files");
        for set in [&train, &test] {
            assert_eq!(set.images.len(), set.len() * PIXELS);
            let mut counts = [0usize; 10];
            set.labels.iter().for_each(|&l| counts[usize::from(l)] += 1);
            assert!(counts.iter().all(|&c| 10 * c > set.len() / 2), "{counts:?}");
        }
        let ink = train.images.iter().map(|&p| f64::from(p)).sum::<f64>() / train.images.len() as f64 / 255.0;
        assert!((ink - 0.1307).abs() < 0.005, "mean of MNIST pixels is 0.1307, found {ink}");
    }

    #[test]
    fn mismatches_are_named() {
        let error = Digits::pair(idx([2, 28, 28], 0), idx([3], 0), "pair").expect_err("2 and 3");
        assert!(error.to_string().contains("found [2, 28, 28] and [3]"), "{error}");
        let error = Digits::pair(idx([2, 28, 28], 0), idx([2], 10), "pair").expect_err("label 10");
        assert!(error.to_string().contains("label 10 of image 0"), "{error}");
    }

    #[test]
    fn folders_are_read_gzipped_or_plain() {
        let dir = tempfile::tempdir().expect("a folder");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/data/mnist10k");
        for file in std::fs::read_dir(source).expect("the data folder") {
            let path = file.expect("an entry").path();
            std::fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("a copy");
        }
        assert_eq!(Digits::load(dir.path()).expect("four files"), Digits::embedded().expect("embedded"));
        std::fs::remove_file(dir.path().join("t10k-labels-idx1-ubyte.gz")).expect("removed");
        let error = Digits::load(dir.path()).expect_err("a file is missing");
        assert!(error.to_string().contains("t10k-labels-idx1-ubyte"), "{error}");
    }
}
