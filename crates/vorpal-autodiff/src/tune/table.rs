//! Choices that were measured on this machine, by adapter and driver.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::{Map, Value, json};
use vorpal_kernels::Kernel;
use vorpal_tensor::{DeviceInfo, Result, read_cached, stable_hash, write_cached};

/// Choices kept for an adapter. The oldest ones go.
const CHOICES_MAX: usize = 4096;

/// A longer file is none of ours.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a file must say to be read.
const FORMAT: u64 = 1;

/// Identity of a launch's GPU code: equal numbers, equal work. Kernels whose shaders change are other kernels.
///
/// # Errors
/// That of [`Kernel::shader`].
pub fn signature(kernel: &dyn Kernel) -> Result<u64> {
    let shader = kernel.shader()?;
    let mut rest = Vec::new();
    for (name, value) in &shader.constants {
        rest.extend_from_slice(name.as_bytes());
        rest.extend_from_slice(&value.to_bits().to_le_bytes());
    }
    for arg in kernel.args() {
        rest.extend_from_slice(&(arg.len as u64).to_le_bytes());
    }
    kernel.groups().iter().for_each(|g| rest.extend_from_slice(&g.to_le_bytes()));
    Ok(stable_hash(&[kernel.name().as_bytes(), shader.source.as_bytes(), &rest]))
}

/// A choice that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The kernel, for people.
    pub kernel: String,
    /// Signature of the variant that was the fastest.
    pub variant: u64,
    /// That variant, for people.
    pub name: String,
    /// Microseconds of the default and of the choice.
    pub times_us: [f64; 2],
}

/// The choices for an adapter, by the signature of the default kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    choices: HashMap<u64, (u64, Choice)>,
    newest: u64,
}

impl Table {
    /// Reads the choices for an adapter; none where there is no file, or one that makes no sense.
    pub fn load(info: &DeviceInfo) -> Table {
        let bytes = read_cached(&file(info), FILE_BYTES_MAX);
        bytes.and_then(|bytes| Table::parse(&bytes)).unwrap_or_default()
    }

    /// The choices in the text of a file; `None` for another file, a broken or a foreign one.
    pub fn parse(bytes: &[u8]) -> Option<Table> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        if value["format"].as_u64() != Some(FORMAT) {
            return None;
        }
        let mut table = Table::default();
        for (key, entry) in value["choices"].as_object()? {
            let number = |text: &str| u64::from_str_radix(text, 16).ok();
            let time = |name: &str| entry[name].as_f64().filter(|t| t.is_finite() && *t >= 0.0);
            let choice = Choice {
                kernel: entry["kernel"].as_str()?.to_string(),
                variant: number(entry["variant"].as_str()?)?,
                name: entry["name"].as_str()?.to_string(),
                times_us: [time("default_us")?, time("chosen_us")?],
            };
            let age = entry["number"].as_u64()?;
            table.newest = table.newest.max(age);
            table.choices.insert(number(key)?, (age, choice));
        }
        Some(table)
    }

    /// As the text of a file.
    pub fn text(&self, info: &DeviceInfo) -> String {
        let mut choices = Map::new();
        for (key, (age, choice)) in &self.choices {
            let entry = json!({
                "kernel": choice.kernel,
                "variant": format!("{:016x}", choice.variant),
                "name": choice.name,
                "default_us": choice.times_us[0],
                "chosen_us": choice.times_us[1],
                "number": age,
            });
            choices.insert(format!("{key:016x}"), entry);
        }
        let all =
            json!({ "format": FORMAT, "adapter": info.name, "driver": info.driver, "choices": choices });
        format!("{all:#}\n")
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }

    /// The choice for a kernel.
    pub fn get(&self, signature: u64) -> Option<&Choice> {
        self.choices.get(&signature).map(|(_, choice)| choice)
    }

    /// Remembers a choice.
    pub fn insert(&mut self, signature: u64, choice: Choice) {
        self.newest += 1;
        self.choices.insert(signature, (self.newest, choice));
        if self.choices.len() > CHOICES_MAX
            && let Some(oldest) = self.choices.iter().min_by_key(|(_, (age, _))| *age).map(|(k, _)| *k)
        {
            self.choices.remove(&oldest);
        }
    }

    /// Writes a file without choices for an adapter.
    ///
    /// # Errors
    /// [`Error::Io`](vorpal_tensor::Error::Io).
    pub fn forget(info: &DeviceInfo) -> Result<()> {
        write_cached(&file(info), Table::default().text(info).as_bytes())
    }

    /// Writes new choices to the file of an adapter, beside those that other processes have written since.
    ///
    /// # Errors
    /// [`Error::Io`](vorpal_tensor::Error::Io).
    pub fn save(new: &[(u64, Choice)], info: &DeviceInfo) -> Result<()> {
        let mut table = Table::load(info);
        new.iter().for_each(|(signature, choice)| table.insert(*signature, choice.clone()));
        write_cached(&file(info), table.text(info).as_bytes())
    }
}

/// The file of an adapter.
fn file(info: &DeviceInfo) -> String {
    format!("tune-{:016x}.json", info.fingerprint())
}

/// The tables of the adapters this process uses, read at their first use.
pub fn tables() -> MutexGuard<'static, HashMap<u64, Table>> {
    static TABLES: OnceLock<Mutex<HashMap<u64, Table>>> = OnceLock::new();
    TABLES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vorpal_tensor::Device;

    fn choice(k: u64) -> Choice {
        Choice {
            kernel: format!("kernel {k}"),
            variant: k + 1,
            name: format!("kernel {k} another way"),
            times_us: [2.0 + k as f64, 1.5],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut table = Table::default();
        (0..10).for_each(|k| table.insert(k << 60 | k, choice(k)));
        let text = table.text(Device::cpu().info());
        assert_eq!(Table::parse(text.as_bytes()), Some(table));
    }

    #[test]
    fn other_files_are_no_tables() {
        let mut table = Table::default();
        table.insert(1, choice(1));
        let text = table.text(Device::cpu().info());
        for broken in [
            "",
            "{}",
            "[1]",
            &text[..text.len() / 2],
            &text.replace("\"format\": 1", "\"format\": 2"),
            &text.replace("\"variant\": \"", "\"variant\": \"-"),
            &text.replace("\"chosen_us\": ", "\"chosen_us\": -"),
        ] {
            assert_eq!(Table::parse(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn the_oldest_choices_go() {
        let mut table = Table::default();
        (0..CHOICES_MAX as u64 + 3).for_each(|k| table.insert(k, choice(k)));
        assert_eq!(table.choices.len(), CHOICES_MAX);
        assert!(table.get(2).is_none() && table.get(3).is_some());
    }
}
