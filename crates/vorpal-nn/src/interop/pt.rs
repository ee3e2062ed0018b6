//! PyTorch's `.pt` and `.pth` files.

use std::collections::{BTreeMap, HashMap};
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use vorpal_autodiff::{DType, Error, Result};

use super::layout::{Foreign, Window};
use super::npz::Archive;
use super::pickle::{Item, Pickled, Storage, TensorRef, unpickle};
use crate::data::Array;

/// What `torch.save` wrote.
#[derive(Clone, Debug, PartialEq)]
pub enum PtValue {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list or a tuple.
    List(Vec<PtValue>),
    /// A dictionary, ordered as written.
    Dict(Vec<(PtValue, PtValue)>),
    /// A tensor.
    Tensor(Array),
}

impl PtValue {
    /// The entry of a dictionary.
    pub fn get(&self, name: &str) -> Option<&PtValue> {
        let PtValue::Dict(entries) = self else { return None };
        entries
            .iter()
            .find(|(key, _)| matches!(key, PtValue::Text(text) if text == name))
            .map(|(_, value)| value)
    }

    /// All tensors by their path, the parts joined by dots: of a `state_dict`, its tensors by their names.
    pub fn tensors(&self) -> BTreeMap<String, Array> {
        let mut out = BTreeMap::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, path: &str, out: &mut BTreeMap<String, Array>) {
        match self {
            PtValue::Tensor(array) => drop(out.insert(path.to_string(), array.clone())),
            PtValue::List(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(k, item)| item.collect(&crate::join(path, &k.to_string()), out));
            }
            PtValue::Dict(entries) => entries.iter().for_each(|(key, value)| match key {
                PtValue::Text(name) => value.collect(&crate::join(path, name), out),
                PtValue::Int(name) => value.collect(&crate::join(path, &name.to_string()), out),
                _ => {}
            }),
            _ => {}
        }
    }
}

/// Reads a file that `torch.save` wrote: a `state_dict` or any nest of dictionaries, lists, numbers, texts and tensors.
///
/// # Errors
/// [`Error::Io`], or as [`pt_from_bytes`].
#[cfg(not(target_arch = "wasm32"))]
pub fn load_pt(path: impl AsRef<Path>) -> Result<PtValue> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
    pt_from_bytes(&bytes, &path.display().to_string())
}

/// Replaces the tensors of a module by those of a file of PyTorch, matched by name: a `state_dict`, or a checkpoint that
/// has one under `state_dict` or `model`. Every tensor of the module must be there with its dtype and shape; nothing
/// changes otherwise. Others in the file are ignored.
///
/// # Errors
/// As [`load_pt`], and as [`from_safetensors`](crate::from_safetensors).
#[cfg(not(target_arch = "wasm32"))]
pub fn load_state_dict<M: crate::Module>(model: &mut M, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let file = load_pt(path)?;
    let inner = ["state_dict", "model"].iter().find_map(|name| file.get(name));
    let tensors = inner.unwrap_or(&file).tensors();
    let what = path.display().to_string();
    let names = tensors.keys().cloned().collect();
    let find = |name: &str, old: &crate::Tensor| {
        let array = tensors.get(name)?;
        let fits = array.dtype() == old.dtype() && *array.shape() == old.shape();
        let is = array.shape().describe(array.dtype());
        Some(crate::checkpoint::Found { bytes: array.bytes(), fits, is })
    };
    crate::checkpoint::replace(model, names, &find, false, &what)
}

/// The value in the bytes of a file of PyTorch; `what` names them in errors. Nothing in it is executed: the file's pickle
/// is read by a machine that knows tensors, containers, texts and numbers, and any other name in it is an error. Windows
/// of any strides, shared storages and all dtypes but complex and quantised ones are read; 16-bit integers become `I32`.
///
/// # Errors
/// [`Error::Format`] that names the file within the archive and the offset.
pub fn pt_from_bytes(bytes: &[u8], what: &str) -> Result<PtValue> {
    // The number that files begin with that `torch.save` wrote before version 1.6.
    if bytes.starts_with(&[0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46]) {
        let message = "this is PyTorch's format of before version 1.6; load it there and save it again";
        return Err(Error::format(what, message));
    }
    let archive = Archive::open(bytes, what)?;
    let names = archive.names();
    let main = names.iter().find(|name| name.ends_with("/data.pkl") || *name == "data.pkl");
    let main =
        main.ok_or_else(|| Error::format(what, "the archive has no data.pkl; is this TorchScript?"))?;
    let folder = main.strip_suffix("data.pkl").unwrap_or("").to_string();
    let order = format!("{folder}byteorder");
    let big_endian = names.contains(&order) && archive.read(&order)? == *b"big";
    let pickled = unpickle(&archive.read(main)?, &format!("{what}: {main}"))?;
    let mut reader = Reader {
        archive,
        folder,
        big_endian,
        what,
        pickled: &pickled,
        storages: HashMap::new(),
        left: ITEMS_MAX,
    };
    reader.value(&pickled.root, 0)
}

/// Most items a file may have: small pickles can name the same list again and again.
const ITEMS_MAX: usize = 1 << 22;
/// How deep containers may stand in one another.
const DEPTH_MAX: usize = 64;

struct Reader<'a> {
    archive: Archive<'a>,
    folder: String,
    big_endian: bool,
    what: &'a str,
    pickled: &'a Pickled,
    /// By name: tensors share them.
    storages: HashMap<String, Vec<u8>>,
    left: usize,
}

impl Reader<'_> {
    fn value(&mut self, item: &Item, depth: usize) -> Result<PtValue> {
        let fail = |message: &str| Err(Error::format(self.what, message.to_string()));
        if depth > DEPTH_MAX {
            return fail("containers stand in one another without end");
        }
        let Some(left) = self.left.checked_sub(1) else {
            return fail("there are more items than are believed");
        };
        self.left = left;
        let pickled = self.pickled;
        Ok(match item {
            Item::None => PtValue::None,
            Item::Bool(value) => PtValue::Bool(*value),
            Item::Int(value) => PtValue::Int(*value),
            Item::Float(value) => PtValue::Float(*value),
            Item::Text(text) => PtValue::Text(text.to_string()),
            Item::Tuple(items) => PtValue::List(self.list(items, depth)?),
            Item::List(k) => PtValue::List(self.list(&pickled.lists[*k], depth)?),
            Item::Dict(k) => {
                let mut entries = Vec::with_capacity(pickled.dicts[*k].len());
                for (key, value) in &pickled.dicts[*k] {
                    entries.push((self.value(key, depth + 1)?, self.value(value, depth + 1)?));
                }
                PtValue::Dict(entries)
            }
            Item::Tensor(tensor) => PtValue::Tensor(self.tensor(tensor)?),
            Item::Mark | Item::Global(_) | Item::Storage(_) => {
                return fail("a value is no tensor, container, text or number");
            }
        })
    }

    fn list(&mut self, items: &[Item], depth: usize) -> Result<Vec<PtValue>> {
        items.iter().map(|item| self.value(item, depth + 1)).collect()
    }

    fn tensor(&mut self, tensor: &TensorRef) -> Result<Array> {
        let Storage { kind, key } = &*tensor.storage;
        let name = format!("{}data/{key}", self.folder);
        let of = foreign(kind)
            .ok_or_else(|| Error::format(self.what, format!("tensors of {kind} are not read")))?;
        if !self.storages.contains_key(&name) {
            let bytes = self.archive.read(&name)?;
            self.storages.insert(name.clone(), bytes);
        }
        let window = Window {
            of,
            big_endian: self.big_endian,
            offset: tensor.offset,
            shape: tensor.shape.clone(),
            strides: tensor.strides.clone(),
        };
        window.read(&self.storages[&name], &format!("{}: {name}", self.what))
    }
}

fn foreign(kind: &str) -> Option<Foreign> {
    Some(match kind.strip_prefix("torch.")? {
        "DoubleStorage" => Foreign::Same(DType::F64),
        "FloatStorage" => Foreign::Same(DType::F32),
        "HalfStorage" => Foreign::Same(DType::F16),
        "BFloat16Storage" => Foreign::Same(DType::BF16),
        "LongStorage" => Foreign::Same(DType::I64),
        "IntStorage" => Foreign::Same(DType::I32),
        "ShortStorage" => Foreign::I16,
        "CharStorage" => Foreign::Same(DType::I8),
        "ByteStorage" => Foreign::Same(DType::U8),
        "BoolStorage" => Foreign::Bool,
        _ => return None,
    })
}
