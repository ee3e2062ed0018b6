//! Convolution of images.

use std::sync::Arc;

use vorpal_kernels::{CONV_TERMS_MAX, Conv as Kernel, ConvPass, ConvShape, ReduceKind};
use vorpal_tensor::{At, Error, Result, Shape};

use super::pointwise::ADD;
use super::reduce::reduce;
use super::shape_error;
use crate::compile::ir::{Builder, NodeId, Target};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Options of [`Tensor::conv2d`]. Pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dOptions {
    /// Steps of the window, 1 by default.
    pub stride: [usize; 2],
    /// Zeros on each side, none by default.
    pub padding: [usize; 2],
    /// Distance of the elements of the window, 1 by default.
    pub dilation: [usize; 2],
    /// Groups of channels that see each other, 1 by default.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Conv2dOptions {
        Conv2dOptions { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

/// How a window moves over an axis, and how many places it has there.
pub(super) fn places(
    size: usize,
    window: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
) -> Result<usize, String> {
    if size == 0 || window == 0 || stride == 0 || dilation == 0 {
        return Err(format!(
            "pixels ({size}), window ({window}), stride ({stride}) and dilation ({dilation}) must be at least 1"
        ));
    }
    let reach = dilation.saturating_mul(window - 1).saturating_add(1);
    let padded = padding.saturating_mul(2).saturating_add(size);
    // Kernels count places in 32 bits and tell what lies in front of an image by the highest.
    if reach.max(padded).max(stride) >= 1 << 30 {
        return Err(format!("{padded} pixels with padding are too many for a window that reaches {reach}"));
    }
    match padded.checked_sub(reach) {
        Some(room) => Ok(room / stride + 1),
        None => Err(format!("the window reaches over {reach} pixels, the padded image has {padded}")),
    }
}

/// Which of the three products of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Operands: images, filters.
    Forward,
    /// Operands: cotangent of the result, filters.
    BackwardData,
    /// Operands: images, cotangent of the result.
    BackwardWeight,
}

/// The three products are one another's derivatives: each is linear in both of its operands, and together they are
/// the one trilinear form Σ images · filters · results.
#[derive(Clone, Copy, Debug)]
struct Conv {
    shape: ConvShape,
    pass: Pass,
}

impl Conv {
    fn images(&self) -> Shape {
        let s = &self.shape;
        Shape::from([s.batch, s.groups * s.channels, s.input[0], s.input[1]])
    }
    fn filters(&self) -> Shape {
        let s = &self.shape;
        Shape::from([s.groups * s.filters, s.channels, s.window[0], s.window[1]])
    }
    fn results(&self) -> Shape {
        let s = &self.shape;
        Shape::from([s.batch, s.groups * s.filters, s.output[0], s.output[1]])
    }

    fn of(&self, pass: Pass, a: &Tensor, b: &Tensor) -> Tensor {
        Tensor::apply(Conv { pass, ..*self }, &[a, b], At::caller())
    }

    /// Images that all examples share: the filters of the examples are more filters of each group.
    fn more_filters(&self, v: &Vmap<'_>) -> Tensor {
        let ConvShape { batch, groups, channels, filters, .. } = self.shape;
        let all = Conv { shape: ConvShape { filters: filters * v.size, ..self.shape }, pass: self.pass };
        let apply = |b: &Tensor| Tensor::apply(all, &[&v.inputs[0], b], v.at);
        let (many, other) = (groups * v.size * filters, v.example(1));
        match self.pass {
            Pass::BackwardWeight => {
                let results =
                    regroup(&other, &[v.size, batch, groups, filters], &[1, 2, 0, 3], &[batch, many]);
                let split = [groups, v.size, filters, channels];
                regroup(&apply(&results), &split, &[1, 0, 2, 3], &[v.size, groups * filters, channels])
            }
            _ => {
                let split = [v.size, groups, filters, channels];
                let filters_of_all = regroup(&other, &split, &[1, 0, 2, 3], &[many, channels]);
                let split = [batch, groups, v.size, filters];
                let merged = [v.size, batch, groups * filters];
                regroup(&apply(&filters_of_all), &split, &[2, 0, 1, 3], &merged)
            }
        }
    }

    /// Examples as groups of channels that see each other.
    fn more_groups(&self, v: &Vmap<'_>) -> Tensor {
        let ConvShape { batch, groups, channels, filters, .. } = self.shape;
        let all = Conv { shape: ConvShape { groups: groups * v.size, ..self.shape }, pass: self.pass };
        let (of_image, of_result) = (groups * channels, groups * filters);
        let side_by_side = |k: usize, planes: usize| {
            regroup(&v.example(k), &[v.size, batch, planes], &[1, 0, 2], &[batch, v.size * planes])
        };
        let (a, b) = match self.pass {
            Pass::Forward => (side_by_side(0, of_image), v.folded(1)),
            Pass::BackwardData => (side_by_side(0, of_result), v.folded(1)),
            Pass::BackwardWeight => (side_by_side(0, of_image), side_by_side(1, of_result)),
        };
        let out = Tensor::apply(all, &[&a, &b], v.at);
        let apart =
            |planes: usize| regroup(&out, &[batch, v.size, planes], &[1, 0, 2], &[v.size, batch, planes]);
        match self.pass {
            Pass::Forward => apart(of_result),
            Pass::BackwardData => apart(of_image),
            Pass::BackwardWeight => v.unfolded(&out, of_result),
        }
    }

    /// The product of dense operands in the compute dtype.
    fn launch(&self, cx: &mut Builder, [a, b]: [NodeId; 2]) -> Result<NodeId> {
        let dtype = cx.dtype(a);
        let ((a, at_a), (b, at_b)) = (cx.dense(a), cx.dense(b));
        let kernel = |pass| Kernel::new(self.shape, pass, dtype, [at_a, at_b]);
        let (pass, out) = match self.pass {
            Pass::Forward => (ConvPass::Forward, self.results()),
            Pass::BackwardData => (ConvPass::BackwardData, self.images()),
            Pass::BackwardWeight => {
                let busy = match cx.target() {
                    Target::Native => None,
                    Target::Software => Some(1 << 10),
                    Target::Card => Some(1 << 15),
                };
                // Natively a share is a run of images.
                let native = self.shape.batch.clamp(1, 8);
                let splits = busy.map_or(native, |n| Kernel::splits(&self.shape, n));
                let shape = self.filters();
                let shares: Shape = [splits].into_iter().chain(shape.iter().copied()).collect();
                let pass = ConvPass::BackwardWeight { splits };
                let shares = cx.kernel(Arc::new(kernel(pass)), &[a, b], shares, dtype);
                let sum = reduce(cx, ReduceKind::Sum, shares, &[true, false, false, false, false])?;
                return cx.view(sum, |l| l.reshape(&shape));
            }
        };
        let terms = Kernel::terms(&self.shape, pass);
        if cx.target() == Target::Native || terms <= CONV_TERMS_MAX {
            return Ok(cx.kernel(Arc::new(kernel(pass)), &[a, b], out, dtype));
        }
        let mut sum = None;
        for first in (0..terms).step_by(CONV_TERMS_MAX) {
            let part = kernel(pass).with_terms(first, CONV_TERMS_MAX.min(terms - first));
            let part = cx.kernel(Arc::new(part), &[a, b], out.clone(), dtype);
            sum = Some(sum.map_or(part, |sum| cx.call(&ADD.f, &[sum, part])));
        }
        sum.ok_or_else(|| Error::internal("conv2d", "a sum without parts"))
    }
}

/// The axes in front of the pixels split, put into another order and merged.
fn regroup(x: &Tensor, split: &[usize], order: &[isize], merged: &[usize]) -> Tensor {
    let shape = x.shape();
    let pixels = &shape[shape.rank() - 2..];
    let with_pixels = |front: &[usize]| -> Shape { front.iter().chain(pixels).copied().collect() };
    let rank = order.len() as isize;
    let order: Vec<isize> = order.iter().copied().chain(rank..rank + pixels.len() as isize).collect();
    x.reshape(with_pixels(split)).permute(&order[..]).reshape(with_pixels(merged))
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        match self.pass {
            Pass::Forward => "conv2d",
            Pass::BackwardData => "conv2d_backward_data",
            Pass::BackwardWeight => "conv2d_backward_weight",
        }
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        if !inputs[0].dtype.is_float() {
            return Misfit::dtype(format!("needs floats, found {}", inputs[0].dtype));
        }
        super::same_dtype(inputs)?;
        let (a, b, out) = match self.pass {
            Pass::Forward => (self.images(), self.filters(), self.results()),
            Pass::BackwardData => (self.results(), self.filters(), self.images()),
            Pass::BackwardWeight => (self.images(), self.results(), self.filters()),
        };
        if (&inputs[0].shape, &inputs[1].shape) != (&a, &b) {
            return Misfit::shape(format!("operands must be {a} and {b}"));
        }
        Ok(Spec::new(out, inputs[0].dtype))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        use Pass::{BackwardData, BackwardWeight, Forward};
        let (a, b, grad) = (&v.inputs[0], &v.inputs[1], v.grad);
        let (to_a, to_b) = match self.pass {
            Forward => (self.of(BackwardData, grad, b), self.of(BackwardWeight, a, grad)),
            BackwardData => (self.of(Forward, grad, b), self.of(BackwardWeight, grad, a)),
            BackwardWeight => (self.of(BackwardData, b, grad), self.of(Forward, a, grad)),
        };
        vec![Some(to_a), Some(to_b)]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        let s = &self.shape;
        let (a, b) = (v.batched[0], v.batched[1]);
        match self.pass {
            Pass::Forward | Pass::BackwardData if !b => {
                // Examples are images like any others.
                let all = Conv { shape: ConvShape { batch: s.batch * v.size, ..*s }, pass: self.pass };
                v.unfolded(&Tensor::apply(all, &[&v.folded(0), &v.inputs[1]], v.at), s.batch)
            }
            Pass::Forward | Pass::BackwardWeight if !a => self.more_filters(v),
            _ => self.more_groups(v),
        }
    }

    fn attributes(&self, key: &mut Key) {
        let s = &self.shape;
        key.push_list(&[s.groups, s.channels, s.filters, s.batch]);
        for pair in [s.input, s.window, s.output, s.stride, s.padding, s.dilation] {
            key.push_list(&pair);
        }
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let dtype = cx.dtype(x[0]);
        let wide = [cx.cast(x[0], dtype.compute()), cx.cast(x[1], dtype.compute())];
        let product = self.launch(cx, wide)?;
        Ok(cx.cast(product, dtype))
    }
}

/// Sizes of a convolution, or what is wrong with it.
fn sizes(x: &Shape, w: &Shape, options: &Conv2dOptions) -> Result<ConvShape, String> {
    let Conv2dOptions { stride, padding, dilation, groups } = *options;
    let ([batch, of_x, height, width], [of_w, channels, kh, kw]) = (x.dims(), w.dims()) else {
        return Err(
            "needs images [batch, channels, height, width] and filters [filters, channels, height, width]"
                .to_string(),
        );
    };
    if groups == 0 || of_w % groups != 0 || *of_x != channels * groups {
        return Err(format!(
            "{groups} groups of {channels} channels need {} channels and a multiple of {groups} filters, found \
             {of_x} and {of_w}",
            channels * groups
        ));
    }
    let output = |k: usize, size: usize, window: usize| {
        places(size, window, stride[k], padding[k], dilation[k]).map_err(|e| format!("axis {}: {e}", k + 2))
    };
    Ok(ConvShape {
        batch: *batch,
        groups,
        channels: *channels,
        filters: of_w / groups,
        input: [*height, *width],
        window: [*kh, *kw],
        output: [output(0, *height, *kh)?, output(1, *width, *kw)?],
        stride,
        padding,
        dilation,
    })
}

impl Tensor {
    /// Cross-correlation of images `[batch, channels, h, w]` with filters
    /// `[filters, channels ∕ groups, kh, kw]`, plus a bias `[filters]`: `torch.nn.functional.conv2d`. An output axis has
    /// `(size + 2 padding − dilation (window − 1) − 1) ∕ stride + 1` pixels, rounded down. Sums are made in f32 or
    /// wider.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor, DType};
    /// use vorpal_autodiff::ops::Conv2dOptions;
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [1, 1, 2, 2], &Device::cpu());
    /// let sum = Tensor::ones([1, 1, 2, 2], DType::F32, &Device::cpu());
    /// assert_eq!(x.conv2d(&sum, None, Conv2dOptions::default()).to_vec::<f32>()?, [10.0]);
    /// let padded = Conv2dOptions { padding: [1, 0], ..Conv2dOptions::default() };
    /// assert_eq!(x.conv2d(&sum, None, padded).to_vec::<f32>()?, [3.0, 10.0, 7.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn conv2d(&self, filters: &Tensor, bias: Option<&Tensor>, options: Conv2dOptions) -> Tensor {
        let at = At::caller();
        let (Ok(x), Ok(w)) = (self.ready(), filters.ready()) else {
            return if self.check().is_err() { self.clone() } else { filters.clone() };
        };
        let shape = match sizes(&x.spec.shape, &w.spec.shape, &options) {
            Ok(shape) => shape,
            Err(message) => return Tensor::error(shape_error("conv2d", message, &[self, filters], at)),
        };
        let out = Tensor::apply(Conv { shape, pass: Pass::Forward }, &[self, filters], at);
        match bias {
            None => out,
            Some(bias) if bias.check().is_ok() && *bias.shape().dims() != [shape.groups * shape.filters] => {
                let message = format!("{} filters need a bias each", shape.groups * shape.filters);
                Tensor::error(shape_error("conv2d", message, &[self, filters, bias], at))
            }
            Some(bias) => out + bias.unsqueeze(-1).unsqueeze(-1),
        }
    }

    /// Images `[batch, channels, …]` shifted and scaled to mean 0 and variance 1 by a mean and a variance for each
    /// channel, `[channels]`, then times `weight` plus `bias` (Ioffe & Szegedy 2015). `eps` is added to the variance.
    #[track_caller]
    pub fn batch_norm(
        &self,
        mean: &Tensor,
        variance: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Tensor {
        let at = At::caller();
        let operands: Vec<&Tensor> =
            [Some(mean), Some(variance), weight, bias].into_iter().flatten().collect();
        if let Some(broken) =
            std::iter::once(self).chain(operands.iter().copied()).find(|t| t.check().is_err())
        {
            return broken.clone();
        }
        let shape = self.shape();
        if shape.rank() < 2 || operands.iter().any(|t| *t.shape().dims() != [shape[1]]) {
            let all: Vec<&Tensor> = std::iter::once(self).chain(operands).collect();
            let message = "needs [batch, channels, …] and one number for each channel";
            return Tensor::error(shape_error("batch_norm", message, &all, at));
        }
        let one_each: Shape = (0..shape.rank()).map(|k| if k == 1 { shape[1] } else { 1 }).collect();
        let wide = |x: &Tensor| x.reshape(one_each.clone());
        let mut out = (self - wide(mean)) * wide(&variance.with_constant(&ADD, eps).rsqrt());
        if let Some(weight) = weight {
            out = out * wide(weight);
        }
        match bias {
            Some(bias) => out + wide(bias),
            None => out,
        }
    }
}
