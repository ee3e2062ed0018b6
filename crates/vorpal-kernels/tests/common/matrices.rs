//! Shaders with cooperative matrices on devices that have none: invocations of a subgroup have parts of rows of a matrix,
//! halves are floats, and workgroup memory is a buffer. What is left are places, barriers and arithmetic, as they stand in the shader.

use vorpal_kernels::shaders::Shader;
use vorpal_kernels::{Access, Kernel};
use vorpal_tensor::{Binding, Device, PipelineDesc, Replay, Result, Step};

/// Fours of memory that stand for workgroup memory, and in which every place in the text has the left factor that it loads: a row
/// for each of as many invocations as a workgroup has at most; then every other place its right factor: two halves of columns for
/// each subgroup.
const GROUP_FOURS: usize = 8192;
const LEFT_FOURS: usize = 256 * 4;
const RIGHT_FOURS: usize = 8 * 2 * 32;

const SUPPORT: &str = "
// Of a sum every invocation has half a row.
alias Sum = mat2x4<f32>;
var<private> group_start: u32;
var<private> own_lane: u32;

fn rounded(x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(pack2x16float(x.xy)), unpack2x16float(pack2x16float(x.zw)));
}

// A number of rounds that who compiles this does not know: written out they would take minutes.
fn times(rounds: u32) -> u32 {
    return select(rounds, 1u, group_start == 0xffffffffu);
}

fn left_in_rows(place: u32, start: u32, pitch: u32) -> u32 {
    let at = start + own_lane % 32u / 2u * pitch;
    let left = group_start + place + own_lane * 4u;
    for (var i = 0u; i < 4u; i++) {
        memory[left + i] = memory[at + i];
    }
    return left;
}

fn left_in_columns(place: u32, start: u32, pitch: u32) -> u32 {
    let row = own_lane % 32u / 2u;
    let left = group_start + place + own_lane * 4u;
    for (var i = 0u; i < 4u; i++) {
        let at = start + 4u * i * pitch + row / 4u;
        memory[left + i] = vec4<f32>(memory[at][row % 4u], memory[at + pitch][row % 4u],
            memory[at + 2u * pitch][row % 4u], memory[at + 3u * pitch][row % 4u]);
    }
    return left;
}

// Invocations of a subgroup that have the same columns write the same numbers to the same places.
fn right_at(place: u32) -> u32 {
    return group_start + place + (own_lane / 32u * 2u + own_lane % 2u) * 32u;
}

fn right_in_rows(place: u32, start: u32, pitch: u32) -> u32 {
    let right = right_at(place);
    let rounds = times(32u);
    for (var i = 0u; i < rounds; i++) {
        memory[right + i] = memory[start + i / 2u * pitch + own_lane % 2u * 2u + i % 2u];
    }
    return right;
}

fn right_in_columns(place: u32, start: u32, pitch: u32) -> u32 {
    let right = right_at(place);
    let rounds = times(32u);
    for (var i = 0u; i < rounds; i++) {
        let term = i / 2u;
        let at = start + (own_lane % 2u * 8u + i % 2u * 4u) * pitch + term / 4u;
        memory[right + i] = vec4<f32>(memory[at][term % 4u], memory[at + pitch][term % 4u],
            memory[at + 2u * pitch][term % 4u], memory[at + 3u * pitch][term % 4u]);
    }
    return right;
}

fn store_rows(m: Sum, start: u32, pitch: u32) {
    let at = start + own_lane % 32u / 2u * pitch + own_lane % 2u * 2u;
    memory[at] = m[0];
    memory[at + 1u] = m[1];
}

fn multiply_add(left: u32, right: u32, c: Sum) -> Sum {
    var first = c[0];
    var second = c[1];
    let rounds = times(16u);
    for (var term = 0u; term < rounds; term++) {
        let x = memory[left + term / 4u][term % 4u];
        first += x * memory[right + 2u * term];
        second += x * memory[right + 2u * term + 1u];
    }
    return Sum(first, second);
}
";

/// How eight halves are read, and how they are where halves are floats.
const PACKED: &str = include_str!("../../../../shaders/shared/eights.wgsl");
const APART: &str = "
struct Eight {
    first: vec4<f32>,
    second: vec4<f32>,
}

fn low(eight: Eight) -> vec4<f32> {
    return eight.first;
}

fn high(eight: Eight) -> vec4<f32> {
    return eight.second;
}
";

/// The text of a shader whose workgroup variables are arrays of fours, with one buffer more, behind the others. What is
/// converted to halves is rounded where asked for. Also the fours of that buffer that a workgroup needs.
fn emulated(shader: &Shader, binding: usize, rounds: bool) -> (String, usize) {
    let mut text = shader.source.replace(PACKED, APART);
    if rounds {
        text = text.replace("vec4<f16>(", "rounded(");
    }
    text = text.replace("f16", "f32");
    let mut start = "0u".to_string();
    let mut names = Vec::new();
    while let Some(at) = text.find("var<workgroup> ") {
        let end = at + text[at..].find(";\n").expect("an end");
        let declared = text[at + "var<workgroup> ".len()..end].to_string();
        let (name, ty) = declared.split_once(": array<vec4<f32>, ").expect("an array of fours");
        let length = ty.strip_suffix('>').expect("an end");
        let all =
            format!("const {name}_from: u32 = {start};\nconst {name}_end: u32 = {name}_from + ({length})");
        text.replace_range(at..end, &all);
        start = format!("{name}_end");
        names.push(name.to_string());
    }
    for name in names {
        for before in [" ", "&", "(", "-"] {
            let by = format!("{before}memory[group_start + {name}_from + ");
            text = text.replace(&format!("{before}{name}["), &by);
        }
    }
    for (name, by) in [
        ("coopStoreT", "store_rows"),
        ("coopMultiplyAdd", "multiply_add"),
        ("coop_mat16x16<f32, C>()", "Sum()"),
        ("coop_mat16x16<f32, A>()", "0u"),
        ("coop_mat16x16<f32, B>()", "0u"),
        ("workgroupBarrier();", "workgroupBarrier(); storageBarrier();"),
    ] {
        text = text.replace(name, by);
    }
    const LOADS: [(&str, &str, usize); 4] = [
        ("coopLoadT<coop_mat16x16<f32, A>>(", "left_in_rows", LEFT_FOURS),
        ("coopLoad<coop_mat16x16<f32, A>>(", "left_in_columns", LEFT_FOURS),
        ("coopLoadT<coop_mat16x16<f32, B>>(", "right_in_rows", RIGHT_FOURS),
        ("coopLoad<coop_mat16x16<f32, B>>(", "right_in_columns", RIGHT_FOURS),
    ];
    let mut fours = GROUP_FOURS;
    for (load, by, needed) in LOADS {
        while text.contains(load) {
            text = text.replacen(load, &format!("{by}({fours}u, "), 1);
            fours += needed;
        }
    }
    let start =
        format!("own_lane = lane;\n    group_start = (wg.x + wg.y * wgs.x) * {fours}u;\n    let group = ");
    text = text.replace("let group = ", &start);
    while let Some(at) = text.find("&memory[") {
        let open = at + "&memory".len();
        let mut depth = 0;
        let close = text[open..].find(|c| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            depth == 0
        });
        let close = open + close.expect("a bracket");
        text.replace_range(close..=close, ")");
        text.replace_range(at..=open, "(");
    }
    let memory =
        format!("@group(0) @binding({binding}) var<storage, read_write> memory: array<vec4<f32>>;\n");
    (text + &memory + SUPPORT, fours)
}

/// Runs a kernel with matrices of halves on a device without. Buffers hold f32 where the kernel has halves, which may
/// be rounded where it makes them itself.
pub fn run_emulated(
    device: &Device,
    kernel: &dyn Kernel,
    buffers: &mut [Vec<u8>],
    rounds: bool,
) -> Result<()> {
    let (args, shader, groups) = (kernel.args(), kernel.shader()?, kernel.groups());
    let (source, fours) = emulated(&shader, args.len(), rounds);
    let writes: Vec<bool> = args.iter().map(|a| a.access != Access::Read).chain([true]).collect();
    let bindings: Vec<Binding> =
        writes.iter().map(|&w| if w { Binding::StorageWrite } else { Binding::StorageRead }).collect();
    let pipeline = device.pipeline(&PipelineDesc {
        kernel: kernel.name(),
        source: &source,
        constants: &shader.constants,
        bindings: &bindings,
    })?;
    let bound = (0..writes.len()).collect();
    let step =
        Step { pipeline, buffers: bound, starts: Vec::new(), writes, groups, params: None, fault: false };
    let memory = vec![0xff; groups[0] as usize * groups[1] as usize * fours * 16];
    let mut table = Vec::new();
    for bytes in buffers.iter().chain([&memory]) {
        table.push(device.upload(bytes)?);
    }
    Replay::new(device, vec![step], 0)?.run(&table, &[], &[])?;
    for ((bytes, buffer), arg) in buffers.iter_mut().zip(&table).zip(&args) {
        if arg.access != Access::Read {
            let all = buffer.download()?;
            let n = bytes.len();
            bytes.copy_from_slice(&all[..n]);
        }
    }
    Ok(())
}
