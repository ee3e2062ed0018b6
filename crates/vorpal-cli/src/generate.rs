//! `vorpal generate`.

use std::io::Write;

use vorpal::autodiff::philox_word;
use vorpal::nn::load;
use vorpal::nn::trainer::RunDir;
use vorpal::prelude::*;
use vorpal::zoo::Gpt;
use vorpal::zoo::transformer::gpt_options;

use crate::Outcome;
use crate::config::Config;
use crate::options::Generate;

pub fn run(options: &Generate) -> Outcome<()> {
    let run = options.from.display();
    let config = Config::read(&options.from)?.ok_or_else(|| format!("{run} holds no run"))?;
    if config.model != "gpt" {
        return Err(format!("the run in {run} trains {}, not gpt", config.model).into());
    }
    if options.prompt.is_empty() {
        return Err("the prompt is empty: there is nothing to go on with".into());
    }
    let device = crate::device(options.device.as_deref())?;
    let size = |name: &str| {
        let missing = || Error::format(format!("config.json of {run}"), format!("has no size \"{name}\""));
        config.sizes.get(name).copied().ok_or_else(missing)
    };
    let mut model = Gpt::new(gpt_options(size)?, &device);
    load(&mut model, RunDir::weights(&options.from))?;
    model.train(false);
    let prompt: Vec<u32> = options.prompt.bytes().map(u32::from).collect();
    let mut out = Utf8::default();
    out.print(options.prompt.as_bytes());
    let mut count = 0;
    model.generate(&prompt, options.tokens, &device, |logits| {
        let word = philox_word(count, [options.seed as u32, (options.seed >> 32) as u32], [0, 0]);
        count += 1;
        let token = pick(logits, options.temperature, f64::from(word) / 4_294_967_296.0);
        out.print(&[token as u8]);
        token
    })?;
    out.print(b"\n");
    Ok(())
}

/// A class by its logits: `dice` in 0..1 falls on each with its probability.
fn pick(logits: &[f32], temperature: f64, dice: f64) -> u32 {
    let largest = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0);
    if temperature == 0.0 {
        return largest as u32;
    }
    let top = f64::from(logits.get(largest).copied().unwrap_or(0.0));
    let weights: Vec<f64> = logits.iter().map(|&l| ((f64::from(l) - top) / temperature).exp()).collect();
    let mut rest = dice * weights.iter().sum::<f64>();
    for (class, weight) in weights.iter().enumerate() {
        rest -= weight;
        if rest < 0.0 {
            return class as u32;
        }
    }
    largest as u32
}

/// Prints bytes as text, each character once it is whole.
#[derive(Default)]
struct Utf8(Vec<u8>);

impl Utf8 {
    fn print(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let mut text = String::new();
        while !self.0.is_empty() {
            let (whole, broken) = match std::str::from_utf8(&self.0) {
                Ok(_) => (self.0.len(), None),
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            text.push_str(&String::from_utf8_lossy(&self.0[..whole]));
            let skipped = broken.unwrap_or(0);
            self.0.drain(..whole + skipped);
            if skipped == 0 {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
        }
        let mut out = std::io::stdout();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            // Nobody reads any more.
            std::process::exit(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pick;

    #[test]
    fn the_dice_fall_by_probability() {
        let logits = [0.0, (3.0f32).ln(), f32::NEG_INFINITY];
        let picked = |dice| pick(&logits, 1.0, dice);
        assert_eq!([picked(0.0), picked(0.24), picked(0.26), picked(0.9999)], [0, 0, 1, 1]);
        assert_eq!(pick(&logits, 0.0, 0.0), 1);
        assert_eq!(pick(&logits, 0.01, 1e-9), 1, "cold dice hardly fall elsewhere");
    }
}
