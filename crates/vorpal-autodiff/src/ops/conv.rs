//! Convolution over one, two or three axes.

use std::sync::Arc;

use vorpal_kernels::{CONV_TERMS_MAX, Conv as Kernel, ConvPass, ConvShape, ReduceKind, Variant};
use vorpal_tensor::{At, Error, Result, Shape};

use super::pointwise::ADD;
use super::reduce::reduce;
use super::sliding::{Step, extent, image_axes, lift};
use super::{promoted, shape_error};
use crate::compile::ir::{Builder, Class, NodeId, Target};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Zeros around images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Padding<const N: usize> {
    /// As many on both sides of each axis.
    Zeros([usize; N]),
    /// None: the window stays inside (`"valid"`).
    Valid,
    /// As many as give a result of ⌈size ∕ stride⌉ pixels; if they are odd, one more at the end (`"same"`, as in JAX where
    /// the stride is not 1).
    Same,
    /// So many in front of each axis that no pixel of the result sees one of the images behind it (WaveNet, van den Oord
    /// et al. 2016).
    Causal,
}

impl<const N: usize> From<[usize; N]> for Padding<N> {
    fn from(zeros: [usize; N]) -> Padding<N> {
        Padding::Zeros(zeros)
    }
}

impl<const N: usize> Padding<N> {
    /// Zeros in front of and behind an axis.
    fn around(&self, axis: usize, size: usize, stride: usize, reach: usize) -> [usize; 2] {
        match self {
            Padding::Zeros(zeros) => [zeros[axis]; 2],
            Padding::Valid => [0, 0],
            Padding::Same => {
                let covered = size.div_ceil(stride.max(1)).saturating_sub(1).saturating_mul(stride);
                let missing = covered.saturating_add(reach).saturating_sub(size);
                [missing / 2, missing - missing / 2]
            }
            Padding::Causal => [reach - 1, 0],
        }
    }
}

/// Options of convolutions over `N` axes, listed from the outermost to the innermost: (depth, height, width).
///
/// ```
/// use vorpal_autodiff::ops::{Conv2dOptions, Padding};
/// let options = Conv2dOptions { padding: [1, 1].into(), groups: 4, ..Conv2dOptions::default() };
/// assert_eq!(options.padding, Padding::Zeros([1, 1]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvOptions<const N: usize> {
    /// Steps of the window, 1 by default.
    pub stride: [usize; N],
    /// Zeros around the images, none by default.
    pub padding: Padding<N>,
    /// Distance of the elements of the window, 1 by default.
    pub dilation: [usize; N],
    /// Groups of channels that see each other, 1 by default.
    pub groups: usize,
}

impl<const N: usize> Default for ConvOptions<N> {
    fn default() -> ConvOptions<N> {
        ConvOptions { stride: [1; N], padding: Padding::Valid, dilation: [1; N], groups: 1 }
    }
}

/// Options of [`Tensor::conv1d`].
pub type Conv1dOptions = ConvOptions<1>;
/// Options of [`Tensor::conv2d`]. Pairs are (vertical, horizontal).
pub type Conv2dOptions = ConvOptions<2>;
/// Options of [`Tensor::conv3d`].
pub type Conv3dOptions = ConvOptions<3>;

/// Options of transposed convolutions over `N` axes, listed from the outermost to the innermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvTransposeOptions<const N: usize> {
    /// Pixels of the result between two of the images, 1 by default.
    pub stride: [usize; N],
    /// Pixels cut off on both sides of each axis of the result, none by default.
    pub padding: [usize; N],
    /// More pixels at the end of each axis of the result, none by default: of the sizes that a convolution with these
    /// options makes equal, which one is wanted. Smaller than the stride or the dilation.
    pub output_padding: [usize; N],
    /// Distance of the elements of the window, 1 by default.
    pub dilation: [usize; N],
    /// Groups of channels that see each other, 1 by default.
    pub groups: usize,
}

impl<const N: usize> Default for ConvTransposeOptions<N> {
    fn default() -> ConvTransposeOptions<N> {
        ConvTransposeOptions {
            stride: [1; N],
            padding: [0; N],
            output_padding: [0; N],
            dilation: [1; N],
            groups: 1,
        }
    }
}

/// Options of [`Tensor::conv_transpose1d`].
pub type ConvTranspose1dOptions = ConvTransposeOptions<1>;
/// Options of [`Tensor::conv_transpose2d`]. Pairs are (vertical, horizontal).
pub type ConvTranspose2dOptions = ConvTransposeOptions<2>;
/// Options of [`Tensor::conv_transpose3d`].
pub type ConvTranspose3dOptions = ConvTransposeOptions<3>;

/// Which of the three products of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Operands: images, filters.
    Forward,
    /// Operands: results (or their cotangent), filters. The transposed convolution.
    BackwardData,
    /// Operands: images, cotangent of the result.
    BackwardWeight,
}

/// The three products are one another's derivatives: each is linear in both of its operands, and together they are
/// the one trilinear form Σ images · filters · results.
#[derive(Clone, Copy, Debug)]
struct Conv {
    shape: ConvShape,
    /// Axes of the images, 1 to 3: the last ones of the lists in `shape`.
    axes: usize,
    pass: Pass,
}

impl Conv {
    fn shape_of(&self, first: usize, second: usize, list: &[usize; 3]) -> Shape {
        [first, second].into_iter().chain(list[3 - self.axes..].iter().copied()).collect()
    }
    fn images(&self) -> Shape {
        let s = &self.shape;
        self.shape_of(s.batch, s.groups * s.channels, &s.input)
    }
    fn filters(&self) -> Shape {
        let s = &self.shape;
        self.shape_of(s.groups * s.filters, s.channels, &s.window)
    }
    fn results(&self) -> Shape {
        let s = &self.shape;
        self.shape_of(s.batch, s.groups * s.filters, &s.output)
    }

    fn of(&self, pass: Pass, a: &Tensor, b: &Tensor) -> Tensor {
        Tensor::apply(Conv { pass, ..*self }, &[a, b], At::caller())
    }

    /// The axes in front of the pixels split, put into another order and merged.
    fn regroup(&self, x: &Tensor, split: &[usize], order: &[isize], merged: &[usize]) -> Tensor {
        let shape = x.shape();
        let pixels = &shape[shape.rank() - self.axes..];
        let with_pixels = |front: &[usize]| -> Shape { front.iter().chain(pixels).copied().collect() };
        let rank = order.len() as isize;
        let order: Vec<isize> = order.iter().copied().chain(rank..rank + pixels.len() as isize).collect();
        x.reshape(with_pixels(split)).permute(&order[..]).reshape(with_pixels(merged))
    }

    /// Images that all examples share: the filters of the examples are more filters of each group.
    fn more_filters(&self, v: &Vmap<'_>) -> Tensor {
        let ConvShape { batch, groups, channels, filters, .. } = self.shape;
        let all = Conv { shape: ConvShape { filters: filters * v.size, ..self.shape }, ..*self };
        let apply = |b: &Tensor| Tensor::apply(all, &[&v.inputs[0], b], v.at);
        let (many, other) = (groups * v.size * filters, v.example(1));
        match self.pass {
            Pass::BackwardWeight => {
                let results =
                    self.regroup(&other, &[v.size, batch, groups, filters], &[1, 2, 0, 3], &[batch, many]);
                let split = [groups, v.size, filters, channels];
                self.regroup(&apply(&results), &split, &[1, 0, 2, 3], &[v.size, groups * filters, channels])
            }
            _ => {
                let split = [v.size, groups, filters, channels];
                let filters_of_all = self.regroup(&other, &split, &[1, 0, 2, 3], &[many, channels]);
                let split = [batch, groups, v.size, filters];
                let merged = [v.size, batch, groups * filters];
                self.regroup(&apply(&filters_of_all), &split, &[2, 0, 1, 3], &merged)
            }
        }
    }

    /// Examples as groups of channels that see each other.
    fn more_groups(&self, v: &Vmap<'_>) -> Tensor {
        let ConvShape { batch, groups, channels, filters, .. } = self.shape;
        let all = Conv { shape: ConvShape { groups: groups * v.size, ..self.shape }, ..*self };
        let (of_image, of_result) = (groups * channels, groups * filters);
        let side_by_side = |k: usize, planes: usize| {
            self.regroup(&v.example(k), &[v.size, batch, planes], &[1, 0, 2], &[batch, v.size * planes])
        };
        let (a, b) = match self.pass {
            Pass::Forward => (side_by_side(0, of_image), v.folded(1)),
            Pass::BackwardData => (side_by_side(0, of_result), v.folded(1)),
            Pass::BackwardWeight => (side_by_side(0, of_image), side_by_side(1, of_result)),
        };
        let out = Tensor::apply(all, &[&a, &b], v.at);
        let apart = |planes: usize| {
            self.regroup(&out, &[batch, v.size, planes], &[1, 0, 2], &[v.size, batch, planes])
        };
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
        let target = cx.target();
        let kernel = |pass| {
            let kernel = Kernel::new(self.shape, pass, dtype, [at_a, at_b]).with_abilities(target.abilities);
            kernel.with_variant(choice(target, &self.shape, pass))
        };
        // Shares of a kernel's sums, one behind the other, added up.
        let added = |cx: &mut Builder, kernel: Kernel, shares: usize, out: Shape| {
            let all: Shape = [shares].into_iter().chain(out.iter().copied()).collect();
            let first: Vec<bool> = (0..all.rank()).map(|axis| axis == 0).collect();
            let shares = cx.kernel(Arc::new(kernel), &[a, b], all, dtype);
            let sum = reduce(cx, ReduceKind::Sum, shares, &first)?;
            cx.view(sum, |l| l.reshape(&out))
        };
        let (pass, out) = match self.pass {
            Pass::Forward => (ConvPass::Forward, self.results()),
            Pass::BackwardData => (ConvPass::BackwardData, self.images()),
            Pass::BackwardWeight => {
                let splits = match cx.target().class {
                    // Native code shares out by itself.
                    Class::Native => 1,
                    Class::Software => Kernel::splits(&self.shape, 1 << 10),
                    Class::Card => {
                        let pass = ConvPass::BackwardWeight { splits: 1 };
                        match choice(target, &self.shape, pass) {
                            Variant::Tiled => Kernel::shares(&self.shape, pass),
                            _ => Kernel::splits(&self.shape, 1 << 15),
                        }
                    }
                };
                return added(cx, kernel(ConvPass::BackwardWeight { splits }), splits, self.filters());
            }
        };
        if choice(target, &self.shape, pass) == Variant::Tiled {
            let shares = Kernel::shares(&self.shape, pass);
            if shares > 1 {
                return added(cx, kernel(pass).in_shares(shares), shares, out);
            }
        }
        let terms = Kernel::terms(&self.shape, pass);
        if cx.target().is_native() || terms <= CONV_TERMS_MAX {
            return Ok(cx.kernel(Arc::new(kernel(pass)), &[a, b], out, dtype));
        }
        let mut sum = None;
        for first in (0..terms).step_by(CONV_TERMS_MAX) {
            let part = kernel(pass).with_terms(first, CONV_TERMS_MAX.min(terms - first));
            let part = cx.kernel(Arc::new(part), &[a, b], out.clone(), dtype);
            sum = Some(sum.map_or(part, |sum| cx.call(&ADD.f, &[sum, part])));
        }
        sum.ok_or_else(|| Error::internal("conv", "a sum without parts"))
    }
}

/// Filters or channels that fill a tile in workgroup memory far enough.
const TILED_ROWS_MIN: usize = 32;

/// The variant to start with on a target. Where workgroup memory is slow, an element should be loaded but once by a
/// subgroup.
fn choice(target: Target, shape: &ConvShape, pass: ConvPass) -> Variant {
    let rows = match pass {
        ConvPass::Forward | ConvPass::BackwardWeight { .. } => shape.filters,
        ConvPass::BackwardData => shape.channels,
    };
    match target.class {
        Class::Native => Variant::Direct,
        Class::Software => Variant::Broadcast,
        Class::Card if rows >= TILED_ROWS_MIN => Variant::Tiled,
        Class::Card => Variant::Direct,
    }
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        const NAMES: [[&str; 3]; 3] = [
            ["conv1d", "conv2d", "conv3d"],
            ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"],
            ["conv1d_backward_weight", "conv2d_backward_weight", "conv3d_backward_weight"],
        ];
        NAMES[self.pass as usize][self.axes - 1]
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
                let all = Conv { shape: ConvShape { batch: s.batch * v.size, ..*s }, ..*self };
                v.unfolded(&Tensor::apply(all, &[&v.folded(0), &v.inputs[1]], v.at), s.batch)
            }
            Pass::Forward | Pass::BackwardWeight if !a => self.more_filters(v),
            _ => self.more_groups(v),
        }
    }

    fn attributes(&self, key: &mut Key) {
        let s = &self.shape;
        key.push_list(&[self.axes, s.groups, s.channels, s.filters, s.batch]);
        for list in [s.input, s.window, s.output, s.stride, s.padding, s.dilation] {
            key.push_list(&list);
        }
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let dtype = cx.dtype(x[0]);
        let wide = [cx.cast(x[0], dtype.compute()), cx.cast(x[1], dtype.compute())];
        let product = self.launch(cx, wide)?;
        Ok(cx.cast(product, dtype))
    }
}

/// What convolutions of images need, in one line.
fn needs(axes: usize, filters: &str) -> String {
    let (images, rest) = (image_axes(axes), &image_axes(axes)["[batch, channels".len()..]);
    format!("needs images {images} and filters {filters}{rest}")
}

/// Sizes of a convolution, or what is wrong with it.
fn sizes<const N: usize>(x: &Shape, w: &Shape, options: &ConvOptions<N>) -> Result<ConvShape, String> {
    let ConvOptions { stride, padding, dilation, groups } = *options;
    if x.rank() != N + 2 || w.rank() != N + 2 {
        return Err(needs(N, "[filters, channels ∕ groups"));
    }
    let (of_x, of_w, channels) = (x[1], w[0], w[1]);
    if groups == 0 || of_w % groups != 0 || of_x != channels * groups {
        return Err(format!(
            "{groups} groups of {channels} channels need {} channels and a multiple of {groups} filters, found \
             {of_x} and {of_w}",
            channels * groups
        ));
    }
    let (mut output, mut front) = ([1; N], [0; N]);
    for k in 0..N {
        let (size, window) = (x[k + 2], w[k + 2]);
        let reach = dilation[k].saturating_mul(window.saturating_sub(1)).saturating_add(1);
        let around = padding.around(k, size, stride[k], reach);
        let step = Step { window, stride: stride[k], padding: around, dilation: dilation[k], ceil: false };
        output[k] = step.places(size).map_err(|e| format!("axis {}: {e}", k + 2))?;
        front[k] = around[0];
    }
    Ok(ConvShape {
        batch: x[0],
        groups,
        channels,
        filters: of_w / groups,
        input: lift(extent::<N>(x), 1),
        window: lift(extent::<N>(w), 1),
        output: lift(output, 1),
        stride: lift(stride, 1),
        padding: lift(front, 0),
        dilation: lift(dilation, 1),
    })
}

/// Sizes of the convolution whose transpose is asked for, or what is wrong with it.
fn transposed_sizes<const N: usize>(
    x: &Shape,
    w: &Shape,
    options: &ConvTransposeOptions<N>,
) -> Result<ConvShape, String> {
    let ConvTransposeOptions { stride, padding, output_padding, dilation, groups } = *options;
    if x.rank() != N + 2 || w.rank() != N + 2 {
        return Err(needs(N, "[channels, filters ∕ groups"));
    }
    let (of_x, of_w) = (x[1], w[0]);
    if groups == 0 || of_x != of_w || of_x % groups != 0 {
        return Err(format!(
            "{groups} groups need as many channels as filters are for, a multiple of {groups}: found {of_x} and {of_w}"
        ));
    }
    let mut input = [1; N];
    for k in 0..N {
        let (size, window, more) = (x[k + 2], w[k + 2], output_padding[k]);
        let wrong = |e: String| format!("axis {}: {e}", k + 2);
        let around = [padding[k]; 2];
        let step = Step { window, stride: stride[k], padding: around, dilation: dilation[k], ceil: false };
        let reach = step.reach_of(size).map_err(wrong)?;
        if more > 0 && more >= stride[k].max(dilation[k]) {
            return Err(wrong(format!(
                "output padding {more} must be smaller than the stride ({}) or the dilation ({})",
                stride[k], dilation[k]
            )));
        }
        let full = reach + more;
        input[k] = full.checked_sub(2 * padding[k]).filter(|&n| n > 0).ok_or_else(|| {
            wrong(format!("nothing is left of {full} pixels with {} cut off on each side", padding[k]))
        })?;
    }
    Ok(ConvShape {
        batch: x[0],
        groups,
        channels: w[1],
        filters: of_w / groups,
        input: lift(input, 1),
        window: lift(extent::<N>(w), 1),
        output: lift(extent::<N>(x), 1),
        stride: lift(stride, 1),
        padding: lift(padding, 0),
        dilation: lift(dilation, 1),
    })
}

impl Tensor {
    /// One of the convolutions with a bias for each of its channels.
    #[track_caller]
    fn convolved(
        &self,
        filters: &Tensor,
        bias: Option<&Tensor>,
        op: Conv,
        channels: usize,
        at: At,
    ) -> Tensor {
        let both = promoted(&[self, filters]);
        let out = Tensor::apply(op, &[&both[0], &both[1]], at);
        match bias {
            None => out,
            Some(bias) if bias.check().is_ok() && *bias.shape().dims() != [channels] => {
                let message = format!("{channels} filters need a bias each");
                Tensor::error(shape_error(op.name(), message, &[self, filters, bias], at))
            }
            Some(bias) => {
                let one_each: Shape = std::iter::once(channels).chain((0..op.axes).map(|_| 1)).collect();
                out + bias.reshape(one_each)
            }
        }
    }

    /// [`conv1d`](Tensor::conv1d), [`conv2d`](Tensor::conv2d) or [`conv3d`](Tensor::conv3d), over as many axes as the
    /// options have.
    #[track_caller]
    pub fn conv<const N: usize>(
        &self,
        filters: &Tensor,
        bias: Option<&Tensor>,
        options: ConvOptions<N>,
    ) -> Tensor {
        const { assert!(1 <= N && N <= 3, "a convolution has one, two or three axes") };
        let at = At::caller();
        let (Ok(x), Ok(w)) = (self.ready(), filters.ready()) else {
            return if self.check().is_err() { self.clone() } else { filters.clone() };
        };
        match sizes(&x.spec.shape, &w.spec.shape, &options) {
            Ok(shape) => {
                let op = Conv { shape, axes: N, pass: Pass::Forward };
                self.convolved(filters, bias, op, shape.groups * shape.filters, at)
            }
            Err(message) => {
                let op = ["conv1d", "conv2d", "conv3d"][N - 1];
                Tensor::error(shape_error(op, message, &[self, filters], at))
            }
        }
    }

    /// [`conv_transpose1d`](Tensor::conv_transpose1d), [`conv_transpose2d`](Tensor::conv_transpose2d) or
    /// [`conv_transpose3d`](Tensor::conv_transpose3d), over as many axes as the options have.
    #[track_caller]
    pub fn conv_transpose<const N: usize>(
        &self,
        filters: &Tensor,
        bias: Option<&Tensor>,
        options: ConvTransposeOptions<N>,
    ) -> Tensor {
        const { assert!(1 <= N && N <= 3, "a convolution has one, two or three axes") };
        let at = At::caller();
        let (Ok(x), Ok(w)) = (self.ready(), filters.ready()) else {
            return if self.check().is_err() { self.clone() } else { filters.clone() };
        };
        match transposed_sizes(&x.spec.shape, &w.spec.shape, &options) {
            Ok(shape) => {
                let op = Conv { shape, axes: N, pass: Pass::BackwardData };
                self.convolved(filters, bias, op, shape.groups * shape.channels, at)
            }
            Err(message) => {
                let op = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"][N - 1];
                Tensor::error(shape_error(op, message, &[self, filters], at))
            }
        }
    }

    /// Cross-correlation of signals `[batch, channels, w]` with filters `[filters, channels ∕ groups, kw]`, plus a bias
    /// `[filters]`: `torch.nn.functional.conv1d`. See [`conv2d`](Tensor::conv2d).
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor, DType};
    /// use vorpal_autodiff::ops::{Conv1dOptions, Padding};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [1, 1, 3], &Device::cpu());
    /// let sum = Tensor::ones([1, 1, 2], DType::F32, &Device::cpu());
    /// let causal = Conv1dOptions { padding: Padding::Causal, ..Conv1dOptions::default() };
    /// assert_eq!(x.conv1d(&sum, None, causal).to_vec::<f32>()?, [1.0, 3.0, 5.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn conv1d(&self, filters: &Tensor, bias: Option<&Tensor>, options: Conv1dOptions) -> Tensor {
        self.conv(filters, bias, options)
    }

    /// Cross-correlation of images `[batch, channels, h, w]` with filters
    /// `[filters, channels ∕ groups, kh, kw]`, plus a bias `[filters]`: `torch.nn.functional.conv2d`. An output axis has
    /// `(size + padding − dilation (window − 1) − 1) ∕ stride + 1` pixels, rounded down, where the padding is counted on
    /// both sides. Dtypes are promoted ([`DType::promote`](vorpal_tensor::DType::promote)); sums are made in f32 or wider.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor, DType};
    /// use vorpal_autodiff::ops::Conv2dOptions;
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [1, 1, 2, 2], &Device::cpu());
    /// let sum = Tensor::ones([1, 1, 2, 2], DType::F32, &Device::cpu());
    /// assert_eq!(x.conv2d(&sum, None, Conv2dOptions::default()).to_vec::<f32>()?, [10.0]);
    /// let padded = Conv2dOptions { padding: [1, 0].into(), ..Conv2dOptions::default() };
    /// assert_eq!(x.conv2d(&sum, None, padded).to_vec::<f32>()?, [3.0, 10.0, 7.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn conv2d(&self, filters: &Tensor, bias: Option<&Tensor>, options: Conv2dOptions) -> Tensor {
        self.conv(filters, bias, options)
    }

    /// Cross-correlation of volumes `[batch, channels, d, h, w]` with filters
    /// `[filters, channels ∕ groups, kd, kh, kw]`, plus a bias `[filters]`: `torch.nn.functional.conv3d`. See
    /// [`conv2d`](Tensor::conv2d).
    #[track_caller]
    pub fn conv3d(&self, filters: &Tensor, bias: Option<&Tensor>, options: Conv3dOptions) -> Tensor {
        self.conv(filters, bias, options)
    }

    /// The transpose of [`conv1d`](Tensor::conv1d) on `[batch, channels, w]` with filters
    /// `[channels, filters ∕ groups, kw]`, plus a bias `[filters]`: `torch.nn.functional.conv_transpose1d`. See
    /// [`conv_transpose2d`](Tensor::conv_transpose2d).
    #[track_caller]
    pub fn conv_transpose1d(
        &self,
        filters: &Tensor,
        bias: Option<&Tensor>,
        options: ConvTranspose1dOptions,
    ) -> Tensor {
        self.conv_transpose(filters, bias, options)
    }

    /// The transpose of [`conv2d`](Tensor::conv2d) (Zeiler et al. 2010) on images `[batch, channels, h, w]` with filters
    /// `[channels, filters ∕ groups, kh, kw]`, plus a bias `[filters]`: `torch.nn.functional.conv_transpose2d`. An output
    /// axis has `(size − 1) stride − 2 padding + dilation (window − 1) + output_padding + 1` pixels.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor, DType};
    /// use vorpal_autodiff::ops::ConvTranspose2dOptions;
    /// let x = Tensor::from_slice(&[1.0f32, 2.0], [1, 1, 1, 2], &Device::cpu());
    /// let filter = Tensor::ones([1, 1, 1, 2], DType::F32, &Device::cpu());
    /// let twice = ConvTranspose2dOptions { stride: [1, 2], ..ConvTranspose2dOptions::default() };
    /// assert_eq!(x.conv_transpose2d(&filter, None, twice).to_vec::<f32>()?, [1.0, 1.0, 2.0, 2.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn conv_transpose2d(
        &self,
        filters: &Tensor,
        bias: Option<&Tensor>,
        options: ConvTranspose2dOptions,
    ) -> Tensor {
        self.conv_transpose(filters, bias, options)
    }

    /// The transpose of [`conv3d`](Tensor::conv3d) on volumes `[batch, channels, d, h, w]` with filters
    /// `[channels, filters ∕ groups, kd, kh, kw]`, plus a bias `[filters]`: `torch.nn.functional.conv_transpose3d`. See
    /// [`conv_transpose2d`](Tensor::conv_transpose2d).
    #[track_caller]
    pub fn conv_transpose3d(
        &self,
        filters: &Tensor,
        bias: Option<&Tensor>,
        options: ConvTranspose3dOptions,
    ) -> Tensor {
        self.conv_transpose(filters, bias, options)
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
