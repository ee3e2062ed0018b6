//! Layers against the numbers of `golden/layers.py`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use vorpal_nn::{DType, Device, Module, Role, Tensor, eval, value_and_grad};

/// What PyTorch gives: lists of numbers by name, for each case.
pub type Golden = BTreeMap<String, BTreeMap<String, Vec<f64>>>;

/// Numbers in −1..1 that look random: `numbers` of `golden/layers.py`.
pub fn numbers(shape: &[usize], seed: usize) -> Vec<f64> {
    let count: usize = shape.iter().product();
    (0..count).map(|k| ((k * k * 31 + k * 17 + seed * 101) % 2003) as f64 / 1001.5 - 1.0).collect()
}

/// An operand of a layer.
#[derive(Clone)]
pub enum Input {
    /// Floats of a shape, that have a derivative.
    Floats(Vec<usize>),
    /// Integers.
    Numbers(Vec<i32>, Vec<usize>),
}

impl From<&[usize]> for Input {
    fn from(shape: &[usize]) -> Input {
        Input::Floats(shape.to_vec())
    }
}

/// Where and how a case is run.
#[derive(Clone)]
pub struct At {
    pub device: Device,
    pub dtype: DType,
    /// How far parameters and operands are moved in a direction.
    pub shift: f64,
}

impl At {
    fn tensor(&self, mut values: Vec<f64>, shape: &[usize], seed: Option<usize>) -> Tensor {
        if let Some(seed) = seed.filter(|_| self.shift != 0.0) {
            let along = numbers(shape, seed + 777);
            values.iter_mut().zip(along).for_each(|(v, d)| *v += self.shift * d);
        }
        match self.dtype {
            DType::F64 => Tensor::from_slice(&values, shape, &self.device),
            _ => {
                let short: Vec<f32> = values.iter().map(|&v| v as f32).collect();
                Tensor::from_slice(&short, shape, &self.device)
            }
        }
    }

    /// Parameters and buffers by their names: `fill` of `golden/layers.py`.
    fn fill<M: Module>(&self, model: &mut M) {
        model.walk_mut("", &mut |name, role, tensor| {
            if !tensor.dtype().is_float() {
                return;
            }
            let (shape, seed) = (tensor.shape(), name.bytes().map(usize::from).sum());
            let mut values = numbers(&shape, seed);
            if name.contains("running_var") || name.ends_with("original0") {
                values.iter_mut().for_each(|v| *v = v.abs() + 0.5);
            }
            if name.ends_with("._u") || name.ends_with("._v") {
                let length = values.iter().map(|v| v * v).sum::<f64>().sqrt();
                values.iter_mut().for_each(|v| *v /= length);
            }
            *tensor = self.tensor(values, &shape, (role == Role::Parameter).then_some(seed));
        });
    }
}

/// What a case gives, unevaluated: numbers by name, the loss, and the slope along the direction of a shift.
pub struct Found {
    pub entries: Vec<(String, Tensor)>,
    pub loss: Tensor,
    pub slope: Tensor,
}

pub struct Case {
    pub name: &'static str,
    pub run: Box<dyn Fn(&At) -> Found>,
}

/// A layer of any operands to any results.
pub fn case<M: Module>(
    name: &'static str,
    inputs: Vec<Input>,
    make: impl Fn(&Device) -> M + 'static,
    f: impl Fn(&M, &[Tensor]) -> Vec<Tensor> + 'static,
) -> Case {
    let run = move |at: &At| {
        let mut model = make(&at.device);
        at.fill(&mut model);
        model.train(!name.contains("eval") && !name.contains("plain"));
        let given: Vec<Tensor> = inputs
            .iter()
            .enumerate()
            .map(|(k, input)| match input {
                Input::Floats(shape) => at.tensor(numbers(shape, 1 + k), shape, Some(1 + k)),
                Input::Numbers(values, shape) => Tensor::from_slice(values, &shape[..], &at.device),
            })
            .collect();
        let parts = RefCell::new(Vec::new());
        let (loss, grads) = value_and_grad(&(model.map(&mut Tensor::clone), given), |(model, x)| {
            let out = f(model, x);
            let weighed = out.iter().enumerate().map(|(k, part)| {
                let plain = At { shift: 0.0, ..at.clone() };
                (part * plain.tensor(numbers(&part.shape(), 50 + k), &part.shape(), None)).sum_all()
            });
            let loss = weighed.reduce(|a, b| a + b).expect("a result");
            parts.replace(out);
            loss
        })
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        let flat: Vec<Tensor> =
            parts.borrow().iter().map(|part| part.reshape([part.shape().numel()])).collect();
        let mut entries = vec![("out".to_string(), Tensor::concat(&flat.iter().collect::<Vec<_>>(), 0))];
        let mut slope = loss.full_like(0.0);
        let direction = |shape: &[usize], seed: usize| {
            At { shift: 0.0, ..at.clone() }.tensor(numbers(shape, seed + 777), shape, None)
        };
        for (k, (grad, input)) in grads.1.iter().zip(&inputs).enumerate() {
            if let Input::Floats(shape) = input {
                entries.push((format!("input.{k}"), grad.clone()));
                slope = slope + (grad * direction(shape, 1 + k)).sum_all();
            }
        }
        grads.0.walk("", &mut |name, role, grad| {
            if role == Role::Parameter {
                entries.push((format!("grad.{name}"), grad.clone()));
                let seed = name.bytes().map(usize::from).sum();
                slope = &slope + (grad * direction(&grad.shape(), seed)).sum_all();
            }
        });
        model.walk("", &mut |name, role, tensor| {
            if role == Role::Buffer && tensor.dtype().is_float() {
                entries.push((format!("buffer.{name}"), tensor.clone()));
            }
        });
        Found { entries, loss, slope }
    };
    Case { name, run: Box::new(run) }
}

fn near(name: &str, what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{name}, {what}");
    for (k, (f, e)) in found.iter().zip(expected).enumerate() {
        let fits = (f - e).abs() <= tolerance * (1.0 + e.abs());
        assert!(fits, "{name}, {what}, number {k}: {f}, should be {e}");
    }
}

/// Compares what was found with what PyTorch gives.
fn compare(name: &str, found: &[(String, Tensor)], golden: &Golden, tolerance: f64) {
    let expected = golden.get(name).unwrap_or_else(|| panic!("{name} is not among the golden numbers"));
    for (what, tensor) in found {
        let values: Vec<f64> = match tensor.dtype() {
            DType::F64 => tensor.to_vec::<f64>().unwrap_or_else(|error| panic!("{name}, {what}: {error}")),
            _ => tensor.to_vec::<f32>().expect("values").into_iter().map(f64::from).collect(),
        };
        let expected = expected.get(what).unwrap_or_else(|| panic!("{name} has no {what} in PyTorch"));
        near(name, what, &values, expected, tolerance);
    }
    let names = |mut list: Vec<String>| {
        list.sort();
        list
    };
    let ours = names(found.iter().map(|(what, _)| what.clone()).collect());
    assert_eq!(ours, names(expected.keys().cloned().collect()), "{name}: derivatives of the same names");
}

/// All cases in f64 on the native CPU: results, derivatives and buffers are PyTorch's; derivatives are the differences of
/// the loss along a direction.
pub fn check_native(cases: &[Case], golden: &Golden) {
    let all: Vec<&str> = cases.iter().map(|case| case.name).collect();
    for name in golden.keys() {
        assert!(all.contains(&name.as_str()), "{name} is among the golden numbers, but not run");
    }
    let at = |shift: f64| At { device: Device::cpu(), dtype: DType::F64, shift };
    for case in cases {
        let found = (case.run)(&at(0.0));
        compare(case.name, &found.entries, golden, 2e-8);
        // Singular vectors change with the weight, and padding is not trained: both are constant to derivatives alone.
        let stopped = ["SpectralNorm Linear", "SpectralNorm ConvTranspose1d", "Embedding padding"];
        if stopped.contains(&case.name) {
            continue;
        }
        let slope = found.slope.item::<f64>().expect("a number");
        let step = 1e-5;
        let [up, down] = [step, -step].map(|s| (case.run)(&at(s)).loss.item::<f64>().expect("a number"));
        let difference = (up - down) / (2.0 * step);
        let fits = (slope - difference).abs() <= 1e-6 * (1.0 + slope.abs());
        assert!(fits, "{}: slope {slope}, differences {difference}", case.name);
    }
}

/// The chosen cases in f32 on the software adapter, all in one evaluation.
pub fn check_adapter(cases: &[Case], golden: &Golden, chosen: &[&str]) {
    let device = match Device::software() {
        Ok(device) => device,
        Err(error) => return println!("skipped: no software adapter ({error})"),
    };
    let at = At { device, dtype: DType::F32, shift: 0.0 };
    let found: Vec<(&str, Found)> = cases
        .iter()
        .filter(|case| chosen.contains(&case.name))
        .map(|case| (case.name, (case.run)(&at)))
        .collect();
    assert_eq!(found.len(), chosen.len(), "every chosen case is there");
    let all: Vec<&Tensor> = found.iter().flat_map(|(_, f)| f.entries.iter().map(|(_, t)| t)).collect();
    eval(&all).expect("values");
    found.iter().for_each(|(name, found)| compare(name, &found.entries, golden, 2e-5));
}
