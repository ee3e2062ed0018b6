//! `vorpal explain`.

use std::collections::BTreeMap;
use std::fmt::Write;

use vorpal::autodiff::compile::ir::{Class, Target};
use vorpal::autodiff::compile::plan::{Launch, Place, Plan};
use vorpal::autodiff::{GraphNode, graph_nodes};
use vorpal::kernels::Access;
use vorpal::prelude::*;
use vorpal_benches::Workload;

use crate::Outcome;
use crate::options::{Explain, TargetName};
use crate::units::{bytes, count, flops, shortened};
use crate::workload::{find, print};

/// Nodes of a graph that are listed without being asked for.
const NODES_SHOWN: usize = 40;
/// Width of the picture of memory.
const PICTURE: usize = 72;
/// Slots in the picture, the largest ones.
const SLOTS_SHOWN: usize = 24;

pub fn run(options: &Explain) -> Outcome<()> {
    let workload = find(&options.workload)?;
    // Nothing runs but what makes the operands, so any device will do.
    let device = match &options.device {
        Some(name) => Device::named(name)?,
        None => Device::cpu(),
    };
    let target = match (options.target, &options.device) {
        (Some(target), _) => target.into(),
        (None, Some(_)) => Target::of(device.info()),
        (None, None) => Target::NATIVE,
    };
    // What the workload holds on to must not be taken for free to be overwritten.
    let mut graph = workload.graph(&device)?;
    let what = graph()?;
    let plan = vorpal::autodiff::plan(&what, target)?;
    if let Some(number) = options.wgsl {
        return print(&wgsl(&plan, number)?);
    }
    let nodes = graph_nodes(&what)?;
    print(&text(&workload, kind(target), &nodes, &plan, options.graph))
}

/// What kernels are for, in a few words.
fn kind(target: Target) -> &'static str {
    match target.class {
        Class::Native => "native code",
        Class::Software => "a software adapter",
        Class::Card => "a graphics card",
    }
}

fn text(workload: &Workload, target: &str, nodes: &[GraphNode], plan: &Plan, all: bool) -> String {
    let mut out = format!("{}: {}\nkernels for: {target}\n\n", workload.name, workload.what);
    nodes_of(&mut out, nodes, all);
    launches(&mut out, plan);
    traffic(&mut out, plan);
    memory(&mut out, plan);
    out
}

/// Shader text of a launch.
fn wgsl(plan: &Plan, number: usize) -> Outcome<String> {
    let count = plan.launches.len();
    let launch =
        plan.launches.get(number).ok_or(format!("launch {number} is not one of {count}, from 0 on"))?;
    let shader = launch.kernel.shader()?;
    let mut out = format!("// {}\n// workgroups {:?}\n", launch.kernel.describe(), launch.kernel.groups());
    for (name, value) in &shader.constants {
        let _ = writeln!(out, "// {name} = {value}");
    }
    Ok(out + &shader.source + "\n")
}

fn nodes_of(out: &mut String, nodes: &[GraphNode], all: bool) {
    let given = nodes.iter().filter(|n| n.is_given).count();
    let _ = writeln!(out, "graph: {} nodes, {given} of them given", nodes.len());
    if all || nodes.len() <= NODES_SHOWN {
        for (k, node) in nodes.iter().enumerate() {
            let _ = writeln!(out, "  %{k:<4} {node}");
        }
    } else {
        let mut ops: BTreeMap<&str, usize> = BTreeMap::new();
        nodes.iter().filter(|n| !n.is_given).for_each(|n| *ops.entry(n.op).or_default() += 1);
        let mut ops: Vec<_> = ops.into_iter().collect();
        ops.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        let texts: Vec<String> = ops.iter().map(|(op, n)| format!("{n} {op}")).collect();
        out.push_str(&wrapped(&texts, 2));
        out.push_str("  (--graph lists them)\n");
    }
    out.push('\n');
}

/// Texts joined by commas, in lines of a terminal.
fn wrapped(texts: &[String], indent: usize) -> String {
    let mut out = String::new();
    let mut line = " ".repeat(indent);
    for (k, text) in texts.iter().enumerate() {
        if line.chars().count() + text.chars().count() > 98 {
            out += line.trim_end();
            out.push('\n');
            line = " ".repeat(indent);
        }
        line += text;
        line += if k + 1 < texts.len() { ", " } else { "" };
    }
    out + &line + "\n"
}

fn launches(out: &mut String, plan: &Plan) {
    let _ = writeln!(out, "launches: {}", plan.launches.len());
    let _ = writeln!(out, "  {:>4}  {:<56} {:>10} {:>10}  buffers", "", "kernel", "bytes", "flop");
    for (k, launch) in plan.launches.iter().enumerate() {
        let cost = launch.kernel.cost();
        let _ = writeln!(
            out,
            "  {k:>4}  {:<56} {:>10} {:>10}  {}",
            shortened(&launch.kernel.describe(), 56),
            bytes(cost.bytes as f64),
            flops(cost.flops as f64),
            buffers(launch)
        );
    }
    out.push_str("  buffers: i0 is a given one, s0 a slot; what follows the arrow is written\n\n");
}

fn name(place: Place) -> String {
    match place {
        Place::Input(k) => format!("i{k}"),
        Place::Slot(k) => format!("s{k}"),
    }
}

fn buffers(launch: &Launch) -> String {
    let args = launch.kernel.args();
    let of = |read: bool| {
        let bound = launch.buffers.iter().zip(&args);
        let picked =
            bound.filter(|(_, a)| if read { a.access == Access::Read } else { a.access != Access::Read });
        picked.map(|(place, _)| name(*place)).collect::<Vec<_>>().join(" ")
    };
    format!("{} → {}", of(true), of(false)).trim_start().to_string()
}

/// Bytes moved, and how few would do.
fn traffic(out: &mut String, plan: &Plan) {
    let cost = plan.cost();
    let (moved, least) = (cost.bytes as f64, cost.bytes_least as f64);
    let _ = writeln!(
        out,
        "traffic: {} moved, {} would do (what is given and what results, once): {:.2} times the least\nwork: {}",
        bytes(moved),
        bytes(least),
        moved / least.max(1.0),
        flops(cost.flops as f64)
    );
}

fn memory(out: &mut String, plan: &Plan) {
    let (lives, live) = (plan.lifetimes(), plan.live_bytes());
    let most = live.iter().copied().max().unwrap_or(0);
    let _ = writeln!(
        out,
        "memory: {} in {} slots beyond what is given; most alive at once {}",
        bytes(plan.peak_bytes() as f64),
        plan.slots.len(),
        bytes(most as f64)
    );
    let count = plan.launches.len();
    if count == 0 || plan.slots.is_empty() {
        return;
    }
    let width = PICTURE.min(count);
    let column = |step: usize| step * width / count;
    let mut slots: Vec<usize> = (0..plan.slots.len()).collect();
    slots.sort_by_key(|&slot| std::cmp::Reverse(plan.slots[slot]));
    for &slot in slots.iter().take(SLOTS_SHOWN) {
        let mut row = vec![' '; width];
        for (n, life) in lives.iter().filter(|l| l.slot == slot).enumerate() {
            // Neighbours in a slot are told apart by their shade.
            let shade = if n % 2 == 0 { '█' } else { '▒' };
            row[column(life.first)..=column(life.last.min(count - 1))].fill(shade);
        }
        let results = lives.iter().any(|l| l.slot == slot && l.last == count);
        let row: String = row.into_iter().collect();
        let end = if results { " result" } else { "" };
        let _ =
            writeln!(out, "  {:>6} {:>10} │{row}│{end}", format!("s{slot}"), bytes(plan.slots[slot] as f64));
    }
    if slots.len() > SLOTS_SHOWN {
        let rest: usize = slots[SLOTS_SHOWN..].iter().map(|&s| plan.slots[s]).sum();
        let more = slots.len() - SLOTS_SHOWN;
        let _ = writeln!(out, "  and {} smaller ones, together {}", count_of(more), bytes(rest as f64));
    }
    let end = if count > 1 { format!("{:>1$}", count - 1, width.saturating_sub(8)) } else { String::new() };
    let axis = format!("launch 0{end}");
    let _ = writeln!(out, "  {:17} └{axis}", "");
}

fn count_of(n: usize) -> String {
    count(n as f64)
}

impl From<TargetName> for Target {
    fn from(name: TargetName) -> Target {
        match name {
            TargetName::Native => Target::NATIVE,
            TargetName::Software => Target::SOFTWARE,
            TargetName::Card => Target::CARD,
            TargetName::Matrices => Target::MATRICES,
        }
    }
}
