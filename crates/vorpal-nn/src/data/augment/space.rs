//! Changes of place: crops, flips, turns, holes.

use vorpal_autodiff::{DType, Tensor};

use super::{Augment, Images, with_images};

/// A window at a random place of every image, after a border of zeros: `torchvision.transforms.RandomCrop`.
#[derive(Clone, Copy, Debug)]
pub struct RandomCrop {
    size: [usize; 2],
    padding: usize,
}

impl RandomCrop {
    /// Windows `[height, width]`.
    pub fn new(size: [usize; 2], padding: usize) -> RandomCrop {
        RandomCrop { size, padding }
    }
}

impl Augment for RandomCrop {
    fn apply(&self, images: &Tensor) -> Tensor {
        with_images("RandomCrop", images, |im| {
            let ([h, w], p) = (self.size, self.padding);
            let (height, width) = (im.height + 2 * p, im.width + 2 * p);
            let (Some(rows), Some(columns)) = (height.checked_sub(h), width.checked_sub(w)) else {
                let message = format!("windows of {h} × {w} in images of {height} × {width}");
                return Tensor::error(vorpal_autodiff::Error::argument("RandomCrop", message));
            };
            let start = |free: usize| im.uniform(0.0, (free + 1) as f64).floor().clamp(0.0, free as f64);
            let y = start(rows) + Tensor::iota([1, 1, h, 1], 2, im.dtype, &im.device);
            let x = start(columns) + Tensor::iota([1, 1, 1, w], 3, im.dtype, &im.device);
            // Whole places go through the numbers of f32: 16 bits do not hold those of large images.
            let place = y.cast(DType::I32) * width as i32 + x.cast(DType::I32);
            let padded = images.pad(2, p, p, 0.0).pad(3, p, p, 0.0);
            pick(&padded, &place, [im.n, im.channels, h, w])
        })
    }
}

/// Elements of every image `[n, c, …]` at the places `[n, 1, h, w]` of its pixels in row-major order.
fn pick(x: &Tensor, place: &Tensor, shape: [usize; 4]) -> Tensor {
    let [n, c, h, w] = shape;
    let places = place.reshape([n, 1, h * w]).broadcast_to([n, c, h * w]);
    x.flatten(2, 3).gather(2, &places).reshape([n, c, h, w])
}

macro_rules! flips {
    ($($(#[$doc:meta])* $name:ident $axis:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(pub f64);

        impl Augment for $name {
            fn apply(&self, images: &Tensor) -> Tensor {
                with_images(stringify!($name), images, |im| im.chance(self.0).select(images.flip($axis), images))
            }
        }
    )*};
}
flips! {
    /// Left becomes right with a probability.
    RandomHorizontalFlip -1;
    /// Above becomes below with a probability.
    RandomVerticalFlip -2;
}

/// Turns, shifts, stretches and slants every image about its middle, bilinearly, zeros from outside:
/// `torchvision.transforms.RandomAffine`.
#[derive(Clone, Copy, Debug)]
pub struct RandomAffine {
    degrees: f64,
    translate: [f64; 2],
    scale: [f64; 2],
    shear: f64,
}

impl Default for RandomAffine {
    fn default() -> RandomAffine {
        RandomAffine { degrees: 0.0, translate: [0.0; 2], scale: [1.0; 2], shear: 0.0 }
    }
}

impl RandomAffine {
    /// No change.
    pub fn new() -> RandomAffine {
        RandomAffine::default()
    }

    /// Turns by up to so many degrees to either side.
    #[must_use]
    pub fn degrees(mut self, degrees: f64) -> RandomAffine {
        self.degrees = degrees;
        self
    }

    /// Shifts by up to these shares of width and height.
    #[must_use]
    pub fn translate(mut self, horizontal: f64, vertical: f64) -> RandomAffine {
        self.translate = [horizontal, vertical];
        self
    }

    /// Stretches by a factor in a range.
    #[must_use]
    pub fn scale(mut self, low: f64, high: f64) -> RandomAffine {
        self.scale = [low, high];
        self
    }

    /// Slants by up to so many degrees to either side, horizontally.
    #[must_use]
    pub fn shear(mut self, degrees: f64) -> RandomAffine {
        self.shear = degrees;
        self
    }
}

impl Augment for RandomAffine {
    fn apply(&self, images: &Tensor) -> Tensor {
        with_images("RandomAffine", images, |im| {
            let radians = std::f64::consts::PI / 180.0;
            let symmetric = |bound: f64| im.uniform(-bound, bound);
            let (angle, shear) = (symmetric(self.degrees * radians), symmetric(self.shear * radians));
            let scale = im.uniform(self.scale[0], self.scale[1]);
            let [dx, dy] = self.translate;
            let shift = [symmetric(dx * im.width as f64), symmetric(dy * im.height as f64)];
            warp(
                images,
                &affine(&angle, &scale, [&shear.tan(), &shear.full_like(0.0)], [&shift[0], &shift[1]]),
            )
        })
    }
}

/// The way back of: slant, stretch, turn counterclockwise, shift; `[n, 2, 3]` of parts `[n, 1, 1, 1]`.
pub(super) fn affine(angle: &Tensor, scale: &Tensor, shear: [&Tensor; 2], shift: [&Tensor; 2]) -> Tensor {
    let (sin, cos) = (angle.sin(), angle.cos());
    // Back through the turn (the vertical axis points down) and the stretch.
    let turned = [[&cos / scale, -(&sin / scale)], [&sin / scale, &cos / scale]];
    // Back through the slant x += shear₀·y, then y += shear₁·x.
    let rows: [[Tensor; 2]; 2] = {
        let [first, second] = &turned;
        let y = |k: usize| &second[k] - shear[1] * &first[k];
        let (y0, y1) = (y(0), y(1));
        [[&first[0] - shear[0] * &y0, &first[1] - shear[0] * &y1], [y0, y1]]
    };
    let row = |[a, b]: &[Tensor; 2]| {
        let back = -(a * shift[0] + b * shift[1]);
        Tensor::concat(&[a, b, &back], 3)
    };
    Tensor::concat(&[&row(&rows[0]), &row(&rows[1])], 2).squeeze(1)
}

/// Every image seen through a map of the plane, bilinearly, zeros from outside.
///
/// `matrices` `[n, 2, 3]` lead from a pixel of the result, `(x, y, 1)` counted from the middle of the image, to the place
/// in `images` that it shows.
///
/// Carries [`Error::Argument`](vorpal_autodiff::Error::Argument) for other than images `[n, channels, height, width]`, and
/// what the shape of the matrices gives.
#[track_caller]
pub fn warp(images: &Tensor, matrices: &Tensor) -> Tensor {
    with_images("warp", images, |im| {
        let (h, w) = (im.height as f64, im.width as f64);
        let (rows, columns) = im.places();
        let (y, x) = (rows - (h - 1.0) / 2.0, columns - (w - 1.0) / 2.0);
        let entry = |r: usize, c: usize| matrices.narrow(1, r, 1).narrow(2, c, 1).reshape([im.n, 1, 1, 1]);
        let source = |r: usize, middle: f64| entry(r, 0) * &x + entry(r, 1) * &y + entry(r, 2) + middle;
        bilinear(im, &source(1, (h - 1.0) / 2.0), &source(0, (w - 1.0) / 2.0))
    })
}

/// Values at places between pixels, `[n, 1, h, w]`.
fn bilinear(im: &Images<'_>, y: &Tensor, x: &Tensor) -> Tensor {
    let (h, w) = (im.height as f64, im.width as f64);
    let (top, left) = (y.floor(), x.floor());
    let (down, right) = (y - &top, x - &left);
    let corner = |row: Tensor, column: Tensor, weight: Tensor| {
        let inside = row
            .ge(0.0)
            .logical_and(row.le(h - 1.0))
            .logical_and(column.ge(0.0))
            .logical_and(column.le(w - 1.0));
        let place = row.clamp(0.0, h - 1.0).cast(DType::I32) * im.width as i32
            + column.clamp(0.0, w - 1.0).cast(DType::I32);
        let values = pick(im.x, &place, [im.n, im.channels, im.height, im.width]);
        values * inside.select(weight, 0.0)
    };
    let (up, on_left) = (1.0 - &down, 1.0 - &right);
    corner(top.clone(), left.clone(), &up * &on_left)
        + corner(top.clone(), &left + 1.0, &up * &right)
        + corner(&top + 1.0, left.clone(), &down * &on_left)
        + corner(&top + 1.0, &left + 1.0, &down * &right)
}

/// A hole of zeros in an image with a probability (Zhong et al. 2020): `torchvision.transforms.RandomErasing`. A hole that
/// is longer than the image is cut off.
#[derive(Clone, Copy, Debug)]
pub struct RandomErasing {
    p: f64,
    scale: [f64; 2],
    ratio: [f64; 2],
}

impl RandomErasing {
    /// Holes of 2 to 33 % of the area, sides 0.3 to 3.3 to one another.
    pub fn new(p: f64) -> RandomErasing {
        RandomErasing { p, scale: [0.02, 0.33], ratio: [0.3, 3.3] }
    }

    /// Holes of other shares of the area.
    #[must_use]
    pub fn scale(mut self, low: f64, high: f64) -> RandomErasing {
        self.scale = [low, high];
        self
    }
}

impl Augment for RandomErasing {
    fn apply(&self, images: &Tensor) -> Tensor {
        with_images("RandomErasing", images, |im| {
            let area = im.uniform(self.scale[0], self.scale[1]) * (im.height * im.width) as f64;
            let ratio = im.uniform(self.ratio[0].ln(), self.ratio[1].ln()).exp();
            let hole = inside(im, &(&area * &ratio).sqrt(), &(&area / &ratio).sqrt());
            hole.logical_and(im.chance(self.p)).select(0.0, images)
        })
    }
}

/// Where a rectangle `[n, 1, 1, 1]` high and wide at a random place is: `[n, 1, height, width]`.
pub(super) fn inside(im: &Images<'_>, height: &Tensor, width: &Tensor) -> Tensor {
    let (rows, columns) = im.places();
    let within = |place: &Tensor, size: &Tensor, whole: usize| {
        let size = size.round().clamp(0.0, whole as f64);
        // Any whole place at which it fits.
        let first =
            (im.uniform(0.0, 1.0) * (whole as f64 + 1.0 - &size)).floor().minimum(whole as f64 - &size);
        place.ge(&first).logical_and(place.lt(&first + &size))
    };
    within(&rows, height, im.height).logical_and(within(&columns, width, im.width))
}
