//! Every shader is valid WGSL as it stands.

use naga::valid::{Capabilities, ValidationFlags, Validator};

#[test]
fn every_shader_is_valid_as_it_stands() {
    for (name, text) in vorpal_shaders::ALL {
        let module = naga::front::wgsl::parse_str(text)
            .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(text)));
        // What only devices that have it are given.
        let beyond = Capabilities::SUBGROUP | Capabilities::SHADER_INT64;
        Validator::new(ValidationFlags::all(), Capabilities::default() | beyond)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{name}: {e:?}"));
    }
}

#[test]
fn every_file_belongs_to_a_shader() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in [root.to_path_buf(), root.join("shared")] {
        for entry in std::fs::read_dir(folder).expect("a folder of shaders") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|e| e == "wgsl") {
                let text = std::fs::read_to_string(&path).expect("a text");
                let used = vorpal_shaders::ALL.iter().any(|(_, shader)| shader.contains(&text));
                assert!(used, "{}", path.display());
            }
        }
    }
}
