//! RandAugment.

use std::f64::consts::PI;

use vorpal_autodiff::{DType, Tensor};

use super::colour::{brightness, contrast, saturation};
use super::space::{affine, warp};
use super::{Augment, Images, with_images};

/// Some changes in a row, each drawn for every image from a list, all of one strength (Cubuk et al. 2020).
///
/// The list: nothing, slants and shifts along both axes, a turn, brightness, saturation, contrast, fewer levels
/// (posterize), inverted highlights (solarize), with the ranges of `torchvision.transforms.RandAugment`. Left out are
/// sharpness, stretched contrast and equalised histograms. Images change place and colour once each in a row: what was
/// not drawn for one changes it by nothing, so that all images go through one program.
#[derive(Clone, Copy, Debug)]
pub struct RandAugment {
    count: usize,
    strength: f64,
}

/// What may be drawn: none, slant x, slant y, shift x, shift y, turn, brightness, saturation, contrast, levels, highlights.
const CHOICES: i32 = 11;

impl RandAugment {
    /// `count` changes of `magnitude` 0 to 30; 2 and 9 are usual.
    pub fn new(count: usize, magnitude: f64) -> RandAugment {
        RandAugment { count, strength: (magnitude / 30.0).clamp(0.0, 1.0) }
    }

    fn once(&self, im: &Images<'_>, x: &Tensor) -> Tensor {
        let s = self.strength;
        let drawn = Tensor::randint([im.n, 1, 1, 1], 0, CHOICES, DType::I32, &im.device);
        let sign = im.chance(0.5).select(im.uniform(1.0, 1.0), -1.0);
        // How far change k goes for every image: nowhere unless it was drawn.
        let amount = |k: i32, by: f64| drawn.eq(k).select(&sign * by, 0.0);
        let shear = [amount(1, 0.3 * s), amount(2, 0.3 * s)];
        let reach = 150.0 / 331.0 * s;
        let shift = [amount(3, reach * im.width as f64), amount(4, reach * im.height as f64)];
        let angle = amount(5, 30.0 * s * PI / 180.0);
        let matrices = affine(&angle, &angle.full_like(1.0), [&shear[0], &shear[1]], [&shift[0], &shift[1]]);
        let moved = warp(x, &matrices);
        // Where nothing moves, the image itself: not what interpolation leaves of it.
        let moves = drawn.ge(1).logical_and(drawn.le(5));
        let mut x = moves.select(moved, x);
        x = drawn.eq(6).select(brightness(&x, &(amount(6, 0.9 * s) + 1.0)), &x);
        x = drawn.eq(7).select(saturation(im, &x, &(amount(7, 0.9 * s) + 1.0)), &x);
        x = drawn.eq(8).select(contrast(im, &x, &(amount(8, 0.9 * s) + 1.0)), &x);
        let levels = 2f64.powf((8.0 - 4.0 * s).round());
        x = drawn.eq(9).select(((&x * levels).floor() / levels).clamp(0.0, 1.0), &x);
        let bound = 1.0 - s;
        drawn.eq(10).logical_and(x.gt(bound)).select(1.0 - &x, &x)
    }
}

impl Augment for RandAugment {
    fn apply(&self, images: &Tensor) -> Tensor {
        with_images("RandAugment", images, |im| {
            // Without strength nothing changes, not even by the rounding of levels.
            let count = if self.strength > 0.0 { self.count } else { 0 };
            (0..count).fold(images.clone(), |x, _| self.once(im, &x))
        })
    }
}
