//! Attention of halves by subgroups that multiply matrices.

use half::f16;
use half::slice::HalfFloatSliceExt;
use vorpal_shaders::{
    ATTENTION_BACKWARD_KV_COOPERATIVE, ATTENTION_BACKWARD_Q_COOPERATIVE, ATTENTION_FORWARD_COOPERATIVE,
    Linker, Shader,
};
use vorpal_tensor::{DType, Error, Layout, Result, Shape};

use super::shader::FAR;
use super::{Attention, AttentionPass, AttentionRules, AttentionShape, Operand};
use crate::interp::{self, Sink, Source};
use crate::kernel::MEMORY_WITH_MATRICES;
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// Rows and columns of the matrices that subgroups multiply.
const MATRIX: usize = 16;

/// Columns a query, a key and a value may have: what fits workgroup memory and registers.
const COLUMNS_MAX: usize = 128;

/// Invocations of a workgroup, four subgroups.
const LANES: usize = 128;

/// Rows of a workgroup, and rows that come by together.
const OWN: usize = 64;
const TILE: usize = 32;

/// softmax(scale · Q Kᵀ) V for each head of halves, as [`Attention`] makes it of floats, with the same side operands and
/// results in f32, for cards whose subgroups of 32 multiply matrices of halves with sums in f32
/// ([`Abilities::matrices`](crate::Abilities::matrices)).
///
/// Scores are sums in f32; probabilities and the cotangents of scores are halves where they are multiplied by rows.
#[derive(Clone, Debug)]
pub struct AttentionCooperative {
    /// The same of floats that lie as the halves do.
    wide: Attention,
}

impl AttentionCooperative {
    /// A pass over windows `[batch, heads, rows, columns]`, in the order of [`AttentionPass`]. `None` where windows do not
    /// have the shapes they should or [do not lie](AttentionCooperative::reads) right, for columns that are not a multiple
    /// of 16 up to 128 or not as many in values as in keys, for rules with more than a scale and a window, and for other
    /// passes than the first three.
    pub fn new(
        shape: AttentionShape,
        pass: AttentionPass,
        rules: AttentionRules,
        windows: &[Layout],
    ) -> Option<AttentionCooperative> {
        let AttentionRules { scale: _, left: _, right: _, softcap, slopes, lengths, dropout } = rules;
        let plain = softcap.is_none() && !slopes && !lengths && dropout.is_none();
        let AttentionShape { queries, keys, columns, value_columns, .. } = shape;
        let fits = plain
            && columns == value_columns
            && columns.is_multiple_of(MATRIX)
            && columns <= COLUMNS_MAX
            && shape.pairs() * queries * keys > 0
            && matches!(pass, AttentionPass::Forward | AttentionPass::BackwardQ | AttentionPass::BackwardKv)
            && windows.iter().all(AttentionCooperative::reads);
        if !fits {
            return None;
        }
        let wide = Attention::new(shape, pass, rules, DType::F32, windows, None, None)?;
        Some(AttentionCooperative { wide })
    }

    /// Whether every row of a window `[batch, heads, rows, columns]` is whole eights of elements at places that 8 divides.
    pub fn reads(window: &Layout) -> bool {
        let dims = window.shape.dims();
        let eight = |x: isize| x % 8 == 0;
        dims.len() == 4
            && window.bounds.is_empty()
            && eight(window.offset)
            && window.strides[3] == 1
            && dims[3].is_multiple_of(8)
            && (0..3).all(|axis| dims[axis] == 1 || eight(window.strides[axis]))
    }

    /// Shape of the result.
    pub fn result(&self) -> Shape {
        self.wide.result()
    }

    /// Matrices side by side in a row.
    fn blocks(&self) -> usize {
        self.wide.shape.columns / MATRIX
    }

    /// Bytes of workgroup memory with so many pairs of tiles in it.
    fn memory(&self, slots: usize) -> usize {
        // As the shaders declare it: tiles; products; halves that are made of them; numbers of rows.
        let near = slots * 2 * TILE * (self.wide.shape.columns / 4 + 2) * 8;
        let scores = OWN * self.abreast() * (TILE / 4 + 1) * 16;
        let halves = OWN * (TILE / 4 + 2) * 8;
        near + scores
            + match self.wide.pass {
                AttentionPass::Forward => halves + OWN * 16,
                AttentionPass::BackwardKv => 2 * halves + slots * TILE / 2 * 16,
                _ => halves,
            }
    }

    /// Tiles whose products are in workgroup memory together. The forward pass needs no two, and with one two workgroups fit a
    /// multiprocessor.
    fn abreast(&self) -> usize {
        if self.wide.pass == AttentionPass::Forward { 1 } else { 2 }
    }

    /// Pairs of tiles in workgroup memory. The forward pass brings keys and values at different times and needs one.
    fn slots(&self) -> usize {
        let two = self.wide.pass != AttentionPass::Forward && self.memory(2) <= MEMORY_WITH_MATRICES;
        if two { 2 } else { 1 }
    }

    fn link(&self) -> Result<Shader, String> {
        const NAMES: [[&str; 4]; 4] = [
            ["Q_OFFSET", "Q_B", "Q_H", "Q_R"],
            ["K_OFFSET", "K_B", "K_H", "K_R"],
            ["V_OFFSET", "V_B", "V_H", "V_R"],
            ["O_OFFSET", "O_B", "O_H", "O_R"],
        ];
        let Attention { shape, pass, rules, operands, .. } = &self.wide;
        let base = match pass {
            AttentionPass::Forward => ATTENTION_FORWARD_COOPERATIVE,
            AttentionPass::BackwardQ => ATTENTION_BACKWARD_Q_COOPERATIVE,
            AttentionPass::BackwardKv => ATTENTION_BACKWARD_KV_COOPERATIVE,
            _ => return Err("no pass of matrices".to_string()),
        };
        let blocks = self.blocks();
        let mut linker = Linker::new(base)
            .each("BLOCKS", blocks)?
            .define("BLOCKS", blocks)?
            .define("FETCHES", (TILE * blocks * 2).div_ceil(LANES))?
            .define("SLOTS", self.slots())?
            .define("TILE_BLOCKS", TILE / MATRIX)?
            .define("FOURS", TILE / 8)?
            .define("ABREAST", self.abreast())?;
        let far = |steps: Option<usize>| steps.map_or(FAR, |steps| steps.min(FAR));
        linker = linker
            .constant("PAIRS", shape.pairs())
            .constant("HEADS", shape.heads)
            .constant("GROUP", shape.group())
            .constant("QUERIES", shape.queries)
            .constant("KEYS", shape.keys)
            .float("SCALE", rules.scale)
            .constant("LEFT", far(rules.left))
            .constant("RIGHT", far(rules.right));
        for (names, Operand { offset, strides, .. }) in NAMES.iter().zip(operands) {
            for (name, number) in names.iter().zip([offset].into_iter().chain(strides)) {
                // Places are modulo 2³², so negative strides need no signs.
                linker = linker.constant(name, *number as u32 as usize);
            }
        }
        Ok(linker.finish())
    }
}

impl Kernel for AttentionCooperative {
    fn name(&self) -> &'static str {
        match self.wide.pass {
            AttentionPass::Forward => "attention_forward_cooperative",
            AttentionPass::BackwardQ => "attention_backward_q_cooperative",
            _ => "attention_backward_kv_cooperative",
        }
    }

    fn describe(&self) -> String {
        self.wide.describe().replacen(self.wide.name(), self.name(), 1)
    }

    fn args(&self) -> Vec<Arg> {
        let mut args = self.wide.args();
        for arg in &mut args[..self.wide.operands.len()] {
            arg.dtype = DType::F16;
        }
        args
    }

    fn shader(&self) -> Result<Shader> {
        self.link().map_err(|message| Error::internal(self.name(), message))
    }

    fn groups(&self) -> [u32; 3] {
        let AttentionShape { batch, kv_heads, queries, keys, .. } = self.wide.shape;
        spread(match self.wide.pass {
            AttentionPass::BackwardKv => batch * kv_heads * keys.div_ceil(OWN),
            _ => self.wide.shape.pairs() * queries.div_ceil(OWN),
        })
    }

    /// Without halves inside, so results are those of floats.
    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        let arguments = interp::take(&mut run, &self.args(), 0)?;
        let wrong = || Error::internal(self.name(), "operands must be halves and the result f32");
        let widened = |x: &&[f16]| {
            let mut out = vec![0.0f32; x.len()];
            x.convert_to_f32_slice(&mut out);
            out
        };
        let halves = arguments.sources.iter().flatten();
        let halves: Vec<&[f16]> =
            halves.filter_map(|s| if let Source::F16(x) = s { Some(*x) } else { None }).collect();
        let wide: Vec<Vec<f32>> = halves.iter().map(widened).collect();
        let side = arguments.sources.iter().flatten();
        let side = side.filter_map(|s| if let Source::F32(x) = s { Some(*x) } else { None });
        let floats: Vec<&[f32]> = wide.iter().map(|x| &x[..]).chain(side).collect();
        match arguments.sinks.into_iter().next() {
            Some((_, Sink::F32(out))) if halves.len() == self.wide.operands.len() => {
                self.wide.native(&floats, None, out)
            }
            _ => Err(wrong()),
        }
    }

    fn cost(&self) -> Cost {
        let bytes: usize = self.args().iter().map(|a| a.dtype.bytes(a.len)).sum();
        Cost { bytes: bytes as u64, ..self.wide.cost() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workgroup_memory_is_enough_for_all_columns() {
        for columns in (MATRIX..=COLUMNS_MAX).step_by(MATRIX) {
            for pass in [AttentionPass::Forward, AttentionPass::BackwardQ, AttentionPass::BackwardKv] {
                let shape = AttentionShape {
                    batch: 1,
                    heads: 1,
                    kv_heads: 1,
                    queries: 1,
                    keys: 1,
                    columns,
                    value_columns: columns,
                };
                let rules = AttentionRules {
                    scale: 1.0,
                    left: None,
                    right: None,
                    softcap: None,
                    slopes: false,
                    lengths: false,
                    dropout: None,
                };
                let window = Layout::contiguous([1, 1, 1, columns]);
                let windows = vec![window; if pass == AttentionPass::Forward { 3 } else { 4 }];
                let kernel = AttentionCooperative::new(shape, pass, rules, &windows).expect("a kernel");
                assert!(kernel.memory(kernel.slots()) <= MEMORY_WITH_MATRICES, "{kernel:?}");
                // Own rows are put where tiles will be.
                assert!(kernel.slots() * 2 * TILE >= OWN);
            }
        }
    }
}
