//! Attention without a matrix of scores.

mod native;

use vorpal_shaders::{
    ATTENTION_BACKWARD_KV, ATTENTION_BACKWARD_Q, ATTENTION_FORWARD, Linker, Shader, WRITTEN_OUT_MAX,
};
use vorpal_tensor::{DType, Error, Layout, Result, Shape};

use crate::gemm::Matrix;
use crate::interp::{self, Sink, Source};
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// Columns a query, a key or a value may have: what fits the workgroup memory of WebGPU.
pub const ATTENTION_COLUMNS_MAX: usize = 256;

/// Sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Heads of each.
    pub heads: usize,
    /// Queries of each head.
    pub queries: usize,
    /// Keys and values of each head.
    pub keys: usize,
    /// Columns of a query, a key, a value.
    pub columns: usize,
}

impl AttentionShape {
    /// Heads of all sequences.
    pub fn pairs(&self) -> usize {
        self.batch * self.heads
    }

    /// Steps an invocation of a pass goes through; software adapters end loops early after 65,535.
    pub fn trips(&self, pass: AttentionPass) -> usize {
        let rows = match pass {
            AttentionPass::BackwardKv => self.queries,
            _ => self.keys,
        };
        let quads = self.columns.div_ceil(4);
        let loads = quads as f64 / 64.0;
        let blocks = if quads > WRITTEN_OUT_MAX { 2 * (quads / WRITTEN_OUT_MAX) } else { 0 };
        (rows as f64 * (1.15 + loads + blocks as f64)) as usize + 256
    }
}

/// Which results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionPass {
    /// From queries, keys and values `[batch, heads, queries, columns + 1]`: results, and in the last column
    /// logarithms of the sums of the exponentials of the scores.
    Forward,
    /// From queries, keys, values, cotangents of the results, the logarithms, and the excess `[…, queries, 1]` (their
    /// cotangents less the products of results and cotangents): the cotangent of the queries.
    BackwardQ,
    /// From the same: the cotangents of keys and values, `[2, batch, heads, keys, columns]`.
    BackwardKv,
}

/// softmax(scale · Q Kᵀ) V for each head, with memory linear in the number of rows (Dao et al. 2022), in f32
/// (natively f64, too); operands may have any strides.
#[derive(Clone, Debug)]
pub struct Attention {
    shape: AttentionShape,
    pass: AttentionPass,
    causal: bool,
    scale: f64,
    dtype: DType,
    operands: Vec<Operand>,
}

/// How a tensor `[batch, heads, rows, columns]` lies.
#[derive(Clone, Copy, Debug)]
struct Operand {
    /// Elements its buffer holds at least.
    len: usize,
    offset: isize,
    strides: [isize; 4],
}

impl Operand {
    /// Rows of one head from `first` on.
    fn rows(&self, batch: usize, head: usize, first: usize) -> Matrix {
        let [b, h, r, c] = self.strides;
        let offset = self.offset + batch as isize * b + head as isize * h + first as isize * r;
        Matrix { offset, row_stride: r, column_stride: c }
    }
}

impl Attention {
    /// A pass over windows `[batch, heads, rows, columns]`, in the order of [`AttentionPass`]. `causal`: query t sees
    /// the keys up to t + keys − queries. `None` when a window is padded or does not have the shape it should.
    pub fn new(
        shape: AttentionShape,
        pass: AttentionPass,
        causal: bool,
        scale: f64,
        dtype: DType,
        windows: &[Layout],
    ) -> Option<Attention> {
        let AttentionShape { batch, heads, queries, keys, columns } = shape;
        let of = |rows: usize, columns: usize| Shape::from([batch, heads, rows, columns]);
        let (q, kv, one) = (of(queries, columns), of(keys, columns), of(queries, 1));
        let wanted = match pass {
            AttentionPass::Forward => vec![&q, &kv, &kv],
            _ => vec![&q, &kv, &kv, &q, &one, &one],
        };
        let fits = wanted.len() == windows.len()
            && (1..=ATTENTION_COLUMNS_MAX).contains(&columns)
            && matches!(dtype, DType::F32 | DType::F64)
            && wanted.iter().zip(windows).all(|(&w, l)| *w == l.shape && l.bounds.is_empty());
        if !fits {
            return None;
        }
        let operands = windows.iter().map(|l| Operand {
            len: l.span(),
            offset: l.offset,
            strides: [l.strides[0], l.strides[1], l.strides[2], l.strides[3]],
        });
        Some(Attention { shape, pass, causal, scale, dtype, operands: operands.collect() })
    }

    /// Shape of the result.
    pub fn result(shape: &AttentionShape, pass: AttentionPass) -> Shape {
        let AttentionShape { batch, heads, queries, keys, columns } = *shape;
        match pass {
            AttentionPass::Forward => Shape::from([batch, heads, queries, columns + 1]),
            AttentionPass::BackwardQ => Shape::from([batch, heads, queries, columns]),
            AttentionPass::BackwardKv => Shape::from([2, batch, heads, keys, columns]),
        }
    }

    /// Rows that fit the workgroup memory.
    fn tile(quads: usize) -> usize {
        // Two rows of vectors and two more numbers for each.
        ((16 << 10) / (32 * quads + 8)).min(64)
    }
}

impl Kernel for Attention {
    fn name(&self) -> &'static str {
        match self.pass {
            AttentionPass::Forward => "attention_forward",
            AttentionPass::BackwardQ => "attention_backward_q",
            AttentionPass::BackwardKv => "attention_backward_kv",
        }
    }

    fn describe(&self) -> String {
        let AttentionShape { queries, keys, columns, .. } = self.shape;
        let causal = if self.causal { " causal" } else { "" };
        format!("{} {}×[{queries}×{keys}×{columns}]{causal}", self.name(), self.shape.pairs())
    }

    fn args(&self) -> Vec<Arg> {
        let mut args: Vec<Arg> = self.operands.iter().map(|o| Arg::read(self.dtype, o.len)).collect();
        args.push(Arg::write(self.dtype, Attention::result(&self.shape, self.pass).numel()));
        args
    }

    fn shader(&self) -> Result<Shader> {
        const NAMES: [[&str; 5]; 6] = [
            ["Q_OFFSET", "Q_B", "Q_H", "Q_R", "Q_C"],
            ["K_OFFSET", "K_B", "K_H", "K_R", "K_C"],
            ["V_OFFSET", "V_B", "V_H", "V_R", "V_C"],
            ["O_OFFSET", "O_B", "O_H", "O_R", "O_C"],
            ["L_OFFSET", "L_B", "L_H", "L_R", ""],
            ["E_OFFSET", "E_B", "E_H", "E_R", ""],
        ];
        let base = match self.pass {
            AttentionPass::Forward => ATTENTION_FORWARD,
            AttentionPass::BackwardQ => ATTENTION_BACKWARD_Q,
            AttentionPass::BackwardKv => ATTENTION_BACKWARD_KV,
        };
        let wrong = |message| Error::internal("attention", message);
        let quads = self.shape.columns.div_ceil(4);
        let mut linker = Linker::new(base)
            .define("QUADS", quads)
            .and_then(|l| l.define("TILE", Attention::tile(quads)))
            .map_err(wrong)?;
        // Without elements nothing is launched, but constants must still make sense.
        let mut shape = self.shape;
        match self.pass {
            AttentionPass::BackwardKv => shape.keys = shape.keys.max(1),
            _ => shape.queries = shape.queries.max(1),
        }
        linker = linker
            .constant("PAIRS", shape.pairs().max(1))
            .constant("HEADS", shape.heads.max(1))
            .constant("QUERIES", shape.queries)
            .constant("KEYS", shape.keys)
            .constant("COLUMNS", shape.columns)
            .constant("CAUSAL", usize::from(self.causal))
            .float("SCALE", self.scale);
        for (names, operand) in NAMES.iter().zip(&self.operands) {
            let numbers = [operand.offset].into_iter().chain(operand.strides);
            for (name, number) in names.iter().zip(numbers).filter(|(name, _)| !name.is_empty()) {
                // Places are modulo 2³², so negative strides need no signs.
                linker = linker.constant(name, number as u32 as usize);
            }
        }
        Ok(linker.finish())
    }

    fn groups(&self) -> [u32; 3] {
        let rows = match self.pass {
            AttentionPass::BackwardKv => self.shape.keys,
            _ => self.shape.queries,
        };
        spread(self.shape.pairs() * rows.div_ceil(64))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        let arguments = interp::take(&mut run, &self.args(), 0)?;
        let wrong = || Error::internal("attention", "operands and result must be floats of one dtype");
        let out = arguments.sinks.into_iter().next().ok_or_else(wrong)?.1;
        macro_rules! run {
            ($variant:ident, $out:ident) => {{
                let mut sources = Vec::with_capacity(self.operands.len());
                for source in arguments.sources.iter().take(self.operands.len()) {
                    match source {
                        Some(Source::$variant(source)) => sources.push(*source),
                        _ => return Err(wrong()),
                    }
                }
                self.native(&sources, $out)
            }};
        }
        match out {
            Sink::F32(out) => run!(F32, out),
            Sink::F64(out) => run!(F64, out),
            _ => Err(wrong()),
        }
    }

    fn cost(&self) -> Cost {
        let AttentionShape { queries, keys, columns, .. } = self.shape;
        let products = match self.pass {
            AttentionPass::Forward => 2,
            AttentionPass::BackwardQ => 3,
            AttentionPass::BackwardKv => 4,
        };
        let seen = if self.causal { queries * keys / 2 } else { queries * keys };
        let bytes: usize = self.args().iter().map(|a| a.dtype.bytes(a.len)).sum();
        Cost { flops: (2 * products * columns * seen * self.shape.pairs()) as u64, bytes: bytes as u64 }
    }
}
