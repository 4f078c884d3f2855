//! The rules for account names.

use std::fmt;
use std::str::FromStr;

use crate::account::ACCOUNT_NAME_BYTES_MAX;

/// The name of an account: 1 to [`ACCOUNT_NAME_BYTES_MAX`] ASCII letters, digits, `.`, `_` and `-`. It begins
/// with a letter or digit, so it is never a path, a hidden file or an option.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountName(String);

/// Why text is not an account name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccountNameError {
    /// The text is empty.
    #[error("an account name cannot be empty")]
    Empty,
    /// Over [`ACCOUNT_NAME_BYTES_MAX`].
    #[error("an account name is at most {ACCOUNT_NAME_BYTES_MAX} bytes long")]
    TooLong,
    /// It starts with `.`, `_` or `-`.
    #[error("an account name starts with a letter or digit")]
    Start,
    /// A slash, a space, a character beyond ASCII or similar.
    #[error("an account name is made of ASCII letters, digits, '.', '_' and '-' only; it names a file, so no paths")]
    Character,
}

impl AccountName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a placeholder for an invalid name. It is never shown or stored.
    pub(super) fn nobody() -> Self {
        Self("nobody".into())
    }
}

impl FromStr for AccountName {
    type Err = AccountNameError;

    fn from_str(text: &str) -> Result<Self, AccountNameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        match text.as_bytes() {
            [] => Err(AccountNameError::Empty),
            long if long.len() > ACCOUNT_NAME_BYTES_MAX => Err(AccountNameError::TooLong),
            bytes if !bytes.iter().all(|&b| allowed(b)) => Err(AccountNameError::Character),
            [first, ..] if !first.is_ascii_alphanumeric() => Err(AccountNameError::Start),
            _ => Ok(Self(text.to_string())),
        }
    }
}

impl AsRef<str> for AccountName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_could_be_a_path_is_no_account_name() {
        use AccountNameError::*;
        for (text, error) in [
            ("", Empty),
            (".", Start),
            ("..", Start),
            ("-rf", Start),
            (".decoy", Start),
            ("_x", Start),
            ("../x", Character),
            ("a/b", Character),
            ("/etc/passwd", Character),
            ("a\\b", Character),
            ("a b", Character),
            ("a\0b", Character),
            ("a\nb", Character),
            ("grüße", Character),
            (&"a".repeat(65)[..], TooLong),
            (&"a".repeat(300)[..], TooLong),
        ] {
            assert_eq!(text.parse::<AccountName>(), Err(error), "{text:?}");
        }
        for text in ["a", "7", "bob.smith-2_x", &"a".repeat(64)] {
            assert_eq!(text.parse::<AccountName>().map(|name| name.to_string()), Ok(text.to_string()));
        }
    }
}
