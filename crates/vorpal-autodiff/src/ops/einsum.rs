//! Contractions in Einstein's notation, made of views, matrix products and sums.

use vorpal_tensor::{At, Error, Result, Shape};

use super::shape_error;
use crate::Tensor;

/// Letters come first, then the axes that an ellipsis stands for, counted from the right.
type Label = usize;

/// Number of letters.
const LETTERS: usize = 52;

/// One sign of the equation; letters with their place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Letter(char, usize),
    Ellipsis,
}

/// An equation as it is written.
struct Equation {
    operands: Vec<Vec<Sign>>,
    output: Option<Vec<Sign>>,
}

/// What an equation means for given operands.
struct Plan {
    operands: Vec<Vec<Label>>,
    output: Vec<Label>,
    /// Size by label.
    sizes: Vec<usize>,
}

/// A factor that is left to multiply.
struct Term {
    x: Tensor,
    labels: Vec<Label>,
}

fn parse(equation: &str) -> Result<Equation, String> {
    let signs: Vec<(usize, char)> =
        equation.chars().enumerate().filter(|(_, c)| !c.is_whitespace()).collect();
    let arrow = signs.windows(2).position(|pair| pair[0].1 == '-' && pair[1].1 == '>');
    let (left, right) = match arrow {
        Some(k) => (&signs[..k], Some(&signs[k + 2..])),
        None => (&signs[..], None),
    };
    let operands = left.split(|&(_, c)| c == ',').map(term).collect::<Result<_, _>>()?;
    Ok(Equation { operands, output: right.map(term).transpose()? })
}

fn term(mut rest: &[(usize, char)]) -> Result<Vec<Sign>, String> {
    let mut out = Vec::new();
    while let Some(&(place, c)) = rest.first() {
        let dots = rest.len() >= 3 && rest[..3].iter().all(|&(_, c)| c == '.');
        let len = match c {
            'a'..='z' | 'A'..='Z' => {
                out.push(Sign::Letter(c, place));
                1
            }
            '.' if dots && out.contains(&Sign::Ellipsis) => {
                return Err(format!("a second ellipsis at position {place}"));
            }
            '.' if dots => {
                out.push(Sign::Ellipsis);
                3
            }
            _ => return Err(format!("'{c}' at position {place} is no label")),
        };
        rest = &rest[len..];
    }
    Ok(out)
}

/// Upper case before lower case, as NumPy orders an implicit output.
fn letter(c: char) -> Label {
    if c.is_ascii_uppercase() { c as usize - 'A' as usize } else { c as usize - 'a' as usize + 26 }
}

fn shown(label: Label) -> String {
    match label {
        0..26 => format!("label '{}'", char::from(b'A' + label as u8)),
        26..LETTERS => format!("label '{}'", char::from(b'a' + (label - 26) as u8)),
        _ => format!("axis {} from the right of the ellipsis", label - LETTERS),
    }
}

impl Equation {
    /// Labels and sizes, for operands of some shapes.
    fn plan(&self, shapes: &[Shape]) -> Result<Plan, String> {
        let mut sizes: Vec<usize> = vec![1; LETTERS];
        let mut known = vec![false; LETTERS];
        let mut operands = Vec::with_capacity(shapes.len());
        for (which, (signs, shape)) in self.operands.iter().zip(shapes).enumerate() {
            let labels = expand(signs, shape.rank()).map_err(|named| {
                format!("operand {which} has {} axes, the equation names {named}", shape.rank())
            })?;
            for (&label, &size) in labels.iter().zip(shape.iter()) {
                if label >= sizes.len() {
                    sizes.resize(label + 1, 1);
                    known.resize(label + 1, false);
                }
                if size != 1 && sizes[label] != 1 && sizes[label] != size {
                    let (name, before) = (shown(label), sizes[label]);
                    return Err(format!("{name} has size {before} and, in operand {which}, size {size}"));
                }
                if size != 1 {
                    sizes[label] = size;
                }
                known[label] = true;
            }
            operands.push(labels);
        }
        let ellipsis: Vec<Label> = (LETTERS..sizes.len()).rev().collect();
        let output = match &self.output {
            Some(signs) => explicit(signs, &ellipsis, &known)?,
            None => {
                let count = |l: Label| operands.iter().flatten().filter(|&&m| m == l).count();
                ellipsis.into_iter().chain((0..LETTERS).filter(|&l| count(l) == 1)).collect()
            }
        };
        Ok(Plan { operands, output, sizes })
    }
}

/// The labels of an operand with `rank` axes, or how many axes the equation names.
fn expand(signs: &[Sign], rank: usize) -> Result<Vec<Label>, String> {
    let letters = signs.iter().filter(|s| **s != Sign::Ellipsis).count();
    let open = letters < signs.len();
    if letters > rank || (letters < rank && !open) {
        return Err(if open { format!("at least {letters}") } else { letters.to_string() });
    }
    let mut labels = Vec::with_capacity(rank);
    for sign in signs {
        match sign {
            Sign::Letter(c, _) => labels.push(letter(*c)),
            Sign::Ellipsis => labels.extend((LETTERS..LETTERS + rank - letters).rev()),
        }
    }
    Ok(labels)
}

fn explicit(signs: &[Sign], ellipsis: &[Label], known: &[bool]) -> Result<Vec<Label>, String> {
    let mut out = Vec::new();
    for sign in signs {
        match *sign {
            Sign::Ellipsis => out.extend_from_slice(ellipsis),
            Sign::Letter(c, place) if !known[letter(c)] => {
                return Err(format!("output label '{c}' at position {place} is in no operand"));
            }
            Sign::Letter(c, place) if out.contains(&letter(c)) => {
                return Err(format!("output label '{c}' at position {place} is there twice"));
            }
            Sign::Letter(c, _) => out.push(letter(c)),
        }
    }
    Ok(out)
}

impl Term {
    /// Each label once, and only those along which the operand varies.
    #[track_caller]
    fn simplified(mut self, sizes: &[usize]) -> Result<Term, String> {
        while let Some((a, b)) = repeated(&self.labels) {
            let (label, shape) = (self.labels[a], self.x.shape());
            if shape[a] != shape[b] {
                let (name, first, second) = (shown(label), shape[a], shape[b]);
                return Err(format!("{name} is repeated in one operand with sizes {first} and {second}"));
            }
            self.x = self.x.diagonal(0, a as isize, b as isize);
            self.labels.remove(b);
            self.labels.remove(a);
            self.labels.push(label);
        }
        for axis in (0..self.labels.len()).rev() {
            if self.x.shape()[axis] == 1 && sizes[self.labels[axis]] != 1 {
                self.x = self.x.squeeze(axis as isize);
                self.labels.remove(axis);
            }
        }
        Ok(self)
    }

    /// Sums over all labels that do not satisfy `keep`.
    #[track_caller]
    fn summed(self, keep: impl Fn(&Label) -> bool) -> Term {
        let mut axes: Vec<isize> = Vec::new();
        for (axis, label) in self.labels.iter().enumerate() {
            if !keep(label) {
                axes.push(axis as isize);
            }
        }
        if axes.is_empty() {
            return self;
        }
        Term { x: self.x.sum(&axes[..]), labels: self.labels.into_iter().filter(keep).collect() }
    }

    /// Axes in the order of some labels; those the term does not have get size 1.
    #[track_caller]
    fn ordered(&self, labels: &[Label]) -> Tensor {
        let mut axes: Vec<isize> = Vec::new();
        for label in labels {
            axes.extend(self.labels.iter().position(|l| l == label).map(|k| k as isize));
        }
        let mut x = self.x.permute(&axes[..]);
        for (axis, label) in labels.iter().enumerate() {
            if !self.labels.contains(label) {
                x = x.unsqueeze(axis as isize);
            }
        }
        x
    }
}

fn repeated(labels: &[Label]) -> Option<(usize, usize)> {
    (0..labels.len()).find_map(|a| (a + 1..labels.len()).find(|&b| labels[b] == labels[a]).map(|b| (a, b)))
}

/// The product of two terms, summed over what nobody else needs.
#[track_caller]
fn product(a: Term, b: Term, needed: impl Fn(&Label) -> bool, sizes: &[usize]) -> Term {
    let (in_a, in_b) = (a.labels.clone(), b.labels.clone());
    let a = a.summed(|l| in_b.contains(l) || needed(l));
    let b = b.summed(|l| in_a.contains(l) || needed(l));
    let (mut batch, mut left, mut contracted) = (Vec::new(), Vec::new(), Vec::new());
    for &label in &a.labels {
        match (b.labels.contains(&label), needed(&label)) {
            (false, _) => left.push(label),
            (true, true) => batch.push(label),
            (true, false) => contracted.push(label),
        }
    }
    let right: Vec<Label> = b.labels.iter().copied().filter(|l| !a.labels.contains(l)).collect();
    let labels: Vec<Label> = [&batch[..], &left, &right].concat();
    if contracted.is_empty() || !a.x.dtype().is_float() {
        // Nothing to sum, or integers, which have no matrix product: every element with every other.
        let all = [&labels[..], &contracted].concat();
        let x = a.ordered(&all) * b.ordered(&all);
        return Term { x, labels: all }.summed(|l| labels.contains(l));
    }
    let size = |labels: &[Label]| labels.iter().map(|&l| sizes[l]).product::<usize>();
    let shape =
        |tail: &[usize]| -> Shape { batch.iter().map(|&l| sizes[l]).chain(tail.iter().copied()).collect() };
    let (rows, inner, columns) = (size(&left), size(&contracted), size(&right));
    let a = a.ordered(&[&batch[..], &left, &contracted].concat()).reshape(shape(&[rows, inner]));
    let b = b.ordered(&[&batch[..], &contracted, &right].concat()).reshape(shape(&[inner, columns]));
    let out: Shape = labels.iter().map(|&l| sizes[l]).collect();
    Term { x: a.matmul(&b).reshape(out), labels }
}

/// Multiplies terms, always the pair that costs least, until one is left.
#[track_caller]
fn contract(mut terms: Vec<Term>, plan: &Plan) -> Tensor {
    while terms.len() > 1 {
        let mut best = (f64::INFINITY, 0, 1);
        for a in 0..terms.len() {
            for b in a + 1..terms.len() {
                let (x, y) = (&terms[a].labels, &terms[b].labels);
                let union = x.iter().chain(y.iter().filter(|l| !x.contains(l)));
                let cost = union.map(|&l| plan.sizes[l] as f64).product::<f64>();
                if cost < best.0 {
                    best = (cost, a, b);
                }
            }
        }
        let second = terms.remove(best.2);
        let first = terms.remove(best.1);
        let needed = |l: &Label| plan.output.contains(l) || terms.iter().any(|t| t.labels.contains(l));
        let joined = product(first, second, needed, &plan.sizes);
        terms.insert(best.1, joined);
    }
    let last = terms.swap_remove(0).summed(|l| plan.output.contains(l));
    last.ordered(&plan.output)
}

impl Tensor {
    /// Any contraction in Einstein's notation, as `numpy.einsum`: labels of axes for every operand, then those of the
    /// result; labels that are not in the result are summed.
    ///
    /// A label repeated in one operand takes its diagonal, `...` stands for any further axes, axes of size 1 broadcast.
    /// Without `->` the result has the labels that occur once, in alphabetical order. Of several operands the pair that
    /// costs least is contracted first. Contractions of floats are matrix products.
    ///
    /// Carries [`Error::Argument`] for an equation that cannot be read (positions count from 0), [`Error::Shape`] when
    /// the operands do not fit it.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2], &Device::cpu());
    /// assert_eq!(Tensor::einsum("ij,jk->ik", &[&a, &a]).to_vec::<f32>()?, [7.0, 10.0, 15.0, 22.0]);
    /// assert_eq!(Tensor::einsum("ii", &[&a]).item::<f32>()?, 5.0);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn einsum(equation: &str, operands: &[&Tensor]) -> Tensor {
        let at = At::caller();
        let refuse = |message: String| {
            Tensor::error(Error::Argument { op: "einsum", message: format!("\"{equation}\": {message}"), at })
        };
        if let Some(failed) = operands.iter().find(|x| x.check().is_err()) {
            return (*failed).clone();
        }
        let parsed = match parse(equation) {
            Ok(parsed) if parsed.operands.len() == operands.len() && !operands.is_empty() => parsed,
            Ok(parsed) => {
                let (named, given) = (parsed.operands.len(), operands.len());
                return refuse(format!("the equation names {named} operands, given {given}"));
            }
            Err(message) => return refuse(message),
        };
        let shapes: Vec<Shape> = operands.iter().map(|x| x.shape()).collect();
        let misfit = |message: String| {
            Tensor::error(shape_error("einsum", format!("\"{equation}\": {message}"), operands, at))
        };
        let plan = match parsed.plan(&shapes) {
            Ok(plan) => plan,
            Err(message) if message.starts_with("output") => return refuse(message),
            Err(message) => return misfit(message),
        };
        let mut terms = Vec::with_capacity(operands.len());
        for (x, labels) in operands.iter().zip(&plan.operands) {
            match (Term { x: (*x).clone(), labels: labels.clone() }).simplified(&plan.sizes) {
                Ok(term) => terms.push(term),
                Err(message) => return misfit(message),
            }
        }
        contract(terms, &plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_read() {
        let equation = parse("...ij, jk -> ...ik").expect("an equation");
        assert_eq!(equation.operands.len(), 2);
        let plan = equation.plan(&[Shape::from([7, 2, 3]), Shape::from([3, 4])]).expect("it fits");
        assert_eq!(plan.operands, [vec![52, letter('i'), letter('j')], vec![letter('j'), letter('k')]]);
        assert_eq!(plan.output, [52, letter('i'), letter('k')]);
        let implicit = parse("ba").expect("an equation").plan(&[Shape::from([2, 3])]).expect("it fits");
        assert_eq!(implicit.output, [letter('a'), letter('b')]);
    }
}
