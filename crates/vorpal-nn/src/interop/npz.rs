//! NumPy's `.npz`: arrays by name.

use std::collections::BTreeMap;
use std::io::{Read, Write};
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use rawzip::{CompressionMethod, ZipArchive, ZipArchiveEntryWayfinder, ZipArchiveWriter, ZipSliceArchive};
use vorpal_autodiff::{Error, Result};

use super::npy::{npy_from_bytes, npy_to_bytes};
use crate::data::Array;

/// Reads an `.npz` file, compressed or not.
///
/// # Errors
/// [`Error::Io`], or as [`npz_from_bytes`].
#[cfg(not(target_arch = "wasm32"))]
pub fn load_npz(path: impl AsRef<Path>) -> Result<BTreeMap<String, Array>> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
    npz_from_bytes(&bytes, &path.display().to_string())
}

/// Saves arrays as `.npz`. The file is written beside and renamed: it is never half there.
///
/// # Errors
/// [`Error::Io`], or as [`npz_to_bytes`].
#[cfg(not(target_arch = "wasm32"))]
pub fn save_npz(arrays: &BTreeMap<String, Array>, path: impl AsRef<Path>) -> Result<()> {
    crate::write_whole(path.as_ref(), &npz_to_bytes(arrays)?)
}

/// The arrays of the bytes of an `.npz` file; `what` names them in errors.
///
/// # Errors
/// [`Error::Format`] for a broken archive, or as [`npy_from_bytes`] with the name of the array.
///
/// ```
/// use std::collections::BTreeMap;
/// use vorpal_nn::data::Array;
/// use vorpal_nn::interop::{npz_from_bytes, npz_to_bytes};
/// let arrays = BTreeMap::from([("x".to_string(), Array::new(&[1i64, 2], [2])?)]);
/// assert_eq!(npz_from_bytes(&npz_to_bytes(&arrays)?, "two numbers")?, arrays);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub fn npz_from_bytes(bytes: &[u8], what: &str) -> Result<BTreeMap<String, Array>> {
    let archive = Archive::open(bytes, what)?;
    let mut arrays = BTreeMap::new();
    for name in archive.names() {
        let array = npy_from_bytes(&archive.read(&name)?, &format!("{what}: {name}"))?;
        arrays.insert(name.strip_suffix(".npy").unwrap_or(&name).to_string(), array);
    }
    Ok(arrays)
}

/// Arrays as the bytes of an `.npz` file, not compressed, as `numpy.savez` writes it.
///
/// # Errors
/// As [`npy_to_bytes`].
pub fn npz_to_bytes(arrays: &BTreeMap<String, Array>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut writer = ZipArchiveWriter::new(&mut out);
    for (name, array) in arrays {
        let bytes = npy_to_bytes(array)?;
        add(&mut writer, &format!("{name}.npy"), &bytes).map_err(|e| broken(&format!("npz: {name}"), &e))?;
    }
    writer.finish().map_err(|e| broken("npz", &e))?;
    Ok(out)
}

fn add<W: Write>(writer: &mut ZipArchiveWriter<W>, name: &str, bytes: &[u8]) -> Result<(), rawzip::Error> {
    let (mut entry, config) = writer.new_file(name).compression_method(CompressionMethod::STORE).start()?;
    let mut data = config.wrap(&mut entry);
    data.write_all(bytes)?;
    let (_, descriptor) = data.finish()?;
    entry.finish(descriptor)?;
    Ok(())
}

fn broken(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::format(what, format!("zip archive: {error}"))
}

/// Largest file of an archive that is unpacked, in bytes: one that claims more is taken to lie.
const UNPACKED_MAX: u64 = 1 << 36;

/// A zip archive in memory.
pub(super) struct Archive<'a> {
    zip: ZipSliceArchive<&'a [u8]>,
    files: BTreeMap<String, (ZipArchiveEntryWayfinder, CompressionMethod)>,
    what: &'a str,
}

impl<'a> Archive<'a> {
    /// Reads the list of files.
    pub fn open(bytes: &'a [u8], what: &'a str) -> Result<Archive<'a>> {
        let zip = ZipArchive::from_slice(bytes).map_err(|e| broken(what, &e))?;
        let mut files = BTreeMap::new();
        let mut entries = zip.entries();
        while let Some(entry) = entries.next_entry().map_err(|e| broken(what, &e))? {
            let name = String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned();
            files.insert(name, (entry.wayfinder(), entry.compression_method()));
        }
        Ok(Archive { zip, files, what })
    }

    /// Names of the files.
    pub fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// The content of a file, held to its checksum.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let what = || format!("{}: {name}", self.what);
        let (place, method) =
            self.files.get(name).ok_or_else(|| Error::format(what(), "the archive has no such file"))?;
        let entry = self.zip.get_entry(*place).map_err(|e| broken(&what(), &e))?;
        let mut out = Vec::new();
        let read = match *method {
            CompressionMethod::STORE => {
                entry.verifying_reader(entry.data()).take(UNPACKED_MAX).read_to_end(&mut out)
            }
            CompressionMethod::DEFLATE => {
                let plain = flate2::bufread::DeflateDecoder::new(entry.data());
                entry.verifying_reader(plain).take(UNPACKED_MAX).read_to_end(&mut out)
            }
            other => {
                return Err(Error::format(
                    what(),
                    format!("compressed by method {other:?}, which is not read"),
                ));
            }
        };
        read.map_err(|e| broken(&what(), &e))?;
        Ok(out)
    }
}
