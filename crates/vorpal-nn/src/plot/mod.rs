//! Pictures: curves, bands and points as SVG, images and matrices as PNG. No fonts, no files, no network.

mod figure;
mod png;

use vorpal_autodiff::{DType, Error, Result, Tensor};

pub use figure::Figure;
pub(crate) use figure::escaped;
pub(crate) use png::{base64, png};

/// A PNG file of `images` `[n, channels, height, width]` with 1 or 3 channels and values from 0 to 1 (others are cut),
/// side by side in rows of `columns`, each pixel `scale` pixels wide, one pixel of grey between two images.
///
/// # Errors
/// [`Error::Format`] for another shape or nothing to draw; what evaluation gives.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor, plot};
/// let images = Tensor::zeros([5, 1, 8, 8], DType::F32, &Device::cpu());
/// let file = plot::image_grid(&images, 3, 4)?;
/// assert_eq!(&file[1..4], b"PNG");
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub fn image_grid(images: &Tensor, columns: usize, scale: usize) -> Result<Vec<u8>> {
    let shape = images.shape();
    let &[n, channels @ (1 | 3), height, width] = shape.dims() else {
        let message = format!("asked to draw {shape}: images are [n, 1 or 3, height, width]");
        return Err(Error::format("picture", message));
    };
    let (columns, scale) = (columns.clamp(1, n.max(1)), scale.max(1));
    if n * height * width == 0 {
        return Err(Error::format("picture", format!("asked to draw {shape}: there are no pixels")));
    }
    let values = images.cast(DType::F32).to_vec::<f32>()?;
    let (wide, high) = (width * scale + 1, height * scale + 1);
    let (across, down) = (columns * wide - 1, n.div_ceil(columns) * high - 1);
    let mut pixels = vec![128u8; across * down * channels];
    for (k, image) in values.chunks(channels * height * width).enumerate() {
        let (left, top) = (k % columns * wide, k / columns * high);
        for y in 0..height * scale {
            for x in 0..width * scale {
                let from = y / scale * width + x / scale;
                let to = ((top + y) * across + left + x) * channels;
                for c in 0..channels {
                    pixels[to + c] = (image[c * height * width + from].clamp(0.0, 1.0) * 255.0).round() as u8;
                }
            }
        }
    }
    png(&pixels, across, down, channels)
}

/// A PNG file of a matrix `[rows, columns]`, from the smallest value (dark blue) to the largest (yellow), each element a
/// square of `scale` pixels.
///
/// # Errors
/// [`Error::Format`] for another shape or nothing to draw; what evaluation gives.
///
/// ```
/// use vorpal_nn::{Device, Tensor, plot};
/// let matrix = Tensor::from_slice(&[0.0f32, 1.0, 2.0, 3.0], [2, 2], &Device::cpu());
/// assert_eq!(&plot::heat_map(&matrix, 8)?[1..4], b"PNG");
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub fn heat_map(matrix: &Tensor, scale: usize) -> Result<Vec<u8>> {
    let shape = matrix.shape();
    let &[rows, columns] = shape.dims() else {
        return Err(Error::format("picture", format!("asked to draw {shape}: a matrix has two axes")));
    };
    if rows * columns == 0 {
        return Err(Error::format("picture", format!("asked to draw {shape}: there are no elements")));
    }
    let (values, scale) = (matrix.cast(DType::F32).to_vec::<f32>()?, scale.max(1));
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let (low, high) = (finite().fold(f32::MAX, f32::min), finite().fold(f32::MIN, f32::max));
    let mut pixels = Vec::with_capacity(rows * columns * scale * scale * 3);
    for y in 0..rows * scale {
        for x in 0..columns * scale {
            let value = values[y / scale * columns + x / scale];
            pixels.extend(colour((value - low) / (high - low).max(f32::MIN_POSITIVE)));
        }
    }
    png(&pixels, columns * scale, rows * scale, 3)
}

/// Red, green and blue of a number from 0 to 1, evenly brighter: five colours and what lies between them.
fn colour(value: f32) -> [u8; 3] {
    const STOPS: [[f32; 3]; 5] = [
        [40.0, 20.0, 80.0],
        [55.0, 85.0, 140.0],
        [35.0, 145.0, 140.0],
        [110.0, 200.0, 95.0],
        [250.0, 230.0, 40.0],
    ];
    let at = if value.is_finite() { value.clamp(0.0, 1.0) * 4.0 } else { 0.0 };
    let (k, share) = ((at as usize).min(3), at - (at as usize).min(3) as f32);
    [0, 1, 2].map(|c| (STOPS[k][c] + share * (STOPS[k + 1][c] - STOPS[k][c])).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_grow_brighter() {
        let light = |v: f32| colour(v).iter().map(|&c| u32::from(c)).sum::<u32>();
        assert!((0..10).all(|k| light(k as f32 / 10.0) < light((k + 1) as f32 / 10.0)));
        assert_eq!((colour(f32::NAN), colour(-3.0)), (colour(0.0), colour(0.0)));
    }
}
