//! The part of Python's pickle format that PyTorch's files are made of.
//!
//! A pickle is a program for a stack machine that may call any function. This machine calls none: it knows the few
//! opcodes and names that tensors, containers and numbers need, and anything else is an error.

use std::rc::Rc;

use vorpal_autodiff::{Error, Result};

/// What the machine works on. Lists and dictionaries live in the machine's arenas, since programs change them after
/// they have been noted.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Mark,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    Tuple(Rc<[Item]>),
    List(usize),
    Dict(usize),
    Global(Rc<str>),
    Storage(Rc<Storage>),
    Tensor(Rc<TensorRef>),
}

/// Elements in another file of the archive.
#[derive(Debug)]
pub(super) struct Storage {
    /// Name of the type of storage, as `FloatStorage`.
    pub kind: Rc<str>,
    /// Name of the file.
    pub key: Rc<str>,
}

/// A window on a storage.
#[derive(Debug)]
pub(super) struct TensorRef {
    pub storage: Rc<Storage>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// The outcome of a program, and where its containers live.
#[derive(Debug)]
pub(super) struct Pickled {
    pub root: Item,
    pub lists: Vec<Vec<Item>>,
    pub dicts: Vec<Vec<(Item, Item)>>,
}

/// Names that may stand in a program beside those of storages.
const GLOBALS: [&str; 4] = [
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "collections.OrderedDict",
    "torch.Size",
];

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'a str,
    stack: Vec<Item>,
    memo: Vec<(usize, Item)>,
    lists: Vec<Vec<Item>>,
    dicts: Vec<Vec<(Item, Item)>>,
}

/// Runs a program; `what` names it in errors.
pub(super) fn unpickle(bytes: &[u8], what: &str) -> Result<Pickled> {
    let mut machine = Machine {
        bytes,
        at: 0,
        what,
        stack: Vec::new(),
        memo: Vec::new(),
        lists: Vec::new(),
        dicts: Vec::new(),
    };
    loop {
        if machine.step()? {
            let root = machine.pop()?;
            return Ok(Pickled { root, lists: machine.lists, dicts: machine.dicts });
        }
    }
}

impl Machine<'_> {
    fn fail(&self, message: impl std::fmt::Display) -> Error {
        Error::format(self.what, format!("{message} at byte {} of the pickle", self.at))
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| self.fail(format!("{count} bytes were expected, it ends")))?;
        let part = &self.bytes[self.at..end];
        self.at = end;
        Ok(part)
    }

    fn number<const N: usize>(&mut self) -> Result<usize> {
        let mut word = [0; 8];
        word[..N].copy_from_slice(self.take(N)?);
        usize::try_from(u64::from_le_bytes(word)).map_err(|_| self.fail("a length is too large"))
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&b| b == b'\n').ok_or_else(|| self.fail("a name has no end"))?;
        let line = String::from_utf8_lossy(&rest[..len]).into_owned();
        self.at += len + 1;
        Ok(line)
    }

    fn text(&mut self, len: usize) -> Result<Item> {
        let text = std::str::from_utf8(self.take(len)?).map(Rc::from).ok();
        text.map(Item::Text).ok_or_else(|| self.fail("a text is not UTF-8"))
    }

    fn pop(&mut self) -> Result<Item> {
        self.stack.pop().ok_or_else(|| self.fail("the stack is empty"))
    }

    fn top(&self) -> Result<Item> {
        self.stack.last().cloned().ok_or_else(|| self.fail("the stack is empty"))
    }

    /// What stands above the last mark, which goes too.
    fn above_mark(&mut self) -> Result<Vec<Item>> {
        let mark = self.stack.iter().rposition(|item| matches!(item, Item::Mark));
        let mark = mark.ok_or_else(|| self.fail("there is no mark"))?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn last(&mut self, count: usize) -> Result<Vec<Item>> {
        let from = self.stack.len().checked_sub(count).ok_or_else(|| self.fail("the stack is empty"))?;
        Ok(self.stack.split_off(from))
    }

    fn remember(&mut self, key: usize) -> Result<()> {
        let item = self.top()?;
        self.memo.push((key, item));
        Ok(())
    }

    fn recall(&mut self, key: usize) -> Result<()> {
        // Numbers count up in all but odd files.
        let direct = self.memo.get(key).filter(|(k, _)| *k == key);
        let found =
            direct.or_else(|| self.memo.iter().rfind(|(k, _)| *k == key)).map(|(_, item)| item.clone());
        let item = found.ok_or_else(|| self.fail(format!("nothing was noted as {key}")))?;
        self.stack.push(item);
        Ok(())
    }

    fn new_dict(&mut self) -> Item {
        self.dicts.push(Vec::new());
        Item::Dict(self.dicts.len() - 1)
    }

    fn new_list(&mut self, items: Vec<Item>) -> Item {
        self.lists.push(items);
        Item::List(self.lists.len() - 1)
    }

    fn set_items(&mut self, items: &[Item]) -> Result<()> {
        match self.top()? {
            Item::Dict(k) if items.len().is_multiple_of(2) => {
                self.dicts[k].extend(items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())));
                Ok(())
            }
            _ => Err(self.fail("only dictionaries have pairs")),
        }
    }

    fn append(&mut self, items: Vec<Item>) -> Result<()> {
        match self.top()? {
            Item::List(k) => {
                self.lists[k].extend(items);
                Ok(())
            }
            _ => Err(self.fail("only lists grow")),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<Item> {
        let full = format!("{module}.{name}");
        let storage =
            module == "torch" && name.ends_with("Storage") || full == "torch.storage.UntypedStorage";
        if storage || GLOBALS.contains(&full.as_str()) {
            return Ok(Item::Global(full.into()));
        }
        Err(self.fail(format!(
            "the name {full} is not known; only tensors, containers, texts and numbers are read"
        )))
    }

    /// One opcode; whether it was the last.
    fn step(&mut self) -> Result<bool> {
        let code = self.take(1)?[0];
        let item = match code {
            b'.' => return Ok(true),
            b'(' => Item::Mark,
            b'N' => Item::None,
            0x88 => Item::Bool(true),
            0x89 => Item::Bool(false),
            b'J' => Item::Int(i64::from(self.number::<4>()? as u32 as i32)),
            b'K' => Item::Int(self.number::<1>()? as i64),
            b'M' => Item::Int(self.number::<2>()? as i64),
            0x8a => self.long()?,
            b'G' => {
                let mut word = [0; 8];
                word.copy_from_slice(self.take(8)?);
                Item::Float(f64::from_be_bytes(word))
            }
            b'X' => {
                let len = self.number::<4>()?;
                self.text(len)?
            }
            0x8c => {
                let len = self.number::<1>()?;
                self.text(len)?
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?
            }
            b')' => Item::Tuple(Rc::from([])),
            b']' => self.new_list(Vec::new()),
            b'}' => self.new_dict(),
            b't' => Item::Tuple(self.above_mark()?.into()),
            0x85..=0x87 => Item::Tuple(self.last(usize::from(code) - 0x84)?.into()),
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            0x93 => match &self.last(2)?[..] {
                [Item::Text(module), Item::Text(name)] => self.global(module, name)?,
                _ => return Err(self.fail("a name is no text")),
            },
            _ => return self.command(code).map(|()| false),
        };
        self.stack.push(item);
        Ok(false)
    }

    /// Opcodes that put nothing on the stack.
    fn command(&mut self, code: u8) -> Result<()> {
        match code {
            0x80 => match self.number::<1>()? {
                2..=5 => Ok(()),
                version => Err(self.fail(format!("protocol {version} is not read"))),
            },
            0x95 => self.take(8).map(drop),
            b'0' => self.pop().map(drop),
            b'q' => self.number::<1>().and_then(|key| self.remember(key)),
            b'r' => self.number::<4>().and_then(|key| self.remember(key)),
            0x94 => self.remember(self.memo.len()),
            b'h' => self.number::<1>().and_then(|key| self.recall(key)),
            b'j' => self.number::<4>().and_then(|key| self.recall(key)),
            b's' => {
                let pair = self.last(2)?;
                self.set_items(&pair)
            }
            b'u' => {
                let items = self.above_mark()?;
                self.set_items(&items)
            }
            b'a' => {
                let item = self.last(1)?;
                self.append(item)
            }
            b'e' => {
                let items = self.above_mark()?;
                self.append(items)
            }
            // The notes that `state_dict` hangs on its dictionary (versions of modules) are not kept.
            b'b' => match (self.pop()?, self.top()?) {
                (Item::Dict(_), Item::Dict(_)) => Ok(()),
                _ => Err(self.fail("only dictionaries have notes")),
            },
            _ => Err(self.fail(format!("opcode {code:#04x} is not known"))),
        }
    }

    fn long(&mut self) -> Result<Item> {
        let len = self.number::<1>()?;
        if len > 8 {
            return Err(self.fail(format!("a whole number of {len} bytes")));
        }
        let bytes = self.take(len)?;
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut word = [fill; 8];
        word[..len].copy_from_slice(bytes);
        Ok(Item::Int(i64::from_le_bytes(word)))
    }

    /// `("storage", type, key, place, elements)`.
    fn storage(&mut self) -> Result<Item> {
        if let Item::Tuple(parts) = self.pop()?
            && let [Item::Text(tag), Item::Global(kind), Item::Text(key), Item::Text(_), Item::Int(_)] =
                &parts[..]
            && &**tag == "storage"
        {
            return Ok(Item::Storage(Rc::new(Storage { kind: kind.clone(), key: key.clone() })));
        }
        Err(self.fail("what is stored apart is no storage of a tensor"))
    }

    fn call(&mut self) -> Result<Item> {
        let (arguments, name) = (self.pop()?, self.pop()?);
        let (Item::Tuple(arguments), Item::Global(name)) = (arguments, name) else {
            return Err(self.fail("what is called is no name"));
        };
        match (&*name, &arguments[..]) {
            ("collections.OrderedDict", []) => Ok(self.new_dict()),
            ("torch.Size", [sizes]) => Ok(sizes.clone()),
            ("torch._utils._rebuild_parameter", [tensor @ Item::Tensor(_), ..]) => Ok(tensor.clone()),
            (
                "torch._utils._rebuild_tensor_v2",
                [Item::Storage(storage), Item::Int(offset), Item::Tuple(shape), Item::Tuple(strides), ..],
            ) => {
                let sizes = |items: &[Item]| items.iter().map(size).collect::<Option<Vec<usize>>>();
                match (usize::try_from(*offset), sizes(shape), sizes(strides)) {
                    (Ok(offset), Some(shape), Some(strides))
                        if shape.len() == strides.len() && shape.len() <= 64 =>
                    {
                        let storage = storage.clone();
                        Ok(Item::Tensor(Rc::new(TensorRef { storage, offset, shape, strides })))
                    }
                    _ => Err(self.fail("sizes, strides and offset of a tensor are not whole numbers")),
                }
            }
            _ => Err(self.fail(format!("{name} was called with other operands than PyTorch's"))),
        }
    }
}

fn size(item: &Item) -> Option<usize> {
    match item {
        Item::Int(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}
