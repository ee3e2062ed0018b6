//! What every op owes, checked in one way: values on all devices and in all dtypes against a plain f64 reference,
//! derivatives against central differences, forward mode against reverse mode, batches against loops.

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use vorpal_autodiff::compile::ir::Target;
use vorpal_autodiff::{DType, Device, Tensor, grad, hvp, jvp, plan, vjp, vmap};
use vorpal_kernels::Abilities;

use crate::check_shader::check_shader_once;
use crate::common::{Random, check_derivatives, check_first_derivative, devices, weigh};

/// Random cases of each op on the native CPU, in f32; on an adapter and in other dtypes it is a fifth of them.
pub const CASES: u32 = 50;

/// dtypes an op takes for its values.
pub const FLOATS: &[DType] = &[DType::F64, DType::F32, DType::F16, DType::BF16];
/// Floats and integers.
pub const NUMBERS: &[DType] = &[DType::F64, DType::F32, DType::F16, DType::BF16, DType::I32, DType::U32];
/// Integers.
pub const INTEGERS: &[DType] = &[DType::I64, DType::I32, DType::U32, DType::I8, DType::U8];
/// Floats that are computed as they are stored.
pub const WIDE: &[DType] = &[DType::F64, DType::F32];

/// Whether adapters hold a dtype.
pub fn on_adapters(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::I32 | DType::U32 | DType::Bool)
}

/// How an operand is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes the dtype under test; derivatives are taken with respect to it.
    Value,
    /// Takes the dtype under test; no derivative.
    Constant,
    /// Has this dtype whatever is under test.
    Fixed(DType),
}

/// A plain array: the operand or result of a reference.
#[derive(Clone, Debug)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
    pub role: Role,
}

impl Array {
    /// Elements by their coordinates.
    pub fn from_fn(shape: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Array {
        let n: usize = shape.iter().product();
        let mut at = vec![0; shape.len()];
        let mut data = Vec::with_capacity(n);
        for _ in 0..n {
            data.push(f(&at));
            for k in (0..shape.len()).rev() {
                at[k] += 1;
                if at[k] < shape[k] {
                    break;
                }
                at[k] = 0;
            }
        }
        Array { shape: shape.to_vec(), data, role: Role::Value }
    }

    /// The same elements in another role.
    pub fn with_role(self, role: Role) -> Array {
        Array { role, ..self }
    }

    /// Element at some coordinates.
    pub fn at(&self, place: &[usize]) -> f64 {
        let index = place.iter().zip(&self.shape).fold(0, |sum, (&k, &size)| sum * size + k);
        self.data[index]
    }

    /// Applies a function to every element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array { data: self.data.iter().map(|&x| f(x)).collect(), ..self.clone() }
    }
}

/// Draws operands. Shrinking makes `size` smaller.
pub struct Draw {
    pub random: Random,
    /// Largest size of an axis.
    pub size: usize,
    /// Smallest size of an axis: 0 for values, 1 for derivatives.
    pub least: usize,
}

impl Draw {
    /// Size of an axis; 0 and 1 come up often.
    pub fn axis(&mut self) -> usize {
        match self.random.below(8) {
            0 => self.least,
            1 => 1,
            _ => 1 + self.random.below(self.size.max(1)),
        }
    }

    /// Size of an axis that is not empty.
    pub fn full_axis(&mut self) -> usize {
        self.axis().max(1)
    }

    /// A whole number in `low..=high`.
    pub fn whole(&mut self, low: usize, high: usize) -> usize {
        low + self.random.below(high - low + 1)
    }

    /// Heads or tails.
    pub fn flip(&mut self) -> bool {
        self.random.below(2) == 0
    }

    /// A shape of `low..=high` axes.
    pub fn shape(&mut self, low: usize, high: usize) -> Vec<usize> {
        (0..self.whole(low, high)).map(|_| self.axis()).collect()
    }

    /// Numbers of a shape.
    pub fn array(&mut self, shape: &[usize], low: f64, high: f64) -> Array {
        Array::from_fn(shape, |_| self.random.within(low, high))
    }

    /// Whole numbers below `bound` as `I32`.
    pub fn numbers(&mut self, shape: &[usize], bound: usize) -> Array {
        Array::from_fn(shape, |_| self.random.below(bound) as f64).with_role(Role::Fixed(DType::I32))
    }

    /// Truth values.
    pub fn truths(&mut self, shape: &[usize]) -> Array {
        Array::from_fn(shape, |_| self.random.below(2) as f64).with_role(Role::Fixed(DType::Bool))
    }
}

/// The op under test, with its attributes.
pub type Run = Box<dyn Fn(&[Tensor]) -> Tensor>;
/// The same in plain loops.
pub type Reference = Box<dyn Fn(&[Array]) -> Array>;

/// One drawn case.
pub struct Sample {
    pub inputs: Vec<Array>,
    pub run: Run,
    pub reference: Reference,
    /// Operands that the checks of batches leave as drawn, as others would not fit.
    pub steady: Vec<usize>,
}

impl Sample {
    pub fn new(
        inputs: Vec<Array>,
        run: impl Fn(&[Tensor]) -> Tensor + 'static,
        reference: impl Fn(&[Array]) -> Array + 'static,
    ) -> Sample {
        Sample { inputs, run: Box::new(run), reference: Box::new(reference), steady: Vec::new() }
    }

    /// The same, with some operands the same in every example of a batch.
    pub fn with_steady(self, operands: &[usize]) -> Sample {
        Sample { steady: operands.to_vec(), ..self }
    }

    /// The operands that derivatives are taken of.
    fn values(&self, tensors: &[Tensor]) -> Vec<Tensor> {
        let places = 0..tensors.len();
        places.filter(|&k| self.inputs[k].role == Role::Value).map(|k| tensors[k].clone()).collect()
    }

    /// The op with other values of those operands.
    fn run_with(&self, tensors: &[Tensor], values: &[Tensor]) -> Tensor {
        let mut next = values.iter();
        let pick = |k: usize| if self.inputs[k].role == Role::Value { next.next().cloned() } else { None };
        let all: Vec<Option<Tensor>> = (0..tensors.len()).map(pick).collect();
        let all: Vec<Tensor> =
            all.into_iter().zip(tensors).map(|(value, given)| value.unwrap_or(given.clone())).collect();
        (self.run)(&all)
    }
}

/// Whether a cell of the table holds: yes, or why it is left out.
pub type Holds = Result<(), &'static str>;
pub const YES: Holds = Ok(());

/// An op as the table of `docs/ops.md` lists it.
pub struct Case {
    pub name: &'static str,
    pub dtypes: &'static [DType],
    /// Tolerance in f32, relative to 1 + |reference|.
    pub tolerance: f64,
    /// First derivative (and jvp, which is its transpose).
    pub first: Holds,
    /// Second derivative.
    pub second: Holds,
    pub vmap: Holds,
    pub draw: Box<dyn Fn(&mut Draw) -> Sample>,
}

impl Case {
    /// An op of floats with two derivatives.
    pub fn smooth(name: &'static str, draw: impl Fn(&mut Draw) -> Sample + 'static) -> Case {
        let draw = Box::new(draw);
        Case { name, dtypes: FLOATS, tolerance: 2e-5, first: YES, second: YES, vmap: YES, draw }
    }

    /// An op without derivatives, for a reason.
    pub fn flat(name: &'static str, why: &'static str, draw: impl Fn(&mut Draw) -> Sample + 'static) -> Case {
        Case { first: Err(why), second: Err(why), ..Case::smooth(name, draw) }
    }
}

/// The value nearest to `x` that a dtype holds.
pub fn rounded(x: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F64 => x,
        DType::F32 => f64::from(x as f32),
        DType::F16 => f64::from(half::f16::from_f32(x as f32)),
        DType::BF16 => f64::from(half::bf16::from_f32(x as f32)),
        DType::Bool => f64::from(u8::from(x != 0.0)),
        DType::U32 => f64::from(x.round() as u32),
        DType::I8 => f64::from(x.round() as i8),
        DType::U8 => f64::from(x.round() as u8),
        DType::I64 => x.round(),
        _ => f64::from(x.round() as i32),
    }
}

/// A tensor of numbers, as a window on a larger or permuted one according to `how`.
fn tensor(x: &Array, dtype: DType, device: &Device, how: usize) -> Tensor {
    // Through a host dtype every device takes.
    let make = |shape: &[usize], data: &[f64]| match dtype {
        DType::F64 => Tensor::from_slice(data, shape, device),
        DType::I64 | DType::I8 | DType::U8 => Tensor::from_slice(data, shape, device).cast(dtype),
        DType::U32 => Tensor::from_slice(&data.iter().map(|&v| v as u32).collect::<Vec<_>>(), shape, device),
        DType::I32 => Tensor::from_slice(&data.iter().map(|&v| v as i32).collect::<Vec<_>>(), shape, device),
        DType::Bool => Tensor::from_slice(&data.iter().map(|&v| v != 0.0).collect::<Vec<_>>(), shape, device),
        _ => {
            Tensor::from_slice(&data.iter().map(|&v| v as f32).collect::<Vec<_>>(), shape, device).cast(dtype)
        }
    };
    let rank = x.shape.len();
    match how % 4 {
        1 if rank > 1 => {
            // Stored with the axes in reverse.
            let reversed: Vec<usize> = x.shape.iter().rev().copied().collect();
            let stored = Array::from_fn(&reversed, |at| x.at(&at.iter().rev().copied().collect::<Vec<_>>()));
            let axes: Vec<isize> = (0..rank as isize).rev().collect();
            make(&reversed, &stored.data).permute(&axes[..])
        }
        2 if rank > 0 => {
            // Every second element of a longer last axis, after one that is left out.
            let last = rank - 1;
            let mut longer = x.shape.clone();
            longer[last] = 2 * x.shape[last] + 1;
            let stored = Array::from_fn(&longer, |at| {
                let mut from = at.to_vec();
                from[last] = at[last].wrapping_sub(1) / 2;
                if at[last] % 2 == 1 { x.at(&from) } else { 77.0 }
            });
            let tensor = make(&longer, &stored.data);
            tensor.slice_step(-1, 1..1 + 2 * x.shape[last] as isize, 2)
        }
        3 if rank > 0 => {
            // Stored back to front.
            let stored = Array::from_fn(&x.shape, |at| {
                let mut from = at.to_vec();
                from[0] = x.shape[0] - 1 - at[0];
                x.at(&from)
            });
            make(&x.shape, &stored.data).flip(0)
        }
        _ => make(&x.shape, &x.data),
    }
}

/// The operands as tensors and as the numbers those hold.
fn operands(
    sample: &Sample,
    dtype: DType,
    device: &Device,
    random: &mut Random,
) -> (Vec<Tensor>, Vec<Array>) {
    let mut tensors = Vec::new();
    let mut arrays = Vec::new();
    for input in &sample.inputs {
        let own = if let Role::Fixed(own) = input.role { own } else { dtype };
        let array = input.map(|v| rounded(v, own));
        tensors.push(tensor(&array, own, device, random.below(4)));
        arrays.push(array);
    }
    (tensors, arrays)
}

/// The elements of a tensor as f64.
fn numbers(x: &Tensor) -> Vec<f64> {
    match x.dtype() {
        DType::F64 => x.to_vec::<f64>(),
        DType::I64 => x.cast(DType::F64).to_vec::<f64>(),
        DType::I32 => x.to_vec::<i32>().map(|v| v.into_iter().map(f64::from).collect()),
        DType::U32 => x.to_vec::<u32>().map(|v| v.into_iter().map(f64::from).collect()),
        _ => x.cast(DType::F32).to_vec::<f32>().map(|v| v.into_iter().map(f64::from).collect()),
    }
    .unwrap_or_else(|e| panic!("{e}"))
}

/// Why `found` is not `expected`, if it is not.
fn difference(found: &Tensor, expected: &Array, tolerance: f64) -> Option<String> {
    if let Err(error) = found.eval() {
        return Some(error.to_string());
    }
    if *found.shape().dims() != expected.shape[..] {
        return Some(format!("shape {}, should be {:?}", found.shape(), expected.shape));
    }
    let exact = !found.dtype().is_float();
    let values = numbers(found);
    let wrong = values.iter().zip(&expected.data).position(|(&f, &e)| {
        let same = f == e || (f.is_nan() && e.is_nan());
        !(same || (!exact && (f - e).abs() <= tolerance * (1.0 + e.abs())))
    })?;
    Some(format!("element {wrong} is {}, should be {}", values[wrong], expected.data[wrong]))
}

/// The tolerance of a dtype for an op that has one in f32.
fn tolerance(case: &Case, dtype: DType) -> f64 {
    match dtype {
        DType::F64 => case.tolerance * 1e-5,
        DType::F16 => case.tolerance.max(2e-3),
        DType::BF16 => case.tolerance.max(2e-2),
        _ => case.tolerance,
    }
}

fn draw(seed: u64, size: usize, least: usize) -> Draw {
    Draw { random: Random::new(seed), size, least }
}

/// Random cases of an op in one dtype on one device against the reference.
fn check_values(case: &Case, dtype: DType, device: &Device, cases: u32) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let tolerance = tolerance(case, dtype);
    let strategy = (proptest::num::u64::ANY, 1usize..=7);
    let outcome = runner.run(&strategy, |(seed, size)| {
        let mut draw = draw(seed, size, 0);
        let sample = (case.draw)(&mut draw);
        let (tensors, arrays) = operands(&sample, dtype, device, &mut draw.random);
        let expected = (sample.reference)(&arrays);
        let found = (sample.run)(&tensors);
        if device.is_cpu() && on_adapters(dtype) && seed.is_multiple_of(5) {
            check_shaders(case, &found);
        }
        match difference(&found, &expected, tolerance) {
            None => Ok(()),
            Some(message) => {
                let shapes: Vec<_> = arrays.iter().map(|a| a.shape.clone()).collect();
                Err(TestCaseError::fail(format!("{message}; operands {shapes:?}")))
            }
        }
    });
    if let Err(error) = outcome {
        panic!("{} in {dtype} on {}: {error}", case.name, device.name());
    }
}

/// Every shader of the plans for a graphics card and for a software adapter, for all targets.
fn check_shaders(case: &Case, what: &Tensor) {
    let abilities = Abilities { buffers: 16, subgroup: Some(8), words64: true, ..Target::SOFTWARE.abilities };
    let rich = Target { abilities, ..Target::SOFTWARE };
    for target in [Target::CARD, Target::SOFTWARE, rich] {
        let plan = plan(what, target).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        for launch in &plan.launches {
            let shader = launch.kernel.shader().unwrap_or_else(|e| panic!("{}: {e}", case.name));
            check_shader_once(&shader, target.abilities.buffers as usize);
        }
    }
}

/// First and second derivatives against central differences.
fn check_differences(case: &Case) {
    if case.first.is_err() {
        return;
    }
    for seed in 0..4 {
        let mut draw = draw(seed, 3, 1);
        let sample = (case.draw)(&mut draw);
        let (tensors, _) = operands(&sample, DType::F64, &Device::cpu(), &mut draw.random);
        let values = sample.values(&tensors);
        let run = |x: &[Tensor]| sample.run_with(&tensors, x);
        if case.second.is_ok() {
            check_derivatives(case.name, &values, run);
        } else {
            check_first_derivative(case.name, &values, run);
        }
    }
}

/// Forward mode against reverse mode: ⟨u, J v⟩ = ⟨Jᵀ u, v⟩.
fn check_transpose(case: &Case) {
    if case.first.is_err() {
        return;
    }
    for seed in 0..6 {
        let mut draw = draw(100 + seed, 4, seed as usize % 2);
        let sample = (case.draw)(&mut draw);
        let (tensors, _) = operands(&sample, DType::F64, &Device::cpu(), &mut draw.random);
        let values = sample.values(&tensors);
        let mut like = |x: &Tensor| draw.random.tensor(x.shape().dims(), -1.0, 1.0);
        let v: Vec<Tensor> = values.iter().map(&mut like).collect();
        let dot = |a: &Tensor, b: &Tensor| numbers(&(a * b).sum_all())[0];
        let sides = jvp(&values, &v, |x| sample.run_with(&tensors, x)).and_then(|(y, change)| {
            let u = like(&y);
            let (_, back) = vjp(&values, |x| sample.run_with(&tensors, x))?;
            let right = back(&u)?.iter().zip(&v).map(|(g, v)| dot(g, v)).sum::<f64>();
            Ok((dot(&u, &change), right))
        });
        let (left, right) = sides.unwrap_or_else(|e| panic!("{}, jvp: {e}", case.name));
        let close = (left - right).abs() <= 1e-9 * (1.0 + left.abs());
        assert!(close, "{}, jvp, seed {seed}: {left} against {right} of vjp", case.name);
    }
}

/// Forward mode over reverse mode against reverse mode twice.
fn check_products(case: &Case) {
    if case.first.is_err() || case.second.is_err() {
        return;
    }
    for seed in 0..2 {
        let mut draw = draw(150 + seed, 3, 1);
        let sample = (case.draw)(&mut draw);
        let (tensors, _) = operands(&sample, DType::F64, &Device::cpu(), &mut draw.random);
        let values = sample.values(&tensors);
        let v: Vec<Tensor> = values.iter().map(|x| draw.random.tensor(x.shape().dims(), -1.0, 1.0)).collect();
        let f = |x: &Vec<Tensor>| weigh(&sample.run_with(&tensors, x).sin());
        let along = |x: &Vec<Tensor>| match grad(x, f) {
            Err(error) => Tensor::error(error),
            Ok(g) => {
                g.iter().zip(&v).map(|(g, v)| (g * v).sum_all()).reduce(|a, b| a + b).expect("an operand")
            }
        };
        let both = hvp(&values, &v, f).and_then(|ahead| Ok((ahead, grad(&values, along)?)));
        let (ahead, back) = both.unwrap_or_else(|e| panic!("{}, hvp: {e}", case.name));
        for (k, (ahead, back)) in ahead.iter().zip(&back).enumerate() {
            let shape = back.shape().to_vec();
            let expected = Array { shape, data: numbers(back), role: Role::Constant };
            if let Some(message) = difference(ahead, &expected, 1e-9) {
                panic!("{}, hvp, seed {seed}, operand {k}: {message}", case.name);
            }
        }
    }
}

/// Examples in a batch.
const EXAMPLES: usize = 3;

/// Operand `k` of example `b`: like the first one, but with other numbers.
fn example(sample: &Sample, k: usize, b: usize) -> Array {
    let x = &sample.inputs[k];
    match x.role {
        _ if sample.steady.contains(&k) => x.clone(),
        Role::Fixed(_) => {
            let mut turned = x.clone();
            turned.data.rotate_left(b.min(x.data.len()));
            turned
        }
        // Close enough to stay in the domain, in order, and positive definite.
        _ => x.map(|v| v * (1.0 - 0.02 * b as f64)),
    }
}

/// The operands of every example, the same with those of a random choice joined, and along which axis each is.
type Batch = (Vec<Vec<Tensor>>, Vec<Tensor>, Vec<Option<isize>>);

fn batch(sample: &Sample, dtype: DType, device: &Device, random: &mut Random) -> Batch {
    let n = sample.inputs.len();
    let always = random.below(n);
    let mut each: Vec<Vec<Tensor>> = vec![Vec::new(); EXAMPLES];
    let (mut all, mut axes) = (Vec::new(), Vec::new());
    for (k, input) in sample.inputs.iter().enumerate() {
        let batched = k == always || random.below(2) == 0;
        let axis = random.below(input.shape.len() + 1) as isize;
        let own = if let Role::Fixed(own) = input.role { own } else { dtype };
        for (b, list) in each.iter_mut().enumerate() {
            let array = example(sample, k, if batched { b } else { 0 }).map(|v| rounded(v, own));
            list.push(tensor(&array, own, device, random.below(4)));
        }
        let parts: Vec<&Tensor> = each.iter().map(|list| &list[k]).collect();
        all.push(if batched { Tensor::stack(&parts, axis) } else { parts[0].clone() });
        axes.push(batched.then_some(axis));
    }
    (each, all, axes)
}

/// Fails unless a batched result is that of every example.
fn compare_batch(found: &Tensor, expected: &[Tensor], tolerance: f64, what: &str) {
    let shape = std::iter::once(EXAMPLES).chain(expected[0].shape().iter().copied()).collect();
    let data = expected.iter().flat_map(numbers).collect();
    if let Some(message) = difference(found, &Array { shape, data, role: Role::Constant }, tolerance) {
        panic!("{what}: {message}");
    }
}

/// A random choice of batched operands against a loop over the examples; for f64 the derivatives, too.
fn check_batches(case: &Case, dtype: DType, device: &Device, samples: u64) {
    let tolerance = tolerance(case, dtype);
    for seed in 0..samples {
        let mut draw = draw(200 + seed, 4, seed as usize % 2);
        let sample = (case.draw)(&mut draw);
        if sample.inputs.is_empty() {
            return;
        }
        let (each, all, axes) = batch(&sample, dtype, device, &mut draw.random);
        let what = format!("{} in {dtype} on {}, vmap {axes:?}, seed {seed}", case.name, device.name());
        let found = vmap(&all, &axes[..], |x| (sample.run)(x)).unwrap_or_else(|e| panic!("{what}: {e}"));
        let expected: Vec<Tensor> = each.iter().map(|list| (sample.run)(list)).collect();
        compare_batch(&found, &expected, tolerance, &what);
        if dtype != DType::F64 || case.first.is_err() {
            continue;
        }
        let gradient = |x: &[Tensor]| grad(&sample.values(x), |v| weigh(&sample.run_with(x, v)));
        let found = vmap(&all, &axes[..], |x| gradient(x)).unwrap_or_else(|e| panic!("{what}, grad: {e}"));
        let expected: Vec<Vec<Tensor>> =
            each.iter().map(|x| gradient(x).unwrap_or_else(|e| panic!("{what}: {e}"))).collect();
        for (k, found) in found.iter().enumerate() {
            let expected: Vec<Tensor> = expected.iter().map(|list| list[k].clone()).collect();
            compare_batch(found, &expected, tolerance, &format!("{what}, derivative {k}"));
        }
    }
}

/// Batches inside batches: the examples of two batches in another order are the examples of a third.
fn check_nested(case: &Case) {
    let dtype = DType::F64;
    if case.vmap.is_err() || !case.dtypes.contains(&dtype) {
        return;
    }
    let mut draw = draw(300, 3, 1);
    let sample = (case.draw)(&mut draw);
    if sample.inputs.is_empty() {
        return;
    }
    let mut inner = Vec::new();
    let mut outer = Vec::new();
    let mut pair = [Vec::new(), Vec::new()];
    for (k, input) in sample.inputs.iter().enumerate() {
        // The first operand is in both batches, others in any.
        let [in_inner, in_outer] = [k == 0 || draw.flip(), k == 0 || draw.flip()];
        let own = if let Role::Fixed(own) = input.role { own } else { dtype };
        let make = |b: usize| {
            let array = example(&sample, k, b % EXAMPLES).map(|v| rounded(v, own));
            tensor(&array, own, &Device::cpu(), b)
        };
        for (o, list) in pair.iter_mut().enumerate() {
            let first = if in_outer { o } else { 0 };
            let parts: Vec<Tensor> = (first..first + EXAMPLES).map(make).collect();
            let parts: Vec<&Tensor> = parts.iter().collect();
            list.push(if in_inner { Tensor::stack(&parts, -1) } else { parts[0].clone() });
        }
        inner.push(in_inner.then_some(-1isize));
        outer.push(in_outer.then_some(0isize));
    }
    let both: Vec<Tensor> = (0..pair[0].len())
        .map(|k| match outer[k] {
            Some(_) => Tensor::stack(&[&pair[0][k], &pair[1][k]], 0),
            None => pair[0][k].clone(),
        })
        .collect();
    let one = |x: &Vec<Tensor>| vmap(x, &inner[..], |x| (sample.run)(x));
    let checked = vmap(&both, &outer[..], one).and_then(|found| {
        let expected = [one(&pair[0])?, one(&pair[1])?];
        Ok((found, Tensor::stack(&[&expected[0], &expected[1]], 0)))
    });
    let (found, expected) = checked.unwrap_or_else(|e| panic!("{}, vmap of vmap: {e}", case.name));
    let shape = expected.shape().to_vec();
    let expected = Array { shape, data: numbers(&expected), role: Role::Constant };
    if let Some(message) = difference(&found, &expected, tolerance(case, dtype)) {
        panic!("{}, vmap of vmap: {message}", case.name);
    }
}

/// Everything an op owes. `VORPAL_OPS=part of a name` looks at some ops only.
pub fn check(cases: &[Case]) {
    let only = std::env::var("VORPAL_OPS").unwrap_or_default();
    for case in cases.iter().filter(|c| c.name.contains(&only)) {
        for device in devices() {
            for &dtype in case.dtypes.iter().filter(|&&d| device.supports(d)) {
                let main = device.is_cpu() && matches!(dtype, DType::F32 | DType::F64);
                check_values(case, dtype, &device, if main { CASES } else { CASES / 5 });
                if case.vmap.is_ok() && WIDE.contains(&dtype) {
                    check_batches(case, dtype, &device, if main { 6 } else { 2 });
                }
            }
        }
        check_differences(case);
        check_transpose(case);
        check_products(case);
        check_nested(case);
    }
}
