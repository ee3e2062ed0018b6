//! What an optimiser remembers, in a file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use safetensors::tensor::SafeTensors;
use vorpal_autodiff::{Error, Result, Tensor};

use super::{Misfits, contents, found, held, write_tensors, write_whole};
use crate::optim::{Kept, OptimizerState};
use crate::{Module, Optimizer, Role};

/// Name under which the steps of an optimiser stand in its file.
const STEPS: &str = "steps";

/// What stands before the name of a parameter that was trained later than others, in the notes of the file.
const SINCE: &str = "since.";

/// What an optimiser remembers as the bytes of a safetensors file: its tensors as `parameter.slot`, the steps among
/// the file's notes.
///
/// # Errors
/// What evaluating and reading back the tensors gives.
pub fn optimizer_to_safetensors(optimizer: &impl Optimizer) -> Result<Vec<u8>> {
    let state = optimizer.state();
    let named = |(name, kept): (&String, &Kept)| {
        let pairs = kept.slots.iter().zip(&kept.tensors);
        pairs.map(|(slot, t)| (format!("{name}.{}", slot.name), t.clone())).collect::<Vec<_>>()
    };
    let entries: Vec<(String, Tensor)> = state.kept.iter().flat_map(named).collect();
    let mut notes = HashMap::from([(STEPS.to_string(), state.steps.to_string())]);
    notes.extend(state.since.iter().map(|(name, steps)| (format!("{SINCE}{name}"), steps.to_string())));
    write_tensors(&entries, Some(notes))
}

/// Puts an optimiser of `model` where the one was that gave `bytes`; `what` names them in errors. Nothing changes when
/// they do not fit.
///
/// # Errors
/// [`Error::Format`] that lists what is missing, what is there besides, and what has another shape or dtype.
pub fn optimizer_from_safetensors<M: Module>(
    optimizer: &mut impl Optimizer,
    model: &M,
    bytes: &[u8],
    what: &str,
) -> Result<()> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| Error::format(what, e.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| Error::format(what, e.to_string()))?;
    let notes = header.metadata().clone().unwrap_or_default();
    let steps = notes.get(STEPS).and_then(|n| n.parse().ok());
    let steps: u64 = steps.ok_or_else(|| Error::format(what, "there is no number of steps"))?;
    let later =
        |(key, value): (&String, &String)| Some((key.strip_prefix(SINCE)?.to_string(), value.parse().ok()?));
    let since = notes.iter().filter_map(later).collect();
    let kept = kept_tensors(optimizer, model, &file, steps > 0, what)?;
    optimizer.set_state(OptimizerState { steps, since, kept });
    Ok(())
}

/// The tensors of every slot. `needed` says whether all of them must be there.
fn kept_tensors<M: Module>(
    optimizer: &impl Optimizer,
    model: &M,
    file: &SafeTensors<'_>,
    needed: bool,
    what: &str,
) -> Result<BTreeMap<String, Kept>> {
    let (mut all, mut failed) = (BTreeMap::new(), None);
    let mut misfits = Misfits::default();
    let mut unexpected: BTreeSet<String> = file.names().into_iter().map(ToString::to_string).collect();
    model.walk("", &mut |name, role, parameter| {
        if role != Role::Parameter || failed.is_some() {
            return;
        }
        let (slots, mut tensors) = (optimizer.slots(name, parameter), Vec::new());
        for slot in &slots {
            let full = format!("{name}.{}", slot.name);
            unexpected.remove(&full);
            let found = found(file, &full, slot.dtype, &slot.shape);
            let fits = misfits.look(&full, found, slot.dtype, &slot.shape);
            let made = fits.map(|bytes| held(bytes, slot.dtype, &slot.shape, &parameter.device()?));
            match made.transpose() {
                Ok(tensor) => tensors.extend(tensor),
                Err(error) => failed = Some(error),
            }
        }
        if !slots.is_empty() {
            all.insert(name.to_string(), Kept { slots, tensors });
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    misfits.unexpected(unexpected, true);
    if !needed && misfits.is_all_missing() {
        // Nothing is remembered before the first step.
        return Ok(BTreeMap::new());
    }
    misfits.told(what)?;
    Ok(all)
}

/// Saves what an optimiser remembers. The file is written beside and renamed: it is never half there.
///
/// # Errors
/// [`Error::Io`], or as [`optimizer_to_safetensors`].
pub fn save_optimizer(optimizer: &impl Optimizer, path: impl AsRef<Path>) -> Result<()> {
    write_whole(path.as_ref(), &optimizer_to_safetensors(optimizer)?)
}

/// Puts an optimiser of `model` where the saved one was.
///
/// # Errors
/// [`Error::Io`], or as [`optimizer_from_safetensors`].
pub fn load_optimizer<M: Module>(
    optimizer: &mut impl Optimizer,
    model: &M,
    path: impl AsRef<Path>,
) -> Result<()> {
    let (bytes, what) = contents(path.as_ref())?;
    optimizer_from_safetensors(optimizer, model, &bytes, &what)
}
