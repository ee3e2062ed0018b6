//! Every shader is valid WGSL as it stands.

use naga::front::wgsl::{Frontend, Options};
use naga::valid::{Capabilities, ValidationFlags, Validator};

#[test]
fn every_shader_is_valid_as_it_stands() {
    for (name, text) in vorpal_shaders::ALL {
        // What only devices that have it are given.
        let matrices =
            Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SHADER_INT16;
        let beyond = Capabilities::SUBGROUP | Capabilities::SHADER_INT64 | matrices;
        let capabilities = Capabilities::default() | beyond;
        let module = Frontend::new_with_options(Options { capabilities, ..Options::new() })
            .parse(text)
            .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(text)));
        Validator::new(ValidationFlags::all(), capabilities)
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
