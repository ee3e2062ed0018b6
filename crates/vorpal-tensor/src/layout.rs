//! Layouts: how logical elements map to places in a buffer.

use smallvec::SmallVec;

use crate::Shape;

/// Strides in elements, one per axis.
pub type Strides = SmallVec<[isize; 6]>;

/// A strided window on a buffer: element `[i0, i1, …]` lives at `offset + Σ iₖ·strideₖ`.
///
/// Strides may be zero (broadcast) or negative (flip). A layout with `bounds` is a *padded* view:
/// coordinates outside `lo..hi` of an axis hold a fill value instead of reading the buffer, so
/// `offset` alone may point before the buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Logical shape.
    pub shape: Shape,
    /// Stride of each axis, in elements.
    pub strides: Strides,
    /// Where the element at the origin lives, in elements.
    pub offset: isize,
    /// `lo..hi` of each axis that is backed by the buffer; empty when all are.
    pub bounds: SmallVec<[(usize, usize); 2]>,
}

impl Layout {
    /// Row-major, gapless, from the start of the buffer.
    pub fn contiguous(shape: impl Into<Shape>) -> Layout {
        let shape = shape.into();
        let strides = shape.contiguous_strides();
        Layout { shape, strides, offset: 0, bounds: SmallVec::new() }
    }

    /// Whether logical order is buffer order from `offset`, without gaps or fill.
    pub fn is_contiguous(&self) -> bool {
        if !self.bounds.is_empty() {
            return false;
        }
        let mut step = 1isize;
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if size == 0 {
                return true;
            }
            if size != 1 && stride != step {
                return false;
            }
            step *= size as isize;
        }
        true
    }

    /// Whether this layout is the identity on a buffer of exactly its elements.
    pub fn is_identity(&self) -> bool {
        self.offset == 0 && self.is_contiguous()
    }

    /// Axes in another order: axis `k` of the result is axis `axes[k]` of `self`.
    pub fn permute(&self, axes: &[usize]) -> Layout {
        Layout {
            shape: axes.iter().map(|&a| self.shape[a]).collect(),
            strides: axes.iter().map(|&a| self.strides[a]).collect(),
            offset: self.offset,
            bounds: if self.bounds.is_empty() {
                SmallVec::new()
            } else {
                axes.iter().map(|&a| self.bounds[a]).collect()
            },
        }
    }

    /// Broadcasts to a larger shape by NumPy's rules; the caller has checked that it fits.
    pub fn broadcast_to(&self, shape: &Shape) -> Layout {
        let lead = shape.rank() - self.shape.rank();
        let mut strides: Strides = smallvec::smallvec![0; shape.rank()];
        let mut bounds = SmallVec::new();
        if !self.bounds.is_empty() {
            bounds = shape.iter().map(|&d| (0, d)).collect();
        }
        for axis in 0..self.shape.rank() {
            let stretched = self.shape[axis] == 1 && shape[lead + axis] != 1;
            if !stretched {
                strides[lead + axis] = self.strides[axis];
            }
            if !self.bounds.is_empty() {
                let (lo, hi) = self.bounds[axis];
                let whole = lo == 0 && hi >= self.shape[axis];
                bounds[lead + axis] = match (stretched, whole) {
                    (false, _) => (lo, hi),
                    (true, true) => (0, shape[lead + axis]),
                    (true, false) => (0, 0),
                };
            }
        }
        Layout { shape: shape.clone(), strides, offset: self.offset, bounds }
    }

    /// `len` elements of one axis from `start`, every `step`-th (`step` ≥ 1).
    pub fn slice(&self, axis: usize, start: usize, len: usize, step: usize) -> Layout {
        let mut out = self.clone();
        out.shape = self.shape.with_axis(axis, len);
        out.offset += start as isize * self.strides[axis];
        out.strides[axis] *= step as isize;
        if let Some(bound) = out.bounds.get_mut(axis) {
            let cut = |edge: usize| edge.saturating_sub(start).div_ceil(step).min(len);
            *bound = (cut(bound.0), cut(bound.1));
        }
        out
    }

    /// One axis in reverse order.
    pub fn flip(&self, axis: usize) -> Layout {
        let mut out = self.clone();
        let size = self.shape[axis];
        out.offset += size.saturating_sub(1) as isize * self.strides[axis];
        out.strides[axis] = -self.strides[axis];
        if let Some(bound) = out.bounds.get_mut(axis) {
            *bound = (size - bound.1.min(size), size - bound.0.min(size));
        }
        out
    }

    /// Adds `before` and `after` fill elements around each axis; `None` when `self` is already
    /// padded (a view holds one fill value).
    pub fn pad(&self, before: &[usize], after: &[usize]) -> Option<Layout> {
        if !self.bounds.is_empty() {
            return None;
        }
        let mut out = self.clone();
        out.shape = (0..self.shape.rank()).map(|a| before[a] + self.shape[a] + after[a]).collect();
        for (axis, &lo) in before.iter().enumerate() {
            out.offset -= lo as isize * self.strides[axis];
            out.bounds.push((lo, lo + self.shape[axis]));
        }
        Some(out)
    }

    /// The same elements under another shape, or `None` where that needs a copy.
    pub fn reshape(&self, shape: &Shape) -> Option<Layout> {
        debug_assert_eq!(self.shape.numel(), shape.numel());
        if shape == &self.shape {
            return Some(self.clone());
        }
        if !self.bounds.is_empty() {
            return None;
        }
        if shape.numel() == 0 {
            return Some(Layout { offset: self.offset, ..Layout::contiguous(shape.clone()) });
        }
        // Runs of axes that are contiguous among themselves may be regrouped freely.
        let runs = self.collapse();
        let mut strides: Strides = SmallVec::new();
        let mut axes = shape.iter().copied().peekable();
        for (&size, &stride) in runs.shape.iter().zip(&runs.strides) {
            let mut group: SmallVec<[usize; 6]> = SmallVec::new();
            let mut have = 1usize;
            while have < size {
                let d = axes.next()?;
                have *= d;
                group.push(d);
            }
            if have != size {
                return None;
            }
            let mut steps: Strides = SmallVec::new();
            let mut step = stride;
            for &d in group.iter().rev() {
                steps.push(step);
                step *= d as isize;
            }
            strides.extend(steps.into_iter().rev());
        }
        for d in axes {
            debug_assert_eq!(d, 1);
            strides.push(0);
        }
        Some(Layout { shape: shape.clone(), strides, offset: self.offset, bounds: SmallVec::new() })
    }

    /// The same map from linear logical index to place, with as few axes as possible: axes of size
    /// one are dropped and neighbours that step evenly are merged.
    pub fn collapse(&self) -> Layout {
        let mut out = Layout {
            shape: Shape::scalar(),
            strides: SmallVec::new(),
            offset: self.offset,
            bounds: SmallVec::new(),
        };
        if self.shape.contains(&0) {
            out.shape = Shape::from([0]);
            out.strides.push(1);
            return out;
        }
        let guarded =
            |axis: usize| self.bounds.get(axis).is_some_and(|&(lo, hi)| lo > 0 || hi < self.shape[axis]);
        let any_guard = (0..self.shape.rank()).any(guarded);
        let mut last_guarded = false;
        for axis in 0..self.shape.rank() {
            let (size, stride) = (self.shape[axis], self.strides[axis]);
            let guard = guarded(axis);
            if size == 1 && !guard {
                continue;
            }
            if let Some(last) = out.strides.last_mut()
                && !guard
                && !last_guarded
                && *last == stride * size as isize
            {
                *last = stride;
                let merged = out.shape.0.len() - 1;
                out.shape.0[merged] *= size;
                if let Some(bound) = out.bounds.last_mut() {
                    *bound = (0, out.shape.0[merged]);
                }
                continue;
            }
            out.shape.0.push(size);
            out.strides.push(stride);
            if any_guard {
                out.bounds.push(if guard { self.bounds[axis] } else { (0, size) });
            }
            last_guarded = guard;
        }
        out
    }

    /// A window on what this layout shows, `window` being what it is on a buffer of that in row-major order: as a window on
    /// the buffer behind. `None` where this layout is padded, where an axis of the window steps backwards, and where one runs
    /// over axes that do not step evenly.
    ///
    /// ```
    /// # use vorpal_tensor::Layout;
    /// let columns = Layout::contiguous([3, 4]).permute(&[1, 0]);
    /// let upper = Layout::contiguous([4, 3]).slice(0, 0, 2, 1);
    /// assert_eq!(columns.through(&upper), Some(columns.slice(0, 0, 2, 1)));
    /// assert_eq!(columns.through(&Layout::contiguous([12])), None);
    /// ```
    pub fn through(&self, window: &Layout) -> Option<Layout> {
        let inside = |axis: usize| {
            let (lo, hi) = window.bounds.get(axis).copied().unwrap_or((0, window.shape[axis]));
            (lo, hi.min(window.shape[axis]).saturating_sub(lo))
        };
        let axes = 0..window.shape.rank();
        if !self.bounds.is_empty() || self.shape.contains(&0) || axes.clone().any(|axis| inside(axis).1 == 0)
        {
            return None;
        }
        let runs = self.collapse();
        let units = runs.shape.contiguous_strides();
        let first = axes.clone().map(|axis| inside(axis).0 as isize * window.strides[axis]).sum::<isize>();
        let mut rest = window.offset + first;
        let (mut offset, mut last) = (runs.offset, SmallVec::<[isize; 6]>::new());
        for (&unit, &stride) in units.iter().zip(&runs.strides) {
            let coordinate = rest.div_euclid(unit);
            rest -= coordinate * unit;
            offset += coordinate * stride;
            last.push(coordinate);
        }
        if rest != 0 {
            return None;
        }
        let mut strides = Strides::new();
        for axis in axes {
            let ((lo, len), step) = (inside(axis), window.strides[axis]);
            if len == 1 || step == 0 {
                strides.push(0);
                continue;
            }
            let run = units.iter().position(|&unit| unit <= step && step % unit == 0)?;
            let times = step / units[run];
            last[run] += times * (len as isize - 1);
            strides.push(times * runs.strides[run]);
            offset -= lo as isize * times * runs.strides[run];
        }
        let fits = |(&last, &size): (&isize, &usize)| (0..size as isize).contains(&last);
        last.iter().zip(runs.shape.iter()).all(fits).then(|| Layout {
            shape: window.shape.clone(),
            strides,
            offset,
            bounds: window.bounds.clone(),
        })
    }

    /// Where the element with a linear logical index lives; `None` in the fill of a padded view.
    pub fn place(&self, mut index: usize) -> Option<usize> {
        let mut at = self.offset;
        let mut inside = true;
        for axis in (0..self.shape.rank()).rev() {
            let size = self.shape[axis].max(1);
            let coordinate = index % size;
            index /= size;
            at += coordinate as isize * self.strides[axis];
            if let Some(&(lo, hi)) = self.bounds.get(axis) {
                inside &= (lo..hi).contains(&coordinate);
            }
        }
        inside.then_some(at as usize)
    }

    /// One past the largest place the layout reads; 0 when it reads nothing.
    pub fn span(&self) -> usize {
        self.extremes().map_or(0, |[_, last]| (last + 1).max(0) as usize)
    }

    /// The smallest place the layout reads; `None` when it reads nothing.
    pub fn first(&self) -> Option<usize> {
        self.extremes().map(|[first, _]| first.max(0) as usize)
    }

    /// The smallest and the largest place.
    fn extremes(&self) -> Option<[isize; 2]> {
        let [mut first, mut last] = [self.offset; 2];
        for axis in 0..self.shape.rank() {
            let (lo, hi) = self.bounds.get(axis).copied().unwrap_or((0, self.shape[axis]));
            if hi <= lo || self.shape[axis] == 0 {
                return None;
            }
            let stride = self.strides[axis];
            let [low, high] = [lo as isize * stride, (hi - 1) as isize * stride];
            first += low.min(high);
            last += low.max(high);
        }
        Some([first, last])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(layout: &Layout) -> Vec<Option<usize>> {
        (0..layout.shape.numel()).map(|i| layout.place(i)).collect()
    }

    #[test]
    fn views_compose() {
        let base = Layout::contiguous([2, 3, 4]);
        let t = base.permute(&[2, 0, 1]);
        assert_eq!(t.place(1), Some(4));
        let s = t.slice(0, 1, 2, 2).flip(1);
        assert_eq!(s.shape, Shape::from([2, 2, 3]));
        assert_eq!(places(&s)[..4], [Some(13), Some(17), Some(21), Some(1)]);
        assert_eq!(s.span(), 24);
    }

    #[test]
    fn collapse_keeps_the_map() {
        let cases = [
            Layout::contiguous([2, 3, 4]),
            Layout::contiguous([2, 1, 4]).broadcast_to(&Shape::from([5, 2, 3, 4])),
            Layout::contiguous([2, 3, 4]).permute(&[1, 0, 2]).slice(2, 1, 2, 1),
            Layout::contiguous([3, 4]).pad(&[1, 0], &[0, 2]).expect("unpadded"),
            Layout::contiguous([1, 4]).pad(&[1, 0], &[1, 0]).expect("unpadded").permute(&[1, 0]),
        ];
        for layout in cases {
            assert_eq!(places(&layout), places(&layout.collapse()), "{layout:?}");
        }
    }

    #[test]
    fn reshape_is_a_view_where_strides_allow() {
        let base = Layout::contiguous([4, 6]);
        assert!(base.reshape(&Shape::from([2, 2, 3, 2])).is_some_and(|l| l.is_identity()));
        let t = base.permute(&[1, 0]);
        assert!(t.reshape(&Shape::from([24])).is_none());
        let split = t.reshape(&Shape::from([2, 3, 4])).expect("splits one axis");
        assert_eq!(places(&split), places(&t));
        let sliced = base.slice(1, 0, 4, 1).reshape(&Shape::from([4, 2, 2, 1])).expect("inner axis");
        assert_eq!(places(&sliced), places(&base.slice(1, 0, 4, 1)));
    }

    #[test]
    fn padding_guards() {
        let p = Layout::contiguous([2]).pad(&[1], &[2]).expect("unpadded");
        assert_eq!(places(&p), [None, Some(0), Some(1), None, None]);
        assert_eq!(places(&p.flip(0)), [None, None, Some(1), Some(0), None]);
        assert_eq!(places(&p.slice(0, 1, 2, 2)), [Some(0), None]);
        assert!(p.pad(&[1], &[0]).is_none());
    }

    #[test]
    fn the_extremes_are_those_of_all_places() {
        let base = Layout::contiguous([4, 6]);
        let padded = base.pad(&[1, 2], &[0, 1]).expect("unpadded");
        for layout in [
            base.slice(0, 2, 2, 1),
            base.slice(1, 1, 3, 2).flip(1).flip(0),
            padded.clone(),
            padded.slice(0, 3, 2, 1).flip(1),
            padded.slice(1, 0, 2, 1),
            base.slice(0, 4, 0, 1),
        ] {
            let all = places(&layout);
            assert_eq!(layout.first(), all.iter().flatten().min().copied(), "{layout:?}");
            assert_eq!(layout.span(), all.iter().flatten().max().map_or(0, |&last| last + 1), "{layout:?}");
        }
    }

    #[test]
    fn windows_on_windows() {
        let base = Layout::contiguous([4, 6, 5]);
        let shown = [
            base.clone(),
            base.permute(&[2, 0, 1]),
            base.slice(1, 1, 4, 1),
            base.slice(2, 1, 2, 2).flip(0),
            base.slice(0, 1, 1, 1),
            Layout::contiguous([6, 1]).broadcast_to(&Shape::from([6, 4])),
            Layout::contiguous(Shape::scalar()),
        ];
        let (mut found, mut refused) = (0, 0);
        for layout in &shown {
            let n = layout.shape.numel();
            let whole = Layout::contiguous(layout.shape.clone());
            let mut windows = vec![
                whole.clone(),
                Layout::contiguous([n]),
                Layout::contiguous([n]).slice(0, 0, n.div_ceil(3), 2),
            ];
            let rank = layout.shape.rank();
            if rank > 0 {
                let turned: Vec<usize> = (0..rank).rev().collect();
                windows.push(whole.permute(&turned));
                windows.push(whole.flip(0));
                windows.push(whole.slice(rank - 1, 1, layout.shape[rank - 1] - 1, 1).permute(&turned));
                windows.push(whole.pad(&vec![1; rank], &vec![2; rank]).expect("unpadded"));
                let padded = whole.permute(&turned).pad(&vec![0; rank], &vec![1; rank]).expect("unpadded");
                windows.push(padded.slice(0, 1, 2.min(padded.shape[0] - 1), 1));
                windows.push(whole.slice(0, 0, 1, 1).broadcast_to(&layout.shape));
            }
            for window in &windows {
                let expected: Vec<_> =
                    places(window).into_iter().map(|at| at.and_then(|at| layout.place(at))).collect();
                match layout.through(window) {
                    Some(both) => assert_eq!(places(&both), expected, "{layout:?} through {window:?}"),
                    None => refused += 1,
                }
                found += 1;
            }
        }
        assert!(found > 50 && refused < found / 3, "{refused} of {found} refused");
        // Heads side by side, read from rows that hold one number more.
        let rows = Layout::contiguous([2, 3, 7, 5]).slice(3, 0, 4, 1);
        let heads = Layout::contiguous([2, 3, 7, 4]).permute(&[0, 2, 1, 3]);
        assert_eq!(rows.through(&heads), Some(rows.permute(&[0, 2, 1, 3])));
        let padded = heads.pad(&[0, 0, 3, 0], &[0; 4]).expect("unpadded");
        assert_eq!(rows.through(&padded), rows.permute(&[0, 2, 1, 3]).pad(&[0, 0, 3, 0], &[0; 4]));
    }
}
