//! Autoencoders whose codes are entries of a table.

use vorpal_nn::{Conv2d, ConvTranspose2d, Device, Module, Tensor, init};
#[cfg(not(target_arch = "wasm32"))]
use vorpal_nn::{Error, Result, eval};

use super::examples;

/// A table of vectors, in place of which others stand: vector quantisation with a derivative (van den Oord, Vinyals &
/// Kavukcuoglu 2017). The derivative by what came in is that by the entry it became, passed straight through; entries move
/// towards what they stand for by [`losses`](VectorQuantizer::losses).
///
/// Rows `[n, width]` of floats to rows of the table, `[n, width]`, and numbers of entries, `[n]` (`I32`).
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::generative::VectorQuantizer;
/// let device = Device::cpu();
/// let table = Tensor::from_slice(&[0.0f32, 0.0, 1.0, 1.0], [2, 2], &device);
/// let quantizer = VectorQuantizer { codebook: table };
/// let rows = Tensor::from_slice(&[0.9f32, 0.8, 0.1, -0.2], [2, 2], &device);
/// assert_eq!(quantizer.codes(&rows).to_vec::<i32>()?, [1, 0]);
/// assert_eq!(quantizer.forward(&rows).to_vec::<f32>()?, [1.0, 1.0, 0.0, 0.0]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct VectorQuantizer {
    /// Entries `[entries, width]`.
    pub codebook: Tensor,
}

/// How much it costs what comes in to stay away from its entry, in units of what it costs the entry.
const COMMITMENT: f64 = 0.25;

impl VectorQuantizer {
    /// Entries near zero.
    pub fn new(entries: usize, width: usize, device: &Device) -> VectorQuantizer {
        VectorQuantizer { codebook: init::uniform([entries, width], 1.0 / entries.max(1) as f64, device) }
    }

    /// The number of the nearest entry of every row, the first of several.
    #[track_caller]
    pub fn codes(&self, rows: &Tensor) -> Tensor {
        let from_zero = self.codebook.square().sum([-1]);
        (from_zero - rows.matmul(&self.codebook.t()) * 2.0).argmin(-1)
    }

    /// Entries by their numbers, of any shape: `[…]` to `[…, width]`.
    #[track_caller]
    pub fn lookup(&self, codes: &Tensor) -> Tensor {
        self.codebook.embedding(codes)
    }

    /// The nearest entries, with the derivative of what they stand for.
    #[track_caller]
    pub fn forward(&self, rows: &Tensor) -> Tensor {
        rows + (self.lookup(&self.codes(rows)) - rows).stop_gradient()
    }

    /// What every row costs, `[n]`: the mean square between it and its entry, which the entry pays, and a quarter of it, which
    /// the row pays.
    #[track_caller]
    pub fn losses(&self, rows: &Tensor) -> Tensor {
        let entries = self.lookup(&self.codes(rows));
        let table = (&entries - rows.stop_gradient()).square().mean([-1]);
        table + (rows - entries.stop_gradient()).square().mean([-1]) * COMMITMENT
    }
}

/// Sizes of a [`VqVae`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VqVaeOptions {
    /// Channels of the convolutions.
    pub width: usize,
    /// Entries of the table.
    pub entries: usize,
    /// Numbers of an entry.
    pub latent: usize,
}

/// The autoencoder with a [`VectorQuantizer`] in its middle, VQ-VAE (van den Oord, Vinyals & Kavukcuoglu 2017): two
/// convolutions with stride 2 make a vector of every 4 × 4 pixels, of which the number of the nearest entry is kept; two
/// transposed convolutions make an image of the entries. A language model that has learned the numbers of many images
/// writes new ones.
///
/// Images `[n, 1, h, w]` from 0 to 1 with sides that are multiples of 4; codes `[n, h / 4 · w / 4]`, row by row. With a width
/// of 32, 64 entries and 16 numbers of each there are 44,177 parameters. `vorpal train vq-vae` learns MNIST digits of 28 × 28
/// pixels as 49 numbers, and a GPT-2 of 107,392 parameters their order; what that writes is to have a Fréchet distance of at
/// most 14 from digits they have not seen.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::generative::{VqVae, VqVaeOptions};
/// let device = Device::cpu();
/// let model = VqVae::new(VqVaeOptions { width: 4, entries: 8, latent: 2 }, &device);
/// let images = Tensor::zeros([3, 1, 8, 12], DType::F32, &device);
/// assert_eq!(model.codes(&images).shape(), [3, 6].into());
/// assert_eq!(model.forward(&images).shape(), images.shape());
/// ```
#[derive(Clone, Debug, Module)]
pub struct VqVae {
    enc1: Conv2d,
    enc2: Conv2d,
    enc3: Conv2d,
    /// The table.
    pub quantizer: VectorQuantizer,
    dec1: Conv2d,
    dec2: ConvTranspose2d,
    dec3: ConvTranspose2d,
}

/// Pixels of a side that become one code.
const PATCH: usize = 4;
/// What a unit of squared error costs: one over the variance of the pixels of digits.
const PRECISION: f64 = 10.0;

impl VqVae {
    /// Random weights.
    pub fn new(options: VqVaeOptions, device: &Device) -> VqVae {
        let VqVaeOptions { width, entries, latent } = options;
        let down = |from, to| Conv2d::new(from, to, [4, 4], device).stride([2, 2]).padding([1, 1]);
        let up = |from, to| ConvTranspose2d::new(from, to, [4, 4], device).stride([2, 2]).padding([1, 1]);
        VqVae {
            enc1: down(1, width),
            enc2: down(width, width),
            enc3: Conv2d::new(width, latent, [3, 3], device).padding([1, 1]),
            quantizer: VectorQuantizer::new(entries, latent, device),
            dec1: Conv2d::new(latent, width, [3, 3], device).padding([1, 1]),
            dec2: up(width, width),
            dec3: up(width, 1),
        }
    }

    /// Takes entries from what images become, evenly among them, so that each stands for something from the start.
    ///
    /// # Errors
    /// [`Error::Argument`] for fewer vectors than entries; what evaluation gives.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn begin_with(&mut self, images: &Tensor) -> Result<()> {
        let rows = self.encode(images);
        let (found, entries) = (examples(&rows), examples(&self.quantizer.codebook));
        if found < entries {
            let message = format!("{found} vectors of images are fewer than {entries} entries");
            return Err(Error::argument("begin_with", message));
        }
        let places: Vec<i32> = (0..entries).map(|k| (k * found / entries) as i32).collect();
        let places = Tensor::from_slice(&places, [entries], &rows.device()?);
        let table = rows.index_select(0, &places);
        eval(&table)?;
        self.quantizer.codebook = table;
        Ok(())
    }

    /// Vectors of all patches, `[n · h / 4 · w / 4, latent]`.
    #[track_caller]
    fn encode(&self, images: &Tensor) -> Tensor {
        let x = self.enc2.forward(&self.enc1.forward(images).relu()).relu();
        self.enc3.forward(&x).permute([0, 2, 3, 1]).flatten(0, 2)
    }

    /// Images of vectors `[n · h · w, latent]`, one for every patch, whose places are `[n, h, w]`.
    #[track_caller]
    fn decode(&self, rows: &Tensor, [n, h, w]: [usize; 3]) -> Tensor {
        let latent = rows.shape().last().copied().unwrap_or(0);
        let x = self.dec1.forward(&rows.reshape([n, h, w, latent]).permute([0, 3, 1, 2])).relu();
        self.dec3.forward(&self.dec2.forward(&x).relu())
    }

    /// Numbers of entries of all patches, row by row: `I32`.
    #[track_caller]
    pub fn codes(&self, images: &Tensor) -> Tensor {
        let [n, h, w] = patches(images);
        self.quantizer.codes(&self.encode(images)).reshape([n, h * w])
    }

    /// Images of the codes `[n, h · w]` of patches in so many rows and columns.
    #[track_caller]
    pub fn decode_codes(&self, codes: &Tensor, [h, w]: [usize; 2]) -> Tensor {
        self.decode(&self.quantizer.lookup(&codes.flatten(0, -1)), [examples(codes), h, w])
    }

    /// Images as they come out, and what every vector between costs.
    #[track_caller]
    fn both(&self, images: &Tensor) -> (Tensor, Tensor) {
        let rows = self.encode(images);
        (self.decode(&self.quantizer.forward(&rows), patches(images)), self.quantizer.losses(&rows))
    }

    /// Images as they come out of their codes, in their shape.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        self.both(images).0
    }

    /// What every image costs, `[n]`: ten times the mean square of what is lost, and what its vectors cost.
    #[track_caller]
    pub fn losses(&self, images: &Tensor) -> Tensor {
        let (out, costs) = self.both(images);
        let lost = (out - images).square().flatten(1, -1).mean([-1]);
        let [n, h, w] = patches(images);
        lost * PRECISION + costs.reshape([n, h * w]).mean([-1])
    }
}

/// Images, and rows and columns of their patches.
fn patches(images: &Tensor) -> [usize; 3] {
    let side = |axis: usize| images.shape().get(axis).copied().unwrap_or(0) / PATCH;
    [examples(images), side(2), side(3)]
}
