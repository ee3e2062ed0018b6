//! Shaders of fused reductions.
//!
//! Rows that are short for the lanes that share them are held: every value is computed once for each column of an
//! invocation, the columns written out one after the other. Longer rows are gone over in loops, once for each level of
//! reductions, and values are computed anew in every loop that needs them.

use vorpal_tensor::Result;

use super::{Row, levels};
use crate::emit::Emitter;
use crate::quads::{QUAD, Quads, Sharing};
use crate::tape::Class;
use crate::{Domain, Inst, Store, ValueId};

/// A shader of a row in the making.
struct Writer<'a> {
    row: &'a Row,
    emitter: Emitter<'a>,
    levels: Vec<usize>,
    domains: Vec<Domain>,
    quads: Quads,
    sharing: Sharing,
    /// Values of each reduction that an invocation has at a time.
    copies: usize,
    row_stores: Vec<Store>,
}

impl Row {
    /// The function `process` and what it calls.
    pub(super) fn process(&self) -> Result<(String, String)> {
        let domains = self.program.domains();
        let of_rows = |s: &&Store| self.class_of(s.arg, &domains) == Class::Row;
        let row_stores: Vec<Store> = self.program.stores.iter().filter(of_rows).copied().collect();
        let quads = self.quads();
        let mut writer = Writer {
            row: self,
            emitter: Emitter::new(&self.program, &self.args, quads, self.abilities.words64, &row_stores),
            levels: levels(&self.program),
            domains,
            quads,
            sharing: self.sharing(),
            copies: if quads == Quads::None { 1 } else { QUAD },
            row_stores,
        };
        let body = if self.holds() { writer.held()? } else { writer.looped()? };
        let bindings = writer.emitter.bindings(0, self.scalars.len())?;
        Ok((format!("fn process(unit: u32, lane: u32) {{\n{body}}}"), bindings + &writer.emitter.declared()))
    }
}

impl Writer<'_> {
    fn top(&self) -> usize {
        self.levels.iter().copied().max().unwrap_or(0)
    }

    /// The number of the row from that of the unit.
    fn first_row(&self, unit: &str) -> String {
        let factor = if self.quads == Quads::Rows { format!(" * {QUAD}u") } else { String::new() };
        format!("    let row = {unit}{factor};\n")
    }

    /// The number of the column from that of the step.
    fn column(&self, step: &str) -> String {
        if self.quads == Quads::Full { format!("{step} * {QUAD}u") } else { step.to_string() }
    }

    /// Row values of a level, apart from reductions.
    fn row_values(&mut self, level: usize) -> Result<String> {
        let mut out = String::new();
        for v in 0..self.row.program.insts.len() {
            let reduction = matches!(self.row.program.insts[v], Inst::Reduce { .. });
            if self.domains[v] == Domain::Row && self.levels[v] == level && !reduction {
                out += &self.emitter.value(v, |_| "row".into())?;
            }
        }
        Ok(out)
    }

    /// Accumulators before, in and after the evaluation of the columns.
    fn accumulators(&mut self, level: usize) -> Accumulators {
        let mut out = Accumulators::default();
        for (v, kind, x) in self.row.reductions(&self.levels, level - 1) {
            let reducer = self.emitter.reducer(kind, self.emitter.dtype_of(x));
            let names: Vec<String> = (0..self.copies).map(|k| format!("a{v}_{k}")).collect();
            for name in &names {
                out.before += &format!("    var {name}: {} = {};\n", reducer.ty, reducer.start);
            }
            let mut whole = names.clone();
            if self.quads == Quads::Full {
                // Four columns of one row.
                let [low, high] = [0, 2].map(|k| reducer.both(&names[k], &names[k + 1]));
                whole = vec![reducer.both(&low, &high)];
            }
            for (k, whole) in whole.iter().enumerate() {
                out.after += &format!("    let w{v}_{k} = {};\n", reducer.joined(whole, self.sharing));
                let result = reducer.result(&format!("w{v}_{k}"));
                out.after += &format!("    let {} = {result};\n", self.emitter.name_of(v, k));
            }
            out.reductions.push((x, names, reducer));
        }
        out
    }

    /// Statements that take the columns at hand into accumulators; `valid` says whether there are any.
    fn take(&self, accumulators: &Accumulators, valid: Option<&str>) -> String {
        let mut out = String::new();
        for (x, names, reducer) in &accumulators.reductions {
            for (k, name) in names.iter().enumerate() {
                let taken = reducer.take(name, &self.emitter.name_of(*x, k));
                out += &match valid {
                    Some(valid) => format!("    {name} = select({name}, {taken}, {valid});\n"),
                    None => format!("    {name} = {taken};\n"),
                };
            }
        }
        out
    }

    fn store(&mut self, store: Store, four: bool, index: &str) -> String {
        if four {
            return self.emitter.store_four(store, index);
        }
        let name = self.emitter.name_of(store.value, 0);
        self.emitter.store(&name, store.arg, index)
    }

    /// Stores of full values.
    fn full_stores(&mut self, index: &str) -> String {
        let stores = self.row.program.stores.iter().filter(|s| !self.row_stores.contains(s));
        let stores: Vec<Store> = stores.copied().collect();
        stores.into_iter().map(|it| self.store(it, self.quads != Quads::None, index)).collect()
    }

    /// Stores of one value for each row.
    fn stores_of_rows(&mut self) -> String {
        let stores = self.row_stores.clone();
        let rows: String =
            stores.into_iter().map(|it| self.store(it, self.quads == Quads::Rows, "row")).collect();
        if rows.is_empty() { rows } else { format!("    if lane == 0u {{\n{rows}    }}\n") }
    }

    /// A loop over the columns that evaluates `goals` and then does `then`.
    fn column_loop(&mut self, goals: &[ValueId], then: &str) -> Result<String> {
        let mut body = format!("    let col = {};\n", self.column("step"));
        let (base, _) = self.emitter.place(&self.row.part(false), "row", &mut body);
        let (offset, _) = self.emitter.place(&self.row.part(true), "col", &mut body);
        body += &format!("    let i = {base} + {offset};\n");
        let needed = self.row.needed(goals, &self.domains);
        for v in needed.into_iter().filter(|&v| self.domains[v] == Domain::Full).collect::<Vec<_>>() {
            body += &self.emitter.value(v, |d| if d == Domain::Full { "i" } else { "row" }.into())?;
        }
        let (steps, stride) = (self.row.steps(), self.row.sharers());
        Ok(format!("    for (var step = lane; step < {steps}u; step += {stride}u) {{\n{body}{then}    }}\n"))
    }

    fn looped(&mut self) -> Result<String> {
        let mut body = self.first_row("unit");
        body += &self.row_values(0)?;
        let last = self.row.stores_last(&self.levels);
        let stores = self.row.program.stores.iter().filter(|s| !self.row_stores.contains(s));
        let stored: Vec<ValueId> = stores.map(|s| s.value).collect();
        for level in 1..=self.top() {
            let accumulators = self.accumulators(level);
            let mut goals: Vec<ValueId> = accumulators.reductions.iter().map(|r| r.0).collect();
            let mut inside = self.take(&accumulators, None);
            if level == self.top() && !last {
                goals.extend(&stored);
                inside += &self.full_stores("i");
            }
            body += &accumulators.before;
            body += &self.column_loop(&goals, &inside)?;
            body += &accumulators.after;
            body += &self.row_values(level)?;
        }
        if last {
            let full = self.full_stores("i");
            body += &self.column_loop(&stored, &full)?;
        }
        Ok(body + &self.stores_of_rows())
    }

    /// Whether a value is the same for all rows, and read before them.
    fn is_columnar(&self, v: ValueId) -> bool {
        let inst = &self.row.program.insts[v];
        matches!(inst, Inst::Load { layout, domain, .. } if self.row.is_columnar(layout, *domain))
    }

    fn held(&mut self) -> Result<String> {
        let (turns, steps, sharers) = (self.row.turns(), self.row.steps(), self.row.sharers());
        let mut body = String::new();
        for t in 0..turns {
            let step = format!("min(lane + {}u, {}u)", t * sharers, steps - 1);
            let step = if (t + 1) * sharers > steps { step } else { format!("(lane + {}u)", t * sharers) };
            body += &format!("    let col{t} = {};\n", self.column(&step));
            let (offset, _) = self.emitter.place(&self.row.part(true), &format!("col{t}"), &mut body);
            body += &format!("    let o{t} = {offset};\n");
            self.emitter.turn(t);
            for v in (0..self.domains.len()).filter(|&v| self.is_columnar(v)).collect::<Vec<_>>() {
                body += &self.emitter.value(v, |_| format!("o{t}"))?;
            }
        }
        // The last columns may be there for some of the lanes only.
        let partial =
            (!steps.is_multiple_of(sharers)).then(|| format!("lane + {}u < {steps}u", (turns - 1) * sharers));
        let valid = |t: usize| partial.as_deref().filter(|_| t + 1 == turns);
        let mut rows = self.held_rows(turns, &valid)?;
        for t in 0..turns {
            self.emitter.turn(t);
            let stores = self.full_stores(&format!("i{t}"));
            rows += &match valid(t) {
                Some(valid) if !stores.is_empty() => format!("    if {valid} {{\n{stores}    }}\n"),
                _ => stores,
            };
        }
        rows += &self.stores_of_rows();
        let (units, each) = (self.row.units(), self.row.units_each());
        if each == 1 {
            return Ok(body + &self.first_row("unit") + &rows);
        }
        let first = self.first_row("part");
        let end = format!("min(unit * {each}u + {each}u, {units}u)");
        body +=
            &format!("    for (var part = unit * {each}u; part < {end}; part++) {{\n{first}{rows}    }}\n");
        Ok(body)
    }

    /// All values of a row that is held.
    fn held_rows<'v>(&mut self, turns: usize, valid: &impl Fn(usize) -> Option<&'v str>) -> Result<String> {
        let mut body = String::new();
        let (base, _) = self.emitter.place(&self.row.part(false), "row", &mut body);
        for t in 0..turns {
            body += &format!("    let i{t} = {base} + o{t};\n");
        }
        for level in 0..=self.top() {
            body += &self.row_values(level)?;
            let next = self.accumulators(level + 1);
            body += &next.before;
            for t in 0..turns {
                self.emitter.turn(t);
                for v in 0..self.domains.len() {
                    let here = self.domains[v] == Domain::Full && self.levels[v] == level;
                    if here && !self.is_columnar(v) {
                        body += &self.emitter.value(v, |_| format!("i{t}"))?;
                    }
                }
                body += &self.take(&next, valid(t));
            }
            body += &next.after;
        }
        Ok(body)
    }
}

/// The reductions of a level.
#[derive(Default)]
struct Accumulators {
    before: String,
    after: String,
    /// Operands, names and ways of reduction.
    reductions: Vec<(ValueId, Vec<String>, crate::emit::Reducer)>,
}
