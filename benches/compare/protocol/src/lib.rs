//! What the peers written in Rust have in common: a step is timed and told as `benches/src/measure.rs` does it.
//! No dependencies: every peer has its own versions of everything.

use std::time::{Duration, Instant};

const STEPS_MIN: usize = 10;
const PATIENCE: Duration = Duration::from_secs(30);
const WARM_UP: usize = 2;

/// What the driver asks a peer for.
pub struct Request {
    /// Name of the workload.
    pub workload: String,
    /// `cpu`, `software` or `gpu`.
    pub device: String,
    /// How long it is repeated.
    pub time: Duration,
    peer: String,
    start: Instant,
}

/// Does a workload once and waits for its end.
pub type Step = Box<dyn FnMut()>;

impl Request {
    /// Reads the command line: `WORKLOAD --device DEVICE --seconds SECONDS`. The clock starts here.
    pub fn of(peer: &str) -> Request {
        let mut out = Request {
            workload: String::new(),
            device: "cpu".into(),
            time: Duration::from_secs(2),
            peer: peer.into(),
            start: Instant::now(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--device" => out.device = arguments.next().expect("a device"),
                "--seconds" => {
                    let seconds = arguments.next().expect("seconds");
                    out.time = Duration::from_secs_f64(seconds.parse().expect("a number"));
                }
                _ => out.workload = argument,
            }
        }
        out
    }

    /// Repeats the step and prints a line of JSON.
    pub fn run(&self, mut step: Step) {
        step();
        let begun = Instant::now();
        let first = begun - self.start;
        let (mut tenth, mut times, mut done) = (None, Vec::new(), 1);
        let more = |done: usize, spent: Duration| spent < self.time || (done < STEPS_MIN && spent < PATIENCE);
        while times.is_empty() || more(done, begun.elapsed()) {
            let from = Instant::now();
            step();
            done += 1;
            if done > WARM_UP {
                times.push(from.elapsed());
            }
            if done == 10 {
                tenth = Some(self.start.elapsed());
            }
        }
        times.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
        println!(
            "{{\"peer\":{:?},\"device\":{:?},\"workload\":{:?},\"first_ms\":{:.3},\"tenth_ms\":{},\"median_ms\":{:.4},\
             \"min_ms\":{:.4},\"max_ms\":{:.4},\"steps\":{},\"peak_mib\":{:.1}}}",
            self.peer,
            self.device,
            self.workload,
            ms(first),
            tenth.map_or("null".into(), |t| format!("{:.3}", ms(t))),
            ms(times[times.len() / 2]),
            ms(times[0]),
            ms(times[times.len() - 1]),
            times.len(),
            peak.unwrap_or(0.0) / 1024.0,
        );
    }

    /// Says that the peer cannot do the workload.
    pub fn unable(&self, reason: &str) {
        println!(
            "{{\"peer\":{:?},\"device\":{:?},\"workload\":{:?},\"unable\":{reason:?}}}",
            self.peer, self.device, self.workload
        );
    }
}
