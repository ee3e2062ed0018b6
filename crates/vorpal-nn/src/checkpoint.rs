//! Weights in files: safetensors, by the names and layouts of PyTorch.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use safetensors::tensor::{SafeTensors, TensorView, serialize};
use vorpal_autodiff::{DType, Device, Error, Result, Shape, Tensor};

use crate::data::Array;
use crate::optim::{Kept, OptimizerState};
use crate::{Module, Optimizer, Role};

fn to_file(dtype: DType) -> safetensors::Dtype {
    match dtype {
        DType::F64 => safetensors::Dtype::F64,
        DType::F32 => safetensors::Dtype::F32,
        DType::F16 => safetensors::Dtype::F16,
        DType::BF16 => safetensors::Dtype::BF16,
        DType::I64 => safetensors::Dtype::I64,
        DType::I32 => safetensors::Dtype::I32,
        DType::I8 => safetensors::Dtype::I8,
        DType::U8 => safetensors::Dtype::U8,
        DType::U32 | DType::Bool => safetensors::Dtype::U32,
    }
}

/// All tensors of a module as the bytes of a safetensors file. Truth values are stored as `U32`.
///
/// # Errors
/// What evaluating and reading back the tensors gives.
pub fn to_safetensors<M: Module>(model: &M) -> Result<Vec<u8>> {
    let mut entries = Vec::new();
    model.walk("", &mut |name, _, tensor| entries.push((name.to_string(), tensor.clone())));
    write_tensors(&entries, None)
}

fn write_tensors(entries: &[(String, Tensor)], notes: Option<HashMap<String, String>>) -> Result<Vec<u8>> {
    vorpal_autodiff::eval(&entries.iter().map(|(_, tensor)| tensor).collect::<Vec<_>>())?;
    let mut bytes = Vec::with_capacity(entries.len());
    for (_, tensor) in entries {
        bytes.push(tensor.to_bytes()?);
    }
    let mut views = Vec::with_capacity(entries.len());
    for ((name, tensor), bytes) in entries.iter().zip(&bytes) {
        let view = TensorView::new(to_file(tensor.dtype()), tensor.shape().to_vec(), bytes)
            .map_err(|e| Error::format(name.clone(), e.to_string()))?;
        views.push((name, view));
    }
    serialize(views, notes).map_err(|e| Error::format("safetensors", e.to_string()))
}

/// Saves all tensors of a module. The file is written beside and renamed: it is never half there.
///
/// # Errors
/// [`Error::Io`], or as [`to_safetensors`].
pub fn save<M: Module>(model: &M, path: impl AsRef<Path>) -> Result<()> {
    write_whole(path.as_ref(), &to_safetensors(model)?)
}

/// Writes a file beside its place and renames it, so that whoever reads sees the old content or the new.
///
/// # Errors
/// [`Error::Io`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = Path::new(&beside);
    let write = || -> std::io::Result<()> {
        use std::io::Write;
        let mut file = std::fs::File::create(beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(beside, path)
    };
    write().map_err(|e| Error::io(path, &e))
}

/// Replaces the tensors of a module by those of a safetensors file, matched by name. Every tensor of the module
/// must be there with its dtype and shape; nothing changes otherwise. Others in the file are ignored.
///
/// # Errors
/// [`Error::Io`], or [`Error::Format`] that names the file and what does not fit.
pub fn load<M: Module>(model: &mut M, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
    from_safetensors(model, &bytes, &path.display().to_string())
}

/// As [`load`], from the bytes of a file; `what` names them in errors.
///
/// # Errors
/// [`Error::Format`] that names what does not fit.
pub fn from_safetensors<M: Module>(model: &mut M, bytes: &[u8], what: &str) -> Result<()> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| Error::format(what, e.to_string()))?;
    replace(model, &|name, tensor| replacement(&file, name, tensor, what))
}

/// Replaces the tensors of a module by what `new` gives for their names; nothing changes when one fails.
pub(crate) fn replace<M: Module>(model: &mut M, new: &dyn Fn(&str, &Tensor) -> Result<Tensor>) -> Result<()> {
    let mut found: BTreeMap<String, Tensor> = BTreeMap::new();
    let mut failed = None;
    model.walk("", &mut |name, _, tensor| {
        if failed.is_none() {
            match new(name, tensor) {
                Ok(new) => drop(found.insert(name.to_string(), new)),
                Err(error) => failed = Some(error),
            }
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    model.walk_mut("", &mut |name, _, tensor| {
        if let Some(new) = found.remove(name) {
            *tensor = new;
        }
    });
    Ok(())
}

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
            let view = file.tensor(&full).ok();
            let fits = misfits.look(&full, view.as_ref(), slot.dtype, &slot.shape);
            let made = fits.map(|view| held(view.data(), slot.dtype, &slot.shape, &parameter.device()?));
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
    misfits.unexpected = unexpected.into_iter().collect();
    if !needed && misfits.is_all_missing() {
        // Nothing is remembered before the first step.
        return Ok(BTreeMap::new());
    }
    misfits.told(what)?;
    Ok(all)
}

/// How the tensors of a file differ from those that are asked for.
#[derive(Default)]
struct Misfits {
    missing: Vec<String>,
    unexpected: Vec<String>,
    mismatched: Vec<String>,
    found: usize,
}

impl Misfits {
    /// The tensor of a file, if it is there as it is asked for; notes it otherwise.
    fn look<'a, 'b>(
        &mut self,
        name: &str,
        view: Option<&'b TensorView<'a>>,
        dtype: DType,
        shape: &Shape,
    ) -> Option<&'b TensorView<'a>> {
        let Some(view) = view else {
            self.missing.push(name.to_string());
            return None;
        };
        self.found += 1;
        if view.dtype() == to_file(dtype) && view.shape() == shape.dims() {
            return Some(view);
        }
        let (found, sizes) = (view.dtype(), view.shape());
        self.mismatched.push(format!("{name} is {found:?}{sizes:?}, not {dtype}{shape}"));
        None
    }

    fn is_all_missing(&self) -> bool {
        self.found == 0 && self.unexpected.is_empty()
    }

    /// # Errors
    /// [`Error::Format`] that lists everything, unless there is nothing.
    fn told(&self, what: &str) -> Result<()> {
        /// Names that a message holds of a long list.
        const NAMED_MAX: usize = 8;
        let part = |title: &str, names: &[String]| {
            let more = names.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let list = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
            (!names.is_empty()).then(|| format!("{title} {list}{more}"))
        };
        let parts = [
            part("missing", &self.missing),
            part("unexpected", &self.unexpected),
            part("mismatched", &self.mismatched),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { Ok(()) } else { Err(Error::format(what, parts.join("; "))) }
    }
}

/// The bytes of a tensor on a device.
fn held(bytes: &[u8], dtype: DType, shape: &Shape, device: &Device) -> Result<Tensor> {
    let new = Tensor::from_bytes(bytes, shape.clone(), dtype, device);
    new.check()?;
    Ok(new)
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
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
    optimizer_from_safetensors(optimizer, model, &bytes, &path.display().to_string())
}

fn replacement(file: &SafeTensors<'_>, name: &str, old: &Tensor, what: &str) -> Result<Tensor> {
    let view = file.tensor(name).map_err(|_| missing(name, what))?;
    let fits = view.dtype() == to_file(old.dtype()) && view.shape() == old.shape().dims();
    let found = || format!("{:?}{:?}", view.dtype(), view.shape());
    fitting(name, old, what, view.data(), fits, found)
}

/// As [`replacement`], from an array.
pub(crate) fn array_in_place_of(
    old: &Tensor,
    array: Option<&Array>,
    name: &str,
    what: &str,
) -> Result<Tensor> {
    let array = array.ok_or_else(|| missing(name, what))?;
    let fits = array.dtype() == old.dtype() && *array.shape() == old.shape();
    fitting(name, old, what, array.bytes(), fits, || array.shape().describe(array.dtype()))
}

fn missing(name: &str, what: &str) -> Error {
    Error::format(what, format!("there is no tensor \"{name}\""))
}

fn fitting(
    name: &str,
    old: &Tensor,
    what: &str,
    bytes: &[u8],
    fits: bool,
    found: impl Fn() -> String,
) -> Result<Tensor> {
    if !fits {
        let message =
            format!("tensor \"{name}\" is {}, the model has {}{}", found(), old.dtype(), old.shape());
        return Err(Error::format(what, message));
    }
    held(bytes, old.dtype(), &old.shape(), &old.device()?)
}
