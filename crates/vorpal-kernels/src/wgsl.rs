//! WGSL from outside: checked by naga, with what it binds.

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, ArraySize, Module, ScalarKind, ShaderStage, StorageAccess, TypeInner};
use vorpal_tensor::{DType, Error, Result};

use crate::Access;

/// Storage buffers and invocations of a workgroup under WebGPU's default limits.
const BUFFERS_MAX: usize = 8;
const INVOCATIONS_MAX: u32 = 256;

/// A shader that someone brings along, found to be valid and to keep the contract of [`Kernel`](crate::Kernel): an
/// entry point `main`, and buffers `array<f32>`, `array<i32>` or `array<u32>` at `@group(0) @binding(0..n)`, the last
/// of which is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Wgsl {
    /// The text.
    pub source: String,
    /// How each buffer is touched, and its element type: `F32`, `I32` or `U32`.
    pub buffers: Vec<(Access, DType)>,
    /// Invocations of a workgroup.
    pub invocations: usize,
    /// Whether there is an `override COUNT`.
    pub counts: bool,
}

impl Wgsl {
    /// Parses and validates a shader.
    ///
    /// # Errors
    /// [`Error::Shader`] with the name of the kernel, the line and naga's message.
    pub fn new(kernel: &str, source: &str) -> Result<Wgsl> {
        let wrong = |message: String| Error::Shader { kernel: kernel.to_string(), message };
        let at = |line: Option<u32>| line.map_or(String::new(), |line| format!("line {line}: "));
        let module = naga::front::wgsl::parse_str(source).map_err(|e| {
            wrong(format!("{}{}", at(e.location(source).map(|l| l.line_number)), e.message()))
        })?;
        Validator::new(ValidationFlags::all(), Capabilities::default()).validate(&module).map_err(|e| {
            let place = at(e.location(source).map(|l| l.line_number));
            wrong(format!("{place}{}", chain(e.as_inner())))
        })?;
        let invocations = invocations(&module).map_err(wrong)?;
        let buffers = buffers(&module).map_err(wrong)?;
        let counts = module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some("COUNT"));
        Ok(Wgsl { source: source.to_string(), buffers, invocations, counts })
    }
}

/// An error with everything behind it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text.replace('\n', " ")
}

fn invocations(module: &Module) -> Result<usize, String> {
    let main = module.entry_points.iter().find(|e| e.name == "main" && e.stage == ShaderStage::Compute);
    let main = main.ok_or("there is no compute entry point `main`")?;
    let invocations = main.workgroup_size.iter().try_fold(1u32, |n, &k| n.checked_mul(k));
    match invocations {
        Some(n) if n <= INVOCATIONS_MAX => Ok(n as usize),
        _ => {
            Err(format!("a workgroup {:?} has more than {INVOCATIONS_MAX} invocations", main.workgroup_size))
        }
    }
}

fn buffers(module: &Module) -> Result<Vec<(Access, DType)>, String> {
    let mut found = Vec::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = variable.binding else { continue };
        let name = variable.name.as_deref().unwrap_or("a binding");
        let AddressSpace::Storage { access } = variable.space else {
            return Err(format!("`{name}` is no storage buffer"));
        };
        let TypeInner::Array { base, size: ArraySize::Dynamic, .. } = module.types[variable.ty].inner else {
            return Err(format!("`{name}` is no array of any length"));
        };
        let dtype = match module.types[base].inner {
            TypeInner::Scalar(s) if s.width == 4 && s.kind == ScalarKind::Float => DType::F32,
            TypeInner::Scalar(s) if s.width == 4 && s.kind == ScalarKind::Sint => DType::I32,
            TypeInner::Scalar(s) if s.width == 4 && s.kind == ScalarKind::Uint => DType::U32,
            _ => return Err(format!("elements of `{name}` are not f32, i32 or u32")),
        };
        let access = if access.contains(StorageAccess::STORE) { Access::Write } else { Access::Read };
        found.push((binding.group, binding.binding as usize, access, dtype));
    }
    found.sort_unstable_by_key(|&(group, binding, ..)| (group, binding));
    let n = found.len();
    if !(2..=BUFFERS_MAX).contains(&n) {
        return Err(format!("{n} buffers are bound, not 2 to {BUFFERS_MAX}"));
    }
    if let Some((k, _)) = found.iter().enumerate().find(|&(k, f)| (f.0, f.1) != (0, k)) {
        return Err(format!("buffers are not bound as @group(0) @binding(0..{n}): there is no binding {k}"));
    }
    let right = |k: usize, access: Access| (access == Access::Read) == (k + 1 < n);
    if let Some(k) = (0..n).find(|&k| !right(k, found[k].2)) {
        let kind =
            if k + 1 < n { "var<storage, read>: an operand" } else { "var<storage, read_write>: the result" };
        return Err(format!("binding {k} must be {kind}"));
    }
    Ok(found.into_iter().map(|(_, _, access, dtype)| (access, dtype)).collect())
}
