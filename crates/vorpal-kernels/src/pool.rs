//! Pooling: maxima and sums of windows that move over planes, and their adjoints.

use std::ops::AddAssign;

use vorpal_shaders::{Linker, POOL_MAX, POOL_MAX_BACKWARD, POOL_SUM, POOL_SUM_BACKWARD, Shader};
use vorpal_tensor::{DType, Element, Result};

use crate::interp::for_each;
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// Elements a window may have: software adapters end longer loops early.
pub const POOL_WINDOW_MAX: usize = 60_000;

/// Sizes of a pooling of planes. Pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Planes: images times channels.
    pub planes: usize,
    /// Pixels of a plane.
    pub input: [usize; 2],
    /// Elements of the window.
    pub window: [usize; 2],
    /// Pixels of a result.
    pub output: [usize; 2],
    /// Steps of the window.
    pub stride: [usize; 2],
    /// Pixels outside on each side.
    pub padding: [usize; 2],
    /// Distance of the elements of the window.
    pub dilation: [usize; 2],
}

impl PoolShape {
    /// Elements of all planes.
    pub fn input_len(&self) -> usize {
        self.planes * self.input[0] * self.input[1]
    }
    /// Elements of all results.
    pub fn output_len(&self) -> usize {
        self.planes * self.output[0] * self.output[1]
    }

    /// Calls `f(output place, input place)` for every element of every window of a plane that is inside, windows in
    /// order.
    fn each(&self, mut f: impl FnMut(usize, usize)) {
        let under = |axis: usize, o: usize, k: usize| {
            let at = (o * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.padding[axis])?;
            (at < self.input[axis]).then_some(at)
        };
        for oy in 0..self.output[0] {
            for ox in 0..self.output[1] {
                for iy in (0..self.window[0]).filter_map(|ky| under(0, oy, ky)) {
                    for ix in (0..self.window[1]).filter_map(|kx| under(1, ox, kx)) {
                        f(oy * self.output[1] + ox, iy * self.input[1] + ix);
                    }
                }
            }
        }
    }
}

/// What is done with the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolPass {
    /// Place in its plane (`U32`) of the maximum: the first of equal ones, the first NaN if there is one; the padding is
    /// never it. Every window must hold a pixel.
    MaxPlace,
    /// From values at the windows and their places: every pixel is the sum of the values whose place it is.
    MaxBackward,
    /// Sum; the padding counts as zeros.
    Sum,
    /// Every pixel is the sum of the values at the windows that hold it.
    SumBackward,
}

/// A pooling of gapless planes.
#[derive(Clone, Debug)]
pub struct Pool {
    shape: PoolShape,
    pass: PoolPass,
    dtype: DType,
    offsets: [usize; 2],
}

impl Pool {
    /// A pass over elements of `dtype` (f32; natively f64, too) that start at the first of `offsets`; places start at
    /// the second.
    pub fn new(shape: PoolShape, pass: PoolPass, dtype: DType, offsets: [usize; 2]) -> Pool {
        Pool { shape, pass, dtype, offsets }
    }

    fn len(&self) -> usize {
        match self.pass {
            PoolPass::MaxPlace | PoolPass::Sum => self.shape.output_len(),
            PoolPass::MaxBackward | PoolPass::SumBackward => self.shape.input_len(),
        }
    }

    fn native<T>(&self, run: &mut CpuRun<'_>) -> Result<()>
    where
        T: Element<Stored = T> + bytemuck::Pod + PartialOrd + AddAssign + Default + Send + Sync,
    {
        if self.len() == 0 {
            return Ok(());
        }
        let shape = self.shape;
        let (input, output) = (shape.input[0] * shape.input[1], shape.output[0] * shape.output[1]);
        let x = &run.read::<T>(0)?[self.offsets[0]..];
        match self.pass {
            PoolPass::MaxPlace => {
                let tasks = run.write::<u32>(1)?.chunks_mut(output).zip(x.chunks(input)).collect();
                for_each(tasks, |(out, x): (&mut [u32], &[T])| {
                    out.fill(u32::MAX);
                    let is_nan = |v: T| v.partial_cmp(&v).is_none();
                    shape.each(|o, i| {
                        let better = match x.get(out[o] as usize) {
                            None => true,
                            Some(&best) => !is_nan(best) && (x[i] > best || is_nan(x[i])),
                        };
                        if better {
                            out[o] = i as u32;
                        }
                    });
                    Ok(())
                })
            }
            PoolPass::Sum => {
                let tasks = run.write::<T>(1)?.chunks_mut(output).zip(x.chunks(input)).collect();
                for_each(tasks, |(out, x): (&mut [T], &[T])| {
                    out.fill(T::default());
                    shape.each(|o, i| out[o] += x[i]);
                    Ok(())
                })
            }
            PoolPass::SumBackward => {
                let out = run.write::<T>(1)?;
                out.fill(T::default());
                let tasks = out.chunks_mut(input).zip(x.chunks(output.max(1))).collect();
                for_each(tasks, |(out, dy): (&mut [T], &[T])| {
                    shape.each(|o, i| out[i] += dy[o]);
                    Ok(())
                })
            }
            PoolPass::MaxBackward => {
                let places = &run.read::<u32>(1)?[self.offsets[1]..];
                let out = run.write::<T>(2)?;
                out.fill(T::default());
                let values = x.chunks(output.max(1)).zip(places.chunks(output.max(1)));
                let tasks = out.chunks_mut(input).zip(values).collect();
                for_each(tasks, |(out, (dy, places)): (&mut [T], (&[T], &[u32]))| {
                    for (&dy, &place) in dy.iter().zip(places) {
                        if let Some(out) = out.get_mut(place as usize) {
                            *out += dy;
                        }
                    }
                    Ok(())
                })
            }
        }
    }
}

impl Kernel for Pool {
    fn name(&self) -> &'static str {
        match self.pass {
            PoolPass::MaxPlace => "pool_max",
            PoolPass::MaxBackward => "pool_max_backward",
            PoolPass::Sum => "pool_sum",
            PoolPass::SumBackward => "pool_sum_backward",
        }
    }

    fn describe(&self) -> String {
        let PoolShape { planes, input, window, .. } = self.shape;
        format!("{} {planes}×{}×{} window {}×{}", self.name(), input[0], input[1], window[0], window[1])
    }

    fn args(&self) -> Vec<Arg> {
        let (input, output) = (self.shape.input_len(), self.shape.output_len());
        let [first, second] = self.offsets;
        let read = |len: usize| Arg::read(self.dtype, first + len);
        match self.pass {
            PoolPass::MaxPlace => vec![read(input), Arg::write(DType::U32, output)],
            PoolPass::Sum => vec![read(input), Arg::write(self.dtype, output)],
            PoolPass::SumBackward => vec![read(output), Arg::write(self.dtype, input)],
            PoolPass::MaxBackward => {
                vec![read(output), Arg::read(DType::U32, second + output), Arg::write(self.dtype, input)]
            }
        }
    }

    fn shader(&self) -> Result<Shader> {
        let shape = &self.shape;
        let linker = match self.pass {
            PoolPass::MaxPlace => Linker::new(POOL_MAX),
            PoolPass::Sum => Linker::new(POOL_SUM),
            PoolPass::SumBackward => Linker::new(POOL_SUM_BACKWARD),
            PoolPass::MaxBackward => {
                Linker::new(POOL_MAX_BACKWARD).constant("PLACES_OFFSET", self.offsets[1])
            }
        };
        Ok(linker
            .constant("X_OFFSET", self.offsets[0])
            .constant("PLANES", shape.planes)
            .constant("HEIGHT", shape.input[0].max(1))
            .constant("WIDTH", shape.input[1].max(1))
            .constant("OUT_HEIGHT", shape.output[0].max(1))
            .constant("OUT_WIDTH", shape.output[1].max(1))
            .constant("WINDOW_Y", shape.window[0])
            .constant("WINDOW_X", shape.window[1])
            .constant("STRIDE_Y", shape.stride[0])
            .constant("STRIDE_X", shape.stride[1])
            .constant("PADDING_Y", shape.padding[0])
            .constant("PADDING_X", shape.padding[1])
            .constant("DILATION_Y", shape.dilation[0])
            .constant("DILATION_X", shape.dilation[1])
            .finish())
    }

    fn groups(&self) -> [u32; 3] {
        spread(self.len().div_ceil(64))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.dtype == DType::F64 { self.native::<f64>(&mut run) } else { self.native::<f32>(&mut run) }
    }

    fn cost(&self) -> Cost {
        let looked_at = self.shape.output_len() * self.shape.window[0] * self.shape.window[1];
        let bytes: usize = self.args().iter().map(|a| a.dtype.bytes(a.len)).sum();
        Cost { flops: looked_at as u64, bytes: bytes as u64 }
    }
}
