#!/usr/bin/env python3
"""Runs the workloads of Vorpal on Vorpal and on other frameworks, side by side, and writes a table.

    benches/compare/compare.py --build            # once: builds Vorpal and the peers written in Rust
    benches/compare/compare.py                    # everything this machine can run
    benches/compare/compare.py --docs             # the same, with the tables into docs/performance.md
    benches/compare/compare.py --device cpu --peers pytorch candle --workloads mlp_step cnn_step --rounds 5

Every measurement is a process of its own. A round runs each workload on each peer, one after the other; a ratio is the
median over the rounds of (time of the peer / time of Vorpal) within a round. See README.md beside this file.
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
STEPS = ["mlp_step", "cnn_step", "gpt_step", "resnet18_step", "lstm_step"]
OPS = [
    "matmul_512",
    "matmul_1024",
    "matmul_2048",
    "matmul_batched_16x256",
    "gemv_4096",
    "matmul_4096x64x4096",
    "chain_4m",
    "softmax",
    "layer_norm",
    "sum",
    "sum_rows",
    "conv",
    "resnet_block",
    "attention_512",
    "attention_4096",
]
# What only graphics cards do in reasonable time.
LARGE = ["gpt2_step", "matmul_4096", "matmul_8192", "matmul_4096_f16", "matmul_8192_f16", "chain_64m"]
RUST_PEERS = ["burn", "candle", "meganeura"]
PYTHON_PEERS = {"pytorch": [], "pytorch-compile": ["--mode", "compile"], "tinygrad": []}
# What is compared where. A peer is asked for everything that is chosen and says what it cannot do.
PEERS = {
    "cpu": ["pytorch", "pytorch-compile", "burn", "candle", "tinygrad"],
    "software": ["burn", "meganeura", "tinygrad"],
    "gpu": ["pytorch", "pytorch-compile", "burn", "meganeura", "tinygrad"],
}
# Of these peers only what takes part in a bar is run, unless workloads are named.
CHOSEN = {
    ("cpu", "burn"): STEPS,
    ("cpu", "candle"): STEPS + ["matmul_1024"],
    ("cpu", "pytorch-compile"): ["chain_4m", "mlp_step", "cnn_step", "gpt_step"],
    ("software", "burn"): ["matmul_1024", "softmax", "layer_norm", "conv", "attention_512", *STEPS[:3]],
    ("software", "meganeura"): STEPS[:3],
}
# (device, workload, peer or a rate in GFLOP/s): at least this many times as fast, or as many.
BARS = {
    **{("cpu", step, "pytorch"): 1.0 for step in STEPS},
    ("cpu", "chain_4m", "pytorch"): 2.5,
    ("cpu", "softmax", "pytorch"): 1.0,
    ("cpu", "layer_norm", "pytorch"): 1.0,
    ("cpu", "matmul_1024", "pytorch"): 0.95,
    ("cpu", "matmul_1024", "candle"): 0.95,
    **{("cpu", step, peer): 2.0 for peer in ["burn", "candle"] for step in STEPS[:3]},
    ("software", "matmul_1024", "GFLOP/s"): 20.0,
    ("software", "mlp_step", "burn"): 2.0,
    ("software", "cnn_step", "burn"): 3.0,
    ("software", "gpt_step", "burn"): 3.0,
    ("software", "softmax", "burn"): 4.0,
    ("software", "layer_norm", "burn"): 4.0,
    ("software", "conv", "burn"): 2.0,
    ("software", "attention_512", "burn"): 2.0,
    **{("software", step, "meganeura"): 3.0 for step in STEPS[:3]},
    # From the start of the process, with cold caches.
    **{("software", step, "burn, tenth step"): 10.0 for step in STEPS[:3]},
    ("software", "cnn_step", "ms to the first step"): 3000.0,
    ("software", "cnn_step", "ms to the first step, warm caches"): 1000.0,
    ("gpu", "gpt2_step", "pytorch"): 0.5,
}
# The tables stand between these lines of docs/performance.md.
MARKS = ["<!-- tables of benches/compare/compare.py -->", "<!-- end of the tables -->"]


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", action="store_true", help="build what is measured, and stop")
    parser.add_argument("--device", nargs="+", choices=list(PEERS), default=["cpu", "software"])
    parser.add_argument("--peers", nargs="*", help="only these")
    parser.add_argument("--workloads", nargs="+", help="only these, or parts of their names, on every peer")
    parser.add_argument("--rounds", type=int, default=3, help="at most")
    parser.add_argument("--seconds", type=float, default=0.7, help="how long a process repeats its workload")
    parser.add_argument("--minutes", type=float, default=14.0, help="no process starts later; devices share them")
    parser.add_argument("--timeout", type=float, default=200.0, help="of a process, in seconds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--target", default="/tmp/peers", help="folder for what the peers build")
    parser.add_argument("--python", default="/opt/peers/bin/python", help="a Python with torch and tinygrad")
    parser.add_argument("--vorpal", default=None, help="the program `workloads`")
    parser.add_argument("--prefix", default="", help="a command to start every process with, such as `nice -n -5`")
    parser.add_argument("--out", default=str(ROOT / "target" / "compare"), help="of the tables, without .md and .json")
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/performance.md")
    return parser.parse_args()


def build(args):
    """Vorpal from the whole workspace, so that features are those of every other build; the peers one by one."""
    subprocess.run(["cargo", "build", "--release", "--bin", "workloads"], cwd=ROOT, check=True)
    for peer in RUST_PEERS:
        env = {**os.environ, "CARGO_TARGET_DIR": f"{args.target}/{peer}"}
        done = subprocess.run(["nice", "-n", "15", "cargo", "build", "--release"], cwd=HERE / peer, env=env)
        if done.returncode != 0:
            print(f"{peer} is left out: it does not build here", file=sys.stderr)


def command(args, peer, device, workload):
    """What runs a workload, or None where the peer is not built."""
    if peer == "vorpal":
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        program = [args.vorpal or str(target / "release" / "workloads"), "--json"]
    elif peer in RUST_PEERS:
        program = [f"{args.target}/{peer}/release/peer-{peer}"]
    else:
        program = [args.python, str(HERE / f"peer_{peer.removesuffix('-compile')}.py"), *PYTHON_PEERS[peer]]
    if not pathlib.Path(program[0]).exists():
        return None
    return [*shlex.split(args.prefix), *program, workload, "--device", device, "--seconds", str(args.seconds)]


def environment(args, home):
    """The same threads for everyone, and caches of their own that are empty at first."""
    threads = str(args.threads)
    names = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS", "CPU_COUNT"]
    caches = {"HOME": str(home), "XDG_CACHE_HOME": f"{home}/cache", "TORCHINDUCTOR_CACHE_DIR": f"{home}/inductor"}
    return {**os.environ, **dict.fromkeys(names, threads), **caches}


def measure(args, peer, device, workload, home):
    run = command(args, peer, device, workload)
    if run is None:
        return {"unable": "not built"}
    home.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            run, cwd=home, env=environment(args, home), capture_output=True, text=True, timeout=args.timeout
        )
    except subprocess.TimeoutExpired:
        return {"unable": f"not done within {args.timeout:.0f} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if lines:
        return json.loads(lines[-1])
    said = (done.stderr or done.stdout).strip().splitlines() or [f"ended with {done.returncode}"]
    return {"unable": said[-1][:160]}


def workloads(device):
    return STEPS + OPS + (LARGE if device == "gpu" else [])


def chosen(args, device, peer, workload):
    if args.workloads:
        return any(name in workload for name in args.workloads)
    return workload in CHOSEN.get((device, peer), workloads(device))


def run(args):
    """Results by (device, workload, peer): a list with one entry for each round."""
    found, start = {}, time.monotonic()
    homes = pathlib.Path(tempfile.mkdtemp(prefix="compare-"))
    try:
        for place, device in enumerate(args.device):
            # What a device leaves of its share is for the next.
            deadline = start + 60 * args.minutes * (place + 1) / len(args.device)
            for number in range(args.rounds):
                run_round(args, device, number, deadline, homes, found)
    finally:
        shutil.rmtree(homes, ignore_errors=True)
    return found


def run_round(args, device, number, deadline, homes, found):
    """Every workload on every peer, once."""
    peers = [p for p in PEERS[device] if args.peers is None or p in args.peers]
    for workload in workloads(device):
        for peer in ["vorpal", *peers]:
            if not chosen(args, device, peer, workload):
                continue
            entries = found.setdefault((device, workload, peer), [])
            if time.monotonic() > deadline or any("unable" in entry for entry in entries):
                continue
            entry = measure(args, peer, device, workload, homes / peer / device)
            entries.append(entry)
            result = f"{entry['median_ms']:.3f} ms" if "median_ms" in entry else entry["unable"]
            print(f"round {number + 1} {device:9} {workload:22} {peer:16} {result}", file=sys.stderr)


def summary(entries):
    """One line of the rounds of a workload on a peer; None where there is none."""
    good = [entry for entry in entries if "median_ms" in entry]
    if not good:
        return None
    return {
        "median_ms": statistics.median(entry["median_ms"] for entry in good),
        "min_ms": min(entry["min_ms"] for entry in good),
        "max_ms": max(entry["max_ms"] for entry in good),
        "first_ms": good[0]["first_ms"],
        "warm_first_ms": good[-1]["first_ms"] if len(good) > 1 else None,
        "tenth_ms": good[0].get("tenth_ms"),
        "peak_mib": max(entry["peak_mib"] or 0.0 for entry in good),
        "gflops": next((e["gflops"] for e in good if e.get("gflops")), None),
        "rounds": len(good),
    }


def ratio(ours, theirs, key="median_ms"):
    """How many times as long a peer takes, round by round."""
    pairs = [(a.get(key), b.get(key)) for a, b in zip(ours, theirs)]
    ratios = [b / a for a, b in pairs if a and b]
    return statistics.median(ratios) if ratios else None


def digits(value):
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---" if k == 0 else "---:" for k in range(len(head))) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def device_tables(device, found, notes):
    peers = list(dict.fromkeys(p for d, _, p in found if d == device and p != "vorpal"))
    names = [w for w in workloads(device) if (device, w, "vorpal") in found]
    times, firsts = [], []
    for workload in names:
        ours = found[(device, workload, "vorpal")]
        own = summary(ours)
        row = [workload]
        row.append(f"{digits(own['median_ms'])} ({digits(own['min_ms'])}–{digits(own['max_ms'])})" if own else "–")
        first = [workload] + ([digits(own[key]) for key in ("first_ms", "warm_first_ms", "tenth_ms", "peak_mib")] if own else ["–"] * 4)
        for peer in peers:
            theirs = found.get((device, workload, peer), [])
            other = summary(theirs)
            if other is None:
                reason = theirs[0]["unable"] if theirs else None
                if reason and reason != "not written for this peer":
                    notes.add(f"{peer}, {device}, {workload}: {reason}")
                row.append("–")
                first += ["–"] * 2
                continue
            times_as_long = ratio(ours, theirs)
            row.append(f"{digits(other['median_ms'])} ({digits(other['min_ms'])}–{digits(other['max_ms'])}), **{digits(times_as_long)}x**")
            first += [digits(other["tenth_ms"]), digits(other["peak_mib"])]
        times.append(row)
        firsts.append(first)
    head = ["first", "first, warm caches", "tenth", "MiB"]
    others = [f"{peer} {what}" for peer in peers for what in ("tenth", "MiB")]
    return [
        f"### {device}: median step in ms (shortest–longest), and how many times Vorpal's",
        table(["workload", "vorpal", *peers], times),
        f"### {device}: ms from the start of the process to the first and tenth finished step, and most memory",
        table(["workload", *(f"vorpal {what}" for what in head), *others], firsts),
    ]


def bar_table(found):
    rows = []
    for (device, workload, peer), wanted in BARS.items():
        ours = found.get((device, workload, "vorpal"), [])
        if not ours:
            continue
        if peer == "GFLOP/s":
            rates = [entry["gflops"] for entry in ours if entry.get("gflops")]
            value = statistics.median(rates) if rates else None
        elif peer.startswith("ms to the first"):
            value = first(ours, warm="warm" in peer)
        elif peer.endswith(", tenth step"):
            theirs = found.get((device, workload, peer.removesuffix(", tenth step")), [])
            # Who has not come so far has taken longer than to the first step at least.
            least = [{"tenth_ms": entry.get("tenth_ms") or entry.get("first_ms")} for entry in theirs[:1]]
            value = ratio(ours[:1], least, "tenth_ms")
        else:
            value = ratio(ours, found.get((device, workload, peer), []))
        at_most = peer.startswith("ms ")
        held = value is not None and (value <= wanted if at_most else value >= wanted)
        verdict = "–" if value is None else "yes" if held else "**no**"
        bound = ("≤ " if at_most else "≥ ") + digits(wanted)
        rows.append([f"{device} {workload}", peer, bound, digits(value), verdict])
    return table(["bar", "against", "wanted", "found", "held"], rows)


def first(entries, warm):
    """ms to the first step of the first round, which has cold caches, or of the last."""
    times = [entry["first_ms"] for entry in entries if "first_ms" in entry]
    return (times[-1] if len(times) > 1 else None) if warm else times[0] if times else None


def machine(args):
    cpu = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    name = cpu[0] if cpu else "a processor"
    return f"{name}, {args.threads} threads; {time.strftime('%Y-%m-%d')}, commit {commit.stdout.strip()}."


def write(args, found):
    out = pathlib.Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    # What took so long to measure is kept before anything is made of it.
    flat = [{"device": d, "workload": w, "peer": p, "rounds": r} for (d, w, p), r in found.items()]
    out.with_suffix(".json").write_text(json.dumps(flat, indent=1) + "\n")
    notes = set()
    parts = [machine(args), bar_table(found)]
    for device in args.device:
        parts += device_tables(device, found, notes)
    if notes:
        parts.append("Left out: " + "; ".join(sorted(notes)) + ".")
    text = "\n\n".join(parts) + "\n"
    out.with_suffix(".md").write_text(text)
    if args.docs:
        page = ROOT / "docs" / "performance.md"
        before, rest = page.read_text().split(MARKS[0])
        page.write_text(before + MARKS[0] + "\n\n" + text + "\n" + MARKS[1] + rest.split(MARKS[1])[1])
    print(text)


def main():
    args = options()
    if args.build:
        return build(args)
    write(args, run(args))


if __name__ == "__main__":
    main()
