//! Tensors made from a rule.

use vorpal_autodiff::{DType, Device, Error, Tensor};

use crate::common::devices;
use crate::harness::{Array, Case, NUMBERS, Sample};

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            dtypes: &[DType::F32],
            ..Case::flat("one_hot", "class numbers have no derivative", |d| {
                let (shape, classes) = (d.shape(0, 2), d.full_axis());
                let x = d.numbers(&shape, classes);
                let to = [&shape[..], &[classes]].concat();
                Sample::new(
                    vec![x],
                    move |x| x[0].one_hot(classes, DType::F32),
                    move |x| {
                        let hit = |at: &[usize]| x[0].at(&at[..at.len() - 1]) == at[at.len() - 1] as f64;
                        Array::from_fn(&to, |at| f64::from(u8::from(hit(at))))
                    },
                )
            })
        },
        Case {
            dtypes: NUMBERS,
            ..Case::smooth("eye", |d| {
                let n = d.axis();
                let x = d.array(&[n, n], -2.0, 2.0);
                let run = |x: &[Tensor]| {
                    let device = x[0].device().expect("a device");
                    &x[0] * Tensor::eye(x[0].shape()[0], x[0].dtype(), &device)
                };
                let reference = |x: &[Array]| {
                    Array::from_fn(&x[0].shape, |at| if at[0] == at[1] { x[0].at(at) } else { 0.0 })
                };
                Sample::new(vec![x], run, reference)
            })
        },
    ]
}

pub fn ranges() {
    for device in devices() {
        assert_eq!(Tensor::arange(4, DType::I32, &device).to_vec::<i32>(), Ok(vec![0, 1, 2, 3]));
        let columns = Tensor::iota([2, 3], 1, DType::F32, &device);
        assert_eq!(columns.to_vec::<f32>(), Ok(vec![0.0, 1.0, 2.0, 0.0, 1.0, 2.0]));
        let whole = Tensor::arange_step(7.0, -2.0, -3.0, DType::I32, &device);
        assert_eq!(whole.to_vec::<i32>(), Ok(vec![7, 4, 1]), "{device}");
        let up = Tensor::arange_step(1.0, 2.0, 0.3, DType::F32, &device).to_vec::<f32>().expect("values");
        assert_eq!(up.len(), 4);
        assert!(up.iter().zip([1.0, 1.3, 1.6, 1.9]).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6));
        let none = Tensor::arange_step(1.0, 1.0, 0.5, DType::F32, &device);
        assert_eq!(none.to_vec::<f32>(), Ok(Vec::new()));
        for n in [0, 1, 2, 5, 1000] {
            let line = Tensor::linspace(-1.0, 0.3, n, DType::F32, &device).to_vec::<f32>().expect("values");
            assert_eq!(line.len(), n);
            let exact = |k: usize| -1.0 + 1.3 * k as f64 / (n.max(2) - 1) as f64;
            for (k, &x) in line.iter().enumerate() {
                assert!((f64::from(x) - exact(k)).abs() < 2e-7, "{n}, {k}: {x}");
            }
            if n > 1 {
                assert_eq!((line[0], line[n - 1]), (-1.0, 0.3));
            }
        }
        let half = Tensor::linspace(0.0, 4096.0, 4097, DType::BF16, &device);
        assert_eq!(half.narrow(0, 4096, 1).cast(DType::F32).to_vec::<f32>(), Ok(vec![4096.0]));
    }
}

pub fn misfits() {
    let device = Device::cpu();
    let wrong = [
        (Tensor::arange_step(0.0, 1.0, 0.0, DType::F32, &device), "steps of 0 do not lead from 0 to 1"),
        (Tensor::arange_step(0.0, 1.0, -1.0, DType::F32, &device), "steps of -1 do not lead from 0 to 1"),
        (Tensor::arange_step(0.0, 1.0, 0.5, DType::I32, &device), "i32 numbers from 0 to 1 in steps of 0.5"),
        (Tensor::linspace(0.0, 1.0, 3, DType::I32, &device), "linspace: needs floats, asked for i32"),
        (Tensor::zeros([2], DType::F32, &device).one_hot(3, DType::F32), "must be integers, found f32"),
    ];
    for (tensor, text) in wrong {
        let error = tensor.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("create.rs:"), "{error}");
    }
}

/// In a process that looks at one device at a time: adapters report faults to whoever reads next.
pub fn numbers_that_are_no_class() {
    let classes = Tensor::from_slice(&[0i32, 3], [2], &Device::cpu());
    let error = classes.one_hot(3, DType::F32).to_vec::<f32>().expect_err("no such class");
    assert!(matches!(error, Error::Index { op: "one_hot", index: 3, size: 3, .. }), "{error}");
    assert!(error.to_string().contains("create.rs:"), "{error}");
}
