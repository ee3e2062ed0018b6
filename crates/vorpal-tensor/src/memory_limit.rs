//! How much memory a device that shares the host's may use.

use crate::{At, Error, Result};

/// Bytes in a text such as `512M`, `8G` or `1000000`.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        _ => (text, 0),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The limit that `VORPAL_MEMORY_LIMIT` asks for, if it is set.
///
/// # Errors
/// [`Error::Argument`] when it is set to something that is no size.
#[track_caller]
pub(crate) fn from_environment() -> Result<Option<u64>> {
    let Ok(text) = std::env::var("VORPAL_MEMORY_LIMIT") else { return Ok(None) };
    match parse_bytes(&text) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(Error::Argument {
            op: "VORPAL_MEMORY_LIMIT",
            message: format!("expected bytes such as 512M or 8G, found \"{text}\""),
            at: At::caller(),
        }),
    }
}

/// Memory the host can give now, or no limit where the system does not tell.
pub(crate) fn of_host() -> u64 {
    let available = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let group = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse::<u64>().ok());
    available.unwrap_or(u64::MAX).min(group.unwrap_or(u64::MAX))
}

fn read(path: &str) -> Option<String> {
    if cfg!(target_os = "linux") { std::fs::read_to_string(path).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(parse_bytes("1000"), Some(1000));
        assert_eq!(parse_bytes(" 2k "), Some(2048));
        assert_eq!(parse_bytes("3M"), Some(3 << 20));
        assert_eq!(parse_bytes("8 G"), Some(8 << 30));
        for bad in ["", "G", "-1", "1T", "lots", "99999999999G"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_host_has_memory() {
        assert!(of_host() > 1 << 20);
    }
}
