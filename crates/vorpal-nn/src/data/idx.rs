//! The IDX format of the MNIST files.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use vorpal_tensor::{Error, Result, Shape};

/// An array of bytes as an IDX file holds it.
///
/// The format (Y. LeCun, "The MNIST database of handwritten digits"): two zero bytes, a type code
/// (`0x08` for unsigned bytes, the only one MNIST uses), the number of axes, each size as a
/// big-endian 32-bit number, then the elements in row-major order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// Sizes of the axes.
    pub shape: Shape,
    /// Elements in row-major order.
    pub data: Vec<u8>,
}

/// Type code of unsigned bytes.
const UNSIGNED_BYTES: u8 = 0x08;
/// Largest array that is accepted, in bytes: a file that claims more is taken to lie.
const BYTES_MAX: usize = 1 << 30;

impl Idx {
    /// Reads IDX bytes, gzipped or plain; `what` names them in errors.
    ///
    /// # Errors
    /// [`Error::Format`] for anything but exactly one array of unsigned bytes: a wrong magic number or
    /// type, a truncated header, fewer or more elements than the header says, broken compression.
    ///
    /// ```
    /// use vorpal_nn::data::Idx;
    /// let idx = Idx::parse(&[0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9], "three bytes")?;
    /// assert_eq!((idx.shape.dims(), &idx.data[..]), (&[3][..], &[7, 8, 9][..]));
    /// # Ok::<(), vorpal_tensor::Error>(())
    /// ```
    pub fn parse(bytes: &[u8], what: &str) -> Result<Idx> {
        Idx::parse_plain(&unzipped(bytes, what)?, what)
    }

    fn parse_plain(bytes: &[u8], what: &str) -> Result<Idx> {
        let fail = |message: String| Err(Error::format(what, message));
        let &[zero0, zero1, code, rank, ref rest @ ..] = bytes else {
            return fail(format!("an IDX header needs 4 bytes, found {}", bytes.len()));
        };
        if (zero0, zero1) != (0, 0) {
            return fail(format!("an IDX file starts with two zero bytes, found {zero0:#04x} {zero1:#04x}"));
        }
        if code != UNSIGNED_BYTES {
            return fail(format!("expected unsigned bytes (type 0x08), found type {code:#04x}"));
        }
        let rank = usize::from(rank);
        let Some((sizes, data)) = rest.split_at_checked(4 * rank) else {
            return fail(format!("the header ends before the sizes of its {rank} axes"));
        };
        let shape: Shape = sizes
            .chunks_exact(4)
            .map(|s| s.iter().fold(0usize, |size, &byte| (size << 8) | usize::from(byte)))
            .collect();
        match shape.checked_numel().filter(|&n| n <= BYTES_MAX) {
            None => fail(format!("the header claims {shape}, more than {BYTES_MAX} bytes")),
            Some(n) if n != data.len() => {
                fail(format!("the header claims {shape} = {n} bytes, found {}", data.len()))
            }
            Some(_) => Ok(Idx { shape, data: data.to_vec() }),
        }
    }

    /// Reads an IDX file, gzipped or plain.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Format`] as for [`Idx::parse`].
    pub fn load(path: impl AsRef<Path>) -> Result<Idx> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
        Idx::parse(&bytes, &path.display().to_string())
    }
}

/// What gzipped bytes hold; others as they are. `what` names them in errors.
///
/// ```
/// use vorpal_nn::data::unzipped;
/// assert_eq!(*unzipped(b"plain", "these bytes")?, *b"plain");
/// assert!(unzipped(&[0x1f, 0x8b, 8], "these bytes").is_err());
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
///
/// # Errors
/// [`Error::Format`] for a broken stream, or one that holds more than a gibibyte.
pub fn unzipped<'a>(bytes: &'a [u8], what: &str) -> Result<Cow<'a, [u8]>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut plain = Vec::new();
    let read = flate2::read::GzDecoder::new(bytes).take(BYTES_MAX as u64 + 1).read_to_end(&mut plain);
    read.map_err(|e| Error::format(what, format!("broken gzip stream after {} bytes: {e}", plain.len())))?;
    if plain.len() > BYTES_MAX {
        return Err(Error::format(what, format!("the gzip stream holds more than {BYTES_MAX} bytes")));
    }
    Ok(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn file(sizes: &[u32], data: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 0, UNSIGNED_BYTES, sizes.len() as u8];
        out.extend(sizes.iter().flat_map(|s| s.to_be_bytes()));
        out.extend(data);
        out
    }

    fn message(bytes: &[u8]) -> String {
        Idx::parse(bytes, "digits").expect_err("a broken file").to_string()
    }

    #[test]
    fn lies_are_named() {
        assert_eq!(message(&[0, 0]), "digits: an IDX header needs 4 bytes, found 2");
        assert_eq!(message(b"PK\x03\x04"), "digits: an IDX file starts with two zero bytes, found 0x50 0x4b");
        assert_eq!(message(&[0, 0, 13, 1]), "digits: expected unsigned bytes (type 0x08), found type 0x0d");
        assert_eq!(
            message(&[0, 0, 8, 2, 0, 0, 0, 1]),
            "digits: the header ends before the sizes of its 2 axes"
        );
        assert_eq!(message(&file(&[2, 3], &[0; 5])), "digits: the header claims [2, 3] = 6 bytes, found 5");
        assert!(message(&file(&[u32::MAX; 3], &[])).contains("more than"));
        assert!(message(&[0x1f, 0x8b, 8, 0, 0]).contains("broken gzip stream"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Idx::load("/nowhere/train-images-idx3-ubyte").expect_err("no such file");
        assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("train-images-idx3-ubyte")));
    }

    proptest! {
        #[test]
        fn round_trips_gzipped_and_plain(rows in 0u32..9, cols in 0u32..9, fill in any::<u8>()) {
            let data: Vec<u8> = (0..rows * cols).map(|i| (i as u8).wrapping_mul(fill)).collect();
            let plain = file(&[rows, cols], &data);
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&plain).unwrap();
            let packed = gzip.finish().unwrap();
            let idx = Idx::parse(&plain, "plain").unwrap();
            prop_assert_eq!(&idx.data, &data);
            prop_assert_eq!(Idx::parse(&packed, "gzip").unwrap(), idx);
            prop_assert!(Idx::parse(&packed[..packed.len() - 1], "cut").is_err());
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Idx::parse(&bytes, "noise");
        }
    }
}
