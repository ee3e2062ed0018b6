//! Matrix products.

use std::any::Any;
use std::sync::Arc;

use smallvec::SmallVec;
use vorpal_kernels::{MATMUL_K_MAX, MatMul as Product, ReduceKind, Variant};
use vorpal_tensor::{At, DType, Error, Layout, Result, Shape};

use super::pointwise::{ADD, MUL};
use super::reduce::reduce;
use super::shape_error;
use crate::compile::ir::{Builder, Class, Kind, NodeId, Target};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Elements of the larger operand from which tiles in workgroup memory pay.
const TILES_MIN: usize = 64 * 64;

/// Large tiles from which there are enough for all of 132 multiprocessors of a large card, two each, so that one computes while
/// the other reads.
const LARGE_MIN: usize = 264;

/// How a card cuts long sums of few tiles: rows and columns of a tile, workgroups that keep a large card busy, terms that are read
/// together, terms of a piece of a sum at least.
const TILE: usize = 64;
const BUSY: usize = 2 * LARGE_MIN;
const RUN: usize = 4;
const PIECE_MIN: usize = 64;

/// The same of halves. Their tiles are so large that a multiprocessor works on one at a time, so that what counts are the rounds in
/// which all of them work on tiles.
const HALVES_AT_ONCE: usize = 132;
const HALVES_RUN: usize = 8;
const HALVES_PIECE_MIN: usize = 256;
/// What it takes to finish the results of a tile, and a launch, and how many elements of a piece are stored and read again, in the
/// time that a tile takes for one term (28 ns on an H200).
const FINISH_TERMS: usize = 200;
const LAUNCH_TERMS: usize = 250;
const ELEMENTS_A_TERM: usize = 10_500;

/// Terms that a workgroup must be spared for a launch more to pay.
const SPARED_MIN: usize = 192;

/// `[…, m, k] · […, k, n]` with equal batch axes.
#[derive(Debug)]
struct MatMul;

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        if !inputs[0].dtype.is_float() {
            return Misfit::dtype(format!("needs floats, found {}", inputs[0].dtype));
        }
        super::same_dtype(inputs)?;
        let (a, b) = (&inputs[0].shape, &inputs[1].shape);
        let rank = a.rank();
        if rank < 2 || b.rank() != rank || a[..rank - 2] != b[..rank - 2] || a[rank - 1] != b[rank - 2] {
            return Misfit::shape(format!("{a} · {b}: inner sizes must agree"));
        }
        Ok(Spec::new(a.with_axis(rank - 1, b[rank - 1]), inputs[0].dtype))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (a, b) = (&v.inputs[0], &v.inputs[1]);
        // Natively the derivative by a transpose is made as what was transposed lies, so that nothing after it reads across rows:
        // an update of a weight goes through memory once. On adapters it would become part of the product's epilogue,
        // which takes longer than a launch of its own (6 % of an MLP's step on llvmpipe).
        let lies_so = |x: &Tensor| x.is_native() && x.transposed_from().is_some();
        let turned = |x: &Tensor, y: &Tensor, as_it_lies: bool| match as_it_lies {
            true => y.turned().matmul(&x.turned()).t(),
            false => x.matmul(y),
        };
        vec![Some(turned(v.grad, &b.turned(), lies_so(a))), Some(turned(&a.turned(), v.grad, lies_so(b)))]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        // Broadcasts the batch axes, and takes one matrix on the right as a product of all rows.
        v.inputs[0].matmul(&v.inputs[1])
    }

    fn attributes(&self, _: &mut Key) {}

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let dtype = cx.dtype(x[0]);
        // Cards that multiply matrices of halves read them as they are.
        let as_they_are = dtype == DType::F16 && cx.target().abilities.matrices;
        let read = if as_they_are { dtype } else { dtype.compute() };
        let (a, b) = (cx.cast(x[0], read), cx.cast(x[1], read));
        let product = product(cx, a, b)?;
        Ok(cx.cast(product, dtype))
    }
}

/// The product of two nodes, of halves as f32; sums longer than one launch takes, or too few for a card, are split.
fn product(cx: &mut Builder, a: NodeId, b: NodeId) -> Result<NodeId> {
    let (shape_a, shape_b) = (cx.shape(a).clone(), cx.shape(b).clone());
    let rank = shape_a.rank();
    let k = shape_a[rank - 1];
    if k == 1 {
        // Columns times rows, as in the gradients of single examples: without sums this fuses with what comes after.
        let (a, b) = (wide(cx, a), wide(cx, b));
        let out = shape_a.with_axis(rank - 1, shape_b[rank - 1]);
        let column = cx.view(a, |l| Some(l.broadcast_to(&out)))?;
        let row = cx.view(b, |l| Some(l.broadcast_to(&out)))?;
        return Ok(cx.call(&MUL.f, &[column, row]));
    }
    if cx.target().class == Class::Card && k <= MATMUL_K_MAX {
        // What has one row or column reads a matrix once and computes next to nothing: a reduction, without tiles.
        let whole = |cx: &Builder, x: NodeId| cx.shape(cx.base(x)).numel() >= cx.shape(x).numel();
        if shape_a[rank - 2] == 1 && whole(cx, b) {
            let (a, b) = (wide(cx, a), wide(cx, b));
            let column = cx.view(a, |l| Some(l.permute(&swapped(rank))))?;
            return by_vector(cx, b, column, &shape_a.with_axis(rank - 1, shape_b[rank - 1]));
        }
        if shape_b[rank - 1] == 1 && whole(cx, a) {
            let (a, b) = (wide(cx, a), wide(cx, b));
            let matrix = cx.view(a, |l| Some(l.permute(&swapped(rank))))?;
            return by_vector(cx, matrix, b, &shape_a.with_axis(rank - 1, 1));
        }
    }
    let [pieces, length] = cut(cx, a, b);
    if pieces == 1 {
        return launch(cx, a, b);
    }
    let even = pieces * length;
    // The pieces become one more batch axis in front of the matrices, then a sum.
    let main_a = cx.view(a, |l| Some(l.slice(rank - 1, 0, even, 1)))?;
    let main_b = cx.view(b, |l| Some(l.slice(rank - 2, 0, even, 1)))?;
    let batch = &shape_a[..rank - 2];
    let (m, n) = (shape_a[rank - 2], shape_b[rank - 1]);
    let cut_a: Shape = batch.iter().copied().chain([m, pieces, length]).collect();
    let cut_b: Shape = batch.iter().copied().chain([pieces, length, n]).collect();
    let main_a = cx.view(main_a, |l| l.reshape(&cut_a))?;
    let main_b = cx.view(main_b, |l| l.reshape(&cut_b))?;
    let main_a = cx.view(main_a, |l| Some(l.permute(&pieces_first(rank))))?;
    let partial = launch(cx, main_a, main_b)?;
    let mut axes = vec![false; rank + 1];
    axes[rank - 2] = true;
    let sum = reduce(cx, ReduceKind::Sum, partial, &axes)?;
    let shape = shape_a.with_axis(rank - 1, n);
    let sum = cx.view(sum, |l| l.reshape(&shape))?;
    if even == k {
        return Ok(sum);
    }
    let rest_a = cx.view(a, |l| Some(l.slice(rank - 1, even, k - even, 1)))?;
    let rest_b = cx.view(b, |l| Some(l.slice(rank - 2, even, k - even, 1)))?;
    let rest = launch(cx, rest_a, rest_b)?;
    Ok(cx.call(&ADD.f, &[sum, rest]))
}

/// A node in the dtype that its sums are made in.
fn wide(cx: &mut Builder, x: NodeId) -> NodeId {
    cx.cast(x, cx.dtype(x).compute())
}

/// The kernel that reads two nodes of halves as they lie, and the nodes behind them.
fn of_halves(cx: &mut Builder, a: NodeId, b: NodeId) -> Option<(Product, [NodeId; 2])> {
    if cx.dtype(a) != DType::F16 {
        return None;
    }
    let ((base_a, of_a), (base_b, of_b)) = (cx.strided(a), cx.strided(b));
    let kernel = Product::of_halves(&of_a, &of_b)?.with_abilities(cx.target().abilities);
    Some((kernel, [base_a, base_b]))
}

/// The order of axes in which the last two have changed places.
fn swapped(rank: usize) -> SmallVec<[usize; 8]> {
    (0..rank - 2).chain([rank - 1, rank - 2]).collect()
}

/// The order of axes in which the pieces of `[…, m, pieces, length]`, a product of `rank` axes, come before the rows.
fn pieces_first(rank: usize) -> SmallVec<[usize; 8]> {
    swapped(rank).into_iter().chain([rank]).collect()
}

/// The window through which a node reads its buffer.
fn window(cx: &Builder, x: NodeId) -> Layout {
    match &cx.nodes()[x].kind {
        Kind::View { layout, .. } => layout.clone(),
        _ => Layout::contiguous(cx.shape(x).clone()),
    }
}

/// `[…, k, n]` summed over k with the weights `[…, k, 1]`.
fn by_vector(cx: &mut Builder, mut matrix: NodeId, mut weights: NodeId, out: &Shape) -> Result<NodeId> {
    let rank = cx.shape(matrix).rank();
    let mut summed = rank - 2;
    if window(cx, matrix).strides[summed] == 1 {
        // Neighbours in memory come last.
        matrix = cx.view(matrix, |l| Some(l.permute(&swapped(rank))))?;
        weights = cx.view(weights, |l| Some(l.permute(&swapped(rank))))?;
        summed = rank - 1;
    }
    let shape = cx.shape(matrix).clone();
    let weights = cx.view(weights, |l| Some(l.broadcast_to(&shape)))?;
    let terms = cx.call(&MUL.f, &[matrix, weights]);
    let axes: SmallVec<[bool; 8]> = (0..rank).map(|axis| axis == summed).collect();
    let sum = reduce(cx, ReduceKind::Sum, terms, &axes)?;
    cx.view(sum, |l| l.reshape(out))
}

/// Pieces that the sums of a product are cut into, and their length; what is left is a product of its own.
fn cut(cx: &mut Builder, a: NodeId, b: NodeId) -> [usize; 2] {
    let halves = of_halves(cx, a, b);
    let (shape, rank) = (cx.shape(a), cx.shape(a).rank());
    let (k, n) = (shape[rank - 1], cx.shape(b)[rank - 1]);
    if cx.target().class != Class::Card {
        let pieces = if k <= MATMUL_K_MAX { 1 } else { k.div_ceil(MATMUL_K_MAX / 4) };
        return [pieces, k / pieces];
    }
    if let Some((kernel, _)) = halves {
        let pieces = pieces_of_halves(&kernel, k);
        let length = k / pieces;
        let pays = k - length >= SPARED_MIN && splits(cx, a, b, [pieces, length], true);
        return if pays { [pieces, length] } else { [1, k] };
    }
    let batches: usize = shape[..rank - 2].iter().product();
    let tiles = batches * shape[rank - 2].div_ceil(TILE) * n.div_ceil(TILE);
    // As many as make the card busy, or the few that launches can take.
    let least = k.div_ceil(MATMUL_K_MAX).max(1);
    let busy = (BUSY + tiles / 2).checked_div(tiles).unwrap_or(1).min(k / PIECE_MIN);
    let wanted = busy.max(least);
    let range = if busy > least { least.max(busy / 2 + 1)..=busy } else { least..=2 * least - 1 };
    // Pieces without a rest, and of whole runs, where their number is about the same.
    let even = |run: usize| {
        let all = range.clone().filter(|pieces| k.is_multiple_of(run * pieces));
        all.min_by_key(|pieces| pieces.abs_diff(wanted))
    };
    let pieces = even(RUN).or_else(|| even(1)).unwrap_or(wanted);
    let length = if k.is_multiple_of(pieces) { k / pieces } else { k / pieces / RUN * RUN };
    let pays = k - length >= SPARED_MIN && splits(cx, a, b, [pieces, length], false);
    if least == 1 && !pays {
        return [1, k];
    }
    [pieces, length]
}

/// Pieces of whole runs that take the least time by rounds of tiles.
fn pieces_of_halves(kernel: &Product, k: usize) -> usize {
    let (results, tiles) = (kernel.result().numel(), kernel.own_tiles());
    let terms = |pieces: usize| {
        let rounds = (tiles * pieces).div_ceil(HALVES_AT_ONCE) * (k / pieces + FINISH_TERMS);
        let joined = if pieces == 1 { 0 } else { LAUNCH_TERMS + pieces * results / ELEMENTS_A_TERM };
        rounds + joined
    };
    let most = (k / HALVES_PIECE_MIN).min(HALVES_AT_ONCE);
    let even = (2..=most).filter(|pieces| k.is_multiple_of(HALVES_RUN * pieces));
    even.chain([1]).min_by_key(|&pieces| (terms(pieces), pieces)).unwrap_or(1)
}

/// Whether the pieces of sums can be one more batch axis without a copy of the operands.
fn splits(cx: &Builder, a: NodeId, b: NodeId, cut: [usize; 2], halves: bool) -> bool {
    // The axis of the sums as two, the first of which is the last of the batch.
    let split = |x: NodeId, back: usize| {
        let layout = window(cx, x);
        let axis = layout.shape.rank() - back;
        let layout = layout.slice(axis, 0, cut[0] * cut[1], 1);
        let sizes: Shape =
            (layout.shape[..axis].iter().chain(&cut).chain(&layout.shape[axis + 1..])).copied().collect();
        layout.reshape(&sizes)
    };
    let (Some(of_a), Some(of_b)) = (split(a, 1), split(b, 2)) else { return false };
    let of_a = of_a.permute(&pieces_first(of_a.shape.rank() - 1));
    match halves {
        true => Product::of_halves(&of_a, &of_b).is_some(),
        false => Product::new(&of_a, &of_b, cx.dtype(a).compute()).is_some(),
    }
}

fn launch(cx: &mut Builder, a: NodeId, b: NodeId) -> Result<NodeId> {
    let shape = cx.shape(a).with_axis(cx.shape(a).rank() - 1, cx.shape(b)[cx.shape(b).rank() - 1]);
    if let Some((kernel, operands)) = of_halves(cx, a, b) {
        return Ok(cx.kernel(Arc::new(kernel), &operands, shape, DType::F32));
    }
    let (a, b) = (wide(cx, a), wide(cx, b));
    let dtype = cx.dtype(a);
    let (mut base_a, mut of_a) = cx.strided(a);
    let (mut base_b, mut of_b) = cx.strided(b);
    let mut kernel = Product::new(&of_a, &of_b, dtype);
    if kernel.is_none() {
        // Batch axes too irregular for the kernel: lay the operands out first.
        (base_a, of_a) = (cx.copy(a), Layout::contiguous(cx.shape(a).clone()));
        (base_b, of_b) = (cx.copy(b), Layout::contiguous(cx.shape(b).clone()));
        kernel = Product::new(&of_a, &of_b, dtype);
    }
    let refused = || Error::internal("matmul", format!("no kernel for {of_a:?} · {of_b:?}"));
    let mut kernel = kernel.ok_or_else(refused)?;
    kernel = kernel.with_abilities(cx.target().abilities);
    let variant = choice(cx.target(), &kernel, of_a.shape.numel().max(of_b.shape.numel()));
    if kernel.variants().contains(&variant) {
        kernel = kernel.with_variant(variant);
    }
    Ok(cx.kernel(Arc::new(kernel), &[base_a, base_b], shape, dtype))
}

/// The variant to start with on a target. Where workgroup memory is slow, an element should be loaded but once by a
/// subgroup.
fn choice(target: Target, product: &Product, operand_len: usize) -> Variant {
    match target.class {
        Class::Native => Variant::Direct,
        Class::Software => Variant::Broadcast,
        Class::Card if product.tiles(128, 128) >= LARGE_MIN => Variant::Large,
        Class::Card if operand_len >= TILES_MIN => Variant::Tiled,
        Class::Card => Variant::Direct,
    }
}

/// Products from which on their sum is taken as one.
const MERGED_MIN: usize = 4;

/// A product of two matrices among cotangents, or its transpose.
struct Factors {
    transposed: bool,
    /// The first, transposed, and the second: as many rows as the sums have terms.
    rows: [Tensor; 2],
}

impl Factors {
    fn of(x: &Tensor) -> Option<Factors> {
        let under = x.transposed_from();
        let node = under.as_ref().unwrap_or(x).0.as_ref().ok()?;
        (&*node.op as &dyn Any).downcast_ref::<MatMul>()?;
        let mut inputs = node.inputs().into_iter();
        let (a, b) = (Tensor(Ok(inputs.next()?)), Tensor(Ok(inputs.next()?)));
        (a.rank() == 2).then(|| Factors { transposed: under.is_some(), rows: [a.turned(), b] })
    }

    /// Whether the products have the same rows and columns, and putting the factors of one behind those of others moves fewer
    /// numbers than adding it to them.
    fn goes_with(&self, first: &Factors) -> bool {
        let ([m, n], terms) = ([0, 1].map(|k| self.rows[k].shape()[1]), self.rows[0].shape()[0]);
        let like = |k: usize| self.rows[k].shape()[1] == first.rows[k].shape()[1];
        self.transposed == first.transposed && like(0) && like(1) && terms * (m + n) <= 2 * m * n
    }
}

/// Cotangents of the same sum: where many are products of few terms, as those of a matrix that a recurrent network multiplies with
/// in every step, they become one product of all terms, `Σ AₖBₖ = [A₁ A₂ …][B₁; B₂; …]`.
pub(super) fn merged(cotangents: Vec<Tensor>) -> Vec<Tensor> {
    if cotangents.len() < MERGED_MIN {
        return cotangents;
    }
    let factors: Vec<Option<Factors>> = cotangents.iter().map(Factors::of).collect();
    let Some(first) = factors.iter().flatten().next() else { return cotangents };
    let mine = |f: &Option<Factors>| f.as_ref().is_some_and(|f| f.goes_with(first));
    let several: Vec<&Factors> = factors.iter().filter(|f| mine(f)).flatten().collect();
    if several.len() < MERGED_MIN {
        return cotangents;
    }
    // The newest first: the way back begins at the last step, and what follows the order of steps can be shared.
    let stacked = |k: usize| {
        let parts: Vec<Tensor> = several.iter().rev().map(|f| f.rows[k].unsqueeze(0)).collect();
        let parts: Vec<&Tensor> = parts.iter().collect();
        let equal = parts.iter().all(|part| part.shape() == parts[0].shape());
        Tensor::concat(&parts, if equal { 0 } else { 1 }).flatten(0, 1)
    };
    let [a, b] = [0, 1].map(stacked);
    let product = a.t().matmul(&b);
    let product = if first.transposed { product.t() } else { product };
    let rest = cotangents.iter().zip(&factors).filter(|(_, f)| !mine(f)).map(|(x, _)| x.clone());
    rest.chain([product]).collect()
}

impl Tensor {
    /// The transpose; what is one already is taken back to what it was made from.
    #[track_caller]
    fn turned(&self) -> Tensor {
        self.transposed_from().unwrap_or_else(|| self.t())
    }

    /// The matrix product of the last two axes, `[…, m, k] · […, k, n]`; batch axes broadcast. A vector on the
    /// left is a row, one on the right a column, as in `torch.matmul`. Any strides are read in place. Dtypes are promoted
    /// ([`DType::promote`](vorpal_tensor::DType::promote)); the result is a float's.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2], &Device::cpu());
    /// let x = Tensor::from_slice(&[1.0f32, 1.0], [2], &Device::cpu());
    /// assert_eq!(a.matmul(&x).to_vec::<f32>()?, [3.0, 7.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        let at = At::caller();
        let (a, b) = (self.shape(), other.shape());
        if self.check().is_err() {
            return self.clone();
        }
        if other.check().is_err() {
            return other.clone();
        }
        if a.rank() == 0 || b.rank() == 0 {
            return Tensor::error(shape_error("matmul", "a scalar is no matrix", &[self, other], at));
        }
        if a.rank() == 1 {
            return self.unsqueeze(0).matmul(other).squeeze(if b.rank() == 1 { 0 } else { -2 });
        }
        if b.rank() == 1 {
            return self.matmul(&other.unsqueeze(1)).squeeze(-1);
        }
        let (m, k, n) = (a[a.rank() - 2], a[a.rank() - 1], b[b.rank() - 1]);
        if k != b[b.rank() - 2] {
            let message = format!("inner sizes {k} and {} differ", b[b.rank() - 2]);
            return Tensor::error(shape_error("matmul", message, &[self, other], at));
        }
        if b.rank() == 2 && a.rank() > 2 {
            // One matrix for the whole batch: all rows in one product.
            let rows: usize = a[..a.rank() - 1].iter().product();
            let flat = self.reshape([rows, k]).matmul(other);
            return flat.reshape(a.with_axis(a.rank() - 1, n));
        }
        let batch_a = Shape::from(&a[..a.rank() - 2]);
        let batch_b = Shape::from(&b[..b.rank() - 2]);
        let Some(batch) = batch_a.broadcast(&batch_b) else {
            let message = format!("batch axes {batch_a} and {batch_b} do not broadcast");
            return Tensor::error(shape_error("matmul", message, &[self, other], at));
        };
        let full = |x: usize, y: usize| -> Shape { batch.iter().copied().chain([x, y]).collect() };
        let (left, right) = (self.broadcast_to(full(m, k)), other.broadcast_to(full(k, n)));
        let both = super::promoted(&[&left, &right]);
        Tensor::apply(MatMul, &[&both[0], &both[1]], at)
    }
}
