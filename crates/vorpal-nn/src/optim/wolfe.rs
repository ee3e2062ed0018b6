//! How far to go along a direction: the strong Wolfe conditions (Nocedal & Wright 2006, algorithms 3.5 and 3.6).

use vorpal_autodiff::{Result, Tensor};

/// Share of the decrease that the slope promises.
const DECREASE: f64 = 1e-4;
/// Share of the slope that may be left.
const SLOPE: f64 = 0.9;

/// A function along a line.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub length: f64,
    pub value: f64,
    pub slope: f64,
    pub gradient: Tensor,
}

/// The lowest point of the cubic through two points and their slopes, within bounds.
fn lowest(a: &Point, b: &Point, (low, high): (f64, f64)) -> f64 {
    let (a, b) = if a.length <= b.length { (a, b) } else { (b, a) };
    let width = b.length - a.length;
    let bend = a.slope + b.slope + 3.0 * (b.value - a.value) / -width;
    let square = bend * bend - a.slope * b.slope;
    if square.is_nan() || square < 0.0 {
        return f64::midpoint(low, high);
    }
    let root = square.sqrt();
    let at = b.length - width * ((b.slope + root - bend) / (b.slope - a.slope + 2.0 * root));
    at.max(low).min(high)
}

/// Searches from `here` (length 0), first `length` ahead. `size` is the largest element of the direction, `trials_max` how
/// often the function may be asked for, but for the first time. Gives the
/// point found and how often the function was asked for.
pub(super) fn search(
    at: &mut impl FnMut(f64) -> Result<Point>,
    here: Point,
    length: f64,
    size: f64,
    tolerance: f64,
    trials_max: u64,
) -> Result<(Point, u64)> {
    let too_high = |p: &Point| p.value > here.value + DECREASE * p.length * here.slope;
    let flat = |p: &Point| p.slope.abs() <= -SLOPE * here.slope;
    let (mut before, mut now, mut trials) = (here.clone(), at(length)?, 0);
    // Go ahead until a valley lies between two points.
    let mut bracket = loop {
        if trials == trials_max {
            break [here.clone(), now];
        }
        if too_high(&now) || (trials > 1 && now.value >= before.value) {
            break [before, now];
        }
        if flat(&now) {
            return Ok((now, trials + 1));
        }
        if now.slope >= 0.0 {
            break [before, now];
        }
        let bounds = (now.length + 0.01 * (now.length - before.length), now.length * 10.0);
        let next = lowest(&before, &now, bounds);
        (before, now) = (now, at(next)?);
        trials += 1;
    };
    // Close in on it.
    let mut low = usize::from(bracket[0].value > bracket[1].value);
    let mut stuck = false;
    while trials < trials_max {
        let left = bracket[0].length.min(bracket[1].length);
        let right = bracket[0].length.max(bracket[1].length);
        if (right - left) * size < tolerance {
            break;
        }
        let mut next = lowest(&bracket[0], &bracket[1], (left, right));
        let margin = 0.1 * (right - left);
        if (right - next).min(next - left) < margin {
            if stuck || next >= right || next <= left {
                next =
                    if (next - right).abs() < (next - left).abs() { right - margin } else { left + margin };
                stuck = false;
            } else {
                stuck = true;
            }
        } else {
            stuck = false;
        }
        let new = at(next)?;
        trials += 1;
        if too_high(&new) || new.value >= bracket[low].value {
            bracket[1 - low] = new;
            low = usize::from(bracket[0].value > bracket[1].value);
            continue;
        }
        let done = flat(&new);
        if !done && new.slope * (bracket[1 - low].length - bracket[low].length) >= 0.0 {
            bracket[1 - low] = bracket[low].clone();
        }
        bracket[low] = new;
        if done {
            break;
        }
    }
    let [first, second] = bracket;
    Ok((if low == 0 { first } else { second }, trials + 1))
}
