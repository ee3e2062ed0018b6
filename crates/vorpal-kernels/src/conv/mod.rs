//! Convolutions over up to three axes and their derivatives, as implicit matrix products.

mod direct;
mod native;
mod planes;
mod shader;
#[cfg(target_arch = "x86_64")]
mod shifted;

use std::sync::Arc;

use vorpal_shaders::{Linker, Shader};
use vorpal_tensor::{DType, Result};

use crate::contraction::{EpilogueTape, contract};
use crate::matmul::Variant;
use crate::starts::{rebased, start_of};
use crate::subgroup_tile::Tile;
use crate::vector::Number;
use crate::{Abilities, Arg, Cost, CpuRun, Epilogue, Kernel, Rebased};

/// Longest sum one launch takes. Callers split longer ones, so that no invocation goes through more steps than
/// a software adapter allows.
pub const CONV_TERMS_MAX: usize = 16_384;

/// Filters or channels that an invocation makes at most.
const ROWS_MAX: usize = 8;

/// Rows and columns of a tile in workgroup memory.
const TILE: usize = 64;
/// Terms that such a tile takes at a time.
const TILE_STEPS: usize = 16;
/// Workgroups that keep a card busy: fewer had better share out the terms of their sums.
const GROUPS_MIN: usize = 264;
/// Terms of a share that are worth it.
const SHARE_TERMS_MIN: usize = 128;

/// Sizes of a convolution of images `[batch, groups · channels, d, h, w]` with filters
/// `[groups · filters, channels, kd, kh, kw]` to `[batch, groups · filters, od, oh, ow]`. Lists are (depth, height,
/// width); images of fewer axes have depth (and height) 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Groups of channels, each with filters of its own.
    pub groups: usize,
    /// Channels of a group.
    pub channels: usize,
    /// Filters of a group.
    pub filters: usize,
    /// Pixels of an image.
    pub input: [usize; 3],
    /// Elements of the window.
    pub window: [usize; 3],
    /// Pixels of a result: as many places of the window as are wanted.
    pub output: [usize; 3],
    /// Steps of the window.
    pub stride: [usize; 3],
    /// Zeros in front of each axis. Behind it there are as many as the places of the window reach over.
    pub padding: [usize; 3],
    /// Distance of the elements of the window.
    pub dilation: [usize; 3],
}

impl ConvShape {
    pub(crate) fn window_len(&self) -> usize {
        self.window.iter().product()
    }
    pub(crate) fn input_plane(&self) -> usize {
        self.input.iter().product()
    }
    pub(crate) fn output_plane(&self) -> usize {
        self.output.iter().product()
    }
    /// Whether the depth plays no part.
    fn is_flat(&self) -> bool {
        [self.input[0], self.window[0], self.output[0]] == [1; 3] && self.padding[0] == 0
    }
    /// Elements of the images.
    pub fn input_len(&self) -> usize {
        self.batch * self.groups * self.channels * self.input_plane()
    }
    /// Elements of the filters.
    pub fn filters_len(&self) -> usize {
        self.groups * self.filters * self.channels * self.window_len()
    }
    /// Elements of the result.
    pub fn output_len(&self) -> usize {
        self.batch * self.groups * self.filters * self.output_plane()
    }
}

/// Which of the three products of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvPass {
    /// Images and filters to the result.
    Forward,
    /// Cotangent of the result and filters to the cotangent of the images.
    BackwardData,
    /// Images and cotangent of the result to shares of the cotangent of the filters, `[splits, …]`: their sum is the
    /// derivative. Which pixels go into which share is up to the kernel.
    BackwardWeight {
        /// Number of shares.
        splits: usize,
    },
}

/// One product of a convolution on gapless f32 operands (natively f64, too).
#[derive(Clone, Debug)]
pub struct Conv {
    shape: ConvShape,
    pass: ConvPass,
    dtype: DType,
    /// Offsets of the operands.
    offsets: [usize; 2],
    /// First term of the sums, and how many.
    terms: [usize; 2],
    /// Shares that they are summed in, where the pass has none of its own.
    shares: usize,
    abilities: Abilities,
    variant: Variant,
    epilogue: Epilogue,
    tape: EpilogueTape,
}

impl Conv {
    /// The whole product of operands that start at `offsets` of their buffers.
    pub fn new(shape: ConvShape, pass: ConvPass, dtype: DType, offsets: [usize; 2]) -> Conv {
        let len = match pass {
            ConvPass::Forward => shape.output_len(),
            ConvPass::BackwardData => shape.input_len(),
            ConvPass::BackwardWeight { splits } => splits * shape.filters_len(),
        };
        let epilogue = Epilogue::store(2, dtype, len);
        let terms = [0, Conv::terms(&shape, pass)];
        let abilities = Abilities::default();
        Conv {
            shape,
            pass,
            dtype,
            offsets,
            terms,
            shares: 1,
            abilities,
            variant: Variant::Direct,
            epilogue,
            tape: EpilogueTape::new(),
        }
    }

    /// The same product for a device of such abilities.
    #[must_use]
    pub fn with_abilities(self, abilities: Abilities) -> Conv {
        Conv { abilities, ..self }
    }

    /// The variants that can do this product, on a device of the given abilities.
    pub fn variants(&self) -> Vec<Variant> {
        if self.shares > 1 {
            return vec![Variant::Tiled];
        }
        let mut variants = vec![Variant::Direct, Variant::Tiled];
        variants.extend(Tile::fits(self.abilities).then_some(Variant::Broadcast));
        variants
    }

    /// The same product another way, if it is one of its [`variants`](Conv::variants).
    #[must_use]
    pub fn with_variant(self, variant: Variant) -> Conv {
        if self.variants().contains(&variant) { Conv { variant, ..self } } else { self }
    }

    /// The same product through workgroup memory, as shares `[shares, …]` of the terms: their sum is the result. Not for
    /// [`ConvPass::BackwardWeight`], which has its own, and before anything is fused.
    #[must_use]
    pub fn in_shares(self, shares: usize) -> Conv {
        let epilogue = Epilogue::store(2, self.dtype, shares * self.len());
        Conv { shares, variant: Variant::Tiled, epilogue, ..self }
    }

    /// Shares for tiles in workgroup memory on a card, of [`in_shares`](Conv::in_shares) or the pass itself: one where
    /// there are tiles enough, or the sums are short.
    pub fn shares(shape: &ConvShape, pass: ConvPass) -> usize {
        let terms = match pass {
            ConvPass::BackwardWeight { .. } => shape.batch * shape.output_plane(),
            _ => Conv::terms(shape, pass),
        };
        let [rows, columns] = product(shape, pass);
        let tiles = (shape.groups * rows.div_ceil(TILE) * columns.div_ceil(TILE)).max(1);
        let wanted = GROUPS_MIN.div_ceil(tiles).min(terms / SHARE_TERMS_MIN);
        terms.div_ceil(share(terms, wanted.max(terms.div_ceil(CONV_TERMS_MAX)))).max(1)
    }

    /// Terms of the sum that makes an element of the result; nothing that could be cut for
    /// [`ConvPass::BackwardWeight`], which has shares.
    pub fn terms(shape: &ConvShape, pass: ConvPass) -> usize {
        match pass {
            ConvPass::Forward => shape.channels * shape.window_len(),
            ConvPass::BackwardData => shape.filters * shape.window_len(),
            ConvPass::BackwardWeight { .. } => 0,
        }
    }

    /// The part of the product that sums `count` terms from `first` on.
    #[must_use]
    pub fn with_terms(self, first: usize, count: usize) -> Conv {
        Conv { terms: [first, count], ..self }
    }

    /// Shares for [`ConvPass::BackwardWeight`] on a device that is busy with about `invocations`.
    pub fn splits(shape: &ConvShape, invocations: usize) -> usize {
        let pixels = (shape.batch * shape.output_plane()).max(1);
        let columns = shape.channels * shape.window_len();
        let each = (shape.groups * shape.filters.div_ceil(8) * columns.div_ceil(4)).max(1);
        let wanted = invocations.div_ceil(each).min(pixels.div_ceil(64));
        wanted.max(pixels.div_ceil(CONV_TERMS_MAX))
    }

    /// First term of a share, and how many.
    fn terms_of(&self, number: usize) -> [usize; 2] {
        let [first, count] = self.terms;
        let each = share(count, self.shares);
        let start = (number * each).min(count);
        [first + start, each.min(count - start)]
    }

    /// Filters (for the derivative by the images channels) that an invocation makes: of a tile of eight as many as
    /// there are, so that convolutions with a filter for each channel waste nothing.
    fn rows(&self) -> usize {
        let all = match self.pass {
            ConvPass::BackwardData => self.shape.channels,
            ConvPass::Forward | ConvPass::BackwardWeight { .. } => self.shape.filters,
        };
        all.div_ceil(all.div_ceil(ROWS_MAX).max(1)).max(1)
    }

    fn operand_lens(&self) -> [usize; 2] {
        let shape = &self.shape;
        match self.pass {
            ConvPass::Forward => [shape.input_len(), shape.filters_len()],
            ConvPass::BackwardData => [shape.output_len(), shape.filters_len()],
            ConvPass::BackwardWeight { .. } => [shape.input_len(), shape.output_len()],
        }
    }

    fn len(&self) -> usize {
        self.epilogue.args.iter().find(|a| a.access != crate::Access::Read).map_or(0, |a| a.len)
    }

    fn native<T: Number>(&self, a: &[T], b: &[T], out: &mut [T]) -> Result<()> {
        let (a, b) = (&a[self.offsets[0]..], &b[self.offsets[1]..]);
        if let ConvPass::BackwardWeight { splits } = self.pass {
            return native::backward_weight(&self.shape, a, b, out, splits);
        }
        let len = (out.len() / self.shares).max(1);
        let mut shares = out.chunks_mut(len).enumerate();
        shares.try_for_each(|(number, out)| self.native_share(a, b, out, self.terms_of(number)))
    }

    /// The sums of some of the terms.
    fn native_share<T: Number>(&self, a: &[T], b: &[T], out: &mut [T], terms: [usize; 2]) -> Result<()> {
        let window = self.shape.window_len();
        let back = self.pass == ConvPass::BackwardData;
        let term = |filter, column| if back { filter * window + column % window } else { column };
        let whole = terms == [0, Conv::terms(&self.shape, self.pass)];
        let cut = (!whole).then(|| native::cut_filters(&self.shape, b, term, terms));
        let filters = cut.as_deref().unwrap_or(b);
        if back {
            native::backward_data(&self.shape, a, filters, out)
        } else {
            native::forward(&self.shape, a, filters, out)
        }
    }
}

/// Rows and columns of the product as the shaders see it.
fn product(shape: &ConvShape, pass: ConvPass) -> [usize; 2] {
    match pass {
        ConvPass::Forward => [shape.filters, shape.batch * shape.output_plane()],
        ConvPass::BackwardData => [shape.channels, shape.batch * shape.input_plane()],
        ConvPass::BackwardWeight { .. } => [shape.filters, shape.channels * shape.window_len()],
    }
}

/// Terms of each of some shares: whole steps of a tile.
fn share(terms: usize, shares: usize) -> usize {
    terms.div_ceil(shares.max(1)).next_multiple_of(TILE_STEPS).max(TILE_STEPS)
}

/// Sizes as `h×w`, or `d×h×w` where there is a depth.
pub(crate) fn by([depth, height, width]: [usize; 3]) -> String {
    if depth == 1 { format!("{height}×{width}") } else { format!("{depth}×{height}×{width}") }
}

/// Sets the sizes of `shared/window.wgsl`: pixels of images and results, window, steps, padding, dilation.
pub(crate) fn of_window(linker: Linker, lists: [[usize; 3]; 6]) -> Linker {
    const NAMES: [[&str; 3]; 6] = [
        ["DEPTH", "HEIGHT", "WIDTH"],
        ["OUT_DEPTH", "OUT_HEIGHT", "OUT_WIDTH"],
        ["WINDOW_Z", "WINDOW_Y", "WINDOW_X"],
        ["STRIDE_Z", "STRIDE_Y", "STRIDE_X"],
        ["PADDING_Z", "PADDING_Y", "PADDING_X"],
        ["DILATION_Z", "DILATION_Y", "DILATION_X"],
    ];
    let all = NAMES.iter().flatten().zip(lists.iter().flatten());
    all.fold(linker, |linker, (name, &size)| linker.constant(name, size))
}

impl Kernel for Conv {
    fn name(&self) -> &'static str {
        self.shader_name()
    }

    fn describe(&self) -> String {
        let ConvShape { batch, groups, channels, filters, input, window, .. } = self.shape;
        let fused = self.epilogue.program.insts.len() - 1;
        let (images, windows) = (by(input), by(window));
        let shares = if self.shares > 1 { format!(" in {} shares", self.shares) } else { String::new() };
        format!(
            "{} {batch}×{groups}×[{channels}→{filters}] {images} window {windows}{shares} then {fused} values",
            self.name()
        )
    }

    fn args(&self) -> Vec<Arg> {
        let lens = self.operand_lens();
        let mut args: Vec<Arg> =
            lens.iter().zip(self.offsets).map(|(len, offset)| Arg::read(self.dtype, offset + len)).collect();
        args.extend(self.epilogue.args.iter().cloned());
        args
    }

    fn scalars(&self) -> Vec<DType> {
        self.epilogue.scalars.clone()
    }

    fn shader(&self) -> Result<Shader> {
        self.text()
    }

    fn groups(&self) -> [u32; 3] {
        self.launch()
    }

    fn run_cpu(&self, run: CpuRun<'_>) -> Result<()> {
        let epilogue = (&self.epilogue, &self.tape, self.len());
        contract(self, epilogue, run, &|a, b, out| self.native::<f32>(a, b, out), &|a, b, out| {
            self.native::<f64>(a, b, out)
        })
    }

    fn cost(&self) -> Cost {
        let shape = &self.shape;
        let products = shape.output_len() as u64 * (shape.channels * shape.window_len()) as u64;
        let bytes: usize = self.args().iter().map(|a| a.dtype.bytes(a.len)).sum();
        let fused = self.epilogue.program.flops() * self.len() as u64;
        Cost { flops: 2 * products + fused, bytes: bytes as u64 }
    }

    fn variants(&self) -> Vec<Arc<dyn Kernel>> {
        let others = self.variants().into_iter().filter(|v| *v != self.variant);
        others.map(|variant| Arc::new(Conv { variant, ..self.clone() }) as Arc<dyn Kernel>).collect()
    }

    fn with_epilogue(&self, epilogue: Epilogue) -> Option<Arc<dyn Kernel>> {
        Some(Arc::new(Conv { epilogue, tape: EpilogueTape::new(), ..self.clone() }))
    }

    fn in_place(&self, input: usize, output: usize) -> Option<Arc<dyn Kernel>> {
        // The products are there before a result is stored, natively all, in a shader those of the invocation.
        self.with_epilogue(self.epilogue.in_place(&self.args(), self.len(), input, output)?)
    }

    fn rebased(&self) -> Option<Rebased> {
        let args = self.args();
        let (epilogue, mut starts) = self.epilogue.rebased(&args);
        let mut moved = Conv { epilogue, tape: EpilogueTape::new(), ..self.clone() };
        for (k, offset) in moved.offsets.iter_mut().enumerate() {
            starts[k] = start_of(&args[k], *offset);
            *offset -= starts[k];
        }
        rebased(moved, starts)
    }
}
