//! A shader checked for every target. Shared with the tests of other crates.

#![allow(dead_code, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use naga::back;
use naga::front::wgsl::{Frontend, Options};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use vorpal_kernels::shaders::Shader;

/// Validates a shader within WebGPU's default limits and translates it for every target.
pub fn check_shader(shader: &Shader) {
    check_shader_within(shader, 8);
}

/// [`check_shader`] for a device that lets kernels bind so many buffers.
fn check_shader_within(shader: &Shader, buffers: usize) {
    let text = &shader.source;
    // What only devices that have it are given.
    let matrices = text.contains("enable wgpu_cooperative_matrix;");
    let beyond = !matrices && (text.contains("subgroup") || text.contains("u64"));
    let mut capabilities = Capabilities::default();
    if beyond {
        capabilities |= Capabilities::SUBGROUP | Capabilities::SHADER_INT64;
    }
    if matrices {
        capabilities |=
            Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SHADER_INT16;
    }
    let module = Frontend::new_with_options(Options { capabilities, ..Options::new() })
        .parse(text)
        .unwrap_or_else(|e| panic!("{}\n{}", e.emit_to_string(text), numbered(text)));
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}\n{}", e.emit_to_string(text), numbered(text)));
    let constants = shader.constants.iter().map(|&(k, v)| (k.to_string(), v)).collect();
    let (module, info) =
        back::pipeline_constants::process_overrides(&module, &info, None, &constants).expect("overrides");
    let storage = module
        .global_variables
        .iter()
        .filter(|(_, v)| matches!(v.space, naga::AddressSpace::Storage { .. }))
        .count();
    assert!(storage <= buffers, "{storage} storage buffers, the fault buffer included");
    for entry in &module.entry_points {
        assert!(entry.workgroup_size.iter().product::<u32>() <= 256);
    }
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).expect("sizes");
    let shared: u32 = module
        .global_variables
        .iter()
        .filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup)
        .map(|(_, v)| layouter[v.ty].size)
        .sum();
    // Cards that multiply matrices have more.
    let room = if matrices { 48 << 10 } else { 16 << 10 };
    assert!(shared <= room, "{shared} bytes of workgroup memory");
    let mut spv = back::spv::Options::default();
    let mut msl = back::msl::Options { fake_missing_bindings: true, ..Default::default() };
    let mut hlsl_options = back::hlsl::Options { fake_missing_bindings: true, ..Default::default() };
    if beyond {
        spv.lang_version = (1, 3);
        msl.lang_version = (2, 4);
        hlsl_options.shader_model = back::hlsl::ShaderModel::V6_0;
    }
    if matrices {
        spv.lang_version = (1, 3);
        let words = back::spv::write_vec(&module, &info, &spv, None).expect("SPIR-V");
        check_matrices(&words);
        return;
    }
    back::spv::write_vec(&module, &info, &spv, None).expect("SPIR-V");
    back::msl::write_string(&module, &info, &msl, &back::msl::PipelineOptions::default()).expect("MSL");
    let mut hlsl = String::new();
    back::hlsl::Writer::new(&mut hlsl, &hlsl_options, &back::hlsl::PipelineOptions::default())
        .write(&module, &info, None)
        .expect("HLSL");
    back::wgsl::write_string(&module, &info, back::wgsl::WriterFlags::empty()).expect("WGSL");
}

/// That drivers take a module with cooperative matrices: factors are of halves, whatever the memory they are loaded from
/// holds, and there is no builtin of subgroups.
fn check_matrices(words: &[u32]) {
    const CAPABILITY: u32 = 17;
    const TYPE_FLOAT: u32 = 22;
    const TYPE_COOPERATIVE_MATRIX: u32 = 4456;
    const GROUP_NON_UNIFORM: std::ops::RangeInclusive<u32> = 61..=68;
    let (mut at, mut bits, mut kinds) = (5, BTreeMap::new(), BTreeSet::new());
    while at < words.len() {
        let (code, length) = (words[at] & 0xffff, (words[at] >> 16) as usize);
        let operands = &words[at + 1..at + length];
        match code {
            CAPABILITY => assert!(!GROUP_NON_UNIFORM.contains(&operands[0]), "subgroups beside matrices"),
            TYPE_FLOAT => drop(bits.insert(operands[0], operands[1])),
            TYPE_COOPERATIVE_MATRIX => drop(kinds.insert(bits.get(&operands[1]).copied())),
            _ => {}
        }
        at += length;
    }
    assert_eq!(kinds, BTreeSet::from([Some(16), Some(32)]), "bits of factors and sums");
}

/// [`check_shader_within`], but nothing for a shader that was checked before.
pub fn check_shader_once(shader: &Shader, buffers: usize) {
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let identity = format!("{:?}{}", shader.constants, shader.source);
    let new = SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(identity);
    if new {
        check_shader_within(shader, buffers);
    }
}

fn numbered(text: &str) -> String {
    text.lines().enumerate().map(|(k, l)| format!("{:4} {l}\n", k + 1)).collect()
}
