//! Errors of a configuration file, with the file and, if one is wrong, the key.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::explanation::Explanation;
use crate::base::json::explain;
use crate::base::text::Escaped;

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// A key such as `limits.sessions`; empty if the whole file is wrong.
    pub key: String,
    /// The problem and the accepted values, and what to do about it. Boxed, because many results hold this error.
    pub explanation: Box<Explanation>,
}

impl ConfigError {
    pub(crate) fn new(file: &Path, key: impl Into<String>, explanation: impl Into<Explanation>) -> Self {
        Self { file: file.to_path_buf(), key: key.into(), explanation: Box::new(explanation.into()) }
    }

    pub(super) fn unreadable(file: &Path, error: &io::Error) -> Self {
        let problem = match error.kind() {
            io::ErrorKind::NotFound if cfg!(feature = "system") => {
                "there is no such file; name another with --config, or install the package again with dpkg's option \
                 --force-confmiss, which brings it back"
                    .to_string()
            }
            io::ErrorKind::NotFound => {
                "there is no such file; name another with --config, or set up a new server with `berthd quickstart`"
                    .to_string()
            }
            _ => format!("cannot be read: {error}"),
        };
        Self::new(file, "", problem)
    }

    pub(crate) fn unparsable(file: &Path, error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let path = error.path().to_string();
        // serde_path_to_error writes `?` for a key that it cannot read.
        let key = path.strip_suffix('?').unwrap_or(&path).trim_end_matches('.');
        Self::new(file, key, explain(error.inner()))
    }

    /// Returns the problem, with the file and the key, apart from the advice.
    pub fn into_explanation(self) -> Explanation {
        let advice = self.explanation.advice.as_ref().map(|advice| Escaped(advice.as_bytes()).to_string());
        let alone = Self::new(&self.file, self.key, self.explanation.problem);
        Explanation { problem: alone.to_string(), advice }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", Escaped(self.file.as_os_str().as_bytes()))?;
        if !self.key.is_empty() {
            write!(f, "{}: ", Escaped(self.key.as_bytes()))?;
        }
        write!(f, "{}", Escaped(self.explanation.to_string().as_bytes()))
    }
}

impl std::error::Error for ConfigError {}

/// A configuration key, and what is wrong with its value.
pub(super) type Problem = (&'static str, String);
