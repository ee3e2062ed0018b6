//! Kernels that a program brings along, and ops of other crates.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, assert_close, check_derivatives, devices};
use vorpal_autodiff::compile::ir::{Builder, NodeId};
use vorpal_autodiff::{
    CustomKernel, DType, Device, Error, Key, Misfit, Op, Result, Shape, Spec, Tensor, Vjp, Vmap, grad, vmap,
};

const SQUARED_RELU: &str = "
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
override COUNT: u32 = 1u;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * wgs.x) * 64u + lane;
    if i < COUNT {
        let v = max(x[i], 0.0);
        out[i] = v * v;
    }
}";

/// Sums of rows, one workgroup a row of which one invocation works.
const ROW_SUM: &str = "
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> scale: array<i32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
override COLUMNS: u32 = 1u;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) wg: vec3<u32>) {
    var sum = 0.0;
    for (var k = 0u; k < COLUMNS; k++) {
        sum += x[wg.x * COLUMNS + k];
    }
    out[wg.x] = sum * f32(scale[0]);
}";

fn bare() -> CustomKernel {
    CustomKernel::new("squared_relu", SQUARED_RELU).expect("a valid shader")
}

fn squared_relu() -> CustomKernel {
    bare()
        .with_native(|mut run, operands, _| {
            if operands[0].dtype == DType::F64 {
                let (x, out) = (run.read::<f64>(0)?, run.write::<f64>(1)?);
                out.iter_mut().zip(x).for_each(|(o, &x)| *o = x.max(0.0).powi(2));
            } else {
                let (x, out) = (run.read::<f32>(0)?, run.write::<f32>(1)?);
                out.iter_mut().zip(x).for_each(|(o, &x)| *o = x.max(0.0).powi(2));
            }
            Ok(())
        })
        .with_vjp(|v| vec![Some(v.inputs[0].relu() * 2.0 * v.grad)])
        .elementwise()
}

fn row_sum() -> CustomKernel {
    CustomKernel::new("row_sum", ROW_SUM)
        .expect("a valid shader")
        .with_infer(|x| match x[0].shape.dims() {
            &[rows, _] => Ok(Spec::new([rows], x[0].dtype)),
            _ => Misfit::shape("needs a matrix"),
        })
        .with_constants(|x, _| vec![("COLUMNS", x[0].shape[1] as f64)])
        .with_groups(|x, _| [x[0].shape[0] as u32, 1, 1])
        .with_native(|mut run, x, _| {
            let (from, scale, out) = (run.read::<f32>(0)?, run.read::<i32>(1)?, run.write::<f32>(2)?);
            for (o, row) in out.iter_mut().zip(from.chunks(x[0].shape[1])) {
                *o = row.iter().sum::<f32>() * scale[0] as f32;
            }
            Ok(())
        })
}

#[test]
fn values_are_those_of_the_composite() {
    let mut random = Random::new(1);
    for device in devices() {
        let op = squared_relu();
        for shape in [&[0][..], &[1], &[3, 5], &[70_001]] {
            let n = shape.iter().product();
            let data: Vec<f32> = random.values(n, -2.0, 2.0).iter().map(|&v| v as f32).collect();
            let x = Tensor::from_slice(&data, shape, &device);
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                let x = x.cast(dtype);
                // Through a window, and with neighbours to fuse with.
                let found = op.call(&[&(x.flip(0) + 1.0)]).cast(DType::F32) * 3.0;
                let expected =
                    (x.flip(0) + 1.0).cast(DType::F32).relu().square().cast(dtype).cast(DType::F32) * 3.0;
                let reference: Vec<f64> =
                    expected.to_vec::<f32>().expect("values").into_iter().map(f64::from).collect();
                assert_close(&found.to_vec::<f32>().expect("values"), &reference, 1e-6, "squared_relu");
            }
        }
        let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &device);
        let sums = row_sum().call(&[&x, &Tensor::from_item(10i32, &device)]);
        assert_eq!(sums.to_vec::<f32>(), Ok(vec![60.0, 150.0]), "{device}");
        let other = row_sum().call(&[&x.t(), &Tensor::from_item(1i32, &device)]);
        assert_eq!(other.to_vec::<f32>(), Ok(vec![5.0, 7.0, 9.0]), "{device}");
    }
}

#[test]
fn it_is_an_op_like_any_other() {
    let mut random = Random::new(2);
    let op = squared_relu();
    check_derivatives("squared_relu", &[random.tensor(&[3, 4], -1.0, 1.0)], |x| op.call(&[&x[0]]));
    let x = random.tensor(&[3, 4], -1.0, 1.0);
    let each = vmap(&x, 0, |x| grad(x, |x| op.call(&[x]).sum_all())).expect("gradients");
    let expected = x.relu() * 2.0;
    assert_eq!(each.to_vec::<f64>(), expected.to_vec::<f64>());
}

/// The message of an error.
fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.expect_err("an error").to_string()
}

#[test]
fn what_is_wrong_is_said() {
    let new = |text: &str| message(CustomKernel::new("mine", text));
    let found = new(&SQUARED_RELU.replace("v * v", "v * u"));
    assert!(
        found.starts_with("shader of kernel mine does not compile: line 14: ") && found.contains("`u`"),
        "{found}"
    );
    let found = new(&SQUARED_RELU.replace("let v = max(x[i], 0.0)", "let v = x[i] + i"));
    assert!(found.contains("line 13"), "{found}");
    let found = new(&SQUARED_RELU.replace("fn main", "fn start"));
    assert!(found.ends_with("there is no compute entry point `main`"), "{found}");
    let found = new(&SQUARED_RELU.replace("@binding(1)", "@binding(2)"));
    assert!(found.contains("there is no binding 1"), "{found}");
    let found = new(&SQUARED_RELU.replace("64", "512"));
    assert!(found.contains("more than 256 invocations"), "{found}");
    let here = |text: &str| text.contains("tests/user_kernel.rs:");
    let device = Device::cpu();
    let x = Tensor::from_slice(&[1.0f32], [1], &device);
    let found = message(bare().call(&[&x]).check());
    assert!(found.contains("squared_relu: the kernel has no native body") && here(&found), "{found}");
    let found = message(squared_relu().call(&[&x, &x]).check());
    assert!(found.contains("2 operands, the shader binds 1") && here(&found), "{found}");
    let found = message(squared_relu().call(&[&x.cast(DType::I32)]).check());
    assert!(found.contains("operand 0 is i32, the shader binds array<f32>") && here(&found), "{found}");
    let found = message(row_sum().call(&[&x, &x.cast(DType::I32)]).check());
    assert!(found.contains("row_sum: needs a matrix (operands f32[1], i32[1])") && here(&found), "{found}");
    let (matrix, scale) = (x.reshape([1, 1]), Tensor::from_item(1i32, &device));
    let found = message(grad(&matrix, |x| row_sum().call(&[x, &scale]).sum_all()));
    assert!(found.contains("row_sum: the kernel has no derivative rule") && here(&found), "{found}");
    let many = x.reshape([1, 1, 1]);
    let found = message(vmap(&many, 0, |x| row_sum().call(&[x, &scale])));
    assert!(found.contains("row_sum: the kernel has no batching rule") && here(&found), "{found}");
    let found = message(Tensor::from_op(Swap, &[]).check());
    assert!(found.contains("swap: an op needs at least one operand") && here(&found), "{found}");
    assert!(matches!(Tensor::from_op(Swap, &[&x]).check(), Err(Error::Shape { op: "swap", .. })));
}

/// An op of a crate of a user: the two halves of a vector exchanged.
#[derive(Debug)]
struct Swap;

impl Op for Swap {
    fn name(&self) -> &'static str {
        "swap"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        match inputs[0].shape.dims() {
            [n] if n % 2 == 0 => Ok(inputs[0].clone()),
            _ => Misfit::shape("needs a vector of even length"),
        }
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(Tensor::from_op(Swap, &[v.grad]))]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        let n = v.inputs[0].shape()[1] as isize / 2;
        Tensor::concat(&[&v.inputs[0].slice(1, n..), &v.inputs[0].slice(1, ..n)], 1)
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, cx: &mut Builder, inputs: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let n = cx.shape(inputs[0])[0];
        let halves = cx.view(inputs[0], |l| l.reshape(&Shape::from([2, n / 2])))?;
        let swapped = cx.view(halves, |l| Some(l.flip(0)))?;
        cx.view(swapped, |l| l.reshape(&Shape::from([n])))
    }
}

#[test]
fn another_crate_can_have_ops() {
    let mut random = Random::new(5);
    check_derivatives("swap", &[random.tensor(&[6], -1.0, 1.0)], |x| Tensor::from_op(Swap, &[&x[0]]).sin());
    for device in devices() {
        let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [4], &device);
        assert_eq!(Tensor::from_op(Swap, &[&x]).to_vec::<f32>(), Ok(vec![3.0, 4.0, 1.0, 2.0]));
    }
}
