//! Programs made ready for native evaluation: in which order, where every value lies, what is done once only.
//!
//! Values of a block lie where they are read (operands that lie in memory in the right order and type), where they are
//! written (results), or in registers, which are shared by values that are never alive together.

mod joins;

use smallvec::SmallVec;
use vorpal_tensor::{DType, Layout};

use crate::chain::Pair;
use crate::standardize::Standardize;
use crate::stream::large;
use crate::{Access, Arg, Domain, Inst, Program, ReduceKind, ScalarFn, Store, ValueId};

/// How far a value reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// The same for all elements of a run.
    Uniform,
    /// One for every row.
    Row,
    /// One for every element.
    Full,
}

/// Where a value of a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// A register of the class of the value.
    Register(usize),
    /// The result with this argument number.
    Sink(usize),
    /// An argument, from a place on.
    Source { arg: usize, offset: usize },
    /// Row values known before.
    Given(ValueId),
}

/// A value where it lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Operand {
    pub home: Home,
    pub class: Class,
    pub dtype: DType,
}

/// What makes a value.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Constant(f64),
    Scalar(usize),
    Load {
        arg: usize,
        layout: Layout,
        fill: f64,
    },
    /// Windows on arguments, of which every element is inside of one.
    Joined(Box<[(usize, Layout); 2]>),
    /// The old content of a result that is written in place.
    Reload(usize),
    Place(Layout),
    Call {
        f: &'static ScalarFn,
        operands: SmallVec<[Operand; 3]>,
    },
    Cast {
        x: Operand,
        from: DType,
        to: DType,
    },
    /// Two steps of arithmetic.
    Pair {
        pair: Pair,
        operands: SmallVec<[Operand; 3]>,
    },
    Reduce {
        kind: ReduceKind,
        x: Operand,
    },
    /// ((a − b) c) d + e.
    Normalize(SmallVec<[Operand; 3]>),
    /// (a b) (erf(a c) + d), all but the first the same for all elements.
    ErrorGate(SmallVec<[Operand; 3]>),
    /// All of a layer norm: of the elements of rows, their weights and biases, and numbers that are the same for all rows.
    Standardize {
        how: Standardize,
        operands: SmallVec<[Operand; 3]>,
    },
    /// The sum of products.
    Dot(SmallVec<[Operand; 3]>),
    /// The sum of the squares of differences from a number for each row.
    Deviation(SmallVec<[Operand; 3]>),
    /// eᵃ⁻ᵇ, and what is called for meanwhile.
    ExpDifference {
        operands: SmallVec<[Operand; 3]>,
        calls: Calls,
    },
    /// The same value for more elements.
    Spread(Operand),
    /// The value once more, as it is stored.
    Copy(Operand),
    /// The value once more, written past the caches, and what will be read next: an argument and where it starts.
    Stream {
        x: Operand,
        ahead: Option<(usize, usize)>,
    },
}

/// What is read or written soon.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    /// An argument that the next block reads, and where it starts.
    pub source: Option<(usize, usize)>,
    /// A result that this block writes.
    pub sink: Option<usize>,
}

/// One value made.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub action: Action,
    pub out: Operand,
}

/// Which part of a program is evaluated, and of what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Row values known before, by value; none are where it is shorter.
    pub given: Vec<bool>,
    /// Values that are asked for after a block, and for what.
    pub goals: Vec<(ValueId, Class)>,
    /// Results written, and for what they have an element each.
    pub stores: Vec<(Store, Class)>,
    /// Rows and columns, where blocks are whole rows.
    pub rows: Option<(usize, usize)>,
    /// Whether there is but one row, so that what is known of it is the same for all elements.
    pub one_row: bool,
    /// The argument that holds the accumulators of an epilogue.
    pub acc: Option<usize>,
    /// Whether results are only read, as if they were arguments to read.
    pub read_only: bool,
}

/// A program, or a part of one, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Tape {
    /// Done once, before the first block.
    pub once: Vec<Step>,
    /// Done for every block.
    pub steps: Vec<Step>,
    /// Where the goals are after a block.
    pub goals: Vec<Operand>,
    /// Registers of each class.
    pub registers: [usize; 3],
    /// Of those with an element each the first ones, which are made once: every row of them is the same.
    pub kept: usize,
    /// Whether there is but one row of those, as whatever reads them goes row by row.
    pub kept_once: bool,
    /// Steps that read or make values with an element each.
    pub passes: usize,
    /// Bytes of an element of a register.
    pub width: usize,
    /// Columns of a row, where blocks are whole rows.
    pub columns: Option<usize>,
    /// Work for an element, in passes over a block in the cache.
    pub weight: usize,
    /// Results written in place, the old content of which every block reads from memory.
    pub reloaded: SmallVec<[usize; 3]>,
}

/// A value on the way to a tape: what makes it, out of which other values.
struct Draft {
    action: Action,
    operands: SmallVec<[usize; 3]>,
    class: Class,
    dtype: DType,
    once: bool,
    /// Where it lies, if not in a register.
    home: Option<Home>,
    /// A store of it that needs no copy.
    sink: Option<usize>,
    /// Position of the last draft that reads it, and how often it is read.
    last_use: usize,
    uses: usize,
    /// Made within another step.
    gone: bool,
}

/// Columns from which on a pass over a single row is worth its call.
const COLUMNS_ALONE: usize = 64;

struct Maker<'p> {
    program: &'p Program,
    args: &'p [Arg],
    scope: &'p Scope,
    types: Vec<DType>,
    domains: Vec<Domain>,
    drafts: Vec<Draft>,
    /// Draft of every value, at its own class and spread to all elements.
    of: Vec<[Option<usize>; 3]>,
}

/// The same element again and again.
fn is_uniform(layout: &Layout) -> bool {
    layout.bounds.is_empty()
        && layout.shape.numel() > 0
        && layout.strides.iter().zip(&layout.shape[..]).all(|(&s, &d)| s == 0 || d == 1)
}

/// Whether every row reads the same.
fn repeats(layout: &Layout, rows: usize) -> bool {
    let mut product = 1;
    for (&d, &stride) in layout.shape.iter().zip(&layout.strides) {
        if product == rows {
            break;
        }
        product *= d;
        if d != 1 && stride != 0 {
            return false;
        }
    }
    product == rows && layout.bounds.is_empty()
}

impl Tape {
    /// Makes a part of a program ready to run on its arguments.
    pub fn new(program: &Program, args: &[Arg], scope: &Scope) -> Tape {
        let n = program.insts.len();
        let mut maker = Maker {
            program,
            args,
            scope,
            types: program.types(args),
            domains: program.domains(),
            drafts: Vec::new(),
            of: vec![[None; 3]; n],
        };
        let needed = maker.needed();
        for v in (0..n).filter(|&v| needed[v]) {
            maker.value(v);
        }
        maker.finish()
    }
}

impl Maker<'_> {
    fn is_given(&self, v: ValueId) -> bool {
        self.scope.given.get(v).copied().unwrap_or(false)
    }

    /// Values below the goals and stores, down to those that are given.
    fn needed(&self) -> Vec<bool> {
        let mut needed = vec![false; self.program.insts.len()];
        let stores = self.scope.stores.iter().map(|(store, _)| store.value);
        for v in self.scope.goals.iter().map(|&(v, _)| v).chain(stores) {
            needed[v] = true;
        }
        for v in (0..needed.len()).rev().filter(|&v| !self.is_given(v)).collect::<Vec<_>>() {
            if needed[v] {
                match &self.program.insts[v] {
                    Inst::Call { args, .. } => args.iter().for_each(|&a| needed[a] = true),
                    Inst::Cast { x, .. } | Inst::Reduce { x, .. } => needed[*x] = true,
                    _ => {}
                }
            }
        }
        needed
    }

    fn push(&mut self, action: Action, operands: SmallVec<[usize; 3]>, class: Class, dtype: DType) -> usize {
        let once = class == Class::Uniform;
        let draft = Draft {
            action,
            operands,
            class,
            dtype,
            once,
            home: None,
            sink: None,
            last_use: 0,
            uses: 0,
            gone: false,
        };
        self.drafts.push(draft);
        self.drafts.len() - 1
    }

    /// The draft of a value for a class that is not below its own.
    fn at(&mut self, v: ValueId, class: Class) -> usize {
        if let Some(known) = self.of[v][class as usize] {
            return known;
        }
        let own = self.own(v).unwrap_or(0);
        let (dtype, once) = (self.drafts[own].dtype, self.drafts[own].class == Class::Uniform);
        let filler = Operand { home: Home::Register(0), class, dtype };
        let made = self.push(Action::Spread(filler), smallvec::smallvec![own], class, dtype);
        self.drafts[made].once = once;
        self.of[v][class as usize] = Some(made);
        made
    }

    /// The class of what is made of other values: the widest of theirs. Where blocks are no whole rows, only row values
    /// known before are there, so that what is made of them for every element is made once for each.
    fn class_above(&self, v: ValueId, operands: &[ValueId]) -> Class {
        let own = |&x: &ValueId| self.of[x].iter().flatten().map(|&k| self.drafts[k].class).min();
        let class = operands.iter().filter_map(own).max().unwrap_or(Class::Uniform);
        let apart = self.scope.rows.is_none() && self.domains[v] == Domain::Full;
        if apart && class == Class::Row { Class::Full } else { class }
    }

    /// The lowest class of a value.
    fn own(&self, v: ValueId) -> Option<usize> {
        self.of[v].iter().flatten().next().copied()
    }

    /// The draft of an operand of a call: that of the value itself where one element may stand for all, else that of
    /// as many as the class has.
    fn operand(&mut self, args: &[ValueId], k: usize, class: Class) -> usize {
        let others_are_full =
            |other: &ValueId| self.own(*other).is_some_and(|other| self.drafts[other].class == Class::Full);
        let alone = self.own(args[k]).filter(|&own| match self.drafts[own].class {
            Class::Uniform => true,
            Class::Row => self.scope.rows.is_some_and(|(_, columns)| columns >= COLUMNS_ALONE),
            Class::Full => false,
        });
        let floats = args.iter().all(|&a| self.types[a] == DType::F32);
        match alone {
            Some(own)
                if floats && args.len() == 2 && class == Class::Full && others_are_full(&args[1 - k]) =>
            {
                own
            }
            _ => self.at(args[k], class),
        }
    }

    /// Drafts a value at its own class.
    fn value(&mut self, v: ValueId) {
        let dtype = self.types[v];
        let filler = |class| Operand { home: Home::Register(0), class, dtype };
        let none = SmallVec::new();
        let domain = |d: Domain| if d == Domain::Full { Class::Full } else { Class::Row };
        let draft = if self.is_given(v) {
            let class = if self.scope.one_row { Class::Uniform } else { Class::Row };
            let k = self.push(Action::Constant(0.0), none, class, dtype);
            self.drafts[k].home = Some(Home::Given(v));
            k
        } else {
            match &self.program.insts[v] {
                Inst::Const { value, .. } => self.push(Action::Constant(*value), none, Class::Uniform, dtype),
                Inst::Scalar { index, .. } => self.push(Action::Scalar(*index), none, Class::Uniform, dtype),
                Inst::Load { arg, layout, fill, domain: d } => {
                    self.load(*arg, layout, *fill, domain(*d), dtype)
                }
                Inst::Acc { .. } => {
                    self.push(Action::Reload(self.scope.acc.unwrap_or(0)), none, Class::Full, dtype)
                }
                Inst::Place { layout, domain: d } => {
                    self.push(Action::Place(layout.clone()), none, domain(*d), dtype)
                }
                Inst::Call { f, args } => {
                    let class = self.class_above(v, args);
                    let operands = (0..args.len()).map(|k| self.operand(args, k, class)).collect();
                    self.push(Action::Call { f, operands: SmallVec::new() }, operands, class, dtype)
                }
                Inst::Cast { x, dtype: to } => {
                    let class = self.class_above(v, &[*x]);
                    let operands = smallvec::smallvec![self.at(*x, class)];
                    let action = Action::Cast { x: filler(class), from: self.types[*x], to: *to };
                    self.push(action, operands, class, dtype)
                }
                Inst::Reduce { kind, x } => {
                    let operands = smallvec::smallvec![self.at(*x, Class::Full)];
                    let action = Action::Reduce { kind: *kind, x: filler(Class::Full) };
                    self.push(action, operands, Class::Row, dtype)
                }
            }
        };
        let class = self.drafts[draft].class;
        self.of[v][class as usize] = Some(draft);
    }

    fn load(&mut self, arg: usize, layout: &Layout, fill: f64, class: Class, dtype: DType) -> usize {
        let none = SmallVec::new();
        if self.args[arg].access != Access::Read && !self.scope.read_only {
            return self.push(Action::Reload(arg), none, class, dtype);
        }
        let class = if is_uniform(layout) { Class::Uniform } else { class };
        let load = Action::Load { arg, layout: layout.clone(), fill };
        let k = self.push(load, none, class, dtype);
        let stored_as_computed =
            self.args[arg].dtype.compute() == self.args[arg].dtype || self.args[arg].dtype == DType::Bool;
        if class != Class::Uniform && stored_as_computed && layout.is_contiguous() && layout.offset >= 0 {
            self.drafts[k].home = Some(Home::Source { arg, offset: layout.offset as usize });
        } else if class == Class::Full && self.scope.rows.is_some_and(|(rows, _)| repeats(layout, rows)) {
            self.drafts[k].once = true;
        }
        k
    }

    /// Whether a result goes past the caches. One that is read as well is there already.
    fn is_streamed(&self, arg: usize, class: Class) -> bool {
        let Arg { access, dtype, .. } = self.args[arg];
        let fresh = access == Access::Write && self.scope.acc.is_none();
        fresh && class == Class::Full && dtype == DType::F32 && self.args[arg].traffic_bytes() >= large()
    }

    /// An argument whose elements are read one behind the other, and from which place on.
    fn read_in_place(&self) -> Option<(usize, usize)> {
        self.drafts.iter().find_map(|draft| match draft.home {
            Some(Home::Source { arg, offset }) if draft.class == Class::Full => Some((arg, offset)),
            _ => None,
        })
    }

    /// What a step that computes much calls for: what streams read and write they call for themselves.
    fn calls(&self) -> Calls {
        let full = || self.scope.stores.iter().filter(|(_, class)| *class == Class::Full);
        if full().any(|(store, class)| self.is_streamed(store.arg, *class)) {
            return Calls::default();
        }
        let fresh = |arg: usize| self.args[arg].access == Access::Write && self.args[arg].dtype == DType::F32;
        let sink = full().map(|(store, _)| store.arg).find(|&arg| fresh(arg));
        Calls { source: self.read_in_place(), sink }
    }

    /// Results that are made in their place, and copies of the others at the end.
    fn stores(&mut self, goals: &[usize]) {
        let mut made_by_stores = Vec::new();
        for (store, class) in &self.scope.stores {
            let mut k = self.at(store.value, *class);
            if let Some(x) = self.cast_by_store(k, store.arg) {
                made_by_stores.push(std::mem::replace(&mut k, x));
            }
            let reloaded_later = |(at, d): (usize, &Draft)| {
                at > k && matches!(d.action, Action::Reload(arg) if arg == store.arg)
            };
            let draft = &self.drafts[k];
            let in_place = !self.is_streamed(store.arg, *class)
                && !draft.once
                && draft.home.is_none()
                && draft.sink.is_none()
                && !self.args[store.arg].dtype.is_16bit()
                && !matches!(draft.action, Action::Reload(_))
                && !self.drafts.iter().enumerate().any(reloaded_later);
            if in_place {
                self.drafts[k].sink = Some(store.arg);
                continue;
            }
            let dtype = self.drafts[k].dtype;
            let filler = Operand { home: Home::Register(0), class: *class, dtype };
            let action = match self.is_streamed(store.arg, *class) {
                true => Action::Stream { x: filler, ahead: self.read_in_place() },
                false => Action::Copy(filler),
            };
            let copy = self.push(action, smallvec::smallvec![k], *class, dtype);
            self.drafts[copy].once = false;
            self.drafts[copy].sink = Some(store.arg);
        }
        for k in made_by_stores {
            let is_read = self.drafts.iter().any(|draft| draft.operands.contains(&k));
            self.drafts[k].gone = !is_read && self.drafts[k].sink.is_none() && !goals.contains(&k);
        }
    }

    /// What a cast to 16 bits is of, where it is stored to as many bits: storing rounds in the same way.
    fn cast_by_store(&self, k: usize, arg: usize) -> Option<usize> {
        let draft = &self.drafts[k];
        match draft.action {
            Action::Cast { from, to, .. } if to.is_16bit() && to == self.args[arg].dtype => {
                (from.compute() == DType::F32).then(|| draft.operands[0])
            }
            _ => None,
        }
    }

    /// Whether whatever reads the values with an element each that are made once goes row by row.
    fn are_read_by_rows(&self, goals: &[usize]) -> bool {
        let kept = |&k: &usize| {
            let draft = &self.drafts[k];
            draft.once && draft.home.is_none() && draft.class == Class::Full
        };
        let by_rows = |draft: &Draft| {
            let calls = match draft.action {
                Action::Standardize { .. } => true,
                Action::Call { .. }
                | Action::Pair { .. }
                | Action::Normalize(_)
                | Action::ExpDifference { .. } => {
                    draft.operands.iter().any(|&k| self.drafts[k].class == Class::Row)
                }
                _ => false,
            };
            calls
                && draft.class == Class::Full
                && draft.operands.iter().all(|&k| self.drafts[k].dtype == DType::F32)
        };
        let readers = self.drafts.iter().filter(|draft| !draft.gone && draft.operands.iter().any(kept));
        !goals.iter().any(kept) && readers.into_iter().all(by_rows)
    }

    /// Gives every value its place.
    fn finish(mut self) -> Tape {
        let goals: Vec<usize> = self.scope.goals.iter().map(|&(v, class)| self.at(v, class)).collect();
        self.stores(&goals);
        self.join(&goals);
        let end = self.drafts.len();
        for k in (0..end).filter(|&k| !self.drafts[k].gone).collect::<Vec<_>>() {
            for operand in self.drafts[k].operands.clone() {
                self.drafts[operand].last_use = k;
            }
        }
        goals.iter().for_each(|&k| self.drafts[k].last_use = end);
        let (mut registers, mut free) = ([0usize; 3], [const { Vec::<usize>::new() }; 3]);
        let mut places: Vec<Operand> = Vec::with_capacity(end);
        let (mut once, mut steps, mut weight, mut passes) = (Vec::new(), Vec::new(), 0usize, 0);
        // What is done once comes first and keeps its register.
        let kept = |d: &Draft| d.once && d.home.is_none() && !d.gone;
        let mut fixed: Vec<Option<usize>> = vec![None; end];
        for (k, draft) in self.drafts.iter().enumerate().filter(|(_, d)| kept(d)) {
            fixed[k] = Some(registers[draft.class as usize]);
            registers[draft.class as usize] += 1;
        }
        let kept_full = registers[Class::Full as usize];
        let kept_once = kept_full > 0 && self.are_read_by_rows(&goals);
        for k in 0..end {
            let (class, dtype) = (self.drafts[k].class, self.drafts[k].dtype);
            let home = match (&self.drafts[k], fixed[k]) {
                (Draft { home: Some(home), .. }, _) => *home,
                (Draft { sink: Some(arg), .. }, _) => Home::Sink(*arg),
                (_, Some(register)) => Home::Register(register),
                (Draft { gone: true, .. }, _) => Home::Register(0),
                _ => Home::Register(free[class as usize].pop().unwrap_or_else(|| {
                    registers[class as usize] += 1;
                    registers[class as usize] - 1
                })),
            };
            let out = Operand { home, class, dtype };
            places.push(out);
            // What comes from memory and goes there takes as long as a pass in the cache.
            weight +=
                usize::from(class == Class::Full && matches!(home, Home::Source { .. } | Home::Sink(_)));
            if self.drafts[k].gone {
                continue;
            }
            if self.drafts[k].home.is_none() {
                let operands: SmallVec<[Operand; 3]> =
                    self.drafts[k].operands.iter().map(|&o| places[o]).collect();
                let action = with_operands(&self.drafts[k].action, operands);
                weight += match &action {
                    Action::Call { f, .. } => 1 + f.flops as usize / 4,
                    Action::Standardize { .. } => 3,
                    Action::ErrorGate(_) => 5,
                    _ => 1,
                };
                if self.drafts[k].once {
                    once.push(Step { action, out })
                } else {
                    passes += usize::from(
                        self.is_wide(k) || self.drafts[k].operands.iter().any(|&o| self.is_wide(o)),
                    );
                    steps.push(Step { action, out })
                }
            }
            // Registers that are read for the last time here are free afterwards.
            let mut read = self.drafts[k].operands.clone();
            read.sort_unstable();
            read.dedup();
            for o in read.into_iter().filter(|&o| self.drafts[o].last_use == k && fixed[o].is_none()) {
                if let Home::Register(register) = places[o].home {
                    free[places[o].class as usize].push(register);
                }
            }
        }
        let reloaded = self.drafts.iter().filter_map(|draft| match draft.action {
            // What accumulators are in was just written.
            Action::Reload(arg) if draft.class == Class::Full && self.scope.acc != Some(arg) => Some(arg),
            _ => None,
        });
        let reloaded = reloaded.collect();
        let width = places.iter().map(|p| p.dtype.compute().size()).max().unwrap_or(4).max(4);
        Tape {
            once,
            steps,
            goals: goals.into_iter().map(|k| places[k]).collect(),
            registers,
            kept: kept_full,
            passes,
            kept_once,
            width,
            columns: self.scope.rows.map(|(_, columns)| columns),
            weight,
            reloaded,
        }
    }
}

fn with_operands(action: &Action, operands: SmallVec<[Operand; 3]>) -> Action {
    let mut action = action.clone();
    match &mut action {
        Action::Call { operands: own, .. }
        | Action::Pair { operands: own, .. }
        | Action::ExpDifference { operands: own, .. }
        | Action::Standardize { operands: own, .. }
        | Action::Normalize(own)
        | Action::ErrorGate(own)
        | Action::Dot(own)
        | Action::Deviation(own) => *own = operands,
        Action::Cast { x, .. }
        | Action::Reduce { x, .. }
        | Action::Spread(x)
        | Action::Copy(x)
        | Action::Stream { x, .. } => *x = operands[0],
        _ => {}
    }
    action
}
