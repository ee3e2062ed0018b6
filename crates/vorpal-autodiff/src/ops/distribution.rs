//! Random families beyond `rand` and `randn`, made of them: their keys come from the device, see [`Device::seed`].
//!
//! What only scales and compares is the same in every bit on every device. Families that take logarithms, roots or
//! powers differ in the last digits where devices compute these differently.

use vorpal_kernels::{LaneMut, ResultType, ScalarFn, map2};
use vorpal_tensor::{At, DType, Device, Error, Result, Shape};

use super::pointwise::{ADD, Accepts, DIV, MAXIMUM, MINIMUM, MUL, SUB};
use super::{dtype_error, shape_error};
use crate::{PointwiseFn, Tensor};

/// Proposals of the gamma sampler. One is refused with a probability below 0.05: all of them once in 6 · 10⁷ draws.
const PROPOSALS: usize = 6;

/// Half the smallest step of uniform numbers: stands for 0 in logarithms.
const TINY: f64 = 1.0 / (1u64 << 25) as f64;

/// The part a, in 0..=1, of b, which is not negative. Rounded before anything is added: compilers of shaders make one
/// step of a product and a sum, but do not look through whole numbers, of which the limit here never holds.
static PART: PointwiseFn = PointwiseFn {
    f: ScalarFn {
        name: "part",
        arity: 2,
        result: ResultType::Last,
        wgsl: "bitcast<f32>(min(bitcast<u32>(a * b), bitcast<u32>(b)))",
        support: "",
        cpu: |x, out| match out {
            LaneMut::F64(_) => map2(x, out, |a: f64, b: f64| a * b),
            _ => map2(x, out, |a: f32, b: f32| a * b),
        },
        flops: 1,
    },
    accepts: Accepts::Float,
    vjp: |v| vec![Some(v.grad * &v.inputs[1]), Some(v.grad * &v.inputs[0])],
    reference: |x| x[0] * x[1],
    domain: &[(0.0, 1.0), (0.1, 2.0)],
};

/// Fails unless parameters make sense.
fn demand(op: &'static str, holds: bool, message: impl Into<String>, at: At) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Argument { op, message: message.into(), at }) }
}

/// Fails unless a dtype is a float.
fn floats(op: &'static str, dtype: DType, shape: &Shape, at: At) -> Result<()> {
    let message = format!("needs floats, asked for {dtype}");
    if dtype.is_float() {
        Ok(())
    } else {
        Err(Error::DType { op, message, operands: shape.describe(dtype), at })
    }
}

/// Uniform numbers in 0..=1 without 0.
#[track_caller]
fn positive(shape: &Shape, dtype: DType, device: &Device) -> Tensor {
    Tensor::rand(shape.clone(), dtype, device).with_constant(&MUL, -1.0).with_constant(&ADD, 1.0)
}

/// Exponential numbers of mean 1, never 0.
#[track_caller]
fn waiting(shape: &Shape, dtype: DType, device: &Device) -> Tensor {
    (-positive(shape, dtype, device).log()).with_constant(&MAXIMUM, TINY)
}

impl Tensor {
    /// Uniform numbers in `low..high`.
    ///
    /// Carries [`Error::Argument`] unless `low` ≤ `high`, [`Error::DType`] unless `dtype` is a float.
    #[track_caller]
    pub fn uniform(shape: impl Into<Shape>, low: f64, high: f64, dtype: DType, device: &Device) -> Tensor {
        let (at, shape) = (At::caller(), shape.into());
        let fits = demand("uniform", low <= high, format!("{low} is not below {high}"), at);
        if let Err(error) = fits.and_then(|()| floats("uniform", dtype, &shape, at)) {
            return Tensor::error(error);
        }
        let unit = Tensor::rand(shape, dtype.compute(), device);
        unit.with_constant(&PART, high - low).with_constant(&ADD, low).cast(dtype)
    }

    /// Whole numbers in `low..high`, as `torch.randint`; the range holds at most 2²⁴ of them.
    ///
    /// Carries [`Error::Argument`] when there are none or too many, [`Error::DType`] for truth values.
    #[track_caller]
    pub fn randint(shape: impl Into<Shape>, low: i32, high: i32, dtype: DType, device: &Device) -> Tensor {
        let (at, shape) = (At::caller(), shape.into());
        let count = i64::from(high) - i64::from(low);
        let message = format!("{low}..{high} does not hold 1 to 2²⁴ numbers");
        if let Err(error) = demand("randint", (1..=1 << 24).contains(&count), message, at) {
            return Tensor::error(error);
        }
        if dtype == DType::Bool {
            let (message, operands) = ("needs numbers, asked for bool".into(), shape.describe(dtype));
            return Tensor::error(Error::DType { op: "randint", message, operands, at });
        }
        let place =
            Tensor::rand(shape, DType::F32, device).with_constant(&MUL, count as f64).cast(DType::I32);
        // The product may round up to the end of the range.
        let place = place.with_constant(&MINIMUM, count as f64 - 1.0);
        place.with_constant(&ADD, f64::from(low)).cast(dtype)
    }

    /// Normal numbers of some mean and standard deviation.
    ///
    /// Carries [`Error::Argument`] when `std` is negative, [`Error::DType`] unless `dtype` is a float.
    #[track_caller]
    pub fn normal(shape: impl Into<Shape>, mean: f64, std: f64, dtype: DType, device: &Device) -> Tensor {
        let (at, shape) = (At::caller(), shape.into());
        let fits = demand("normal", std >= 0.0, format!("a standard deviation of {std}"), at);
        if let Err(error) = fits.and_then(|()| floats("normal", dtype, &shape, at)) {
            return Tensor::error(error);
        }
        let unit = Tensor::randn(shape, dtype.compute(), device);
        unit.with_constant(&MUL, std).with_constant(&ADD, mean).cast(dtype)
    }

    /// Normal numbers of mean 0 and variance 1, given that they lie in `low..=high`. Bounds are meant within ±5: what
    /// lies beyond has no digits in f32.
    ///
    /// By the inverse of the distribution function, as `torch.nn.init.trunc_normal_`.
    ///
    /// Carries [`Error::Argument`] unless `low` < `high`, [`Error::DType`] unless `dtype` is a float.
    #[track_caller]
    pub fn truncated_normal(
        shape: impl Into<Shape>,
        low: f64,
        high: f64,
        dtype: DType,
        device: &Device,
    ) -> Tensor {
        let (at, shape) = (At::caller(), shape.into());
        let fits = demand("truncated_normal", low < high, format!("{low} is not below {high}"), at);
        if let Err(error) = fits.and_then(|()| floats("truncated_normal", dtype, &shape, at)) {
            return Tensor::error(error);
        }
        let root = std::f64::consts::SQRT_2;
        let (from, to) = (libm::erf(low / root), libm::erf(high / root));
        let unit = Tensor::rand(shape, dtype.compute(), device);
        let spread = unit.with_constant(&MUL, to - from).with_constant(&ADD, from);
        let normal = spread.erfinv().with_constant(&MUL, root);
        normal.with_constant(&MAXIMUM, low).with_constant(&MINIMUM, high).cast(dtype)
    }

    /// Exponential numbers of rate 1 ∕ mean.
    ///
    /// Carries [`Error::Argument`] unless `rate` is positive, [`Error::DType`] unless `dtype` is a float.
    #[track_caller]
    pub fn exponential(shape: impl Into<Shape>, rate: f64, dtype: DType, device: &Device) -> Tensor {
        let (at, shape) = (At::caller(), shape.into());
        let fits = demand("exponential", rate > 0.0, format!("a rate of {rate}"), at);
        if let Err(error) = fits.and_then(|()| floats("exponential", dtype, &shape, at)) {
            return Tensor::error(error);
        }
        waiting(&shape, dtype.compute(), device).with_constant(&DIV, rate).cast(dtype)
    }

    /// Standard Gumbel numbers, −log(−log u): what turns logits into samples.
    ///
    /// Carries [`Error::DType`] unless `dtype` is a float.
    #[track_caller]
    pub fn gumbel(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Tensor {
        let (at, shape) = (At::caller(), shape.into());
        if let Err(error) = floats("gumbel", dtype, &shape, at) {
            return Tensor::error(error);
        }
        (-waiting(&shape, dtype.compute(), device).log()).cast(dtype)
    }

    /// 1 with the probability that each element of `self` states, else 0, in the dtype of `self`, as
    /// `torch.bernoulli`. The same bits on every device. No derivative.
    ///
    /// Carries [`Error::DType`] unless probabilities are floats.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let p = Tensor::from_slice(&[0.0f32, 1.0], [2], &Device::cpu());
    /// assert_eq!(p.bernoulli().to_vec::<f32>()?, [0.0, 1.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn bernoulli(&self) -> Tensor {
        let (at, dtype) = (At::caller(), self.dtype());
        let Ok(device) = self.device() else { return self.clone() };
        if let Err(error) = floats("bernoulli", dtype, &self.shape(), at) {
            return Tensor::error(error);
        }
        let compute = dtype.compute();
        Tensor::rand(self.shape(), compute, &device).lt(self.cast(compute)).cast(dtype)
    }

    /// `count` class numbers (`I32`) `[…, count]` drawn for every row of logits `[…, classes]`, with replacement: the
    /// largest of logits plus Gumbel noise (Gumbel 1954).
    ///
    /// Carries [`Error::Shape`] without classes, [`Error::DType`] unless logits are floats.
    #[track_caller]
    pub fn categorical(&self, count: usize) -> Tensor {
        let (at, shape) = (At::caller(), self.shape());
        let Ok(device) = self.device() else { return self.clone() };
        if !self.dtype().is_float() {
            let message = format!("logits must be floats, found {}", self.dtype());
            return Tensor::error(dtype_error("categorical", message, &[self], at));
        }
        let Some((&classes, rows)) = shape.split_last().filter(|(classes, _)| **classes > 0) else {
            let message = "needs logits […, classes] of at least one class";
            return Tensor::error(shape_error("categorical", message, &[self], at));
        };
        let drawn: Shape = rows.iter().copied().chain([count, classes]).collect();
        let compute = self.dtype().compute();
        let noise = Tensor::gumbel(drawn, compute, &device);
        (self.cast(compute).unsqueeze(-2) + noise).argmax(-1)
    }

    /// Gamma numbers of shape `self` and scale 1 (Marsaglia, Tsang 2000). No derivative.
    ///
    /// Carries [`Error::DType`] unless shapes are floats; shapes that are not positive give NaN.
    #[track_caller]
    pub fn gamma(&self) -> Tensor {
        match gamma_parts(self, "gamma", At::caller()) {
            Ok((gamma, log_boost)) => (gamma * log_boost.exp()).cast(self.dtype()),
            Err(error) => Tensor::error(error),
        }
    }

    /// Beta numbers of shapes `self` and `other`, which broadcast; those below the smallest float are 0. No derivative.
    ///
    /// Carries [`Error::DType`] unless shapes are floats; shapes that are not positive give NaN.
    #[track_caller]
    pub fn beta(&self, other: &Tensor) -> Tensor {
        let Some(both) = self.shape().broadcast(&other.shape()) else {
            let message = format!("shapes {} and {} do not broadcast", self.shape(), other.shape());
            return Tensor::error(shape_error("beta", message, &[self, other], At::caller()));
        };
        let (a, b) = (self.broadcast_to(both.clone()), other.broadcast_to(both));
        Tensor::stack(&[&a, &b], -1).dirichlet().narrow(-1, 0, 1).squeeze(-1)
    }

    /// Points of the simplex: rows of the last axis are positive and add up to 1, with the shapes (concentrations) of
    /// `self`. No derivative.
    ///
    /// Carries [`Error::Shape`] without an axis, [`Error::DType`] unless shapes are floats.
    #[track_caller]
    pub fn dirichlet(&self) -> Tensor {
        let at = At::caller();
        if self.check().is_ok() && self.rank() == 0 {
            return Tensor::error(shape_error("dirichlet", "needs an axis of concentrations", &[self], at));
        }
        match gamma_parts(self, "dirichlet", at) {
            // In logarithms, so that small shapes, whose gamma numbers vanish, still share 1.
            Ok((gamma, log_boost)) => (gamma.log() + log_boost).softmax(-1).cast(self.dtype()),
            Err(error) => Tensor::error(error),
        }
    }
}

/// Gamma numbers as a factor and the logarithm of another: shapes below 1 are drawn as those above, times u^(1 ∕ shape).
#[track_caller]
fn gamma_parts(alpha: &Tensor, op: &'static str, at: At) -> Result<(Tensor, Tensor)> {
    let (device, shape) = (alpha.device()?, alpha.shape());
    floats(op, alpha.dtype(), &shape, at)?;
    let dtype = alpha.dtype().compute();
    let alpha = alpha.cast(dtype).stop_gradient();
    let small = alpha.lt(alpha.full_like(1.0));
    let d = small.select(alpha.with_constant(&ADD, 1.0), &alpha).with_constant(&SUB, 1.0 / 3.0);
    let c = d.with_constant(&MUL, 9.0).rsqrt();
    let one = alpha.full_like(1.0);
    // The first proposal that is accepted counts; should all be refused, the mode of the proposals.
    let mut cube = one.clone();
    for _ in 0..PROPOSALS {
        let x = Tensor::randn(shape.clone(), dtype, &device);
        let root = (&c * &x).with_constant(&ADD, 1.0);
        let inside = root.gt(root.full_like(0.0));
        let v = inside.select(&root * &root * &root, &one);
        let bound = x.square().with_constant(&MUL, 0.5) + &d * (&one - &v + v.log());
        let accepted = inside.logical_and(positive(&shape, dtype, &device).log().lt(bound));
        cube = accepted.select(v, cube);
    }
    let log_u = positive(&shape, dtype, &device).log();
    let log_boost = small.select(log_u / &alpha, alpha.full_like(0.0));
    // Shapes that are not positive have no distribution.
    let valid = alpha.gt(alpha.full_like(0.0));
    let gamma = valid.select(d * cube, alpha.full_like(f64::NAN));
    Ok((gamma, log_boost))
}
