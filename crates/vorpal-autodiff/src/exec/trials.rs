//! Whether a card computes as it says, where that is worth a trial: found out before the first plan that counts on it.

use std::sync::{Mutex, PoisonError};

use half::f16;
use vorpal_kernels::{
    Abilities, Access, Arg, Domain, Inst, Kernel, MatMul, Pointwise, Program, Store, philox_word,
};
use vorpal_tensor::{Binding, Buffer, DType, Device, Layout, PipelineDesc, Replay, Result, Step};

/// Rows, terms and columns of the products that are tried: more than a tile each, and parts of one.
const SIZES: [usize; 3] = [136, 80, 152];

/// How often each is made: an error of order comes and goes.
const TIMES: usize = 3;

/// A trial and the devices it was made on, each with its outcome.
struct Trial(Mutex<Vec<(Device, bool)>>);

impl Trial {
    const fn new() -> Trial {
        Trial(Mutex::new(Vec::new()))
    }

    /// The outcome on a device. A device that fails at it goes without.
    fn passed(&self, device: &Device, trial: impl FnOnce() -> Result<bool>) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, passed)) = known.iter().find(|(tried, _)| tried == device) {
            return *passed;
        }
        let passed = trial().unwrap_or(false);
        known.push((device.clone(), passed));
        passed
    }
}

/// Whether products of halves come out right on a device, in every way the operands can lie.
pub(super) fn matrices_are_right(device: &Device) -> bool {
    static TRIAL: Trial = Trial::new();
    TRIAL.passed(device, || multiplied(device))
}

/// Whether packing rounds to the nearest half, ties to even, and unpacking gives every half.
pub(super) fn halves_are_exact(device: &Device) -> bool {
    static TRIAL: Trial = Trial::new();
    TRIAL.passed(device, || packed(device))
}

/// Every half, every place between two where rounding turns, and what is beside it.
fn packed(device: &Device) -> Result<bool> {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let mut wide: Vec<f32> = all.iter().map(|&bits| f16::from_bits(bits).to_f32()).collect();
    let largest = f16::MAX.to_bits();
    for bits in 0..=largest {
        let beyond = if bits == largest { 65536.0 } else { f16::from_bits(bits + 1).to_f32() };
        let middle = (f16::from_bits(bits).to_f32() + beyond) / 2.0;
        let sides = [middle.next_down(), middle, middle.next_up()];
        wide.extend(sides.into_iter().flat_map(|x| [x, -x]));
    }
    wide.extend([f32::MAX, -f32::MAX, 1e-30, -1e-30, 1e-8, 0.0]);
    let same =
        |found: f32, wanted: f32| found.to_bits() == wanted.to_bits() || (found.is_nan() && wanted.is_nan());
    let narrowed: Vec<u16> =
        bytemuck::pod_collect_to_vec(&cast(device, bytemuck::cast_slice(&wide), [DType::F32, DType::F16])?);
    let widened: Vec<f32> =
        bytemuck::pod_collect_to_vec(&cast(device, bytemuck::cast_slice(&all), [DType::F16, DType::F32])?);
    let narrow = |(&x, &bits): (&f32, &u16)| same(f16::from_bits(bits).to_f32(), f16::from_f32(x).to_f32());
    Ok(wide.iter().zip(&narrowed).all(narrow)
        && all.iter().zip(&widened).all(|(&bits, &x)| same(x, f16::from_bits(bits).to_f32())))
}

/// Elements converted by a launch of its own, which packs and unpacks halves.
fn cast(device: &Device, bytes: &[u8], [from, to]: [DType; 2]) -> Result<Vec<u8>> {
    let len = bytes.len() / from.bytes(1);
    let program = Program {
        insts: vec![
            Inst::Load { arg: 0, layout: Layout::contiguous([len]), fill: 0.0, domain: Domain::Full },
            Inst::Cast { x: 0, dtype: to },
        ],
        stores: vec![Store { value: 1, arg: 1 }],
    };
    let args = vec![Arg::read(from, len), Arg::write(to, len)];
    let abilities = Abilities { halves: true, ..Abilities::default() };
    let kernel = Pointwise::new(program, args, Vec::new(), len).with_abilities(abilities);
    let out = device.upload(&vec![0; to.bytes(len)])?;
    alone(device, &kernel)?.run(&[device.upload(bytes)?, out.clone()], &[])?;
    Ok(out.download()?[..to.bytes(len)].to_vec())
}

fn multiplied(device: &Device) -> Result<bool> {
    let [m, k, n] = SIZES;
    // Eighths up to one: sums of products are exact in f32, so right results are equal.
    let numbers = |len: usize, stream: u32| -> Vec<f32> {
        (0..len as u32).map(|i| (philox_word(i, [3, 5], [stream, 0]) % 17) as f32 / 8.0 - 1.0).collect()
    };
    let (a, b) = (numbers(m * k, 0), numbers(k * n, 1));
    let halves =
        |x: &[f32]| -> Vec<u8> { x.iter().flat_map(|&x| f16::from_f32(x).to_bits().to_le_bytes()).collect() };
    let (of_a, of_b) = (device.upload(&halves(&a))?, device.upload(&halves(&b))?);
    let out = device.upload(&vec![0xff; 4 * m * n])?;
    let lies = |rows: usize, columns: usize, turned: bool| match turned {
        true => Layout::contiguous([columns, rows]).permute(&[1, 0]),
        false => Layout::contiguous([rows, columns]),
    };
    for turned in [[false, false], [false, true], [true, false], [true, true]] {
        let at = |i: usize, j: usize, [rows, columns]: [usize; 2], turned: bool| match turned {
            true => j * rows + i,
            false => i * columns + j,
        };
        let expected = (0..m * n).map(|place| -> f32 {
            let (i, j) = (place / n, place % n);
            (0..k).map(|t| a[at(i, t, [m, k], turned[0])] * b[at(t, j, [k, n], turned[1])]).sum()
        });
        let expected: Vec<f32> = expected.collect();
        let Some(kernel) = MatMul::of_halves(&lies(m, k, turned[0]), &lies(k, n, turned[1])) else {
            return Ok(false);
        };
        let replay = &mut alone(device, &kernel)?;
        for _ in 0..TIMES {
            let table: [Buffer; 3] = [of_a.clone(), of_b.clone(), out.clone()];
            replay.run(&table, &[])?;
            if bytemuck::pod_collect_to_vec::<u8, f32>(&out.download()?[..4 * m * n]) != expected {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// A kernel as a launch of its own.
fn alone(device: &Device, kernel: &dyn Kernel) -> Result<Replay> {
    let (shader, args) = (kernel.shader()?, kernel.args());
    let writes: Vec<bool> = args.iter().map(|a| a.access != Access::Read).collect();
    let storage = |&writes: &bool| if writes { Binding::StorageWrite } else { Binding::StorageRead };
    let bindings: Vec<Binding> = writes.iter().map(storage).collect();
    let pipeline = device.pipeline(&PipelineDesc {
        kernel: kernel.name(),
        source: &shader.source,
        constants: &shader.constants,
        bindings: &bindings,
    })?;
    let buffers = (0..args.len()).collect();
    let step = Step { pipeline, buffers, writes, groups: kernel.groups(), params: None, fault: false };
    Replay::new(device, vec![step], 0)
}
