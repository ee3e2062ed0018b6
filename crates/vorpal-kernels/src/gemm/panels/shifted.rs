//! Products whose panels are not laid out: the line of every term lies at a distance of its own from where a panel begins, as
//! with the planes under a moving window.

use pulp::NullaryFnOnce;
use pulp::x86::{V3, V4};
use vorpal_tensor::{Error, Result};

use super::{At, Line, PANEL, TALL, Tiles, Vectors, add, shares, tallest};
use crate::scratch::Scratch;

/// Terms of a sum that are added at once: what tiles read of rows and planes stays in the first cache.
const DEPTH: usize = 512;
/// Lines of sums that are made before they are stored: the longer the runs of neighbours, the fewer pages are touched.
const SUMS: usize = 512;

/// The factors of a product: rows as [`laid_out`] gives them, and cells. Column `j` of term `k` is cell `offsets[k] + j`.
#[derive(Clone, Copy)]
pub(crate) struct Shifted<'a> {
    pub rows: &'a [f32],
    pub cells: &'a [f32],
    pub offsets: &'a [usize],
}

impl<'a> Shifted<'a> {
    /// Makes `columns` columns of the product and hands them on, some panels at a time: the first column, how many of them
    /// count, and the rows of the panels, one behind the other. Up to a panel behind the last column is read, but does not
    /// count.
    pub fn product(
        self,
        columns: usize,
        room: &mut Scratch<f32>,
        put: impl FnMut([usize; 2], &[f32]),
    ) -> Result<()> {
        let simd = V3::try_new().ok_or_else(|| Error::internal("gemm", "no vectors for shifted lines"))?;
        match V4::try_new() {
            Some(vectors) => self.by(vectors, columns, room, put),
            None => self.by(simd, columns, room, put),
        }
    }

    /// The same by the vectors of a processor.
    fn by<S: Vectors>(
        self,
        vectors: S,
        columns: usize,
        room: &mut Scratch<f32>,
        put: impl FnMut([usize; 2], &[f32]),
    ) -> Result<()> {
        let (terms, most) = (self.offsets.len(), self.offsets.iter().max().copied().unwrap_or(0));
        let reach = most.saturating_add(columns.next_multiple_of(PANEL));
        if terms == 0 || reach > self.cells.len() || !self.rows.len().is_multiple_of(terms) {
            let found = (self.rows.len(), self.cells.len());
            return Err(Error::internal("gemm", format!("{terms} terms up to {reach} of {found:?}")));
        }
        let count = self.rows.len() / terms;
        vectors.run(Product { vectors, factors: self, count, columns, room, put });
        Ok(())
    }

    /// A line.
    ///
    /// # Safety
    /// It lies within the cells.
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn line(self, offset: usize, first: usize) -> &'a Line {
        // SAFETY: as the caller grants; numbers may lie anywhere.
        unsafe { &*self.cells.as_ptr().add(offset + first).cast() }
    }
}

/// A product that was seen to read nothing but cells.
struct Product<'o, 'a, S, F> {
    vectors: S,
    factors: Shifted<'a>,
    /// Rows.
    count: usize,
    columns: usize,
    room: &'o mut Scratch<f32>,
    put: F,
}

impl<S: Vectors, F: FnMut([usize; 2], &[f32])> NullaryFnOnce for Product<'_, '_, S, F> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let (count, columns) = (self.count, self.columns);
        let (wide, together) = (S::wide(tallest(count)), (SUMS / count.max(1)).clamp(4, 64));
        for (first, panels) in shares(columns.div_ceil(PANEL), together) {
            self.room.resize(count * panels * PANEL);
            let mut tiles = Panels {
                vectors: self.vectors,
                factors: self.factors,
                first,
                panels,
                sums: self.room.as_chunks_mut().0,
            };
            for (panel, panels) in shares(panels, wide) {
                for (term, terms) in shares(self.factors.offsets.len(), DEPTH) {
                    for (row, rows) in shares(count, TALL) {
                        S::tile(&mut tiles, At { row, rows, panel, panels, term, terms });
                    }
                }
            }
            let first = first * PANEL;
            (self.put)([first, (panels * PANEL).min(columns - first)], self.room);
        }
    }
}

/// The sums of some panels.
struct Panels<'o, 'a, S> {
    vectors: S,
    factors: Shifted<'a>,
    /// Number of the first.
    first: usize,
    panels: usize,
    sums: &'o mut [Line],
}

impl<S: Vectors> Tiles for Panels<'_, '_, S> {
    #[allow(unsafe_code)]
    #[inline(always)]
    fn tile<const R: usize, const P: usize>(&mut self, at: At) {
        let (s, all) = (self.vectors, self.factors);
        let offsets = &all.offsets[at.term..][..at.terms];
        let rows = &all.rows[at.row * all.offsets.len() + at.term * R..][..at.terms * R];
        let mut sums = [[s.splat(0.0); P]; R];
        let first: [usize; P] = std::array::from_fn(|p| (self.first + at.panel + p) * PANEL);
        for (&offset, rows) in offsets.iter().zip(rows.as_chunks::<R>().0) {
            // SAFETY: the largest offset and all panels were seen to lie within the cells. To ask for every line would bring
            // sums out of their registers.
            let lines = first.map(|first| unsafe { all.line(offset, first) });
            add(s, &mut sums, *rows, lines);
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (out, sum) in self.sums[(at.row + r) * self.panels + at.panel..].iter_mut().zip(sums) {
                let before = if at.term > 0 { s.load(out) } else { s.splat(0.0) };
                *out = s.numbers(s.mul_add(s.splat(1.0), before, sum));
            }
        }
    }
}

/// Lays out rows of terms as products read them: the terms of as many rows as a tile has side by side.
pub(crate) fn laid_out(rows: &[f32], terms: usize) -> Vec<f32> {
    if terms == 0 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(rows.len());
    let all: Vec<&[f32]> = rows.chunks_exact(terms).collect();
    for (row, count) in shares(all.len(), TALL) {
        for k in 0..terms {
            out.extend(all[row..row + count].iter().map(|row| row[k]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_with_shifted_lines_beside_sums_in_f64() {
        let Some(half) = V3::try_new() else { return };
        for (count, terms, columns, reach) in [
            (1, 1, 1usize, 0),
            (3, 7, 15, 40),
            (2, 65, 33, 9),
            (6, 64, 16, 500),
            (7, 600, 100, 1000),
            (13, 1100, 17, 77),
            (64, 30, 700, 2000),
            (5, 3, 0, 4),
        ] {
            let number = |v: usize| ((v * 7919) % 1013) as f32 / 500.0 - 1.0;
            let rows: Vec<f32> = (0..count * terms).map(number).collect();
            // The last term reaches as far as there are cells.
            let offsets: Vec<usize> =
                (1..=terms).map(|k| if k == terms { reach } else { k * 37 % (reach + 1) }).collect();
            let cells: Vec<f32> =
                (0..reach + columns.next_multiple_of(PANEL)).map(|v| number(v + 5)).collect();
            let laid = laid_out(&rows, terms);
            let factors = Shifted { rows: &laid, cells: &cells, offsets: &offsets };
            let mut found = vec![f32::NAN; 2 * count * columns];
            for (way, found) in found.chunks_mut((count * columns).max(1)).enumerate() {
                let put = |[first, some]: [usize; 2], sums: &[f32]| {
                    let pitch = some.next_multiple_of(PANEL);
                    for (row, sums) in sums.chunks(pitch).enumerate() {
                        found[row * columns + first..][..some].copy_from_slice(&sums[..some]);
                    }
                };
                let room = &mut Scratch::new(0);
                let made = match way {
                    0 => factors.product(columns, room, put),
                    _ => factors.by(half, columns, room, put),
                };
                made.expect("it fits");
            }
            for (at, &found) in found.iter().enumerate() {
                let (row, column) = (at / columns % count, at % columns);
                let term =
                    |k: usize| f64::from(rows[row * terms + k]) * f64::from(cells[offsets[k] + column]);
                let sum: f64 = (0..terms).map(term).sum();
                assert!(
                    (f64::from(found) - sum).abs() < 1e-3,
                    "{count}×{terms}×{columns} at {row}, {column}"
                );
            }
        }
    }

    #[test]
    fn lines_outside_of_the_cells_are_refused() {
        let (rows, cells) = ([1.0; 6], [1.0; 40]);
        let made = |rows: &[f32], offsets: &[usize], columns| {
            Shifted { rows, cells: &cells, offsets }.product(columns, &mut Scratch::new(0), |_, _| {})
        };
        assert_eq!(made(&rows, &[24, 0, 3], 10).is_ok(), V3::try_new().is_some());
        assert!(made(&rows, &[25, 0, 3], 10).is_err());
        assert!(made(&rows, &[24, 0, 3], 17).is_err());
        assert!(made(&rows, &[0, usize::MAX, 3], 10).is_err());
        assert!(made(&rows, &[0, 1, 2, 3], 10).is_err());
        assert!(made(&rows, &[], 10).is_err());
    }
}
