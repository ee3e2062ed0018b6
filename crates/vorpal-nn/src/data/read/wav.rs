//! Sound in WAV files.

use std::io::Cursor;
use std::path::Path;

use vorpal_autodiff::{Error, Result};

use crate::data::Array;

/// Sound: samples `[channels, frames]` from −1 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Wav {
    /// `F32`, `[channels, frames]`.
    pub samples: Array,
    /// Frames a second.
    pub rate: u32,
}

impl Wav {
    /// Reads a WAV file of whole numbers of 8 to 32 bits or of floats.
    ///
    /// # Errors
    /// [`Error::Io`], or as [`parse`](Wav::parse).
    pub fn load(path: impl AsRef<Path>) -> Result<Wav> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
        Wav::parse(&bytes, &path.display().to_string())
    }

    /// The sound in the bytes of a WAV file; `what` names them in errors.
    ///
    /// # Errors
    /// [`Error::Format`] with the sample at which the file ends, or what of its header is wrong.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Wav> {
        let header = |e: hound::Error| Error::format(what, format!("header: {e}"));
        let mut reader = hound::WavReader::new(Cursor::new(bytes)).map_err(header)?;
        let spec = reader.spec();
        let channels = usize::from(spec.channels);
        let fail = |k: usize, e: hound::Error| {
            let offset = bytes.len();
            Error::format(what, format!("sample {k}: {e} (the file has {offset} bytes)"))
        };
        // At most what the bytes can hold, whatever the header says.
        let mut values = Vec::with_capacity(bytes.len().min(reader.len() as usize));
        if spec.sample_format == hound::SampleFormat::Float {
            for (k, sample) in reader.samples::<f32>().enumerate() {
                values.push(sample.map_err(|e| fail(k, e))?);
            }
        } else {
            let scale = 0.5f32.powi(i32::from(spec.bits_per_sample) - 1);
            for (k, sample) in reader.samples::<i32>().enumerate() {
                values.push(sample.map_err(|e| fail(k, e))? as f32 * scale);
            }
        }
        let frames = values.len().checked_div(channels).unwrap_or(0);
        let planes: Vec<f32> = (0..channels * frames)
            .map(|k| values[k % frames.max(1) * channels + k / frames.max(1)])
            .collect();
        Ok(Wav { samples: Array::new(&planes, [channels, frames])?, rate: spec.sample_rate })
    }
}
