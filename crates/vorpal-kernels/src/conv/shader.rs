//! The shaders of convolutions.

use vorpal_shaders::{
    CONV_BACKWARD_DATA, CONV_BACKWARD_DATA_BROADCAST, CONV_BACKWARD_WEIGHT, CONV_BACKWARD_WEIGHT_BROADCAST,
    CONV_FORWARD, CONV_FORWARD_BROADCAST, Linker, Shader,
};
use vorpal_tensor::{Error, Result};

use super::{Conv, ConvPass, of_window};
use crate::subgroup_tile::{Fours, Tile, four_at_a_time};
use crate::{Kernel, emit_epilogue, spread};

impl Conv {
    /// Name of the shader.
    pub(super) fn shader_name(&self) -> &'static str {
        match (self.pass, self.broadcast) {
            (ConvPass::Forward, false) => "conv_forward",
            (ConvPass::BackwardData, false) => "conv_backward_data",
            (ConvPass::BackwardWeight { .. }, false) => "conv_backward_weight",
            (ConvPass::Forward, true) => "conv_forward_broadcast",
            (ConvPass::BackwardData, true) => "conv_backward_data_broadcast",
            (ConvPass::BackwardWeight { .. }, true) => "conv_backward_weight_broadcast",
        }
    }

    /// Rows and columns of the product as the shaders see it.
    fn product(&self) -> [usize; 2] {
        let shape = &self.shape;
        match self.pass {
            ConvPass::Forward => [shape.filters, shape.batch * shape.output_plane()],
            ConvPass::BackwardData => [shape.channels, shape.batch * shape.input_plane()],
            ConvPass::BackwardWeight { .. } => [shape.filters, shape.channels * shape.window_len()],
        }
    }

    fn tile(&self) -> Tile {
        let [rows, columns] = self.product();
        Tile::new(self.abilities, rows, columns)
    }

    /// Pixels of a share. Fours of pixels stay together.
    fn chunk(&self, splits: usize) -> usize {
        let chunk = (self.shape.batch * self.shape.output_plane()).div_ceil(splits.max(1));
        if self.broadcast { chunk.next_multiple_of(4) } else { chunk }
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
        let base = match (self.pass, self.broadcast) {
            (ConvPass::Forward, false) => CONV_FORWARD,
            (ConvPass::BackwardData, false) => CONV_BACKWARD_DATA,
            (ConvPass::BackwardWeight { .. }, false) => CONV_BACKWARD_WEIGHT,
            (ConvPass::Forward, true) => CONV_FORWARD_BROADCAST,
            (ConvPass::BackwardData, true) => CONV_BACKWARD_DATA_BROADCAST,
            (ConvPass::BackwardWeight { .. }, true) => CONV_BACKWARD_WEIGHT_BROADCAST,
        };
        let linker = if self.broadcast {
            let linker =
                self.tile().link(Linker::new(base), &text)?.constant("A_FORM", Tile::form(self.fours()));
            if self.fours().is_some() { four_at_a_time(linker, "a", self.abilities)? } else { linker }
        } else {
            Linker::new(base)
                .replace("finish", &text.finish)
                .and_then(|linker| linker.define("ROWS", self.rows()))
                .map_err(|message| Error::internal("conv", message))?
                .append(&text.declarations)
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
            _ => linker.constant("FIRST", self.terms[0]).constant("TERMS", self.terms[1]),
        }
        .finish())
    }

    pub(super) fn launch(&self) -> [u32; 3] {
        if self.len() == 0 {
            return [0; 3];
        }
        let shape = &self.shape;
        let splits = if let ConvPass::BackwardWeight { splits } = self.pass { splits } else { 1 };
        if self.broadcast {
            return spread(self.tile().groups(shape.groups * splits));
        }
        let [rows, columns] = self.product();
        let tiles = match self.pass {
            ConvPass::BackwardWeight { .. } => (splits * columns.div_ceil(4)).div_ceil(64),
            _ => columns.div_ceil(256),
        };
        spread(shape.groups * tiles * rows.div_ceil(self.rows()))
    }
}
