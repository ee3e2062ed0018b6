//! Weights in files: safetensors, by the names and layouts of PyTorch.

mod misfits;
mod optimizer;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use safetensors::tensor::{SafeTensors, TensorView, serialize};
use vorpal_autodiff::{DType, Device, Error, Result, Shape, Tensor};

use crate::Module;

pub(crate) use misfits::Found;
use misfits::Misfits;
pub use optimizer::{load_optimizer, optimizer_from_safetensors, optimizer_to_safetensors, save_optimizer};

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
/// [`Error::Io`], or as [`from_safetensors`].
pub fn load<M: Module>(model: &mut M, path: impl AsRef<Path>) -> Result<()> {
    let (bytes, what) = contents(path.as_ref())?;
    from_safetensors(model, &bytes, &what)
}

/// As [`load`], where the file must hold nothing else.
pub(crate) fn load_strictly<M: Module>(model: &mut M, path: &Path) -> Result<()> {
    let (bytes, what) = contents(path)?;
    from_file(model, &bytes, &what, true)
}

/// As [`load`], from the bytes of a file; `what` names them in errors.
///
/// # Errors
/// [`Error::Format`] that lists all names that are missing, that are there besides, and that have another shape or
/// dtype, the first eight of each.
pub fn from_safetensors<M: Module>(model: &mut M, bytes: &[u8], what: &str) -> Result<()> {
    from_file(model, bytes, what, false)
}

fn from_file<M: Module>(model: &mut M, bytes: &[u8], what: &str, strict: bool) -> Result<()> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| Error::format(what, e.to_string()))?;
    let names = file.names().into_iter().map(ToString::to_string).collect();
    replace(model, names, &|name, old| found(&file, name, old.dtype(), &old.shape()), strict, what)
}

/// A tensor of a file, next to what is asked for.
fn found<'a>(file: &SafeTensors<'a>, name: &str, dtype: DType, shape: &Shape) -> Option<Found<'a>> {
    let view = file.tensor(name).ok()?;
    let fits = view.dtype() == to_file(dtype) && view.shape() == shape.dims();
    Some(Found { bytes: view.data(), fits, is: format!("{:?}{:?}", view.dtype(), view.shape()) })
}

/// Replaces the tensors of a module by what `find` gives for their names, out of a file that has `names`; nothing
/// changes when one does not fit.
pub(crate) fn replace<'a, M: Module>(
    model: &mut M,
    mut names: BTreeSet<String>,
    find: &dyn Fn(&str, &Tensor) -> Option<Found<'a>>,
    strict: bool,
    what: &str,
) -> Result<()> {
    let mut misfits = Misfits::default();
    let mut fitting: BTreeMap<String, Result<Tensor>> = BTreeMap::new();
    model.walk("", &mut |name, _, old| {
        names.remove(name);
        if let Some(bytes) = misfits.look(name, find(name, old), old.dtype(), &old.shape()) {
            let new = old.device().and_then(|device| held(bytes, old.dtype(), &old.shape(), &device));
            fitting.insert(name.to_string(), new);
        }
    });
    misfits.unexpected(names, strict);
    misfits.told(what)?;
    let mut fitting: BTreeMap<String, Tensor> =
        fitting.into_iter().map(|(name, new)| Ok((name, new?))).collect::<Result<_>>()?;
    model.walk_mut("", &mut |name, _, tensor| {
        if let Some(new) = fitting.remove(name) {
            *tensor = new;
        }
    });
    Ok(())
}

/// The bytes of a file, and what it is called in errors.
fn contents(path: &Path) -> Result<(Vec<u8>, String)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
    Ok((bytes, path.display().to_string()))
}

/// The bytes of a tensor on a device.
fn held(bytes: &[u8], dtype: DType, shape: &Shape, device: &Device) -> Result<Tensor> {
    let new = Tensor::from_bytes(bytes, shape.clone(), dtype, device);
    new.check()?;
    Ok(new)
}
