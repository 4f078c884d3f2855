//! Where the password comes from: a file, the environment, or a prompt; never the command line,
//! which others can read. It knows no server.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::client::interrupt::Interrupt;
use crate::client::local::shown;
use crate::client::outcome::Failure;
use crate::hidden_input::HiddenInput;
use crate::limits::PASSWORD_BYTES_MAX;
use crate::text::Escaped;

/// The password for `user`, from `file` if one is given, else `$BERTH_PASSWORD`, else a prompt,
/// before which stands the `remark`.
pub fn ask(file: Option<&Path>, user: &str, remark: &str, interrupt: &Interrupt) -> Result<Zeroizing<String>, Failure> {
    if let Some(path) = file {
        return from_file(path);
    }
    if let Ok(password) = std::env::var("BERTH_PASSWORD") {
        return check(Zeroizing::new(password), "$BERTH_PASSWORD");
    }
    let hidden = HiddenInput::open().map_err(|_| {
        let text = "there is no terminal to ask for the password; use --password-file or BERTH_PASSWORD";
        Failure::Usage(text.into())
    })?;
    let prompt = format!("{remark}password for {}: ", Escaped(user.as_bytes()));
    let line = hidden.read_line(&prompt, &mut || interrupt.is_set());
    let line = line.map_err(|error| Failure::Local(format!("the terminal: {error}")))?;
    check(line.ok_or(Failure::Interrupted)?, "what was typed")
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let failure = |error: std::io::Error| Failure::Usage(Failure::local(path, &error).to_string());
    let file = File::open(path).map_err(failure)?;
    let mode = file.metadata().map_err(failure)?.mode();
    if mode & 0o077 != 0 {
        let name = shown(path);
        return Err(Failure::Usage(format!("others can read the password file {name}; run: chmod 600 {name}")));
    }
    let mut text = Zeroizing::new(String::with_capacity(PASSWORD_BYTES_MAX + 2));
    file.take(PASSWORD_BYTES_MAX as u64 + 2).read_to_string(&mut text).map_err(failure)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    check(Zeroizing::new(line.to_string()), &format!("the password file {}", shown(path)))
}

fn check(password: Zeroizing<String>, source: &str) -> Result<Zeroizing<String>, Failure> {
    match password.len() {
        0 => Err(Failure::Usage(format!("{source} is empty"))),
        1..=PASSWORD_BYTES_MAX => Ok(password),
        _ => Err(Failure::Usage(format!("{source} is longer than {PASSWORD_BYTES_MAX} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_password_file_is_read_without_its_line_end_and_only_if_it_is_private() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("password");
        std::fs::write(&path, "  se cret \r\n").expect("write");
        let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        set_mode(0o600);
        assert_eq!(from_file(&path).expect("read").as_str(), "  se cret ");
        set_mode(0o640);
        assert!(matches!(from_file(&path), Err(Failure::Usage(_))));
        set_mode(0o600);
        std::fs::write(&path, "\n").expect("write");
        assert!(from_file(&path).is_err());
        std::fs::write(&path, "x".repeat(3000)).expect("write");
        assert!(from_file(&path).is_err());
    }
}
