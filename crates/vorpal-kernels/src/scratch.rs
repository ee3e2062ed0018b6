//! Room for what is made on the way.

use std::ops::{Deref, DerefMut};

/// Bytes of a line of the caches.
const LINE: usize = 64;

/// Elements from where a line of the caches starts: the widest vectors fill one, and those that lie in two take twice as long.
#[derive(Debug, Default)]
pub(crate) struct Scratch<T> {
    all: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Scratch<T> {
    /// Zeros.
    pub fn new(len: usize) -> Scratch<T> {
        let mut scratch = Scratch { all: Vec::new(), start: 0, len: 0 };
        scratch.resize(len);
        scratch
    }

    /// Makes it as long as this. What it holds then is of no use.
    pub fn resize(&mut self, len: usize) {
        if self.start + len > self.all.len() {
            let more = LINE / size_of::<T>().clamp(1, LINE) - 1;
            // What was there is not copied.
            self.all = Vec::new();
            self.all = vec![T::default(); len + more];
            self.start = self.all.as_ptr().align_offset(LINE).min(more);
        }
        self.len = len;
    }
}

impl<T> Deref for Scratch<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.all[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.all[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Copy + Default + PartialEq + std::fmt::Debug>() {
        let mut scratch = Scratch::<T>::new(0);
        assert!(scratch.is_empty());
        for len in [1, 7, 1000, 3, 100_000] {
            assert!(Scratch::<T>::new(len).iter().all(|&x| x == T::default()));
            scratch.resize(len);
            assert_eq!(scratch.len(), len);
            assert_eq!(scratch.as_ptr().align_offset(LINE), 0, "{len} elements");
            scratch[len - 1] = T::default();
        }
    }

    #[test]
    fn it_starts_where_lines_do() {
        check::<u8>();
        check::<f32>();
        check::<u64>();
    }
}
