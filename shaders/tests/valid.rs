//! Every shader on disk is valid WGSL by itself.

use naga::valid::{Capabilities, ValidationFlags, Validator};

#[test]
fn every_file_is_valid_by_itself() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for folder in [root.to_path_buf(), root.join("shared")] {
        for entry in std::fs::read_dir(folder).expect("a folder of shaders") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|e| e == "wgsl") {
                let text = std::fs::read_to_string(&path).expect("a text");
                let module = naga::front::wgsl::parse_str(&text)
                    .unwrap_or_else(|e| panic!("{}: {}", path.display(), e.emit_to_string(&text)));
                Validator::new(ValidationFlags::all(), Capabilities::default())
                    .validate(&module)
                    .unwrap_or_else(|e| panic!("{}: {e:?}", path.display()));
                seen += 1;
            }
        }
    }
    assert!(seen > 0, "no shader was found");
}
