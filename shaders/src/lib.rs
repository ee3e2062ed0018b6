//! Every WGSL shader of Vorpal as text, and the small linker that varies and joins them.
//!
//! Each shader, with the shared files in front of it, is valid WGSL as it stands. What a kernel varies are whole
//! functions with default bodies ([`Linker::replace`]), `override` constants ([`Shader::constants`]), constants that
//! sizes of arrays depend on ([`Linker::define`]) and added declarations ([`Linker::append`]); there are no holes in
//! the text.

macro_rules! shaders {
    ($($(#[$doc:meta])* $name:ident = $($file:literal)+;)*) => {
        $($(#[$doc])* pub const $name: &str = concat!($(include_str!(concat!("../", $file))),+);)*
        /// Every shader and shared text by name.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

shaders! {
    /// Philox 4×32-10: `philox4x32` and `philox_word`. Shared functions, no entry point.
    PHILOX = "shared/philox.wgsl";

    /// `is_nan`, rounding to 16-bit floats, saturating conversions, the order of floats. Shared functions, no
    /// entry point.
    BITS = "shared/bits.wgsl";

    /// `log1p`, `expm1`, hyperbolic functions, arcs and more. Shared functions, no entry point.
    ELEMENTARY = "shared/elementary.wgsl";

    /// `erf`, `erfc` and `erfinv`. Shared functions, no entry point.
    ERF = "shared/erf.wgsl";

    /// `lgamma`, `digamma` and `polygamma`. Shared functions, no entry point.
    GAMMA = "shared/gamma.wgsl";

    /// `power`: `pow` for bases of any sign. Shared function, no entry point.
    POWER = "shared/power.wgsl";

    /// Convolution of images with filters.
    CONV_FORWARD = "shared/window.wgsl" "shared/conv.wgsl" "conv_forward.wgsl";

    /// Derivative of a convolution by its images.
    CONV_BACKWARD_DATA = "shared/window.wgsl" "shared/conv.wgsl" "conv_backward_data.wgsl";

    /// Derivative of a convolution by its filters, in shares.
    CONV_BACKWARD_WEIGHT = "shared/window.wgsl" "shared/conv.wgsl" "conv_backward_weight.wgsl";

    /// Convolution through workgroup memory.
    CONV_FORWARD_TILED = "shared/window.wgsl" "shared/conv.wgsl" "shared/memory_tile.wgsl" "conv_forward_tiled.wgsl";

    /// Derivative of a convolution by its images through workgroup memory.
    CONV_BACKWARD_DATA_TILED = "shared/window.wgsl" "shared/conv.wgsl" "shared/memory_tile.wgsl" "conv_backward_data_tiled.wgsl";

    /// Derivative of a convolution by its filters through workgroup memory, in shares.
    CONV_BACKWARD_WEIGHT_TILED = "shared/window.wgsl" "shared/conv.wgsl" "shared/memory_tile.wgsl" "conv_backward_weight_tiled.wgsl";

    /// Convolution in tiles of subgroups.
    CONV_FORWARD_BROADCAST = "shared/window.wgsl" "shared/conv.wgsl" "shared/subgroup_tile.wgsl" "conv_forward_broadcast.wgsl";

    /// Derivative of a convolution by its images in tiles of subgroups.
    CONV_BACKWARD_DATA_BROADCAST = "shared/window.wgsl" "shared/conv.wgsl" "shared/subgroup_tile.wgsl" "conv_backward_data_broadcast.wgsl";

    /// Derivative of a convolution by its filters in tiles of subgroups, in shares.
    CONV_BACKWARD_WEIGHT_BROADCAST = "shared/window.wgsl" "shared/conv.wgsl" "shared/subgroup_tile.wgsl" "conv_backward_weight_broadcast.wgsl";

    /// Place of the maximum of every window.
    POOL_MAX = "shared/window.wgsl" "shared/pool.wgsl" "pool_max.wgsl";

    /// Adjoint of picking the maxima of windows.
    POOL_MAX_BACKWARD = "shared/window.wgsl" "shared/pool.wgsl" "pool_max_backward.wgsl";

    /// Sum of every window.
    POOL_SUM = "shared/window.wgsl" "shared/pool.wgsl" "pool_sum.wgsl";

    /// Adjoint of the sums of windows.
    POOL_SUM_BACKWARD = "shared/window.wgsl" "shared/pool.wgsl" "pool_sum_backward.wgsl";

    /// Discrete Fourier transforms.
    FFT = "shared/unit_root.wgsl" "fft.wgsl";

    /// Tables of roots of unity.
    UNIT_ROOTS = "shared/unit_root.wgsl" "unit_roots.wgsl";

    /// Picking elements along an axis by number.
    GATHER = "gather.wgsl";

    /// Adding elements at numbered places along an axis.
    SCATTER_ADD = "scatter_add.wgsl";

    /// Cholesky factors.
    CHOLESKY = "shared/matrices.wgsl" "cholesky.wgsl";

    /// LU factors with partial pivoting.
    LU = "shared/matrices.wgsl" "lu.wgsl";

    /// QR factors as reflections.
    QR_FACTOR = "shared/matrices.wgsl" "qr_factor.wgsl";

    /// The orthogonal factor that reflections make.
    QR_FORM = "shared/matrices.wgsl" "qr_form.wgsl";

    /// Solutions of triangular systems.
    TRIANGULAR_SOLVE = "shared/matrices.wgsl" "triangular_solve.wgsl";

    /// Numbers found to be in range and in order.
    CHECKED = "checked.wgsl";

    /// Matrix product with registers alone.
    MATMUL_DIRECT = "shared/operands.wgsl" "shared/matmul.wgsl" "matmul_direct.wgsl";

    /// Matrix product in tiles of subgroups.
    MATMUL_BROADCAST = "shared/subgroup_tile.wgsl" "shared/operands.wgsl" "shared/matmul.wgsl" "matmul_broadcast.wgsl";

    /// `wide_four`: floats read in words of 64 bits. Shared function, no entry point.
    WIDE = "shared/wide.wgsl";

    /// Matrix product through workgroup memory.
    MATMUL_TILED = "shared/operands.wgsl" "shared/matmul.wgsl" "matmul_tiled.wgsl" "shared/matmul_tile.wgsl";

    /// Matrix product of halves by subgroups that multiply matrices.
    MATMUL_COOPERATIVE = "shared/eights.wgsl" "shared/operands_f16.wgsl" "shared/matmul.wgsl"
        "matmul_cooperative.wgsl" "shared/matmul_tile.wgsl";

    /// Attention.
    ATTENTION_FORWARD = "shared/attention.wgsl" "shared/attention_keys.wgsl" "attention_forward.wgsl";

    /// Derivative of attention by the queries.
    ATTENTION_BACKWARD_Q = "shared/attention.wgsl" "shared/attention_backward.wgsl" "shared/attention_keys.wgsl"
        "attention_backward_q.wgsl";

    /// Derivatives of attention by keys and values.
    ATTENTION_BACKWARD_KV = "shared/attention.wgsl" "shared/attention_backward.wgsl" "shared/attention_queries.wgsl"
        "attention_backward_kv.wgsl";

    /// Attention of halves by subgroups that multiply matrices.
    ATTENTION_FORWARD_COOPERATIVE = "shared/eights.wgsl" "shared/attention_matrices.wgsl" "shared/attention_keys_matrices.wgsl"
        "attention_forward_cooperative.wgsl";

    /// Derivative of attention of halves by the queries.
    ATTENTION_BACKWARD_Q_COOPERATIVE = "shared/eights.wgsl" "shared/attention_matrices.wgsl" "shared/attention_backward_matrices.wgsl"
        "shared/attention_keys_matrices.wgsl" "attention_backward_q_cooperative.wgsl";

    /// Derivatives of attention of halves by keys and values.
    ATTENTION_BACKWARD_KV_COOPERATIVE = "shared/eights.wgsl" "shared/attention_matrices.wgsl" "shared/attention_backward_matrices.wgsl"
        "attention_backward_kv_cooperative.wgsl";

    /// Derivative of attention by what is added to its scores.
    ATTENTION_BACKWARD_BIAS = "shared/attention.wgsl" "shared/attention_backward.wgsl" "shared/attention_queries.wgsl"
        "attention_backward_bias.wgsl";

    /// Dropout inside of attention: `has_draw`. Shared functions for shaders of attention.
    ATTENTION_DRAWS = "shared/philox.wgsl" "shared/attention_draws.wgsl";

    /// Tensors one behind the other along an axis.
    JOIN = "join.wgsl";

    /// Fused pointwise expressions.
    POINTWISE = "pointwise.wgsl";

    /// Fused reductions, one row per invocation.
    ROW_THREAD = "row_thread.wgsl";

    /// Fused reductions, one row per subgroup.
    ROW_SUBGROUP = "row_subgroup.wgsl";

    /// Fused reductions, one row per workgroup.
    ROW_GROUP = "row_group.wgsl";

    /// Prefixes along an axis.
    SCAN = "scan.wgsl";

    /// Where values belong in sorted rows.
    SEARCH_SORTED = "search_sorted.wgsl";

    /// Elements combined over segments.
    SEGMENT = "segment.wgsl";

    /// Sorting by strides that no tile holds.
    SORT_STRIDE = "sort_stride.wgsl";

    /// Sorting of tiles.
    SORT_TILE = "sort_tile.wgsl";
}

/// Copies of the body of a loop that are written out.
pub const WRITTEN_OUT_MAX: usize = 16;

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

    /// Moves the buffer `name` to another binding, so that buffers of options find room before it.
    ///
    /// # Errors
    /// A message when the file has no such buffer.
    pub fn rebind(mut self, name: &str, binding: usize) -> Result<Linker, String> {
        const HEAD: &str = "@binding(";
        let missing = || format!("no buffer `{name}` in the shader");
        let declared = self.text.find(&format!("> {name}:")).ok_or_else(missing)?;
        let start = self.text[..declared].rfind(HEAD).ok_or_else(missing)? + HEAD.len();
        let end = start + self.text[start..].find(')').ok_or_else(missing)?;
        self.text.replace_range(start..end, &binding.to_string());
        Ok(self)
    }

    /// Declares the elements of the buffer `name` as another type of the same bits.
    ///
    /// # Errors
    /// A message when the file has no such buffer.
    pub fn retype(mut self, name: &str, ty: &str) -> Result<Linker, String> {
        let missing = || format!("no buffer `{name}` in the shader");
        let head = format!("> {name}: array<");
        let start = self.text.find(&head).ok_or_else(missing)? + head.len();
        let end = start + self.text[start..].find(">;").ok_or_else(missing)?;
        self.text.replace_range(start..end, ty);
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
    pub fn constant(self, name: &'static str, value: usize) -> Linker {
        self.float(name, value as f64)
    }

    /// Sets an `override` constant that is a float.
    #[must_use]
    pub fn float(mut self, name: &'static str, value: f64) -> Linker {
        self.constants.push((name, value));
        self
    }

    /// Sets `const name: u32` and writes out every loop `for (var i = 0u; i < name; i++) { … }` (of any variable), so
    /// that arrays that it indexes can live in registers; those of more than [`WRITTEN_OUT_MAX`] rounds in blocks.
    ///
    /// # Errors
    /// A message when the file has no such constant or a loop does not end.
    pub fn define(mut self, name: &str, value: usize) -> Result<Linker, String> {
        let head = format!("const {name}: u32 = ");
        let start = self.text.find(&head).ok_or_else(|| format!("no constant `{name}` in the shader"))?;
        let start = start + head.len();
        let end = start + self.text[start..].find(';').ok_or("a constant without end")?;
        self.text.replace_range(start..end, &format!("{value}u"));
        let bound = format!(" < {name}; ");
        let mut from = 0;
        while let Some(at) = self.text[from..].find(&bound).map(|at| from + at) {
            let start = self.text[..at].rfind("for (var ").ok_or("a bound outside of a loop")?;
            let variable = self.text[start + "for (var ".len()..]
                .split(' ')
                .next()
                .ok_or("a loop without a variable")?
                .to_string();
            let open = at + bound.len() + format!("{variable}++) ").len();
            if !self.text[at + bound.len()..].starts_with(&format!("{variable}++) {{")) {
                from = at + bound.len();
                continue;
            }
            if self.text[start..at] != format!("for (var {variable} = 0u; {variable}") {
                return Err(format!("the loop of {variable} up to {name} does not begin at 0u"));
            }
            let length = block_len(&self.text[open..]).ok_or("a loop without end")?;
            let body = &self.text[open..open + length];
            let copy = |k: &str| replace_word(body, &variable, k);
            // Many copies would take long to compile: blocks of them in a loop.
            let blocks = if value > WRITTEN_OUT_MAX { value / WRITTEN_OUT_MAX } else { 0 };
            let in_blocks = blocks * WRITTEN_OUT_MAX;
            let mut written = Vec::new();
            if blocks > 0 {
                let step = WRITTEN_OUT_MAX;
                written.push(format!(
                    "for (var {variable}_0 = 0u; {variable}_0 < {in_blocks}u; {variable}_0 += {step}u) {{"
                ));
                written.extend((0..step).map(|k| copy(&format!("({variable}_0 + {k}u)"))));
                written.push("}".to_string());
            }
            written.extend((in_blocks..value).map(|k| copy(&format!("{k}u"))));
            self.text.replace_range(start..open + length, &written.join("\n"));
        }
        Ok(self)
    }

    /// Writes every line that ends in `// each NAME` so many times, number k with the names that end in `_0` ending in `_k`
    /// and `0u` as `ku`: variables that cannot be elements of an array.
    ///
    /// # Errors
    /// A message when the file has no such line.
    pub fn each(mut self, name: &str, count: usize) -> Result<Linker, String> {
        let mark = format!(" // each {name}");
        let (mut text, mut found) = (String::with_capacity(self.text.len()), false);
        for line in self.text.lines() {
            match line.strip_suffix(&mark) {
                None => text += &format!("{line}\n"),
                Some(line) => {
                    found = true;
                    for k in 0..count {
                        let copy = replace_word(line, "0u", &format!("{k}u"));
                        text += &format!("{}\n", replace_suffix(&copy, k));
                    }
                }
            }
        }
        self.text = text;
        if found { Ok(self) } else { Err(format!("no line for each {name} in the shader")) }
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

/// Bytes of the block `{ … }` a text starts with.
fn block_len(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// A text with another number at the end of names that end in `_0`.
fn replace_suffix(text: &str, k: usize) -> String {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut pieces = text.split("_0").peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(piece) = pieces.next() {
        out.push_str(piece);
        match pieces.peek() {
            Some(next) if next.starts_with(part) => out.push_str("_0"),
            Some(_) => out += &format!("_{k}"),
            None => {}
        }
    }
    out
}

/// A text with every whole word `word` replaced.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let whole = !before.ends_with(part) && !after.starts_with(part);
        // A word that ends in this one starts in what was written already.
        let whole = whole && !(before.is_empty() && out.ends_with(part));
        out.push_str(before);
        out.push_str(if whole { by } else { word });
        rest = after;
    }
    out.push_str(rest);
    out
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
    fn loops_over_a_constant_are_written_out() {
        let text = "const N: u32 = 4u;\nfn f() {\n  for (var i = 0u; i < N; i++) { if i < 9u { a[i] = ii + x_i; } }\n}\n";
        let shader = Linker::new(text).define("N", 2).expect("N is there").finish();
        assert_eq!(
            shader.source,
            "const N: u32 = 2u;\nfn f() {\n  { if 0u < 9u { a[0u] = ii + x_i; } }\n{ if 1u < 9u { a[1u] = ii + x_i; } }\n}\n"
        );
        assert!(Linker::new(text).define("M", 2).is_err());
        let late = text.replace("= 0u; ", "= 1u; ");
        assert!(late != text && Linker::new(&late).define("N", 2).is_err(), "it would be copied from 0 on");
        let long = Linker::new(text).define("N", 33).expect("N is there").finish().source;
        assert!(long.contains("for (var i_0 = 0u; i_0 < 32u; i_0 += 16u) {"), "{long}");
        assert_eq!(long.matches("a[(i_0 + 15u)]").count() + long.matches("a[32u]").count(), 2);
    }

    #[test]
    fn lines_are_written_for_each() {
        let text = "fn f() {\n    a_0 = b_0(x_00, 10u, 0u * 4u, y_0[0]); // each N\n    a_0;\n}\n";
        let shader = Linker::new(text).each("N", 2).expect("N is there").finish();
        assert_eq!(
            shader.source,
            "fn f() {\n    a_0 = b_0(x_00, 10u, 0u * 4u, y_0[0]);\n    a_1 = b_1(x_00, 10u, 1u * 4u, y_1[0]);\n    a_0;\n}\n"
        );
        assert!(Linker::new(text).each("M", 2).is_err());
    }

    #[test]
    fn buffers_move_to_other_bindings() {
        let text = "@group(0) @binding(0) var<storage, read> a: array<f32>;\n@group(0) @binding(1) var<storage, read_write> out: array<f32>;\n";
        let shader = Linker::new(text).rebind("out", 12).expect("out is there").finish();
        assert!(shader.source.contains("@binding(12) var<storage, read_write> out"), "{}", shader.source);
        assert!(shader.source.contains("@binding(0) var<storage, read> a"), "{}", shader.source);
        assert!(Linker::new(text).rebind("b", 2).is_err());
        let shader = Linker::new(text).retype("out", "vec4<f32>").expect("out is there").finish();
        assert!(shader.source.contains("read_write> out: array<vec4<f32>>;"), "{}", shader.source);
    }

    #[test]
    fn a_missing_function_is_named() {
        assert_eq!(
            Linker::new(BASE).replace("turn", "").err(),
            Some("no function `turn` in the shader".into())
        );
    }
}
