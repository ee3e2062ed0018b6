//! Whether a card multiplies matrices of halves as it says.

use std::sync::{Mutex, PoisonError};

use half::f16;
use vorpal_kernels::{Arg, Epilogue, Inst, Kernel, MatMul, Program, Store, philox_word};
use vorpal_tensor::{Binding, Buffer, DType, Device, Layout, PipelineDesc, Replay, Result, Step};

use crate::ops::pointwise::MUL;

/// Rows, terms and columns of the products that are tried: more than a tile each, and parts of one.
const SIZES: [usize; 3] = [136, 80, 152];

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
        // Squares take more than halves hold, so that rounding is tried, too.
        let Some(squares) = kernel.with_epilogue(squares_in_halves(m * n)) else { return Ok(false) };
        let squared: Vec<u16> = expected.iter().map(|x| f16::from_f32(x * x).to_bits()).collect();
        let run = |kernel: &dyn Kernel, bytes: usize| -> Result<Vec<u8>> {
            let table: [Buffer; 3] = [of_a.clone(), of_b.clone(), out.clone()];
            alone(device, kernel)?.run(&table, &[], &[])?;
            Ok(out.download()?[..bytes].to_vec())
        };
        for _ in 0..TIMES {
            if bytemuck::pod_collect_to_vec::<u8, f32>(&run(&kernel, 4 * m * n)?) != expected
                || bytemuck::pod_collect_to_vec::<u8, u16>(&run(&*squares, 2 * m * n)?) != squared
            {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The square of every result of a product, in halves.
fn squares_in_halves(len: usize) -> Epilogue {
    let insts = vec![
        Inst::Acc { dtype: DType::F32 },
        Inst::Call { f: &MUL.f, args: [0, 0].into_iter().collect() },
        Inst::Cast { x: 1, dtype: DType::F16 },
    ];
    let program = Program { insts, stores: vec![Store { value: 2, arg: 2 }] };
    Epilogue { program, args: vec![Arg::write(DType::F16, len)], scalars: Vec::new() }
}

/// A product as a launch of its own.
fn alone(device: &Device, kernel: &dyn Kernel) -> Result<Replay> {
    let shader = kernel.shader()?;
    let bindings = [Binding::StorageRead, Binding::StorageRead, Binding::StorageWrite];
    let pipeline = device.pipeline(&PipelineDesc {
        kernel: kernel.name(),
        source: &shader.source,
        constants: &shader.constants,
        bindings: &bindings,
    })?;
    let (buffers, starts, writes) = ((0..3).collect(), Vec::new(), vec![false, false, true]);
    let step =
        Step { pipeline, buffers, starts, writes, groups: kernel.groups(), params: None, fault: false };
    Replay::new(device, vec![step], 0)
}
