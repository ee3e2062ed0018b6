//! What native products and convolutions share: two operands of one type, and an epilogue over the result.

use std::sync::{Arc, OnceLock};

use vorpal_tensor::{Error, Result};

use crate::interp::{self, Sink, Source};
use crate::tape::Tape;
use crate::{CpuRun, Epilogue, Kernel};

/// A body for one type: operands, then the result to fill.
type Body<'f, T> = &'f dyn Fn(&[T], &[T], &mut [T]) -> Result<()>;

/// How an epilogue runs natively, once it did.
pub(crate) type EpilogueTape = OnceLock<Arc<Tape>>;

/// Runs a kernel whose arguments are two operands and those of its epilogue, over `len` results.
pub(crate) fn contract(
    kernel: &dyn Kernel,
    (epilogue, tape, len): (&Epilogue, &EpilogueTape, usize),
    mut run: CpuRun<'_>,
    single: Body<'_, f32>,
    double: Body<'_, f64>,
) -> Result<()> {
    let (args, scalars) = (kernel.args(), run.scalars);
    let mut arguments = interp::take(&mut run, &args, 0)?;
    let wrong = || Error::internal(kernel.name(), "operands and result must be floats of one dtype");
    let out = arguments.sinks.iter_mut().find(|(k, _)| *k == 2).map(|(_, sink)| sink).ok_or_else(wrong)?;
    match (arguments.sources[0], arguments.sources[1], out) {
        (Some(Source::F32(a)), Some(Source::F32(b)), Sink::F32(out)) => single(a, b, out)?,
        (Some(Source::F64(a)), Some(Source::F64(b)), Sink::F64(out)) => double(a, b, out)?,
        _ => return Err(wrong()),
    }
    if epilogue.program.insts.len() == 1 || len == 0 {
        return Ok(());
    }
    let tape = tape.get_or_init(|| Arc::new(interp::pointwise_tape(&epilogue.program, &args, Some(2))));
    interp::pointwise_on(tape, len, arguments, scalars)
}
