//! Fused reductions: several reductions over the same rows and whatever is made of them, in one kernel.

mod native;

use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;
use vorpal_shaders::{Linker, ROW_GROUP, ROW_THREAD, Shader};
use vorpal_tensor::{DType, Error, Layout, Result, Shape};

use crate::emit::Emitter;
use crate::tape::Class;
use crate::{Arg, Cost, CpuRun, Domain, Inst, Kernel, Program, Store, ValueId, pointwise, spread};

/// Loop trips one invocation may take over all its passes. Some software adapters end an invocation
/// silently after 65,535.
const TRIPS_MAX: usize = 60_000;

/// Lanes of a workgroup.
const LANES: usize = 64;

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
        let row = Row { program, args, scalars, shape, axes, recipe: OnceLock::new() };
        (row.trips() < TRIPS_MAX).then_some(row)
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

    /// Passes over the columns: one for each level of reductions, one for full results.
    fn passes(&self) -> usize {
        let reductions = levels(&self.program).into_iter().max().unwrap_or(0);
        let domains = self.program.domains();
        let full = self.program.stores.iter().any(|s| domains[s.value] == Domain::Full);
        reductions + usize::from(full)
    }

    /// Whether a workgroup shares a row: where neighbouring columns are neighbours in memory and many.
    fn shared(&self) -> bool {
        let last = self.shape.iter().zip(&self.axes).rev().find(|&(&d, _)| d > 1);
        last.is_some_and(|(_, &reduced)| reduced) && self.columns() > COLUMNS_ALONE
    }

    fn trips(&self) -> usize {
        let each = if self.shared() { self.columns().div_ceil(LANES) + 16 } else { self.columns() };
        each * self.passes()
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

    /// Shader text of a loop over the columns that evaluates `goals` and then does `then`.
    fn column_loop(
        &self,
        emitter: &mut Emitter<'_>,
        goals: &[ValueId],
        domains: &[Domain],
        then: &str,
    ) -> Result<String> {
        let (columns, step) = (self.columns(), if self.shared() { LANES } else { 1 });
        let mut body = String::new();
        let (base, _) = emitter.place(&self.part(false), "row", &mut body);
        let (offset, _) = emitter.place(&self.part(true), "col", &mut body);
        body += &format!("    let i = {base} + {offset};\n");
        for v in self.needed(goals, domains) {
            if domains[v] == Domain::Full {
                body += &emitter.value(v, |_| "i".into())?;
            }
        }
        Ok(format!("    for (var col = lane; col < {columns}u; col += {step}u) {{\n{body}{then}    }}\n"))
    }

    /// Row values of a level, apart from reductions, which their loop defines.
    fn row_values(
        &self,
        emitter: &mut Emitter<'_>,
        levels: &[usize],
        level: usize,
        domains: &[Domain],
    ) -> Result<String> {
        let mut out = String::new();
        for v in 0..self.program.insts.len() {
            let reduction = matches!(self.program.insts[v], Inst::Reduce { .. });
            if domains[v] == Domain::Row && levels[v] == level && !reduction {
                out += &emitter.value(v, |_| "row".into())?;
            }
        }
        Ok(out)
    }

    fn process(&self) -> Result<(String, String)> {
        let mut emitter = Emitter::new(&self.program, &self.args);
        let (levels, domains) = (levels(&self.program), self.program.domains());
        let top = levels.iter().copied().max().unwrap_or(0);
        let mut body = self.row_values(&mut emitter, &levels, 0, &domains)?;
        for pass in 0..top {
            let reductions = self.reductions(&levels, pass);
            let (mut before, mut inside, mut after) = (String::new(), String::new(), String::new());
            for &(v, kind, x) in &reductions {
                let reducer = emitter.reducer(kind, emitter.dtype_of(x));
                let acc = format!("a{v}");
                before += &format!("    var {acc}: {} = {};\n", reducer.ty, reducer.start);
                inside += &format!("    {acc} = {};\n", reducer.take(&acc, &format!("v{x}")));
                let whole = if self.shared() { reducer.joined(&acc) } else { acc.clone() };
                after += &format!(
                    "    let w{v} = {whole};\n    let v{v} = {};\n",
                    reducer.result(&format!("w{v}"))
                );
            }
            let goals: Vec<ValueId> = reductions.iter().map(|&(_, _, x)| x).collect();
            let columns = self.column_loop(&mut emitter, &goals, &domains, &inside)?;
            body += &format!("{before}{columns}{after}");
            body += &self.row_values(&mut emitter, &levels, pass + 1, &domains)?;
        }
        let (mut full, mut rows, mut goals) = (String::new(), String::new(), Vec::new());
        for store in &self.program.stores {
            let value = format!("v{}", store.value);
            if self.class_of(store.arg, &domains) == Class::Row {
                rows += &emitter.store(&value, store.arg, "row");
            } else {
                full += &emitter.store(&value, store.arg, "i");
                goals.push(store.value);
            }
        }
        if !goals.is_empty() {
            body += &self.column_loop(&mut emitter, &goals, &domains, &full)?;
        }
        if !rows.is_empty() {
            body += &format!("    if lane == 0u {{\n{rows}    }}\n");
        }
        let bindings = emitter.bindings(0, self.scalars.len())?;
        Ok((format!("fn process(row: u32, lane: u32) {{\n{body}}}"), bindings + &emitter.declared()))
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
        let base = if self.shared() { ROW_GROUP } else { ROW_THREAD };
        let linker = Linker::new(base)
            .replace("process", &process)
            .map_err(|message| Error::internal("row", message))?;
        Ok(linker.append(&declarations).constant("ROWS", self.rows()).finish())
    }

    fn groups(&self) -> [u32; 3] {
        spread(if self.shared() { self.rows() } else { self.rows().div_ceil(LANES) })
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
}
