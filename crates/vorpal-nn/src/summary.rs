//! What a model is made of, as a table.

use std::fmt::{Display, Formatter, Write};

use vorpal_autodiff::compile::ir::Target;
use vorpal_autodiff::{Result, Shape, Tensor, plan};

use crate::{Module, Role};

/// Tensors of a model that share a path: those of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSummary {
    /// The path, as in `block.0.conv1`; empty for tensors of the model itself.
    pub name: String,
    /// Last part of the name and shape of every tensor.
    pub tensors: Vec<(String, Shape)>,
    /// Numbers that are trained.
    pub parameters: usize,
    /// Numbers that are kept, but not trained.
    pub buffers: usize,
}

/// What [`summary`] finds; printed, it is a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Layers in the order of the model.
    pub layers: Vec<LayerSummary>,
    /// Bytes of all parameters and buffers.
    pub bytes: usize,
    /// Shape of what the forward pass gives.
    pub output: Shape,
    /// Floating point operations of the forward pass.
    pub flops: u64,
    /// Bytes that the forward pass takes beyond parameters and inputs.
    pub activation_bytes: usize,
}

impl Summary {
    /// Numbers that are trained.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|l| l.parameters).sum()
    }
}

/// Layers, shapes and parameters of a model, and what a forward pass costs: operations and memory of the very plan
/// that would run on the model's device. Nothing runs.
///
/// ```
/// use vorpal_nn::{DType, Device, Linear, Tensor, summary};
/// let device = Device::cpu();
/// let model = vec![Linear::new(784, 128, &device), Linear::new(128, 10, &device)];
/// let x = Tensor::zeros([32, 784], DType::F32, &device);
/// let summary = summary(&model, |m| m[1].forward(&m[0].forward(&x).relu()))?;
/// assert_eq!(summary.parameters(), 784 * 128 + 128 + 128 * 10 + 10);
/// assert!(summary.flops >= 2 * 32 * (784 * 128 + 128 * 10));
/// println!("{summary}");
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
///
/// # Errors
/// An error that what `forward` gives carries.
pub fn summary<M: Module>(model: &M, forward: impl FnOnce(&M) -> Tensor) -> Result<Summary> {
    let (mut layers, mut bytes): (Vec<LayerSummary>, usize) = (Vec::new(), 0);
    model.walk("", &mut |path, role, tensor| {
        let (name, last) = path.rsplit_once('.').unwrap_or(("", path));
        if layers.last().is_none_or(|l| l.name != name) {
            let (name, tensors) = (name.to_string(), Vec::new());
            layers.push(LayerSummary { name, tensors, parameters: 0, buffers: 0 });
        }
        let Some(layer) = layers.last_mut() else { return };
        let count = tensor.shape().numel();
        match role {
            Role::Parameter => layer.parameters += count,
            Role::Buffer => layer.buffers += count,
        }
        bytes += tensor.dtype().bytes(count);
        layer.tensors.push((last.to_string(), tensor.shape()));
    });
    let output = forward(model);
    let plan = plan(&output, Target::of(output.device()?.info()))?;
    let (flops, activation_bytes) = (plan.cost().flops, plan.peak_bytes());
    Ok(Summary { layers, bytes, output: output.shape(), flops, activation_bytes })
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let row = |l: &LayerSummary| {
            let mut shapes = String::new();
            for (name, shape) in &l.tensors {
                let gap = if shapes.is_empty() { "" } else { ", " };
                let _ = write!(shapes, "{gap}{name} {shape}");
            }
            (if l.name.is_empty() { "(model)".to_string() } else { l.name.clone() }, shapes, l.parameters)
        };
        let rows: Vec<_> = self.layers.iter().map(row).collect();
        let name = rows.iter().map(|r| r.0.len()).max().unwrap_or(0).max(5);
        let shape = rows.iter().map(|r| r.1.len()).max().unwrap_or(0).max(7);
        writeln!(f, "{:name$}  {:shape$}  {:>12}", "layer", "tensors", "parameters")?;
        for (path, shapes, count) in &rows {
            writeln!(f, "{path:name$}  {shapes:shape$}  {:>12}", grouped(*count))?;
        }
        let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
        let buffers = self.layers.iter().map(|l| l.buffers).sum();
        writeln!(
            f,
            "{} parameters, {} other numbers, {:.2} MiB",
            grouped(self.parameters()),
            grouped(buffers),
            mib(self.bytes)
        )?;
        write!(
            f,
            "a forward pass to {}: {:.3} Gflop, {:.2} MiB beyond parameters and inputs",
            self.output,
            self.flops as f64 / 1e9,
            mib(self.activation_bytes)
        )
    }
}

/// A number with its digits in groups of three.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (k, digit) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
