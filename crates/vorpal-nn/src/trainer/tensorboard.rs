//! Event files that TensorBoard reads.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use vorpal_autodiff::{DType, Error, Result, Tensor};

use super::report::Picture;
use crate::plot::png;

/// Writes scalars, histograms, pictures and texts for TensorBoard: `tensorboard --logdir DIR` shows them.
///
/// Every record is written whole, so that whoever reads meanwhile, or after a crash, finds all but the last one.
///
/// ```
/// use vorpal_nn::trainer::TensorBoard;
/// let folder = tempfile::tempdir().map_err(|e| vorpal_nn::Error::io(".", &e))?;
/// let mut board = TensorBoard::create(folder.path())?;
/// for step in 0..10 {
///     board.scalar("loss", step, 1.0 / (1.0 + step as f64))?;
/// }
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct TensorBoard {
    file: File,
    path: PathBuf,
}

/// Intervals of a histogram.
const BINS: usize = 64;

impl TensorBoard {
    /// A new event file in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(folder: impl AsRef<Path>) -> Result<TensorBoard> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, &e))?;
        let stamp = format!("{:010.0}.{}", now(), std::process::id());
        // Two files of one second must not be one.
        let numbered = |n: u32| folder.join(format!("events.out.tfevents.{stamp}.{n}"));
        let path = (0..).map(numbered).find(|p| !p.exists()).unwrap_or_else(|| numbered(0));
        let file = File::create(&path).map_err(|e| Error::io(&path, &e))?;
        let mut board = TensorBoard { file, path };
        let mut event = Message::default();
        event.double(1, now());
        event.bytes(3, b"brain.Event:2");
        board.record(&event.0)?;
        Ok(board)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A number of a step.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<()> {
        self.value(tag, step, |v| v.float(2, value as f32))
    }

    /// How the elements of a tensor of floats are distributed. Reads the tensor.
    ///
    /// # Errors
    /// [`Error::Io`], or what evaluating gives.
    pub fn histogram(&mut self, tag: &str, step: u64, values: &Tensor) -> Result<()> {
        let values = values.cast(DType::F32).to_vec::<f32>()?;
        let numbers: Vec<f64> = values.into_iter().map(f64::from).filter(|v| v.is_finite()).collect();
        self.value(tag, step, |v| v.message(5, |m| histogram(m, &numbers)))
    }

    /// A picture `[channels, height, width]` of 1 or 3 channels with values from 0 to 1. Reads the tensor.
    ///
    /// # Errors
    /// [`Error::Argument`] for another shape, [`Error::Io`], or what evaluating gives.
    #[track_caller]
    pub fn image(&mut self, tag: &str, step: u64, picture: &Tensor) -> Result<()> {
        let at = vorpal_autodiff::At::caller();
        let [channels, height, width] = picture.dims()?;
        if channels != 1 && channels != 3 {
            let message = format!("a picture has 1 or 3 channels, found {channels}");
            return Err(Error::Argument { op: "image", message, at });
        }
        let pixels = pixels(&picture.permute([1, 2, 0]))?;
        let file = png(&pixels, width, height, channels)?;
        self.png(tag, step, &file, [channels, height, width])
    }

    /// A picture of an evaluation.
    pub(super) fn picture(&mut self, tag: &str, step: u64, picture: &Picture) -> Result<()> {
        self.png(tag, step, &picture.png, picture.sizes)
    }

    fn png(
        &mut self,
        tag: &str,
        step: u64,
        file: &[u8],
        [channels, height, width]: [usize; 3],
    ) -> Result<()> {
        self.value(tag, step, |v| {
            v.message(4, |image| {
                image.number(1, height as u64);
                image.number(2, width as u64);
                image.number(3, channels as u64);
                image.bytes(4, file);
            });
        })
    }

    /// A text, shown as Markdown: a configuration, for example.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn text(&mut self, tag: &str, step: u64, text: &str) -> Result<()> {
        self.value(tag, step, |v| {
            v.message(8, |tensor| {
                // DT_STRING, in a shape of one.
                tensor.number(1, 7);
                tensor.message(2, |shape| shape.message(2, |axis| axis.number(1, 1)));
                tensor.bytes(8, text.as_bytes());
            });
            v.message(9, |meta| meta.message(1, |plugin| plugin.bytes(1, b"text")));
        })
    }

    /// One value of a summary: its tag, and what `fill` adds.
    pub(super) fn value(&mut self, tag: &str, step: u64, fill: impl FnOnce(&mut Message)) -> Result<()> {
        let mut event = Message::default();
        event.double(1, now());
        event.number(2, step);
        event.message(5, |summary| {
            summary.message(1, |value| {
                value.bytes(1, tag.as_bytes());
                fill(value);
            });
        });
        self.record(&event.0)
    }

    /// A record of a TFRecord file: length, its check, data, their check.
    fn record(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut out = Vec::with_capacity(data.len() + 16);
        out.extend(length);
        out.extend(masked_crc(&length).to_le_bytes());
        out.extend(data);
        out.extend(masked_crc(data).to_le_bytes());
        self.file.write_all(&out).map_err(|e| Error::io(&self.path, &e))
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |d| d.as_secs_f64())
}

/// Elements from 0 to 1 as bytes.
pub(super) fn pixels(picture: &Tensor) -> Result<Vec<u8>> {
    let values = picture.cast(DType::F32).to_vec::<f32>()?;
    Ok(values.into_iter().map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8).collect())
}

fn histogram(out: &mut Message, values: &[f64]) {
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    let (low, high) = if values.is_empty() { (0.0, 0.0) } else { (low, high) };
    let width = if high > low { (high - low) / BINS as f64 } else { 1.0 };
    let mut counts = [0.0f64; BINS];
    for &v in values {
        counts[(((v - low) / width) as usize).min(BINS - 1)] += 1.0;
    }
    out.double(1, low);
    out.double(2, high);
    out.double(3, values.len() as f64);
    out.double(4, values.iter().sum());
    out.double(5, values.iter().map(|v| v * v).sum());
    let ends: Vec<f64> = (1..=BINS).map(|k| low + width * k as f64).collect();
    out.doubles(6, &ends);
    out.doubles(7, &counts);
}

/// A message of protocol buffers (<https://protobuf.dev/programming-guides/encoding/>).
#[derive(Default)]
pub(super) struct Message(pub Vec<u8>);

impl Message {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }
    fn key(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }
    pub fn number(&mut self, field: u64, n: u64) {
        self.key(field, 0);
        self.varint(n);
    }
    pub fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }
    pub fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }
    pub fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }
    fn doubles(&mut self, field: u64, values: &[f64]) {
        let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(field, &packed);
    }
    pub fn message(&mut self, field: u64, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }
}

/// CRC-32C (Castagnoli), turned as TFRecord wants it.
fn masked_crc(bytes: &[u8]) -> u32 {
    let crc = !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0x82f6_3b78 & (c & 1).wrapping_neg()))
    });
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_numbers_are_those_of_the_standard() {
        // RFC 3720, B.4: 32 zero bytes.
        let plain = masked_crc(&[0; 32]).wrapping_sub(0xa282_ead8).rotate_left(15);
        assert_eq!(plain, 0x8a91_36aa);
    }

    #[test]
    fn messages_are_encoded_as_protobuf_says() {
        let mut m = Message::default();
        m.number(1, 150);
        m.bytes(2, b"testing");
        m.message(3, |inner| inner.number(1, 150));
        m.float(4, 1.0);
        let wanted = b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01\x25\0\0\x80\x3f";
        assert_eq!(m.0, wanted);
    }
}
