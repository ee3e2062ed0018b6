//! Small files that make the next start faster: what was compiled or measured on this machine.
//!
//! They live in the folder that `VORPAL_CACHE` names; without it in `$XDG_CACHE_HOME/vorpal`, else `~/.cache/vorpal`.
//! An empty `VORPAL_CACHE` keeps nothing. Whoever reads must check what is read: files can be old or broken.

use std::io::Write;
use std::path::PathBuf;

use crate::{Error, Result};

/// The folder of such files; `None` where there is none, as in a browser.
pub fn cache_folder() -> Option<PathBuf> {
    if cfg!(target_arch = "wasm32") {
        return None;
    }
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let folder = match (of("VORPAL_CACHE"), of("XDG_CACHE_HOME")) {
        (Some(folder), _) => folder,
        (None, Some(cache)) if cache.is_absolute() => cache.join("vorpal"),
        _ => of("HOME").or_else(|| of("LOCALAPPDATA"))?.join(".cache").join("vorpal"),
    };
    (!folder.as_os_str().is_empty()).then_some(folder)
}

/// The file of this name, unless it is not there or longer than `bytes_max`.
pub fn read_cached(name: &str, bytes_max: u64) -> Option<Vec<u8>> {
    let path = cache_folder()?.join(name);
    let length = std::fs::metadata(&path).ok()?.len();
    if length > bytes_max { None } else { std::fs::read(path).ok() }
}

/// Writes the file of this name beside its place and renames it, so that whoever reads sees the old content or the new.
/// Nothing where there is no folder for it.
///
/// # Errors
/// [`Error::Io`].
pub fn write_cached(name: &str, bytes: &[u8]) -> Result<()> {
    let Some(folder) = cache_folder() else { return Ok(()) };
    let path = folder.join(name);
    // Two processes may write at once.
    let beside = folder.join(format!("{name}.{}.part", std::process::id()));
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(&folder)?;
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(bytes)?;
        drop(file);
        std::fs::rename(&beside, &path)
    };
    write().map_err(|error| {
        // It is of no use, and may not even be there.
        let _ = std::fs::remove_file(&beside);
        Error::io(&path, &error)
    })
}

/// A hash that is the same in every process and every version (FNV-1a).
pub fn stable_hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for part in parts {
        // The length keeps neighbours from running into each other.
        part.len().to_le_bytes().into_iter().for_each(&mut add);
        part.iter().copied().for_each(&mut add);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_fixed_and_tell_parts_apart() {
        assert_eq!(stable_hash(&[]), 0xcbf2_9ce4_8422_2325);
        assert_ne!(stable_hash(&[b"ab", b"c"]), stable_hash(&[b"a", b"bc"]));
        assert_ne!(stable_hash(&[b"a"]), stable_hash(&[b"a", b""]));
    }
}
