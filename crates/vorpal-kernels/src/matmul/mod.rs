//! Matrix products.

mod broadcast;
mod native;
mod tiled;

use std::sync::Arc;

use smallvec::SmallVec;
use vorpal_shaders::{Linker, MATMUL_DIRECT, Shader};
use vorpal_tensor::{DType, Error, Layout, Result, Shape};

#[cfg(target_arch = "x86_64")]
use crate::LaidOut;
use crate::contraction::{EpilogueTape, contract};
use crate::gemm::Matrix;
#[cfg(target_arch = "x86_64")]
use crate::gemm::panels::{self, PANEL};
use crate::starts::{rebased, start_of};
use crate::subgroup_tile::{Fours, Tile};
use crate::{Abilities, Access, Arg, Cost, CpuRun, Epilogue, Kernel, Rebased, emit_epilogue, spread};

/// Longest sum one launch takes. Callers split longer ones, so that no invocation goes through more steps than
/// a software adapter allows.
pub const MATMUL_K_MAX: usize = 16_384;

/// Longest sum of halves one launch takes: cards alone do it, which go on longer.
pub const MATMUL_HALVES_K_MAX: usize = 1 << 17;

/// How the shader goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Registers alone; best where workgroup memory is slow, and for small matrices.
    Direct,
    /// Tiles of 64 by 64 in workgroup memory.
    Tiled,
    /// Tiles of 128 by 128 in workgroup memory, for products of very many of them.
    Large,
    /// Tiles of 128 by up to 256 that subgroups multiply as matrices; for operands of halves alone.
    Cooperative,
    /// Registers whose rows are shared by the invocations of a subgroup.
    Broadcast,
}

/// `C[…, m, n] = Σₖ A[…, m, k] · B[…, k, n]` in f32 (natively f64, too), with operands of any strides; on cards that multiply
/// matrices of halves, of halves, too.
///
/// Inputs are the buffers behind A and B; the result is contiguous, `[batch, m, n]`.
#[derive(Clone, Debug)]
pub struct MatMul {
    /// Of the operands, and of sums and results: the same, but f32 where operands are halves.
    operands: DType,
    dtype: DType,
    variant: Variant,
    abilities: Abilities,
    /// Sizes of the two batch axes, then m, n, k.
    batch: [usize; 2],
    sizes: [usize; 3],
    a: Operand,
    b: Operand,
    /// Whether B lies panel by panel, `[n ∕ 16, k, 16]`, whatever its strides say.
    in_panels: bool,
    epilogue: Epilogue,
    tape: EpilogueTape,
}

/// An operand as rows or columns of a product.
struct Side {
    /// Its buffer's binding.
    binding: usize,
    operand: Operand,
    /// Rows (columns), and the steps between them and between the terms.
    count: usize,
    across: isize,
    along: isize,
}

/// Strides of an operand.
#[derive(Clone, Copy, Debug)]
struct Operand {
    /// Elements its buffer holds at least.
    len: usize,
    batch: [isize; 2],
    matrix: Matrix,
}

impl Operand {
    /// Binds the operand from where it is first read; gives where.
    fn rebase(&mut self, arg: &Arg, batch: [usize; 2], [rows, columns]: [usize; 2]) -> usize {
        if self.len == 0 {
            return 0;
        }
        let Matrix { offset, row_stride, column_stride } = self.matrix;
        let sizes = [batch[0], batch[1], rows, columns];
        let strides = [self.batch[0], self.batch[1], row_stride, column_stride];
        let back: isize = sizes.iter().zip(strides).map(|(&n, s)| (n as isize - 1) * s.min(0)).sum();
        let start = start_of(arg, (offset + back).max(0) as usize);
        self.matrix.offset -= start as isize;
        self.len -= start;
        start
    }
}

impl MatMul {
    /// The product of two windows of equal batch axes; `None` when the shapes do not fit, a window is padded, the
    /// batch does not collapse to two axes, or k exceeds [`MATMUL_K_MAX`].
    pub fn new(a: &Layout, b: &Layout, dtype: DType) -> Option<MatMul> {
        MatMul::within(a, b, dtype, MATMUL_K_MAX)
    }

    fn within(a: &Layout, b: &Layout, dtype: DType, k_max: usize) -> Option<MatMul> {
        let rank = a.shape.rank();
        if rank < 2 || b.shape.rank() != rank || !a.bounds.is_empty() || !b.bounds.is_empty() {
            return None;
        }
        let [m, k] = [a.shape[rank - 2], a.shape[rank - 1]];
        let n = b.shape[rank - 1];
        let fits = b.shape[rank - 2] == k && a.shape[..rank - 2] == b.shape[..rank - 2];
        if !fits || k > k_max || !matches!(dtype, DType::F32 | DType::F64) {
            return None;
        }
        // Joins neighbouring batch axes that both operands step through alike.
        let mut axes: SmallVec<[(usize, isize, isize); 4]> = SmallVec::new();
        for axis in 0..rank - 2 {
            let (size, sa, sb) = (a.shape[axis], a.strides[axis], b.strides[axis]);
            if size == 1 {
                continue;
            }
            match axes.last_mut() {
                Some((n, la, lb)) if *la == sa * size as isize && *lb == sb * size as isize => {
                    *n *= size;
                    (*la, *lb) = (sa, sb);
                }
                _ => axes.push((size, sa, sb)),
            }
        }
        if axes.len() > 2 {
            return None;
        }
        axes.resize(2, (1, 0, 0));
        let operand = |layout: &Layout, batch| Operand {
            len: layout.span(),
            batch,
            matrix: Matrix {
                offset: layout.offset,
                row_stride: layout.strides[rank - 2],
                column_stride: layout.strides[rank - 1],
            },
        };
        let len = axes[0].0 * axes[1].0 * m * n;
        Some(MatMul {
            operands: dtype,
            dtype,
            variant: Variant::Direct,
            abilities: Abilities::default(),
            batch: [axes[0].0, axes[1].0],
            sizes: [m, n, k],
            a: operand(a, [axes[0].1, axes[1].1]),
            b: operand(b, [axes[0].2, axes[1].2]),
            in_panels: false,
            epilogue: Epilogue::store(2, dtype, len),
            tape: EpilogueTape::new(),
        })
    }

    /// The product of two windows of halves as f32; `None` when [`new`](MatMul::new) gives none for other reasons than k, k
    /// exceeds [`MATMUL_HALVES_K_MAX`], or rows of a window are no eights in memory, along the terms or across them.
    pub fn of_halves(a: &Layout, b: &Layout) -> Option<MatMul> {
        let product = MatMul::within(a, b, DType::F32, MATMUL_HALVES_K_MAX)?;
        let product = MatMul { operands: DType::F16, variant: Variant::Cooperative, ..product };
        product.sides().iter().all(|side| product.in_runs(side, 8).is_some()).then_some(product)
    }

    /// The same product for a device of such abilities.
    #[must_use]
    pub fn with_abilities(self, abilities: Abilities) -> MatMul {
        MatMul { abilities, ..self }
    }

    /// The variants that can do this product, on a device of the given abilities.
    pub fn variants(&self) -> Vec<Variant> {
        if self.operands == DType::F16 {
            return vec![Variant::Cooperative];
        }
        let mut variants = vec![Variant::Direct, Variant::Tiled, Variant::Large];
        variants.extend(Tile::fits(self.abilities).then_some(Variant::Broadcast));
        variants
    }

    /// The same product another way.
    #[must_use]
    pub fn with_variant(self, variant: Variant) -> MatMul {
        MatMul { variant, ..self }
    }

    /// Shape of the result with its batch axes collapsed.
    pub fn result(&self) -> Shape {
        Shape::from([self.batches(), self.sizes[0], self.sizes[1]])
    }

    fn batches(&self) -> usize {
        self.batch[0] * self.batch[1]
    }

    /// Tiles of so many rows and columns.
    pub fn tiles(&self, rows: usize, columns: usize) -> usize {
        let [m, n, _] = self.sizes;
        self.batches() * m.div_ceil(rows) * n.div_ceil(columns)
    }

    /// Tiles of the variant, each of which a workgroup makes; where subgroups make their own, about as many as they make.
    pub fn own_tiles(&self) -> usize {
        match self.variant {
            Variant::Direct | Variant::Broadcast => self.tiles(32, 64),
            Variant::Tiled => self.tiles(64, 64),
            Variant::Large => self.tiles(128, 128),
            Variant::Cooperative => {
                let [rows, columns] = self.cooperative_tile();
                self.tiles(rows, columns)
            }
        }
    }

    /// Operands as rows and as columns.
    fn sides(&self) -> [Side; 2] {
        let ([m, n, _], a, b) = (self.sizes, self.a.matrix, self.b.matrix);
        let (operand, across, along) = (self.a, a.row_stride, a.column_stride);
        let left = Side { binding: 0, operand, count: m, across, along };
        let (operand, across, along) = (self.b, b.column_stride, b.row_stride);
        [left, Side { binding: 1, operand, count: n, across, along }]
    }

    /// How an operand can be read in runs of `width` neighbours, none of which reaches over an end.
    fn in_runs(&self, side: &Side, width: usize) -> Option<Fours> {
        let whole = |x: isize| x % width as isize == 0;
        let Operand { batch, matrix, .. } = side.operand;
        let steps = (0..2).all(|axis| self.batch[axis] == 1 || whole(batch[axis]));
        if !steps || !whole(matrix.offset) {
            return None;
        }
        let k = self.sizes[2];
        let along = side.along == 1 && (side.count == 1 || whole(side.across)) && k.is_multiple_of(width);
        let across = side.across == 1 && (k == 1 || whole(side.along)) && side.count.is_multiple_of(width);
        if along { Some(Fours::Along) } else { (across && side.count > 0).then_some(Fours::Across) }
    }

    /// Elements of the results of all batches.
    fn results(&self) -> usize {
        self.batches() * self.sizes[0] * self.sizes[1]
    }
}

impl Kernel for MatMul {
    fn name(&self) -> &'static str {
        match self.variant {
            Variant::Direct => "matmul_direct",
            Variant::Tiled | Variant::Large => "matmul_tiled",
            Variant::Cooperative => "matmul_cooperative",
            Variant::Broadcast => "matmul_broadcast",
        }
    }

    fn describe(&self) -> String {
        let [m, n, k] = self.sizes;
        let fused = self.epilogue.program.insts.len() - 1;
        let how = match self.variant {
            _ if self.in_panels => " by panels",
            Variant::Large => " in large tiles",
            _ => "",
        };
        format!("{} {}×[{m}×{k}·{k}×{n}]{how} then {fused} values", self.name(), self.batches())
    }

    fn args(&self) -> Vec<Arg> {
        let mut args = vec![Arg::read(self.operands, self.a.len), Arg::read(self.operands, self.b.len)];
        args.extend(self.epilogue.args.iter().cloned());
        args
    }

    fn scalars(&self) -> Vec<DType> {
        self.epilogue.scalars.clone()
    }

    fn shader(&self) -> Result<Shader> {
        if self.in_panels {
            return Err(Error::internal("matmul", "panels are for native code"));
        }
        if let Some(tiles) = self.tiled()? {
            return Ok(self.with_sizes(tiles).finish());
        }
        let text = emit_epilogue(&self.epilogue, &self.args())?;
        if self.variant == Variant::Broadcast {
            return self.broadcast_shader(&text);
        }
        let linker = Linker::new(MATMUL_DIRECT)
            .replace("finish", &text.finish)
            .map_err(|message| Error::internal("matmul", message))?
            .append(&text.declarations);
        Ok(self.with_sizes(linker).finish())
    }

    fn groups(&self) -> [u32; 3] {
        if self.variant == Variant::Broadcast {
            return self.broadcast_groups();
        }
        spread(self.own_tiles())
    }

    fn run_cpu(&self, run: CpuRun<'_>) -> Result<()> {
        if self.operands == DType::F16 {
            return Err(Error::internal("matmul", "products of halves are for cards"));
        }
        let epilogue = (&self.epilogue, &self.tape, self.results());
        let single = |a: &[f32], b: &[f32], out: &mut [f32]| match self.in_panels {
            #[cfg(target_arch = "x86_64")]
            true => panels::product(self.sizes, out, (a, self.a.matrix), b),
            _ => self.native(a, b, out),
        };
        contract(self, epilogue, run, &single, &|a, b, out| self.native::<f64>(a, b, out))
    }

    fn cost(&self) -> Cost {
        let results = self.results() as u64;
        let work = 2 * results * self.sizes[2] as u64;
        let bytes: usize = self.args().iter().map(|a| a.dtype.bytes(a.len)).sum();
        Cost { flops: work + self.epilogue.program.flops() * results, bytes: bytes as u64 }
    }

    fn stores_16bit(&self) -> bool {
        self.finishes_fours()
    }

    fn variants(&self) -> Vec<Arc<dyn Kernel>> {
        // The others store no halves.
        let narrow = self.epilogue.args.iter().any(|a| a.access != Access::Read && a.dtype.is_16bit());
        let fits = |v: &Variant| !narrow || matches!(v, Variant::Tiled | Variant::Large);
        let others = self.variants().into_iter().filter(|v| *v != self.variant && fits(v));
        others.map(|v| Arc::new(self.clone().with_variant(v)) as Arc<dyn Kernel>).collect()
    }

    #[cfg(target_arch = "x86_64")]
    fn laid_out(&self) -> Option<LaidOut> {
        let ([_, n, k], of_b) = (self.sizes, self.b.matrix);
        let alone = self.batches() == 1 && self.dtype == DType::F32 && !self.in_panels;
        if !alone || !panels::fits(self.sizes, self.a.matrix) {
            return None;
        }
        let strides = [PANEL as isize * of_b.column_stride, of_b.row_stride, of_b.column_stride];
        let shape = Shape::from([n / PANEL, k, PANEL]);
        let layout = Layout {
            strides: strides.into_iter().collect(),
            offset: of_b.offset,
            ..Layout::contiguous(shape)
        };
        let b = Operand { len: n * k, ..self.b };
        Some(LaidOut { input: 1, layout, kernel: Arc::new(MatMul { b, in_panels: true, ..self.clone() }) })
    }

    fn with_epilogue(&self, epilogue: Epilogue) -> Option<Arc<dyn Kernel>> {
        Some(Arc::new(MatMul { epilogue, tape: EpilogueTape::new(), ..self.clone() }))
    }

    fn in_place(&self, input: usize, output: usize) -> Option<Arc<dyn Kernel>> {
        // The products are there before a result is stored, natively all, in a shader those of the invocation.
        self.with_epilogue(self.epilogue.in_place(&self.args(), self.results(), input, output)?)
    }

    fn rebased(&self) -> Option<Rebased> {
        let args = self.args();
        let (epilogue, mut starts) = self.epilogue.rebased(&args);
        let mut moved = MatMul { epilogue, tape: EpilogueTape::new(), ..self.clone() };
        let [m, n, k] = self.sizes;
        starts[0] = moved.a.rebase(&args[0], self.batch, [m, k]);
        if !self.in_panels {
            starts[1] = moved.b.rebase(&args[1], self.batch, [k, n]);
        }
        rebased(moved, starts)
    }
}
