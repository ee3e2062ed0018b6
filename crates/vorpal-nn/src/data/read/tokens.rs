//! Texts as lines and as windows of tokens.

#[cfg(not(target_arch = "wasm32"))]
use std::fs::File;
#[cfg(not(target_arch = "wasm32"))]
use std::io::{Read, Seek, SeekFrom};
#[cfg(not(target_arch = "wasm32"))]
use std::path::{Path, PathBuf};
#[cfg(not(target_arch = "wasm32"))]
use std::sync::{Mutex, PoisonError};

use vorpal_autodiff::{Error, Result};

use crate::data::Dataset;

/// The lines of a UTF-8 file, without their ends.
///
/// # Errors
/// [`Error::Io`], or [`Error::Format`] with the offset of what is not UTF-8.
#[cfg(not(target_arch = "wasm32"))]
pub fn read_lines(path: impl AsRef<Path>) -> Result<crate::data::Samples<String>> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        Error::format(path.display().to_string(), format!("not UTF-8 at byte {}", e.valid_up_to()))
    })?;
    Ok(crate::data::Samples(text.lines().map(str::to_string).collect()))
}

/// Windows on a list of tokens: each sample is `window` tokens and the same moved on by one, what a language model is to
/// say after each.
///
/// ```
/// use vorpal_nn::data::{Dataset, TokenWindows};
/// let windows = TokenWindows::new((0..10).collect(), 4, 4)?;
/// assert_eq!(windows.len(), 2);
/// assert_eq!(windows.get(1)?, (vec![4, 5, 6, 7], vec![5, 6, 7, 8]));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokenWindows {
    tokens: Vec<i32>,
    window: usize,
    stride: usize,
}

impl TokenWindows {
    /// Windows that begin every `stride` tokens.
    ///
    /// # Errors
    /// [`Error::Argument`] for a window or a stride of 0, or when the tokens do not fill one window.
    #[track_caller]
    pub fn new(tokens: Vec<i32>, window: usize, stride: usize) -> Result<TokenWindows> {
        check(tokens.len(), window, stride)?;
        Ok(TokenWindows { tokens, window, stride })
    }
}

#[track_caller]
fn check(tokens: usize, window: usize, stride: usize) -> Result<()> {
    if window == 0 || stride == 0 || tokens <= window {
        let message = format!("windows of {window} tokens and the next, every {stride}, of {tokens} tokens");
        return Err(Error::argument("windows of tokens", message));
    }
    Ok(())
}

/// Windows of `window` tokens and one more.
fn count(tokens: usize, window: usize, stride: usize) -> usize {
    tokens.checked_sub(window + 1).map_or(0, |free| free / stride + 1)
}

impl Dataset for TokenWindows {
    type Item = (Vec<i32>, Vec<i32>);
    fn len(&self) -> usize {
        count(self.tokens.len(), self.window, self.stride)
    }
    fn get(&self, index: usize) -> Result<Self::Item> {
        crate::data::dataset::check(index, self.len())?;
        let part = &self.tokens[index * self.stride..][..self.window + 1];
        Ok((part[..self.window].to_vec(), part[1..].to_vec()))
    }
}

/// How a file holds a token, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenWidth {
    /// Two bytes, as nanoGPT's `.bin` files.
    U16,
    /// Four bytes.
    U32,
}

impl TokenWidth {
    /// Bytes of a token.
    pub fn bytes(self) -> usize {
        match self {
            TokenWidth::U16 => 2,
            TokenWidth::U32 => 4,
        }
    }
}

/// Windows on files of tokens that need not fit in memory: as [`TokenWindows`], read when they are asked for. No window
/// goes from one file into the next.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub struct TokenShards {
    shards: Vec<Shard>,
    width: TokenWidth,
    window: usize,
    stride: usize,
}

#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: Mutex<File>,
    /// Windows up to the end of this file.
    until: usize,
}

#[cfg(not(target_arch = "wasm32"))]
impl TokenShards {
    /// Opens files.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be opened, [`Error::Format`] for one that is not a whole number of tokens,
    /// [`Error::Argument`] when no file fills a window.
    #[track_caller]
    pub fn open<P: AsRef<Path>>(
        paths: &[P],
        width: TokenWidth,
        window: usize,
        stride: usize,
    ) -> Result<TokenShards> {
        let (mut shards, mut until, mut longest) = (Vec::with_capacity(paths.len()), 0, 0);
        for path in paths {
            let path = path.as_ref();
            let file = File::open(path).map_err(|e| Error::io(path, &e))?;
            let bytes = file.metadata().map_err(|e| Error::io(path, &e))?.len() as usize;
            let tokens = bytes / width.bytes();
            if !bytes.is_multiple_of(width.bytes()) {
                let message = format!(
                    "{bytes} bytes are no whole number of tokens of {} bytes: the one at byte {} is cut short",
                    width.bytes(),
                    tokens * width.bytes()
                );
                return Err(Error::format(path.display().to_string(), message));
            }
            longest = longest.max(tokens);
            until += if stride == 0 { 0 } else { count(tokens, window, stride) };
            shards.push(Shard { path: path.to_path_buf(), file: Mutex::new(file), until });
        }
        check(longest, window, stride)?;
        Ok(TokenShards { shards, width, window, stride })
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Dataset for TokenShards {
    type Item = (Vec<i32>, Vec<i32>);
    fn len(&self) -> usize {
        self.shards.last().map_or(0, |shard| shard.until)
    }
    fn get(&self, index: usize) -> Result<Self::Item> {
        crate::data::dataset::check(index, self.len())?;
        let k = self.shards.partition_point(|shard| shard.until <= index);
        let before = k.checked_sub(1).map_or(0, |k| self.shards[k].until);
        let (shard, width) = (&self.shards[k], self.width.bytes());
        let start = (index - before) * self.stride * width;
        let mut bytes = vec![0; (self.window + 1) * width];
        let mut file = shard.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(start as u64)).and_then(|_| file.read_exact(&mut bytes));
        drop(file);
        read.map_err(|e| {
            let message = format!("tokens from byte {start} on: {e}");
            Error::Io { path: shard.path.display().to_string(), message }
        })?;
        let token = |b: &[u8]| b.iter().rev().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) as i32;
        let tokens: Vec<i32> = bytes.chunks_exact(width).map(token).collect();
        Ok((tokens[..self.window].to_vec(), tokens[1..].to_vec()))
    }
}
