//! Workloads by name.

use std::io::Write;
use std::path::Path;

use vorpal_benches::{Workload, large_workloads, workload, workloads};

use crate::Outcome;

/// All workloads, those for graphics cards last.
fn known() -> Vec<Workload> {
    [workloads(), large_workloads()].concat()
}

/// The workload of a name.
pub fn find(name: &str) -> Outcome<Workload> {
    let known = || known().iter().map(|w| w.name).collect::<Vec<_>>().join(", ");
    workload(name).ok_or_else(|| format!("no workload is called {name}; there are {}", known()).into())
}

/// The workloads of some names; without any all but those for graphics cards.
pub fn chosen(names: &[String]) -> Outcome<Vec<Workload>> {
    if names.is_empty() { Ok(workloads()) } else { names.iter().map(|name| find(name)).collect() }
}

/// `vorpal workloads`.
pub fn list() -> Outcome<()> {
    let width = known().iter().map(|w| w.name.len()).max().unwrap_or(0);
    print(&known().iter().map(|w| format!("{:width$}  {}\n", w.name, w.what)).collect::<String>())
}

/// A text on the standard output.
pub fn print(text: &str) -> Outcome<()> {
    // Whoever stopped reading has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// A text in a file.
pub fn write(file: &Path, text: &str) -> Outcome<()> {
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()).into())
}
