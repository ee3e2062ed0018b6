//! Random tensors: counter-based, the same bits on every device.

use smallvec::SmallVec;
use vorpal_kernels::shaders::PHILOX;
use vorpal_kernels::{Lane, Lanes, ResultType, ScalarFn, philox_word, philox4x32};
use vorpal_tensor::{At, DType, Device, Result, Shape};

use super::pointwise::{ADD, COS, LOG, MUL, SQRT};
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp};

/// Word `a` of the stream with key `(b, c)`.
static PHILOX_WORD: ScalarFn = ScalarFn {
    name: "philox",
    arity: 3,
    result: ResultType::U32,
    wgsl: "philox_word(a, b, c, 0u, 0u)",
    support: PHILOX,
    cpu: |x, out| {
        if let (Lane::U32(index), Lane::U32(k0), Lane::U32(k1), Lanes::U32(out)) = (x[0], x[1], x[2], out) {
            for (((o, &i), &a), &b) in out.iter_mut().zip(*index).zip(*k0).zip(*k1) {
                *o = philox_word(i, [a, b], [0, 0]);
            }
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
static PAIR: ScalarFn = ScalarFn {
    name: "pair",
    arity: 2,
    result: ResultType::U32,
    wgsl: "a * 2u + b",
    support: "",
    cpu: |x, out| vorpal_kernels::map2(x, out, |a: u32, b: u32| a.wrapping_mul(2).wrapping_add(b)),
    flops: 2,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Uniform,
    Normal,
}

#[derive(Debug)]
struct Random {
    kind: Kind,
    spec: Spec,
    key: [u32; 2],
}

impl Random {
    /// Uniform numbers (n + offset) ∕ 2²⁴ for words of 24 bits at the given places.
    fn uniform(&self, cx: &mut Builder, place: NodeId, key: [NodeId; 2], offset: f64) -> NodeId {
        let shape = self.spec.shape.clone();
        let word = cx.call(&PHILOX_WORD, &[place, key[0], key[1]]);
        let upper = cx.call(&UPPER, &[word]);
        let compute = self.spec.dtype.compute();
        let number = cx.cast(upper, compute);
        let scale = cx.constant(1.0 / f64::from(1 << 24), shape.clone(), compute);
        let scaled = cx.call(&MUL.f, &[number, scale]);
        let offset = cx.constant(offset / f64::from(1 << 24), shape, compute);
        cx.call(&ADD.f, &[scaled, offset])
    }
}

impl Op for Random {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Uniform => "rand",
            Kind::Normal => "randn",
        }
    }
    fn infer(&self, _: &[Spec]) -> Result<Spec, Misfit> {
        Ok(self.spec.clone())
    }
    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }
    fn attributes(&self, _: &mut Key) {}
    fn scalars(&self) -> SmallVec<[(f64, DType); 4]> {
        self.key.iter().map(|&k| (f64::from(k), DType::U32)).collect()
    }
    fn lower(&self, cx: &mut Builder, _: &[NodeId], scalars: &[NodeId]) -> Result<NodeId> {
        let (shape, compute) = (self.spec.shape.clone(), self.spec.dtype.compute());
        let index = cx.linear_index(&shape);
        let mut key = [0; 2];
        for (k, &scalar) in key.iter_mut().zip(scalars) {
            *k = cx.view(scalar, |l| Some(l.broadcast_to(&shape)))?;
        }
        let out = match self.kind {
            Kind::Uniform => self.uniform(cx, index, key, 0.0),
            Kind::Normal => {
                // Box and Muller 1958: a radius and an angle. The radius takes 1 … 2²⁴ of 2²⁴: never log 0.
                let mut words = [0; 2];
                for (k, word) in words.iter_mut().enumerate() {
                    let which = cx.constant(k as f64, shape.clone(), DType::U32);
                    let place = cx.call(&PAIR, &[index, which]);
                    *word = self.uniform(cx, place, key, if k == 0 { 1.0 } else { 0.0 });
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
        Ok(cx.cast(out, self.spec.dtype))
    }
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

    #[track_caller]
    fn random(kind: Kind, shape: Shape, dtype: DType, device: &Device) -> Tensor {
        let (at, spec) = (At::caller(), Spec::new(shape, dtype));
        let [s0, s1, c0, c1] = device.next_key();
        // Keys of neighbouring counters are as unlike as any others.
        let [k0, k1, ..] = philox4x32([c0, c1, 0, 1], [s0, s1]);
        let op = Random { kind, spec: spec.clone(), key: [k0, k1] };
        if !dtype.is_float() {
            let message = format!("needs floats, asked for {dtype}");
            let operands = spec.to_string();
            return Tensor::error(vorpal_tensor::Error::DType { op: op.name(), message, operands, at });
        }
        Tensor::leaf(op, spec, device, None, at)
    }
}
