//! Pooling of images with one, two or three axes.

use std::sync::Arc;

use vorpal_kernels::{Gather, GatherShape, POOL_WINDOW_MAX, Pool as Kernel, PoolPass, PoolShape};
use vorpal_tensor::{At, DType, Error, Result, Shape};

use super::pointwise::{MUL, POW};
use super::sliding::{Step, extent, image_axes, lift};
use super::{dtype_error, shape_error};
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Options of pooling over `N` axes, listed from the outermost to the innermost: (depth, height, width). Made from a
/// window alone, it moves by its own size.
///
/// ```
/// use vorpal_autodiff::ops::Pool2dOptions;
/// let overlapping = Pool2dOptions { stride: [2, 2], padding: [1, 1], ..Pool2dOptions::from(3) };
/// assert_eq!(overlapping.window, [3, 3]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolOptions<const N: usize> {
    /// Elements of the window.
    pub window: [usize; N],
    /// Steps of the window.
    pub stride: [usize; N],
    /// Pixels outside on each side: −∞ for maxima, 0 for sums and averages.
    pub padding: [usize; N],
    /// Distance of the elements of the window.
    pub dilation: [usize; N],
    /// Whether averages count the padding, as they do by default.
    pub count_include_pad: bool,
    /// Whether a last window that reaches over the padding counts, if it starts before the padding behind the image;
    /// not by default. What lies behind the padding counts for nothing.
    pub ceil_mode: bool,
}

impl<const N: usize> From<usize> for PoolOptions<N> {
    fn from(window: usize) -> PoolOptions<N> {
        PoolOptions::from([window; N])
    }
}
impl<const N: usize> From<[usize; N]> for PoolOptions<N> {
    fn from(window: [usize; N]) -> PoolOptions<N> {
        PoolOptions {
            window,
            stride: window,
            padding: [0; N],
            dilation: [1; N],
            count_include_pad: true,
            ceil_mode: false,
        }
    }
}

/// Options of [`Tensor::max_pool1d`] and its like.
pub type Pool1dOptions = PoolOptions<1>;
/// Options of [`Tensor::max_pool2d`] and its like. Pairs are (vertical, horizontal).
pub type Pool2dOptions = PoolOptions<2>;
/// Options of [`Tensor::max_pool3d`] and its like.
pub type Pool3dOptions = PoolOptions<3>;

/// What is done with windows. Picking and spreading are adjoint, and so are the two sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Images to the places of the maxima in their planes.
    Place,
    /// Images and places to the values there.
    Pick,
    /// Values and places to images.
    Spread,
    /// Images to sums.
    Sum,
    /// Sums to images.
    SumBackward,
}

#[derive(Clone, Copy, Debug)]
struct Pool {
    shape: PoolShape,
    /// Images, and channels of each: together the planes.
    images: [usize; 2],
    /// Axes of the images, 1 to 3: the last ones of the lists in `shape`.
    axes: usize,
    pass: Pass,
}

impl Pool {
    fn images(&self, size: [usize; 3]) -> Shape {
        self.images.into_iter().chain(size[3 - self.axes..].iter().copied()).collect()
    }

    fn of(&self, pass: Pass, operands: &[&Tensor]) -> Tensor {
        Tensor::apply(Pool { pass, ..*self }, operands, At::caller())
    }
}

impl Op for Pool {
    fn name(&self) -> &'static str {
        const NAMES: [[&str; 3]; 5] = [
            ["max_pool1d_places", "max_pool2d_places", "max_pool3d_places"],
            ["max_pool1d", "max_pool2d", "max_pool3d"],
            ["max_pool1d_backward", "max_pool2d_backward", "max_pool3d_backward"],
            ["avg_pool1d", "avg_pool2d", "avg_pool3d"],
            ["avg_pool1d_backward", "avg_pool2d_backward", "avg_pool3d_backward"],
        ];
        NAMES[self.pass as usize][self.axes - 1]
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        if !inputs[0].dtype.is_float() {
            return Misfit::dtype(format!("needs floats, found {}", inputs[0].dtype));
        }
        let out = match self.pass {
            Pass::Place => return Ok(Spec::new(self.images(self.shape.output), DType::U32)),
            Pass::Pick | Pass::Sum => self.shape.output,
            Pass::Spread | Pass::SumBackward => self.shape.input,
        };
        Ok(Spec::new(self.images(out), inputs[0].dtype))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        match self.pass {
            Pass::Place => vec![None],
            Pass::Pick => vec![Some(self.of(Pass::Spread, &[v.grad, &v.inputs[1]])), None],
            Pass::Spread => vec![Some(self.of(Pass::Pick, &[v.grad, &v.inputs[1]])), None],
            Pass::Sum => vec![Some(self.of(Pass::SumBackward, &[v.grad]))],
            Pass::SumBackward => vec![Some(self.of(Pass::Sum, &[v.grad]))],
        }
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        // Examples are images like any others.
        let operands: Vec<Tensor> = (0..v.inputs.len()).map(|k| v.folded(k)).collect();
        let [images, channels] = self.images;
        let shape = PoolShape { planes: self.shape.planes * v.size, ..self.shape };
        let op = Pool { shape, images: [images * v.size, channels], ..*self };
        v.unfolded(&Tensor::apply(op, &operands.iter().collect::<Vec<_>>(), v.at), images)
    }

    fn attributes(&self, key: &mut Key) {
        let s = &self.shape;
        key.push_list(&[self.images[0], self.images[1], self.axes, usize::from(s.adaptive)]);
        for list in [s.input, s.window, s.output, s.stride, s.padding, s.dilation] {
            key.push_list(&list);
        }
    }

    fn indexed_axis(&self, _: &[Spec]) -> Option<usize> {
        (self.pass == Pass::Pick).then_some(self.shape.input.iter().product())
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let dtype = cx.dtype(x[0]);
        let compute = dtype.compute();
        let wide = cx.cast(x[0], compute);
        let (base, at) = cx.dense(wide);
        let (second, second_at) = if x.len() > 1 { cx.dense(x[1]) } else { (base, 0) };
        let offsets = [at, second_at];
        let (small, large) = (self.images(self.shape.output), self.images(self.shape.input));
        let kernel = |pass| Arc::new(Kernel::new(self.shape, pass, compute, offsets));
        let out = match self.pass {
            Pass::Place => return Ok(cx.kernel(kernel(PoolPass::MaxPlace), &[base], small, DType::U32)),
            Pass::Pick => {
                let of_result = self.shape.output.iter().product();
                let sizes = GatherShape {
                    outer: self.shape.planes,
                    axis: self.shape.input.iter().product(),
                    inner: 1,
                    len: of_result,
                    index_strides: [of_result, 1, 1],
                };
                let gather = Gather::new(sizes, compute, DType::U32, offsets);
                cx.kernel(Arc::new(gather), &[base, second], small, compute)
            }
            Pass::Spread => cx.kernel(kernel(PoolPass::MaxBackward), &[base, second], large, compute),
            Pass::Sum => cx.kernel(kernel(PoolPass::Sum), &[base], small, compute),
            Pass::SumBackward => cx.kernel(kernel(PoolPass::SumBackward), &[base], large, compute),
        };
        Ok(cx.cast(out, dtype))
    }
}

/// Fails if a kernel cannot go through windows of a size.
fn check_window(window: &[usize]) -> Result<(), String> {
    match window.iter().fold(1usize, |product, &n| product.saturating_mul(n)) {
        0..=POOL_WINDOW_MAX => Ok(()),
        _ => Err(format!("a window may have {POOL_WINDOW_MAX} elements, reduce over the axes instead")),
    }
}

/// The pooling that options ask for, or what is wrong with it.
fn sizes<const N: usize>(x: &Shape, options: &PoolOptions<N>) -> Result<Pool, String> {
    let PoolOptions { window, stride, padding, dilation, ceil_mode: ceil, .. } = *options;
    if x.rank() != N + 2 {
        return Err(format!("needs images {}", image_axes(N)));
    }
    check_window(&window)?;
    let mut output = [1; N];
    for (k, size) in extent::<N>(x).into_iter().enumerate() {
        let wrong = |e: String| format!("axis {}: {e}", k + 2);
        let (front, apart) = (padding[k], dilation[k]);
        let step = Step { window: window[k], stride: stride[k], padding: [front; 2], dilation: apart, ceil };
        output[k] = step.places(size).map_err(wrong)?;
        let inside = |o: usize| {
            let start = o * stride[k];
            let element = front.saturating_sub(start).div_ceil(apart);
            element < window[k] && start + element * apart < front + size
        };
        if let Some(lost) = (0..output[k]).find(|&o| !inside(o)) {
            return Err(wrong(format!("window {lost} lies wholly in the padding")));
        }
    }
    let shape = PoolShape {
        planes: x[0] * x[1],
        input: lift(extent::<N>(x), 1),
        window: lift(window, 1),
        output: lift(output, 1),
        stride: lift(stride, 1),
        padding: lift(padding, 0),
        dilation: lift(dilation, 1),
        adaptive: false,
    };
    Ok(Pool { shape, images: [x[0], x[1]], axes: N, pass: Pass::Place })
}

/// The pooling into a number of windows along each axis, or what is wrong with it.
fn adaptive_sizes<const N: usize>(x: &Shape, parts: [usize; N]) -> Result<Pool, String> {
    if x.rank() != N + 2 {
        return Err(format!("needs images {}", image_axes(N)));
    }
    let input = extent::<N>(x);
    for (k, (&size, parts)) in input.iter().zip(parts).enumerate() {
        if size == 0 || parts == 0 {
            return Err(format!("axis {}: {parts} parts of {size} pixels", k + 2));
        }
        // Kernels find parts by products of the two.
        if size.saturating_add(1).saturating_mul(parts.saturating_add(1)) >= 1 << 31 {
            return Err(format!("axis {}: {parts} parts of {size} pixels are too many", k + 2));
        }
    }
    let shape = PoolShape::adaptive(x[0] * x[1], lift(input, 1), lift(parts, 1));
    check_window(&shape.window)?;
    // Seen from the pixels, windows and pixels change places.
    check_window(&PoolShape::adaptive(1, shape.output, shape.input).window)?;
    Ok(Pool { shape, images: [x[0], x[1]], axes: N, pass: Pass::Place })
}

/// Name of a function for one, two or three axes.
type Names = [&'static str; 3];

impl Tensor {
    /// A pooling of `self`, found by `sizes`.
    fn pooling(
        &self,
        op: &'static str,
        at: At,
        sizes: impl Fn(&Shape) -> Result<Pool, String>,
    ) -> Result<Pool> {
        let spec = &self.ready()?.spec;
        if !spec.dtype.is_float() {
            return Err(dtype_error(op, format!("needs floats, found {}", spec.dtype), &[self], at));
        }
        sizes(&spec.shape).map_err(|message| shape_error(op, message, &[self], at))
    }

    /// The maxima and their places.
    fn max_pooled(&self, pool: Result<Pool>, at: At) -> (Tensor, Tensor) {
        match pool {
            Err(error) => {
                let broken = Tensor::error(error);
                (broken.clone(), broken)
            }
            Ok(pool) => {
                let places = Tensor::apply(pool, &[&self.stop_gradient()], at);
                (Tensor::apply(Pool { pass: Pass::Pick, ..pool }, &[self, &places], at), places)
            }
        }
    }

    #[track_caller]
    fn max_pool<const N: usize>(&self, options: &PoolOptions<N>) -> (Tensor, Tensor) {
        const NAMES: Names = ["max_pool1d", "max_pool2d", "max_pool3d"];
        let at = At::caller();
        self.max_pooled(self.pooling(NAMES[N - 1], at, |x| sizes(x, options)), at)
    }

    #[track_caller]
    fn adaptive_max_pool<const N: usize>(&self, parts: [usize; N]) -> (Tensor, Tensor) {
        const NAMES: Names = ["adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"];
        let at = At::caller();
        self.max_pooled(self.pooling(NAMES[N - 1], at, |x| adaptive_sizes(x, parts)), at)
    }

    /// Averages in the compute dtype, or what is wrong.
    fn averages<const N: usize>(&self, op: &'static str, options: &PoolOptions<N>, at: At) -> Result<Tensor> {
        let pool = Pool { pass: Pass::Sum, ..self.pooling(op, at, |x| sizes(x, options))? };
        let wide = self.cast(self.dtype().compute());
        let sum = Tensor::apply(pool, &[&wide], at);
        let shape = pool.shape;
        let padded = [0, 1, 2].map(|axis| shape.input[axis] + 2 * shape.padding[axis]);
        let is_within = |axis: usize| {
            let last = (shape.output[axis] - 1) * shape.stride[axis];
            last + (shape.window[axis] - 1) * shape.dilation[axis] < padded[axis]
        };
        let is_bare = shape.padding == [0; 3];
        if (options.count_include_pad || is_bare) && (0..3).all(is_within) {
            let elements: usize = options.window.iter().product();
            return Ok(sum.with_constant(&MUL, 1.0 / elements as f64));
        }
        // What counts is 1: the pixels, and the padding if it is asked for.
        let counted = match options.count_include_pad {
            true => PoolShape { planes: 1, input: padded, padding: [0; 3], ..shape },
            false => PoolShape { planes: 1, ..shape },
        };
        self.divided(sum, Pool { shape: counted, images: [1, 1], ..pool }, at)
    }

    /// Sums of windows divided by what those of the images `counted` hold.
    fn divided(&self, sum: Tensor, counted: Pool, at: At) -> Result<Tensor> {
        let ones = Tensor::ones(counted.images(counted.shape.input), sum.dtype(), &self.device()?);
        Ok(sum / Tensor::apply(counted, &[&ones], at))
    }

    #[track_caller]
    fn avg_pool<const N: usize>(&self, options: &PoolOptions<N>) -> Tensor {
        const NAMES: Names = ["avg_pool1d", "avg_pool2d", "avg_pool3d"];
        let averages = self.averages(NAMES[N - 1], options, At::caller());
        averages.map(|wide| wide.cast(self.dtype())).into()
    }

    #[track_caller]
    fn lp_pool<const N: usize>(&self, p: f64, options: &PoolOptions<N>) -> Tensor {
        const NAMES: Names = ["lp_pool1d", "lp_pool2d", "lp_pool3d"];
        let (op, at) = (NAMES[N - 1], At::caller());
        if p.is_nan() || p <= 0.0 {
            return Tensor::error(Error::Argument { op, message: format!("p = {p} is not above 0"), at });
        }
        if let Err(error) = self.pooling(op, at, |x| sizes(x, options)) {
            return Tensor::error(error);
        }
        if p.is_infinite() {
            return self.max_pool(options).0;
        }
        let elements: usize = options.window.iter().product();
        let counted = PoolOptions { count_include_pad: true, ..*options };
        let powers = self.cast(self.dtype().compute()).with_constant(&POW, p);
        let norms = powers.averages(op, &counted, at).map(|average| {
            average.with_constant(&MUL, elements as f64).with_constant(&POW, 1.0 / p).cast(self.dtype())
        });
        norms.into()
    }

    #[track_caller]
    fn adaptive_avg_pool<const N: usize>(&self, parts: [usize; N]) -> Tensor {
        const NAMES: Names = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"];
        let at = At::caller();
        let pool = match self.pooling(NAMES[N - 1], at, |x| adaptive_sizes(x, parts)) {
            Ok(pool) => Pool { pass: Pass::Sum, ..pool },
            Err(error) => return Tensor::error(error),
        };
        let shape = pool.shape;
        if (0..3).all(|axis| shape.input[axis] % shape.output[axis] == 0) {
            // Parts of one size are axes of their own: reductions are faster, and may be of any length.
            let mut split: Vec<usize> = pool.images.to_vec();
            for axis in 3 - N..3 {
                split.extend([shape.output[axis], shape.input[axis] / shape.output[axis]]);
            }
            let inner: Vec<isize> = (0..N as isize).map(|axis| 2 * axis + 3).collect();
            return self.reshape(&split[..]).mean(&inner[..]);
        }
        let wide = self.cast(self.dtype().compute());
        let sum = Tensor::apply(pool, &[&wide], at);
        let counted = Pool { shape: PoolShape { planes: 1, ..shape }, images: [1, 1], ..pool };
        self.divided(sum, counted, at).map(|wide| wide.cast(self.dtype())).into()
    }

    /// The axes of images `[batch, channels, …]` behind the channels.
    fn image_axes_of(&self, op: &'static str, at: At) -> Result<Vec<isize>> {
        match self.ready()?.spec.shape.rank() {
            rank @ 3.. => Ok((2..rank as isize).collect()),
            _ => Err(shape_error(op, "needs images [batch, channels, …]", &[self], at)),
        }
    }

    /// Maximum of every window of signals `[batch, channels, w]`: `torch.nn.functional.max_pool1d`.
    /// See [`max_pool2d`](Tensor::max_pool2d).
    #[track_caller]
    pub fn max_pool1d(&self, options: impl Into<Pool1dOptions>) -> Tensor {
        self.max_pool(&options.into()).0
    }

    /// [`max_pool1d`](Tensor::max_pool1d) and where the maxima are: `U32` numbers of pixels in their planes, row by
    /// row, as PyTorch's `return_indices` counts them.
    #[track_caller]
    pub fn max_pool1d_with_indices(&self, options: impl Into<Pool1dOptions>) -> (Tensor, Tensor) {
        self.max_pool(&options.into())
    }

    /// Maximum of every window of images `[batch, channels, h, w]`: `torch.nn.functional.max_pool2d`. The derivative goes
    /// to the first of equal maxima. NaN is larger than anything.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [1, 1, 2, 2], &Device::cpu());
    /// assert_eq!(x.max_pool2d(2).to_vec::<f32>()?, [4.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn max_pool2d(&self, options: impl Into<Pool2dOptions>) -> Tensor {
        self.max_pool(&options.into()).0
    }

    /// [`max_pool2d`](Tensor::max_pool2d) and where the maxima are: `U32` numbers of pixels in their planes, row by
    /// row, as PyTorch's `return_indices` counts them.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 4.0, 3.0], [1, 1, 2, 2], &Device::cpu());
    /// let (values, places) = x.max_pool2d_with_indices(2);
    /// assert_eq!((values.to_vec::<f32>()?, places.to_vec::<u32>()?), (vec![4.0], vec![2]));
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn max_pool2d_with_indices(&self, options: impl Into<Pool2dOptions>) -> (Tensor, Tensor) {
        self.max_pool(&options.into())
    }

    /// Maximum of every window of volumes `[batch, channels, d, h, w]`: `torch.nn.functional.max_pool3d`.
    /// See [`max_pool2d`](Tensor::max_pool2d).
    #[track_caller]
    pub fn max_pool3d(&self, options: impl Into<Pool3dOptions>) -> Tensor {
        self.max_pool(&options.into()).0
    }

    /// [`max_pool3d`](Tensor::max_pool3d) and where the maxima are: `U32` numbers of pixels in their planes, row by
    /// row, as PyTorch's `return_indices` counts them.
    #[track_caller]
    pub fn max_pool3d_with_indices(&self, options: impl Into<Pool3dOptions>) -> (Tensor, Tensor) {
        self.max_pool(&options.into())
    }

    /// Average of every window of signals `[batch, channels, w]`: `torch.nn.functional.avg_pool1d`.
    /// See [`avg_pool2d`](Tensor::avg_pool2d).
    #[track_caller]
    pub fn avg_pool1d(&self, options: impl Into<Pool1dOptions>) -> Tensor {
        self.avg_pool(&options.into())
    }

    /// Average of every window of images `[batch, channels, h, w]`: `torch.nn.functional.avg_pool2d`.
    /// Sums are made in f32 or wider.
    #[track_caller]
    pub fn avg_pool2d(&self, options: impl Into<Pool2dOptions>) -> Tensor {
        self.avg_pool(&options.into())
    }

    /// Average of every window of volumes `[batch, channels, d, h, w]`: `torch.nn.functional.avg_pool3d`.
    /// See [`avg_pool2d`](Tensor::avg_pool2d).
    #[track_caller]
    pub fn avg_pool3d(&self, options: impl Into<Pool3dOptions>) -> Tensor {
        self.avg_pool(&options.into())
    }

    /// (Σ xᵖ)^(1 ∕ p) over every window of signals `[batch, channels, w]`: `torch.nn.functional.lp_pool1d`. See
    /// [`lp_pool2d`](Tensor::lp_pool2d).
    #[track_caller]
    pub fn lp_pool1d(&self, p: f64, options: impl Into<Pool1dOptions>) -> Tensor {
        self.lp_pool(p, &options.into())
    }

    /// (Σ xᵖ)^(1 ∕ p) over every window of images `[batch, channels, h, w]`: `torch.nn.functional.lp_pool2d`, the maximum
    /// for p = ∞. As there, the sum of a window that `ceil_mode` lets reach over the edge is scaled up to all its elements,
    /// and the root of a negative sum is NaN. p must be above 0.
    #[track_caller]
    pub fn lp_pool2d(&self, p: f64, options: impl Into<Pool2dOptions>) -> Tensor {
        self.lp_pool(p, &options.into())
    }

    /// (Σ xᵖ)^(1 ∕ p) over every window of volumes `[batch, channels, d, h, w]`: `torch.nn.functional.lp_pool3d`. See
    /// [`lp_pool2d`](Tensor::lp_pool2d).
    #[track_caller]
    pub fn lp_pool3d(&self, p: f64, options: impl Into<Pool3dOptions>) -> Tensor {
        self.lp_pool(p, &options.into())
    }

    /// Averages of `[width]` parts of signals `[batch, channels, w]`: `torch.nn.functional.adaptive_avg_pool1d`.
    /// See [`adaptive_avg_pool2d`](Tensor::adaptive_avg_pool2d).
    #[track_caller]
    pub fn adaptive_avg_pool1d(&self, size: [usize; 1]) -> Tensor {
        self.adaptive_avg_pool(size)
    }

    /// Averages of `[height, width]` parts of images `[batch, channels, h, w]`:
    /// `torch.nn.functional.adaptive_avg_pool2d`. Part i of n along an axis of s pixels reaches from ⌊i s ∕ n⌋ to
    /// ⌈(i + 1) s ∕ n⌉.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [1, 1, 1, 3], &Device::cpu());
    /// assert_eq!(x.adaptive_avg_pool2d([1, 2]).to_vec::<f32>()?, [1.5, 2.5]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn adaptive_avg_pool2d(&self, size: [usize; 2]) -> Tensor {
        self.adaptive_avg_pool(size)
    }

    /// Averages of `[depth, height, width]` parts of volumes `[batch, channels, d, h, w]`: `torch.nn.functional.adaptive_avg_pool3d`.
    /// See [`adaptive_avg_pool2d`](Tensor::adaptive_avg_pool2d).
    #[track_caller]
    pub fn adaptive_avg_pool3d(&self, size: [usize; 3]) -> Tensor {
        self.adaptive_avg_pool(size)
    }

    /// Maxima of `[width]` parts of signals `[batch, channels, w]`: `torch.nn.functional.adaptive_max_pool1d`. The
    /// parts are those of [`adaptive_avg_pool2d`](Tensor::adaptive_avg_pool2d).
    #[track_caller]
    pub fn adaptive_max_pool1d(&self, size: [usize; 1]) -> Tensor {
        self.adaptive_max_pool(size).0
    }

    /// [`adaptive_max_pool1d`](Tensor::adaptive_max_pool1d) and where the maxima are, as in
    /// [`max_pool2d_with_indices`](Tensor::max_pool2d_with_indices).
    #[track_caller]
    pub fn adaptive_max_pool1d_with_indices(&self, size: [usize; 1]) -> (Tensor, Tensor) {
        self.adaptive_max_pool(size)
    }

    /// Maxima of `[height, width]` parts of images `[batch, channels, h, w]`: `torch.nn.functional.adaptive_max_pool2d`. The
    /// parts are those of [`adaptive_avg_pool2d`](Tensor::adaptive_avg_pool2d).
    #[track_caller]
    pub fn adaptive_max_pool2d(&self, size: [usize; 2]) -> Tensor {
        self.adaptive_max_pool(size).0
    }

    /// [`adaptive_max_pool2d`](Tensor::adaptive_max_pool2d) and where the maxima are, as in
    /// [`max_pool2d_with_indices`](Tensor::max_pool2d_with_indices).
    #[track_caller]
    pub fn adaptive_max_pool2d_with_indices(&self, size: [usize; 2]) -> (Tensor, Tensor) {
        self.adaptive_max_pool(size)
    }

    /// Maxima of `[depth, height, width]` parts of volumes `[batch, channels, d, h, w]`: `torch.nn.functional.adaptive_max_pool3d`. The
    /// parts are those of [`adaptive_avg_pool2d`](Tensor::adaptive_avg_pool2d).
    #[track_caller]
    pub fn adaptive_max_pool3d(&self, size: [usize; 3]) -> Tensor {
        self.adaptive_max_pool(size).0
    }

    /// [`adaptive_max_pool3d`](Tensor::adaptive_max_pool3d) and where the maxima are, as in
    /// [`max_pool2d_with_indices`](Tensor::max_pool2d_with_indices).
    #[track_caller]
    pub fn adaptive_max_pool3d_with_indices(&self, size: [usize; 3]) -> (Tensor, Tensor) {
        self.adaptive_max_pool(size)
    }

    /// Average of every plane of images `[batch, channels, …]`, whose axes keep size 1 (ONNX `GlobalAveragePool`).
    #[track_caller]
    pub fn global_avg_pool(&self) -> Tensor {
        let axes = self.image_axes_of("global_avg_pool", At::caller());
        axes.map(|axes| self.mean_keepdim(&axes[..])).into()
    }

    /// Maximum of every plane of images `[batch, channels, …]`, whose axes keep size 1 (ONNX `GlobalMaxPool`). The
    /// derivative is shared by equal maxima, as in [`max`](Tensor::max).
    #[track_caller]
    pub fn global_max_pool(&self) -> Tensor {
        let axes = self.image_axes_of("global_max_pool", At::caller());
        axes.map(|axes| self.max_keepdim(&axes[..])).into()
    }
}
