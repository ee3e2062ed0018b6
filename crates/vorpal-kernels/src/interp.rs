//! Native evaluation of fused programs, block by block.
//!
//! Values of a block live in registers of up to [`BLOCK`] elements that stay in the first caches;
//! operands that lie in memory in the right order and type are used where they are.

use half::{bf16, f16};
use smallvec::SmallVec;
use vorpal_tensor::{DType, Error, Layout, Result};

use crate::lane::alike;
use crate::{Access, Arg, CpuArg, CpuRun, Domain, Inst, Lane, LaneElement, Lanes, Program, ValueId};

/// Elements of a block.
pub(crate) const BLOCK: usize = 1024;

/// A buffer argument to read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    F64(&'a [f64]),
    F32(&'a [f32]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
    I64(&'a [i64]),
    I32(&'a [i32]),
    U32(&'a [u32]),
    I8(&'a [i8]),
    U8(&'a [u8]),
}

/// A buffer argument, or a part of one, to write.
#[derive(Debug)]
pub(crate) enum Sink<'a> {
    F64(&'a mut [f64]),
    F32(&'a mut [f32]),
    F16(&'a mut [f16]),
    BF16(&'a mut [bf16]),
    I64(&'a mut [i64]),
    I32(&'a mut [i32]),
    U32(&'a mut [u32]),
    I8(&'a mut [i8]),
    U8(&'a mut [u8]),
}

fn cast_read<T: bytemuck::Pod>(bytes: &[u8], len: usize, arg: usize) -> Result<&[T]> {
    let all: &[T] = bytemuck::try_cast_slice(&bytes[..bytes.len() / size_of::<T>() * size_of::<T>()])
        .map_err(|e| Error::internal("interp", format!("argument {arg}: {e}")))?;
    all.get(..len).ok_or_else(|| Error::internal("interp", format!("argument {arg} is shorter than {len}")))
}

fn cast_write<T: bytemuck::Pod>(bytes: &mut [u8], len: usize, arg: usize) -> Result<&mut [T]> {
    let whole = bytes.len() / size_of::<T>() * size_of::<T>();
    let all: &mut [T] = bytemuck::try_cast_slice_mut(&mut bytes[..whole])
        .map_err(|e| Error::internal("interp", format!("argument {arg}: {e}")))?;
    all.get_mut(..len)
        .ok_or_else(|| Error::internal("interp", format!("argument {arg} is shorter than {len}")))
}

macro_rules! each_type {
    ($enum:ident, $value:expr, $x:ident => $body:expr) => {
        match $value {
            $enum::F64($x) => $body,
            $enum::F32($x) => $body,
            $enum::F16($x) => $body,
            $enum::BF16($x) => $body,
            $enum::I64($x) => $body,
            $enum::I32($x) => $body,
            $enum::U32($x) => $body,
            $enum::I8($x) => $body,
            $enum::U8($x) => $body,
        }
    };
}

impl<'a> Sink<'a> {
    pub fn len(&self) -> usize {
        each_type!(Sink, self, x => x.len())
    }

    /// The first `at` elements and the rest.
    pub fn split_at(self, at: usize) -> (Sink<'a>, Sink<'a>) {
        macro_rules! cut {
            ($variant:ident, $x:ident) => {{
                let (a, b) = $x.split_at_mut(at);
                (Sink::$variant(a), Sink::$variant(b))
            }};
        }
        match self {
            Sink::F64(x) => cut!(F64, x),
            Sink::F32(x) => cut!(F32, x),
            Sink::F16(x) => cut!(F16, x),
            Sink::BF16(x) => cut!(BF16, x),
            Sink::I64(x) => cut!(I64, x),
            Sink::I32(x) => cut!(I32, x),
            Sink::U32(x) => cut!(U32, x),
            Sink::I8(x) => cut!(I8, x),
            Sink::U8(x) => cut!(U8, x),
        }
    }

    /// Writes a block at `start`.
    pub fn store(&mut self, start: usize, lane: Lane<'_>) {
        alike!((self, lane), Sink, Lane, (o, v) => o[start..start + v.len()].copy_from_slice(v);
            (Sink::F16(o), Lane::F32(v)) => {
                o[start..].iter_mut().zip(v).for_each(|(o, &v)| *o = f16::from_f32(v));
            }
            (Sink::BF16(o), Lane::F32(v)) => {
                o[start..].iter_mut().zip(v).for_each(|(o, &v)| *o = bf16::from_f32(v));
            }
            _ => {}
        );
    }

    /// Reads a block at `start` into a register.
    fn load(&self, start: usize, out: &mut Lanes) {
        alike!((self, out), Sink, Lanes, (x, o) => copy(x, start, o);
            (Sink::F16(x), Lanes::F32(o)) => {
                o.iter_mut().zip(&x[start..]).for_each(|(o, x)| *o = x.to_f32());
            }
            (Sink::BF16(x), Lanes::F32(o)) => {
                o.iter_mut().zip(&x[start..]).for_each(|(o, x)| *o = x.to_f32());
            }
            _ => {}
        );
    }
}

fn copy<T: Copy>(from: &[T], start: usize, to: &mut [T]) {
    let n = to.len();
    to.copy_from_slice(&from[start..start + n]);
}

/// The arguments of a run: what is read, and what is written with its argument number.
pub(crate) struct Arguments<'a> {
    pub sources: Vec<Option<Source<'a>>>,
    pub sinks: Vec<(usize, Sink<'a>)>,
}

/// Takes arguments `first..` of a run.
pub(crate) fn take<'a>(run: &mut CpuRun<'a>, args: &[Arg], first: usize) -> Result<Arguments<'a>> {
    let mut out = Arguments { sources: vec![None; args.len()], sinks: Vec::new() };
    for (k, arg) in args.iter().enumerate().skip(first) {
        let (dtype, len) = (arg.dtype, arg.len);
        match (run.take(k), arg.access) {
            (Some(CpuArg::Read(bytes)), Access::Read) => {
                out.sources[k] = Some(match dtype {
                    DType::F64 => Source::F64(cast_read(bytes, len, k)?),
                    DType::F32 => Source::F32(cast_read(bytes, len, k)?),
                    DType::F16 => Source::F16(cast_read(bytes, len, k)?),
                    DType::BF16 => Source::BF16(cast_read(bytes, len, k)?),
                    DType::I64 => Source::I64(cast_read(bytes, len, k)?),
                    DType::I32 => Source::I32(cast_read(bytes, len, k)?),
                    DType::U32 | DType::Bool => Source::U32(cast_read(bytes, len, k)?),
                    DType::I8 => Source::I8(cast_read(bytes, len, k)?),
                    DType::U8 => Source::U8(cast_read(bytes, len, k)?),
                });
            }
            (Some(CpuArg::Write(bytes)), Access::Write | Access::ReadWrite) => out.sinks.push((
                k,
                match dtype {
                    DType::F64 => Sink::F64(cast_write(bytes, len, k)?),
                    DType::F32 => Sink::F32(cast_write(bytes, len, k)?),
                    DType::F16 => Sink::F16(cast_write(bytes, len, k)?),
                    DType::BF16 => Sink::BF16(cast_write(bytes, len, k)?),
                    DType::I64 => Sink::I64(cast_write(bytes, len, k)?),
                    DType::I32 => Sink::I32(cast_write(bytes, len, k)?),
                    DType::U32 | DType::Bool => Sink::U32(cast_write(bytes, len, k)?),
                    DType::I8 => Sink::I8(cast_write(bytes, len, k)?),
                    DType::U8 => Sink::U8(cast_write(bytes, len, k)?),
                },
            )),
            _ => {
                return Err(Error::internal(
                    "interp",
                    format!("argument {k} is not what the kernel asked for"),
                ));
            }
        }
    }
    Ok(out)
}

/// Calls `run(offset in the block, length, place, stride)` for every stretch of the `n` elements from
/// linear index `start` on that one stride describes; `place` is `None` outside of the bounds.
pub(crate) fn stretches(
    layout: &Layout,
    start: usize,
    n: usize,
    mut run: impl FnMut(usize, usize, Option<isize>, isize),
) {
    let rank = layout.shape.len();
    if rank == 0 {
        for k in 0..n {
            run(k, 1, Some(layout.offset), 0);
        }
        return;
    }
    let inner = rank - 1;
    let (size, stride) = (layout.shape[inner], layout.strides[inner]);
    let mut coordinates: SmallVec<[usize; 6]> = smallvec::smallvec![0; rank];
    let mut rest = start;
    for axis in (0..rank).rev() {
        let d = layout.shape[axis].max(1);
        coordinates[axis] = rest % d;
        rest /= d;
    }
    let mut done = 0;
    while done < n {
        let from = coordinates[inner];
        let len = (size - from).min(n - done);
        let base: isize =
            (0..inner).map(|a| coordinates[a] as isize * layout.strides[a]).sum::<isize>() + layout.offset;
        let inside =
            |a: usize| layout.bounds.get(a).is_none_or(|&(lo, hi)| (lo..hi).contains(&coordinates[a]));
        if (0..inner).all(inside) {
            let (lo, hi) = layout.bounds.get(inner).copied().unwrap_or((0, size));
            let (a, b) =
                (lo.clamp(from, from + len), hi.clamp(from, from + len).max(lo.clamp(from, from + len)));
            if a > from {
                run(done, a - from, None, 0);
            }
            if b > a {
                run(done + a - from, b - a, Some(base + a as isize * stride), stride);
            }
            if from + len > b {
                run(done + b - from, from + len - b, None, 0);
            }
        } else {
            run(done, len, None, 0);
        }
        done += len;
        // Advance to the next line.
        coordinates[inner] = 0;
        for axis in (0..inner).rev() {
            coordinates[axis] += 1;
            if coordinates[axis] < layout.shape[axis] {
                break;
            }
            coordinates[axis] = 0;
        }
    }
}

fn gather<S: Copy, T: Copy>(
    layout: &Layout,
    start: usize,
    source: &[S],
    out: &mut [T],
    fill: T,
    widen: impl Fn(S) -> T + Copy,
) {
    stretches(layout, start, out.len(), |at, len, place, stride| {
        let out = &mut out[at..at + len];
        match (place, stride) {
            (None, _) => out.fill(fill),
            (Some(p), 0) => out.fill(widen(source[p as usize])),
            (Some(p), 1) => {
                let p = p as usize;
                out.iter_mut().zip(&source[p..p + len]).for_each(|(o, &s)| *o = widen(s));
            }
            (Some(p), stride) => {
                let mut p = p;
                for o in out {
                    *o = widen(source[p as usize]);
                    p += stride;
                }
            }
        }
    });
}

fn load(source: Source<'_>, layout: &Layout, start: usize, fill: f64, out: &mut Lanes) {
    alike!((source, out), Source, Lanes, (s, o) => gather(layout, start, s, o, from_number(fill), |x| x);
        (Source::F16(s), Lanes::F32(o)) => gather(layout, start, s, o, fill as f32, f16::to_f32),
        (Source::BF16(s), Lanes::F32(o)) => gather(layout, start, s, o, fill as f32, bf16::to_f32),
        _ => {}
    );
}

fn from_number<T: LaneElement>(value: f64) -> T {
    T::from_number(value)
}

/// Values of `Row` domain while rows `first..first + n` of a row kernel run.
pub(crate) struct RowValues {
    /// The first row.
    pub first: usize,
    /// For every value of the program its elements, where it is a row value.
    pub values: Vec<Option<Lanes>>,
}

/// What an evaluation reads besides its registers.
pub(crate) struct Env<'a, 'p> {
    pub program: &'p Program,
    pub types: &'p [DType],
    pub sources: &'p [Option<Source<'a>>],
    pub scalars: &'p [f64],
    /// Map from linear index to row, in row kernels.
    pub row_map: Option<&'p Layout>,
}

/// What differs from block to block beside the registers.
#[derive(Clone, Copy, Default)]
pub(crate) struct Around<'s, 'a> {
    /// Known row values.
    pub rows: Option<&'s RowValues>,
    /// Results, with their old content for loads in place.
    pub sinks: &'s [(usize, Sink<'a>)],
    /// Linear index of the first element of the sinks.
    pub sink_start: usize,
    /// The argument that holds the accumulators of an epilogue.
    pub acc: Option<usize>,
}

/// Registers of one thread.
pub(crate) struct Registers {
    lanes: Vec<Lanes>,
    /// Elements of a register that hold the splat of a constant already.
    splatted: Vec<usize>,
}

impl Registers {
    pub fn new(types: &[DType]) -> Registers {
        Registers { lanes: types.iter().map(|&t| Lanes::of(t, 0)).collect(), splatted: vec![0; types.len()] }
    }
}

impl Registers {
    /// Sets a register to `n` elements of known values from `start` on.
    pub fn set(&mut self, v: ValueId, known: &Lanes, start: usize, n: usize) {
        let range = start..start + n;
        self.splatted[v] = 0;
        alike!((known, &mut self.lanes[v]), Lanes, Lanes, (k, o) => k[range].clone_into(o); _ => {});
    }
}

/// One block: linear indices `start..start + n` of a domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub start: usize,
    pub n: usize,
    pub domain: Domain,
}

impl<'a> Env<'a, '_> {
    /// Evaluates `wanted` (ascending) for a block.
    pub fn run(
        &self,
        wanted: &[ValueId],
        block: Block,
        regs: &mut Registers,
        around: Around<'_, '_>,
    ) -> Result<()> {
        let Block { start, n, domain } = block;
        let Around { rows, sinks, sink_start, acc } = around;
        for &v in wanted {
            if self.direct(v, block).is_some() {
                continue;
            }
            let mut out = std::mem::replace(&mut regs.lanes[v], Lanes::U32(Vec::new()));
            if out.len() != n {
                out.resize(n);
            }
            let row_value = rows.and_then(|r| r.values[v].as_ref().map(|x| (r.first, x)));
            match (&self.program.insts[v], row_value, self.row_map) {
                (Inst::Const { value, .. }, ..) => constant(&mut out, *value, &mut regs.splatted[v], n),
                (Inst::Scalar { index, .. }, ..) => {
                    constant(&mut out, self.scalars[*index], &mut regs.splatted[v], n);
                }
                (_, Some((first, values)), Some(map)) if domain == Domain::Full => {
                    spread(values, first, map, start, &mut out);
                }
                (Inst::Load { arg, layout, fill, .. }, ..) => match self.sources[*arg] {
                    Some(source) => load(source, layout, start, *fill, &mut out),
                    None => sink(sinks, *arg)?.load(start - sink_start, &mut out),
                },
                (Inst::Acc { .. }, ..) => {
                    let arg = acc.ok_or_else(|| Error::internal("interp", "no accumulator"))?;
                    sink(sinks, arg)?.load(start - sink_start, &mut out);
                }
                (Inst::Place { layout, .. }, ..) => place(layout, start, &mut out),
                (Inst::Call { f, args }, ..) => {
                    let lanes: SmallVec<[Lane<'_>; 3]> =
                        args.iter().map(|&a| self.lane(a, block, regs)).collect();
                    (f.cpu)(&lanes, out.lane_mut());
                }
                (Inst::Cast { x, dtype }, ..) => {
                    convert(self.lane(*x, block, regs), self.types[*x], *dtype, &mut out);
                }
                (Inst::Reduce { .. }, ..) => return Err(Error::internal("interp", "a reduction in a block")),
            }
            regs.lanes[v] = out;
        }
        Ok(())
    }

    /// A value that lies in memory as a block needs it.
    fn direct(&self, v: ValueId, block: Block) -> Option<Lane<'a>> {
        let Inst::Load { arg, layout, domain, .. } = &self.program.insts[v] else { return None };
        if *domain != block.domain || !layout.is_contiguous() || layout.offset < 0 {
            return None;
        }
        let range = layout.offset as usize + block.start..layout.offset as usize + block.start + block.n;
        match self.sources[*arg]? {
            Source::F64(s) => s.get(range).map(Lane::F64),
            Source::F32(s) => s.get(range).map(Lane::F32),
            Source::I64(s) => s.get(range).map(Lane::I64),
            Source::I32(s) => s.get(range).map(Lane::I32),
            Source::U32(s) => s.get(range).map(Lane::U32),
            Source::I8(s) => s.get(range).map(Lane::I8),
            Source::U8(s) => s.get(range).map(Lane::U8),
            Source::F16(_) | Source::BF16(_) => None,
        }
    }

    /// A value of the block that has been evaluated.
    pub fn lane<'r>(&self, v: ValueId, block: Block, regs: &'r Registers) -> Lane<'r>
    where
        'a: 'r,
    {
        self.direct(v, block).unwrap_or_else(|| regs.lanes[v].lane())
    }
}

fn sink<'s, 'a>(sinks: &'s [(usize, Sink<'a>)], arg: usize) -> Result<&'s Sink<'a>> {
    let missing = || Error::internal("interp", format!("argument {arg} is not there"));
    sinks.iter().find(|(k, _)| *k == arg).map(|(_, s)| s).ok_or_else(missing)
}

fn constant(out: &mut Lanes, value: f64, splatted: &mut usize, n: usize) {
    if *splatted != n {
        out.splat(value);
        *splatted = n;
    }
}

fn place(layout: &Layout, start: usize, out: &mut Lanes) {
    if let Lanes::U32(out) = out {
        let n = out.len();
        stretches(layout, start, n, |at, len, place, stride| {
            let mut p = place.unwrap_or(0);
            for o in &mut out[at..at + len] {
                *o = p as u32;
                p += stride;
            }
        });
    }
}

/// Row values at every element of a block.
fn spread(values: &Lanes, first: usize, map: &Layout, start: usize, out: &mut Lanes) {
    let mut map = map.clone();
    map.offset -= first as isize;
    alike!((values, out), Lanes, Lanes, (s, o) => gather(&map, start, s, o, from_number(0.0), |x| x); _ => {});
}

fn fill<T>(out: &mut [T], values: impl Iterator<Item = T>) {
    out.iter_mut().zip(values).for_each(|(o, v)| *o = v);
}

/// Conversion as Rust's `as`: floats to integers truncate and saturate, integers to integers wrap; anything to `Bool`
/// is `!= 0`.
fn convert(x: Lane<'_>, from: DType, to: DType, out: &mut Lanes) {
    macro_rules! from_to {
        ($x:ident, $($variant:ident $ty:ty),*) => {
            match out {
                Lanes::U32(o) if to == DType::Bool => {
                    fill(o, $x.iter().map(|&x| u32::from(x != Default::default())));
                }
                $(Lanes::$variant(o) => fill(o, $x.iter().map(|&x| x as $ty)),)*
            }
        };
        ($x:ident) => {
            from_to!($x, F64 f64, F32 f32, I64 i64, I32 i32, U32 u32, I8 i8, U8 u8)
        };
    }
    match x {
        Lane::F64(x) => from_to!(x),
        Lane::F32(x) => from_to!(x),
        Lane::I64(x) => from_to!(x),
        Lane::I32(x) => from_to!(x),
        Lane::U32(x) if from == DType::Bool => {
            // Any word but 0 is true.
            let truths: SmallVec<[u8; BLOCK]> = x.iter().map(|&x| u8::from(x != 0)).collect();
            from_to!(truths);
        }
        Lane::U32(x) => from_to!(x),
        Lane::I8(x) => from_to!(x),
        Lane::U8(x) => from_to!(x),
    }
    if let Lanes::F32(o) = out {
        round(o, to);
    }
}

fn round(values: &mut [f32], to: DType) {
    match to {
        DType::F16 => values.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32()),
        DType::BF16 => values.iter_mut().for_each(|v| *v = bf16::from_f32(*v).to_f32()),
        _ => {}
    }
}

/// Runs tasks, on all cores where the feature `parallel` is on. The first error wins.
pub(crate) fn for_each<T: Send>(tasks: Vec<T>, f: impl Fn(T) -> Result<()> + Sync + Send) -> Result<()> {
    #[cfg(feature = "parallel")]
    if tasks.len() > 1 {
        use std::sync::{Mutex, PoisonError};
        let tasks: Vec<Mutex<Option<T>>> = tasks.into_iter().map(|task| Mutex::new(Some(task))).collect();
        return shared_out(tasks.len(), &|k| {
            let task = tasks[k].lock().unwrap_or_else(PoisonError::into_inner).take();
            task.map_or(Ok(()), &f)
        });
    }
    tasks.into_iter().try_for_each(f)
}

/// Calls `f` with every number below `n`, on all cores. It is no generic function since what it stands on is large, and
/// callers are many: each would have a copy compiled.
#[cfg(feature = "parallel")]
fn shared_out(n: usize, f: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    use rayon::prelude::*;
    (0..n).into_par_iter().try_for_each(f)
}

/// Sinks of one length cut at the same places, `chunk` elements a piece.
pub(crate) fn cut<'a>(sinks: Vec<(usize, Sink<'a>)>, chunk: usize) -> Vec<Vec<(usize, Sink<'a>)>> {
    let mut pieces: Vec<Vec<(usize, Sink<'a>)>> = Vec::new();
    for (arg, sink) in sinks {
        let (mut rest, mut k) = (sink, 0);
        loop {
            let here = chunk.min(rest.len());
            let (piece, more) = rest.split_at(here);
            if pieces.len() == k {
                pieces.push(Vec::new());
            }
            pieces[k].push((arg, piece));
            (rest, k) = (more, k + 1);
            if rest.len() == 0 {
                break;
            }
        }
    }
    pieces
}

/// Elements of a task: small enough to share, large enough to be worth it.
pub(crate) const TASK: usize = 16 * BLOCK;

/// Evaluates a pointwise program over `len` elements. `acc` names the argument that holds the
/// accumulators of an epilogue.
pub(crate) fn pointwise(
    program: &Program,
    args: &[Arg],
    len: usize,
    run: &mut CpuRun<'_>,
    first: usize,
    acc: Option<usize>,
) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    let scalars = run.scalars;
    let arguments = take(run, args, first)?;
    pointwise_on(program, args, len, arguments, scalars, acc)
}

/// As [`pointwise`], on arguments taken before.
pub(crate) fn pointwise_on(
    program: &Program,
    args: &[Arg],
    len: usize,
    arguments: Arguments<'_>,
    scalars: &[f64],
    acc: Option<usize>,
) -> Result<()> {
    let types = program.types(args);
    let env = Env { program, types: &types, sources: &arguments.sources, scalars, row_map: None };
    let wanted: Vec<ValueId> = (0..program.insts.len()).collect();
    let tasks: Vec<_> = cut(arguments.sinks, TASK).into_iter().enumerate().collect();
    for_each(tasks, |(k, mut sinks)| {
        let mut regs = Registers::new(&types);
        let from = k * TASK;
        let to = (from + TASK).min(len);
        for start in (from..to).step_by(BLOCK) {
            let block = Block { start, n: BLOCK.min(to - start), domain: Domain::Full };
            let around = Around { sinks: &sinks, sink_start: from, acc, ..Around::default() };
            env.run(&wanted, block, &mut regs, around)?;
            for store in &program.stores {
                let lane = env.lane(store.value, block, &regs);
                if let Some((_, sink)) = sinks.iter_mut().find(|(arg, _)| *arg == store.arg) {
                    sink.store(start - from, lane);
                }
            }
        }
        Ok(())
    })
}
