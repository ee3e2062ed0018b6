//! The shader of products in tiles of subgroups.

use vorpal_shaders::{Linker, MATMUL_BROADCAST, Shader};
use vorpal_tensor::{Error, Result};

use super::{MatMul, Operand};
use crate::subgroup_tile::{Fours, Tile, four_at_a_time};
use crate::{EpilogueText, spread};

/// An operand as rows or columns of a tile.
struct Side {
    /// Its buffer's binding.
    binding: usize,
    operand: Operand,
    /// Rows (columns), and the steps between them and between the terms.
    count: usize,
    across: isize,
    along: isize,
}

impl MatMul {
    /// Operands as rows and as columns. Few columns of a tall product become its rows, as a tile has more columns than
    /// rows.
    fn sides(&self) -> [Side; 2] {
        let [m, n, _] = self.sizes;
        let (a, b) = (self.a.matrix, self.b.matrix);
        let left =
            Side { binding: 0, operand: self.a, count: m, across: a.row_stride, along: a.column_stride };
        let right =
            Side { binding: 1, operand: self.b, count: n, across: b.column_stride, along: b.row_stride };
        if n < m && n < 32 { [right, left] } else { [left, right] }
    }

    fn tile(&self) -> Tile {
        let [rows, columns] = self.sides();
        Tile::new(self.abilities, rows.count, columns.count)
    }

    /// How an operand can be read in fours.
    fn fours(&self, side: &Side) -> Option<Fours> {
        let whole = |x: isize| x % 4 == 0;
        let Operand { batch, matrix, .. } = side.operand;
        let steps = (0..2).all(|axis| self.batch[axis] == 1 || whole(batch[axis]));
        if !steps || !whole(matrix.offset) {
            return None;
        }
        let k = self.sizes[2];
        let along = side.along == 1 && (side.count == 1 || whole(side.across)) && k.is_multiple_of(4);
        let across = side.across == 1 && (k == 1 || whole(side.along)) && side.count.is_multiple_of(4);
        if along { Some(Fours::Along) } else { (across && side.count > 0).then_some(Fours::Across) }
    }

    pub(super) fn broadcast_shader(&self, text: &EpilogueText) -> Result<Shader> {
        let wrong = |message: String| Error::internal("matmul", message);
        let [rows, columns] = self.sides();
        let [m, n, _] = self.sizes;
        let mut linker = self.tile().link(Linker::new(MATMUL_BROADCAST), text)?;
        for (name, side) in [("a", &rows), ("b", &columns)] {
            linker = linker.rebind(name, side.binding).map_err(wrong)?;
            if self.fours(side).is_some() {
                linker = four_at_a_time(linker, name, self.abilities)?;
            }
        }
        let form = |side| Tile::form(self.fours(side));
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
