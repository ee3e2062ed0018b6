//! Tensors one behind the other along an axis.

use smallvec::smallvec;
use vorpal_shaders::{JOIN, Linker, Shader};
use vorpal_tensor::{DType, Error, Result};

use crate::interp::for_each;
use crate::quads::QUAD;
use crate::starts::{rebased, start_of};
use crate::{Arg, Cost, CpuArg, CpuRun, Kernel, Rebased, Starts, Stretch, spread};

/// Bytes of a task at least: some five microseconds.
const TASK: usize = 1 << 16;

/// One of the tensors that are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The next operand.
    Operand {
        /// Elements in front of its first one.
        offset: usize,
        /// Elements of the axis and behind it.
        len: usize,
    },
    /// Nothing but zeros.
    Zeros {
        /// Elements of the axis and behind it.
        len: usize,
    },
}

impl Joined {
    fn len(self) -> usize {
        match self {
            Joined::Operand { len, .. } | Joined::Zeros { len } => len,
        }
    }
}

/// `[outer, a + b + …]` from `[outer, a]`, `[outer, b]`, …, of any type.
#[derive(Clone, Debug)]
pub struct Join {
    dtype: DType,
    outer: usize,
    parts: Vec<Joined>,
}

impl Join {
    /// Joins parts of `outer` stretches each.
    pub fn new(dtype: DType, outer: usize, parts: Vec<Joined>) -> Join {
        Join { dtype, outer, parts }
    }

    /// Whether adapters can do it, too: they move whole words of 32 bits.
    pub fn has_shader(&self) -> bool {
        self.width().is_some()
    }

    /// Words that an invocation of a shader moves, if they are whole.
    fn width(&self) -> Option<usize> {
        let whole = |words: usize| {
            let aligned = |elements: usize| (elements * self.dtype.size()).is_multiple_of(4 * words);
            self.parts.iter().all(|part| match *part {
                Joined::Operand { offset, len } => aligned(offset) && aligned(len),
                Joined::Zeros { len } => aligned(len),
            })
        };
        [QUAD, 1].into_iter().find(|&words| whole(words))
    }

    /// Elements of a stretch of the result.
    fn stretch(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

/// The stretches `first..` of parts whose elements take `size` bytes, as far as there is room for them.
fn copy(parts: &[Joined], sources: &[Option<&[u8]>], size: usize, first: usize, out: &mut [u8]) {
    let mut rest = out;
    let mut row = first;
    while !rest.is_empty() {
        for (part, source) in parts.iter().zip(sources) {
            let bytes = part.len() * size;
            let here;
            (here, rest) = rest.split_at_mut(bytes);
            match source {
                Some(source) => here.copy_from_slice(&source[row * bytes..][..bytes]),
                None => here.fill(0),
            }
        }
        row += 1;
    }
}

impl Kernel for Join {
    fn name(&self) -> &'static str {
        "join"
    }

    fn describe(&self) -> String {
        format!("join {} × {} parts {}", self.outer, self.parts.len(), self.dtype)
    }

    fn args(&self) -> Vec<Arg> {
        let operand = |part: &Joined| match *part {
            Joined::Operand { offset, len } => Some(Arg::read(self.dtype, offset + self.outer * len)),
            Joined::Zeros { .. } => None,
        };
        let result = Arg::write(self.dtype, self.outer * self.stretch());
        self.parts.iter().filter_map(operand).chain([result]).collect()
    }

    fn shader(&self) -> Result<Shader> {
        let refuse = || Error::internal("join", format!("{} has no shader", self.describe()));
        let width = self.width().ok_or_else(refuse)?;
        let item = if width == QUAD { "vec4<u32>" } else { "u32" };
        let units = |elements: usize| elements * self.dtype.size() / (4 * width);
        let (mut declared, mut body) = (String::new(), String::new());
        let declare = |binding: usize, access: &str, name: &str| {
            format!("@group(0) @binding({binding}) var<storage, {access}> {name}: array<{item}>;\n")
        };
        let (mut binding, mut start) = (0, 0);
        for (k, part) in self.parts.iter().enumerate() {
            let (len, end) = (units(part.len()), start + units(part.len()));
            let value = match *part {
                Joined::Zeros { .. } => format!("{item}()"),
                Joined::Operand { offset, .. } => {
                    let name = format!("b{binding}");
                    declared += &declare(binding, "read", &name);
                    binding += 1;
                    format!("{name}[{}u + row * {len}u + column - {start}u]", units(offset))
                }
            };
            // What lies behind all others needs no question.
            let asked = if k + 1 < self.parts.len() { format!("if column < {end}u ") } else { String::new() };
            let other = if k > 0 { " else " } else { "    " };
            body += &format!("{other}{asked}{{\n        out[at] = {value};\n    }}");
            start = end;
        }
        declared += &declare(binding, "read_write", "out");
        let place = format!("fn place(at: u32, row: u32, column: u32) {{\n{body}\n}}");
        let linker = Linker::new(JOIN).replace("place", &place).map_err(|e| Error::internal("join", e))?;
        let stretch = units(self.stretch());
        Ok(linker
            .append(&declared)
            .constant("COUNT", self.outer * stretch)
            .constant("STRETCH", stretch.max(1))
            .finish())
    }

    fn groups(&self) -> [u32; 3] {
        let width = self.width().unwrap_or(1);
        spread((self.outer * self.stretch() * self.dtype.size()).div_ceil(4 * width).div_ceil(64))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        let size = self.dtype.size();
        let wrong = || Error::internal("join", "an operand is not what the kernel asked for");
        let (mut sources, mut k) = (Vec::with_capacity(self.parts.len()), 0);
        for part in &self.parts {
            sources.push(match *part {
                Joined::Zeros { .. } => None,
                Joined::Operand { offset, len } => {
                    let Some(CpuArg::Read(bytes)) = run.take(k) else { return Err(wrong()) };
                    k += 1;
                    Some(bytes.get(offset * size..(offset + self.outer * len) * size).ok_or_else(wrong)?)
                }
            });
        }
        let Some(CpuArg::Write(out)) = run.take(k) else { return Err(wrong()) };
        let stretch = self.stretch() * size;
        let out = out.get_mut(..self.outer * stretch).ok_or_else(wrong)?;
        if out.is_empty() {
            return Ok(());
        }
        if self.outer > 1 {
            let rows = TASK.div_ceil(stretch);
            let tasks = out.chunks_mut(rows * stretch).enumerate().collect();
            return for_each(tasks, |(task, out): (usize, &mut [u8])| {
                copy(&self.parts, &sources, size, task * rows, out);
                Ok(())
            });
        }
        // One stretch: parts are shared out.
        let (mut tasks, mut rest) = (Vec::new(), out);
        let (mut first, mut bytes) = (0, 0);
        for (k, part) in self.parts.iter().enumerate() {
            bytes += part.len() * size;
            if bytes >= TASK || k + 1 == self.parts.len() {
                let here;
                (here, rest) = rest.split_at_mut(bytes);
                tasks.push((first..k + 1, here));
                (first, bytes) = (k + 1, 0);
            }
        }
        for_each(tasks, |(parts, out): (std::ops::Range<usize>, &mut [u8])| {
            copy(&self.parts[parts.clone()], &sources[parts], size, 0, out);
            Ok(())
        })
    }

    fn cost(&self) -> Cost {
        let bytes: usize = self.args().iter().map(Arg::traffic_bytes).sum();
        Cost { flops: 0, bytes: bytes as u64 }
    }

    fn copies(&self) -> Option<Vec<Stretch>> {
        let (mut out, mut start) = (Vec::with_capacity(self.parts.len()), 0);
        for part in &self.parts {
            let Joined::Operand { offset: 0, len } = *part else { return None };
            out.push(Stretch { start, run: len, pitch: self.stretch() });
            start += len;
        }
        Some(out)
    }

    fn rebased(&self) -> Option<Rebased> {
        let (mut moved, args) = (self.clone(), self.args());
        let mut starts: Starts = smallvec![0; args.len()];
        let operands = moved.parts.iter_mut().filter_map(|part| match part {
            Joined::Operand { offset, .. } => Some(offset),
            Joined::Zeros { .. } => None,
        });
        for ((offset, arg), start) in operands.zip(&args).zip(&mut starts) {
            *start = start_of(arg, *offset);
            *offset -= *start;
        }
        rebased(moved, starts)
    }
}
