//! Whether a card multiplies matrices of halves as it says.

use std::sync::{Mutex, PoisonError};

use half::f16;
use vorpal_kernels::{Access, Arg, Domain, Epilogue, Inst, Kernel, MatMul, Program, Store, philox_word};
use vorpal_tensor::{Binding, Buffer, DType, Device, Layout, PipelineDesc, Replay, Result, Step};

use crate::ops::pointwise::MUL;

/// Rows, terms and columns of the products that are tried: more than a tile each, and parts of one; wide tiles and narrow ones;
/// terms that fill their steps and terms that do not.
const SIZES: [[usize; 3]; 2] = [[136, 80, 280], [136, 96, 104]];

/// How often each is made: an error of order comes and goes.
const TIMES: usize = 3;

/// Whether products of halves come out right on a device, in every way the operands can lie. Tried once; a device on which
/// it fails goes without.
pub(super) fn are_right(device: &Device) -> bool {
    static KNOWN: Mutex<Vec<(Device, bool)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, right)) = known.iter().find(|(tried, _)| tried == device) {
        return *right;
    }
    let right = tried(device).unwrap_or(false);
    known.push((device.clone(), right));
    right
}

fn tried(device: &Device) -> Result<bool> {
    for sizes in SIZES {
        if !multiplied(device, sizes)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn multiplied(device: &Device, [m, k, n]: [usize; 3]) -> Result<bool> {
    // Eighths up to one: sums of products are exact in f32, so right results are equal.
    let numbers = |len: usize, stream: u32| -> Vec<f32> {
        (0..len as u32).map(|i| (philox_word(i, [3, 5], [stream, 0]) % 17) as f32 / 8.0 - 1.0).collect()
    };
    let (a, b) = (numbers(m * k, 0), numbers(k * n, 1));
    // Times these, results are halves of every kind: rounded, subnormal, too large. The least is a subnormal half itself.
    let factors = [1.0, 3.0 / 16_777_216.0, 1.0 / 16_384.0, 30_000.0f32];
    let scales: Vec<f32> = (0..m * n).map(|i| factors[i % factors.len()]).collect();
    let halves =
        |x: &[f32]| -> Vec<u8> { x.iter().flat_map(|&x| f16::from_f32(x).to_bits().to_le_bytes()).collect() };
    let of_scales = device.upload(&halves(&scales))?;
    let (of_a, of_b) = (device.upload(&halves(&a))?, device.upload(&halves(&b))?);
    let (out, narrow) = (device.upload(&vec![0xff; 4 * m * n])?, device.upload(&vec![0xff; 2 * m * n])?);
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
        let Some(scaled) = kernel.with_epilogue(scaled_in_halves(m * n)) else { return Ok(false) };
        let rounded: Vec<f16> = expected.iter().zip(&scales).map(|(x, s)| f16::from_f32(x * s)).collect();
        let as_floats: Vec<f32> = rounded.iter().map(|x| x.to_f32()).collect();
        let floats = |bytes: &[u8]| bytemuck::pod_collect_to_vec::<u8, f32>(&bytes[..4 * m * n]);
        let (mut plain, mut halves) = (alone(device, &kernel)?, alone(device, &*scaled)?);
        for _ in 0..TIMES {
            plain.run(&[of_a.clone(), of_b.clone(), out.clone()], &[], &[])?;
            if floats(&out.download()?) != expected {
                return Ok(false);
            }
            let table: [Buffer; 5] =
                [of_a.clone(), of_b.clone(), narrow.clone(), out.clone(), of_scales.clone()];
            halves.run(&table, &[], &[])?;
            let found: Vec<u16> = bytemuck::pod_collect_to_vec(&narrow.download()?[..2 * m * n]);
            let equal = found.iter().zip(&rounded).all(|(found, x)| *found == x.to_bits());
            if !equal || floats(&out.download()?) != as_floats {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Every result of a product times a half, as a half and as the float that this is.
fn scaled_in_halves(len: usize) -> Epilogue {
    let insts = vec![
        Inst::Acc { dtype: DType::F32 },
        Inst::Load { arg: 4, layout: Layout::contiguous([len]), fill: 0.0, domain: Domain::Full },
        Inst::Call { f: &MUL.f, args: [0, 1].into_iter().collect() },
        Inst::Cast { x: 2, dtype: DType::F16 },
    ];
    let stores = vec![Store { value: 3, arg: 2 }, Store { value: 3, arg: 3 }];
    let results = [Arg::write(DType::F16, len), Arg::write(DType::F32, len)];
    let args = results.into_iter().chain([Arg::read(DType::F16, len)]).collect();
    Epilogue { program: Program { insts, stores }, args, scalars: Vec::new() }
}

/// A product as a launch of its own.
fn alone(device: &Device, kernel: &dyn Kernel) -> Result<Replay> {
    let shader = kernel.shader()?;
    let writes: Vec<bool> = kernel.args().iter().map(|a| a.access != Access::Read).collect();
    let binding = |&writes: &bool| if writes { Binding::StorageWrite } else { Binding::StorageRead };
    let bindings: Vec<Binding> = writes.iter().map(binding).collect();
    let pipeline = device.pipeline(&PipelineDesc {
        kernel: kernel.name(),
        source: &shader.source,
        constants: &shader.constants,
        bindings: &bindings,
    })?;
    let (buffers, starts) = ((0..writes.len()).collect(), Vec::new());
    let step =
        Step { pipeline, buffers, starts, writes, groups: kernel.groups(), params: None, fault: false };
    Replay::new(device, vec![step], 0)
}
