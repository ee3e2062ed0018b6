//! Fused pointwise expressions.

use std::sync::{Arc, OnceLock};

use vorpal_shaders::{Linker, POINTWISE, Shader};
use vorpal_tensor::{DType, Error, Result};

use crate::emit::Emitter;
use crate::tape::Tape;
use crate::{Access, Arg, Cost, CpuRun, Domain, Kernel, Program, interp, spread};

/// Evaluates a [`Program`] without reductions for every element of its outputs, which all have `len`
/// elements.
#[derive(Clone, Debug)]
pub struct Pointwise {
    program: Program,
    args: Vec<Arg>,
    scalars: Vec<DType>,
    len: usize,
    /// How it runs natively, once it did.
    tape: OnceLock<Arc<Tape>>,
}

impl Pointwise {
    /// A kernel from a program, the buffers it names and its run-time scalars.
    pub fn new(program: Program, args: Vec<Arg>, scalars: Vec<DType>, len: usize) -> Pointwise {
        Pointwise { program, args, scalars, len, tape: OnceLock::new() }
    }

    /// Whether results are stored in 16 bits, so that an invocation makes a whole word.
    fn pairs(&self) -> bool {
        self.program.stores.iter().any(|s| self.args[s.arg].dtype.is_16bit())
    }

    fn element(&self) -> Result<(String, String)> {
        let mut emitter = Emitter::new(&self.program, &self.args);
        let mut body = String::new();
        for v in 0..self.program.insts.len() {
            body += &emitter.value(v, |_| "i".into())?;
        }
        let mut declared = String::new();
        let element = if self.pairs() {
            // Both halves of a word are computed, then packed; the last word may have one half only.
            let fields: Vec<String> = (self.program.stores.iter().enumerate())
                .map(|(k, s)| format!("r{k}: {}", emitter.type_of(s.value)))
                .collect();
            let results: Vec<String> = self.program.stores.iter().map(|s| format!("v{}", s.value)).collect();
            declared = format!(
                "struct Results {{ {} }}\nfn evaluate(i: u32) -> Results {{\n{body}    return Results({});\n}}\n",
                fields.join(", "),
                results.join(", ")
            );
            let last = self.len - 1;
            let mut stores = String::new();
            for (k, store) in self.program.stores.iter().enumerate() {
                let dtype = self.args[store.arg].dtype;
                if dtype.is_16bit() {
                    let high = format!("select(0.0, high.r{k}, i * 2u < {last}u)");
                    let word = emitter.pack(dtype, &format!("low.r{k}"), &high);
                    stores += &format!("    {}[i] = {word};\n", emitter.buffer(store.arg));
                } else {
                    stores += &emitter.store(&format!("low.r{k}"), store.arg, "i * 2u");
                    let second = emitter.store(&format!("high.r{k}"), store.arg, "i * 2u + 1u");
                    stores += &format!("    if i * 2u < {last}u {{\n    {second}    }}\n");
                }
            }
            format!(
                "fn element(i: u32) {{\n    let low = evaluate(i * 2u);\n    let high = evaluate(min(i * 2u + 1u, \
                 {last}u));\n{stores}}}"
            )
        } else {
            for store in &self.program.stores {
                body += &emitter.store(&format!("v{}", store.value), store.arg, "i");
            }
            format!("fn element(i: u32) {{\n{body}}}")
        };
        let bindings = emitter.bindings(0, self.scalars.len())?;
        Ok((element, bindings + &emitter.declared() + &declared))
    }

    fn invocations(&self) -> usize {
        if self.pairs() { self.len.div_ceil(2) } else { self.len }
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
        let tape =
            self.tape.get_or_init(|| Arc::new(interp::pointwise_tape(&self.program, &self.args, None)));
        interp::pointwise(tape, &self.args, self.len, &mut run)
    }

    fn cost(&self) -> Cost {
        let bytes: usize = self.args.iter().map(Arg::traffic_bytes).sum();
        Cost { flops: self.program.flops() * self.len as u64, bytes: bytes as u64 }
    }

    fn in_place(&self, input: usize, output: usize) -> Option<Arc<dyn Kernel>> {
        merged(&self.program, &self.args, self.len, input, output).map(|(program, args)| {
            Arc::new(Pointwise::new(program, args, self.scalars.clone(), self.len)) as Arc<dyn Kernel>
        })
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
