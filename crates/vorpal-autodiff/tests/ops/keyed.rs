//! Random numbers from keys.

use vorpal_autodiff::{DType, Tensor, philox_word};

use crate::harness::{Array, Case, Draw, Role, Sample};

/// Keys `[…, 2]`.
fn keys(d: &mut Draw) -> Array {
    let mut shape = d.shape(0, 2);
    shape.push(2);
    Array::from_fn(&shape, |_| f64::from(d.random.word())).with_role(Role::Fixed(DType::U32))
}

/// For every key its own numbers, by a function of the place and the key.
fn drawn(keys: &Array, own: &[usize], f: impl Fn(u32, [u32; 2]) -> f64) -> Array {
    let front = keys.shape.len() - 1;
    let shape: Vec<usize> = keys.shape[..front].iter().chain(own).copied().collect();
    Array::from_fn(&shape, |at| {
        let word = |k: usize| keys.at(&at[..front].iter().copied().chain([k]).collect::<Vec<_>>()) as u32;
        let index = at[front..].iter().zip(own).fold(0, |sum, (&k, &size)| sum * size + k);
        f(index as u32, [word(0), word(1)])
    })
}

/// The upper 24 bits of a word, in units of 2⁻²⁴.
fn upper(index: u32, key: [u32; 2]) -> f64 {
    f64::from(philox_word(index, key, [0, 0]) >> 8)
}

pub fn cases() -> Vec<Case> {
    const WHY: &str = "keys have no derivative";
    const STEP: f64 = 1.0 / (1 << 24) as f64;
    vec![
        Case {
            dtypes: &[DType::F32],
            ..Case::flat("rand_from_key", WHY, |d| {
                let (keys, own) = (keys(d), d.shape(0, 2));
                let shape = own.clone();
                let run = move |x: &[Tensor]| Tensor::rand_from_key(&x[0], &shape[..], DType::F32);
                Sample::new(vec![keys], run, move |x| drawn(&x[0], &own, |i, key| upper(i, key) * STEP))
            })
        },
        Case {
            dtypes: &[DType::F32],
            ..Case::flat("randn_from_key", WHY, |d| {
                let (keys, own) = (keys(d), d.shape(0, 2));
                let shape = own.clone();
                let run = move |x: &[Tensor]| Tensor::randn_from_key(&x[0], &shape[..], DType::F32);
                Sample::new(vec![keys], run, move |x| {
                    drawn(&x[0], &own, |i, key| {
                        let radius = (-2.0 * ((upper(2 * i, key) + 1.0) * STEP).ln()).sqrt();
                        radius * (std::f64::consts::TAU * upper(2 * i + 1, key) * STEP).cos()
                    })
                })
            })
        },
        Case {
            dtypes: &[DType::F32],
            ..Case::flat("split_key", WHY, |d| {
                let (keys, n) = (keys(d), d.axis());
                let run = move |x: &[Tensor]| x[0].split_key(n);
                Sample::new(vec![keys], run, move |x| {
                    drawn(&x[0], &[n, 2], |i, key| f64::from(philox_word(i, key, [1, 0])))
                })
            })
        },
    ]
}
