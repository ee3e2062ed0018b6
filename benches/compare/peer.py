"""What the peers written in Python have in common: a step is timed and told as benches/src/measure.rs does it."""

import argparse
import json
import resource
import sys
import time

START = time.perf_counter()

STEPS_MIN = 10
PATIENCE_SECONDS = 30.0
WARM_UP = 2


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--mode", default="")
    return parser.parse_args()


def unable(peer, args, reason):
    """Says that a peer cannot do a workload."""
    print(json.dumps({"peer": peer, "device": args.device, "workload": args.workload, "unable": reason}))
    sys.exit(0)


def run(peer, args, step):
    """Repeats a step that waits for its own end, and prints a line of JSON."""
    step()
    begun = time.perf_counter()
    first = begun - START
    tenth, times, done = None, [], 1
    while True:
        spent = time.perf_counter() - begun
        if times and not (spent < args.seconds or (done < STEPS_MIN and spent < PATIENCE_SECONDS)):
            break
        start = time.perf_counter()
        step()
        end = time.perf_counter()
        done += 1
        if done > WARM_UP:
            times.append(end - start)
        if done == 10:
            tenth = end - START
    times.sort()
    ms = lambda t: None if t is None else round(1e3 * t, 4)
    print(
        json.dumps(
            {
                "peer": peer,
                "device": args.device,
                "workload": args.workload,
                "first_ms": ms(first),
                "tenth_ms": ms(tenth),
                "median_ms": ms(times[len(times) // 2]),
                "min_ms": ms(times[0]),
                "max_ms": ms(times[-1]),
                "steps": len(times),
                "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            }
        )
    )
