//! WGSL text from fused programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use vorpal_shaders::BITS;
use vorpal_tensor::{DType, Error, Layout, Result};

use crate::quads::{QUAD, Quads, Sharing, Walk};
use crate::{Access, Arg, Domain, Epilogue, Inst, Program, ReduceKind, ScalarFn, Store, ValueId};

/// Run-time scalars one launch can take: what fits 256 bytes.
pub const SCALARS_MAX: usize = 64;

/// The parts of a shader that come from a program.
#[derive(Debug)]
pub(crate) struct Emitter<'a> {
    program: &'a Program,
    args: &'a [Arg],
    types: Vec<DType>,
    quads: Quads,
    /// Which values differ between the four elements of an invocation.
    own: Vec<bool>,
    /// Which arguments are bound as arrays of four elements.
    fours: Vec<bool>,
    /// Whether fours that are read come as 64-bit integers.
    wide: bool,
    /// Whether the shader converts halves by functions of its own: `half_value`, `half_round`, `half_pair`.
    own_halves: bool,
    /// Which values there is one of for each turn, where several turns are written out, and the turn.
    turning: Vec<bool>,
    turn: Option<usize>,
    /// Name of every argument in the shader.
    names: Vec<String>,
    /// Functions and variables, each once.
    declarations: BTreeSet<String>,
    /// Shared files that are called.
    support: BTreeMap<&'static str, ()>,
    fresh: usize,
}

/// WGSL type of computed values.
fn wgsl(dtype: DType) -> &'static str {
    match dtype.compute() {
        DType::I32 => "i32",
        DType::U32 => "u32",
        DType::Bool => "bool",
        _ => "f32",
    }
}

/// WGSL type of stored words.
fn stored(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::I32 => "i32",
        _ => "u32",
    }
}

impl<'a> Emitter<'a> {
    /// An emitter for invocations that evaluate one element, or four of what `quads` says, of which some may be read as
    /// `wide` integers. Stores in `row_stores` go by the number of the row.
    pub fn new(
        program: &'a Program,
        args: &'a [Arg],
        quads: Quads,
        wide: bool,
        row_stores: &[Store],
    ) -> Emitter<'a> {
        Emitter {
            program,
            args,
            types: program.types(args),
            quads,
            own: quads.own(program),
            fours: quads.fours(program, args, row_stores),
            wide,
            own_halves: false,
            turning: program.domains().iter().map(|&d| d == Domain::Full).collect(),
            turn: None,
            names: (0..args.len()).map(|k| format!("b{k}")).collect(),
            declarations: BTreeSet::new(),
            support: BTreeMap::new(),
            fresh: 0,
        }
    }

    /// Declarations of the buffers from argument `first` on, and of the params where there are scalars.
    pub fn bindings(&self, first: usize, scalars: usize) -> Result<String> {
        let mut out = String::new();
        for (k, arg) in self.args.iter().enumerate().skip(first) {
            let access = if arg.access == Access::Read { "read" } else { "read_write" };
            let (name, ty) = (&self.names[k], self.item(k));
            let _ = writeln!(out, "@group(0) @binding({k}) var<storage, {access}> {name}: array<{ty}>;");
        }
        if scalars > SCALARS_MAX {
            return Err(Error::internal("emit", format!("{scalars} scalars in one launch")));
        }
        if scalars > 0 {
            let k = self.args.len();
            let _ = writeln!(out, "@group(0) @binding({k}) var<uniform> params: array<vec4<u32>, 16>;");
        }
        Ok(out)
    }

    /// WGSL type of the items of an argument's array.
    fn item(&self, arg: usize) -> String {
        let dtype = self.args[arg].dtype;
        match (self.fours[arg], self.is_wide(arg), dtype.is_16bit()) {
            (false, ..) => stored(dtype).into(),
            (true, false, true) => "vec2<u32>".into(),
            (true, false, false) => format!("vec4<{}>", stored(dtype)),
            (true, true, true) => "u64".into(),
            (true, true, false) => "vec2<u64>".into(),
        }
    }

    /// Whether an argument is bound as 64-bit integers.
    fn is_wide(&self, arg: usize) -> bool {
        self.wide && self.fours[arg] && self.args[arg].access != Access::Write
    }

    /// Everything that was called: declarations, functions, shared files.
    pub fn declared(&self) -> String {
        let mut out = String::new();
        for text in self.support.keys() {
            let _ = writeln!(out, "{text}");
        }
        for text in &self.declarations {
            let _ = writeln!(out, "{text}");
        }
        out
    }

    /// dtype of a value.
    pub fn dtype_of(&self, v: ValueId) -> DType {
        self.types[v]
    }

    /// Goes on with another of the turns that are written out.
    pub fn turn(&mut self, turn: usize) {
        self.turn = Some(turn);
    }

    /// A value of element `k` of an invocation.
    pub fn name_of(&self, v: ValueId, k: usize) -> String {
        let turn = self.turn.filter(|_| self.turning[v]).map_or(String::new(), |turn| format!("t{turn}"));
        if self.own[v] { format!("{turn}v{v}_{k}") } else { format!("{turn}v{v}") }
    }

    /// `let vN = …;` for one instruction, or four of them. `index` names the linear index of each domain, of the first
    /// of four elements where there are four.
    pub fn value(&mut self, v: ValueId, index: impl Fn(Domain) -> String) -> Result<String> {
        let program = self.program;
        let mut out = String::new();
        let copies = if self.own[v] { QUAD } else { 1 };
        match &program.insts[v] {
            Inst::Place { layout, domain } => {
                let texts = self.places(layout, &index(*domain), copies, &mut out);
                self.define(v, texts.into_iter().map(|(place, _)| place), &mut out);
            }
            Inst::Load { arg, layout, fill, domain } => {
                let texts = self.loads(*arg, layout, *fill, &index(*domain), copies, &mut out);
                self.define(v, texts, &mut out);
            }
            Inst::Reduce { .. } => {
                return Err(Error::internal("emit", "a reduction outside of a row kernel"));
            }
            inst => {
                let mut texts = Vec::with_capacity(copies);
                for k in 0..copies {
                    texts.push(self.computed(inst, k)?);
                }
                self.define(v, texts, &mut out);
            }
        }
        Ok(out)
    }

    /// All values of an epilogue of the element at `index`, or of four from there on.
    fn values_at(&mut self, epilogue: &Epilogue, index: &str) -> Result<String> {
        let values = 0..epilogue.program.insts.len();
        values.map(|v| self.value(v, |_| index.to_string())).collect()
    }

    /// `let`s of a value, one for each element it has.
    fn define(&self, v: ValueId, texts: impl IntoIterator<Item = String>, out: &mut String) {
        for (k, text) in texts.into_iter().enumerate() {
            let _ = writeln!(out, "    let {} = {text};", self.name_of(v, k));
        }
    }

    /// What an instruction that reads no buffer is for element `k`.
    fn computed(&mut self, inst: &Inst, k: usize) -> Result<String> {
        Ok(match inst {
            Inst::Const { value, dtype } => self.constant(*value, *dtype),
            Inst::Scalar { index, dtype } => scalar(*index, *dtype),
            Inst::Call { f, args } => {
                let name = self.function(f, args)?;
                let list: Vec<String> = args.iter().map(|&a| self.name_of(a, k)).collect();
                format!("{name}({})", list.join(", "))
            }
            Inst::Cast { x, dtype } => {
                let operand = self.name_of(*x, k);
                self.cast(&operand, self.types[*x], *dtype)
            }
            Inst::Acc { .. } if self.quads == Quads::Full => format!("acc[{k}]"),
            Inst::Acc { .. } => "acc".into(),
            _ => return Err(Error::internal("emit", "an instruction that is no computation")),
        })
    }

    /// Places of the elements of an invocation, each with its guard.
    fn places(
        &mut self,
        layout: &Layout,
        index: &str,
        copies: usize,
        before: &mut String,
    ) -> Vec<(String, Option<String>)> {
        if copies == 1 {
            return vec![self.place(layout, index, before)];
        }
        match Walk::of(layout) {
            Walk::Apart => {
                let last = layout.shape.numel() - 1;
                let mut out = Vec::with_capacity(copies);
                for k in 0..copies {
                    // Behind the last element there is none to read.
                    let own = self.name("i");
                    let _ = writeln!(before, "    let {own} = min({index} + {k}u, {last}u);");
                    out.push(self.place(layout, &own, before));
                }
                out
            }
            Walk::Same | Walk::Vector => self.steps(layout, index, 1, copies, before),
            Walk::Steps(step) => self.steps(layout, index, step as u32, copies, before),
        }
    }

    /// Places of neighbours that lie `step` apart under one guard.
    fn steps(
        &mut self,
        layout: &Layout,
        index: &str,
        step: u32,
        copies: usize,
        before: &mut String,
    ) -> Vec<(String, Option<String>)> {
        let (first, guard) = self.place(layout, index, before);
        let at = self.name("p");
        let _ = writeln!(before, "    let {at} = {first};");
        let place = |k: u32| match step.wrapping_mul(k) {
            0 => at.clone(),
            steps => format!("({at} + {steps}u)"),
        };
        (0..copies as u32).map(|k| (place(k), guard.clone())).collect()
    }

    /// Reads the elements of an invocation.
    fn loads(
        &mut self,
        arg: usize,
        layout: &Layout,
        fill: f64,
        index: &str,
        copies: usize,
        before: &mut String,
    ) -> Vec<String> {
        if copies == 1 || !self.fours[arg] {
            let places = self.places(layout, index, copies, before);
            let each = places.into_iter();
            return each
                .map(|(place, guard)| self.load(arg, &place, guard.as_deref(), fill, before))
                .collect();
        }
        let (place, guard) = self.place(layout, index, before);
        let (item, dtype) = (self.name("x"), self.args[arg].dtype);
        let place = match &guard {
            Some(guard) => {
                let _ = writeln!(before, "    let {item}_in = {guard};");
                format!("select(0u, {place}, {item}_in)")
            }
            None => place,
        };
        let _ = writeln!(before, "    let {item} = {}[{place} / {QUAD}u];", self.names[arg]);
        let fill = self.constant(fill, dtype);
        let wide = self.is_wide(arg);
        (0..copies)
            .map(|k| {
                let value = match dtype {
                    DType::F16 | DType::BF16 if wide => {
                        self.half(dtype, &word_of(&item, k / 2), &(k % 2).to_string())
                    }
                    DType::F16 | DType::BF16 => {
                        self.half(dtype, &format!("{item}[{}]", k / 2), &(k % 2).to_string())
                    }
                    _ if wide => {
                        let word = word_of(&format!("{item}[{}]", k / 2), k % 2);
                        match stored(dtype) {
                            "u32" => word,
                            other => format!("bitcast<{other}>({word})"),
                        }
                    }
                    _ => format!("{item}[{k}]"),
                };
                let value = if dtype == DType::Bool { format!("({value} != 0u)") } else { value };
                if guard.is_some() { format!("select({fill}, {value}, {item}_in)") } else { value }
            })
            .collect()
    }

    /// One half of a word as f32; `which` is 0 for the low one, 1 for the high one.
    fn half(&mut self, dtype: DType, word: &str, which: &str) -> String {
        if dtype == DType::F16 && self.own_halves {
            format!("half_value(({word} >> (16u * ({which}))) & 0xffffu)")
        } else if dtype == DType::F16 {
            self.support.insert(BITS, ());
            format!("f16_value(({word} >> (16u * ({which}))) & 0xffffu)")
        } else {
            format!("bitcast<f32>(({word} >> (16u * ({which}))) << 16u)")
        }
    }

    /// A constant of the computed type.
    fn constant(&mut self, value: f64, dtype: DType) -> String {
        match dtype.compute() {
            DType::I32 if value as i32 == i32::MIN => "(-2147483647i - 1i)".into(),
            DType::I32 => format!("{}i", value as i32),
            DType::U32 => format!("{}u", value as u32),
            DType::Bool => (value != 0.0).to_string(),
            _ => self.float(value as f32),
        }
    }

    /// An f32 constant. WGSL has no literals for infinities and NaN, and evaluates bit casts of constants: those
    /// values go through a variable.
    pub fn float(&mut self, value: f32) -> String {
        if value.is_finite() {
            return format!("{value:e}f");
        }
        let bits = value.to_bits();
        self.declarations.insert(format!("var<private> bits_{bits:08x}: u32 = 0x{bits:08x}u;"));
        format!("bitcast<f32>(bits_{bits:08x})")
    }

    /// Place of a linear index under a layout, and the condition under which it is backed by the buffer.
    /// Arithmetic is modulo 2³², so negative strides and offsets need no signs.
    pub fn place(&mut self, layout: &Layout, index: &str, before: &mut String) -> (String, Option<String>) {
        let layout = layout.collapse();
        let word = |x: isize| x as u32;
        let (mut terms, mut guards) = (Vec::new(), Vec::new());
        if layout.offset != 0 {
            terms.push(format!("{}u", word(layout.offset)));
        }
        let mut rest = index.to_string();
        for axis in (0..layout.shape.len()).rev() {
            let (size, stride) = (layout.shape[axis], layout.strides[axis]);
            let bound = layout.bounds.get(axis).copied().filter(|&(lo, hi)| lo > 0 || hi < size);
            let coordinate = if axis == 0 { rest.clone() } else { format!("({rest} % {size}u)") };
            if stride != 0 || bound.is_some() {
                let name = self.name("c");
                let _ = writeln!(before, "    let {name} = {coordinate};");
                match stride {
                    0 => {}
                    1 => terms.push(name.clone()),
                    _ => terms.push(format!("{name} * {}u", word(stride))),
                }
                if let Some((lo, hi)) = bound {
                    guards.push(format!("({name} >= {lo}u && {name} < {hi}u)"));
                }
            }
            if axis > 0 {
                let name = self.name("q");
                let _ = writeln!(before, "    let {name} = {rest} / {size}u;");
                rest = name;
            }
        }
        let place = if terms.is_empty() { "0u".into() } else { terms.join(" + ") };
        let guard = (!guards.is_empty()).then(|| guards.join(" && "));
        (format!("({place})"), guard)
    }

    fn name(&mut self, prefix: &str) -> String {
        self.fresh += 1;
        format!("{prefix}{}", self.fresh)
    }

    /// Reads one element; outside of the guard nothing is read but element 0.
    fn load(
        &mut self,
        arg: usize,
        place: &str,
        guard: Option<&str>,
        fill: f64,
        before: &mut String,
    ) -> String {
        let (buffer, dtype) = (self.names[arg].clone(), self.args[arg].dtype);
        let at = self.name("p");
        match guard {
            Some(guard) => {
                let _ = writeln!(
                    before,
                    "    let {at}_in = {guard};\n    let {at} = select(0u, {place}, {at}_in);"
                );
            }
            None => {
                let _ = writeln!(before, "    let {at} = {place};");
            }
        }
        let value = match dtype {
            DType::Bool => format!("({buffer}[{at}] != 0u)"),
            DType::F16 | DType::BF16 => {
                self.half(dtype, &format!("{buffer}[{at} / 2u]"), &format!("{at} % 2u"))
            }
            _ => format!("{buffer}[{at}]"),
        };
        match guard {
            Some(_) => format!("select({}, {value}, {at}_in)", self.constant(fill, dtype)),
            None => value,
        }
    }

    /// The function of a scalar function at the types of its operands.
    fn function(&mut self, f: &'static ScalarFn, args: &[ValueId]) -> Result<String> {
        if args.len() != f.arity {
            return Err(Error::internal("emit", format!("{} takes {} operands", f.name, f.arity)));
        }
        if !f.support.is_empty() {
            self.support.insert(f.support, ());
        }
        let types: Vec<&str> = args.iter().map(|&a| wgsl(self.types[a])).collect();
        let result = match f.result {
            crate::ResultType::Last => types[types.len() - 1],
            crate::ResultType::Bool => "bool",
            crate::ResultType::F32 => "f32",
            crate::ResultType::U32 => "u32",
        };
        let name = format!("call_{}_{}", f.name, types.join("_"));
        let list: Vec<String> =
            ["a", "b", "c"].iter().zip(&types).map(|(name, ty)| format!("{name}: {ty}")).collect();
        let last = types[types.len() - 1];
        let named = format!("let zero = {last}(0); let one = {last}(1);");
        let (steps, value) = f.wgsl.rsplit_once("; ").unwrap_or(("", f.wgsl));
        let steps = if steps.is_empty() { String::new() } else { format!("{steps}; ") };
        let text = format!("fn {name}({}) -> {result} {{ {named} {steps}return {value}; }}", list.join(", "));
        self.declarations.insert(text);
        Ok(name)
    }

    fn cast(&mut self, x: &str, from: DType, to: DType) -> String {
        let from = from.compute();
        let as_float = match from {
            DType::Bool => format!("select(0.0, 1.0, {x})"),
            DType::I32 | DType::U32 => format!("f32({x})"),
            _ => x.to_string(),
        };
        match to {
            DType::F16 if self.own_halves => format!("half_round({as_float})"),
            DType::F16 | DType::BF16 => {
                self.support.insert(BITS, ());
                format!("round_{to}({as_float})")
            }
            // Adapters hold no others; their kernels are native only.
            DType::F32 | DType::F64 | DType::I64 | DType::I8 | DType::U8 => as_float,
            DType::I32 | DType::U32 if from.is_float() => {
                self.support.insert(BITS, ());
                format!("f32_to_{to}({x})")
            }
            DType::I32 | DType::U32 if from == DType::Bool => {
                format!("select(0{0}, 1{0}, {x})", &to.name()[..1])
            }
            DType::I32 | DType::U32 => format!("{to}({x})"),
            DType::Bool => match from {
                DType::Bool => x.to_string(),
                DType::I32 => format!("({x} != 0i)"),
                DType::U32 => format!("({x} != 0u)"),
                _ => format!("({x} != 0.0)"),
            },
        }
    }

    /// The word that stores a value of a 32-bit dtype.
    fn word(&self, value: &str, arg: usize) -> String {
        if self.args[arg].dtype == DType::Bool {
            format!("select(0u, 1u, {value})")
        } else {
            value.to_string()
        }
    }

    /// Writes a value of a 32-bit dtype at a place.
    pub fn store(&self, value: &str, arg: usize, place: &str) -> String {
        format!("    {}[{place}] = {};\n", self.names[arg], self.word(value, arg))
    }

    /// Writes the four values of an invocation, the first at `index`, a multiple of four. Buffers end on whole fours.
    pub fn store_four(&mut self, store: Store, index: &str) -> String {
        let Store { value, arg } = store;
        let (item, dtype, len) = (self.item(arg), self.args[arg].dtype, self.args[arg].len);
        // What is packed is rounded by that: no value is rounded for it before.
        let value = match self.program.insts[value] {
            Inst::Cast { x, dtype: to } if to == dtype && dtype.is_16bit() && self.types[x].is_float() => x,
            _ => value,
        };
        let mut words: Vec<String> = (0..QUAD).map(|k| self.word(&self.name_of(value, k), arg)).collect();
        if dtype.is_16bit() {
            // The last word may have one half only.
            let half = |k: usize| match len % 2 {
                1 => format!("select(0.0, {}, {index} + {k}u < {len}u)", words[k]),
                _ => words[k].clone(),
            };
            let pairs = [0, 2].map(|k| (words[k].clone(), half(k + 1)));
            words = pairs.iter().map(|(low, high)| self.pack(dtype, low, high)).collect();
        }
        if self.is_wide(arg) {
            let bits = |word: &String| match (dtype.is_16bit(), stored(dtype)) {
                (true, _) | (_, "u32") => word.clone(),
                _ => format!("bitcast<u32>({word})"),
            };
            let pair = |two: &[String]| format!("(u64({}) | (u64({}) << 32u))", bits(&two[0]), bits(&two[1]));
            words = words.chunks(2).map(pair).collect();
        }
        format!("    {}[{index} / {QUAD}u] = {item}({});\n", self.names[arg], words.join(", "))
    }

    /// Two values of a 16-bit dtype as one word.
    fn pack(&mut self, dtype: DType, low: &str, high: &str) -> String {
        if dtype == DType::F16 && self.own_halves {
            return format!("half_pair({low}, {high})");
        }
        self.support.insert(BITS, ());
        if dtype == DType::F16 {
            format!("(f16_bits({low}) | (f16_bits({high}) << 16u))")
        } else {
            format!("(bf16_bits({low}) | (bf16_bits({high}) << 16u))")
        }
    }

    /// How a shader reduces at a type.
    pub fn reducer(&mut self, kind: ReduceKind, dtype: DType) -> Reducer {
        let ty = dtype.compute();
        if kind != ReduceKind::Sum {
            self.support.insert(BITS, ());
        }
        match (kind, ty) {
            (ReduceKind::Sum, DType::I32) => Reducer::new("u32", "0u", "bitcast<u32>", "bitcast<i32>", "sum"),
            (ReduceKind::Sum, DType::U32) => Reducer::new("u32", "0u", "", "", "sum"),
            (ReduceKind::Sum, _) => Reducer::new("f32", "0.0", "", "", "sum"),
            (ReduceKind::Max, DType::I32) => Reducer::new("u32", "0u", "order_i32", "unorder_i32", "max"),
            (ReduceKind::Min, DType::I32) => {
                Reducer::new("u32", "0u", "~order_i32", "unorder_i32", "max").down()
            }
            (ReduceKind::Max, DType::U32 | DType::Bool) => Reducer::new("u32", "0u", "", "", "max"),
            (ReduceKind::Min, DType::U32 | DType::Bool) => Reducer::new("u32", "0u", "~", "", "max").down(),
            (ReduceKind::Max, _) => Reducer::new("u32", "0x007fffffu", "order_f32", "unorder_f32", "max"),
            (ReduceKind::Min, _) => {
                Reducer::new("u32", "0x007fffffu", "order_down_f32", "unorder_down_f32", "max")
            }
        }
    }
}

/// A reduction in shader text: accumulators of type `ty` start as `start`, take `enter(value)` by sum or
/// maximum, and give `leave(accumulator)`. Minima are maxima of complements, so that one way to join lanes
/// serves all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reducer {
    pub ty: &'static str,
    pub start: &'static str,
    enter: &'static str,
    leave: &'static str,
    join: &'static str,
    complement: bool,
}

impl Reducer {
    fn new(
        ty: &'static str,
        start: &'static str,
        enter: &'static str,
        leave: &'static str,
        join: &'static str,
    ) -> Reducer {
        Reducer { ty, start, enter, leave, join, complement: false }
    }

    fn down(self) -> Reducer {
        Reducer { complement: true, ..self }
    }

    /// The accumulator `acc` with one more value.
    pub fn take(&self, acc: &str, value: &str) -> String {
        self.both(acc, &format!("{}({value})", self.enter))
    }

    /// Two accumulators in one.
    pub fn both(&self, a: &str, b: &str) -> String {
        if self.join == "sum" { format!("({a} + {b})") } else { format!("max({a}, {b})") }
    }

    /// The accumulator joined over the lanes that share a row.
    pub fn joined(&self, acc: &str, sharing: Sharing) -> String {
        match sharing {
            Sharing::Alone => acc.into(),
            Sharing::Subgroup(_) if self.join == "sum" => format!("subgroupAdd({acc})"),
            Sharing::Subgroup(_) => format!("subgroupMax({acc})"),
            Sharing::Group(_) => format!("join_{}_{}({acc}, lane)", self.join, self.ty),
        }
    }

    /// The result.
    pub fn result(&self, acc: &str) -> String {
        let tilde = if self.complement { "~" } else { "" };
        format!("{}({tilde}{acc})", self.leave)
    }
}

/// Word 0 or 1 of a 64-bit integer.
fn word_of(integer: &str, which: usize) -> String {
    if which == 0 { format!("u32({integer})") } else { format!("u32({integer} >> 32u)") }
}

/// A run-time scalar of the computed type.
fn scalar(index: usize, dtype: DType) -> String {
    let word = format!("params[{}][{}]", index / 4, index % 4);
    match dtype.compute() {
        DType::U32 => word,
        DType::I32 => format!("bitcast<i32>({word})"),
        DType::Bool => format!("({word} != 0u)"),
        _ => format!("bitcast<f32>({word})"),
    }
}

/// Shader text of an epilogue.
#[derive(Clone, Debug, PartialEq)]
pub struct EpilogueText {
    /// `fn finish(acc: f32, i: u32) { … }`, to replace the one of the shader.
    pub finish: String,
    /// Bindings and functions to append.
    pub declarations: String,
}

/// Writes an epilogue as the function `finish` of a shader that declares its own inputs and, behind them,
/// the f32 buffer `out0`, which must be the first of the epilogue's arguments.
///
/// # Errors
/// [`Error::Internal`] when the first argument is another, or a result is stored in 16 bits.
pub fn emit_epilogue(epilogue: &Epilogue, args: &[Arg]) -> Result<EpilogueText> {
    let first = args.len() - epilogue.args.len();
    let fits = epilogue.args.first().is_some_and(|a| a.access != Access::Read && a.dtype == DType::F32);
    let narrow = epilogue.args.iter().any(|a| a.access != Access::Read && a.dtype.is_16bit());
    if !fits || narrow {
        return Err(Error::internal("emit", "an epilogue must store f32 first and no 16-bit floats"));
    }
    let mut emitter = Emitter::new(&epilogue.program, args, Quads::None, false, &[]);
    emitter.names[first] = "out0".into();
    let mut body = emitter.values_at(epilogue, "i")?;
    for store in &epilogue.program.stores {
        body += &emitter.store(&format!("v{}", store.value), store.arg, "i");
    }
    let mut declarations = emitter.bindings(first + 1, epilogue.scalars.len())?;
    declarations += &emitter.declared();
    Ok(EpilogueText { finish: format!("fn finish(acc: f32, i: u32) {{\n{body}}}"), declarations })
}

/// Shader text of an epilogue of four neighbours.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EpilogueOfFours {
    /// `fn finish_four(acc: vec4<f32>, i: u32, there: u32) { … }`, to replace the one of the shader.
    pub finish_four: String,
    /// Elements of the buffer `out0`.
    pub item: String,
    /// Bindings and functions to append.
    pub declarations: String,
}

/// As [`emit_epilogue`], for results of which four neighbours each are there together and begin at a number that 4 divides.
/// They may be stored in 16 bits; shaders with functions for halves use theirs (`own_halves`).
pub(crate) fn emit_epilogue_of_fours(
    epilogue: &Epilogue,
    args: &[Arg],
    own_halves: bool,
) -> Result<EpilogueOfFours> {
    let first = args.len() - epilogue.args.len();
    if epilogue.args.first().is_none_or(|a| a.access == Access::Read) {
        return Err(Error::internal("emit", "an epilogue must store first"));
    }
    let mut emitter = Emitter::new(&epilogue.program, args, Quads::Full, false, &[]);
    emitter.own_halves = own_halves;
    emitter.names[first] = "out0".into();
    let mut body = emitter.values_at(epilogue, "i")?;
    for &store in &epilogue.program.stores {
        body += &emitter.store_four(store, "i");
    }
    let mut declarations = emitter.bindings(first + 1, epilogue.scalars.len())?;
    declarations += &emitter.declared();
    let finish_four = format!("fn finish_four(acc: vec4<f32>, i: u32, there: u32) {{\n{body}}}");
    Ok(EpilogueOfFours { finish_four, item: emitter.item(first), declarations })
}
