//! The documentation beside the repository: links lead somewhere, trainings are those there are.

#![allow(clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use vorpal_zoo::recipes;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// Every text of the repository, without blocks of code.
fn texts() -> Vec<(PathBuf, String)> {
    let mut folders = vec![root().join("docs"), root().join("benches")];
    let mut files: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].iter().map(|name| root().join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                files.push(path);
            }
        }
    }
    let prose = |text: String| text.split("```").step_by(2).collect::<String>();
    files
        .into_iter()
        .map(|file| (file.clone(), prose(std::fs::read_to_string(file).expect("a text"))))
        .collect()
}

#[test]
fn links_lead_to_files() {
    let (mut links, mut broken) = (0, Vec::new());
    for (file, text) in texts() {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let elsewhere = |target: &str| target.starts_with('#') || target.contains(':');
        for target in targets.filter(|target| !elsewhere(target)) {
            links += 1;
            let path = target.split('#').next().unwrap_or(target);
            if !file.parent().is_some_and(|folder| folder.join(path).exists()) {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(links > 50, "{links}");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn trainings_that_are_named_exist_and_all_stand_in_the_table_with_their_goals() {
    let names: BTreeSet<&str> = recipes().map(|recipe| recipe.name).collect();
    let mut wrong = Vec::new();
    for (file, text) in texts() {
        for rest in text.split("vorpal train ").skip(1) {
            let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-');
            let name = rest.split(end).next().unwrap_or_default();
            // Capitals stand for a name.
            if name.starts_with(|c: char| c.is_ascii_lowercase()) && !names.contains(name) {
                wrong.push(format!("{}: {name}", file.display()));
            }
        }
    }
    let table = std::fs::read_to_string(root().join("docs/zoo.md")).expect("the table");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    for recipe in recipes() {
        let name = format!("`{}`", recipe.name);
        let row = rows.iter().find(|row| row.get(1).is_some_and(|first| first.starts_with(&name)));
        // The table may say in words what is measured; the bound is the same.
        let goal = recipe.goal.to_string();
        let bound = goal.find(['≤', '≥']).map_or("", |at| &goal[at..]);
        let found = row.and_then(|row| row.get(3)).unwrap_or(&"no row");
        let has = |text: &str| text == bound || text.starts_with(&format!("{bound} "));
        if !found.match_indices(['≤', '≥']).any(|(at, _)| has(&found[at..])) {
            wrong.push(format!("docs/zoo.md: {}: \"{found}\" in place of {goal}", recipe.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
