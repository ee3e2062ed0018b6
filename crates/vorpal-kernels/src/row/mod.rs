//! Fused reductions: several reductions over the same rows and whatever is made of them, in one kernel.

mod native;
mod shader;

use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;
use vorpal_shaders::{Linker, ROW_GROUP, ROW_SUBGROUP, ROW_THREAD, Shader};
use vorpal_tensor::{DType, Error, Layout, Result, Shape};

use crate::quads::{QUAD, Quads, Sharing};
use crate::starts::rebased;
use crate::tape::Class;
use crate::{
    Abilities, Arg, Cost, CpuRun, Domain, Inst, Kernel, Program, Rebased, Store, ValueId, pointwise, spread,
};

/// Loop trips one invocation may take over all its passes. Some software adapters end an invocation
/// silently after 65,535.
const TRIPS_MAX: usize = 60_000;

/// Lanes of a workgroup, and of one where few are busy and workgroups cost little.
const LANES: usize = 64;
const LANES_FEW: usize = 8;

/// Lanes of the largest workgroup that WebGPU promises.
const LANES_MOST: usize = 256;

/// Invocations from which on a card is busy: more lanes for a row cost joins and gain nothing.
const INVOCATIONS_BUSY: usize = 1 << 15;

/// Workgroups from which on every multiprocessor of a large card has one.
const GROUPS_BUSY: usize = 1 << 7;

/// Steps that a lane of a card goes at least before more lanes join a row whose columns are neighbours, or whose columns
/// lie apart. A join takes about as long as reading four times.
const STEPS_EACH: usize = 2;
const STEPS_EACH_APART: usize = 4;

/// Bytes that a card reads at a time.
const SECTOR_BYTES: usize = 32;

/// Columns, or fours of them, that a lane adds up one by one where it need not: more cost precision.
const TURNS_MAX: usize = 1 << 10;

/// Invocations from which all of a software adapter's threads have workgroups of [`LANES`].
const INVOCATIONS_MANY: usize = 1 << 12;

/// Values of one invocation that may be held while a row is worked on.
const HELD_MAX: usize = 320;

/// Turns whose values the registers of a card hold.
const TURNS_HELD_MAX: usize = 16;

/// Rows that one subgroup goes through with what all rows share at hand.
const ROWS_EACH_MAX: usize = 16;

/// Rows of up to this many columns are worked on by one invocation each.
const COLUMNS_ALONE: usize = 32;

/// Evaluates a [`Program`] with reductions over some axes of a shape. Its `Full` values live on the shape, its
/// `Row` values on the axes that are kept, in row-major order.
#[derive(Clone, Debug)]
pub struct Row {
    program: Program,
    args: Vec<Arg>,
    scalars: Vec<DType>,
    shape: Shape,
    axes: SmallVec<[bool; 6]>,
    /// How it runs natively, once it did.
    recipe: OnceLock<Arc<native::Recipe>>,
    abilities: Abilities,
}

/// How often the columns are gone through before a value is known: reductions of inputs need one pass,
/// reductions of what depends on those a second, and so on.
fn levels(program: &Program) -> Vec<usize> {
    let mut out: Vec<usize> = Vec::with_capacity(program.insts.len());
    for inst in &program.insts {
        out.push(match inst {
            Inst::Call { args, .. } => args.iter().map(|&a| out[a]).max().unwrap_or(0),
            Inst::Cast { x, .. } => out[*x],
            Inst::Reduce { x, .. } => out[*x] + 1,
            _ => 0,
        });
    }
    out
}

impl Row {
    /// A kernel from a program, the buffers it names, its run-time scalars, the shape of its `Full` values and
    /// which axes of it are reduced; `None` when a row is longer than one launch can go through.
    pub fn new(
        program: Program,
        args: Vec<Arg>,
        scalars: Vec<DType>,
        shape: Shape,
        axes: &[bool],
    ) -> Option<Row> {
        let axes = axes.iter().copied().collect();
        let row = Row {
            program,
            args,
            scalars,
            shape,
            axes,
            abilities: Abilities::default(),
            recipe: OnceLock::new(),
        };
        (row.trips() < TRIPS_MAX).then_some(row)
    }

    /// The same for devices with certain abilities.
    #[must_use]
    pub fn with_abilities(self, abilities: Abilities) -> Row {
        Row { abilities, ..self }
    }

    /// Columns a row may have when its program goes through them `passes` times.
    pub fn max_columns(passes: usize) -> usize {
        (TRIPS_MAX - 1) / passes.max(1)
    }

    /// How it runs natively.
    fn recipe(&self) -> &native::Recipe {
        self.recipe.get_or_init(|| Arc::new(native::Recipe::new(self)))
    }

    /// Whether a result has an element for every row or for every column of it: a value without columns may still be
    /// stored for every element of a row.
    fn class_of(&self, arg: usize, domains: &[Domain]) -> Class {
        let of_rows = |s: &Store| s.arg == arg && domains[s.value] == Domain::Row;
        let one_each = self.args[arg].len == self.rows() && self.program.stores.iter().any(of_rows);
        if one_each { Class::Row } else { Class::Full }
    }

    /// Rows.
    fn rows(&self) -> usize {
        self.shape.iter().zip(&self.axes).filter(|&(_, &r)| !r).map(|(&d, _)| d).product()
    }

    /// Columns of a row.
    fn columns(&self) -> usize {
        self.shape.iter().zip(&self.axes).filter(|&(_, &r)| r).map(|(&d, _)| d).product()
    }

    /// Passes over the columns: one for each level of reductions, and one for full results if they take the last level.
    fn passes(&self) -> usize {
        let levels = levels(&self.program);
        let reductions = levels.iter().copied().max().unwrap_or(0);
        reductions + usize::from(self.stores_last(&levels))
    }

    /// Whether full results are made of reductions of the last level, and so need a pass after it. Else they are stored
    /// in its own pass, not before: an input may be in their place.
    fn stores_last(&self, levels: &[usize]) -> bool {
        let (domains, last) = (self.program.domains(), levels.iter().copied().max().unwrap_or(0));
        let is_full = |s: &&Store| self.class_of(s.arg, &domains) == Class::Full;
        self.program.stores.iter().filter(is_full).any(|s| levels[s.value] == last)
    }

    /// Whether neighbouring columns are neighbours in memory.
    fn columns_adjoin(&self) -> bool {
        let last = self.shape.iter().zip(&self.axes).rev().find(|&(&d, _)| d > 1);
        last.is_some_and(|(_, &reduced)| reduced)
    }

    /// Whether rows have neighbouring columns, enough for many lanes.
    fn is_long(&self) -> bool {
        self.columns_adjoin() && self.columns() > COLUMNS_ALONE
    }

    /// Who shares a row: many lanes where neighbouring columns are neighbours in memory and many, and on cards where there
    /// are few rows.
    fn sharing(&self) -> Sharing {
        let fits = |lanes: usize| {
            let turns = self.steps().div_ceil(lanes);
            turns <= TURNS_MAX && turns * self.passes() < TRIPS_MAX
        };
        match self.abilities {
            Abilities { slow_barriers: false, .. } => match self.lanes_on_card() {
                1 => Sharing::Alone,
                lanes => Sharing::Group(lanes),
            },
            _ if !self.is_long() => Sharing::Alone,
            Abilities { subgroup: Some(lanes), .. }
                if LANES.is_multiple_of(lanes as usize) && fits(lanes as usize) =>
            {
                Sharing::Subgroup(lanes as usize)
            }
            _ if fits(1) => Sharing::Alone,
            _ => Sharing::Group(LANES),
        }
    }

    /// Lanes that share a row on a card, a power of two: no more than have work, and as many as keep it busy.
    fn lanes_on_card(&self) -> usize {
        let steps = self.steps();
        let (mut lanes, each) = match self.is_long() {
            true => (steps.next_power_of_two().min(LANES), STEPS_EACH),
            // Every row of few columns is short work for one.
            false if self.columns_adjoin() => return 1,
            false => (1, STEPS_EACH_APART),
        };
        while lanes < LANES_MOST && self.units() * lanes < INVOCATIONS_BUSY && 2 * lanes * each <= steps {
            lanes *= 2;
        }
        lanes
    }

    /// Lanes that share a row.
    fn sharers(&self) -> usize {
        match self.sharing() {
            Sharing::Alone => 1,
            Sharing::Subgroup(lanes) | Sharing::Group(lanes) => lanes,
        }
    }

    /// Rows, or fours of them, that one workgroup works on where its lanes share rows: a power of two that divides their
    /// number, as all lanes of a workgroup must come to its barriers.
    fn units_abreast(&self) -> usize {
        let (units, sharers) = (self.units(), self.sharers());
        let width = if self.quads() == Quads::Rows { QUAD } else { 1 };
        let pays = |abreast: usize| match self.columns_adjoin() {
            true => abreast * sharers <= LANES,
            // Lanes side by side read rows side by side: whole sectors, and more where workgroups remain for all.
            false => {
                let whole = abreast * width * DType::F32.bytes(1) <= SECTOR_BYTES;
                abreast * sharers <= LANES_MOST && (whole || units / abreast >= GROUPS_BUSY)
            }
        };
        let mut abreast = 1;
        while units > 0 && units.is_multiple_of(2 * abreast) && pays(2 * abreast) {
            abreast *= 2;
        }
        abreast
    }

    /// Four columns at a time where columns are neighbours in memory, else four rows where rows are.
    fn quads(&self) -> Quads {
        let inner = |reduced: bool| {
            let part = self.part(reduced);
            let last = part.shape.last().copied().zip(part.strides.last().copied());
            last.is_some_and(|(size, stride)| stride == 1 && size.is_multiple_of(QUAD))
        };
        // Whole words of elements of 16 bits.
        let narrow = self.program.stores.iter().any(|s| self.args[s.arg].dtype.is_16bit());
        if !narrow && !pointwise::worth_four(&self.program, self.shape.numel()) {
            Quads::None
        } else if inner(true) {
            Quads::Full
        } else if inner(false) {
            Quads::Rows
        } else {
            Quads::None
        }
    }

    /// Loop trips over the columns.
    fn steps(&self) -> usize {
        if self.quads() == Quads::Full { self.columns() / QUAD } else { self.columns() }
    }

    /// Rows, or fours of them.
    fn units(&self) -> usize {
        if self.quads() == Quads::Rows { self.rows() / QUAD } else { self.rows() }
    }

    /// Rounds over the columns of a row.
    fn turns(&self) -> usize {
        self.steps().div_ceil(self.sharers())
    }

    /// Loop trips of an invocation at most, on whatever device.
    fn trips(&self) -> usize {
        let (steps, join) = (self.steps(), 16);
        let turns = if self.is_long() { steps.div_ceil(LANES) + join } else { steps };
        turns * self.passes()
    }

    /// Whether an invocation holds its part of a row instead of going over it again for every pass.
    fn holds(&self) -> bool {
        let full = self.program.domains().iter().filter(|&&d| d == Domain::Full).count();
        let few = self.abilities.slow_barriers || self.turns() <= TURNS_HELD_MAX;
        self.passes() > 1 && few && self.turns() * full <= HELD_MAX
    }

    /// Rows, or fours of them, that are gone through with what all rows share at hand.
    fn units_each(&self) -> usize {
        let shared = |inst: &Inst| matches!(inst, Inst::Load { layout, domain, .. } if self.is_columnar(layout, *domain));
        if self.abilities.slow_barriers && self.holds() && self.program.insts.iter().any(shared) {
            (self.units() / (INVOCATIONS_MANY / LANES)).clamp(1, ROWS_EACH_MAX)
        } else {
            1
        }
    }

    /// Whether a layout over the full shape gives every row the same places.
    fn is_columnar(&self, layout: &Layout, domain: Domain) -> bool {
        let kept = |l: Layout| {
            l.bounds.is_empty()
                && (0..self.axes.len()).all(|k| self.axes[k] || self.shape[k] == 1 || l.strides[k] == 0)
        };
        domain == Domain::Full && layout.reshape(&self.shape).is_some_and(kept)
    }

    /// Invocations of a workgroup, and how many have work.
    fn geometry(&self) -> (usize, usize) {
        let busy = self.units().div_ceil(self.units_each()) * self.sharers();
        if let Sharing::Group(lanes) = self.sharing() {
            return (lanes * self.units_abreast(), busy);
        }
        let few = self.abilities.slow_barriers && busy < INVOCATIONS_MANY && self.sharers() <= LANES_FEW;
        (if few { LANES_FEW } else { LANES }, busy)
    }

    /// The axes with `reduced` flag as a layout into the full shape.
    fn part(&self, reduced: bool) -> Layout {
        let whole = Layout::contiguous(self.shape.clone());
        let kept = |k: &usize| self.axes[*k] == reduced;
        let picked: Vec<usize> = (0..self.axes.len()).filter(kept).collect();
        Layout {
            shape: picked.iter().map(|&k| self.shape[k]).collect(),
            strides: picked.iter().map(|&k| whole.strides[k]).collect(),
            offset: 0,
            bounds: SmallVec::new(),
        }
        .collapse()
    }

    /// Map from linear index to row.
    fn row_map(&self) -> Layout {
        let kept: Shape = self.shape.iter().zip(&self.axes).map(|(&d, &r)| if r { 1 } else { d }).collect();
        Layout::contiguous(kept).broadcast_to(&self.shape).collapse()
    }

    /// Values that must be evaluated for `goals`, in order: everything below them, but nothing below row
    /// values, which are known before.
    fn needed(&self, goals: &[ValueId], domains: &[Domain]) -> Vec<ValueId> {
        let mut wanted = vec![false; self.program.insts.len()];
        for &g in goals {
            wanted[g] = true;
        }
        for v in (0..wanted.len()).rev() {
            if wanted[v] && domains[v] == Domain::Full {
                match &self.program.insts[v] {
                    Inst::Call { args, .. } => args.iter().for_each(|&a| wanted[a] = true),
                    Inst::Cast { x, .. } => wanted[*x] = true,
                    _ => {}
                }
            }
        }
        (0..wanted.len()).filter(|&v| wanted[v]).collect()
    }

    /// Reductions of a pass with their operands.
    fn reductions(&self, levels: &[usize], pass: usize) -> Vec<(ValueId, crate::ReduceKind, ValueId)> {
        let of_pass = |(v, inst): (ValueId, &Inst)| match inst {
            Inst::Reduce { kind, x } if levels[v] == pass + 1 => Some((v, *kind, *x)),
            _ => None,
        };
        self.program.insts.iter().enumerate().filter_map(of_pass).collect()
    }
}

impl Kernel for Row {
    fn name(&self) -> &'static str {
        "row"
    }

    fn describe(&self) -> String {
        let axes: Vec<usize> = (0..self.axes.len()).filter(|&k| self.axes[k]).collect();
        format!("row over axes {axes:?} of {}, {} values", self.shape, self.program.insts.len())
    }

    fn args(&self) -> Vec<Arg> {
        self.args.clone()
    }

    fn scalars(&self) -> Vec<DType> {
        self.scalars.clone()
    }

    fn shader(&self) -> Result<Shader> {
        let (process, declarations) = self.process()?;
        let sharing = self.sharing();
        let base = match sharing {
            Sharing::Alone => ROW_THREAD,
            Sharing::Subgroup(_) => ROW_SUBGROUP,
            Sharing::Group(_) => ROW_GROUP,
        };
        let mut linker = Linker::new(base)
            .replace("process", &process)
            .map_err(|message| Error::internal("row", message))?
            .append(&declarations)
            .constant("LANES", self.geometry().0);
        let units = self.units().div_ceil(self.units_each());
        if let Sharing::Group(lanes) = sharing {
            let abreast = self.units_abreast();
            let (lane_step, unit_step) = if self.columns_adjoin() { (1, lanes) } else { (abreast, 1) };
            // Lanes that each join a part, about as many as a part has.
            let parts = 1 << (lanes.ilog2() / 2);
            linker = linker
                .constant("GROUPS", units / abreast)
                .constant("SHARERS", lanes)
                .constant("ABREAST", abreast)
                .constant("LANE_STEP", lane_step)
                .constant("UNIT_STEP", unit_step)
                .constant("PARTS", parts);
        } else {
            linker = linker.constant("UNITS", units);
        }
        if let Sharing::Subgroup(lanes) = sharing {
            linker = linker.constant("SUBGROUP", lanes);
        }
        Ok(linker.finish())
    }

    fn groups(&self) -> [u32; 3] {
        let (lanes, busy) = self.geometry();
        spread(busy.div_ceil(lanes))
    }

    fn run_cpu(&self, run: CpuRun<'_>) -> Result<()> {
        native::run(self, run)
    }

    fn cost(&self) -> Cost {
        let bytes: usize = self.args.iter().map(Arg::traffic_bytes).sum();
        Cost { flops: self.program.flops() * self.shape.numel() as u64, bytes: bytes as u64 }
    }

    fn in_place(&self, input: usize, output: usize) -> Option<Arc<dyn Kernel>> {
        // Every pass of a row reads its elements through the lane that writes them in the last one.
        pointwise::merged(&self.program, &self.args, self.shape.numel(), input, output).map(
            |(program, args)| {
                Arc::new(Row { program, args, recipe: OnceLock::new(), ..self.clone() }) as Arc<dyn Kernel>
            },
        )
    }

    fn rebased(&self) -> Option<Rebased> {
        let mut moved = Row { recipe: OnceLock::new(), ..self.clone() };
        let starts = moved.program.rebase(&mut moved.args);
        rebased(moved, starts)
    }
}
