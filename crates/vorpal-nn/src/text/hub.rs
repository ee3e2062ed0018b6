//! Files of models from the Hugging Face hub.

use std::path::PathBuf;

use hf_hub::api::sync::ApiBuilder;
use vorpal_autodiff::{Error, Result};

/// A file of a model on the Hugging Face hub, such as `tokenizer.json` of `sentence-transformers/all-MiniLM-L6-v2`: its place
/// in the hub's folder on this machine (`HF_HOME`), where it is put when it is not there (feature `hub`).
///
/// # Errors
/// [`Error::Io`] that names model and file when it is not here and cannot be fetched, as without a network.
pub fn hub_file(model: &str, file: &str) -> Result<PathBuf> {
    let fetched = ApiBuilder::from_env()
        .with_progress(false)
        .build()
        .and_then(|api| api.model(model.to_string()).get(file));
    fetched.map_err(|e| Error::Io {
        path: format!("https://huggingface.co/{model}/{file}"),
        message: format!("not on this machine and not fetched: {e}"),
    })
}
