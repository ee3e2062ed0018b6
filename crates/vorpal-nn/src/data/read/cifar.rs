//! The binary files of CIFAR-10 and CIFAR-100.

use std::path::Path;

use vorpal_autodiff::{Error, Result};

use crate::data::{Array, Dataset};

/// Small pictures of 10 or 100 kinds of things (Krizhevsky 2009), as a [`Dataset`] of images `[3, 32, 32]` from 0 to 1 and
/// their labels.
///
/// ```
/// use vorpal_nn::data::{Cifar, Dataset};
/// let record = [&[7u8][..], &[255; 3072]].concat();
/// let (image, label) = Cifar::parse10(&record, "one picture")?.get(0)?;
/// assert_eq!((image.shape().dims(), label), (&[3, 32, 32][..], 7));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cifar {
    /// Pixels of all images, 3,072 bytes each: red, green, blue, row by row.
    pub images: Vec<u8>,
    /// The kind of each image, 0 to 9 or 0 to 99.
    pub labels: Vec<u8>,
    /// Of CIFAR-100 the group of kinds, 0 to 19; empty for CIFAR-10.
    pub groups: Vec<u8>,
}

const PIXELS: usize = 3 * 32 * 32;

impl Cifar {
    /// Training and test pictures of a folder with `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that is missing, or as [`parse10`](Cifar::parse10).
    pub fn load10(folder: impl AsRef<Path>) -> Result<(Cifar, Cifar)> {
        let load = |name: &str| read(folder.as_ref(), name, Cifar::parse10);
        let mut train = Cifar::default();
        for k in 1..=5 {
            let part = load(&format!("data_batch_{k}.bin"))?;
            train.images.extend(part.images);
            train.labels.extend(part.labels);
        }
        Ok((train, load("test_batch.bin")?))
    }

    /// Training and test pictures of a folder with `train.bin` and `test.bin`.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that is missing, or as [`parse100`](Cifar::parse100).
    pub fn load100(folder: impl AsRef<Path>) -> Result<(Cifar, Cifar)> {
        let load = |name: &str| read(folder.as_ref(), name, Cifar::parse100);
        Ok((load("train.bin")?, load("test.bin")?))
    }

    /// Records of CIFAR-10: a label, then the pixels; `what` names them in errors.
    ///
    /// # Errors
    /// [`Error::Format`] with the offset of a record that ends early or whose label is not below 10.
    pub fn parse10(bytes: &[u8], what: &str) -> Result<Cifar> {
        Cifar::parse(bytes, what, &[10])
    }

    /// Records of CIFAR-100: a group, a label, then the pixels; `what` names them in errors.
    ///
    /// # Errors
    /// [`Error::Format`] with the offset of a record that ends early or whose labels are not below 20 and 100.
    pub fn parse100(bytes: &[u8], what: &str) -> Result<Cifar> {
        Cifar::parse(bytes, what, &[20, 100])
    }

    /// Records with as many labels as `bounds`, each below its bound.
    fn parse(bytes: &[u8], what: &str, bounds: &[u8]) -> Result<Cifar> {
        let size = bounds.len() + PIXELS;
        let mut out = Cifar::default();
        for (k, record) in bytes.chunks(size).enumerate() {
            let fail =
                |message: String| Error::format(what, format!("record {k} at byte {} {message}", k * size));
            if record.len() != size {
                return Err(fail(format!("has {} of {size} bytes", record.len())));
            }
            let (labels, pixels) = record.split_at(bounds.len());
            if let Some((label, bound)) = labels.iter().zip(bounds).find(|(label, bound)| label >= bound) {
                return Err(fail(format!("has label {label}, which is not below {bound}")));
            }
            out.images.extend_from_slice(pixels);
            match *labels {
                [group, label] => {
                    out.groups.push(group);
                    out.labels.push(label);
                }
                _ => out.labels.extend_from_slice(labels),
            }
        }
        Ok(out)
    }
}

fn read(folder: &Path, name: &str, parse: impl Fn(&[u8], &str) -> Result<Cifar>) -> Result<Cifar> {
    let path = folder.join(name);
    let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, &e))?;
    parse(&bytes, &path.display().to_string())
}

impl Dataset for Cifar {
    type Item = (Array, i32);
    fn len(&self) -> usize {
        self.labels.len()
    }
    fn get(&self, index: usize) -> Result<(Array, i32)> {
        crate::data::dataset::check(index, self.labels.len())?;
        let pixels = &self.images[index * PIXELS..(index + 1) * PIXELS];
        let pixels: Vec<f32> = pixels.iter().map(|&p| f32::from(p) / 255.0).collect();
        Ok((Array::new(&pixels, [3, 32, 32])?, i32::from(self.labels[index])))
    }
}
