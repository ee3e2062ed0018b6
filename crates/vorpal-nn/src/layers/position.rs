//! Where rows stand in their sequence.

use vorpal_autodiff::{At, Device, Tensor};

use super::per_device::PerDevice;
use super::{Layer, wrong};
use crate::Module;
use crate::init::normal;

/// Rotary positions (Su et al. 2021): pairs of columns of queries and keys turned by angles that grow with the position,
/// so that products depend on distances only.
///
/// ```
/// use vorpal_nn::{DType, Device, Rotary, Tensor};
/// let rotary = Rotary::new(4, 16);
/// let x = Tensor::ones([1, 1, 3, 4], DType::F32, &Device::cpu());
/// let y = rotary.apply(&x);
/// assert_eq!(y.narrow(2, 0, 1).to_vec::<f32>()?, [1.0; 4], "the first row is not turned");
/// assert!((y.square().sum_all().item::<f32>()? - 12.0).abs() < 1e-5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Rotary {
    /// Columns of a head, an even number.
    columns: usize,
    /// Positions there are.
    positions: usize,
    base: f64,
    interleaved: bool,
    #[module(skip)]
    table: PerDevice,
}

impl Rotary {
    /// For heads of `columns` and so many positions, with a base of 10,000. A column is paired with that half the columns
    /// behind it, as in GPT-NeoX and the Llama of Hugging Face.
    pub fn new(columns: usize, positions: usize) -> Rotary {
        Rotary { columns, positions, base: 10_000.0, interleaved: false, table: PerDevice::default() }
    }

    /// The same with neighbouring columns as pairs, as in GPT-J and Meta's Llama.
    #[must_use]
    pub fn interleaved(self) -> Rotary {
        Rotary { interleaved: true, ..self }
    }

    /// The same with another base of the angles.
    #[must_use]
    pub fn base(self, base: f64) -> Rotary {
        Rotary { base, table: PerDevice::default(), ..self }
    }

    /// `[…, rows, columns]` with row t turned by the angles of position t.
    #[track_caller]
    pub fn apply(&self, x: &Tensor) -> Tensor {
        let (at, rows) = (At::caller(), x.shape().iter().rev().nth(1).copied().unwrap_or(0));
        if rows > self.positions {
            let message = format!("there are {} positions", self.positions);
            return wrong::shape("rotary", message, &[x], at);
        }
        self.turned(x, |table| table.narrow(1, 0, rows), at)
    }

    /// `[…, rows, columns]` with its rows at `positions`, `[rows]` of integers. A position out of range is an error when
    /// the value is read.
    #[track_caller]
    pub fn apply_at(&self, x: &Tensor, positions: &Tensor) -> Tensor {
        self.turned(x, |table| table.index_select(1, positions), At::caller())
    }

    fn turned(&self, x: &Tensor, pick: impl FnOnce(&Tensor) -> Tensor, at: At) -> Tensor {
        let Ok(device) = x.device() else { return x.clone() };
        let half = self.columns / 2;
        if !self.columns.is_multiple_of(2) || x.rank() < 2 || x.shape().last() != Some(&self.columns) {
            let message = format!("needs […, rows, {}], an even number of columns", self.columns);
            return wrong::shape("rotary", message, &[x], at);
        }
        // Cosines and sines, [2, positions, half].
        let table = self.table.numbers(&device, x.dtype(), [2, self.positions, half], || {
            let angle = |t: usize, k: usize| t as f64 * self.base.powf(-2.0 * k as f64 / self.columns as f64);
            let all = (0..self.positions).flat_map(|t| (0..half).map(move |k| (t, k)));
            let angles: Vec<f64> = all.map(|(t, k)| angle(t, k)).collect();
            angles.iter().map(|a| a.cos()).chain(angles.iter().map(|a| a.sin())).collect()
        });
        let table = pick(&table).cast(x.dtype());
        let [cos, sin] = [0, 1].map(|k| table.narrow(0, k, 1).squeeze(0));
        let pairs = x.shape().iter().copied().take(x.rank() - 1).chain([half, 2]).collect::<Vec<_>>();
        let (a, b) = match self.interleaved {
            true => {
                let pairs = x.reshape(pairs);
                (pairs.narrow(-1, 0, 1).squeeze(-1), pairs.narrow(-1, 1, 1).squeeze(-1))
            }
            false => (x.narrow(-1, 0, half), x.narrow(-1, half, half)),
        };
        let (first, second) = (&a * &cos - &b * &sin, &b * &cos + &a * &sin);
        match self.interleaved {
            true => Tensor::stack(&[&first, &second], -1).flatten(-2, -1),
            false => Tensor::concat(&[&first, &second], -1),
        }
    }
}

/// Sines and cosines of the position added to `[…, rows, columns]` (Vaswani et al. 2017): sines in even columns, cosines
/// in odd ones.
///
/// ```
/// use vorpal_nn::{DType, Device, SinusoidalPositions, Tensor};
/// let x = Tensor::zeros([1, 2, 4], DType::F32, &Device::cpu());
/// let y = SinusoidalPositions::new(16, 4).forward(&x).to_vec::<f32>()?;
/// assert_eq!(y[..4], [0.0, 1.0, 0.0, 1.0]);
/// assert!((y[4] - 1f32.sin()).abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct SinusoidalPositions {
    positions: usize,
    columns: usize,
    #[module(skip)]
    table: PerDevice,
}

impl SinusoidalPositions {
    /// For so many positions of `columns` numbers.
    pub fn new(positions: usize, columns: usize) -> SinusoidalPositions {
        SinusoidalPositions { positions, columns, table: PerDevice::default() }
    }

    /// `x` with the positions of its rows added.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let Ok(device) = x.device() else { return x.clone() };
        let (positions, columns) = (self.positions, self.columns);
        let table = self.table.numbers(&device, x.dtype(), [positions, columns], || {
            let number = |t: usize, k: usize| {
                let angle = t as f64 * 10_000f64.powf(-((k / 2 * 2) as f64) / columns as f64);
                if k.is_multiple_of(2) { angle.sin() } else { angle.cos() }
            };
            (0..positions).flat_map(|t| (0..columns).map(move |k| number(t, k))).collect()
        });
        added("sinusoidal_positions", x, &table.cast(x.dtype()), At::caller())
    }
}

/// A trained vector of each position added to `[…, rows, columns]` (Gehring et al. 2017).
///
/// ```
/// use vorpal_nn::{DType, Device, LearnedPositions, Tensor};
/// let positions = LearnedPositions::new(16, 4, &Device::cpu());
/// let x = Tensor::zeros([3, 2, 4], DType::F32, &Device::cpu());
/// assert_eq!(positions.forward(&x).shape(), x.shape());
/// ```
#[derive(Clone, Debug, Module)]
pub struct LearnedPositions {
    /// `[positions, columns]`.
    pub weight: Tensor,
}

impl LearnedPositions {
    /// For so many positions of `columns` numbers, normal with deviation 0.02 as in GPT-2.
    pub fn new(positions: usize, columns: usize, device: &Device) -> LearnedPositions {
        LearnedPositions { weight: normal([positions, columns], 0.02, device) }
    }

    /// `x` with the positions of its rows added.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        added("learned_positions", x, &self.weight, At::caller())
    }
}

/// `x`, `[…, rows, columns]`, with the first rows of `table` added.
fn added(op: &'static str, x: &Tensor, table: &Tensor, at: At) -> Tensor {
    let (shape, all) = (x.shape(), table.shape());
    let rows = shape.iter().rev().nth(1).copied().unwrap_or(0);
    if shape.rank() < 2 || shape.last() != all.last() || rows > all[0] {
        let message = format!("needs […, rows, columns] within {all}");
        return wrong::shape(op, message, &[x, table], at);
    }
    x + table.narrow(0, 0, rows)
}

layers!(SinusoidalPositions, LearnedPositions);
