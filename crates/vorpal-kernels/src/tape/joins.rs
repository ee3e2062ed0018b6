//! Steps that one pass can do.

use smallvec::SmallVec;
use vorpal_tensor::{DType, Layout};

use super::{Action, Class, Draft, Maker};
use crate::chain::{
    Pair, is_difference, is_error_function, is_exponential, is_product, is_sum, normalizes, pair,
};
use crate::standardize::{Link, Links, NUMBERS, Standardize};
use crate::{Access, ReduceKind};

/// What does a step and one before it, of which drafts, and which that is.
type Joined = (Action, SmallVec<[usize; 3]>, usize);

/// Of how many elements again and again the first so many lie before a limit: those of places that count along one axis alone.
fn turn(places: &Layout, limit: f64) -> Option<[usize; 2]> {
    let mut counted = (0..places.shape.len()).filter(|&axis| places.strides[axis] != 0);
    let (axis, None) = (counted.next()?, counted.next()) else { return None };
    let run: usize = places.shape[axis + 1..].iter().product();
    let is_plain = places.offset == 0 && places.strides[axis] == 1 && places.bounds.is_empty();
    let limit = (is_plain && limit > 0.0 && limit.fract() == 0.0).then_some(limit as usize)?;
    (limit < places.shape[axis]).then_some([places.shape[axis] * run, limit * run])
}

/// Of how many elements again and again the first so many are outside of a window, if `front`, or else inside.
fn bound(window: &Layout, front: bool) -> Option<[usize; 2]> {
    let whole = |axis: &usize| window.bounds[*axis] == (0, window.shape[*axis]);
    let mut cut = (0..window.bounds.len()).filter(|axis| !whole(axis));
    let (axis, None) = (cut.next()?, cut.next()) else { return None };
    let (size, run) = (window.shape[axis], window.shape[axis + 1..].iter().product::<usize>());
    let limit = match window.bounds[axis] {
        (low, high) if front && high == size => low,
        (0, high) if !front => high,
        _ => return None,
    };
    Some([size * run, limit * run])
}

impl Maker<'_> {
    /// Joins steps of arithmetic that one pass can do, where nothing else reads what lies between them.
    pub(super) fn join(&mut self, goals: &[usize]) {
        for k in (0..self.drafts.len()).filter(|&k| !self.drafts[k].gone).collect::<Vec<_>>() {
            for operand in self.drafts[k].operands.clone() {
                self.drafts[operand].uses += 1;
            }
        }
        goals.iter().for_each(|&k| self.drafts[k].uses += 1);
        (0..self.drafts.len()).for_each(|k| self.windows(k));
        let floats: Vec<usize> =
            (0..self.drafts.len()).filter(|&k| self.drafts[k].dtype == DType::F32).collect();
        let rules: [fn(&Self, usize) -> Option<Joined>; 2] = [Self::joined, Self::normalized];
        for rule in rules {
            for &k in &floats {
                let Some((action, operands, inner)) = rule(self, k) else { continue };
                self.drafts[inner].gone = true;
                (self.drafts[k].action, self.drafts[k].operands) = (action, operands);
                self.deviation(k);
            }
        }
        floats.iter().for_each(|&k| self.standardize(k, goals));
        floats.iter().for_each(|&k| self.error_gate(k));
        // Numbers that were spread over rows for steps that are gone.
        for k in 0..self.drafts.len() {
            let is_spread =
                matches!(self.drafts[k].action, Action::Spread(_)) && self.drafts[k].sink.is_none();
            let is_read = |draft: &Draft| !draft.gone && draft.operands.contains(&k);
            if is_spread && !goals.contains(&k) && !self.drafts.iter().any(is_read) {
                self.drafts[k].gone = true;
            }
        }
    }

    /// Rows that are normalised by what follows from their own sums take those themselves, where nothing else reads them.
    fn standardize(&mut self, k: usize, goals: &[usize]) {
        let (Action::Normalize(_), &[x, mean, factor, weight, bias]) =
            (&self.drafts[k].action, &self.drafts[k].operands[..])
        else {
            return;
        };
        // Of a value that is made once there may be but one row.
        if self.drafts[x].once {
            return;
        }
        let mut operands = smallvec::smallvec![x, weight, bias];
        let mut inner = Vec::new();
        let of_sum = |draft: &Draft| {
            matches!(draft.action, Action::Reduce { kind: ReduceKind::Sum, .. }) && draft.operands[0] == x
        };
        let of_deviation =
            |draft: &Draft| matches!(draft.action, Action::Deviation(_)) && draft.operands[..] == [x, mean];
        let Some(mean) = self.links(mean, of_sum, &mut operands, &mut inner) else { return };
        let Some(factor) = self.links(factor, of_deviation, &mut operands, &mut inner) else { return };
        let outside = |(j, draft): (usize, &Draft)| {
            j != k && !draft.gone && !inner.contains(&j) && draft.operands.iter().any(|j| inner.contains(j))
        };
        if self.drafts.iter().enumerate().any(outside) || goals.iter().any(|goal| inner.contains(goal)) {
            return;
        }
        inner.iter().for_each(|&j| self.drafts[j].gone = true);
        let action = Action::Standardize { how: Standardize { mean, factor }, operands: SmallVec::new() };
        (self.drafts[k].action, self.drafts[k].operands) = (action, operands);
    }

    /// The links that lead from `base` to draft `k`. Numbers that they take are added to `operands`, behind the three that links
    /// do not name; drafts that they replace, to `inner`.
    fn links(
        &self,
        mut k: usize,
        base: impl Fn(&Draft) -> bool,
        operands: &mut SmallVec<[usize; 3]>,
        inner: &mut Vec<usize>,
    ) -> Option<Links> {
        let mut links = Links::new();
        loop {
            let draft = &self.drafts[k];
            if draft.class != Class::Row || draft.sink.is_some() || draft.home.is_some() || draft.gone {
                return None;
            }
            inner.push(k);
            if base(draft) {
                links.reverse();
                return Some(links);
            }
            let Action::Call { f, .. } = draft.action else { return None };
            let number = |k: usize| match &self.drafts[k] {
                Draft { class: Class::Uniform, .. } => Some(k),
                Draft { action: Action::Spread(_), operands, .. } => Some(operands[0]),
                _ => None,
            };
            let (next, with) = match draft.operands[..] {
                [next] => (next, None),
                [next, other] | [other, next] if number(other).is_some() => (next, number(other)),
                _ => return None,
            };
            let place = operands.len() - 3;
            links.push(Link::of(f, with.map(|_| place))?);
            operands.extend(with);
            if place == NUMBERS {
                return None;
            }
            k = next;
        }
    }

    /// Elements of one window up to a place, and of another from there on: what decides between them for each need not be made.
    /// Programs that turn but a few times, as along an outermost axis, were cut there before ([`parts`](crate::parts)).
    fn windows(&mut self, k: usize) {
        let call = |k: usize, name: &str| match &self.drafts[k] {
            Draft { action: Action::Call { f, .. }, operands, gone: false, .. } if f.name == name => {
                Some(&operands[..])
            }
            _ => None,
        };
        let window = |k: usize| match &self.drafts[k] {
            Draft {
                action: Action::Load { arg, layout, .. }, home: None, sink: None, once: false, ..
            } => (self.args[*arg].access == Access::Read).then_some((*arg, layout)),
            _ => None,
        };
        if !self.is_wide(k) || self.drafts[k].once {
            return;
        }
        let Some(&[decision, then, other]) = call(k, "select") else { return };
        let Some(&[place, limit]) = call(decision, "less") else { return };
        if ![place, then, other].into_iter().all(|k| self.is_wide(k)) {
            return;
        }
        let (Some(front), Some(back)) = (window(then), window(other)) else { return };
        let Action::Place(places) = &self.drafts[place].action else { return };
        let limit = match &self.drafts[limit] {
            Draft { action: Action::Spread(_), operands, .. } => &self.drafts[operands[0]].action,
            Draft { action, .. } => action,
        };
        let Action::Constant(limit) = *limit else { return };
        let cut = turn(places, limit);
        if cut.is_none() || cut != bound(front.1, false) || cut != bound(back.1, true) {
            return;
        }
        let windows = [front, back].map(|(arg, layout)| (arg, layout.clone()));
        for operand in std::mem::take(&mut self.drafts[k].operands) {
            self.release(operand);
        }
        self.drafts[k].action = Action::Joined(Box::new(windows));
    }

    /// Takes note of a step that no longer reads a draft.
    fn release(&mut self, k: usize) {
        self.drafts[k].uses -= 1;
        if self.drafts[k].uses == 0 && self.drafts[k].sink.is_none() && self.drafts[k].home.is_none() {
            self.drafts[k].gone = true;
            for operand in self.drafts[k].operands.clone() {
                self.release(operand);
            }
        }
    }

    /// A product with what an error function makes of the same values, of which nothing else reads what lies between.
    fn error_gate(&mut self, k: usize) {
        let number = |k: usize| self.drafts[k].class == Class::Uniform;
        // The function that made an operand, and of what.
        let made = |k: usize| match &self.drafts[k] {
            Draft { action: Action::Call { f, .. }, operands, home: None, sink: None, uses: 1, .. } => {
                Some((*f, &operands[..]))
            }
            _ => None,
        };
        let Action::Pair { pair: Pair::MulMul, .. } = self.drafts[k].action else { return };
        let &[a, b, sum] = &self.drafts[k].operands[..] else { return };
        let Some((add, &[function, d])) = made(sum) else { return };
        let Some((erf, &[product])) = made(function) else { return };
        let Some((mul, &[x, c])) = made(product) else { return };
        let same = x == a && is_sum(add) && is_error_function(erf) && is_product(mul);
        if same && self.is_wide(a) && [b, c, d].into_iter().all(number) {
            [c, d].into_iter().for_each(|k| self.drafts[k].uses += 1);
            self.release(sum);
            self.drafts[k].operands = smallvec::smallvec![a, b, c, d];
            self.drafts[k].action = Action::ErrorGate(SmallVec::new());
        }
    }

    /// A sum of squares of differences makes the differences itself, which are cheaper than a pass.
    fn deviation(&mut self, k: usize) {
        let operands = match (&self.drafts[k].action, &self.drafts[k].operands[..]) {
            (Action::Dot(_), &[a, b]) if a == b => match &self.drafts[a] {
                Draft {
                    action: Action::Call { f, .. },
                    operands,
                    home: None,
                    sink: None,
                    once: false,
                    ..
                } if is_difference(f) && !self.is_wide(operands[1]) => operands.clone(),
                _ => return,
            },
            _ => return,
        };
        let inner = self.drafts[k].operands[0];
        self.drafts[inner].uses -= 2;
        self.drafts[inner].gone = self.drafts[inner].uses == 0;
        (self.drafts[k].action, self.drafts[k].operands) = (Action::Deviation(SmallVec::new()), operands);
    }

    pub(super) fn is_wide(&self, k: usize) -> bool {
        self.drafts[k].class == Class::Full
    }

    /// Two pairs that normalise, of which nothing else reads the first.
    fn normalized(&self, k: usize) -> Option<Joined> {
        let Action::Pair { pair: Pair::MulAdd, .. } = self.drafts[k].action else { return None };
        let inner = self.drafts[k].operands[0];
        let first = &self.drafts[inner];
        let Action::Pair { pair: Pair::SubMul, .. } = first.action else { return None };
        if first.uses != 1 || first.sink.is_some() {
            return None;
        }
        let operands: SmallVec<[usize; 3]> =
            first.operands.iter().chain(&self.drafts[k].operands[1..]).copied().collect();
        let &[a, b, c, d, e] = &operands[..] else { return None };
        normalizes([a, b, c, d, e].map(|k| self.is_wide(k))).then_some((
            Action::Normalize(SmallVec::new()),
            operands,
            inner,
        ))
    }

    /// What does a step and one of those before it, of which operands, and which that is.
    fn joined(&self, k: usize) -> Option<Joined> {
        let draft = &self.drafts[k];
        // The function of an operand, where only this step reads it.
        let inner = |at: usize| {
            let inner = &self.drafts[draft.operands[at]];
            match inner.action {
                Action::Call { f, .. } if inner.uses == 1 && inner.class == Class::Full && !inner.gone => {
                    (inner.sink.is_none() && !inner.once && inner.operands.len() == 2).then_some((f, inner))
                }
                _ => None,
            }
        };
        let wide = |k: usize| self.is_wide(k);
        match draft.action {
            Action::Call { f, .. } if is_exponential(f) && draft.class == Class::Full => {
                let (f, inner) = inner(0)?;
                let operands = inner.operands.clone();
                let action = Action::ExpDifference { operands: SmallVec::new(), calls: self.calls() };
                (is_difference(f) && wide(operands[0])).then_some((action, operands, draft.operands[0]))
            }
            Action::Reduce { kind: ReduceKind::Sum, .. } if self.scope.rows.is_some() => {
                let (f, inner) = inner(0)?;
                let both = is_product(f) && inner.operands.iter().all(|&k| wide(k));
                let operands = inner.operands.clone();
                both.then(|| (Action::Dot(SmallVec::new()), operands, draft.operands[0]))
            }
            Action::Call { f: second, .. } if draft.class == Class::Full && draft.operands.len() == 2 => {
                (0..2).find_map(|at| {
                    let (first, inner) = inner(at)?;
                    let (a, b, c) = (inner.operands[0], inner.operands[1], draft.operands[1 - at]);
                    let (pair, order) = pair(first, second, at, [a, b, c].map(wide))?;
                    let operands = order.iter().map(|&k| [a, b, c][k]).collect();
                    Some((Action::Pair { pair, operands: SmallVec::new() }, operands, draft.operands[at]))
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use vorpal_tensor::{DType, Layout, Shape};

    use crate::tape::{Action, Class, Scope, Step, Tape};
    use crate::{Arg, Domain, Inst, Program, ResultType, ScalarFn, Store};

    static LESS: ScalarFn = function("less", 2, ResultType::Bool);
    static SELECT: ScalarFn = function("select", 3, ResultType::Last);

    const fn function(name: &'static str, arity: usize, result: ResultType) -> ScalarFn {
        ScalarFn { name, arity, result, wgsl: "", support: "", cpu: |_, _| {}, flops: 1 }
    }

    /// The steps that select from 3 and 4 columns of two arguments, the second of which begins at column `start`, by whether
    /// a column is below `limit`. The axis of the columns comes before `inner` elements.
    fn steps(start: usize, limit: f64, inner: usize) -> Vec<Step> {
        let shape = Shape::from([5, 7, inner]);
        let window = |arg: usize, before: usize, len: usize| {
            let own = Layout::contiguous([5, len, inner]);
            let layout = own.pad(&[0, before, 0], &[0, 7 - before - len, 0]).expect("a window");
            Inst::Load { arg, layout, fill: 0.0, domain: Domain::Full }
        };
        let mut places = Layout::contiguous(shape.clone());
        places.strides = [0, 1, 0].into_iter().collect();
        let call =
            |f: &'static ScalarFn, args: &[usize]| Inst::Call { f, args: args.iter().copied().collect() };
        let insts = vec![
            window(0, 0, 3),
            window(1, start, 7 - start),
            Inst::Place { layout: places, domain: Domain::Full },
            Inst::Const { value: limit, dtype: DType::U32 },
            call(&LESS, &[2, 3]),
            call(&SELECT, &[4, 0, 1]),
        ];
        let (all, args) = (shape.numel(), [15 * inner, (7 - start) * 5 * inner]);
        let args = args.map(|len| Arg::read(DType::F32, len));
        let args = [&args[..], &[Arg::write(DType::F32, all)]].concat();
        let stores = vec![(Store { value: 5, arg: 2 }, Class::Full)];
        let program = Program { insts, stores: vec![] };
        Tape::new(&program, &args, &Scope { stores, ..Scope::default() }).steps
    }

    #[test]
    fn windows_that_meet_are_copied() {
        for inner in [1, 2] {
            let joined = steps(3, 3.0, inner);
            assert!(matches!(&joined[..], [Step { action: Action::Joined(_), .. }]), "{joined:?}");
            // Where it is not decided as the windows lie, it is decided for every element.
            for apart in [steps(3, 4.0, inner), steps(4, 3.0, inner), steps(3, 2.5, inner)] {
                assert!(!apart.iter().any(|step| matches!(step.action, Action::Joined(_))), "{apart:?}");
            }
        }
    }
}
