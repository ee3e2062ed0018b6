//! The shaders of products through workgroup memory.

use vorpal_shaders::{Linker, MATMUL_COOPERATIVE, MATMUL_TILED};
use vorpal_tensor::{Error, Result};

use super::{MatMul, Variant};
use crate::emit::emit_epilogue_of_fours;
use crate::quads::QUAD;
use crate::subgroup_tile::{Tile, four_at_a_time};
use crate::{Abilities, Kernel, emit_epilogue};

/// Terms that tiles in workgroup memory hold.
const TERMS: usize = 16;

/// Terms that subgroups multiply at a time, and matrices of 16 by 16 of a subgroup side by side.
const COOPERATIVE_TERMS: usize = 16;
const COOPERATIVE_BLOCKS: usize = 4;

/// Halves that are read at once.
const EIGHT: usize = 8;

/// Values of an epilogue up to which it is written out for every result of an invocation.
const SHORT_EPILOGUE: usize = 6;

impl MatMul {
    /// Whether an invocation finishes four results of a row at a time.
    pub(super) fn finishes_fours(&self) -> bool {
        let in_tiles = matches!(self.variant, Variant::Tiled | Variant::Large | Variant::Cooperative);
        in_tiles && self.sizes[1].is_multiple_of(QUAD)
    }

    /// Rows and columns of a tile of halves. A workgroup has an invocation for each column; those with few are no worse off in twice
    /// as many workgroups.
    pub(super) fn cooperative_tile(&self) -> [usize; 2] {
        [128, if self.sizes[1] <= 128 { 128 } else { 256 }]
    }

    /// The shader without its sizes, if the variant is one of tiles in workgroup memory.
    pub(super) fn tiled(&self) -> Result<Option<Linker>> {
        let wrong = |message: String| Error::internal("matmul", message);
        let sized = |tile: usize, parts: usize| {
            // Two slots of both operands, where there is room for them twice: in tiles of 64 on most cards.
            let room = self.abilities.memory / (2 * 2 * TERMS * tile * size_of::<f32>());
            let linker = Linker::new(MATMUL_TILED).define("TILE", tile)?.define("SLOTS", room.clamp(1, 2))?;
            // Long texts take software adapters too long to compile.
            let written_out = !self.abilities.slow_barriers;
            let linker = if written_out { linker.define("TERMS", TERMS)? } else { linker };
            let short = written_out && self.epilogue.program.insts.len() <= SHORT_EPILOGUE;
            let linker = if short { linker.define("TURNS", 8 * parts)? } else { linker };
            linker.define("PARTS", parts)?.define("RESULTS", 8 * parts)
        };
        let linker = match self.variant {
            Variant::Tiled => sized(64, 1),
            Variant::Large => sized(128, 2),
            Variant::Cooperative => {
                let [rows, columns] = self.cooperative_tile();
                let fetches = rows * COOPERATIVE_TERMS / EIGHT / columns;
                let linker = Linker::new(MATMUL_COOPERATIVE).each("ACROSS", COOPERATIVE_BLOCKS);
                let linker = linker.and_then(|l| l.define("WIDTH", columns)?.define("FETCHES_A", fetches));
                linker.and_then(|l| l.define("FETCHES_B", COOPERATIVE_TERMS / EIGHT))
            }
            Variant::Direct | Variant::Broadcast => return Ok(None),
        };
        let mut linker = linker.map_err(wrong)?;
        // Halves are read in eights or not at all.
        let (halves, [rows, columns]) = (self.variant == Variant::Cooperative, self.sides());
        let width = if halves { EIGHT } else { QUAD };
        let form = |side| Tile::form(self.in_runs(side, width));
        linker = linker.constant("A_FORM", form(&rows)).constant("B_FORM", form(&columns));
        if !halves {
            for (name, size) in [("STEPS", 4), ("ROWS", 4)] {
                linker = linker.define(name, size).map_err(wrong)?;
            }
            let plain = Abilities { words64: false, ..self.abilities };
            for (name, side) in [("a", &rows), ("b", &columns)] {
                if self.in_runs(side, width).is_some() {
                    linker = four_at_a_time(linker, name, plain)?;
                }
            }
        }
        if !self.finishes_fours() {
            let text = emit_epilogue(&self.epilogue, &self.args())?;
            return Ok(Some(
                linker.replace("finish", &text.finish).map_err(wrong)?.append(&text.declarations),
            ));
        }
        let text = emit_epilogue_of_fours(&self.epilogue, &self.args(), halves)?;
        let linker = linker
            .replace("finish_four", &text.finish_four)
            .and_then(|linker| linker.replace("finish", ""))
            .and_then(|linker| linker.retype("out0", &text.item))
            .map_err(wrong)?;
        Ok(Some(linker.append(&text.declarations)))
    }

    /// A shader with the sizes and strides of the product.
    pub(super) fn with_sizes(&self, linker: Linker) -> Linker {
        // Without elements nothing is launched, but constants must still make sense.
        let [m, n, k] = [self.sizes[0].max(1), self.sizes[1].max(1), self.sizes[2]];
        // Places are modulo 2³², so negative strides need no signs.
        let word = |x: isize| x as u32 as usize;
        linker
            .constant("M", m)
            .constant("N", n)
            .constant("K", k)
            .constant("BATCH0", self.batch[0])
            .constant("BATCH1", self.batch[1].max(1))
            .constant("A_OFFSET", word(self.a.matrix.offset))
            .constant("A_BATCH0", word(self.a.batch[0]))
            .constant("A_BATCH1", word(self.a.batch[1]))
            .constant("A_M", word(self.a.matrix.row_stride))
            .constant("A_K", word(self.a.matrix.column_stride))
            .constant("B_OFFSET", word(self.b.matrix.offset))
            .constant("B_BATCH0", word(self.b.batch[0]))
            .constant("B_BATCH1", word(self.b.batch[1]))
            .constant("B_K", word(self.b.matrix.row_stride))
            .constant("B_N", word(self.b.matrix.column_stride))
    }
}
