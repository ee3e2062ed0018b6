//! Composites: functions made of other ops. The compiler makes one or two row kernels of each, forwards and
//! backwards.

use vorpal_tensor::{At, DType, Error};

use super::index::checked;
use super::pointwise::{ADD, MUL};
use super::{Axes, shape_error};
use crate::Tensor;

impl Tensor {
    /// eˣ ∕ Σ eˣ along an axis.
    #[track_caller]
    pub fn softmax(&self, axis: isize) -> Tensor {
        let wide = self.wide();
        let exp = (&wide - wide.max_keepdim(axis).stop_gradient()).exp();
        // One division for a row: a product for every element is cheaper.
        (&exp * exp.sum_keepdim(axis).reciprocal()).cast(self.dtype())
    }

    /// log(eˣ ∕ Σ eˣ) along an axis, without overflow.
    #[track_caller]
    pub fn log_softmax(&self, axis: isize) -> Tensor {
        let wide = self.wide();
        let shifted = &wide - wide.max_keepdim(axis).stop_gradient();
        (&shifted - shifted.exp().sum_keepdim(axis).log()).cast(self.dtype())
    }

    /// log Σ eˣ over axes, which disappear, without overflow.
    #[track_caller]
    pub fn logsumexp(&self, axes: impl Into<Axes>) -> Tensor {
        let (axes, wide) = (axes.into(), self.wide());
        let top = wide.max_keepdim(axes.clone()).stop_gradient();
        ((wide - &top).exp().sum(axes.clone()).log() + top.sum(axes)).cast(self.dtype())
    }

    /// Elements of the last axis shifted and scaled to mean 0 and variance 1 (Ba, Kiros, Hinton 2016).
    /// `eps` is added to the variance.
    #[track_caller]
    pub fn normalize(&self, eps: f64) -> Tensor {
        let wide = self.wide();
        let centred = &wide - wide.mean_keepdim(-1);
        let variance = (&centred * &centred).mean_keepdim(-1);
        (&centred * variance.with_constant(&ADD, eps).rsqrt()).cast(self.dtype())
    }

    /// [`normalize`](Tensor::normalize) times `weight` plus `bias`, both of the size of the last axis.
    #[track_caller]
    pub fn layer_norm(&self, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Tensor {
        let mut out = self.normalize(eps);
        if let Some(weight) = weight {
            out = out * weight;
        }
        match bias {
            Some(bias) => out + bias,
            None => out,
        }
    }

    /// Mean cross-entropy of logits `[…, classes]` against class numbers `[…]` (integers). A class number out of
    /// range is an error when the value is read.
    #[track_caller]
    pub fn cross_entropy(&self, classes: &Tensor) -> Tensor {
        self.cross_entropy_rows(classes).mean_all()
    }

    /// Cross-entropy of every row of logits `[…, classes]` against class numbers `[…]` (integers).
    #[track_caller]
    pub fn cross_entropy_rows(&self, classes: &Tensor) -> Tensor {
        minus_chosen("cross_entropy", self, classes, At::caller(), |x| x.log_softmax(-1))
    }

    /// Minus the element of every row of log-probabilities `[…, classes]` that a class number `[…]` (integers) names. A
    /// class number out of range is an error when the value is read.
    #[track_caller]
    pub fn nll_rows(&self, classes: &Tensor) -> Tensor {
        minus_chosen("nll_rows", self, classes, At::caller(), Tensor::clone)
    }

    /// Mean squared difference of all elements.
    #[track_caller]
    pub fn mse(&self, target: &Tensor) -> Tensor {
        (self - target).square().mean_all()
    }

    /// Zeroes elements with probability `p` and scales the others by 1 ∕ (1 − p) (Srivastava et al. 2014).
    #[track_caller]
    pub fn dropout(&self, p: f64) -> Tensor {
        let at = At::caller();
        let Ok(node) = self.ready() else { return self.clone() };
        if !(0.0..1.0).contains(&p) {
            let message = format!("probability {p} is not in 0..1");
            return Tensor::error(Error::Argument { op: "dropout", message, at });
        }
        if p == 0.0 {
            return self.clone();
        }
        let uniform = Tensor::rand(node.spec.shape.clone(), DType::F32, &node.device);
        let keep = uniform.ge(uniform.full_like(p));
        keep.select(self.with_constant(&MUL, 1.0 / (1.0 - p)), self.full_like(0.0))
    }
}

/// Minus the element of every row of `of(x)` that a class number names.
#[track_caller]
fn minus_chosen(
    op: &'static str,
    x: &Tensor,
    classes: &Tensor,
    at: At,
    of: impl FnOnce(&Tensor) -> Tensor,
) -> Tensor {
    let (Ok(node), Ok(_)) = (x.ready(), classes.ready()) else {
        return if x.check().is_err() { x.clone() } else { classes.clone() };
    };
    let classes = &classes.as_numbers();
    let (shape, operands) = (node.spec.shape.clone(), [x, classes]);
    if !matches!(classes.dtype(), DType::I32 | DType::U32) {
        let message = format!("class numbers must be integers, found {}", classes.dtype());
        return Tensor::error(super::dtype_error(op, message, &operands, at));
    }
    if shape.rank() == 0 || shape.dims()[..shape.rank() - 1] != *classes.shape().dims() {
        let message = "class numbers must have the shape of the logits without the last axis";
        return Tensor::error(shape_error(op, message, &operands, at));
    }
    // Picking from 0, 1, 2, … changes nothing, but finds numbers that are no class.
    let classes = checked(op, classes, shape[shape.rank() - 1], at);
    let numbers = Tensor::iota(shape.clone(), shape.rank() - 1, classes.dtype(), &node.device);
    let hit = numbers.eq(classes.unsqueeze(-1));
    // Of halves, too, all of a row is computed in f32 and its loss alone rounded, so that nothing as large as the logits is stored for
    // it in between.
    let of = of(&x.wide());
    -(hit.select(&of, of.full_like(0.0)).sum(-1)).cast(x.dtype())
}
