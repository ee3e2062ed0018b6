//! Weights in files: safetensors, by the names and layouts of PyTorch.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{SafeTensors, TensorView, serialize};
use vorpal_autodiff::{DType, Error, Result, Tensor};

use crate::data::Array;
use crate::optim::{OptimizerState, States};
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

/// What an optimiser remembers as the bytes of a safetensors file: its tensors as `parameter.slot`, the steps among
/// the file's notes.
///
/// # Errors
/// What evaluating and reading back the tensors gives.
pub fn optimizer_to_safetensors(optimizer: &impl Optimizer) -> Result<Vec<u8>> {
    let (state, slots) = (optimizer.state(), optimizer.slots());
    let named = |(name, tensors): (&String, &Vec<Tensor>)| {
        let entries = slots.iter().zip(tensors).map(|(slot, t)| (format!("{name}.{slot}"), t.clone()));
        entries.collect::<Vec<_>>()
    };
    let entries: Vec<(String, Tensor)> = state.tensors.iter().flat_map(named).collect();
    let notes = HashMap::from([(STEPS.to_string(), state.steps.to_string())]);
    write_tensors(&entries, Some(notes))
}

/// Puts an optimiser of `model` where the one was that gave `bytes`; `what` names them in errors. Nothing changes when
/// they do not fit.
///
/// # Errors
/// [`Error::Format`] that names what does not fit.
pub fn optimizer_from_safetensors<M: Module>(
    optimizer: &mut impl Optimizer,
    model: &M,
    bytes: &[u8],
    what: &str,
) -> Result<()> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| Error::format(what, e.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| Error::format(what, e.to_string()))?;
    let steps = header.metadata().as_ref().and_then(|notes| notes.get(STEPS)).and_then(|n| n.parse().ok());
    let steps = steps.ok_or_else(|| Error::format(what, "there is no number of steps"))?;
    let (slots, mut tensors, mut failed) = (optimizer.slots(), States::new(), None);
    model.walk("", &mut |name, role, parameter| {
        let of = |slot: &&str| format!("{name}.{slot}");
        let has = slots.iter().any(|slot| file.tensor(&of(slot)).is_ok());
        if role != Role::Parameter || !has || failed.is_some() {
            return;
        }
        match slots.iter().map(|slot| replacement(&file, &of(slot), parameter, what)).collect() {
            Ok(list) => drop(tensors.insert(name.to_string(), list)),
            Err(error) => failed = Some(error),
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let found: usize = tensors.values().map(Vec::len).sum();
    if found != file.len() {
        let message =
            format!("{} of {} tensors belong to no parameter of the model", file.len() - found, file.len());
        return Err(Error::format(what, message));
    }
    optimizer.set_state(OptimizerState { steps, tensors });
    Ok(())
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
    let new = Tensor::from_bytes(bytes, old.shape(), old.dtype(), &old.device()?);
    new.check()?;
    Ok(new)
}
