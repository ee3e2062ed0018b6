//! Pictures from the bytes of PNG and JPEG files.

use std::io::Cursor;

use vorpal_autodiff::{Error, Result};

use crate::data::Array;

/// Most pixels of a picture that is believed.
const PIXELS_MAX: usize = 1 << 28;

/// The picture of a PNG or JPEG file as `[channels, height, width]` from 0 to 1, with 1 channel (grey) or 3 (red, green,
/// blue); others are converted, and how opaque a pixel is is dropped. `what` names the file in errors.
///
/// # Errors
/// [`Error::Format`] with what the decoder found wrong.
pub fn image_from_bytes(bytes: &[u8], channels: usize, what: &str) -> Result<Array> {
    if !matches!(channels, 1 | 3) {
        return Err(Error::argument(
            "image_from_bytes",
            format!("pictures of {channels} channels; 1 or 3 are made"),
        ));
    }
    let picture = match bytes {
        [0x89, b'P', b'N', b'G', ..] => png(bytes),
        [0xff, 0xd8, ..] => jpeg(bytes),
        _ => Err("neither PNG nor JPEG by its first bytes".to_string()),
    };
    let Picture { pixels, width, height, samples } =
        picture.map_err(|message| Error::format(what, message))?;
    if samples == 0 || pixels.len() != width * height * samples {
        let message = format!("{} bytes for {width} × {height} pixels of {samples}", pixels.len());
        return Err(Error::format(what, message));
    }
    let plane = width * height;
    let mut out = vec![0.0f32; channels * plane];
    for (k, pixel) in pixels.chunks_exact(samples).enumerate() {
        let at = |c: usize| f32::from(pixel[c]) / 255.0;
        let rgb = if samples < 3 { [at(0); 3] } else { [at(0), at(1), at(2)] };
        if channels == 3 {
            rgb.iter().enumerate().for_each(|(c, &value)| out[c * plane + k] = value);
        } else if samples < 3 {
            out[k] = rgb[0];
        } else {
            // Luminance (ITU-R BT.601).
            out[k] = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
        }
    }
    Array::new(&out, [channels, height, width])
}

/// Bytes of pixels, row by row.
struct Picture {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
    /// Of a pixel: grey, grey and opacity, three colours, those and opacity.
    samples: usize,
}

fn png(bytes: &[u8]) -> Result<Picture, String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let size = reader
        .output_buffer_size()
        .filter(|&size| size <= 4 * PIXELS_MAX)
        .ok_or("the picture is too large")?;
    let mut pixels = vec![0; size];
    let info = reader.next_frame(&mut pixels).map_err(|e| e.to_string())?;
    pixels.truncate(info.buffer_size());
    Ok(Picture {
        pixels,
        width: info.width as usize,
        height: info.height as usize,
        samples: info.color_type.samples(),
    })
}

fn jpeg(bytes: &[u8]) -> Result<Picture, String> {
    let mut decoder = zune_jpeg::JpegDecoder::new(zune_jpeg::zune_core::bytestream::ZCursor::new(bytes));
    let pixels = decoder.decode().map_err(|e| e.to_string())?;
    let info = decoder.info().ok_or("there is no header")?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    let samples = pixels.len().checked_div(width * height).unwrap_or(0);
    Ok(Picture { pixels, width, height, samples })
}
