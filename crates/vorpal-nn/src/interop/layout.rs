//! Elements of foreign files in our order and our types.

use vorpal_autodiff::{DType, Error, Result, Shape};

use crate::data::Array;

/// An element type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// One of ours, stored alike.
    Same(DType),
    /// One byte, 0 or 1.
    Bool,
    /// 16 bits, widened to `I32`.
    I16,
    /// 16 bits, widened to `I32`.
    U16,
}

impl Foreign {
    /// Bytes of an element in the file.
    pub fn size(self) -> usize {
        match self {
            Foreign::Same(dtype) => dtype.size(),
            Foreign::Bool => 1,
            Foreign::I16 | Foreign::U16 => 2,
        }
    }

    /// The type it gets here.
    pub fn dtype(self) -> DType {
        match self {
            Foreign::Same(dtype) => dtype,
            Foreign::Bool => DType::Bool,
            Foreign::I16 | Foreign::U16 => DType::I32,
        }
    }

    fn put(self, element: &[u8], out: &mut Vec<u8>) {
        let [low, high] = [element.first(), element.get(1)].map(|b| b.copied().unwrap_or(0));
        match self {
            Foreign::Same(_) => out.extend_from_slice(element),
            Foreign::Bool => out.extend_from_slice(&u32::from(low != 0).to_le_bytes()),
            Foreign::I16 => out.extend_from_slice(&i32::from(i16::from_le_bytes([low, high])).to_le_bytes()),
            Foreign::U16 => out.extend_from_slice(&i32::from(u16::from_le_bytes([low, high])).to_le_bytes()),
        }
    }
}

/// A window on the elements of a file.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub of: Foreign,
    pub big_endian: bool,
    /// The first element.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// In elements.
    pub strides: Vec<usize>,
}

/// Most elements a window may have beyond what the file holds: a stride of 0 repeats without bound.
const REPEATED_MAX: usize = 1 << 28;

impl Window {
    /// Row-major elements from the first on.
    pub fn dense(of: Foreign, big_endian: bool, shape: Vec<usize>) -> Window {
        let strides =
            Shape::from(&shape[..]).contiguous_strides().iter().map(|&s| s.max(0) as usize).collect();
        Window { of, big_endian, offset: 0, shape, strides }
    }

    /// Number of elements and the number of the last one in the file.
    fn extent(&self) -> Option<(usize, usize)> {
        let count = self.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
        if count == 0 {
            return Some((0, 0));
        }
        let mut last = self.offset;
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            last = last.checked_add((size - 1).checked_mul(stride)?)?;
        }
        Some((count, last))
    }

    /// The elements in row-major order.
    pub fn read(&self, bytes: &[u8], what: &str) -> Result<Array> {
        let size = self.of.size();
        let held = bytes.len() / size;
        let lies = || {
            let shape = Shape::from(&self.shape[..]);
            let message = format!(
                "{shape} elements of {size} bytes with strides {:?} from {} on do not lie in {} bytes",
                self.strides,
                self.offset,
                bytes.len()
            );
            Error::format(what, message)
        };
        let (count, last) = self.extent().ok_or_else(lies)?;
        if count > 0 && (last >= held || count > held.max(REPEATED_MAX))
            || self.strides.len() != self.shape.len()
        {
            return Err(lies());
        }
        let mut out = Vec::with_capacity(count * self.of.dtype().size());
        let dense = Window::dense(self.of, self.big_endian, self.shape.clone()).strides == self.strides;
        if dense && !self.big_endian && matches!(self.of, Foreign::Same(_)) {
            out.extend_from_slice(&bytes[self.offset * size..(self.offset + count) * size]);
        } else {
            let mut place = vec![0usize; self.shape.len()];
            let mut element = [0u8; 8];
            for _ in 0..count {
                let at = self.offset + place.iter().zip(&self.strides).map(|(p, s)| p * s).sum::<usize>();
                let element = &mut element[..size];
                element.copy_from_slice(&bytes[at * size..(at + 1) * size]);
                if self.big_endian {
                    element.reverse();
                }
                self.of.put(element, &mut out);
                for (p, &n) in place.iter_mut().zip(&self.shape).rev() {
                    *p += 1;
                    if *p < n {
                        break;
                    }
                    *p = 0;
                }
            }
        }
        Array::from_bytes(out, &self.shape[..], self.of.dtype())
    }
}
