//! A shader checked for every target. Shared with the tests of other crates.

#![allow(dead_code, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use naga::back;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use vorpal_kernels::shaders::Shader;

/// Validates a shader within WebGPU's default limits and translates it for every target.
pub fn check_shader(shader: &Shader) {
    let text = &shader.source;
    let module = naga::front::wgsl::parse_str(text)
        .unwrap_or_else(|e| panic!("{}\n{}", e.emit_to_string(text), numbered(text)));
    // What only devices that have it are given.
    let beyond = text.contains("subgroup") || text.contains("u64");
    let capabilities = if beyond {
        Capabilities::default() | Capabilities::SUBGROUP | Capabilities::SHADER_INT64
    } else {
        Capabilities::default()
    };
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
    assert!(storage <= 8, "{storage} storage buffers, the fault buffer included");
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
    assert!(shared <= 16 << 10, "{shared} bytes of workgroup memory");
    let mut spv = back::spv::Options::default();
    let mut msl = back::msl::Options { fake_missing_bindings: true, ..Default::default() };
    let mut hlsl_options = back::hlsl::Options { fake_missing_bindings: true, ..Default::default() };
    if beyond {
        spv.lang_version = (1, 3);
        msl.lang_version = (2, 4);
        hlsl_options.shader_model = back::hlsl::ShaderModel::V6_0;
    }
    back::spv::write_vec(&module, &info, &spv, None).expect("SPIR-V");
    back::msl::write_string(&module, &info, &msl, &back::msl::PipelineOptions::default()).expect("MSL");
    let mut hlsl = String::new();
    back::hlsl::Writer::new(&mut hlsl, &hlsl_options, &back::hlsl::PipelineOptions::default())
        .write(&module, &info, None)
        .expect("HLSL");
    back::wgsl::write_string(&module, &info, back::wgsl::WriterFlags::empty()).expect("WGSL");
}

/// [`check_shader`], but nothing for a shader that was checked before.
pub fn check_shader_once(shader: &Shader) {
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let identity = format!("{:?}{}", shader.constants, shader.source);
    let new = SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(identity);
    if new {
        check_shader(shader);
    }
}

fn numbered(text: &str) -> String {
    text.lines().enumerate().map(|(k, l)| format!("{:4} {l}\n", k + 1)).collect()
}
