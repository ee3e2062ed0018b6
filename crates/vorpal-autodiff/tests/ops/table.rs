//! `docs/ops.md`: what holds for which op, written from the cases that the other tests check.

use std::collections::BTreeSet;
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

/// Methods of `Tensor` that stand in no row, and why.
const WITHOUT_ROW: &[(&str, &[&str])] = &[
    (
        "leaves, without operands; checked wherever they are used",
        &[
            "arange",
            "arange_step",
            "linspace",
            "fftfreq",
            "alibi_slopes",
            "from_bytes",
            "from_item",
            "from_slice",
            "full",
            "full_like",
            "iota",
            "ones",
            "scalar",
            "zeros",
        ],
    ),
    (
        "random numbers; their moments, distributions and bits are checked in `tests/random.rs` and `tests/graph.rs`",
        &[
            "bernoulli",
            "beta",
            "categorical",
            "dirichlet",
            "dropout",
            "exponential",
            "gamma",
            "gumbel",
            "normal",
            "permutation",
            "rand",
            "randint",
            "randn",
            "truncated_normal",
            "uniform",
        ],
    ),
    (
        "another form of a row: with the reduced axes kept, over all axes, of the last two axes, for any number of axes",
        &[
            "conv",
            "conv_transpose",
            "max_keepdim",
            "mean_all",
            "mean_keepdim",
            "norm_keepdim",
            "sum_all",
            "sum_keepdim",
            "t",
            "var_keepdim",
        ],
    ),
    ("all pairs of dtypes are checked in `tests/dtypes.rs`", &["cast"]),
    ("the ways to ops of one's own, checked in `tests/user_kernel.rs`", &["from_op", "pointwise"]),
];

/// Names of the public methods and constructors of `Tensor` in the sources of the ops.
fn methods(folder: &std::path::Path, out: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources of the ops") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            methods(&path, out);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source");
        let mut inside = false;
        for line in text.lines() {
            match line {
                "impl Tensor {" => inside = true,
                "}" => inside = false,
                _ => {}
            }
            if let Some(rest) = line.strip_prefix("    pub fn ").filter(|_| inside) {
                let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                out.extend(name.map(str::to_string));
            }
        }
    }
}

/// Every method stands in a row or says why not, and nothing that is gone is excused.
fn check_complete(families: &[(&str, Vec<Case>)]) {
    let mut known = BTreeSet::new();
    methods(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops"), &mut known);
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_string).collect()
    };
    let rows: BTreeSet<String> =
        families.iter().flat_map(|(_, cases)| cases).flat_map(|case| words(case.name)).collect();
    let excused: BTreeSet<&str> = WITHOUT_ROW.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let missing: Vec<&String> =
        known.iter().filter(|name| !rows.contains(*name) && !excused.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "without a case: {missing:?}");
    let gone: Vec<&&str> = excused.iter().filter(|name| !known.contains(**name)).collect();
    assert!(gone.is_empty(), "excused but not there: {gone:?}");
}

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
    out.push_str("\n## Without a row\n\n");
    for (why, names) in WITHOUT_ROW {
        let names: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
        let _ = writeln!(out, "- {}: {why}.", names.join(", "));
    }
    out
}

/// Compares the page with the cases, or writes it where `UPDATE_DOCS` is set.
pub fn check(families: &[(&str, Vec<Case>)]) {
    check_complete(families);
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
