//! Weights in files: safetensors, by the names and layouts of PyTorch.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{SafeTensors, TensorView, serialize};
use vorpal_autodiff::{DType, Error, Result, Tensor};

use crate::Module;

fn to_file(dtype: DType) -> safetensors::Dtype {
    match dtype {
        DType::F64 => safetensors::Dtype::F64,
        DType::F32 => safetensors::Dtype::F32,
        DType::F16 => safetensors::Dtype::F16,
        DType::BF16 => safetensors::Dtype::BF16,
        DType::I32 => safetensors::Dtype::I32,
        DType::U32 | DType::Bool => safetensors::Dtype::U32,
    }
}

/// All tensors of a module as the bytes of a safetensors file. Truth values are stored as `U32`.
///
/// # Errors
/// What evaluating and reading back the tensors gives.
pub fn to_safetensors<M: Module>(model: &M) -> Result<Vec<u8>> {
    vorpal_autodiff::eval(model)?;
    let mut entries: Vec<(String, DType, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut failed = None;
    model.walk("", &mut |name, _, tensor| match tensor.to_bytes() {
        Ok(bytes) => entries.push((name.to_string(), tensor.dtype(), tensor.shape().to_vec(), bytes)),
        Err(error) => failed = Some(error),
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let mut views = Vec::with_capacity(entries.len());
    for (name, dtype, shape, bytes) in &entries {
        let view = TensorView::new(to_file(*dtype), shape.clone(), bytes)
            .map_err(|e| Error::format(name.clone(), e.to_string()))?;
        views.push((name.clone(), view));
    }
    serialize(views, None).map_err(|e| Error::format("safetensors", e.to_string()))
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
    let mut found: BTreeMap<String, Tensor> = BTreeMap::new();
    let mut failed = None;
    model.walk("", &mut |name, _, tensor| {
        if failed.is_none() {
            match replacement(&file, name, tensor, what) {
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

fn replacement(file: &SafeTensors<'_>, name: &str, old: &Tensor, what: &str) -> Result<Tensor> {
    let view =
        file.tensor(name).map_err(|_| Error::format(what, format!("there is no tensor \"{name}\"")))?;
    if view.dtype() != to_file(old.dtype()) || view.shape() != old.shape().dims() {
        let message = format!(
            "tensor \"{name}\" is {:?}{:?}, the model has {}{}",
            view.dtype(),
            view.shape(),
            old.dtype(),
            old.shape()
        );
        return Err(Error::format(what, message));
    }
    let new = Tensor::from_bytes(view.data(), old.shape(), old.dtype(), &old.device()?);
    new.check()?;
    Ok(new)
}
