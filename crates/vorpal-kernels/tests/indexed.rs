//! Kernels that move elements: shaders of gather and scatter for every target, and joined parts.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, adapter, assert_close, bytes_of, check_shader, floats, run_native, run_on};
use vorpal_kernels::{Gather, GatherShape, Join, Joined, Kernel, SCATTER_LEN_MAX, ScatterAdd};
use vorpal_tensor::DType;

#[test]
fn parts_lie_one_behind_the_other() {
    let mut random = Random(3);
    for round in 0..40 {
        let dtype = [DType::F32, DType::F16, DType::F64, DType::I8][random.below(4)];
        let (outer, size) = ([1, 2, 9, 0][random.below(4)], dtype.size());
        // Whole fours of words, whole words, or neither.
        let step = [16, 4, 1][random.below(3)];
        let (mut parts, mut buffers) = (Vec::new(), Vec::new());
        for _ in 0..1 + random.below(6) {
            let len = [0, 1, 5, 40][random.below(4)] * step;
            if random.below(4) == 0 {
                parts.push(Joined::Zeros { len });
                continue;
            }
            let offset = [0, 3, 70][random.below(3)] * step;
            parts.push(Joined::Operand { offset, len });
            let bytes = dtype.bytes(offset + outer * len);
            buffers.push((0..bytes).map(|_| random.word() as u8).collect::<Vec<u8>>());
        }
        let mut expected = Vec::new();
        for row in 0..outer {
            let mut operands = buffers.iter();
            for part in &parts {
                match *part {
                    Joined::Zeros { len } => expected.resize(expected.len() + len * size, 0u8),
                    Joined::Operand { offset, len } => {
                        let operand = operands.next().expect("an operand");
                        expected.extend_from_slice(&operand[(offset + row * len) * size..][..len * size]);
                    }
                }
            }
        }
        let join = Join::new(dtype, outer, parts.clone());
        let result = vec![0xff; expected.len().next_multiple_of(4)];
        let fresh = || [&buffers[..], std::slice::from_ref(&result)].concat();
        let check = |all: &[Vec<u8>], place: &str| {
            assert_eq!(all[buffers.len()][..expected.len()], expected, "{place}, round {round}: {parts:?}");
        };
        let mut all = fresh();
        run_native(&join, &mut all, &[]).expect("it runs natively");
        check(&all, "native");
        assert_eq!(join.has_shader(), join.shader().is_ok());
        let Ok(shader) = join.shader() else {
            assert_ne!(size * step % 4, 0, "whole words: {parts:?}");
            continue;
        };
        check_shader(&shader);
        if let Some(device) = adapter() {
            let mut all = fresh();
            run_on(&device, &join, &mut all, &[], None).expect("it runs on the adapter");
            check(&all, "adapter");
        }
    }
}

#[test]
fn shaders_translate_for_every_target() {
    for len in [0, 7, SCATTER_LEN_MAX] {
        let shape = GatherShape { outer: 2, axis: 5, inner: 3, len, index_strides: [3 * len, 3, 1] };
        check_shader(&Gather::new(shape, DType::F32, DType::I32, [0, 4]).shader().expect("a shader"));
        let scatter = ScatterAdd::new(shape, DType::F32, DType::U32, [1, 2, 3]).expect("short");
        check_shader(&scatter.shader().expect("a shader"));
    }
    let long =
        GatherShape { outer: 1, axis: 5, inner: 1, len: SCATTER_LEN_MAX + 1, index_strides: [0, 1, 0] };
    assert!(ScatterAdd::new(long, DType::F32, DType::I32, [0; 3]).is_none());
    let native = ScatterAdd::native(long, DType::F32, DType::I32, [0; 3]).expect("any length");
    assert!(native.shader().is_err());
}

/// However the work is shared out: whole slabs, rows of one, columns of one, single elements.
#[test]
fn native_bodies_are_plain_loops() {
    let mut random = Random(4);
    for (outer, axis, inner, len) in [
        (1, 1, 1, 1),
        (3, 5, 7, 4),
        (1, 6, 130, 50),
        (2, 9, 64, 20),
        (1, 40, 16, 90),
        (70, 3, 33, 5),
        (5000, 7, 1, 9),
        (1, 20, 1, 3000),
        (2, 4, 3, 0),
        (0, 4, 3, 2),
    ] {
        for list in [false, true] {
            let strides = if list { [0, 1, 0] } else { [len * inner, inner, 1] };
            let shape = GatherShape { outer, axis, inner, len, index_strides: strides };
            let numbers = 1 + if list { len } else { shape.count() };
            let index: Vec<u32> = (0..numbers).map(|_| random.below(axis) as u32).collect();
            let index_bytes: Vec<u8> = bytemuck::cast_slice(&index).to_vec();
            let (x, source) = (random.units(outer * axis * inner), random.units(2 + shape.count()));
            let (mut picked, mut added) = (Vec::new(), x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
            for k in 0..shape.count() {
                let (o, j, i) = (k / inner / len, k / inner % len, k % inner);
                let number = index[1 + o * strides[0] + j * strides[1] + i * strides[2]] as usize;
                picked.push(f64::from(x[(o * axis + number) * inner + i]));
                added[(o * axis + number) * inner + i] += f64::from(source[2 + k]);
            }
            let what = format!("{shape:?}");
            let gather = Gather::new(shape, DType::F32, DType::U32, [0, 1]);
            let mut all = vec![bytes_of(&x), index_bytes.clone(), vec![0; 4 * shape.count()]];
            run_native(&gather, &mut all, &[0.0]).expect("it runs");
            assert_close(&floats(&all[2]), &picked, 0.0, &what);
            let scatter = ScatterAdd::native(shape, DType::F32, DType::U32, [0, 1, 2]).expect("floats");
            let mut all = vec![bytes_of(&x), index_bytes, bytes_of(&source), vec![0; 4 * x.len()]];
            run_native(&scatter, &mut all, &[0.0]).expect("it runs");
            assert_close(&floats(&all[3]), &added, 1e-4, &what);
            let in_place = scatter.in_place(0, 3).expect("nothing is before the base");
            let mut over = vec![all[1].clone(), all[2].clone(), bytes_of(&x)];
            run_native(&*in_place, &mut over, &[0.0]).expect("it runs");
            assert_eq!(over[2], all[3], "{what}");
            // A number out of range is told, wherever it is.
            if shape.count() > 0 {
                let mut wrong = index.clone();
                wrong[numbers - 1] = axis as u32;
                over[0] = bytemuck::cast_slice(&wrong).to_vec();
                assert!(run_native(&*in_place, &mut over, &[0.0]).is_err(), "{what}");
            }
        }
    }
}
