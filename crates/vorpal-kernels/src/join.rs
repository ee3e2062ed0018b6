//! Tensors one behind the other along an axis, by native code: more than the bindings of a shader hold.

use vorpal_shaders::Shader;
use vorpal_tensor::{DType, Error, Result};

use crate::interp::for_each;
use crate::{Arg, Cost, CpuArg, CpuRun, Kernel};

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
        Err(Error::internal("join", "shaders join by selection"))
    }

    fn groups(&self) -> [u32; 3] {
        [0, 0, 0]
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
        if stretch == 0 {
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
}
