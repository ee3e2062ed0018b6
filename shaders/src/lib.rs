//! Every WGSL shader of Vorpal as text, and the small linker that varies and joins them.
//!
//! Each file in `shaders/` is valid WGSL by itself. What a kernel varies are whole functions with
//! default bodies ([`Linker::replace`]), `override` constants ([`Shader::constants`]) and added
//! declarations ([`Linker::append`]); there are no holes in the text.

/// Philox 4×32-10: `philox4x32` and `philox_word`. Shared functions, no entry point.
pub const PHILOX: &str = include_str!("../shared/philox.wgsl");

/// `is_nan`, rounding to 16-bit floats, saturating conversions, the order of floats. Shared functions, no
/// entry point.
pub const BITS: &str = include_str!("../shared/bits.wgsl");

/// `erf`, the error function. Shared function, no entry point.
pub const ERF: &str = include_str!("../shared/erf.wgsl");

/// `power`: `pow` for bases of any sign. Shared function, no entry point.
pub const POWER: &str = include_str!("../shared/power.wgsl");

/// Convolution of images with filters.
pub const CONV_FORWARD: &str = include_str!("../conv_forward.wgsl");

/// Derivative of a convolution by its images.
pub const CONV_BACKWARD_DATA: &str = include_str!("../conv_backward_data.wgsl");

/// Derivative of a convolution by its filters, in shares.
pub const CONV_BACKWARD_WEIGHT: &str = include_str!("../conv_backward_weight.wgsl");

/// Place of the maximum of every window.
pub const POOL_MAX: &str = include_str!("../pool_max.wgsl");

/// Adjoint of picking the maxima of windows.
pub const POOL_MAX_BACKWARD: &str = include_str!("../pool_max_backward.wgsl");

/// Sum of every window.
pub const POOL_SUM: &str = include_str!("../pool_sum.wgsl");

/// Adjoint of the sums of windows.
pub const POOL_SUM_BACKWARD: &str = include_str!("../pool_sum_backward.wgsl");

/// Picking elements along an axis by number.
pub const GATHER: &str = include_str!("../gather.wgsl");

/// Adding elements at numbered places along an axis.
pub const SCATTER_ADD: &str = include_str!("../scatter_add.wgsl");

/// Matrix product with registers alone.
pub const MATMUL_DIRECT: &str = include_str!("../matmul_direct.wgsl");

/// Matrix product through workgroup memory.
pub const MATMUL_TILED: &str = include_str!("../matmul_tiled.wgsl");

/// Fused pointwise expressions.
pub const POINTWISE: &str = include_str!("../pointwise.wgsl");

/// Fused reductions, one row per invocation.
pub const ROW_THREAD: &str = include_str!("../row_thread.wgsl");

/// Fused reductions, one row per workgroup.
pub const ROW_GROUP: &str = include_str!("../row_group.wgsl");

/// A complete shader, ready to compile. Its entry point is `main`.
#[derive(Clone, Debug, PartialEq)]
pub struct Shader {
    /// WGSL text.
    pub source: String,
    /// Values of `override` constants.
    pub constants: Vec<(&'static str, f64)>,
}

/// Joins one base file with replaced functions and added declarations.
#[derive(Clone, Debug)]
pub struct Linker {
    text: String,
    appended: Vec<String>,
    constants: Vec<(&'static str, f64)>,
}

impl Linker {
    /// Starts from a file of this crate.
    pub fn new(base: &str) -> Linker {
        Linker { text: base.to_owned(), appended: Vec::new(), constants: Vec::new() }
    }

    /// Replaces the whole function `name` by `function`, a complete `fn name(…) … { … }`.
    ///
    /// # Errors
    /// A message when the file has no such function.
    pub fn replace(mut self, name: &str, function: &str) -> Result<Linker, String> {
        let (start, end) =
            find_function(&self.text, name).ok_or_else(|| format!("no function `{name}` in the shader"))?;
        self.text.replace_range(start..end, function.trim_end());
        Ok(self)
    }

    /// Adds declarations (bindings, functions, shared files) after the file; a text that is already
    /// there is not added again.
    #[must_use]
    pub fn append(mut self, declarations: &str) -> Linker {
        if !declarations.is_empty() && !self.appended.iter().any(|have| have == declarations) {
            self.appended.push(declarations.to_owned());
        }
        self
    }

    /// Sets an `override` constant.
    #[must_use]
    pub fn constant(mut self, name: &'static str, value: usize) -> Linker {
        self.constants.push((name, value as f64));
        self
    }

    /// The complete shader.
    pub fn finish(self) -> Shader {
        let mut source = self.text;
        for text in self.appended {
            if !source.ends_with('\n') {
                source.push('\n');
            }
            source.push_str(&text);
        }
        Shader { source, constants: self.constants }
    }
}

/// Byte range of `fn name(…) … { … }` at the top level of a WGSL text. Comments and nested braces are
/// respected; WGSL has no string literals.
fn find_function(text: &str, name: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut start = None;
    let mut i = 0;
    while i < bytes.len() {
        if text[i..].starts_with("//") {
            i += text[i..].find('\n').unwrap_or(text.len() - i);
            continue;
        }
        if text[i..].starts_with("/*") {
            i += text[i..].find("*/").map_or(text.len() - i, |n| n + 2);
            continue;
        }
        match bytes[i] {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0
                    && let Some(start) = start
                {
                    return Some((start, i + 1));
                }
            }
            b'f' if depth == 0 && start.is_none() && is_function(&text[i..], name) => start = Some(i),
            _ => {}
        }
        i += text[i..].chars().next().map_or(1, char::len_utf8);
    }
    None
}

fn is_function(text: &str, name: &str) -> bool {
    text.strip_prefix("fn ")
        .and_then(|rest| rest.trim_start().strip_prefix(name))
        .is_some_and(|rest| rest.trim_start().starts_with('('))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "// fn twist(a: f32) { }\nfn twist(a: f32) -> f32 {\n  if (a > 0.0) { return a; }\n  return -a;\n}\nfn twister(a: f32) -> f32 { return a; }\n";

    #[test]
    fn functions_are_replaced_whole() {
        let shader = Linker::new(BASE)
            .replace("twist", "fn twist(a: f32) -> f32 { return 2.0 * a; }")
            .expect("twist is there")
            .append("fn more() {}")
            .append("fn more() {}")
            .constant("N", 3)
            .finish();
        assert_eq!(
            shader.source,
            "// fn twist(a: f32) { }\nfn twist(a: f32) -> f32 { return 2.0 * a; }\nfn twister(a: f32) -> f32 { return a; }\nfn more() {}"
        );
        assert_eq!(shader.constants, [("N", 3.0)]);
    }

    #[test]
    fn a_missing_function_is_named() {
        assert_eq!(
            Linker::new(BASE).replace("turn", "").err(),
            Some("no function `turn` in the shader".into())
        );
    }
}
