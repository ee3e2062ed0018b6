//! Fused pointwise expressions.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use vorpal_shaders::{Linker, POINTWISE, Shader};
use vorpal_tensor::{DType, Error, Layout, Result};

use crate::emit::Emitter;
use crate::parts::parts;
use crate::quads::{QUAD, Quads};
use crate::starts::rebased;
use crate::tape::Tape;
use crate::{
    Abilities, Access, Arg, Cost, CpuRun, Domain, Inst, Kernel, Part, Program, Rebased, Store, Stretch,
    interp, spread,
};

/// Elements below which four at a time are not worth a longer shader.
const LEN_MIN: usize = 1 << 12;

/// Floating point operations of an element above which reading and writing it is not what takes time.
const FLOPS_MAX: u64 = 96;

/// The tapes of the parts of a program, each with its elements.
type Tapes = Vec<(Range<usize>, Tape)>;

/// Evaluates a [`Program`] without reductions for every element of its outputs, which all have `len`
/// elements.
#[derive(Clone, Debug)]
pub struct Pointwise {
    program: Program,
    args: Vec<Arg>,
    scalars: Vec<DType>,
    len: usize,
    /// Where results lie that are parts of a larger one, by store.
    stretches: Vec<Option<Stretch>>,
    /// How it runs natively, once it did.
    tapes: OnceLock<Arc<Tapes>>,
    abilities: Abilities,
}

/// Whether a program over `len` elements is to evaluate four in one invocation.
pub(crate) fn worth_four(program: &Program, len: usize) -> bool {
    len >= LEN_MIN && program.flops() <= FLOPS_MAX
}

impl Pointwise {
    /// A kernel from a program, the buffers it names and its run-time scalars.
    pub fn new(program: Program, args: Vec<Arg>, scalars: Vec<DType>, len: usize) -> Pointwise {
        Pointwise {
            stretches: vec![None; program.stores.len()],
            program,
            args,
            scalars,
            len,
            abilities: Abilities::default(),
            tapes: OnceLock::new(),
        }
    }

    /// The same for devices with certain abilities.
    #[must_use]
    pub fn with_abilities(self, abilities: Abilities) -> Pointwise {
        Pointwise { abilities, ..self }
    }

    /// Whether an invocation evaluates four elements: where there are enough of them, and always where results are
    /// stored in 16 bits, so that it makes whole words.
    fn quads(&self) -> Quads {
        let pairs = self.program.stores.iter().any(|s| self.args[s.arg].dtype.is_16bit());
        if pairs || worth_four(&self.program, self.len) { Quads::Full } else { Quads::None }
    }

    fn element(&self) -> Result<(String, String)> {
        let quads = self.quads();
        let mut emitter = Emitter::new(&self.program, &self.args, quads, self.abilities.words64, &[]);
        let mut body = String::new();
        if quads == Quads::Full {
            body += &format!("    let i = at * {QUAD}u;\n");
        }
        for v in 0..self.program.insts.len() {
            body += &emitter.value(v, |_| if quads == Quads::Full { "i" } else { "at" }.into())?;
        }
        let index = if quads == Quads::Full { "i" } else { "at" };
        for (&store, stretch) in self.program.stores.iter().zip(&self.stretches) {
            let place = match stretch {
                None => index.to_string(),
                Some(Stretch { start, run, pitch }) => {
                    format!("({start}u + {index} / {run}u * {pitch}u + {index} % {run}u)")
                }
            };
            body += &match quads {
                Quads::Full => emitter.store_four(store, &place),
                _ => emitter.store(&format!("v{}", store.value), store.arg, &place),
            };
        }
        let bindings = emitter.bindings(0, self.scalars.len())?;
        Ok((format!("fn element(at: u32) {{\n{body}}}"), bindings + &emitter.declared()))
    }

    fn invocations(&self) -> usize {
        if self.quads() == Quads::Full { self.len.div_ceil(QUAD) } else { self.len }
    }
}

impl Kernel for Pointwise {
    fn name(&self) -> &'static str {
        "pointwise"
    }

    fn describe(&self) -> String {
        format!("pointwise of {} values over {} elements", self.program.insts.len(), self.len)
    }

    fn args(&self) -> Vec<Arg> {
        self.args.clone()
    }

    fn scalars(&self) -> Vec<DType> {
        self.scalars.clone()
    }

    fn shader(&self) -> Result<Shader> {
        if self.len == 0 {
            return Ok(Linker::new(POINTWISE).finish());
        }
        let (element, declarations) = self.element()?;
        let linker = Linker::new(POINTWISE)
            .replace("element", &element)
            .map_err(|message| Error::internal("pointwise", message))?;
        Ok(linker.append(&declarations).constant("COUNT", self.invocations()).finish())
    }

    fn groups(&self) -> [u32; 3] {
        spread(self.invocations().div_ceil(64))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.stretches.iter().any(Option::is_some) {
            return Err(Error::internal("pointwise", "results in stretches are for adapters"));
        }
        let tape = |(range, program): (Range<usize>, Program)| {
            (range, interp::pointwise_tape(&program, &self.args, None))
        };
        let tapes = self
            .tapes
            .get_or_init(|| Arc::new(parts(&self.program, self.len).into_iter().map(tape).collect()));
        interp::pointwise(tapes, &self.args, &mut run)
    }

    fn cost(&self) -> Cost {
        let bytes: usize = self.args.iter().map(Arg::traffic_bytes).sum();
        Cost { flops: self.program.flops() * self.len as u64, bytes: bytes as u64 }
    }

    fn in_place(&self, input: usize, output: usize) -> Option<Arc<dyn Kernel>> {
        merged(&self.program, &self.args, self.len, input, output).map(|(program, args)| {
            Arc::new(Pointwise { program, args, tapes: OnceLock::new(), ..self.clone() }) as Arc<dyn Kernel>
        })
    }

    fn scattered(&self, parts: &[(Part, Stretch)], joined: Arg) -> Option<Arc<dyn Kernel>> {
        let whole = |x: usize| self.quads() == Quads::None || x.is_multiple_of(QUAD);
        let fits = |&(part, Stretch { start, run, pitch }): &(Part, Stretch)| {
            let own = match part {
                Part::Moved(arg) | Part::Copied(arg) => self.args.get(arg),
                Part::There => Some(&joined),
            };
            let stored = |own: &Arg| own.access == Access::Write && own.dtype == joined.dtype;
            own.is_some_and(stored)
                && joined.len * run == self.len * pitch
                && [start, run, pitch].into_iter().all(whole)
        };
        if !parts.iter().all(fits) {
            return None;
        }
        let moved = |arg: usize| parts.iter().any(|part| part.0 == Part::Moved(arg));
        let place = |arg: usize| arg - (0..arg).filter(|&k| moved(k)).count();
        let mut out = Pointwise { tapes: OnceLock::new(), ..self.clone() };
        out.args = (0..self.args.len()).filter(|&k| !moved(k)).map(|k| self.args[k].clone()).collect();
        out.program.renumber(place);
        let known = out.program.stores.iter().zip(&self.stretches).zip(&self.program.stores);
        let kept = known.filter(|(_, before)| !moved(before.arg));
        let kept = kept.map(|((&store, &stretch), _)| (store, stretch));
        let (mut stores, mut added): (Vec<_>, Vec<_>) = (kept.collect(), Vec::new());
        for &(part, stretch) in parts {
            let value = match part {
                Part::Moved(arg) | Part::Copied(arg) => {
                    self.program.stores.iter().find(|store| store.arg == arg)?.value
                }
                Part::There => {
                    let (arg, layout) = (out.args.len(), Layout::contiguous([self.len]));
                    out.args.push(Arg::read(joined.dtype, self.len));
                    out.program.insts.push(Inst::Load { arg, layout, fill: 0.0, domain: Domain::Full });
                    out.program.insts.len() - 1
                }
            };
            added.push((value, stretch));
        }
        let arg = out.args.len();
        out.args.push(joined);
        stores.extend(added.into_iter().map(|(value, stretch)| (Store { value, arg }, Some(stretch))));
        (out.program.stores, out.stretches) = stores.into_iter().unzip();
        Some(Arc::new(out))
    }

    fn rebased(&self) -> Option<Rebased> {
        let mut moved = Pointwise { tapes: OnceLock::new(), ..self.clone() };
        let starts = moved.program.rebase(&mut moved.args);
        rebased(moved, starts)
    }
}

/// A program and its arguments with an input read through an output of the same elements, or `None` where
/// some element would be read after it was overwritten.
pub(crate) fn merged(
    program: &Program,
    args: &[Arg],
    len: usize,
    input: usize,
    output: usize,
) -> Option<(Program, Vec<Arg>)> {
    let (from, to) = (args.get(input)?, args.get(output)?);
    let stored = program.stores.iter().find(|s| s.arg == output)?;
    let fits = from.access == Access::Read
        && to.access == Access::Write
        && from.dtype == to.dtype
        && from.len == to.len
        && to.len == len
        && program.domains()[stored.value] == Domain::Full
        && program.reads_in_place(input, len);
    if !fits {
        return None;
    }
    let (mut program, mut args) = (program.clone(), args.to_vec());
    program.merge_args(input, output);
    args[output].access = Access::ReadWrite;
    args.remove(input);
    Some((program, args))
}
