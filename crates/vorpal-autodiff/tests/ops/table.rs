//! `docs/ops.md`: what holds for which op, written from the cases that the other tests check.

use std::fmt::Write;

use vorpal_autodiff::DType;

use crate::harness::{Case, Holds, on_adapters};

const HEAD: &str = "# Ops

Every op with what holds for it. Each cell is checked by a test: values against a plain f64 reference in every dtype
listed, on the native CPU and on an adapter, through windows on permuted, sliced and flipped storage and with empty
axes; derivatives against central differences; `jvp` against `vjp`; `vmap` against a loop. A cell that does not hold
says why at the foot of its table. This page is written by the tests
(`UPDATE_DOCS=1 cargo test --workspace --test ops table`) and held to be true by them.
";

/// The page as it should be.
fn page(families: &[(&str, Vec<Case>)]) -> String {
    let mut out = HEAD.to_string();
    for (family, cases) in families {
        let mut notes: Vec<&str> = Vec::new();
        let _ = writeln!(out, "\n## {family}\n");
        out.push_str("| op | native CPU | adapters | derivative | second | jvp | vmap |\n");
        out.push_str("|---|---|---|---|---|---|---|\n");
        for case in cases {
            let mut cell = |holds: Holds| match holds {
                Ok(()) => "yes".to_string(),
                Err(why) => {
                    let known = notes.iter().position(|n| *n == why).unwrap_or_else(|| {
                        notes.push(why);
                        notes.len() - 1
                    });
                    format!("no ({})", known + 1)
                }
            };
            let list = |dtypes: &mut dyn Iterator<Item = &DType>| {
                dtypes.map(|d| d.name()).collect::<Vec<_>>().join(" ")
            };
            let native = list(&mut case.dtypes.iter());
            let adapters = list(&mut case.dtypes.iter().filter(|&&d| on_adapters(d)));
            let (first, second, vmap) = (cell(case.first), cell(case.second), cell(case.vmap));
            let name = case.name;
            let _ =
                writeln!(out, "| `{name}` | {native} | {adapters} | {first} | {second} | {first} | {vmap} |");
        }
        for (k, why) in notes.iter().enumerate() {
            let _ = writeln!(out, "\n({}) {why}.", k + 1);
        }
    }
    out
}

/// Compares the page with the cases, or writes it where `UPDATE_DOCS` is set.
pub fn check(families: &[(&str, Vec<Case>)]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ops.md");
    let expected = page(families);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &expected).expect("docs/ops.md can be written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
    assert!(
        found == expected,
        "docs/ops.md is out of date, set UPDATE_DOCS=1 to write it; first difference {differs:?}"
    );
}
