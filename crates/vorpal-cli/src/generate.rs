//! `vorpal generate`.

use std::io::Write;

use vorpal::nn::load;
use vorpal::nn::trainer::RunDir;
use vorpal::prelude::*;
use vorpal::zoo::Gpt;
use vorpal::zoo::transformer::{Sampling, gpt_options};

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
    let sampling = Sampling { temperature: options.temperature, seed: options.seed, ..Sampling::default() };
    let mut count = 0;
    model.generate(&prompt, options.tokens, &device, |logits| {
        let token = sampling.pick(logits, count);
        count += 1;
        out.print(&[token as u8]);
        token
    })?;
    out.print(b"\n");
    Ok(())
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
