//! The shaders of convolutions.

use vorpal_shaders::{
    CONV_BACKWARD_DATA, CONV_BACKWARD_DATA_BROADCAST, CONV_BACKWARD_DATA_TILED, CONV_BACKWARD_WEIGHT,
    CONV_BACKWARD_WEIGHT_BROADCAST, CONV_BACKWARD_WEIGHT_TILED, CONV_FORWARD, CONV_FORWARD_BROADCAST,
    CONV_FORWARD_TILED, Linker, Shader,
};
use vorpal_tensor::{Error, Result};

use super::{Conv, ConvPass, TILE, of_window, product, share};
use crate::matmul::Variant;
use crate::subgroup_tile::{Fours, Tile, four_at_a_time};
use crate::{Kernel, emit_epilogue, spread};

impl Conv {
    /// Name of the shader, and its text.
    fn base(&self) -> (&'static str, &'static str) {
        use Variant::{Broadcast, Direct};
        match (self.pass, self.variant) {
            (ConvPass::Forward, Broadcast) => ("conv_forward_broadcast", CONV_FORWARD_BROADCAST),
            (ConvPass::Forward, Direct) => ("conv_forward", CONV_FORWARD),
            // There is one size of tiles.
            (ConvPass::Forward, _) => ("conv_forward_tiled", CONV_FORWARD_TILED),
            (ConvPass::BackwardData, Broadcast) => {
                ("conv_backward_data_broadcast", CONV_BACKWARD_DATA_BROADCAST)
            }
            (ConvPass::BackwardData, Direct) => ("conv_backward_data", CONV_BACKWARD_DATA),
            (ConvPass::BackwardData, _) => ("conv_backward_data_tiled", CONV_BACKWARD_DATA_TILED),
            (ConvPass::BackwardWeight { .. }, Broadcast) => {
                ("conv_backward_weight_broadcast", CONV_BACKWARD_WEIGHT_BROADCAST)
            }
            (ConvPass::BackwardWeight { .. }, Direct) => ("conv_backward_weight", CONV_BACKWARD_WEIGHT),
            (ConvPass::BackwardWeight { .. }, _) => {
                ("conv_backward_weight_tiled", CONV_BACKWARD_WEIGHT_TILED)
            }
        }
    }

    /// Name of the shader.
    pub(super) fn shader_name(&self) -> &'static str {
        self.base().0
    }

    /// Rows and columns of the product as the shaders see it.
    fn product(&self) -> [usize; 2] {
        product(&self.shape, self.pass)
    }

    fn tile(&self) -> Tile {
        let [rows, columns] = self.product();
        Tile::new(self.abilities, rows, columns)
    }

    /// Pixels of a share. Fours of pixels stay together.
    fn chunk(&self, splits: usize) -> usize {
        let chunk = (self.shape.batch * self.shape.output_plane()).div_ceil(splits.max(1));
        if self.variant == Variant::Broadcast { chunk.next_multiple_of(4) } else { chunk }
    }

    /// How the operand of the rows, filters or the cotangent of the result, can be read in fours.
    fn fours(&self) -> Option<Fours> {
        let (shape, window) = (&self.shape, self.shape.window_len());
        let whole = |sizes: &[usize]| sizes.iter().all(|size| size.is_multiple_of(4));
        let ([first, count], offset) = (self.terms, self.offsets[1]);
        let along = match self.pass {
            ConvPass::Forward => whole(&[offset, first, count, shape.channels * window]),
            ConvPass::BackwardData => whole(&[offset, first, count, window]),
            ConvPass::BackwardWeight { .. } => whole(&[offset, shape.output_plane()]),
        };
        let across = self.pass == ConvPass::BackwardData
            && window == 1
            && shape.channels > 0
            && whole(&[offset, shape.channels]);
        if along { Some(Fours::Along) } else { across.then_some(Fours::Across) }
    }

    pub(super) fn text(&self) -> Result<Shader> {
        let text = emit_epilogue(&self.epilogue, &self.args())?;
        let shape = &self.shape;
        let linker = Linker::new(self.base().1);
        let internal = |message| Error::internal("conv", message);
        let linker = match self.variant {
            Variant::Broadcast => {
                let linker = self.tile().link(linker, &text)?.constant("A_FORM", Tile::form(self.fours()));
                if self.fours().is_some() { four_at_a_time(linker, "a", self.abilities)? } else { linker }
            }
            Variant::Tiled | Variant::Large | Variant::Cooperative => linker
                .replace("finish", &text.finish)
                .and_then(|linker| linker.define("FOUR", 4))
                .map_err(internal)?
                .append(&text.declarations),
            Variant::Direct => linker
                .replace("finish", &text.finish)
                .and_then(|linker| linker.define("ROWS", self.rows()))
                .map_err(internal)?
                .append(&text.declarations),
        };
        let linker = linker
            .constant("A_OFFSET", self.offsets[0])
            .constant("B_OFFSET", self.offsets[1])
            // Without elements nothing is launched, but constants must still make sense.
            .constant("BATCH", shape.batch.max(1))
            .constant("GROUPS", shape.groups.max(1))
            .constant("CHANNELS", shape.channels.max(1))
            .constant("FILTERS", shape.filters.max(1))
            .constant("FLAT", usize::from(shape.is_flat()));
        let lists = [shape.input, shape.output, shape.window, shape.stride, shape.padding, shape.dilation];
        let linker = of_window(linker, lists);
        Ok(match self.pass {
            ConvPass::BackwardWeight { splits } => {
                linker.constant("SPLITS", splits).constant("CHUNK", self.chunk(splits))
            }
            _ => {
                let linker = linker.constant("FIRST", self.terms[0]).constant("TERMS", self.terms[1]);
                match self.variant {
                    Variant::Tiled | Variant::Large | Variant::Cooperative => {
                        let chunk = share(self.terms[1], self.shares);
                        linker.constant("SPLITS", self.shares).constant("CHUNK", chunk)
                    }
                    _ => linker,
                }
            }
        }
        .finish())
    }

    pub(super) fn launch(&self) -> [u32; 3] {
        if self.len() == 0 {
            return [0; 3];
        }
        let shape = &self.shape;
        let splits = if let ConvPass::BackwardWeight { splits } = self.pass { splits } else { 1 };
        let [rows, columns] = self.product();
        match self.variant {
            Variant::Broadcast => return spread(self.tile().groups(shape.groups * splits)),
            Variant::Tiled | Variant::Large | Variant::Cooperative => {
                let tiles = rows.div_ceil(TILE) * columns.div_ceil(TILE);
                return spread(shape.groups * splits * self.shares * tiles);
            }
            Variant::Direct => {}
        }
        let tiles = match self.pass {
            ConvPass::BackwardWeight { .. } => (splits * columns.div_ceil(4)).div_ceil(64),
            _ => columns.div_ceil(256),
        };
        spread(shape.groups * tiles * rows.div_ceil(self.rows()))
    }
}
