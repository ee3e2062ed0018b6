//! What a file has, what is asked for, and how they differ.

use vorpal_autodiff::{DType, Error, Result, Shape};

/// A tensor of a file.
pub(crate) struct Found<'a> {
    /// Its elements.
    pub bytes: &'a [u8],
    /// Whether it is as it is asked for.
    pub fits: bool,
    /// Dtype and shape, for people.
    pub is: String,
}

/// How the tensors of a file differ from those that are asked for.
#[derive(Default)]
pub(super) struct Misfits {
    missing: Vec<String>,
    mismatched: Vec<String>,
    /// What nobody asked for, and whether that is an error by itself.
    unexpected: (Vec<String>, bool),
    found: usize,
}

impl Misfits {
    /// The elements of a tensor that is there as it is asked for; notes it otherwise.
    pub fn look<'a>(
        &mut self,
        name: &str,
        found: Option<Found<'a>>,
        dtype: DType,
        shape: &Shape,
    ) -> Option<&'a [u8]> {
        let Some(found) = found else {
            self.missing.push(name.to_string());
            return None;
        };
        self.found += 1;
        if !found.fits {
            self.mismatched.push(format!("{name} is {}, not {dtype}{shape}", found.is));
        }
        found.fits.then_some(found.bytes)
    }

    /// Notes what was not asked for; with `strict` that is an error even if nothing else is wrong.
    pub fn unexpected(&mut self, names: impl IntoIterator<Item = String>, strict: bool) {
        self.unexpected = (names.into_iter().collect(), strict);
    }

    /// Whether the file has nothing at all of what is asked for, and nothing else.
    pub fn is_all_missing(&self) -> bool {
        self.found == 0 && self.unexpected.0.is_empty()
    }

    /// # Errors
    /// [`Error::Format`] that lists everything, unless all is well.
    pub fn told(&self, what: &str) -> Result<()> {
        /// Names that a message holds of a long list.
        const NAMED_MAX: usize = 8;
        let (unexpected, strict) = &self.unexpected;
        if self.missing.is_empty() && self.mismatched.is_empty() && (unexpected.is_empty() || !strict) {
            return Ok(());
        }
        let part = |title: &str, names: &[String]| {
            let more = names.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let list = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
            (!names.is_empty()).then(|| format!("{title} {list}{more}"))
        };
        let lists =
            [("missing", &self.missing), ("unexpected", unexpected), ("mismatched", &self.mismatched)];
        let parts: Vec<String> = lists.iter().filter_map(|(title, names)| part(title, names)).collect();
        Err(Error::format(what, parts.join("; ")))
    }
}
