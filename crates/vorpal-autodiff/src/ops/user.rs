//! Kernels that a program brings along: WGSL text, a native body and derivatives become an op.

use std::sync::Arc;

use vorpal_kernels::shaders::Shader;
use vorpal_kernels::{Arg, Cost, CpuRun, Kernel, Wgsl, spread};
use vorpal_tensor::{At, DType, Error, Result};

use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

type Infer = fn(&[Spec]) -> Result<Spec, Misfit>;
type Constants = fn(&[Spec], &Spec) -> Vec<(&'static str, f64)>;
type Groups = fn(&[Spec], &Spec) -> [u32; 3];
type Native = fn(CpuRun<'_>, &[Spec], &Spec) -> Result<()>;
type Pull = Arc<dyn Fn(&Vjp<'_>) -> Vec<Option<Tensor>> + Send + Sync>;

#[derive(Clone)]
enum Batching {
    None,
    Elementwise,
    Rule(Arc<dyn Fn(&Vmap<'_>) -> Tensor + Send + Sync>),
}

/// An op whose value is computed by a shader of one's own. Make it once and call it as often as needed.
///
/// # The shader
/// Valid WGSL by itself, entry point `main`. Operand k is `@group(0) @binding(k) var<storage, read>`, the result is
/// the last binding, `var<storage, read_write>`, each `array<f32>`, `array<i32>` or `array<u32>` (truth values are
/// `u32` 0 or 1). Operands arrive without gaps, in row-major order; every element of the result must be written.
/// 16-bit floats are converted to f32 on the way in and back on the way out. Buffers may be longer than the tensors:
/// sizes come as `override` constants, not by `arrayLength`. `override COUNT: u32` is set to the number of elements of
/// the result; others are set by [`with_constants`](CustomKernel::with_constants).
///
/// It runs with one invocation for each element of the result, in workgroups counted in x, then y:
/// `(workgroup_id.x + workgroup_id.y * num_workgroups.x) * workgroup_size + local_invocation_index`, some of them past
/// the end. [`with_groups`](CustomKernel::with_groups) launches otherwise.
///
/// # What else it can be given
/// The rule of shapes and dtypes ([`with_infer`](CustomKernel::with_infer); by default all operands are alike and the
/// result is like them), a native body ([`with_native`](CustomKernel::with_native); without it the op is an
/// [`Error::Device`] on the native CPU), derivative ([`with_vjp`](CustomKernel::with_vjp)) and batching rule
/// ([`with_vmap`](CustomKernel::with_vmap)); asking for a rule that is not there is an [`Error::Argument`].
///
/// ```
/// use vorpal_autodiff::{CustomKernel, Device, Tensor};
/// let squared_relu = CustomKernel::new(
///     "squared_relu",
///     "@group(0) @binding(0) var<storage, read> x: array<f32>;
///      @group(0) @binding(1) var<storage, read_write> out: array<f32>;
///      override COUNT: u32 = 1u;
///      @compute @workgroup_size(64)
///      fn main(
///          @builtin(workgroup_id) wg: vec3<u32>,
///          @builtin(num_workgroups) wgs: vec3<u32>,
///          @builtin(local_invocation_index) lane: u32,
///      ) {
///          let i = (wg.x + wg.y * wgs.x) * 64u + lane;
///          if i < COUNT {
///              let v = max(x[i], 0.0);
///              out[i] = v * v;
///          }
///      }",
/// )?
/// .with_native(|mut run, _, _| {
///     let (x, out) = (run.read::<f32>(0)?, run.write::<f32>(1)?);
///     out.iter_mut().zip(x).for_each(|(o, &x)| *o = x.max(0.0).powi(2));
///     Ok(())
/// })
/// .with_vjp(|v| vec![Some(v.inputs[0].relu() * 2.0 * v.grad)])
/// .elementwise();
/// let x = Tensor::from_slice(&[-1.0f32, 3.0], [2], &Device::cpu());
/// assert_eq!(squared_relu.call(&[&x]).to_vec::<f32>()?, [0.0, 9.0]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
#[derive(Clone)]
pub struct CustomKernel {
    name: &'static str,
    wgsl: Arc<Wgsl>,
    infer: Infer,
    constants: Option<Constants>,
    groups: Option<Groups>,
    native: Option<Native>,
    vjp: Option<Pull>,
    vmap: Batching,
}

impl CustomKernel {
    /// An op of a name and a shader.
    ///
    /// # Errors
    /// [`Error::Shader`] with naga's message when the shader is not valid or does not keep the contract.
    pub fn new(name: &'static str, wgsl: &str) -> Result<CustomKernel> {
        let wgsl = Arc::new(Wgsl::new(name, wgsl)?);
        let (infer, constants, groups) = (alike as Infer, None, None);
        Ok(CustomKernel {
            name,
            wgsl,
            infer,
            constants,
            groups,
            native: None,
            vjp: None,
            vmap: Batching::None,
        })
    }

    /// Shape and dtype of the result from those of the operands, or why they do not fit.
    #[must_use]
    pub fn with_infer(self, infer: Infer) -> CustomKernel {
        CustomKernel { infer, ..self }
    }

    /// Values of further `override` constants, from operands and result.
    #[must_use]
    pub fn with_constants(self, constants: Constants) -> CustomKernel {
        CustomKernel { constants: Some(constants), ..self }
    }

    /// Workgroups to launch, each count within 65,535 (see [`spread`]), from operands and result.
    #[must_use]
    pub fn with_groups(self, groups: Groups) -> CustomKernel {
        CustomKernel { groups: Some(groups), ..self }
    }

    /// The same on host memory: arguments are the operands, then the result. It sees 16-bit floats as f32, and f64
    /// where the tensors are.
    #[must_use]
    pub fn with_native(self, native: Native) -> CustomKernel {
        CustomKernel { native: Some(native), ..self }
    }

    /// The derivative rule: a cotangent for each operand, as a graph.
    #[must_use]
    pub fn with_vjp(
        self,
        vjp: impl Fn(&Vjp<'_>) -> Vec<Option<Tensor>> + Send + Sync + 'static,
    ) -> CustomKernel {
        CustomKernel { vjp: Some(Arc::new(vjp)), ..self }
    }

    /// The batching rule. It may call other ops or another kernel.
    #[must_use]
    pub fn with_vmap(self, vmap: impl Fn(&Vmap<'_>) -> Tensor + Send + Sync + 'static) -> CustomKernel {
        CustomKernel { vmap: Batching::Rule(Arc::new(vmap)), ..self }
    }

    /// Says that the kernel works element by element, whatever the shape: the batching rule is the same kernel on all
    /// examples at once.
    #[must_use]
    pub fn elementwise(self) -> CustomKernel {
        CustomKernel { vmap: Batching::Elementwise, ..self }
    }

    /// The op on some operands.
    #[track_caller]
    pub fn call(&self, operands: &[&Tensor]) -> Tensor {
        let at = At::caller();
        let expected = self.wgsl.buffers.len() - 1;
        if operands.len() != expected {
            let message = format!("{} operands, the shader binds {expected}", operands.len());
            return Tensor::error(Error::Argument { op: self.name, message, at });
        }
        if self.native.is_none() && operands.iter().any(|x| x.device().is_ok_and(|d| d.is_cpu())) {
            let message = "the kernel has no native body and runs on adapters only".to_string();
            return Tensor::error(Error::Device { op: self.name, message, at });
        }
        Tensor::apply(self.clone(), operands, at)
    }
}

/// All operands alike, the result like them.
fn alike(operands: &[Spec]) -> Result<Spec, Misfit> {
    match operands.iter().find(|o| **o != operands[0]) {
        Some(other) => Misfit::shape(format!("operands must be alike, {} and {other} are not", operands[0])),
        None => Ok(operands[0].clone()),
    }
}

/// What a shader declares for elements of a dtype.
fn declared(dtype: DType) -> Option<DType> {
    match dtype {
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 => Some(DType::F32),
        DType::I32 => Some(DType::I32),
        DType::U32 | DType::Bool => Some(DType::U32),
        _ => None,
    }
}

impl std::fmt::Debug for CustomKernel {
    /// Everything the launch depends on: it is the identity of the kernel.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CustomKernel { name, wgsl, constants, groups, native, .. } = self;
        write!(f, "{name} {constants:?} {groups:?} {native:?} {}", wgsl.source)
    }
}

impl Op for CustomKernel {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, operands: &[Spec]) -> Result<Spec, Misfit> {
        let result = (self.infer)(operands)?;
        for (k, (spec, (_, dtype))) in operands.iter().chain([&result]).zip(&self.wgsl.buffers).enumerate() {
            if declared(spec.dtype) != Some(*dtype) {
                let what = if k < operands.len() { format!("operand {k}") } else { "the result".to_string() };
                return Misfit::dtype(format!("{what} is {}, the shader binds array<{dtype}>", spec.dtype));
            }
        }
        Ok(result)
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        if let Some(vjp) = &self.vjp {
            return vjp(v);
        }
        let missing = |at| {
            let message = "the kernel has no derivative rule".to_string();
            Tensor::error(Error::Argument { op: self.name, message, at })
        };
        let at = v.output.ready().map(|node| node.at);
        let error = at.map_or_else(Tensor::error, missing);
        v.inputs.iter().map(|x| x.dtype().is_float().then(|| error.clone())).collect()
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        match &self.vmap {
            Batching::Rule(rule) => rule(v),
            Batching::Elementwise => v.apply(self.clone()),
            Batching::None => {
                let message = "the kernel has no batching rule".to_string();
                Tensor::error(Error::Argument { op: self.name, message, at: v.at })
            }
        }
    }

    fn attributes(&self, key: &mut Key) {
        key.push_text(&format!("{self:?}"));
    }

    fn lower(&self, cx: &mut Builder, inputs: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        // As the shader sees them: 16-bit floats widened.
        let mut wide = Vec::with_capacity(inputs.len());
        for &input in inputs {
            wide.push(cx.cast(input, cx.dtype(input).compute()));
        }
        let spec = |cx: &Builder, x: NodeId| Spec::new(cx.shape(x).clone(), cx.dtype(x));
        let stored: Vec<Spec> = inputs.iter().map(|&x| spec(cx, x)).collect();
        let result = (self.infer)(&stored)
            .map_err(|misfit| Error::internal("custom kernel", format!("{}: {misfit:?}", self.name)))?;
        let operands = wide.iter().map(|&x| spec(cx, x)).collect();
        let seen = Spec::new(result.shape.clone(), result.dtype.compute());
        let launch = Launch { op: self.clone(), operands, result: seen };
        let out = cx.kernel(Arc::new(launch), &wide, result.shape, result.dtype.compute());
        Ok(cx.cast(out, result.dtype))
    }
}

/// One launch of a kernel from outside.
#[derive(Debug)]
struct Launch {
    op: CustomKernel,
    operands: Vec<Spec>,
    result: Spec,
}

impl Kernel for Launch {
    fn name(&self) -> &'static str {
        self.op.name
    }

    fn describe(&self) -> String {
        let operands = self.operands.iter().map(Spec::to_string).collect::<Vec<_>>().join(", ");
        format!("{} of {operands} to {}", self.op.name, self.result)
    }

    fn args(&self) -> Vec<Arg> {
        let read = self.operands.iter().map(|o| Arg::read(o.dtype, o.shape.numel()));
        read.chain([Arg::write(self.result.dtype, self.result.shape.numel())]).collect()
    }

    fn shader(&self) -> Result<Shader> {
        let mut constants = self.op.constants.map_or_else(Vec::new, |f| f(&self.operands, &self.result));
        if self.op.wgsl.counts {
            constants.push(("COUNT", self.result.shape.numel() as f64));
        }
        Ok(Shader { source: self.op.wgsl.source.clone(), constants })
    }

    fn groups(&self) -> [u32; 3] {
        let count = self.result.shape.numel();
        match self.op.groups {
            _ if count == 0 => [0, 0, 0],
            Some(groups) => groups(&self.operands, &self.result),
            None => spread(count.div_ceil(self.op.wgsl.invocations)),
        }
    }

    fn run_cpu(&self, run: CpuRun<'_>) -> Result<()> {
        let missing = || Error::internal(self.op.name, "the kernel has no native body");
        (self.op.native.ok_or_else(missing)?)(run, &self.operands, &self.result)
    }

    fn cost(&self) -> Cost {
        let bytes: usize = self.args().iter().map(|a| a.dtype.bytes(a.len)).sum();
        Cost { flops: 0, bytes: bytes as u64 }
    }
}

impl Tensor {
    /// `op` applied to tensors: the way in for ops of other crates. Carries an error of an operand, of
    /// [`Op::infer`] or, without operands, an [`Error::Argument`].
    #[track_caller]
    pub fn from_op(op: impl Op, operands: &[&Tensor]) -> Tensor {
        let at = At::caller();
        if operands.is_empty() {
            let message = "an op needs at least one operand".to_string();
            return Tensor::error(Error::Argument { op: op.name(), message, at });
        }
        Tensor::apply(op, operands, at)
    }
}
