//! Random tensors: counter-based, the same bits on every device.

use smallvec::SmallVec;
use vorpal_kernels::shaders::PHILOX;
use vorpal_kernels::{Lane, LaneMut, ResultType, ScalarFn, philox_words, philox4x32};
use vorpal_tensor::{At, DType, Device, Error, Result, Shape};

use super::pointwise::{ADD, COS, LOG, MUL, SQRT};
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Word `a` of the stream with key `(b, c)`.
pub(super) static PHILOX_WORD: ScalarFn = ScalarFn {
    name: "philox",
    arity: 3,
    result: ResultType::U32,
    wgsl: "philox_word(a, b, c, 0u, 0u)",
    support: PHILOX,
    cpu: |x, out| {
        if let (Lane::U32(index), Lane::U32(k0), Lane::U32(k1), LaneMut::U32(out)) = (x[0], x[1], x[2], out) {
            philox_words(index, [k0, k1], [0, 0], out);
        }
    },
    flops: 60,
};

/// The upper 24 bits of a word.
static UPPER: ScalarFn = ScalarFn {
    name: "upper_24_bits",
    arity: 1,
    result: ResultType::U32,
    wgsl: "a >> 8u",
    support: "",
    cpu: |x, out| vorpal_kernels::map1(x, out, |a: u32| a >> 8),
    flops: 1,
};

/// Places `2i + b`, where the second word of a pair lies.
pub(super) static PAIR: ScalarFn = ScalarFn {
    name: "pair",
    arity: 2,
    result: ResultType::U32,
    wgsl: "a * 2u + b",
    support: "",
    cpu: |x, out| vorpal_kernels::map2(x, out, |a: u32, b: u32| a.wrapping_mul(2).wrapping_add(b)),
    flops: 2,
};

/// Word `a` of the stream with key `(b, c)` that keys are drawn from: apart from all numbers.
static PHILOX_KEY: ScalarFn = ScalarFn {
    name: "philox_key",
    arity: 3,
    result: ResultType::U32,
    wgsl: "philox_word(a, b, c, 1u, 0u)",
    support: PHILOX,
    cpu: |x, out| {
        if let (Lane::U32(index), Lane::U32(k0), Lane::U32(k1), LaneMut::U32(out)) = (x[0], x[1], x[2], out) {
            philox_words(index, [k0, k1], [1, 0], out);
        }
    },
    flops: 60,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Uniform,
    Normal,
    /// Words of new keys.
    Keys,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Uniform => "rand",
            Kind::Normal => "randn",
            Kind::Keys => "split_key",
        }
    }

    /// Numbers at some places of the streams of some keys, which have the same shape.
    fn draw(self, cx: &mut Builder, index: NodeId, key: [NodeId; 2], dtype: DType) -> NodeId {
        let (shape, compute) = (cx.shape(index).clone(), dtype.compute());
        let out = match self {
            Kind::Keys => cx.call(&PHILOX_KEY, &[index, key[0], key[1]]),
            Kind::Uniform => uniform(cx, index, key, compute, 0.0),
            Kind::Normal => {
                // Box and Muller 1958: a radius and an angle. The radius takes 1 … 2²⁴ of 2²⁴: never log 0.
                let mut words = [0; 2];
                for (k, word) in words.iter_mut().enumerate() {
                    let which = cx.constant(k as f64, shape.clone(), DType::U32);
                    let place = cx.call(&PAIR, &[index, which]);
                    *word = uniform(cx, place, key, compute, if k == 0 { 1.0 } else { 0.0 });
                }
                let log = cx.call(&LOG.f, &[words[0]]);
                let minus_two = cx.constant(-2.0, shape.clone(), compute);
                let square = cx.call(&MUL.f, &[log, minus_two]);
                let radius = cx.call(&SQRT.f, &[square]);
                let turn = cx.constant(std::f64::consts::TAU, shape, compute);
                let angle = cx.call(&MUL.f, &[words[1], turn]);
                let cos = cx.call(&COS.f, &[angle]);
                cx.call(&MUL.f, &[radius, cos])
            }
        };
        cx.cast(out, dtype)
    }
}

/// Uniform numbers (n + offset) ∕ 2²⁴ for words of 24 bits at the given places.
fn uniform(cx: &mut Builder, place: NodeId, key: [NodeId; 2], compute: DType, offset: f64) -> NodeId {
    let shape = cx.shape(place).clone();
    let word = cx.call(&PHILOX_WORD, &[place, key[0], key[1]]);
    let upper = cx.call(&UPPER, &[word]);
    let number = cx.cast(upper, compute);
    let scale = cx.constant(1.0 / f64::from(1 << 24), shape.clone(), compute);
    let scaled = cx.call(&MUL.f, &[number, scale]);
    let offset = cx.constant(offset / f64::from(1 << 24), shape, compute);
    cx.call(&ADD.f, &[scaled, offset])
}

/// Numbers of a key that is handed to the kernels anew in every run.
#[derive(Debug)]
struct Random {
    kind: Kind,
    spec: Spec,
    key: [u32; 2],
}

impl Op for Random {
    fn name(&self) -> &'static str {
        self.kind.name()
    }
    fn infer(&self, _: &[Spec]) -> Result<Spec, Misfit> {
        Ok(self.spec.clone())
    }
    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.of_leaf(self)
    }
    fn attributes(&self, _: &mut Key) {}
    fn scalars(&self) -> SmallVec<[(f64, DType); 4]> {
        self.key.iter().map(|&k| (f64::from(k), DType::U32)).collect()
    }
    fn lower(&self, cx: &mut Builder, _: &[NodeId], scalars: &[NodeId]) -> Result<NodeId> {
        let shape = self.spec.shape.clone();
        let index = cx.linear_index(&shape);
        let mut key = [0; 2];
        for (k, &scalar) in key.iter_mut().zip(scalars) {
            *k = cx.view(scalar, |l| Some(l.broadcast_to(&shape)))?;
        }
        Ok(self.kind.draw(cx, index, key, self.spec.dtype))
    }
}

/// Numbers of every key of a tensor `[…, 2]`: `[…, own…]`.
#[derive(Clone, Debug)]
struct Keyed {
    kind: Kind,
    /// Of the numbers of one key.
    own: Spec,
}

impl Op for Keyed {
    fn name(&self) -> &'static str {
        self.kind.name()
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let Spec { shape, dtype } = &inputs[0];
        if *dtype != DType::U32 {
            return Misfit::dtype(format!("a key must be u32, found {dtype}"));
        }
        match shape.split_last() {
            Some((2, keys)) => {
                let all: Shape = keys.iter().chain(self.own.shape.iter()).copied().collect();
                Ok(Spec::new(all, self.own.dtype))
            }
            _ => Misfit::shape(format!("a key must have two words along its last axis, found {shape}")),
        }
    }
    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(self.clone())
    }
    fn attributes(&self, key: &mut Key) {
        key.push_list(&self.own.shape);
    }
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let keys = cx.shape(x[0]).clone();
        let axis = keys.rank() - 1;
        let all: Shape = keys[..axis].iter().chain(self.own.shape.iter()).copied().collect();
        let aligned: Shape = keys[..axis].iter().copied().chain(self.own.shape.iter().map(|_| 1)).collect();
        let index = cx.linear_index(&self.own.shape);
        let index = cx.view(index, |l| Some(l.broadcast_to(&all)))?;
        let mut key = [0; 2];
        for (k, word) in key.iter_mut().enumerate() {
            let part = cx.view(x[0], |l| Some(l.slice(axis, k, 1, 1)))?;
            let part = cx.view(part, |l| l.reshape(&aligned))?;
            *word = cx.view(part, |l| Some(l.broadcast_to(&all)))?;
        }
        Ok(self.kind.draw(cx, index, key, self.own.dtype))
    }
}

/// A key that nothing was drawn with yet.
pub(super) fn fresh_key(device: &Device) -> [u32; 2] {
    let [s0, s1, c0, c1] = device.next_key();
    // Keys of neighbouring counters are as unlike as any others.
    let [k0, k1, ..] = philox4x32([c0, c1, 0, 1], [s0, s1]);
    [k0, k1]
}

impl Tensor {
    /// Uniform numbers in 0..1, in steps of 2⁻²⁴. The key comes from the device: see
    /// [`Device::seed`]. The same seed gives the same bits on every device.
    #[track_caller]
    pub fn rand(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Tensor {
        Tensor::random(Kind::Uniform, shape.into(), dtype, device)
    }

    /// Normal numbers of mean 0 and variance 1, from the device's stream of keys.
    #[track_caller]
    pub fn randn(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Tensor {
        Tensor::random(Kind::Normal, shape.into(), dtype, device)
    }

    /// As [`rand`](Tensor::rand), with a key of one's own, `u32[2]`, in place of the device's stream: the same key gives
    /// the same numbers. Keys `[…, 2]` give `[…, shape…]`, each its own numbers, bit for bit those it gives alone.
    /// Inside [`vmap`](crate::vmap) this is how every example gets its own.
    ///
    /// ```
    /// # use vorpal_autodiff::{DType, Device, Tensor, vmap};
    /// let keys = Tensor::from_slice(&[7u32, 1], [2], &Device::cpu()).split_key(3);
    /// let x = vmap(&keys, 0, |key| Tensor::rand_from_key(key, [4], DType::F32))?;
    /// assert_eq!(x.shape().dims(), &[3, 4]);
    /// let second = Tensor::rand_from_key(&keys.slice(0, 1..2).squeeze(0), [4], DType::F32);
    /// assert_eq!(x.to_vec::<f32>()?[4..8], second.to_vec::<f32>()?);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn rand_from_key(key: &Tensor, shape: impl Into<Shape>, dtype: DType) -> Tensor {
        Tensor::keyed(key, Kind::Uniform, Spec::new(shape, dtype), At::caller())
    }

    /// As [`randn`](Tensor::randn), with a key of one's own: see [`rand_from_key`](Tensor::rand_from_key).
    #[track_caller]
    pub fn randn_from_key(key: &Tensor, shape: impl Into<Shape>, dtype: DType) -> Tensor {
        Tensor::keyed(key, Kind::Normal, Spec::new(shape, dtype), At::caller())
    }

    /// `n` new keys `u32[n, 2]` from a key `u32[2]`: `jax.random.split`. They are unlike one another and unlike the
    /// numbers that the old key gives.
    #[track_caller]
    pub fn split_key(&self, n: usize) -> Tensor {
        Tensor::keyed(self, Kind::Keys, Spec::new([n, 2], DType::U32), At::caller())
    }

    fn keyed(key: &Tensor, kind: Kind, own: Spec, at: At) -> Tensor {
        if kind != Kind::Keys && !own.dtype.is_float() {
            return Tensor::error(not_floats(kind, &own, at));
        }
        Tensor::apply(Keyed { kind, own }, &[key], at)
    }

    #[track_caller]
    fn random(kind: Kind, shape: Shape, dtype: DType, device: &Device) -> Tensor {
        let (at, spec) = (At::caller(), Spec::new(shape, dtype));
        let op = Random { kind, spec: spec.clone(), key: fresh_key(device) };
        if !dtype.is_float() {
            return Tensor::error(not_floats(kind, &spec, at));
        }
        Tensor::leaf(op, spec, device, None, at)
    }
}

fn not_floats(kind: Kind, spec: &Spec, at: At) -> Error {
    let message = format!("needs floats, asked for {}", spec.dtype);
    Error::DType { op: kind.name(), message, operands: spec.to_string(), at }
}
