//! What the shaders of contractions in tiles of subgroups share: `shaders/shared/subgroup_tile.wgsl`.

use vorpal_shaders::{Linker, WIDE};
use vorpal_tensor::{Error, Result};

use crate::{Abilities, EpilogueText};

/// How elements are read in fours, as the shaders number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fours {
    /// Neighbouring terms of a row or column.
    Along = 1,
    /// One term of neighbouring rows or columns.
    Across = 2,
}

/// Sizes of a tile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    octets: usize,
    lanes: usize,
    /// Rows and columns of the product.
    sizes: [usize; 2],
}

impl Tile {
    /// Whether a device can: subgroups of one size that a workgroup holds.
    pub fn fits(abilities: Abilities) -> bool {
        abilities.subgroup.is_some_and(|lanes| [8, 16, 32, 64].contains(&lanes))
    }

    /// The tile for a product of so many rows and columns.
    pub fn new(abilities: Abilities, rows: usize, columns: usize) -> Tile {
        // A power of two, so that the elements of a step are shared out evenly; larger ones take long to compile.
        let octets = rows.div_ceil(8).clamp(1, 4).next_power_of_two();
        Tile { octets, lanes: abilities.subgroup.unwrap_or(8) as usize, sizes: [rows, columns] }
    }

    /// How the shader numbers the way operands are read.
    pub fn form(fours: Option<Fours>) -> usize {
        fours.map_or(0, |fours| fours as usize)
    }

    /// Workgroups for so many products.
    pub fn groups(&self, batches: usize) -> usize {
        let [rows, columns] = self.sizes;
        let tiles = batches * rows.div_ceil(8 * self.octets) * columns.div_ceil(4 * self.lanes);
        tiles.div_ceil(64 / self.lanes)
    }

    /// The shader with the sizes of the tile and what is done with its results.
    pub fn link(&self, linker: Linker, text: &EpilogueText) -> Result<Linker> {
        let linker = linker
            .replace("finish", &text.finish)
            .and_then(|linker| linker.define("OCTETS", self.octets))
            .and_then(|linker| linker.define("OCTET", 8))
            .and_then(|linker| linker.define("STEPS", 4))
            .map_err(|message| Error::internal("subgroup tile", message))?;
        Ok(linker.append(&text.declarations).constant("LANES", self.lanes))
    }
}

/// Lets the shader's functions `<buffer>_four` and `<buffer>_one` read four elements at a time.
pub(crate) fn four_at_a_time(linker: Linker, buffer: &str, abilities: Abilities) -> Result<Linker> {
    let (ty, four) = if abilities.words64 {
        ("vec2<u64>", format!("wide_four({buffer}[i / 4u])"))
    } else {
        ("vec4<f32>", format!("{buffer}[i / 4u]"))
    };
    let linker = if abilities.words64 { linker.append(WIDE) } else { linker };
    linker
        .retype(buffer, ty)
        .and_then(|linker| {
            let name = format!("{buffer}_four");
            linker.replace(&name, &format!("fn {name}(i: u32) -> vec4<f32> {{ return {four}; }}"))
        })
        .and_then(|linker| {
            let name = format!("{buffer}_one");
            linker.replace(&name, &format!("fn {name}(i: u32) -> f32 {{ return {buffer}_four(i)[i % 4u]; }}"))
        })
        .map_err(|message| Error::internal("subgroup tile", message))
}
