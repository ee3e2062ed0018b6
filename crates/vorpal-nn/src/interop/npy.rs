//! NumPy's `.npy`: one array.

use std::path::Path;

use vorpal_autodiff::{DType, Error, Result};

use super::layout::{Foreign, Window};
use crate::data::Array;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads an `.npy` file.
///
/// # Errors
/// [`Error::Io`], or as [`npy_from_bytes`].
pub fn load_npy(path: impl AsRef<Path>) -> Result<Array> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
    npy_from_bytes(&bytes, &path.display().to_string())
}

/// Saves an array as `.npy`. The file is written beside and renamed: it is never half there.
///
/// # Errors
/// [`Error::Io`], or as [`npy_to_bytes`].
#[cfg(not(target_arch = "wasm32"))]
pub fn save_npy(array: &Array, path: impl AsRef<Path>) -> Result<()> {
    crate::write_whole(path.as_ref(), &npy_to_bytes(array)?)
}

/// The array of the bytes of an `.npy` file; `what` names them in errors. 16-bit integers become `I32`, all others keep
/// their type. Column-major and big-endian arrays are put in order.
///
/// # Errors
/// [`Error::Format`] with the offset for anything that is not one whole array of numbers.
///
/// ```
/// use vorpal_nn::data::Array;
/// use vorpal_nn::interop::{npy_from_bytes, npy_to_bytes};
/// let x = Array::new(&[1.5f32, -2.0, 0.25], [3])?;
/// assert_eq!(npy_from_bytes(&npy_to_bytes(&x)?, "three numbers")?, x);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub fn npy_from_bytes(bytes: &[u8], what: &str) -> Result<Array> {
    let fail = |at: usize, message: String| Error::format(what, format!("{message} at byte {at}"));
    if !bytes.starts_with(MAGIC) {
        return Err(fail(0, "an .npy file starts with \\x93NUMPY, which is not there".to_string()));
    }
    let ends = || fail(bytes.len(), "the header ends early".to_string());
    let (start, len) = match *bytes.get(6..12).ok_or_else(ends)? {
        [1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([a, b]))),
        [2 | 3, _, a, b, c, d] => (12, u32::from_le_bytes([a, b, c, d]) as usize),
        [major, minor, ..] => return Err(fail(6, format!("version {major}.{minor} is not known"))),
        _ => return Err(ends()),
    };
    let header = bytes.get(start..).and_then(|rest| rest.get(..len)).ok_or_else(ends)?;
    let header = std::str::from_utf8(header)
        .map_err(|e| fail(start + e.valid_up_to(), "the header is no text".into()))?;
    let header = Header::parse(header).map_err(|(at, message)| fail(start + at, message))?;
    let (of, big_endian) = foreign(&header.descr)
        .ok_or_else(|| fail(start, format!("elements of type {} are not read", header.descr)))?;
    let data = &bytes[start + len..];
    let mut window = Window::dense(of, big_endian, header.shape.clone());
    let expected = header.shape.iter().try_fold(of.size(), |n, &size| n.checked_mul(size));
    if expected != Some(data.len()) {
        let message =
            format!("{:?} elements of {} bytes, found {} bytes", header.shape, of.size(), data.len());
        return Err(fail(start + len, message));
    }
    if header.fortran_order {
        let reversed: Vec<usize> = header.shape.iter().rev().copied().collect();
        window.strides = Window::dense(of, big_endian, reversed).strides.into_iter().rev().collect();
    }
    window.read(data, what)
}

/// An array as the bytes of an `.npy` file. `BF16` has no type there and becomes `F32`.
///
/// # Errors
/// What the conversion of `BF16` gives.
pub fn npy_to_bytes(array: &Array) -> Result<Vec<u8>> {
    let descr = match array.dtype() {
        DType::F64 => "<f8",
        DType::F32 | DType::BF16 => "<f4",
        DType::F16 => "<f2",
        DType::I64 => "<i8",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
        DType::I8 => "|i1",
        DType::U8 => "|u1",
        DType::Bool => "|b1",
    };
    let sizes: String = array.shape().iter().map(|size| format!("{size}, ")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", sizes.trim_end());
    // The elements begin at a multiple of 64.
    header.push_str(&" ".repeat((64 - (12 + header.len() + 1) % 64) % 64));
    header.push('\n');
    let mut out = MAGIC.to_vec();
    out.extend([2, 0]);
    out.extend((header.len() as u32).to_le_bytes());
    out.extend(header.as_bytes());
    match array.dtype() {
        DType::Bool => out.extend(array.to_vec::<bool>()?.into_iter().map(u8::from)),
        DType::BF16 => {
            // The upper half of an f32.
            array.bytes().chunks_exact(2).for_each(|half| out.extend([0, 0, half[0], half[1]]));
        }
        _ => out.extend_from_slice(array.bytes()),
    }
    Ok(out)
}

/// The type of a `descr` like `<f4` and whether its bytes stand the other way round.
fn foreign(descr: &str) -> Option<(Foreign, bool)> {
    let order = descr.chars().next()?;
    let of = match descr.get(1..)? {
        "f8" => Foreign::Same(DType::F64),
        "f4" => Foreign::Same(DType::F32),
        "f2" => Foreign::Same(DType::F16),
        "i8" => Foreign::Same(DType::I64),
        "i4" => Foreign::Same(DType::I32),
        "u4" => Foreign::Same(DType::U32),
        "i2" => Foreign::I16,
        "u2" => Foreign::U16,
        "i1" => Foreign::Same(DType::I8),
        "u1" => Foreign::Same(DType::U8),
        "b1" => Foreign::Bool,
        _ => return None,
    };
    matches!(order, '<' | '>' | '|' | '=').then_some((of, order == '>'))
}

/// What the header's dictionary says.
#[derive(Default)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`; an error has its place.
    fn parse(text: &str) -> Result<Header, (usize, String)> {
        let mut rest = text.trim_end();
        let at = |rest: &str| text.len() - text.trim_end().len() + text.trim_end().len() - rest.len();
        let mut header = Header::default();
        let mut seen = 0;
        skip(&mut rest, "{").ok_or((0, "a dictionary was expected".to_string()))?;
        while skip(&mut rest, "}").is_none() {
            let place = at(rest);
            let bad = |message: &str| (place, format!("{message} in the header"));
            let key = quoted(&mut rest).ok_or_else(|| bad("a name was expected"))?;
            skip(&mut rest, ":").ok_or_else(|| bad("a colon was expected"))?;
            match key {
                "descr" => {
                    let text = quoted(&mut rest)
                        .ok_or_else(|| bad("records are not read: one type was expected"))?;
                    header.descr = text.to_string();
                }
                "fortran_order" => {
                    header.fortran_order = skip(&mut rest, "True").is_some();
                    if !header.fortran_order {
                        skip(&mut rest, "False").ok_or_else(|| bad("True or False was expected"))?;
                    }
                }
                "shape" => header.shape = sizes(&mut rest).ok_or_else(|| bad("sizes were expected"))?,
                other => return Err(bad(&format!("{other:?} is not known"))),
            }
            seen += 1;
            skip(&mut rest, ",");
        }
        if seen != 3 || header.descr.is_empty() {
            return Err((0, "descr, fortran_order and shape were expected in the header".to_string()));
        }
        Ok(header)
    }
}

/// Goes past `token`, if it is next.
fn skip(rest: &mut &str, token: &str) -> Option<()> {
    *rest = rest.trim_start().strip_prefix(token)?;
    Some(())
}

/// A text in single or double quotes.
fn quoted<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start();
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (inner, after) = text[1..].split_once(quote)?;
    *rest = after;
    Some(inner)
}

/// `(2, 3)`, `(2,)` or `()`.
fn sizes(rest: &mut &str) -> Option<Vec<usize>> {
    skip(rest, "(")?;
    let (inner, after) = rest.split_once(')')?;
    *rest = after;
    let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    let parts = parts.strip_suffix(&[""]).unwrap_or(&parts);
    (parts.len() <= 32).then_some(())?;
    parts.iter().map(|size| size.parse().ok()).collect()
}
