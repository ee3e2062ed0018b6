//! What a run was started with, for the table of TensorBoard that compares runs by it.

use serde_json::Value;
use vorpal_autodiff::{Error, Result};

use super::TensorBoard;
use super::tensorboard::{Message, now};

/// The plugin of TensorBoard that reads these.
const PLUGIN: &[u8] = b"hparams";

impl TensorBoard {
    /// What the run was started with, from a text of JSON: numbers, texts and truth values by name, those of objects
    /// within behind the object's name and a dot. `metrics` are tags of scalars that runs are compared by.
    ///
    /// # Errors
    /// [`Error::Format`] for a text that is no JSON object, [`Error::Io`].
    pub fn hparams(&mut self, config: &str, metrics: &[String]) -> Result<()> {
        let config: Value =
            serde_json::from_str(config).map_err(|e| Error::format("hparams", e.to_string()))?;
        if !config.is_object() {
            return Err(Error::format("hparams", "the configuration is no JSON object"));
        }
        let mut found = Vec::new();
        collect("", &config, &mut found);
        self.session("_hparams_/experiment", |data| {
            data.message(2, |experiment| {
                for (name, value) in &found {
                    experiment.message(4, |info| {
                        info.bytes(1, name.as_bytes());
                        info.number(4, kind(value));
                    });
                }
                for tag in metrics {
                    experiment.message(5, |info| info.message(1, |name| name.bytes(2, tag.as_bytes())));
                }
                experiment.double(3, now());
            });
        })?;
        self.session("_hparams_/session_start_info", |data| {
            data.message(3, |start| {
                for (name, value) in &found {
                    start.message(1, |entry| {
                        entry.bytes(1, name.as_bytes());
                        entry.message(2, |v| number_or_text(v, value));
                    });
                }
                start.double(5, now());
            });
        })
    }

    /// The run has come to its end.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn end_of_session(&mut self) -> Result<()> {
        // 1 stands for success.
        self.session("_hparams_/session_end_info", |data| {
            data.message(4, |end| {
                end.number(1, 1);
                end.double(2, now());
            });
        })
    }

    /// A value that is nothing but the plugin's data.
    fn session(&mut self, tag: &str, fill: impl FnOnce(&mut Message)) -> Result<()> {
        let mut data = Message::default();
        fill(&mut data);
        self.value(tag, 0, |v| {
            // One float of 0: readers want a tensor.
            v.message(8, |tensor| {
                tensor.number(1, 1);
                tensor.message(2, |shape| shape.message(2, |axis| axis.number(1, 1)));
                tensor.bytes(5, &0.0f32.to_le_bytes());
            });
            v.message(9, |meta| {
                meta.message(1, |plugin| {
                    plugin.bytes(1, PLUGIN);
                    plugin.bytes(2, &data.0);
                });
            });
        })
    }
}

/// Numbers, texts and truth values by name.
fn collect(path: &str, value: &Value, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(entries) => {
            entries.iter().for_each(|(name, value)| collect(&crate::join(path, name), value, out));
        }
        Value::Array(_) | Value::Null => {}
        plain => out.push((path.to_string(), plain.clone())),
    }
}

/// The plugin's number of a type.
fn kind(value: &Value) -> u64 {
    match value {
        Value::Bool(_) => 2,
        Value::Number(_) => 3,
        _ => 1,
    }
}

/// A `google.protobuf.Value`.
fn number_or_text(out: &mut Message, value: &Value) {
    match value {
        Value::Bool(on) => out.number(4, u64::from(*on)),
        Value::Number(n) => out.double(2, n.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => out.bytes(3, text.as_bytes()),
        other => out.bytes(3, other.to_string().as_bytes()),
    }
}
