//! Numbers for people.

/// A number with three digits and the prefix of its size, `step` to the next prefix.
fn scaled(value: f64, step: f64, prefixes: &[&str]) -> String {
    let mut value = value;
    let mut k = 0;
    while value.abs() >= step && k + 1 < prefixes.len() {
        value /= step;
        k += 1;
    }
    let digits = if k == 0 && value.fract() == 0.0 || value.abs() >= 99.95 {
        0
    } else if value.abs() >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{}", prefixes[k])
}

/// Bytes: `3.20 MiB`.
pub fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

/// Operations, or a number of anything: `3.20 G`.
pub fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", " K", " M", " G", " T", " P"])
}

/// Floating point operations: `3.20 Gflop`.
pub fn flops(value: f64) -> String {
    scaled(value, 1000.0, &[" flop", " Kflop", " Mflop", " Gflop", " Tflop", " Pflop"])
}

/// Seconds: `3.20 ms`.
pub fn seconds(value: f64) -> String {
    if value >= 1.0 {
        scaled(value, 1e9, &[" s"])
    } else {
        scaled(value * 1e9, 1000.0, &[" ns", " µs", " ms", " s"])
    }
}

/// A text of at most `width` characters, its end left out where it is longer.
pub fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        let texts = [bytes(0.0), bytes(1023.0), bytes(1024.0), bytes(3.2 * 1048576.0), bytes(1e9)];
        assert_eq!(texts, ["0 B", "1023 B", "1.00 KiB", "3.20 MiB", "954 MiB"]);
        let times =
            [seconds(0.0), seconds(1.5e-7), seconds(2.5e-5), seconds(0.0123), seconds(1.5), seconds(61.0)];
        assert_eq!(times, ["0 ns", "150 ns", "25.0 µs", "12.3 ms", "1.50 s", "61 s"]);
        assert_eq!(flops(2.15e9), "2.15 Gflop");
        assert_eq!(shortened("abcdef", 4), "abc…");
    }
}
