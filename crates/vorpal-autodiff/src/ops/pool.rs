//! Pooling of images.

use std::sync::Arc;

use vorpal_kernels::{Gather, GatherShape, POOL_WINDOW_MAX, Pool as Kernel, PoolPass, PoolShape};
use vorpal_tensor::{At, DType, Error, Result, Shape};

use super::conv::places;
use super::pointwise::{ADD, MUL};
use super::shape_error;
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Options of pooling. Pairs are (vertical, horizontal). Made from a window alone, it moves by its own size.
///
/// ```
/// use vorpal_autodiff::ops::Pool2dOptions;
/// let overlapping = Pool2dOptions { stride: [2, 2], padding: [1, 1], ..Pool2dOptions::from(3) };
/// assert_eq!(overlapping.window, [3, 3]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2dOptions {
    /// Elements of the window.
    pub window: [usize; 2],
    /// Steps of the window.
    pub stride: [usize; 2],
    /// Pixels outside on each side: −∞ for maxima, 0 for averages.
    pub padding: [usize; 2],
    /// Distance of the elements of the window.
    pub dilation: [usize; 2],
    /// Whether averages count the padding.
    pub count_include_pad: bool,
}

impl From<usize> for Pool2dOptions {
    fn from(window: usize) -> Pool2dOptions {
        Pool2dOptions::from([window, window])
    }
}
impl From<[usize; 2]> for Pool2dOptions {
    fn from(window: [usize; 2]) -> Pool2dOptions {
        Pool2dOptions { window, stride: window, padding: [0, 0], dilation: [1, 1], count_include_pad: true }
    }
}

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
    pass: Pass,
}

impl Pool {
    fn images(&self, [height, width]: [usize; 2]) -> Shape {
        Shape::from([self.images[0], self.images[1], height, width])
    }

    fn of(&self, pass: Pass, operands: &[&Tensor]) -> Tensor {
        Tensor::apply(Pool { pass, ..*self }, operands, At::caller())
    }
}

impl Op for Pool {
    fn name(&self) -> &'static str {
        match self.pass {
            Pass::Place => "max_pool2d_places",
            Pass::Pick => "max_pool2d",
            Pass::Spread => "max_pool2d_backward",
            Pass::Sum => "avg_pool2d",
            Pass::SumBackward => "avg_pool2d_backward",
        }
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
        let op = Pool { shape, images: [images * v.size, channels], pass: self.pass };
        v.unfolded(&Tensor::apply(op, &operands.iter().collect::<Vec<_>>(), v.at), images)
    }

    fn attributes(&self, key: &mut Key) {
        let s = &self.shape;
        key.push_list(&self.images);
        for pair in [s.input, s.window, s.output, s.stride, s.padding, s.dilation] {
            key.push_list(&pair);
        }
    }

    fn indexed_axis(&self, _: &[Spec]) -> Option<usize> {
        (self.pass == Pass::Pick).then_some(self.shape.input[0] * self.shape.input[1])
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
                let [of_image, of_result] =
                    [self.shape.input, self.shape.output].map(|[height, width]| height * width);
                let sizes = GatherShape {
                    outer: self.shape.planes,
                    axis: of_image,
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

/// The pooling that options ask for, or what is wrong with it.
fn sizes(x: &Shape, options: &Pool2dOptions) -> Result<Pool, String> {
    let Pool2dOptions { window, stride, padding, dilation, .. } = *options;
    let [batch, channels, height, width] = *x.dims() else {
        return Err("needs images [batch, channels, height, width]".to_string());
    };
    if window[0].saturating_mul(window[1]) > POOL_WINDOW_MAX {
        return Err(format!("a window may have {POOL_WINDOW_MAX} elements, reduce over the axes instead"));
    }
    let mut output = [0, 0];
    for (k, size) in [height, width].into_iter().enumerate() {
        let wrong = |e: String| format!("axis {}: {e}", k + 2);
        output[k] = places(size, window[k], stride[k], padding[k], dilation[k]).map_err(wrong)?;
        let inside = |o: usize| {
            let mut under = (0..window[k]).map(|e| o * stride[k] + e * dilation[k]);
            under.any(|at| at >= padding[k] && at - padding[k] < size)
        };
        if let Some(lost) = (0..output[k]).find(|&o| !inside(o)) {
            return Err(wrong(format!("window {lost} lies wholly in the padding")));
        }
    }
    let planes = batch * channels;
    let shape = PoolShape { planes, input: [height, width], window, output, stride, padding, dilation };
    Ok(Pool { shape, images: [batch, channels], pass: Pass::Place })
}

impl Tensor {
    #[track_caller]
    fn pooling(&self, op: &'static str, options: &Pool2dOptions, at: At) -> Result<Pool> {
        let shape = &self.ready()?.spec.shape;
        sizes(shape, options).map_err(|message| shape_error(op, message, &[self], at))
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
        let at = At::caller();
        match self.pooling("max_pool2d", &options.into(), at) {
            Err(error) => Tensor::error(error),
            Ok(pool) => {
                let places = Tensor::apply(pool, &[&self.stop_gradient()], at);
                Tensor::apply(Pool { pass: Pass::Pick, ..pool }, &[self, &places], at)
            }
        }
    }

    /// Average of every window of images `[batch, channels, h, w]`: `torch.nn.functional.avg_pool2d`.
    #[track_caller]
    pub fn avg_pool2d(&self, options: impl Into<Pool2dOptions>) -> Tensor {
        let (at, options) = (At::caller(), options.into());
        let pool = match self.pooling("avg_pool2d", &options, at) {
            Ok(pool) => Pool { pass: Pass::Sum, ..pool },
            Err(error) => return Tensor::error(error),
        };
        let sum = Tensor::apply(pool, &[self], at);
        if options.count_include_pad || options.padding == [0, 0] {
            return sum.with_constant(&MUL, 1.0 / (options.window[0] * options.window[1]) as f64);
        }
        let [height, width] = pool.shape.input;
        let Ok(device) = self.device() else { return sum };
        let ones = Tensor::ones([1, 1, height, width], self.dtype(), &device);
        let single = Pool { shape: PoolShape { planes: 1, ..pool.shape }, images: [1, 1], ..pool };
        sum / Tensor::apply(single, &[&ones], at)
    }

    /// Averages of `[height, width]` parts of images `[batch, channels, h, w]`:
    /// `torch.nn.functional.adaptive_avg_pool2d`. Part i of n along an axis of s pixels reaches from ⌊i s ∕ n⌋ to
    /// ⌈(i + 1) s ∕ n⌉.
    #[track_caller]
    pub fn adaptive_avg_pool2d(&self, size: [usize; 2]) -> Tensor {
        let at = At::caller();
        let Ok(node) = self.ready() else { return self.clone() };
        let [batch, channels, height, width] = *node.spec.shape.dims() else {
            let message = "needs images [batch, channels, height, width]";
            return Tensor::error(shape_error("adaptive_avg_pool2d", message, &[self], at));
        };
        if !node.spec.dtype.is_float() {
            let message = format!("needs floats, found {}", node.spec.dtype);
            return Tensor::error(super::dtype_error("adaptive_avg_pool2d", message, &[self], at));
        }
        let [rows, columns] = size;
        if size.contains(&0) || height == 0 || width == 0 {
            let message = format!("{rows} × {columns} parts of {height} × {width} pixels");
            return Tensor::error(shape_error("adaptive_avg_pool2d", message, &[self], at));
        }
        if height.max(rows).max(width).max(columns) > 1 << 15 {
            let message = "an axis may have 32,768 pixels".to_string();
            return Tensor::error(Error::Argument { op: "adaptive_avg_pool2d", message, at });
        }
        if height % rows == 0 && width % columns == 0 {
            let parts = [batch, channels, rows, height / rows, columns, width / columns];
            return self.reshape(parts).mean([3, 5]);
        }
        // Parts of different sizes: a matrix of averages for each axis.
        let averages = |parts: usize, pixels: usize| {
            let part = Tensor::iota([parts, pixels], 0, DType::I32, &node.device);
            let pixel = Tensor::iota([parts, pixels], 1, DType::I32, &node.device);
            let scaled = |x: &Tensor, by: usize| x.with_constant(&MUL, by as f64);
            let next = |x: &Tensor| x.with_constant(&ADD, 1.0);
            let begun = scaled(&next(&pixel), parts).gt(scaled(&part, pixels));
            let open = scaled(&pixel, parts).lt(scaled(&next(&part), pixels));
            let inside = (begun.cast(DType::I32) * open.cast(DType::I32)).cast(node.spec.dtype);
            &inside / inside.sum_keepdim(-1)
        };
        averages(rows, height).matmul(self).matmul(&averages(columns, width).t())
    }
}
