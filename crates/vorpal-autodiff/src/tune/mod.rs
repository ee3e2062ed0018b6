//! Tuning: which variant of a kernel is the fastest on this adapter, measured and remembered.
//!
//! A kernel that can be done in several ways says so ([`Kernel::variants`]). Without measurements the choice follows
//! from the kind of the device. What [`tune`] measures is remembered on disk by adapter, driver and the text of the
//! shader, and used by every plan compiled from then on; [`Tuning`] says what else `VORPAL_TUNE` can ask for. A
//! variant's results are compared with the default's before its time counts: a kernel that stops early is fast and wrong.
//!
//! Variants add in different orders, so a choice may change the last bits of results, as another adapter would. Between
//! two tunings a machine gives the same bits. A browser has neither a clock for kernels nor a disk, and no tuning.

mod table;
mod trial;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vorpal_kernels::Kernel;
use vorpal_tensor::{Device, Result};

pub use table::Choice;
pub use trial::{Candidate, Outcome, Trial};

use crate::compile::plan::Plan;
use crate::{Tensors, exec};
use table::{Table, signature, tables};

/// What `VORPAL_TUNE` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// `off`: every device gets the defaults of its kind.
    Off,
    /// Anything else: what is remembered is used, and nothing is measured.
    Remembered,
    /// `fast`: the first run of a graph measures variants of its kernels as well, for as long as it took to compile it.
    /// What there was no time for is left to the next start.
    Fast,
    /// `full`: the first run of a graph measures all variants of its kernels, however long that takes.
    Full,
}

impl Tuning {
    /// What the environment asks for.
    pub fn from_environment() -> Tuning {
        match std::env::var("VORPAL_TUNE").as_deref() {
            Ok("off") => Tuning::Off,
            Ok("fast") => Tuning::Fast,
            Ok("full") => Tuning::Full,
            _ => Tuning::Remembered,
        }
    }
}

/// Counts tunings: plans made before one are not those made after it.
static TUNINGS: AtomicU64 = AtomicU64::new(0);

/// Number of the tunings so far, for the keys of plans.
pub(crate) fn tunings() -> u64 {
    TUNINGS.load(Ordering::Relaxed)
}

/// What is known of a kernel that can be done in several ways.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The default kernel in one line.
    pub kernel: String,
    /// Launches of it in the plan.
    pub launches: usize,
    /// The trial, unless the choice was known before or there was no time.
    pub trial: Option<Trial>,
    /// The choice that is remembered now.
    pub choice: Option<Choice>,
}

/// A kernel of a plan that can be done in several ways.
struct Open {
    kernel: Arc<dyn Kernel>,
    variants: Vec<Arc<dyn Kernel>>,
    signature: u64,
    /// Which launches of the plan it is.
    launches: Vec<usize>,
}

impl Open {
    /// What a longer launch would gain by, in no unit: work and traffic of all its launches.
    fn weight(&self) -> u64 {
        let cost = self.kernel.cost();
        (cost.flops + cost.bytes).saturating_mul(self.launches.len() as u64)
    }

    /// The variant with a signature; `None` for the default.
    fn variant(&self, wanted: u64) -> Option<&Arc<dyn Kernel>> {
        self.variants.iter().find(|v| signature(v.as_ref()).is_ok_and(|found| found == wanted))
    }

    /// The variant a trial has chosen; `None` for the default.
    fn chosen(&self, trial: &Trial) -> Option<&Arc<dyn Kernel>> {
        trial.chosen.checked_sub(1).and_then(|k| self.variants.get(k))
    }
}

/// The kernels of a plan that can be done in several ways, the most costly first.
fn open(plan: &Plan) -> Result<Vec<Open>> {
    let mut found: Vec<Open> = Vec::new();
    let mut by_signature: HashMap<u64, usize> = HashMap::new();
    for (k, launch) in plan.launches.iter().enumerate() {
        let mut variants = launch.kernel.variants();
        variants.retain(|variant| trial::fits(launch.kernel.as_ref(), variant.as_ref()));
        if variants.is_empty() {
            continue;
        }
        let signature = signature(launch.kernel.as_ref())?;
        match by_signature.get(&signature) {
            Some(&known) => found[known].launches.push(k),
            None => {
                by_signature.insert(signature, found.len());
                let kernel = launch.kernel.clone();
                found.push(Open { kernel, variants, signature, launches: vec![k] });
            }
        }
    }
    found.sort_by_key(|open| std::cmp::Reverse(open.weight()));
    Ok(found)
}

/// Measures the kernels that [`eval`](crate::eval) would launch for `what` in all their variants, the most costly first and
/// no longer than `budget`, and remembers the fastest for this and all later processes. What is remembered already is not
/// measured again; the native CPU has one way for everything.
///
/// ```
/// # use std::time::Duration;
/// # use vorpal_autodiff::{Device, Tensor, tune};
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2], &Device::cpu());
/// assert_eq!(tune(&x.matmul(&x), Duration::from_secs(1))?, []);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// An error that one of the tensors carries, what the device gives for the default kernels, or
/// [`Error::Io`](vorpal_tensor::Error::Io) where the choices cannot be written.
pub fn tune<T: Tensors + ?Sized>(what: &T, budget: Duration) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (device, plan) in exec::plans(what)? {
        if !device.is_cpu() {
            findings.extend(measure(&device, &plan, budget)?);
        }
    }
    TUNINGS.fetch_add(1, Ordering::Relaxed);
    Ok(findings)
}

/// Forgets all choices that are remembered for a device.
///
/// # Errors
/// [`Error::Io`](vorpal_tensor::Error::Io).
pub fn forget_tuning(device: &Device) -> Result<()> {
    tables().insert(device.info().fingerprint(), Table::default());
    TUNINGS.fetch_add(1, Ordering::Relaxed);
    Table::forget(device.info())
}

/// Makes a plan and what runs it, with the variants that are remembered and, where the environment asks for it, those
/// that are measured now.
///
/// # Errors
/// What compiling gives. A measurement that fails leaves the defaults.
pub(crate) fn tuned<P>(
    device: &Device,
    compile: impl FnOnce() -> Result<Plan>,
    prepare: impl Fn(Plan) -> Result<P>,
) -> Result<P> {
    let tuning = Tuning::from_environment();
    let measures = matches!(tuning, Tuning::Fast | Tuning::Full);
    let asked = measures || (tuning == Tuning::Remembered && !is_untuned(device));
    if device.is_cpu() || !asked {
        return prepare(compile()?);
    }
    let start = measures.then(Instant::now);
    let defaults = compile()?;
    let (plan, unknown) = with_choices(device, &defaults)?;
    let prepared = prepare(plan)?;
    let Some(start) = start.filter(|_| unknown) else { return Ok(prepared) };
    let budget = if tuning == Tuning::Full { Duration::MAX } else { start.elapsed() };
    match measure(device, &defaults, budget) {
        Ok(_) => prepare(with_choices(device, &defaults)?.0),
        // A training must not fail for want of room to measure in, nor of a place for a file.
        Err(_) => Ok(prepared),
    }
}

/// Looks at what is remembered for a device.
fn with_table<T>(device: &Device, look: impl FnOnce(&mut Table) -> T) -> T {
    let (info, mut tables) = (device.info(), tables());
    look(tables.entry(info.fingerprint()).or_insert_with(|| Table::load(info)))
}

/// Whether nothing is remembered for a device.
fn is_untuned(device: &Device) -> bool {
    device.is_cpu() || with_table(device, |table| table.is_empty())
}

/// The choice remembered for a kernel of a device.
fn remembered(device: &Device, signature: u64) -> Option<Choice> {
    with_table(device, |table| table.get(signature).cloned())
}

/// A plan with the choices that are remembered, and whether it has kernels about which nothing is known.
fn with_choices(device: &Device, defaults: &Plan) -> Result<(Plan, bool)> {
    let (mut plan, mut unknown) = (defaults.clone(), false);
    for open in open(defaults)? {
        let choice = remembered(device, open.signature);
        unknown |= choice.is_none();
        if let Some(variant) = choice.and_then(|choice| open.variant(choice.variant)) {
            open.launches.iter().for_each(|&k| plan.launches[k].kernel = variant.clone());
        }
    }
    Ok((plan, unknown))
}

/// Measures the kernels of a plan about which nothing is known, the most costly first, and remembers what was found.
/// Gives what is known now of all kernels that can be done in several ways.
///
/// # Errors
/// What the device gives for the default kernels.
fn measure(device: &Device, plan: &Plan, budget: Duration) -> Result<Vec<Finding>> {
    let (start, mut longest) = (Instant::now(), Duration::ZERO);
    let mut last = start;
    // Whatever took longest so far may come again.
    let mut more = || {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        start.elapsed() + longest <= budget
    };
    let (mut findings, mut new) = (Vec::new(), Vec::new());
    for open in open(plan)? {
        let mut finding = Finding {
            kernel: open.kernel.describe(),
            launches: open.launches.len(),
            trial: None,
            choice: remembered(device, open.signature),
        };
        if finding.choice.is_none() && more() {
            let trial = trial::compare(device, &open.kernel, &open.variants, &mut more)?;
            if trial.is_complete() {
                let choice = choice(&open, &trial)?;
                new.push((open.signature, choice.clone()));
                finding.choice = Some(choice);
            }
            finding.trial = Some(trial);
        }
        findings.push(finding);
    }
    with_table(device, |table| {
        new.iter().for_each(|(signature, choice)| table.insert(*signature, choice.clone()));
    });
    if !new.is_empty() {
        Table::save(&new, device.info())?;
    }
    Ok(findings)
}

/// A complete trial as a choice.
fn choice(open: &Open, trial: &Trial) -> Result<Choice> {
    let chosen = open.chosen(trial).unwrap_or(&open.kernel);
    let time = |index| trial.time(index).unwrap_or_default().as_secs_f64() * 1e6;
    Ok(Choice {
        kernel: open.kernel.describe(),
        variant: signature(chosen.as_ref())?,
        name: chosen.describe(),
        times_us: [time(0), time(trial.chosen)],
    })
}
