//! Shapes: the sizes of a tensor's axes, outermost first.

use smallvec::SmallVec;

use crate::DType;

/// Sizes of the axes, outermost first. Rank 0 is a scalar with one element.
#[derive(PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Shape(pub(crate) SmallVec<[usize; 6]>);

// Every node of a graph has a shape and many are passed on: sizes are copied at once, not one by one as `SmallVec` does it.
impl Clone for Shape {
    fn clone(&self) -> Shape {
        Shape(SmallVec::from_slice(&self.0))
    }
}

impl Shape {
    /// The shape of a scalar.
    pub fn scalar() -> Shape {
        Shape(SmallVec::new())
    }

    /// The sizes as a slice.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements, or `None` when it does not fit a `usize`.
    pub fn checked_numel(&self) -> Option<usize> {
        if self.0.contains(&0) {
            return Some(0);
        }
        self.0.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }

    /// Number of elements; saturates where the product does not fit.
    pub fn numel(&self) -> usize {
        self.checked_numel().unwrap_or(usize::MAX)
    }

    /// Row-major strides in elements.
    pub fn contiguous_strides(&self) -> SmallVec<[isize; 6]> {
        let mut strides: SmallVec<[isize; 6]> = smallvec::smallvec![0; self.rank()];
        let mut step = 1isize;
        for (stride, &size) in strides.iter_mut().zip(&self.0).rev() {
            *stride = step;
            step = step.wrapping_mul(size.max(1) as isize);
        }
        strides
    }

    /// The shape both operands broadcast to under NumPy's rules, if any.
    ///
    /// Axes are aligned from the right; sizes must be equal or one of them 1.
    ///
    /// ```
    /// use vorpal_tensor::Shape;
    /// let a = Shape::from([3, 1]);
    /// assert_eq!(a.broadcast(&Shape::from([4])), Some(Shape::from([3, 4])));
    /// assert_eq!(a.broadcast(&Shape::from([2, 2])), None);
    /// ```
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let mut out = SmallVec::with_capacity(rank);
        for axis in 0..rank {
            let a = size_from_right(self, rank - axis);
            let b = size_from_right(other, rank - axis);
            out.push(match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            });
        }
        Some(Shape(out))
    }

    /// A copy with one axis replaced by another size.
    pub fn with_axis(&self, axis: usize, size: usize) -> Shape {
        let mut out = self.clone();
        out.0[axis] = size;
        out
    }

    /// A copy without one axis.
    pub fn without_axis(&self, axis: usize) -> Shape {
        let mut out = self.clone();
        out.0.remove(axis);
        out
    }

    /// dtype and shape in one word, as in `f32[2, 3]`.
    pub fn describe(&self, dtype: DType) -> String {
        format!("{dtype}{self}")
    }
}

fn size_from_right(shape: &Shape, back: usize) -> usize {
    if back > shape.rank() { 1 } else { shape.0[shape.rank() - back] }
}

impl std::ops::Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Shape {
        Shape(SmallVec::from_slice(&dims))
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Shape {
        Shape(SmallVec::from_slice(dims))
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Shape {
        Shape(SmallVec::from_slice(&dims))
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Shape {
        shape.clone()
    }
}

impl From<usize> for Shape {
    fn from(size: usize) -> Shape {
        Shape::from([size])
    }
}

impl From<()> for Shape {
    fn from((): ()) -> Shape {
        Shape::scalar()
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(dims: I) -> Shape {
        Shape(dims.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numel_counts_and_overflows() {
        assert_eq!(Shape::scalar().numel(), 1);
        assert_eq!(Shape::from([3, 0, usize::MAX]).checked_numel(), Some(0));
        assert_eq!(Shape::from([usize::MAX, 2]).checked_numel(), None);
    }

    #[test]
    fn broadcasting_follows_numpy() {
        let s = |d: &[usize]| Shape::from(d);
        assert_eq!(s(&[]).broadcast(&s(&[2])), Some(s(&[2])));
        assert_eq!(s(&[0]).broadcast(&s(&[1])), Some(s(&[0])));
        assert_eq!(s(&[5, 1, 3]).broadcast(&s(&[4, 1])), Some(s(&[5, 4, 3])));
        assert_eq!(s(&[2]).broadcast(&s(&[3])), None);
    }
}
