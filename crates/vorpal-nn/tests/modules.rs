//! Modules: names, modes, files.

#![allow(clippy::expect_used)]

use vorpal_autodiff::{Tensors, grad, jvp, vmap};
use vorpal_nn::{
    BatchNorm2d, Conv1d, Conv1dOptions, Conv3d, ConvTranspose2d, ConvTranspose2dOptions, DType, Device,
    Dropout, Embedding, Error, GroupNorm, LayerNorm, Linear, Module, Padding, RmsNorm, Role, State, Tensor,
    from_safetensors, load, save, to_safetensors,
};

#[derive(Clone, Debug, Module)]
struct Block {
    norm: LayerNorm,
    layers: Vec<Linear>,
    drop: Dropout,
    seen: State,
    #[module(skip)]
    label: String,
}

fn block(device: &Device) -> Block {
    Block {
        norm: LayerNorm::new(3, device),
        layers: vec![Linear::new(3, 4, device), Linear::without_bias(4, 3, device)],
        drop: Dropout::new(0.5),
        seen: State::new(Tensor::zeros([1], DType::F32, device)),
        label: "a block".into(),
    }
}

#[test]
fn transforms_take_modules() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let net = vec![Linear::new(3, 4, &device), Linear::without_bias(4, 1, &device)];
    let loss = |net: &Vec<Linear>, x: &Tensor| net[1].forward(&net[0].forward(x).tanh()).square().sum_all();
    let xs = Tensor::rand([5, 3], DType::F32, &device);
    let each = vmap(&xs, 0, |x| grad(&net, |net| loss(net, x))).expect("gradients of every example");
    let whole = grad(&net, |net| loss(net, &xs)).expect("a gradient");
    assert_eq!(each[0].weight.shape().dims(), &[5, 4, 3]);
    let (each, whole) = (each[0].weight.sum(0), &whole[0].weight);
    let apart = (each - whole).abs().max([0, 1]).item::<f32>().expect("a number");
    assert!(apart < 1e-5, "{apart}");
    // Along the gradient a function grows by the square of its length.
    let slope = grad(&net, |net| loss(net, &xs)).expect("a gradient");
    let (_, growth) = jvp(&net, &slope, |net| loss(net, &xs)).expect("a directional derivative");
    let mut length = 0.0;
    slope.visit(&mut |g| length += g.square().sum_all().item::<f32>().expect("a number"));
    let growth = growth.item::<f32>().expect("a number");
    assert!((growth - length).abs() < 1e-4 * length, "{growth} {length}");
}

#[test]
fn members_have_the_names_of_their_fields() {
    let mut names = Vec::new();
    let block = block(&Device::cpu());
    block.walk("", &mut |name, role, _| names.push((name.to_string(), role)));
    let expected = [
        ("norm.weight", Role::Parameter),
        ("norm.bias", Role::Parameter),
        ("layers.0.weight", Role::Parameter),
        ("layers.0.bias", Role::Parameter),
        ("layers.1.weight", Role::Parameter),
        ("seen", Role::Buffer),
    ];
    assert_eq!(names.iter().map(|(n, r)| (n.as_str(), *r)).collect::<Vec<_>>(), expected);
    assert_eq!(block.parameter_count(), 3 + 3 + 12 + 4 + 12);
    assert_eq!(block.label, "a block");
}

#[test]
fn dropout_rests_outside_of_training() {
    let block = block(&Device::cpu());
    let x = Tensor::ones([1000], DType::F32, &Device::cpu());
    let zeros = |x: &Tensor| x.to_vec::<f32>().expect("values").iter().filter(|&&v| v == 0.0).count();
    assert!(zeros(&block.drop.forward(&x)) > 300);
    block.train(false);
    assert_eq!(zeros(&block.drop.forward(&x)), 0);
}

#[test]
fn a_file_brings_everything_back_and_is_never_half_there() {
    let device = Device::cpu();
    let (first, mut second) = (block(&device), block(&device));
    first.seen.set(Tensor::full([1], 7.0, DType::F32, &device));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("weights.safetensors");
    save(&first, &path).expect("it saves");
    load(&mut second, &path).expect("it loads");
    assert_eq!(to_safetensors(&first), to_safetensors(&second));
    assert_eq!(second.seen.get().to_vec::<f32>(), Ok(vec![7.0]));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
    let error = save(&first, folder.path().join("missing").join("x")).expect_err("no such folder");
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn damaged_and_foreign_files_change_nothing() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let mut model = block(&device);
    let bytes = to_safetensors(&model).expect("it saves");
    let mut lying = bytes.clone();
    lying[0] = 0xff;
    for bad in [&bytes[..bytes.len() - 5], &bytes[..4], &lying[..], &[][..]] {
        let error = from_safetensors(&mut model, bad, "weights.safetensors").expect_err("damaged");
        assert!(matches!(error, Error::Format { .. }), "{error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
    let mut other = Linear::new(5, 5, &device);
    let error = from_safetensors(&mut other, &bytes, "weights.safetensors").expect_err("foreign").to_string();
    assert!(error.contains("weights.safetensors: missing weight, bias; unexpected layers.0.bias"), "{error}");
    let narrow = to_safetensors(&Linear::new(4, 5, &device)).expect("it saves");
    let error = from_safetensors(&mut other, &narrow, "narrow").expect_err("another shape").to_string();
    assert!(error.contains("[5, 4]") && error.contains("[5, 5]"), "{error}");
    assert!(matches!(load(&mut model, "/nowhere/at/all"), Err(Error::Io { .. })));
    assert_eq!(to_safetensors(&model), Ok(bytes));
}

#[test]
fn a_model_moves_between_devices() {
    let Ok(other) = Device::software() else {
        println!("skipped: no software adapter");
        return;
    };
    let mut model = block(&Device::cpu());
    let bytes = to_safetensors(&model).expect("it saves");
    Module::to_device(&mut model, &other).expect("there is room");
    model.walk("", &mut |name, _, tensor| assert_eq!(tensor.device(), Ok(other.clone()), "{name}"));
    assert_eq!(to_safetensors(&model), Ok(bytes));
}

#[test]
fn an_embedding_trains_only_what_it_picks() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let table = Embedding::new(4, 2, &device);
    let numbers = Tensor::from_slice(&[2i32, 0, 2], [3], &device);
    let grads = grad(&table, |t| t.forward(&numbers).sum_all()).expect("a graph");
    assert_eq!(grads.weight.to_vec::<f32>(), Ok(vec![1.0, 1.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0]));
}

#[test]
fn batch_norm_keeps_running_statistics_and_uses_them() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let norm = BatchNorm2d::new(2, &device);
    // Per channel the mean and the variance of six pixels: 3.5 and 35 ∕ 12, twice as large in the second channel.
    let values: Vec<f32> = [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [4.0, 5.0, 6.0], [8.0, 10.0, 12.0]].concat();
    let x = Tensor::from_slice(&values, [2, 2, 1, 3], &device);
    let y = norm.forward(&x).to_vec::<f32>().expect("values");
    let (deviation, sum) = ((35.0f64 / 12.0 + 1e-5).sqrt(), y.iter().map(|v| f64::from(*v)).sum::<f64>());
    assert!((f64::from(y[0]) + 2.5 / deviation).abs() < 1e-5 && sum.abs() < 1e-5, "{y:?}");
    let near = |found: &Option<State>, expected: [f64; 2]| {
        let found = found.as_ref().expect("it is kept").get().to_vec::<f32>().expect("values");
        let close = found.iter().zip(expected).all(|(f, e)| (f64::from(*f) - e).abs() < 1e-5);
        assert!(close, "{found:?}, should be {expected:?}");
    };
    near(&norm.running_mean, [0.35, 0.7]);
    near(&norm.running_var, [0.9 + 0.35, 0.9 + 1.4]);
    norm.train(false);
    let y = norm.forward(&x).to_vec::<f32>().expect("values");
    assert!((f64::from(y[0]) - 0.65 / (1.25f64 + 1e-5).sqrt()).abs() < 1e-5, "{y:?}");
    near(&norm.running_mean, [0.35, 0.7]);
}

#[test]
fn norms_take_pytorch_files() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let norms = (RmsNorm::new(2, &device), GroupNorm::new(1, 2, &device));
    let mut names = Vec::new();
    norms.0.walk("rms", &mut |name, _, _| names.push(name.to_string()));
    norms.1.walk("group", &mut |name, _, _| names.push(name.to_string()));
    assert_eq!(names, ["rms.weight", "group.weight", "group.bias"]);
    let x = Tensor::from_slice(&[1.0f32, 7.0], [1, 2], &device);
    let close = |x: &Tensor, expected: [f32; 2]| {
        let found = x.to_vec::<f32>().expect("values");
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-5), "{found:?}");
    };
    // A root mean square of 5; a mean of 4 and a deviation of 3.
    close(&norms.0.forward(&x), [0.2, 1.4]);
    close(&norms.1.forward(&x), [-1.0, 1.0]);
}

/// Checks the shapes of a weight and a bias, and that they lie in ±1∕√(inputs of a unit).
fn check_initial(module: &impl Module, shape: &[usize], filters: usize) {
    let bound = 1.0 / (shape[1..].iter().product::<usize>() as f32).sqrt();
    module.walk("", &mut |name, _, parameter| {
        let expected = if name == "weight" { shape } else { &[filters] };
        assert_eq!(parameter.shape().dims(), expected, "{name}");
        let values = parameter.to_vec::<f32>().expect("values");
        let largest = values.iter().fold(0.0, |a: f32, b| a.max(b.abs()));
        // A bias is too short to come near its bound whatever the seed.
        let near = name == "bias" || largest > 0.5 * bound;
        assert!(largest <= bound && near, "{name}: {largest}, bound {bound}");
    });
}

#[test]
fn convolutions_are_laid_out_and_begin_as_in_pytorch() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let options = Conv1dOptions { groups: 2, padding: Padding::Causal, ..Conv1dOptions::default() };
    let conv = Conv1d::with_options(4, 6, [3], options, &device);
    check_initial(&conv, &[6, 2, 3], 6);
    let x = Tensor::ones([2, 4, 9], DType::F32, &device);
    assert_eq!(conv.forward(&x).shape(), [2, 6, 9].into());
    let conv = Conv3d::new(2, 5, [1, 2, 3], &device).stride([1, 2, 1]).padding(Padding::Same);
    check_initial(&conv, &[5, 2, 1, 2, 3], 5);
    let x = Tensor::ones([1, 2, 3, 5, 4], DType::F32, &device);
    assert_eq!(conv.forward(&x).shape(), [1, 5, 3, 3, 4].into());
    let options = ConvTranspose2dOptions { groups: 2, ..ConvTranspose2dOptions::default() };
    let twice = ConvTranspose2d::with_options(4, 6, [3, 3], options, &device);
    check_initial(&twice, &[4, 3, 3, 3], 6);
    let x = Tensor::ones([1, 4, 5, 5], DType::F32, &device);
    let twice = twice.stride([2, 2]).padding([1, 1]).output_padding([1, 1]);
    assert_eq!(twice.forward(&x).shape(), [1, 6, 10, 10].into());
}

#[derive(Module)]
struct Kept {
    values: Vec<State>,
}

#[test]
fn tensors_of_every_dtype_come_back_from_files() {
    let device = Device::cpu();
    let source = Tensor::from_slice(&[1.0f32, 0.0, 100.0, 3.0, 7.0], [5], &device);
    let make = |x: &Tensor| Kept { values: DType::ALL.iter().map(|&d| State::new(x.cast(d))).collect() };
    let bytes = to_safetensors(&make(&source)).expect("bytes");
    let mut back = make(&source.full_like(9.0));
    from_safetensors(&mut back, &bytes, "memory").expect("a file");
    for (state, dtype) in back.values.iter().zip(DType::ALL) {
        let (found, expected) = (state.get(), source.cast(dtype));
        assert_eq!(found.dtype(), dtype);
        assert_eq!(found.to_bytes().expect("bytes"), expected.to_bytes().expect("bytes"), "{dtype}");
    }
}
