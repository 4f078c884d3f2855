//! A message for a person in two parts, so that no code looks for the advice in a text.

use std::fmt;

/// What is wrong, and what the reader can do about it. Shown as `PROBLEM; ADVICE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What is wrong.
    pub problem: String,
    /// What the reader can do.
    pub advice: Option<String>,
}

impl Explanation {
    /// Creates an explanation with advice. One without advice comes from a text.
    pub fn new(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { problem: problem.into(), advice: Some(advice.into()) }
    }

    /// Adds `advice` if there is none yet.
    pub fn or_advise(self, advice: impl Into<String>) -> Self {
        Self { advice: self.advice.or_else(|| Some(advice.into())), ..self }
    }
}

impl From<String> for Explanation {
    fn from(problem: String) -> Self {
        Self { problem, advice: None }
    }
}

impl From<&str> for Explanation {
    fn from(problem: &str) -> Self {
        problem.to_string().into()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        self.advice.iter().try_for_each(|advice| write!(f, "; {advice}"))
    }
}
