//! Shaders with cooperative matrices on devices that have none: invocations of a subgroup have parts of rows of a matrix,
//! halves are floats, and workgroup memory is a buffer. What is left are places, barriers and arithmetic, as they stand in the shader.

use vorpal_kernels::shaders::Shader;
use vorpal_kernels::{Access, Kernel};
use vorpal_tensor::{Binding, Device, PipelineDesc, Replay, Result, Step};

/// Fours of memory that stand for that of one workgroup.
const GROUP_FOURS: usize = 24576;

const SUPPORT: &str = "
// Of a sum every invocation has half a row; of a left factor it has a row in memory, one for every place in the text where
// one is loaded; a right factor stays where it is.
alias Sum = mat2x4<f32>;
struct Right {
    start: u32,
    pitch: u32,
    in_rows: bool,
}
var<private> group_start: u32;
var<private> own_lane: u32;

fn rounded(x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(pack2x16float(x.xy)), unpack2x16float(pack2x16float(x.zw)));
}

fn left_in_rows(place: u32, start: u32, pitch: u32) -> u32 {
    let at = start + own_lane % 32u / 2u * pitch;
    let left = group_start + 8192u + (place * 128u + own_lane) * 4u;
    for (var i = 0u; i < 4u; i++) {
        memory[left + i] = memory[at + i];
    }
    return left;
}

fn left_in_columns(place: u32, start: u32, pitch: u32) -> u32 {
    let row = own_lane % 32u / 2u;
    let left = group_start + 8192u + (place * 128u + own_lane) * 4u;
    for (var i = 0u; i < 4u; i++) {
        let at = start + 4u * i * pitch + row / 4u;
        memory[left + i] = vec4<f32>(memory[at][row % 4u], memory[at + pitch][row % 4u],
            memory[at + 2u * pitch][row % 4u], memory[at + 3u * pitch][row % 4u]);
    }
    return left;
}

fn right_in_rows(start: u32, pitch: u32) -> Right {
    return Right(start, pitch, true);
}

fn right_in_columns(start: u32, pitch: u32) -> Right {
    return Right(start, pitch, false);
}

fn store_rows(m: Sum, start: u32, pitch: u32) {
    let at = start + own_lane % 32u / 2u * pitch + own_lane % 2u * 2u;
    memory[at] = m[0];
    memory[at + 1u] = m[1];
}

fn multiply_add(left: u32, b: Right, c: Sum) -> Sum {
    var first = c[0];
    var second = c[1];
    // Always four rounds, but who compiles this must not know: written out it would take minutes.
    let rounds = select(4u, 5u, group_start == 0xffffffffu);
    for (var i = 0u; i < rounds; i++) {
        let four = memory[left + i];
        let p = b.pitch;
        if b.in_rows {
            let at = b.start + 4u * i * p + own_lane % 2u * 2u;
            first += four.x * memory[at] + four.y * memory[at + p];
            first += four.z * memory[at + 2u * p] + four.w * memory[at + 3u * p];
            second += four.x * memory[at + 1u] + four.y * memory[at + p + 1u];
            second += four.z * memory[at + 2u * p + 1u] + four.w * memory[at + 3u * p + 1u];
        } else {
            let at = b.start + own_lane % 2u * 8u * p + i;
            first += vec4<f32>(dot(four, memory[at]), dot(four, memory[at + p]),
                dot(four, memory[at + 2u * p]), dot(four, memory[at + 3u * p]));
            second += vec4<f32>(dot(four, memory[at + 4u * p]), dot(four, memory[at + 5u * p]),
                dot(four, memory[at + 6u * p]), dot(four, memory[at + 7u * p]));
        }
    }
    return Sum(first, second);
}
";

/// The text of a shader whose workgroup variables are arrays of fours, with one buffer more, behind the others. What is
/// converted to halves is rounded where asked for.
fn emulated(shader: &Shader, binding: usize, rounds: bool) -> String {
    let mut text = shader.source.replace("enable f16;", "").replace("enable wgpu_cooperative_matrix;", "");
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
        ("coopLoadT<coop_mat16x16<f32, B>>", "right_in_rows"),
        ("coopLoad<coop_mat16x16<f32, B>>", "right_in_columns"),
        ("coopStoreT", "store_rows"),
        ("coopMultiplyAdd", "multiply_add"),
        ("coop_mat16x16<f32, C>()", "Sum()"),
        ("coop_mat16x16<f32, A>()", "0u"),
        ("coop_mat16x16<f32, B>()", "Right()"),
        (
            "let group = ",
            "own_lane = lane;\n    group_start = (wg.x + wg.y * wgs.x) * 24576u;\n    let group = ",
        ),
        ("workgroupBarrier();", "workgroupBarrier(); storageBarrier();"),
    ] {
        text = text.replace(name, by);
    }
    const LEFT: [(&str, &str); 2] = [
        ("coopLoadT<coop_mat16x16<f32, A>>(", "left_in_rows"),
        ("coopLoad<coop_mat16x16<f32, A>>(", "left_in_columns"),
    ];
    let mut place = 0;
    for (load, by) in LEFT {
        while text.contains(load) {
            text = text.replacen(load, &format!("{by}({place}u, "), 1);
            place += 1;
        }
    }
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
    text + &memory + SUPPORT
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
    let source = emulated(&shader, args.len(), rounds);
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
    let memory = vec![0xff; groups[0] as usize * groups[1] as usize * GROUP_FOURS * 16];
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
