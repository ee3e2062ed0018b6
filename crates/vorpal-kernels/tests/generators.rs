//! Fused pointwise and row kernels against a plain f64 evaluation, natively and on the adapter.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, adapter, assert_close, bytes_of, check_shader, floats, run_native, run_on};
use vorpal_kernels::{
    Abilities, Arg, Domain, Inst, Kernel, Lane, LaneMut, Pointwise, Program, ReduceKind, ResultType, Row,
    ScalarFn, Store, map1, map2, map3,
};
use vorpal_tensor::{DType, Layout, Shape};

const fn function(
    name: &'static str,
    arity: usize,
    wgsl: &'static str,
    cpu: fn(&[Lane<'_>], LaneMut<'_>),
) -> ScalarFn {
    ScalarFn { name, arity, result: ResultType::Last, wgsl, support: "", cpu, flops: 1 }
}
static ADD: ScalarFn = function("add", 2, "a + b", |x, o| map2(x, o, |a: f32, b: f32| a + b));
static SUB: ScalarFn = function("sub", 2, "a - b", |x, o| map2(x, o, |a: f32, b: f32| a - b));
static MUL: ScalarFn = function("mul", 2, "a * b", |x, o| map2(x, o, |a: f32, b: f32| a * b));
static DIV: ScalarFn = function("div", 2, "a / b", |x, o| map2(x, o, |a: f32, b: f32| a / b));
static EXP: ScalarFn = function("exp", 1, "exp(a)", |x, o| map1(x, o, |a: f32| a.exp()));
static RSQRT: ScalarFn = function("rsqrt", 1, "inverseSqrt(a)", |x, o| map1(x, o, |a: f32| 1.0 / a.sqrt()));
static LESS: ScalarFn = ScalarFn {
    result: ResultType::Bool,
    ..function("less", 2, "a < b", |x, o| map2(x, o, |a: f32, b: f32| u32::from(a < b)))
};
static SELECT: ScalarFn = function("select", 3, "select(c, b, a)", |x, o| {
    map3(x, o, |a: u32, b: f32, c: f32| if a != 0 { b } else { c });
});

fn reference(f: &ScalarFn, x: &[f64]) -> f64 {
    match f.name {
        "add" => x[0] + x[1],
        "sub" => x[0] - x[1],
        "mul" => x[0] * x[1],
        "div" => x[0] / x[1],
        "exp" => x[0].exp(),
        "rsqrt" => 1.0 / x[0].sqrt(),
        "less" => f64::from(u8::from(x[0] < x[1])),
        _ => {
            if x[0] != 0.0 {
                x[1]
            } else {
                x[2]
            }
        }
    }
}

/// Every value of a program, element by element in f64; row values repeat along their rows.
fn evaluate(
    program: &Program,
    inputs: &[Vec<f64>],
    scalars: &[f64],
    len: usize,
    map: &Layout,
) -> Vec<Vec<f64>> {
    let row = |i: usize| map.place(i).unwrap_or(0);
    let mut values: Vec<Vec<f64>> = Vec::new();
    for inst in &program.insts {
        let at = |domain: &Domain, i: usize| if *domain == Domain::Full { i } else { row(i) };
        values.push(match inst {
            Inst::Load { arg, layout, fill, domain } => {
                (0..len).map(|i| layout.place(at(domain, i)).map_or(*fill, |p| inputs[*arg][p])).collect()
            }
            Inst::Place { layout, domain } => {
                (0..len).map(|i| layout.place(at(domain, i)).unwrap_or(0) as f64).collect()
            }
            Inst::Scalar { index, .. } => vec![scalars[*index]; len],
            Inst::Const { value, .. } => vec![*value; len],
            Inst::Acc { .. } => vec![0.0; len],
            Inst::Cast { x, dtype } => values[*x]
                .iter()
                .map(|&v| match dtype {
                    DType::I32 => f64::from(v as i32),
                    DType::Bool => f64::from(u8::from(v != 0.0)),
                    DType::F16 => half::f16::from_f64(v).to_f64(),
                    DType::BF16 => half::bf16::from_f64(v).to_f64(),
                    _ => v,
                })
                .collect(),
            Inst::Call { f, args } => (0..len)
                .map(|i| reference(f, &args.iter().map(|&a| values[a][i]).collect::<Vec<_>>()))
                .collect(),
            Inst::Reduce { kind, x } => {
                let rows = (0..len).map(row).max().map_or(0, |r| r + 1);
                let mut acc = vec![
                    match kind {
                        ReduceKind::Sum => 0.0,
                        ReduceKind::Max => f64::NEG_INFINITY,
                        ReduceKind::Min => f64::INFINITY,
                    };
                    rows
                ];
                for i in 0..len {
                    let (a, v) = (&mut acc[row(i)], values[*x][i]);
                    *a = match kind {
                        ReduceKind::Sum => *a + v,
                        _ if v.is_nan() || a.is_nan() => f64::NAN,
                        ReduceKind::Max => a.max(v),
                        ReduceKind::Min => a.min(v),
                    };
                }
                (0..len).map(|i| acc[row(i)]).collect()
            }
        });
    }
    values
}

/// A random view with `shape` on a buffer of its own, and how long the buffer is.
fn random_view(random: &mut Random, shape: &Shape) -> (Layout, usize) {
    let rank = shape.rank();
    let mut base: Vec<usize> = shape.to_vec();
    // From the end of the way to its start: which sizes does the buffer have?
    let (mut before, mut after, mut pads) = (vec![0; rank], vec![0; rank], false);
    let kind = random.below(6);
    for k in 0..rank {
        if kind == 1 && random.below(2) == 0 {
            base[k] = 1;
        }
        if kind == 2 && base[k] > 2 {
            (before[k], after[k]) = (random.below(2), 1);
            base[k] -= before[k] + after[k];
            pads = true;
        }
        if kind == 3 {
            base[k] += 2;
        }
    }
    let mut order: Vec<usize> = (0..rank).collect();
    if kind == 4 {
        order.reverse();
    }
    let stored: Shape = order.iter().map(|&k| base[k]).collect();
    let mut layout = Layout::contiguous(stored.clone());
    let mut inverse = vec![0; rank];
    for (at, &k) in order.iter().enumerate() {
        inverse[k] = at;
    }
    layout = layout.permute(&inverse);
    if kind == 3 {
        for k in 0..rank {
            layout = layout.slice(k, 1, shape[k], 1);
        }
    }
    if pads {
        layout = layout.pad(&before, &after).expect("no bounds yet");
    }
    layout = layout.broadcast_to(shape);
    if kind == 5 && rank > 0 && shape[0] > 0 {
        layout = layout.flip(0);
    }
    // Some start further on than a binding can.
    let front = [0, 0, 37, 64, 300][random.below(5)];
    layout.offset += front as isize;
    (layout, stored.numel() + front)
}

struct Case {
    program: Program,
    args: Vec<Arg>,
    inputs: Vec<Vec<f32>>,
    scalars: Vec<f64>,
}

/// A random program over `shape`; with `axes` there are reductions, too.
fn random_case(random: &mut Random, shape: &Shape, axes: Option<&[bool]>) -> Case {
    let mut program = Program::default();
    let (mut args, mut inputs) = (Vec::new(), Vec::new());
    for arg in 0..1 + random.below(3) {
        let (layout, len) = random_view(random, shape);
        args.push(Arg::read(DType::F32, len));
        inputs.push(random.units(len));
        program.insts.push(Inst::Load { arg, layout, fill: 0.25, domain: Domain::Full });
    }
    program.insts.push(Inst::Scalar { index: 0, dtype: DType::F32 });
    program.insts.push(Inst::Const { value: 0.75, dtype: DType::F32 });
    // Floats only: truth values stay within one step.
    let mut floats: Vec<usize> = (0..program.insts.len()).collect();
    let mut reductions = 0;
    for _ in 0..3 + random.below(8) {
        let pick = |random: &mut Random, from: &[usize]| from[random.below(from.len())];
        let (a, b) = (pick(random, &floats), pick(random, &floats));
        match random.below(7) {
            0 => program.insts.push(Inst::Call { f: &ADD, args: [a, b].into_iter().collect() }),
            1 => program.insts.push(Inst::Call { f: &SUB, args: [a, b].into_iter().collect() }),
            2 => program.insts.push(Inst::Call { f: &MUL, args: [a, b].into_iter().collect() }),
            3 => {
                program.insts.push(Inst::Call { f: &LESS, args: [a, b].into_iter().collect() });
                let c = program.insts.len() - 1;
                let d = pick(random, &floats);
                program.insts.push(Inst::Call { f: &SELECT, args: [c, a, d].into_iter().collect() });
            }
            4 => {
                let half = if random.below(2) == 0 { DType::F32 } else { DType::I32 };
                program.insts.push(Inst::Cast { x: a, dtype: half });
                let x = program.insts.len() - 1;
                program.insts.push(Inst::Cast { x, dtype: DType::F32 });
            }
            _ if axes.is_some() && reductions < 3 => {
                reductions += 1;
                let domains = program.domains();
                let full: Vec<usize> =
                    floats.iter().copied().filter(|&v| domains[v] == Domain::Full).collect();
                let kind = [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min][random.below(3)];
                program.insts.push(Inst::Reduce { kind, x: pick(random, &full) });
            }
            _ => program.insts.push(Inst::Call { f: &ADD, args: [a, b].into_iter().collect() }),
        }
        floats.push(program.insts.len() - 1);
    }
    Case { program, args, inputs, scalars: vec![f64::from(random.unit())] }
}

fn row_map(shape: &Shape, axes: &[bool]) -> Layout {
    let kept: Shape = shape.iter().zip(axes).map(|(&d, &r)| if r { 1 } else { d }).collect();
    Layout::contiguous(kept).broadcast_to(shape)
}

/// Runs a kernel everywhere and compares every output.
fn compare(kernel: &dyn Kernel, case: &Case, outputs: &[Vec<f64>], tolerance: f64) {
    let fresh = || {
        let mut buffers: Vec<Vec<u8>> = case.inputs.iter().map(|x| bytes_of(x)).collect();
        buffers.extend(outputs.iter().map(|o| vec![0xffu8; 4 * o.len()]));
        buffers
    };
    let check = |buffers: &[Vec<u8>], place: &str| {
        for (k, output) in outputs.iter().enumerate() {
            let found = floats(&buffers[case.inputs.len() + k]);
            assert_close(
                &found,
                output,
                tolerance,
                &format!("{place}: {}\n{:?}", kernel.describe(), case.program),
            );
        }
    };
    let mut buffers = fresh();
    run_native(kernel, &mut buffers, &case.scalars).expect("it runs natively");
    check(&buffers, "native");
    check_shader(&kernel.shader().expect("a shader"));
    if let Some(device) = adapter() {
        let mut buffers = fresh();
        run_on(&device, kernel, &mut buffers, &case.scalars, None).expect("it runs on the adapter");
        check(&buffers, "adapter");
    }
}

/// Software adapters without and with what goes beyond WebGPU's defaults.
const ABILITIES: [Abilities; 2] = [
    Abilities { slow_barriers: true, ..Abilities::PROMISED },
    Abilities { subgroup: Some(8), words64: true, slow_barriers: true, ..Abilities::PROMISED },
];

const SHAPES: [&[usize]; 15] = [
    &[1],
    &[7],
    &[1000],
    &[3, 5],
    &[4, 1, 9],
    &[2, 3, 4, 5],
    &[0],
    &[0, 3],
    &[33, 65],
    &[2, 70, 3],
    // Enough for four elements, columns or rows at a time.
    &[4099],
    &[35, 132],
    &[71, 64],
    &[3, 50, 36],
    &[129, 35],
];

#[test]
fn random_pointwise_programs() {
    let mut random = Random(1);
    for round in 0..60 {
        let shape = Shape::from(SHAPES[round % SHAPES.len()]);
        let len = shape.numel();
        let mut case = random_case(&mut random, &shape, None);
        let values =
            evaluate(&case.program, &wide(&case.inputs), &case.scalars, len, &Layout::contiguous(shape));
        let results = [case.program.insts.len() - 1, case.program.insts.len() / 2];
        let mut outputs = Vec::new();
        for value in results {
            if case.program.types(&case.args)[value] == DType::F32 {
                case.program.stores.push(Store { value, arg: case.args.len() });
                case.args.push(Arg::write(DType::F32, len));
                outputs.push(values[value].clone());
            }
        }
        let kernel = Pointwise::new(case.program.clone(), case.args.clone(), vec![DType::F32], len);
        compare(&kernel, &case, &outputs, 1e-5);
        compare(&kernel.with_abilities(ABILITIES[1]), &case, &outputs, 1e-5);
    }
}

fn wide(inputs: &[Vec<f32>]) -> Vec<Vec<f64>> {
    inputs.iter().map(|x| x.iter().map(|&v| f64::from(v)).collect()).collect()
}

#[test]
fn random_row_programs() {
    let mut random = Random(1 << 20);
    for round in 0..90 {
        let shape = Shape::from(SHAPES[round % SHAPES.len()]);
        let len = shape.numel();
        let axes: Vec<bool> = (0..shape.rank()).map(|_| random.below(2) == 0).collect();
        let map = row_map(&shape, &axes);
        let rows: usize = shape.iter().zip(&axes).filter(|&(_, &r)| !r).map(|(&d, _)| d).product();
        let mut case = random_case(&mut random, &shape, Some(&axes));
        let x = case.program.insts.iter().position(|i| matches!(i, Inst::Load { .. })).expect("a load");
        case.program.insts.push(Inst::Reduce { kind: ReduceKind::Sum, x });
        let values = evaluate(&case.program, &wide(&case.inputs), &case.scalars, len, &map);
        let (types, domains) = (case.program.types(&case.args), case.program.domains());
        let mut outputs = Vec::new();
        for value in [case.program.insts.len() - 1, case.program.insts.len() - 2] {
            if types[value] != DType::F32 {
                continue;
            }
            let mut expected = values[value].clone();
            if domains[value] == Domain::Row {
                let mut by_row = vec![0.0; rows];
                for i in 0..len {
                    by_row[map.place(i).expect("a row")] = expected[i];
                }
                // Without columns there is nothing to read the row values from: only the sum is known.
                if len == 0 && value != case.program.insts.len() - 1 {
                    continue;
                }
                expected = by_row;
            }
            case.program.stores.push(Store { value, arg: case.args.len() });
            case.args.push(Arg::write(DType::F32, expected.len()));
            outputs.push(expected);
        }
        let kernel =
            Row::new(case.program.clone(), case.args.clone(), vec![DType::F32], shape.clone(), &axes);
        let kernel = kernel.expect("short rows");
        compare(&kernel, &case, &outputs, 2e-5);
        for abilities in ABILITIES {
            compare(&kernel.clone().with_abilities(abilities), &case, &outputs, 2e-5);
        }
    }
}

fn softmax(rows: usize, columns: usize) -> (Row, Program) {
    let identity = Layout::contiguous([rows * columns]);
    let insts = vec![
        Inst::Load { arg: 0, layout: identity, fill: 0.0, domain: Domain::Full },
        Inst::Reduce { kind: ReduceKind::Max, x: 0 },
        Inst::Call { f: &SUB, args: [0, 1].into_iter().collect() },
        Inst::Call { f: &EXP, args: [2].into_iter().collect() },
        Inst::Reduce { kind: ReduceKind::Sum, x: 3 },
        Inst::Call { f: &DIV, args: [3, 4].into_iter().collect() },
    ];
    let program = Program { insts, stores: vec![Store { value: 5, arg: 1 }] };
    let args = vec![Arg::read(DType::F32, rows * columns), Arg::write(DType::F32, rows * columns)];
    let row = Row::new(program.clone(), args, vec![], Shape::from([rows, columns]), &[false, true]);
    (row.expect("short rows"), program)
}

#[test]
fn softmax_of_many_sizes_and_in_place() {
    let mut random = Random(99);
    for (rows, columns) in [(1, 1), (3, 7), (50, 1000), (2, 20_000), (4, 33), (130, 10)] {
        let (kernel, program) = softmax(rows, columns);
        let x: Vec<f32> = random.units(rows * columns).iter().map(|v| 30.0 * v).collect();
        let map = row_map(&Shape::from([rows, columns]), &[false, true]);
        let reference =
            evaluate(&program, &wide(std::slice::from_ref(&x)), &[], rows * columns, &map).remove(5);
        let case = Case { program, args: vec![], inputs: vec![x.clone()], scalars: vec![] };
        compare(&kernel, &case, std::slice::from_ref(&reference), 1e-5);
        let over = kernel.in_place(0, 1).expect("identity loads");
        let mut buffers = vec![bytes_of(&x)];
        run_native(&*over, &mut buffers, &[]).expect("it runs");
        assert_close(&floats(&buffers[0]), &reference, 1e-5, "in place, native");
        if let Some(device) = adapter() {
            let mut buffers = vec![bytes_of(&x)];
            run_on(&device, &*over, &mut buffers, &[], None).expect("it runs");
            assert_close(&floats(&buffers[0]), &reference, 1e-5, "in place, adapter");
        }
    }
}

/// What else a layer norm gives, and of what it is one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Beside {
    Nothing,
    /// Its means.
    Means,
    /// Its results times the weights once more.
    Again,
    /// It is one of the operand plus itself.
    Doubled,
    /// It is one of the weights, which are the same in every row.
    Shared,
}

/// Layer norm with a weight and a bias for every element or, as `each` tells, for every column.
fn layer_norm([rows, columns]: [usize; 2], each: [bool; 2], beside: Beside) -> Case {
    let (n, shape) = (rows * columns, Shape::from([rows, columns]));
    let load = |arg: usize, layout: Layout| Inst::Load { arg, layout, fill: 0.0, domain: Domain::Full };
    let weights = |arg: usize, each: bool| match each {
        true => load(arg, Layout::contiguous([n])),
        false => load(arg, Layout::contiguous([1, columns]).broadcast_to(&shape)),
    };
    let call = |f: &'static ScalarFn, args: &[usize]| Inst::Call { f, args: args.iter().copied().collect() };
    let number = |value: f64| Inst::Const { value, dtype: DType::F32 };
    let mut insts = vec![load(0, Layout::contiguous([n])), weights(1, each[0]), weights(2, each[1])];
    let mut add = |inst: Inst| {
        insts.push(inst);
        insts.len() - 1
    };
    let x = match beside {
        Beside::Doubled => add(call(&ADD, &[0, 0])),
        Beside::Shared => 1,
        _ => 0,
    };
    let (of_mean, eps) = (add(number(1.0 / columns as f64)), add(number(1e-5)));
    let sum = add(Inst::Reduce { kind: ReduceKind::Sum, x });
    let mean = add(call(&MUL, &[sum, of_mean]));
    let centred = add(call(&SUB, &[x, mean]));
    let squares = add(call(&MUL, &[centred, centred]));
    let sum = add(Inst::Reduce { kind: ReduceKind::Sum, x: squares });
    let variance = add(call(&MUL, &[of_mean, sum]));
    let variance = add(call(&ADD, &[variance, eps]));
    let factor = add(call(&RSQRT, &[variance]));
    let scaled = add(call(&MUL, &[centred, factor]));
    let weighted = add(call(&MUL, &[scaled, 1]));
    let out = add(call(&ADD, &[weighted, 2]));
    let mut stores = vec![(out, n)];
    match beside {
        Beside::Means => stores.push((mean, rows)),
        Beside::Again => stores.push((add(call(&MUL, &[out, 1])), n)),
        Beside::Nothing | Beside::Doubled | Beside::Shared => {}
    }
    let sizes = [n, if each[0] { n } else { columns }, if each[1] { n } else { columns }];
    let mut args: Vec<Arg> = sizes.iter().map(|&n| Arg::read(DType::F32, n)).collect();
    let stores = stores.into_iter().map(|(value, n)| {
        args.push(Arg::write(DType::F32, n));
        Store { value, arg: args.len() - 1 }
    });
    let stores = stores.collect();
    Case { program: Program { insts, stores }, args, inputs: vec![], scalars: vec![] }
}

#[test]
fn layer_norms_of_many_sizes_are_the_same_whatever_is_made_beside() {
    let mut random = Random(101);
    for (shape, each) in [
        ([3, 1], [false, false]),
        ([9, 63], [false, false]),
        ([1, 64], [false, false]),
        ([40, 65], [false, true]),
        ([70, 100], [true, false]),
        ([130, 1024], [false, false]),
        ([1000, 128], [false, false]),
        ([17, 1100], [true, true]),
        ([9, 2500], [false, false]),
    ] {
        let (n, axes) = (shape[0] * shape[1], [false, true]);
        let map = row_map(&Shape::from(shape), &axes);
        let sizes = layer_norm(shape, each, Beside::Nothing).args;
        let inputs: Vec<Vec<f32>> = sizes[..3].iter().map(|arg| random.units(arg.len)).collect();
        let mut norms: Vec<Vec<u8>> = Vec::new();
        for beside in [Beside::Nothing, Beside::Means, Beside::Again, Beside::Doubled, Beside::Shared] {
            let case = Case { inputs: inputs.clone(), ..layer_norm(shape, each, beside) };
            let values = evaluate(&case.program, &wide(&inputs), &[], n, &map);
            let outputs = case.program.stores.iter().zip(&case.args[3..]).map(|(store, arg)| {
                let all = &values[store.value];
                if arg.len == n { all.clone() } else { all.iter().step_by(shape[1]).copied().collect() }
            });
            let outputs: Vec<Vec<f64>> = outputs.collect();
            let kernel = Row::new(case.program.clone(), case.args.clone(), vec![], Shape::from(shape), &axes);
            let kernel = kernel.expect("short rows");
            compare(&kernel, &case, &outputs, 5e-6);
            let mut buffers: Vec<Vec<u8>> = inputs.iter().map(|x| bytes_of(x)).collect();
            buffers.extend(outputs.iter().map(|o| vec![0xffu8; 4 * o.len()]));
            run_native(&kernel, &mut buffers, &[]).expect("it runs natively");
            norms.push(buffers.swap_remove(3));
            if beside == Beside::Nothing {
                let over = kernel.in_place(0, 3).expect("identity loads");
                let mut buffers: Vec<Vec<u8>> = inputs.iter().map(|x| bytes_of(x)).collect();
                buffers.rotate_left(1);
                run_native(&*over, &mut buffers, &[]).expect("it runs in place");
                norms.push(buffers.swap_remove(2));
            }
        }
        // In place, with its means, with its results times the weights.
        assert!(norms[1..4].iter().all(|norm| *norm == norms[0]), "{shape:?}");
    }
}

/// A row value times one number that all elements share, and that times itself: neither has a column of its own.
#[test]
fn what_all_elements_of_a_row_share_is_stored_for_each() {
    let mut random = Random(100);
    for (shape, axes) in [
        ([50, 3], [true, false]),
        ([3, 50], [true, false]),
        ([5, 7], [false, true]),
        ([2, 20_000], [false, true]),
        ([2000, 3], [true, false]),
        ([1, 9], [true, false]),
    ] {
        let shape = Shape::from(shape);
        let n = shape.numel();
        let one = Layout::contiguous([1, 1]).broadcast_to(&shape);
        let insts = vec![
            Inst::Load { arg: 0, layout: Layout::contiguous(shape.clone()), fill: 0.0, domain: Domain::Full },
            Inst::Reduce { kind: ReduceKind::Sum, x: 0 },
            Inst::Load { arg: 1, layout: one, fill: 0.0, domain: Domain::Full },
            Inst::Call { f: &MUL, args: [1, 2].into_iter().collect() },
            Inst::Reduce { kind: ReduceKind::Max, x: 3 },
            Inst::Call { f: &MUL, args: [3, 4].into_iter().collect() },
        ];
        let program = Program { insts, stores: vec![Store { value: 5, arg: 2 }] };
        let args = vec![Arg::read(DType::F32, n), Arg::read(DType::F32, 1), Arg::write(DType::F32, n)];
        let inputs = vec![random.units(n), vec![0.7]];
        let output = evaluate(&program, &wide(&inputs), &[], n, &row_map(&shape, &axes)).remove(5);
        let kernel = Row::new(program.clone(), args, vec![], shape, &axes).expect("short rows");
        let case = Case { program, args: vec![], inputs, scalars: vec![] };
        compare(&kernel, &case, &[output], 2e-5);
    }
}

/// Few rows keep a card busy by the lanes that share each of them; neighbouring lanes read neighbouring elements.
#[test]
fn cards_share_few_rows_among_many_lanes() {
    let mut random = Random(101);
    // Shape, axes, workgroups and their lanes.
    let cases: [(&[usize], &[bool], [usize; 2]); 10] = [
        (&[4, 512, 96], &[true, true, false], [24, 256]),
        (&[256, 512], &[true, false], [64, 128]),
        (&[1024, 7], &[true, false], [7, 256]),
        (&[40, 1000], &[true, false], [125, 16]),
        (&[3, 300, 64], &[false, true, false], [24, 128]),
        (&[4, 64, 16, 16], &[true, false, true, true], [64, 128]),
        (&[6, 4096], &[false, true], [6, 256]),
        (&[500, 1024], &[false, true], [500, 128]),
        (&[130, 64], &[false, true], [65, 32]),
        (&[2048, 16], &[false, true], [32, 64]),
    ];
    for (shape, axes, [groups, lanes]) in cases {
        let shape = Shape::from(shape);
        let (n, map) = (shape.numel(), row_map(&shape, axes));
        let rows = shape.iter().zip(axes).filter(|&(_, &r)| !r).map(|(&d, _)| d).product();
        let insts = vec![
            Inst::Load { arg: 0, layout: Layout::contiguous([n]), fill: 0.0, domain: Domain::Full },
            Inst::Reduce { kind: ReduceKind::Max, x: 0 },
            Inst::Call { f: &SUB, args: [0, 1].into_iter().collect() },
            Inst::Call { f: &EXP, args: [2].into_iter().collect() },
            Inst::Reduce { kind: ReduceKind::Sum, x: 3 },
            Inst::Call { f: &DIV, args: [3, 4].into_iter().collect() },
        ];
        for whole in [true, false] {
            // What is made of the elements as well, or the sums alone.
            let mut stores = vec![Store { value: 4, arg: 1 }];
            stores.extend(whole.then_some(Store { value: 5, arg: 2 }));
            let mut args = vec![Arg::read(DType::F32, n), Arg::write(DType::F32, rows)];
            args.extend(whole.then(|| Arg::write(DType::F32, n)));
            let program = Program { insts: insts.clone(), stores };
            let inputs = vec![random.units(n)];
            let mut values = evaluate(&program, &wide(&inputs), &[], n, &map);
            let mut sums = vec![0.0; rows];
            (0..n).for_each(|i| sums[map.place(i).expect("a row")] = values[4][i]);
            let outputs: Vec<Vec<f64>> = [sums].into_iter().chain(whole.then(|| values.remove(5))).collect();
            let kernel = Row::new(program.clone(), args, vec![], shape.clone(), axes).expect("short rows");
            let shader = kernel.shader().expect("a shader");
            let of_group = shader.constants.iter().find(|c| c.0 == "LANES").map(|c| c.1 as usize);
            let found = (kernel.groups().iter().product::<u32>() as usize, of_group);
            assert_eq!(found, (groups, Some(lanes)), "{}", kernel.describe());
            compare(&kernel, &Case { program, args: vec![], inputs, scalars: vec![] }, &outputs, 1e-5);
        }
    }
}

#[test]
fn long_columns_keep_their_precision() {
    let n = 30_000;
    let x: Vec<f32> = (0..n).map(|k| 1.0 + (k % 7) as f32 * 1e-3).collect();
    let program = Program {
        insts: vec![
            Inst::Load { arg: 0, layout: Layout::contiguous([n]), fill: 0.0, domain: Domain::Full },
            Inst::Reduce { kind: ReduceKind::Sum, x: 0 },
        ],
        stores: vec![Store { value: 1, arg: 1 }],
    };
    let args = vec![Arg::read(DType::F32, n), Arg::write(DType::F32, 1)];
    let kernel =
        Row::new(program.clone(), args, vec![], Shape::from([n]), &[true]).expect("within the limit");
    let total: f64 = x.iter().map(|&v| f64::from(v)).sum();
    let case = Case { program, args: vec![], inputs: vec![x], scalars: vec![] };
    // A lane adds about 470 columns one by one in f32.
    compare(&kernel, &case, &[vec![total]], 5e-6);
}

#[test]
fn a_row_too_long_is_refused() {
    let n = Row::max_columns(1) * 1000;
    let program = Program {
        insts: vec![
            Inst::Load { arg: 0, layout: Layout::contiguous([n]), fill: 0.0, domain: Domain::Full },
            Inst::Reduce { kind: ReduceKind::Sum, x: 0 },
        ],
        stores: vec![Store { value: 1, arg: 1 }],
    };
    let args = vec![Arg::read(DType::F32, n), Arg::write(DType::F32, 1)];
    assert!(Row::new(program, args, vec![], Shape::from([n]), &[true]).is_none());
}

#[test]
fn nan_and_infinities_pass_through_reductions() {
    let x = vec![1.0, f32::NAN, 2.0, f32::NEG_INFINITY, 5.0, 3.0, f32::INFINITY, -1.0, -2.0];
    for kind in [ReduceKind::Max, ReduceKind::Min] {
        let program = Program {
            insts: vec![
                Inst::Load { arg: 0, layout: Layout::contiguous([9]), fill: 0.0, domain: Domain::Full },
                Inst::Reduce { kind, x: 0 },
            ],
            stores: vec![Store { value: 1, arg: 1 }],
        };
        let args = vec![Arg::read(DType::F32, 9), Arg::write(DType::F32, 3)];
        let kernel =
            Row::new(program.clone(), args, vec![], Shape::from([3, 3]), &[false, true]).expect("short rows");
        let expected = match kind {
            ReduceKind::Max => vec![f64::NAN, 5.0, f64::INFINITY],
            _ => vec![f64::NAN, f64::NEG_INFINITY, -2.0],
        };
        let case = Case { program, args: vec![], inputs: vec![x.clone()], scalars: vec![] };
        compare(&kernel, &case, &[expected], 0.0);
    }
}

#[test]
fn sixteen_bit_floats_are_stored_to_the_bit() {
    let mut random = Random(5);
    for dtype in [DType::F16, DType::BF16] {
        for n in [1usize, 2, 7, 1000] {
            let mut x: Vec<f32> =
                random.units(n).iter().map(|v| v * 10f32.powi((v * 100.0) as i32 % 9)).collect();
            x[0] = 70_000.0;
            let program = Program {
                insts: vec![
                    Inst::Load { arg: 0, layout: Layout::contiguous([n]), fill: 0.0, domain: Domain::Full },
                    Inst::Cast { x: 0, dtype },
                    Inst::Load { arg: 1, layout: Layout::contiguous([n]), fill: 0.0, domain: Domain::Full },
                ],
                stores: vec![Store { value: 1, arg: 2 }, Store { value: 2, arg: 3 }],
            };
            let args = vec![
                Arg::read(DType::F32, n),
                Arg::read(dtype, n),
                Arg::write(dtype, n),
                Arg::write(DType::F32, n),
            ];
            let kernel = Pointwise::new(program, args, vec![], n);
            check_shader(&kernel.shader().expect("a shader"));
            let halves: Vec<u16> = x
                .iter()
                .map(|&v| match dtype {
                    DType::F16 => half::f16::from_f32(v).to_bits(),
                    _ => half::bf16::from_f32(v).to_bits(),
                })
                .collect();
            let widened: Vec<f32> = halves
                .iter()
                .map(|&h| match dtype {
                    DType::F16 => half::f16::from_bits(h).to_f32(),
                    _ => half::bf16::from_bits(h).to_f32(),
                })
                .collect();
            let mut packed = bytemuck::cast_slice::<u16, u8>(&halves).to_vec();
            packed.resize(dtype.bytes(n), 0);
            let fresh = || vec![bytes_of(&x), packed.clone(), vec![0; packed.len()], vec![0; 4 * n]];
            let check = |buffers: &[Vec<u8>], place: &str| {
                assert_eq!(buffers[2], packed, "{place} {dtype} {n}");
                assert_eq!(floats(&buffers[3]), widened, "{place} {dtype} {n}");
            };
            let mut buffers = fresh();
            run_native(&kernel, &mut buffers, &[]).expect("it runs");
            check(&buffers, "native");
            if let Some(device) = adapter() {
                let mut buffers = fresh();
                run_on(&device, &kernel, &mut buffers, &[], None).expect("it runs");
                check(&buffers, "adapter");
            }
        }
    }
}
