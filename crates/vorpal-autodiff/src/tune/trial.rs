//! One kernel's variants side by side: the same data for all, results compared before times count.

use std::sync::Arc;
use std::time::Duration;

use half::{bf16, f16};
use vorpal_kernels::{Access, Arg, Kernel, Starts};
use vorpal_tensor::{Buffer, DType, Device, Replay, Result};

use crate::compile::plan::{Launch, Place, Plan};
use crate::exec;

/// Times a variant is run at most, and at least unless it is slow and far behind.
const RUNS: usize = 7;
const RUNS_MIN: usize = 2;

/// Time after which a variant has been run often enough. On a busy machine a single run may wait for ten milliseconds.
const TIME_PER_VARIANT: Duration = Duration::from_millis(60);

/// A first run that took so long counts itself, although it may have compiled something.
const SLOW: Duration = Duration::from_secs(1);

/// A variant replaces the default only if it takes less than this share of its time: clocks are noisy.
const GAIN: f64 = 0.97;

/// Values that stand for a run-time scalar: neither zero nor one, so that what it scales is not lost.
const SCALAR: f32 = 0.75;

/// What became of a variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Right, and so fast: the shortest of several runs.
    Took(Duration),
    /// It gives other results than the default; the message says where.
    Wrong(String),
    /// It could not be compiled or run here.
    Failed(String),
    /// There was no time for it.
    Untried,
}

/// A variant of a kernel and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The variant in one line.
    pub kernel: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What was found out about one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The default first, then its variants.
    pub candidates: Vec<Candidate>,
    /// Which of them is used from now on.
    pub chosen: usize,
}

impl Trial {
    /// Time of a candidate that gave the right results.
    pub fn time(&self, index: usize) -> Option<Duration> {
        match self.candidates.get(index)?.outcome {
            Outcome::Took(time) => Some(time),
            _ => None,
        }
    }

    /// Whether all variants were tried.
    pub fn is_complete(&self) -> bool {
        self.candidates.iter().all(|c| c.outcome != Outcome::Untried)
    }
}

/// Whether a variant can stand in a plan where the default stood.
pub fn fits(kernel: &dyn Kernel, variant: &dyn Kernel) -> bool {
    variant.args() == kernel.args()
        && variant.scalars() == kernel.scalars()
        && variant.checks_indices() == kernel.checks_indices()
}

/// Runs a kernel and its variants on a device. `more` tells before each variant whether there is still time for it.
///
/// # Errors
/// What the device gives for the default kernel.
pub fn compare(
    device: &Device,
    kernel: &Arc<dyn Kernel>,
    variants: &[Arc<dyn Kernel>],
    more: &mut dyn FnMut() -> bool,
) -> Result<Trial> {
    let stage = Stage::new(device, kernel.as_ref())?;
    let mut replay = stage.prepare(kernel)?;
    let (first, expected) = stage.results(&mut replay)?;
    let best = stage.time(&mut replay, first, Duration::MAX)?;
    let mut trial = Trial {
        candidates: vec![Candidate { kernel: kernel.describe(), outcome: Outcome::Took(best) }],
        chosen: 0,
    };
    let mut shortest = best.mul_f64(GAIN);
    for variant in variants {
        let outcome = if more() {
            stage.outcome(variant, &expected, kernel.as_ref(), shortest)
        } else {
            Outcome::Untried
        };
        if let Outcome::Took(time) = outcome
            && time < shortest
        {
            (shortest, trial.chosen) = (time, trial.candidates.len());
        }
        trial.candidates.push(Candidate { kernel: variant.describe(), outcome });
    }
    Ok(trial)
}

/// Whether a variant has been run often enough after so many runs of so long together.
fn is_enough(runs: usize, shortest: Duration, spent: Duration, limit: Duration) -> bool {
    let hopeless = shortest / 2 > limit;
    spent > TIME_PER_VARIANT && (hopeless || runs >= RUNS_MIN)
}

/// Buffers with the same content for every variant.
struct Stage<'a> {
    device: &'a Device,
    args: Vec<Arg>,
    /// What lies in each buffer before a run.
    before: Vec<Vec<u8>>,
    buffers: Vec<Buffer>,
    params: Vec<u8>,
}

impl<'a> Stage<'a> {
    fn new(device: &'a Device, kernel: &dyn Kernel) -> Result<Stage<'a>> {
        let args = kernel.args();
        let bytes: usize = args.iter().map(|a| a.dtype.bytes(a.len)).sum();
        device.check_room(bytes as u64)?;
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let before: Vec<Vec<u8>> = args.iter().map(|arg| content(arg, &mut random)).collect();
        let buffers = before.iter().map(|bytes| device.upload(bytes)).collect::<Result<_>>()?;
        Ok(Stage { device, args, before, buffers, params: params(kernel) })
    }

    /// The kernel as a plan of its own.
    fn prepare(&self, kernel: &Arc<dyn Kernel>) -> Result<Replay> {
        let launch = Launch {
            kernel: kernel.clone(),
            buffers: (0..self.args.len()).map(Place::Input).collect(),
            starts: Starts::new(),
            scalars: Vec::new(),
            origin: None,
        };
        exec::replay(self.device, &Plan { launches: vec![launch], ..Plan::default() })
    }

    /// Runs once from the beginning and gives the time and what was written.
    fn results(&self, replay: &mut Replay) -> Result<(Duration, Vec<Vec<u8>>)> {
        let written = |k: &usize| self.args[*k].access != Access::Read;
        for k in (0..self.args.len()).filter(written) {
            self.buffers[k].fill(&self.before[k])?;
        }
        let time = replay.run_timed(&self.buffers, &[], &self.params)?.iter().sum();
        let bytes = (0..self.args.len()).filter(written).map(|k| self.buffers[k].download());
        Ok((time, bytes.collect::<Result<_>>()?))
    }

    /// The shortest of several runs after the first one, given up where `limit` is out of reach.
    fn time(&self, replay: &mut Replay, first: Duration, limit: Duration) -> Result<Duration> {
        if first > SLOW {
            return Ok(first);
        }
        let (mut shortest, mut spent) = (Duration::MAX, Duration::ZERO);
        for run in 0..RUNS {
            let time = replay.run_timed(&self.buffers, &[], &self.params)?.iter().sum();
            shortest = shortest.min(time);
            spent += time;
            if is_enough(run + 1, shortest, spent, limit) {
                break;
            }
        }
        Ok(shortest)
    }

    fn outcome(
        &self,
        variant: &Arc<dyn Kernel>,
        expected: &[Vec<u8>],
        kernel: &dyn Kernel,
        limit: Duration,
    ) -> Outcome {
        let tried = || {
            let mut replay = self.prepare(variant)?;
            let (first, found) = self.results(&mut replay)?;
            if let Some(message) = self.difference(&found, expected, kernel) {
                return Ok(Outcome::Wrong(message));
            }
            Ok(Outcome::Took(self.time(&mut replay, first, limit)?))
        };
        tried().unwrap_or_else(|error: vorpal_tensor::Error| Outcome::Failed(error.to_string()))
    }

    /// Where results differ by more than the order of summation explains.
    fn difference(&self, found: &[Vec<u8>], expected: &[Vec<u8>], kernel: &dyn Kernel) -> Option<String> {
        let written = self.args.iter().filter(|a| a.access != Access::Read);
        let elements = written.clone().map(|a| a.len).max().unwrap_or(1).max(1);
        // Each result is a sum of about half as many terms as it takes operations.
        let terms = (kernel.cost().flops as f64 / elements as f64).max(1.0);
        for ((arg, found), expected) in written.zip(found).zip(expected) {
            if let Some(place) = differs(arg, found, expected, terms) {
                return Some(format!("element {place} of {} {} differs", arg.len, arg.dtype));
            }
        }
        None
    }
}

/// The first element that is not what it should be.
fn differs(arg: &Arg, found: &[u8], expected: &[u8], terms: f64) -> Option<usize> {
    let (found, expected) = match (floats(arg, found), floats(arg, expected)) {
        (Some(found), Some(expected)) => (found, expected),
        // Whole numbers and truth values must be the same.
        _ => return (0..found.len()).find(|&k| found[k] != expected[k]).map(|k| k / arg.dtype.size()),
    };
    let finite = expected.iter().filter(|x| x.is_finite());
    let (squares, count) = finite.fold((0.0, 0.0f64), |(s, n), &x| (s + f64::from(x).powi(2), n + 1.0));
    let scale = (squares / count.max(1.0)).sqrt();
    // What is stored is rounded once more.
    let storage = match arg.dtype {
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => 0.0,
    };
    let close = |(&x, &y): (&f32, &f32)| {
        let (x, y) = (f64::from(x), f64::from(y));
        let bound = (16.0 * f64::from(f32::EPSILON) * terms.sqrt() + storage) * (y.abs() + scale);
        x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= bound
    };
    found.iter().zip(&expected).position(|pair| !close(pair))
}

/// The elements of a float argument.
fn floats(arg: &Arg, bytes: &[u8]) -> Option<Vec<f32>> {
    let words = |size: usize| bytes.chunks_exact(size).take(arg.len);
    Some(match arg.dtype {
        DType::F32 => words(4).map(bytemuck::pod_read_unaligned).collect(),
        DType::F16 => words(2).map(|b| bytemuck::pod_read_unaligned::<f16>(b).to_f32()).collect(),
        DType::BF16 => words(2).map(|b| bytemuck::pod_read_unaligned::<bf16>(b).to_f32()).collect(),
        _ => return None,
    })
}

/// What lies in a buffer before a run: random floats between -1 and 1, numbers that index anything, and in what is
/// only written a pattern that no kernel leaves behind.
fn content(arg: &Arg, random: &mut Random) -> Vec<u8> {
    let bytes = arg.dtype.bytes(arg.len);
    if arg.access == Access::Write {
        return vec![0xff; bytes];
    }
    let mut out = Vec::with_capacity(bytes);
    match arg.dtype {
        DType::F32 => (0..arg.len).for_each(|_| out.extend(random.next().to_le_bytes())),
        DType::F16 => (0..arg.len).for_each(|_| out.extend(f16::from_f32(random.next()).to_le_bytes())),
        DType::BF16 => (0..arg.len).for_each(|_| out.extend(bf16::from_f32(random.next()).to_le_bytes())),
        DType::Bool => (0..arg.len).for_each(|_| out.extend(u32::from(random.next() > 0.0).to_le_bytes())),
        _ => {}
    }
    out.resize(bytes, 0);
    out
}

/// A block of run-time scalars; the code to blame an op with is zero, which blames none.
fn params(kernel: &dyn Kernel) -> Vec<u8> {
    let scalars = kernel.scalars();
    if scalars.is_empty() {
        return Vec::new();
    }
    let values = scalars.len() - usize::from(kernel.checks_indices());
    let mut out = vec![0; vorpal_tensor::PARAMS_BYTES];
    for (k, dtype) in scalars.iter().enumerate().take(values) {
        let word = if dtype.is_float() { SCALAR.to_bits() } else { 1 };
        out[4 * k..4 * k + 4].copy_from_slice(&word.to_le_bytes());
    }
    out
}

/// Numbers between -1 and 1, the same every time (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of sums of `terms` random products each, added up in order or backwards, some terms left out.
    fn sums(count: usize, terms: usize, backwards: bool, left_out: usize) -> Vec<u8> {
        let mut random = Random(7);
        let mut out = Vec::new();
        for _ in 0..count {
            let mut products: Vec<f32> = (0..terms).map(|_| random.next() * random.next()).collect();
            products.truncate(terms - left_out);
            let add = |sum: f32, x: &f32| sum + x;
            let sum =
                if backwards { products.iter().rev().fold(0.0, add) } else { products.iter().fold(0.0, add) };
            out.extend(sum.to_le_bytes());
        }
        out
    }

    #[test]
    fn another_order_is_right_and_a_missing_term_is_wrong() {
        for terms in [1, 7, 1024, 16_384] {
            let arg = Arg::write(DType::F32, 64);
            let differs = |found: &[u8]| differs(&arg, found, &sums(64, terms, false, 0), 2.0 * terms as f64);
            assert_eq!(differs(&sums(64, terms, true, 0)), None, "{terms}");
            assert!(differs(&sums(64, terms, true, 1)).is_some(), "{terms}");
        }
    }

    #[test]
    fn one_run_that_had_to_wait_decides_nothing() {
        let (limit, ms) = (Duration::from_millis(1), Duration::from_millis);
        assert!(!is_enough(1, ms(12), ms(12), limit) && !is_enough(4, ms(12), ms(60), limit));
        assert!(is_enough(5, ms(12), ms(72), limit) && is_enough(1, ms(70), ms(70), limit));
        assert!(!is_enough(1, ms(70), ms(70), ms(60)) && is_enough(2, ms(70), ms(140), ms(60)));
    }

    #[test]
    fn what_was_never_written_is_wrong() {
        let arg = Arg::write(DType::F32, 3);
        let bytes = |values: [f32; 3]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let expected = bytes([1.0, f32::NAN, f32::INFINITY]);
        assert_eq!(differs(&arg, &expected, &expected, 1.0), None);
        let unwritten = content(&arg, &mut Random(1));
        assert_eq!(differs(&arg, &unwritten, &expected, 1.0), Some(0));
        let numbers = Arg::write(DType::I32, 3);
        let (a, b) = (bytes([1.0, 2.0, 3.0]), bytes([1.0, 2.0, 4.0]));
        assert_eq!(differs(&numbers, &a, &b, 1e9), Some(2));
    }
}
