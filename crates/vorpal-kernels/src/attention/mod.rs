//! Attention without a matrix of scores.

mod cooperative;
mod native;
mod shader;

use std::ops::Range;

use vorpal_shaders::{Shader, WRITTEN_OUT_MAX};
use vorpal_tensor::{DType, Error, Layout, Result, Shape};

use crate::gemm::Matrix;
use crate::interp::{self, Sink, Source};
use crate::{Abilities, Arg, Cost, CpuRun, Kernel, spread};

pub use cooperative::AttentionCooperative;

/// Columns a query, a key or a value may have: what fits the workgroup memory of WebGPU.
pub const ATTENTION_COLUMNS_MAX: usize = 256;

/// Sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Heads of queries of each.
    pub heads: usize,
    /// Heads of keys and values of each; divides `heads`. Neighbouring heads of queries share one.
    pub kv_heads: usize,
    /// Queries of each head.
    pub queries: usize,
    /// Keys and values of each head.
    pub keys: usize,
    /// Columns of a query and a key.
    pub columns: usize,
    /// Columns of a value.
    pub value_columns: usize,
}

impl AttentionShape {
    /// Heads of all sequences.
    pub fn pairs(&self) -> usize {
        self.batch * self.heads
    }

    /// Heads of queries that share a head of keys.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads.max(1)
    }

    fn quads(&self) -> [usize; 2] {
        [self.columns.div_ceil(4), self.value_columns.div_ceil(4)]
    }
}

/// Invocations of a workgroup that brings rows through its memory.
const LANES: usize = 64;

/// Queries from which an invocation has four of them.
const ROWS_OF_FOUR: usize = 256;

/// Queries of a tile for the derivative of a bias, each with a sum of its own.
const BIAS_TILE: usize = 16;

/// Dropout of probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionDropout {
    /// Probability of 0, in 0..1; what is kept is divided by 1 − p.
    pub p: f64,
    /// Sequences that have draws of their own; those behind them draw the same again.
    pub batch: usize,
}

impl AttentionDropout {
    /// Words below this drop their probability.
    pub fn threshold(&self) -> u32 {
        (self.p * 2f64.powi(32)) as u32
    }

    /// What the others are multiplied by.
    pub fn keep(&self) -> f64 {
        1.0 / (1.0 - self.p)
    }
}

/// Which keys a query sees and what becomes of its scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionRules {
    /// Factor of the products of queries and keys.
    pub scale: f64,
    /// Keys seen before the one beside the query; key t + keys − queries is beside query t. `None` for all.
    pub left: Option<usize>,
    /// Keys seen behind the one beside the query, 0 for causal attention.
    pub right: Option<usize>,
    /// c · tanh(product ∕ c) in place of the product.
    pub softcap: Option<f64>,
    /// Whether a slope for each head times the steps from the key beside the query is taken from a score.
    pub slopes: bool,
    /// Whether each sequence has its own number of queries and of keys.
    pub lengths: bool,
    /// Dropout of probabilities.
    pub dropout: Option<AttentionDropout>,
}

/// Which results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionPass {
    /// From queries, keys and values `[batch, heads, queries, value columns + 1]`: results, and in the last column
    /// logarithms of the sums of the exponentials of the scores. A query that sees no key has the result 0.
    Forward,
    /// From queries, keys, values and cotangents of the results: the cotangent of the queries.
    BackwardQ,
    /// From the same: the cotangents of keys and values, `[batch, kv heads, keys, columns + value columns]`.
    BackwardKv,
    /// From the same, natively alone: what [`BackwardQ`](AttentionPass::BackwardQ) and
    /// [`BackwardKv`](AttentionPass::BackwardKv) give, one behind the other, from scores that are made once. A head of
    /// keys is one task.
    Backward,
    /// From the same: the cotangent of a bias, of its shape; for one that all queries share, the part of each head,
    /// `[batch, heads, 1, keys]`.
    BackwardBias,
}

/// softmax(scale · Q Kᵀ + bias) V for each head, with memory linear in the number of rows (Dao et al. 2022), in f32
/// (natively f64, too); operands may have any strides.
///
/// Arguments are the windows of the pass, then, where there are any, the *side* operands in one buffer, the bias, the
/// mask and the results so far, and last the result. Side operands lie behind one another: in backward passes the
/// logarithms `[batch, heads, queries]` and the excesses of the same shape (their cotangents less the products of
/// results and cotangents); slopes `[batch, heads]`; numbers of queries `[batch]` and of keys `[batch]`; the key of the
/// dropout in four numbers of 16 bits, the low half of each word first.
#[derive(Clone, Debug)]
pub struct Attention {
    shape: AttentionShape,
    pass: AttentionPass,
    rules: AttentionRules,
    dtype: DType,
    operands: Vec<Operand>,
    bias: Option<Operand>,
    mask: Option<Operand>,
    range: Range<usize>,
    continues: bool,
    abilities: Abilities,
}

/// How a tensor `[batch, heads, rows, columns]` lies.
#[derive(Clone, Copy, Debug)]
struct Operand {
    /// Elements its buffer holds at least.
    len: usize,
    offset: isize,
    strides: [isize; 4],
    sizes: [usize; 4],
}

impl Operand {
    /// A window whose axes have the given sizes or, where they may be repeated, 1.
    fn new(layout: &Layout, sizes: [usize; 4], repeated: bool) -> Option<Operand> {
        let dims = <[usize; 4]>::try_from(layout.shape.dims()).ok()?;
        let mut strides = [layout.strides[0], layout.strides[1], layout.strides[2], layout.strides[3]];
        for axis in 0..4 {
            if dims[axis] == sizes[axis] {
                continue;
            }
            if !repeated || dims[axis] != 1 {
                return None;
            }
            strides[axis] = 0;
        }
        let operand = Operand { len: layout.span(), offset: layout.offset, strides, sizes: dims };
        layout.bounds.is_empty().then_some(operand)
    }

    /// Whether every row is whole fours of elements at places that 4 divides.
    fn is_in_fours(&self) -> bool {
        let four = |x: isize| x % 4 == 0;
        let aligned = (0..3).all(|axis| self.sizes[axis] == 1 || four(self.strides[axis]));
        self.strides[3] == 1 && self.sizes[3].is_multiple_of(4) && four(self.offset) && aligned
    }

    /// Rows of one head from `first` on.
    fn rows(&self, batch: usize, head: usize, first: usize) -> Matrix {
        let [b, h, r, c] = self.strides;
        let offset = self.offset + batch as isize * b + head as isize * h + first as isize * r;
        Matrix { offset, row_stride: r, column_stride: c }
    }
}

impl Attention {
    /// A pass over windows `[batch, heads, rows, columns]`, in the order of [`AttentionPass`]. Axes of bias and mask
    /// (truth values, true where a query may see a key) `[batch, heads, queries, keys]` may have size 1. `None` when a
    /// window is padded or does not have the shape it should.
    pub fn new(
        shape: AttentionShape,
        pass: AttentionPass,
        rules: AttentionRules,
        dtype: DType,
        windows: &[Layout],
        bias: Option<&Layout>,
        mask: Option<&Layout>,
    ) -> Option<Attention> {
        let AttentionShape { batch, heads, kv_heads, queries, keys, columns, value_columns } = shape;
        let mut wanted = vec![
            [batch, heads, queries, columns],
            [batch, kv_heads, keys, columns],
            [batch, kv_heads, keys, value_columns],
        ];
        if pass != AttentionPass::Forward {
            wanted.push([batch, heads, queries, value_columns]);
        }
        let fits = wanted.len() == windows.len()
            && heads == shape.group() * kv_heads
            && (1..=ATTENTION_COLUMNS_MAX).contains(&columns)
            && (1..=ATTENTION_COLUMNS_MAX).contains(&value_columns)
            && matches!(dtype, DType::F32 | DType::F64)
            && (pass != AttentionPass::BackwardBias || bias.is_some());
        if !fits {
            return None;
        }
        let operands: Option<Vec<Operand>> =
            windows.iter().zip(wanted).map(|(l, sizes)| Operand::new(l, sizes, false)).collect();
        let scores = [batch, heads, queries, keys];
        let option = |layout: Option<&Layout>| match layout {
            Some(layout) => Operand::new(layout, scores, true).map(Some),
            None => Some(None),
        };
        let (bias, mask, operands) = (option(bias)?, option(mask)?, operands?);
        let mut out = Attention {
            shape,
            pass,
            rules,
            dtype,
            operands,
            bias,
            mask,
            range: 0..0,
            continues: false,
            abilities: Abilities::default(),
        };
        out.range = 0..out.turns();
        Some(out)
    }

    /// The same for devices with certain abilities.
    #[must_use]
    pub fn with_abilities(self, abilities: Abilities) -> Attention {
        Attention { abilities, ..self }
    }

    /// Invocations of a subgroup, where subgroups work together and workgroups do not. Rows so wide that they lie in memory
    /// all the same gain little and take half a minute to compile.
    fn subgroup(&self) -> Option<usize> {
        let Abilities { subgroup, slow_barriers, .. } = self.abilities;
        let [quads, value_quads] = self.shape.quads();
        let in_registers = quads.max(value_quads) <= WRITTEN_OUT_MAX;
        let alone = slow_barriers && self.pass != AttentionPass::BackwardBias && in_registers;
        subgroup.map(|lanes| lanes as usize).filter(|_| alone)
    }

    /// Invocations that work together.
    fn lanes(&self) -> usize {
        self.subgroup().unwrap_or(LANES)
    }

    /// Rows of each invocation: many where every row that comes by takes long to fetch.
    fn own(&self) -> usize {
        match self.pass {
            _ if self.subgroup().is_none() => 1,
            // A longer shader takes longer to compile.
            AttentionPass::Forward if self.shape.queries >= ROWS_OF_FOUR => 4,
            _ => 2,
        }
    }

    /// Rows that come by together: one for each lane of a subgroup, or what fits workgroup memory.
    fn tile(&self) -> usize {
        let [quads, value_quads] = self.shape.quads();
        // Two rows of vectors and two more numbers for each.
        let most = if self.pass == AttentionPass::BackwardBias { BIAS_TILE } else { LANES };
        let fit = ((16 << 10) / (16 * (quads + value_quads) + 8)).min(most);
        self.subgroup().unwrap_or(fit)
    }

    /// Rows that go by, in the unit of [`parts`](Attention::parts).
    fn turns(&self) -> usize {
        let AttentionShape { queries, keys, .. } = self.shape;
        match (self.pass, &self.bias) {
            (AttentionPass::BackwardKv, _) => queries,
            (AttentionPass::BackwardBias, _) if self.is_row() => queries.div_ceil(self.tile()),
            (AttentionPass::BackwardBias, Some(bias)) => {
                let shared = |all: usize, own: usize| if own == 1 { all } else { 1 };
                shared(self.shape.batch, bias.sizes[0]) * shared(self.shape.heads, bias.sizes[1])
            }
            _ => keys,
        }
    }

    /// Whether all queries share the bias.
    fn is_row(&self) -> bool {
        self.bias.is_some_and(|b| b.sizes[2] == 1)
    }

    /// Steps an invocation takes for one row that goes by.
    fn trips_of_a_row(&self) -> f64 {
        let [quads, value_quads] = self.shape.quads();
        // Long loops over columns are in blocks.
        let blocks = |n: usize| if n > WRITTEN_OUT_MAX { (n / WRITTEN_OUT_MAX) as f64 } else { 0.0 };
        let (over_q, over_v) = match self.pass {
            AttentionPass::Forward => (1.0, 2.0),
            AttentionPass::BackwardQ => (2.0, 1.0),
            AttentionPass::BackwardKv | AttentionPass::Backward => (2.0, 2.0),
            AttentionPass::BackwardBias => (1.0, 1.0),
        };
        let loads = (quads + value_quads) as f64 / LANES as f64 + 2.0 / self.tile() as f64;
        // Two rows share ten rounds.
        let draws = if self.rules.dropout.is_some() { 5.0 } else { 0.0 };
        1.0 + loads + over_q * blocks(quads) + over_v * blocks(value_quads) + draws
    }

    /// The pass in parts of which no invocation takes much more than `trips_max` steps. Each part of a forward pass but
    /// the first takes the results so far as an argument and goes on from there, joining by the logarithms of the sums;
    /// results of the other passes add up.
    pub fn parts(self, trips_max: usize) -> Vec<Attention> {
        let row = self.trips_of_a_row();
        let turn = match self.pass {
            AttentionPass::BackwardKv => row * self.shape.group() as f64,
            AttentionPass::BackwardBias => (row + 2.0) * self.tile() as f64,
            _ => row,
        };
        let step = ((trips_max as f64 / turn) as usize).max(1);
        let turns = self.turns();
        let mut out = vec![Attention { range: 0..step.min(turns), ..self.clone() }];
        for from in (step..turns).step_by(step) {
            let continues = self.pass == AttentionPass::Forward;
            out.push(Attention { range: from..(from + step).min(turns), continues, ..self.clone() });
        }
        out
    }

    /// Shape of the result.
    pub fn result(&self) -> Shape {
        let AttentionShape { batch, heads, kv_heads, queries, keys, columns, value_columns } = self.shape;
        match (self.pass, &self.bias) {
            (AttentionPass::BackwardQ, _) => Shape::from([batch, heads, queries, columns]),
            (AttentionPass::BackwardKv, _) => Shape::from([batch, kv_heads, keys, columns + value_columns]),
            (AttentionPass::Backward, _) => {
                let to_kv = batch * kv_heads * keys * (columns + value_columns);
                Shape::from(batch * heads * queries * columns + to_kv)
            }
            (AttentionPass::BackwardBias, Some(bias)) if !self.is_row() => {
                Shape::from([bias.sizes[0], bias.sizes[1], queries, keys])
            }
            (AttentionPass::BackwardBias, _) => Shape::from([batch, heads, 1, keys]),
            (AttentionPass::Forward, _) => Shape::from([batch, heads, queries, value_columns + 1]),
        }
    }

    /// Places of slopes, lengths and the key of the dropout in the buffer of side operands, and its length.
    fn side(&self) -> [usize; 4] {
        let AttentionShape { batch, queries, .. } = self.shape;
        let pairs = self.shape.pairs();
        let slopes = if self.pass == AttentionPass::Forward { 0 } else { 2 * pairs * queries };
        let lengths = slopes + if self.rules.slopes { pairs } else { 0 };
        let draws = lengths + if self.rules.lengths { 2 * batch } else { 0 };
        [slopes, lengths, draws, draws + if self.rules.dropout.is_some() { 4 } else { 0 }]
    }

    /// Whether there is a buffer of side operands.
    fn has_side(&self) -> bool {
        let AttentionRules { slopes, lengths, dropout, .. } = self.rules;
        self.pass != AttentionPass::Forward || slopes || lengths || dropout.is_some()
    }
}

impl Kernel for Attention {
    fn name(&self) -> &'static str {
        match self.pass {
            AttentionPass::Forward => "attention_forward",
            AttentionPass::BackwardQ => "attention_backward_q",
            AttentionPass::BackwardKv => "attention_backward_kv",
            AttentionPass::Backward => "attention_backward",
            AttentionPass::BackwardBias => "attention_backward_bias",
        }
    }

    fn describe(&self) -> String {
        let AttentionShape { queries, keys, columns, value_columns, .. } = self.shape;
        let mut text = format!("{} {}×[{queries}×{keys}×{columns}", self.name(), self.shape.pairs());
        if value_columns != columns {
            text += &format!("→{value_columns}");
        }
        text += "]";
        let rules = &self.rules;
        let options = [
            (self.shape.group() > 1, format!(" {} kv heads", self.shape.kv_heads)),
            (rules.left.is_some(), format!(" left {}", rules.left.unwrap_or_default())),
            (rules.right.is_some_and(|r| r > 0), format!(" right {}", rules.right.unwrap_or_default())),
            (rules.right == Some(0), " causal".to_string()),
            (rules.softcap.is_some(), " softcap".to_string()),
            (rules.slopes, " slopes".to_string()),
            (self.bias.is_some(), " bias".to_string()),
            (self.mask.is_some(), " mask".to_string()),
            (rules.lengths, " lengths".to_string()),
            (rules.dropout.is_some(), " dropout".to_string()),
            (self.range != (0..self.turns()), format!(" {:?}", self.range)),
        ];
        text.extend(options.into_iter().filter(|(there, _)| *there).map(|(_, text)| text));
        text
    }

    fn args(&self) -> Vec<Arg> {
        let mut args: Vec<Arg> = self.operands.iter().map(|o| Arg::read(self.dtype, o.len)).collect();
        if self.has_side() {
            args.push(Arg::read(self.dtype, self.side()[3]));
        }
        args.extend(self.bias.map(|o| Arg::read(self.dtype, o.len)));
        args.extend(self.mask.map(|o| Arg::read(DType::Bool, o.len)));
        let result = self.result().numel();
        if self.continues {
            args.push(Arg::read(self.dtype, result));
        }
        args.push(Arg::write(self.dtype, result));
        args
    }

    fn shader(&self) -> Result<Shader> {
        self.link().map_err(|message| Error::internal("attention", message))
    }

    fn groups(&self) -> [u32; 3] {
        let AttentionShape { batch, kv_heads, queries, keys, .. } = self.shape;
        let result = self.result();
        spread(match self.pass {
            AttentionPass::BackwardKv => batch * kv_heads * keys.div_ceil(self.lanes() * self.own()),
            AttentionPass::Backward => 0,
            AttentionPass::BackwardBias => {
                let rows = if self.is_row() { 1 } else { self.tile() };
                result[0] * result[1] * result[2].div_ceil(rows) * keys.div_ceil(LANES)
            }
            _ => self.shape.pairs() * queries.div_ceil(self.lanes() * self.own()),
        })
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        let arguments = interp::take(&mut run, &self.args(), 0)?;
        let wrong = || Error::internal("attention", "operands and result must be floats of one dtype");
        let out = arguments.sinks.into_iter().next().ok_or_else(wrong)?.1;
        let sources = || arguments.sources.iter().flatten();
        let mask = sources().find_map(|s| if let Source::U32(mask) = s { Some(*mask) } else { None });
        macro_rules! run {
            ($variant:ident, $out:ident) => {{
                let floats: Vec<&[_]> = sources()
                    .filter_map(|s| if let Source::$variant(x) = s { Some(*x) } else { None })
                    .collect();
                if floats.len() + usize::from(mask.is_some()) != sources().count() {
                    return Err(wrong());
                }
                self.native(&floats, mask, $out)
            }};
        }
        match out {
            Sink::F32(out) => run!(F32, out),
            Sink::F64(out) => run!(F64, out),
            _ => Err(wrong()),
        }
    }

    fn cost(&self) -> Cost {
        let AttentionShape { queries, keys, columns, value_columns, .. } = self.shape;
        let flops_of_a_score = 2 * match self.pass {
            AttentionPass::Forward => columns + value_columns,
            AttentionPass::BackwardQ => 2 * columns + value_columns,
            AttentionPass::BackwardKv => 2 * columns + 2 * value_columns,
            AttentionPass::Backward => 3 * columns + 2 * value_columns,
            AttentionPass::BackwardBias => columns + value_columns,
        };
        let most = self.rules.left.unwrap_or(keys).saturating_add(self.rules.right.unwrap_or(keys));
        let all = queries * keys;
        // Half of them where a query sees its past only.
        let causal = if self.rules.right == Some(0) { all / 2 } else { all };
        let seen = causal.min(queries.saturating_mul(most.saturating_add(1)));
        let share = self.range.len() as f64 / self.turns().max(1) as f64;
        let bytes: usize = self.args().iter().map(|a| a.dtype.bytes(a.len)).sum();
        let flops = (flops_of_a_score * seen * self.shape.pairs()) as f64 * share;
        Cost { flops: flops as u64, bytes: bytes as u64 }
    }
}
