//! Values as text.

use std::fmt::{Display, Formatter, Result as FmtResult, Write};

#[cfg(not(target_arch = "wasm32"))]
use vorpal_tensor::DType;
use vorpal_tensor::Shape;

use crate::Tensor;

/// Positions shown at each end of a long axis.
const EDGE: usize = 3;

impl Display for Tensor {
    /// The values in nested brackets, long axes shortened, then dtype, shape and device; or the error that
    /// the tensor carries. Computes the value.
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        let node = match self.ready() {
            Ok(node) => node,
            Err(error) => return write!(f, "error: {error}"),
        };
        match texts(self) {
            Ok(texts) => {
                let width = texts.iter().map(String::len).max().unwrap_or(0);
                let mut out = String::new();
                nest(&mut out, &texts, &node.spec.shape, 0, 0, width)?;
                write!(f, "{out}\n{} on {}", node.spec, node.device)
            }
            Err(error) => write!(f, "error: {error}"),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn texts(x: &Tensor) -> vorpal_tensor::Result<Vec<String>> {
    Ok(match x.dtype() {
        DType::I64 => x.to_vec::<i64>()?.iter().map(i64::to_string).collect(),
        DType::I8 => x.to_vec::<i8>()?.iter().map(i8::to_string).collect(),
        DType::U8 => x.to_vec::<u8>()?.iter().map(u8::to_string).collect(),
        DType::I32 => x.to_vec::<i32>()?.iter().map(i32::to_string).collect(),
        DType::U32 => x.to_vec::<u32>()?.iter().map(u32::to_string).collect(),
        DType::Bool => x.to_vec::<bool>()?.iter().map(bool::to_string).collect(),
        DType::F64 => x.to_vec::<f64>()?.iter().map(|v| number(*v)).collect(),
        DType::F32 | DType::F16 | DType::BF16 => {
            x.cast(DType::F32).to_vec::<f32>()?.iter().map(|v| number(f64::from(*v))).collect()
        }
    })
}

#[cfg(target_arch = "wasm32")]
fn texts(_: &Tensor) -> vorpal_tensor::Result<Vec<String>> {
    Err(vorpal_tensor::Error::internal("display", "a browser cannot wait for values"))
}

#[cfg(not(target_arch = "wasm32"))]
fn number(v: f64) -> String {
    let size = v.abs();
    if size != 0.0 && !(1e-3..1e5).contains(&size) && v.is_finite() {
        format!("{v:.3e}")
    } else {
        format!("{v:.4}")
    }
}

fn nest(
    out: &mut String,
    texts: &[String],
    shape: &Shape,
    axis: usize,
    start: usize,
    width: usize,
) -> FmtResult {
    if axis == shape.rank() {
        return write!(out, "{:>width$}", texts[start]);
    }
    let inner: usize = shape[axis + 1..].iter().product();
    let size = shape[axis];
    out.push('[');
    let mut first = true;
    for k in 0..size {
        let long = size > 2 * EDGE + 2;
        if long && (EDGE + 1..size - EDGE).contains(&k) {
            continue;
        }
        if !first {
            out.push(',');
            if axis + 1 == shape.rank() {
                out.push(' ');
            } else {
                let _ = write!(out, "\n{}", " ".repeat(axis + 1));
            }
        }
        first = false;
        if long && k == EDGE {
            out.push('…');
            continue;
        }
        nest(out, texts, shape, axis + 1, start + k * inner, width)?;
    }
    out.push(']');
    Ok(())
}
