//! Layers of one tensor, and what they are made of.

use vorpal_nn::*;

use crate::harness::{Case, Golden, Input, case, check_adapter, check_native};

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/layers.json")).expect("lists of numbers")
}

/// A layer of one tensor.
fn one<L: Layer>(name: &'static str, shape: &[usize], make: impl Fn(&Device) -> L + 'static) -> Case {
    case(name, vec![shape.into()], make, |layer, x| vec![layer.forward(&x[0])])
}

/// An activation, on numbers up to 4.
fn wide<L: Layer + Clone + 'static>(name: &'static str, layer: L) -> Case {
    case(
        name,
        vec![(&[3, 4][..]).into()],
        move |_| layer.map(&mut Tensor::clone),
        |layer, x| vec![layer.forward(&(&x[0] * 4.0))],
    )
}

fn norms() -> Vec<Case> {
    let options = |d: &Device| InstanceNorm2d::new().affine(2, d).track_running_stats(2, d);
    vec![
        one("BatchNorm1d rows", &[4, 3], |d| BatchNorm1d::new(3, d)),
        one("BatchNorm1d signals", &[2, 3, 4], |d| BatchNorm1d::new(3, d)),
        one("BatchNorm2d", &[2, 2, 3, 2], |d| BatchNorm2d::new(2, d)),
        one("BatchNorm2d eval", &[2, 2, 3, 2], |d| BatchNorm2d::new(2, d)),
        one("BatchNorm3d", &[2, 2, 2, 1, 3], |d| BatchNorm3d::new(2, d)),
        case(
            "BatchNorm1d cumulative",
            vec![(&[4, 3][..]).into()],
            |d| BatchNorm1d::new(3, d).cumulative(),
            |norm, x| {
                norm.forward(&x[0]);
                vec![norm.forward(&x[0].square())]
            },
        ),
        one("BatchNorm2d plain", &[2, 2, 3, 2], |d| {
            BatchNorm2d::new(2, d).without_affine().without_running_stats()
        }),
        one("InstanceNorm1d", &[2, 3, 4], |_| InstanceNorm1d::new()),
        one("InstanceNorm2d", &[2, 2, 3, 2], options),
        one("InstanceNorm2d eval", &[2, 2, 3, 2], options),
        one("InstanceNorm3d", &[2, 2, 2, 1, 3], |_| InstanceNorm3d::new()),
        one("LayerNorm", &[3, 5], |d| LayerNorm::new(5, d)),
        one("LayerNorm 2", &[2, 2, 3], |d| LayerNorm::new([2, 3], d).eps(1e-3)),
        one("LayerNorm plain", &[3, 5], |d| LayerNorm::new(5, d).without_affine()),
        one("RMSNorm", &[3, 5], |d| RmsNorm::new(5, d).eps(1e-6)),
        one("RMSNorm 2", &[2, 2, 3], |d| RmsNorm::new([2, 3], d).eps(1e-6)),
        one("GroupNorm", &[2, 4, 3], |d| GroupNorm::new(2, 4, d)),
        one("GroupNorm plain", &[2, 4, 3], |d| GroupNorm::new(2, 4, d).without_affine()),
        one("LocalResponseNorm", &[2, 5, 3], |_| LocalResponseNorm {
            size: 3,
            alpha: 0.3,
            beta: 0.6,
            k: 1.5,
        }),
        one("WeightNorm Linear", &[2, 3], |d| weight_norm(Linear::new(3, 4, d), 0)),
        one("WeightNorm Conv1d", &[2, 2, 4], |d| weight_norm(Conv1d::new(2, 3, [2], d), 1)),
        one("SpectralNorm Linear", &[2, 3], |d| spectral_norm(Linear::new(3, 4, d))),
        one("SpectralNorm eval", &[2, 3], |d| spectral_norm(Linear::new(3, 4, d))),
        one("SpectralNorm ConvTranspose1d", &[2, 2, 4], |d| {
            spectral_norm(ConvTranspose1d::new(2, 3, [2], d))
        }),
    ]
}

fn activations() -> Vec<Case> {
    vec![
        wide("ReLU", Relu),
        wide("ReLU6", Relu6),
        wide("Sigmoid", Sigmoid),
        wide("LogSigmoid", LogSigmoid),
        wide("Hardsigmoid", Hardsigmoid),
        wide("Hardswish", Hardswish),
        wide("SiLU", Silu),
        wide("Mish", Mish),
        wide("SELU", Selu),
        wide("Softsign", Softsign),
        wide("Tanh", Tanh),
        wide("Tanhshrink", Tanhshrink),
        wide("ELU", Elu { alpha: 0.7 }),
        wide("CELU", Celu { alpha: 0.7 }),
        wide("GELU", Gelu::default()),
        wide("GELU tanh", Gelu { approximate: true }),
        wide("Hardtanh", Hardtanh { min: -0.6, max: 0.4 }),
        wide("LeakyReLU", LeakyRelu::default()),
        wide("Threshold", Threshold { threshold: 0.1, value: -0.3 }),
        wide("Hardshrink", Hardshrink::default()),
        wide("Softshrink", Softshrink::default()),
        wide("Softplus", Softplus { beta: 3.0, threshold: 2.0 }),
        wide("Softmax", Softmax::default()),
        wide("LogSoftmax", LogSoftmax { dim: 1 }),
        wide("Softmin", Softmin::default()),
        wide("GLU", Glu { dim: 1 }),
        wide("PReLU", Prelu::new(1, &Device::cpu())),
        one("PReLU channels", &[2, 3, 2], |d| Prelu::new(3, d)),
        one("RReLU eval", &[3, 4], |_| Rrelu::new(0.2, 0.4)),
        one("Softmax2d", &[1, 3, 2, 2], |_| Softmax2d),
        one("SwiGLU", &[3, 4], |_| SwiGlu::default()),
        one("GeGLU", &[3, 4], |_| GeGlu::default()),
        one("ReGLU", &[3, 4], |_| ReGlu::default()),
    ]
}

fn pools() -> Vec<Case> {
    vec![
        one("MaxPool1d", &[2, 2, 7], |_| MaxPool1d::new(3).stride([2]).padding([1])),
        one("MaxPool2d", &[1, 2, 5, 4], |_| MaxPool2d::new(2).ceil_mode()),
        one("MaxPool3d", &[1, 2, 2, 4, 3], |_| MaxPool3d::new(2)),
        one("AvgPool1d", &[2, 2, 7], |_| AvgPool1d::new(3).stride([2]).padding([1])),
        one("AvgPool2d", &[1, 2, 4, 4], |_| AvgPool2d::new([2, 3]).stride([1, 1])),
        one("AvgPool3d", &[1, 2, 2, 4, 3], |_| AvgPool3d::new(2)),
        one("LPPool1d", &[2, 2, 6], |_| LpPool1d::new(2.0, 3)),
        one("LPPool2d", &[1, 2, 4, 4], |_| LpPool2d::new(4.0, 2)),
        one("LPPool3d", &[1, 2, 2, 4, 2], |_| LpPool3d::new(2.0, 2)),
        one("AdaptiveAvgPool1d", &[2, 2, 7], |_| AdaptiveAvgPool1d::new([3])),
        one("AdaptiveAvgPool2d", &[1, 2, 5, 4], |_| AdaptiveAvgPool2d::new([2, 3])),
        one("AdaptiveAvgPool3d", &[1, 2, 2, 3, 3], |_| AdaptiveAvgPool3d::new([1, 2, 2])),
        one("AdaptiveMaxPool1d", &[2, 2, 7], |_| AdaptiveMaxPool1d::new([3])),
        one("AdaptiveMaxPool2d", &[1, 2, 5, 4], |_| AdaptiveMaxPool2d::new([2, 3])),
        one("AdaptiveMaxPool3d", &[1, 2, 2, 3, 3], |_| AdaptiveMaxPool3d::new([1, 2, 2])),
    ]
}

fn shapes() -> Vec<Case> {
    vec![
        one("Flatten", &[2, 2, 3], |_| Flatten::default()),
        one("Unflatten", &[2, 6, 2], |_| Unflatten::new(1, [2, 3])),
        one("Identity", &[2, 3], |_| Identity),
        one("PixelShuffle", &[1, 4, 2, 2], |_| PixelShuffle { factor: 2 }),
        one("PixelUnshuffle", &[1, 1, 4, 4], |_| PixelUnshuffle { factor: 2 }),
        one("ChannelShuffle", &[1, 6, 2], |_| ChannelShuffle { groups: 2 }),
        one("Upsample nearest", &[1, 2, 3], |_| Upsample::scale([2.0])),
        one("Upsample bilinear", &[1, 2, 3, 2], |_| Upsample::size([5, 3]).mode(Interpolation::Linear)),
        one("Upsample bicubic", &[1, 1, 3, 3], |_| {
            Upsample::size([5, 4]).mode(Interpolation::Cubic).align_corners()
        }),
        one("ConstantPad1d", &[1, 2, 3], |_| ConstantPad1d::new([[1, 2]], 0.5)),
        one("ZeroPad2d", &[1, 2, 2, 2], |_| ConstantPad2d::zero([[2, 1], [1, 0]])),
        one("ReflectionPad2d", &[1, 1, 3, 4], |_| ReflectionPad2d::new([[1, 1], [1, 2]])),
        one("ReplicationPad3d", &[1, 1, 2, 2, 2], |_| ReplicationPad3d::new([[2, 1], [0, 1], [1, 0]])),
        one("CircularPad1d", &[1, 2, 3], |_| CircularPad1d::new([[2, 1]])),
    ]
}

/// A table of vectors, picked by the same numbers as in PyTorch.
fn picked<M: Module>(
    name: &'static str,
    make: impl Fn(&Device) -> M + 'static,
    f: impl Fn(&M, &Tensor) -> Tensor + 'static,
) -> Case {
    let ids = Input::Numbers(vec![1, 0, 3, 2, 1, 1], vec![2, 3]);
    case(name, vec![ids], make, move |table, x| vec![f(table, &x[0])])
}

fn bags(names: [&'static str; 3], mode: BagMode) -> Vec<Case> {
    let make = move |d: &Device| EmbeddingBag::new(5, 3, mode, d);
    let behind = |bags: &EmbeddingBag, ids: &Tensor| {
        let starts = Tensor::from_slice(&[0i32, 2, 2, 5], [4], &ids.device().expect("a device"));
        bags.forward_offsets(&ids.flatten(0, 1), &starts)
    };
    vec![
        picked(names[0], make, EmbeddingBag::forward),
        picked(names[1], move |d| make(d).padding(1), EmbeddingBag::forward),
        picked(names[2], make, behind),
    ]
}

fn products() -> Vec<Case> {
    let grouped = ConvTranspose2dOptions { groups: 2, ..ConvTranspose2dOptions::default() };
    let halves = Conv2dOptions { groups: 2, padding: [1, 0].into(), ..Conv2dOptions::default() };
    let mut out = vec![
        one("Linear", &[2, 2, 3], |d| Linear::new(3, 4, d)),
        case(
            "Bilinear",
            vec![(&[2, 3][..]).into(), (&[2, 2][..]).into()],
            |d| Bilinear::new(3, 2, 4, d),
            |layer, x| vec![layer.forward(&x[0], &x[1])],
        ),
        one("Conv1d", &[2, 2, 5], |d| Conv1d::new(2, 3, [3], d).stride([2]).padding([1])),
        one("Conv2d", &[1, 2, 3, 4], move |d| Conv2d::with_options(2, 4, [2, 3], halves, d)),
        one("Conv3d", &[1, 1, 2, 3, 4], |d| Conv3d::new(1, 2, [2, 2, 2], d).dilation([1, 1, 2])),
        one("ConvTranspose1d", &[1, 2, 4], |d| {
            ConvTranspose1d::new(2, 3, [3], d).stride([2]).padding([1]).output_padding([1])
        }),
        one("ConvTranspose2d", &[1, 2, 2, 3], move |d| {
            ConvTranspose2d::with_options(2, 2, [2, 2], grouped, d)
        }),
        one("ConvTranspose3d", &[1, 1, 2, 2, 2], |d| ConvTranspose3d::new(1, 2, [2, 2, 2], d).without_bias()),
        picked("Embedding", |d| Embedding::new(5, 3, d), Embedding::forward),
        picked("Embedding padding", |d| Embedding::new(5, 3, d).padding(1), Embedding::forward),
        case(
            "EmbeddingBag weighted",
            vec![Input::Numbers(vec![1, 0, 3, 2, 1, 1], vec![2, 3]), (&[2, 3][..]).into()],
            |d| EmbeddingBag::new(5, 3, BagMode::Sum, d),
            |bags, x| vec![bags.forward_weighted(&x[0], &x[1])],
        ),
        one("Sequential", &[2, 3], |d| {
            let inner = Sequential::new().then(Linear::new(4, 2, d)).then(Sigmoid);
            Sequential::new().then(Linear::new(3, 4, d)).then(Tanh).then(inner)
        }),
    ];
    let sum = ["EmbeddingBag sum", "EmbeddingBag sum padding", "EmbeddingBag sum offsets"];
    let mean = ["EmbeddingBag mean", "EmbeddingBag mean padding", "EmbeddingBag mean offsets"];
    let max = ["EmbeddingBag max", "EmbeddingBag max padding", "EmbeddingBag max offsets"];
    for (names, mode) in [(sum, BagMode::Sum), (mean, BagMode::Mean), (max, BagMode::Max)] {
        out.extend(bags(names, mode));
    }
    out
}

#[test]
fn layers_are_pytorchs() {
    let golden = golden();
    let cases: Vec<Case> =
        [norms(), activations(), pools(), shapes(), products()].into_iter().flatten().collect();
    check_native(&cases, &golden);
}

#[test]
fn adapters_give_the_same() {
    let cases: Vec<Case> =
        [norms(), activations(), pools(), shapes(), products()].into_iter().flatten().collect();
    let chosen = [
        "BatchNorm1d rows",
        "InstanceNorm2d",
        "LayerNorm 2",
        "WeightNorm Linear",
        "SpectralNorm Linear",
        "Softplus",
        "Softshrink",
        "PReLU channels",
        "SwiGLU",
        "LPPool1d",
        "ReflectionPad2d",
        "Upsample bilinear",
        "Bilinear",
        "EmbeddingBag max offsets",
        "EmbeddingBag mean padding",
        "Sequential",
    ];
    check_adapter(&cases, &golden(), &chosen);
}

/// Share of zeros, and whether all others are `kept`.
fn zeros(x: &Tensor, kept: f32) -> f64 {
    let values = x.to_vec::<f32>().expect("values");
    assert!(values.iter().all(|&v| v == 0.0 || (v - kept).abs() < 1e-6), "{values:?}");
    values.iter().filter(|&&v| v == 0.0).count() as f64 / values.len() as f64
}

#[test]
fn dropouts_drop_what_belongs_together() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &device);
    let kept = 1.0 / 0.75;
    let x = ones(&[40, 30, 2, 3]);
    let y = Dropout2d::new(0.25).forward(&x);
    assert!((zeros(&y, kept) - 0.25).abs() < 0.05);
    assert!((zeros(&y.sum([2, 3]), 6.0 * kept) - 0.25).abs() < 0.05, "whole channels");
    let y = Dropout1d::new(0.25).forward(&ones(&[900, 4]));
    assert!((zeros(&y.sum(1), 4.0 * kept) - 0.25).abs() < 0.06, "channels without a batch");
    let y = Dropout3d::new(0.25).forward(&ones(&[30, 30, 1, 2, 2]));
    assert!((zeros(&y.sum([2, 3, 4]), 4.0 * kept) - 0.25).abs() < 0.06);
    let y = DropPath::new(0.25).forward(&ones(&[900, 2, 2]));
    assert!((zeros(&y.sum([1, 2]), 4.0 * kept) - 0.25).abs() < 0.06, "whole examples");
    let net =
        Sequential::new().then(Dropout2d::new(0.5)).then(DropPath::new(0.5)).then(AlphaDropout::new(0.5));
    net.train(false);
    assert_eq!(zeros(&net.forward(&x), 1.0), 0.0);
}

#[test]
fn alpha_dropout_keeps_mean_and_variance() {
    let device = Device::cpu();
    let _keys = device.fork_rng(4);
    let x = Tensor::randn([200, 50, 4], DType::F32, &device);
    let layers = [BoxedLayer::new(AlphaDropout::new(0.2)), BoxedLayer::new(FeatureAlphaDropout::new(0.2))];
    for layer in layers {
        let y = layer.forward(&x);
        // What a dropped element becomes: −1.7581 scaled and shifted.
        let value = -1.758_099_34 * 0.8 / (0.8f64 * (1.0 + 0.2 * 1.758_099_34 * 1.758_099_34)).sqrt();
        let dropped = (&y - value).abs().le(1e-5).cast(DType::F32);
        let share = dropped.mean_all().item::<f32>().expect("a number");
        let numbers = [y.mean_all(), y.var([0, 1, 2], 0)].map(|t| t.item::<f32>().expect("a number"));
        assert!((share - 0.2).abs() < 0.02 && numbers[0].abs() < 0.05, "{layer:?} {share} {numbers:?}");
        assert!((numbers[1] - 1.0).abs() < 0.05, "{layer:?} {numbers:?}");
        let channels = dropped.mean(2).to_vec::<f32>().expect("values");
        let whole = channels.iter().all(|&c| c == 0.0 || c == 1.0);
        assert_eq!(whole, layer.kind() == "FeatureAlphaDropout");
    }
}

#[test]
fn rrelu_draws_slopes_between_its_limits() {
    let device = Device::cpu();
    let x = Tensor::full([2000], -1.0, DType::F32, &device);
    let slopes: Vec<f32> = Rrelu::new(0.2, 0.4).forward(&x).to_vec::<f32>().expect("values");
    assert!(slopes.iter().all(|&s| (-0.4..=-0.2).contains(&s)));
    let mean = slopes.iter().sum::<f32>() / 2000.0;
    assert!((mean + 0.3).abs() < 0.01, "{mean}");
}

#[test]
fn layers_without_their_types_are_modules() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let mut net = Sequential::new()
        .then(Residual::new(
            Sequential::new().then(LayerNorm::new(3, &device)).then(Linear::new(3, 3, &device)),
        ))
        .then_named("norm", BatchNorm1d::new(3, &device))
        .then_fn(Tensor::relu);
    let names = |net: &Sequential| {
        let mut names = Vec::new();
        net.walk("", &mut |name, _, _| names.push(name.to_string()));
        names
    };
    let expected = [
        "0.layer.0.weight",
        "0.layer.0.bias",
        "0.layer.1.weight",
        "0.layer.1.bias",
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
    ];
    assert_eq!(names(&net), expected);
    assert_eq!(format!("{net:?}"), "{\"0\": Residual, \"norm\": BatchNorm, \"2\": Lambda}");
    let x = Tensor::randn([4, 3], DType::F32, &device);
    let mut optimizer = Sgd::new(0.1);
    let mut losses = Vec::new();
    for _ in 0..20 {
        let (loss, grads) =
            value_and_grad(&net, |net| (net.forward(&x) - 1.0).square().mean_all()).expect("a gradient");
        optimizer.step(&mut net, grads).expect("a step");
        eval(&(&loss, &net, &optimizer)).expect("values");
        losses.push(loss.item::<f32>().expect("a number"));
    }
    assert!(losses[19] < 0.9 * losses[0], "{losses:?}");
    let bytes = to_safetensors(&net).expect("a file");
    let mut other = net.clone();
    other.walk_mut("", &mut |_, _, tensor| *tensor = tensor.full_like(0.5));
    from_safetensors(&mut other, &bytes, "memory").expect("the same names");
    assert_eq!(to_safetensors(&other), Ok(bytes));
}
