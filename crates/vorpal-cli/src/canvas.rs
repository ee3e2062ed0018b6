//! A picture of characters: frames, texts, bars, and curves of eight dots a character.

use std::fmt;

/// The colour of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Plain,
    Dim,
    Blue,
    Cyan,
    Green,
}

impl Colour {
    /// The number by which a terminal knows it.
    fn code(self) -> u8 {
        match self {
            Colour::Plain => 0,
            Colour::Dim => 2,
            Colour::Blue => 34,
            Colour::Cyan => 36,
            Colour::Green => 32,
        }
    }
}

/// A part of the picture, in characters.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

/// The picture. What does not fit is left out.
#[derive(Debug)]
pub struct Canvas {
    width: usize,
    height: usize,
    cells: Vec<(char, Colour)>,
}

/// The bits of the dots of a character, by row and column.
const DOTS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

impl Canvas {
    pub fn new(width: usize, height: usize) -> Canvas {
        Canvas { width, height, cells: vec![(' ', Colour::Plain); width * height] }
    }

    fn set(&mut self, x: usize, y: usize, character: char, colour: Colour) {
        if x < self.width && y < self.height {
            self.cells[y * self.width + x] = (character, colour);
        }
    }

    /// A text, at most `room` characters of it.
    pub fn text(&mut self, x: usize, y: usize, room: usize, text: &str, colour: Colour) {
        for (k, character) in text.chars().take(room).enumerate() {
            self.set(x + k, y, character, colour);
        }
    }

    /// A frame with a title; gives what is inside.
    pub fn frame(&mut self, area: Area, title: &str) -> Area {
        let Area { x, y, width, height } = area;
        let (right, bottom) = (x + width.max(2) - 1, y + height.max(2) - 1);
        for k in x + 1..right {
            self.set(k, y, '─', Colour::Dim);
            self.set(k, bottom, '─', Colour::Dim);
        }
        for k in y + 1..bottom {
            self.set(x, k, '│', Colour::Dim);
            self.set(right, k, '│', Colour::Dim);
        }
        for (x, y, corner) in [(x, y, '┌'), (right, y, '┐'), (x, bottom, '└'), (right, bottom, '┘')] {
            self.set(x, y, corner, Colour::Dim);
        }
        self.text(x + 2, y, width.saturating_sub(4), &format!(" {title} "), Colour::Plain);
        Area { x: x + 1, y: y + 1, width: width.saturating_sub(2), height: height.saturating_sub(2) }
    }

    /// A bar of which `share` is filled, in eighths of a character.
    pub fn bar(&mut self, x: usize, y: usize, width: usize, share: f64, colour: Colour) {
        let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
        for k in 0..width {
            let character = match eighths.saturating_sub(k * 8) {
                0 => '·',
                8.. => '█',
                part => ['▏', '▎', '▍', '▌', '▋', '▊', '▉'][part - 1],
            };
            self.set(x + k, y, character, if character == '·' { Colour::Dim } else { colour });
        }
    }

    /// A curve with the ends of its axes. Points that share a column of dots are shown by their mean.
    pub fn curve(&mut self, area: Area, points: &[(f64, f64)], colour: Colour) {
        let finite: Vec<_> = points.iter().filter(|p| p.1.is_finite()).copied().collect();
        let (Some(first), Some(last)) = (finite.first(), finite.last()) else { return };
        // Room for the numbers beside the axes.
        let left = 9.min(area.width / 2);
        let plot = Area {
            x: area.x + left,
            y: area.y,
            width: area.width - left,
            height: area.height.saturating_sub(1),
        };
        if plot.width == 0 || plot.height == 0 {
            return;
        }
        let means = means(&finite, plot.width * 2);
        let (low, high) = means.iter().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(p.1), h.max(p.1)));
        let room = if high > low { 0.0 } else { low.abs().max(1e-6) / 10.0 };
        let (low, high) = (low - room, high + room);

        let rows = plot.height * 4 - 1;
        let row = |value: f64| ((high - value) / (high - low) * rows as f64).round();
        let mut bits = vec![0u8; plot.width * plot.height];
        let mut dot = |x: usize, y: usize| bits[y / 4 * plot.width + x / 2] |= DOTS[y % 4][x % 2];
        let mut from = means.first().map_or((0.0, 0.0), |p| (p.0 as f64, row(p.1)));
        for &(column, value) in &means {
            let to = (column as f64, row(value));
            let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).max(1.0);
            for k in 0..=steps as usize {
                let part = k as f64 / steps;
                let at = |a: f64, b: f64| (a + (b - a) * part).round() as usize;
                dot(at(from.0, to.0), at(from.1, to.1).min(rows));
            }
            from = to;
        }
        for (k, &bits) in bits.iter().enumerate().filter(|(_, bits)| **bits != 0) {
            let character = char::from_u32(0x2800 + u32::from(bits)).unwrap_or(' ');
            self.set(plot.x + k % plot.width, plot.y + k / plot.width, character, colour);
        }
        let beside = left.saturating_sub(1);
        self.text(area.x, plot.y, beside, &format!("{:>beside$}", tick(high)), Colour::Dim);
        let bottom = plot.y + plot.height;
        self.text(area.x, bottom - 1, beside, &format!("{:>beside$}", tick(low)), Colour::Dim);
        self.text(plot.x, bottom, plot.width, &format!("{:.0}", first.0), Colour::Dim);
        let end = format!("{:.0}", last.0);
        self.text(plot.x + plot.width.saturating_sub(end.len()), bottom, plot.width, &end, Colour::Dim);
    }

    /// What a terminal draws the picture from, in its upper left corner.
    pub fn codes(&self) -> String {
        let mut text = "\x1b[H".to_string();
        let mut now = None;
        for (y, line) in self.cells.chunks(self.width.max(1)).enumerate() {
            text.push_str(if y > 0 { "\r\n" } else { "" });
            for &(character, colour) in line {
                if now != Some(colour) {
                    text.push_str(&format!("\x1b[0;{}m", colour.code()));
                    now = Some(colour);
                }
                text.push(character);
            }
        }
        text + "\x1b[0m"
    }
}

/// The characters alone.
impl fmt::Display for Canvas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.cells.chunks(self.width.max(1)) {
            writeln!(f, "{}", line.iter().map(|cell| cell.0).collect::<String>().trim_end())?;
        }
        Ok(())
    }
}

/// The means of the points in each of `columns` columns that has some.
fn means(points: &[(f64, f64)], columns: usize) -> Vec<(usize, f64)> {
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    let scale = if last > first { (columns - 1) as f64 / (last - first) } else { 0.0 };
    let mut sums = vec![(0.0, 0u32); columns];
    for &(x, y) in points {
        let column = (((x - first) * scale).round() as usize).min(columns - 1);
        sums[column] = (sums[column].0 + y, sums[column].1 + 1);
    }
    let filled = sums.into_iter().enumerate().filter(|(_, (_, count))| *count > 0);
    filled.map(|(column, (sum, count))| (column, sum / f64::from(count))).collect()
}

/// A number beside an axis.
fn tick(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (0.01..1000.0).contains(&size) { format!("{value:.3}") } else { format!("{value:.1e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_from_corner_to_corner() {
        let mut canvas = Canvas::new(13, 3);
        let area = Area { x: 0, y: 0, width: 13, height: 3 };
        canvas.curve(area, &[(0.0, 0.0), (1.0, 1.0 / 7.0), (7.0, 1.0)], Colour::Cyan);
        let lines = ["1.000    ⢀⡠⠔⠊", "0.000 ⣀⠔⠊⠁", "      0     7", ""];
        assert_eq!(canvas.to_string(), lines.join("\n"));
    }

    #[test]
    fn whatever_the_size_and_the_numbers_something_is_drawn() {
        let strange = [(1.0, f64::NAN), (2.0, f64::INFINITY), (3.0, 5.0), (3.0, 5.0)];
        for (width, height) in [(0, 0), (1, 1), (3, 2), (10, 4), (80, 24)] {
            let mut canvas = Canvas::new(width, height);
            let inside = canvas.frame(Area { x: 0, y: 0, width, height }, "loss");
            canvas.curve(inside, &[], Colour::Green);
            canvas.curve(inside, &strange, Colour::Green);
            canvas.bar(0, 0, width, f64::NAN, Colour::Blue);
            assert_eq!(canvas.to_string().lines().count(), height);
        }
    }

    #[test]
    fn a_bar_has_eighths() {
        let mut canvas = Canvas::new(4, 1);
        canvas.bar(0, 0, 4, 0.5 + 3.0 / 32.0, Colour::Blue);
        assert_eq!(canvas.to_string(), "██▍·\n");
        assert_eq!(canvas.codes(), "\x1b[H\x1b[0;34m██▍\x1b[0;2m·\x1b[0m");
    }
}
