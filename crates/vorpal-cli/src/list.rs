//! `vorpal list`.

use std::io::Write;

use vorpal::zoo::recipes;

use crate::Outcome;

pub fn run() -> Outcome<()> {
    let mut out = String::new();
    let mut family = "";
    let wide = recipes().map(|r| r.name.len()).max().unwrap_or(0);
    for recipe in recipes() {
        if recipe.family != family {
            family = recipe.family;
            out.push_str(&format!("{}{family}\n", if out.is_empty() { "" } else { "\n" }));
        }
        let (name, about, data, goal) = (recipe.name, recipe.about, recipe.data, recipe.goal);
        out.push_str(&format!("  {name:wide$}  {about}\n  {:wide$}  from {data}; goal: {goal}\n", ""));
    }
    // A reader like `head` may have seen enough.
    let _ = std::io::stdout().write_all(out.as_bytes());
    Ok(())
}
