//! The shader of products in tiles of subgroups.

use vorpal_shaders::{Linker, MATMUL_BROADCAST, Shader};
use vorpal_tensor::{Error, Result};

use super::{MatMul, Side};
use crate::quads::QUAD;
use crate::subgroup_tile::{Tile, four_at_a_time};
use crate::{EpilogueText, spread};

impl MatMul {
    /// Operands as rows and as columns. Few columns of a tall product become its rows, as a tile has more columns than
    /// rows.
    fn swapped_sides(&self) -> [Side; 2] {
        let [left, right] = self.sides();
        if right.count < left.count && right.count < 32 { [right, left] } else { [left, right] }
    }

    fn tile(&self) -> Tile {
        let [rows, columns] = self.swapped_sides();
        Tile::new(self.abilities, rows.count, columns.count)
    }

    pub(super) fn broadcast_shader(&self, text: &EpilogueText) -> Result<Shader> {
        let wrong = |message: String| Error::internal("matmul", message);
        let [rows, columns] = self.swapped_sides();
        let [m, n, _] = self.sizes;
        let mut linker = self.tile().link(Linker::new(MATMUL_BROADCAST), text)?;
        for (name, side) in [("a", &rows), ("b", &columns)] {
            linker = linker.rebind(name, side.binding).map_err(wrong)?;
            if self.in_runs(side, QUAD).is_some() {
                linker = four_at_a_time(linker, name, self.abilities)?;
            }
        }
        let form = |side| Tile::form(self.in_runs(side, QUAD));
        // Places are modulo 2³², so negative strides need no signs.
        let word = |x: isize| x as u32 as usize;
        let swapped = rows.binding == 1;
        Ok(linker
            .constant("M", rows.count.max(1))
            .constant("N", columns.count.max(1))
            .constant("K", self.sizes[2])
            .constant("BATCH0", self.batch[0])
            .constant("BATCH1", self.batch[1].max(1))
            .constant("A_FORM", form(&rows))
            .constant("A_OFFSET", word(rows.operand.matrix.offset))
            .constant("A_BATCH0", word(rows.operand.batch[0]))
            .constant("A_BATCH1", word(rows.operand.batch[1]))
            .constant("A_M", word(rows.across))
            .constant("A_K", word(rows.along))
            .constant("B_FORM", form(&columns))
            .constant("B_OFFSET", word(columns.operand.matrix.offset))
            .constant("B_BATCH0", word(columns.operand.batch[0]))
            .constant("B_BATCH1", word(columns.operand.batch[1]))
            .constant("B_K", word(columns.along))
            .constant("B_N", word(columns.across))
            .constant("OUT_M", if swapped { 1 } else { n.max(1) })
            .constant("OUT_N", if swapped { n.max(1) } else { 1 })
            .constant("OUT_BATCH", m.max(1) * n.max(1))
            .finish())
    }

    pub(super) fn broadcast_groups(&self) -> [u32; 3] {
        spread(self.tile().groups(self.batches()))
    }
}
