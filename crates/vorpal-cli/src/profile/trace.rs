//! The profile as a trace that Chrome and Perfetto show.

use serde_json::{Value, json};

use super::Report;

/// One step, its launches end to end with their median times.
pub fn json(report: &Report) -> String {
    let mut start = 0.0;
    let mut events: Vec<Value> = vec![
        json!({ "name": "process_name", "ph": "M", "pid": 1, "args": { "name": report.device } }),
        json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": { "name": report.name } }),
    ];
    for launch in &report.launches {
        events.push(json!({
            "name": launch.kernel,
            "cat": "launch",
            "ph": "X",
            "pid": 1,
            "tid": 1,
            // Microseconds.
            "ts": start * 1e6,
            "dur": launch.time * 1e6,
            "args": {
                "launch": launch.number,
                "kernel": launch.text,
                "bytes": launch.cost.bytes,
                "flops": launch.cost.flops,
                "bytes per second": launch.bytes_per_second(),
                "flops per second": launch.flops_per_second(),
            },
        }));
        start += launch.time;
    }
    let other = json!({
        "workload": report.what,
        "step seconds": report.step,
        "bytes per second at best": report.ceilings.bytes,
        "flops per second at best": report.ceilings.flops,
    });
    json!({ "traceEvents": events, "displayTimeUnit": "ms", "otherData": other }).to_string()
}
