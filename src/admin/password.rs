//! Reads passwords, twice from the terminal or once from stdin, or makes random ones.

use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;
use zeroize::Zeroizing;

use super::AdminError;
use crate::auth::password_prompt::PasswordPrompt;
use crate::auth::scram::{PASSWORD_BYTES_MAX, check_password, fill_random};

/// Reads a valid new password.
pub(super) fn read_new(from_stdin: bool) -> Result<Zeroizing<String>, AdminError> {
    let password = if from_stdin { read_line(io::stdin().lock())? } else { prompt_twice()? };
    check_password(&password)?;
    Ok(password)
}

/// Returns why `password` is weak, or `None`. The caller only warns, because the administrator may have a reason.
pub(super) fn weakness(password: &str, account: &str) -> Option<&'static str> {
    let distinct = password.chars().collect::<std::collections::BTreeSet<char>>().len();
    let is_row = password.as_bytes().windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
    if password.chars().count() < CHARACTERS_MIN {
        Some("short")
    } else if password.to_lowercase().contains(&account.to_lowercase()) || password.to_lowercase().contains("password")
    {
        Some("easy to guess")
    } else if distinct < DISTINCT_MIN || is_row {
        Some("simple")
    } else {
        None
    }
}

/// The least length of a password by NIST SP 800-63B.
const CHARACTERS_MIN: usize = 8;
const DISTINCT_MIN: usize = 5;

/// Returns a random password of 80 bits: sixteen characters that are not mistaken for each other.
pub(super) fn random() -> Zeroizing<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = Zeroizing::new([0; 16]);
    fill_random(&mut bytes[..]);
    let mut password = Zeroizing::new(String::with_capacity(19));
    for (i, byte) in bytes.iter().enumerate() {
        if i > 0 && i % 4 == 0 {
            password.push('-');
        }
        password.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    password
}

fn prompt_twice() -> Result<Zeroizing<String>, AdminError> {
    let no_terminal = |error: io::Error| {
        AdminError::Failed(format!("cannot ask for a password ({error}); give it with --password-stdin"))
    };
    // Ctrl-C sets a flag, so that the terminal is restored first.
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&interrupted)).map_err(no_terminal)?;
    let hidden = PasswordPrompt::open().map_err(no_terminal)?;
    let prompt = |text: &str| {
        let line = hidden.read_line(text, &mut || interrupted.load(Ordering::Relaxed)).map_err(no_terminal)?;
        line.ok_or_else(|| AdminError::Failed("interrupted; nothing was changed".into()))
    };
    let password = prompt("New password: ")?;
    check_password(&password)?;
    if prompt("Again: ")? == password {
        Ok(password)
    } else {
        Err(AdminError::Failed("the two passwords differ; nothing was changed".into()))
    }
}

/// Reads the first line without its end.
fn read_line(input: impl BufRead) -> Result<Zeroizing<String>, AdminError> {
    // Allocated in full at once, so that growing leaves no copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(PASSWORD_BYTES_MAX + 3));
    input
        .take(PASSWORD_BYTES_MAX as u64 + 2)
        .read_until(b'\n', &mut line)
        .map_err(|error| AdminError::Failed(format!("cannot read the password from stdin: {error}")))?;
    if line.ends_with(b"\n") {
        line.pop();
    }
    if line.ends_with(b"\r") {
        line.pop();
    }
    let text = str::from_utf8(&line).map_err(|_| AdminError::Failed("the password is not UTF-8".into()))?;
    Ok(Zeroizing::new(text.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_without_its_end() {
        for (input, password) in
            [("secret\n", "secret"), ("secret\r\n", "secret"), ("a b ", "a b "), ("a\nb\n", "a"), ("", "")]
        {
            assert_eq!(read_line(input.as_bytes()).map(|line| line.to_string()).ok().as_deref(), Some(password));
        }
        assert!(read_line(&b"\xff\n"[..]).is_err());
        let long = read_line(io::Cursor::new(vec![b'x'; 1 << 20])).expect("cut off");
        assert!(check_password(&long).is_err(), "and still too long to be one");
    }

    #[test]
    fn a_password_that_is_easy_to_guess_is_called_so() {
        for (password, told) in [
            ("a", Some("short")),
            ("sieben7", Some("short")),
            ("aaaaaaaaaaaa", Some("simple")),
            ("12345678", Some("simple")),
            ("Password2026", Some("easy to guess")),
            ("annANN2026", Some("easy to guess")),
            ("correct horse", None),
            ("größe-und-länge", None),
        ] {
            assert_eq!(weakness(password, "ann"), told, "{password}");
        }
    }

    #[test]
    fn random_passwords_are_valid_and_differ() {
        let (a, b) = (random(), random());
        assert_eq!(check_password(&a), Ok(()));
        assert_eq!(a.len(), 19);
        assert_ne!(a, b);
    }
}
