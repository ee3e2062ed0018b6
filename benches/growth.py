#!/usr/bin/env python3
"""Draws time and memory against size: runs the program `growth` on devices and writes docs/pictures/growth.svg.

    cargo build --release --bin growth
    benches/growth.py cpu software

In place of a device, a file with what the program printed (`cpu.jsonl`). Needs matplotlib.
"""

import json
import os
import pathlib
import subprocess
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "growth"


def points(device):
    if device.endswith(".jsonl"):
        return [json.loads(line) for line in pathlib.Path(device).read_text().splitlines()]
    out = subprocess.run([PROGRAM, "--device", device, "--longest", "0.5"], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def main():
    devices = sys.argv[1:] or ["cpu", "software"]
    found = {device: points(device) for device in devices}
    names = list(dict.fromkeys(p["name"] for all_points in found.values() for p in all_points))
    # Text stays text, and the file is the same for the same numbers.
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "growth", "font.size": 8})
    figure, axes = plt.subplots(2, len(names), figsize=(2.6 * len(names), 4.6), squeeze=False)
    for column, name in enumerate(names):
        time, memory = axes[0][column], axes[1][column]
        for device, all_points in found.items():
            mine = [p for p in all_points if p["name"] == name]
            sizes = [p["size"] for p in mine]
            time.loglog(sizes, [p["ms"] for p in mine], "o-", markersize=3, linewidth=1, label=pathlib.Path(device).stem)
            memory.loglog(sizes, [p["bytes"] / 2**20 for p in mine], "o-", markersize=3, linewidth=1)
            memory.set_xlabel(mine[0]["unit"] if mine else "")
        time.set_title(name)
    axes[0][0].set_ylabel("ms")
    axes[1][0].set_ylabel("MiB of the plan")
    axes[0][0].legend(frameon=False)
    for axis in axes.flat:
        axis.minorticks_off()
        axis.grid(True, linewidth=0.3)
    figure.tight_layout()
    target = ROOT / "docs" / "pictures" / "growth.svg"
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Date": None, "Creator": None})
    for device, all_points in found.items():
        for p in all_points:
            print(f"{device:10} {p['name']:10} {p['size']:9} {p['ms']:12.3f} ms {p['bytes'] / 2**20:10.2f} MiB")
    print(target)


if __name__ == "__main__":
    main()
