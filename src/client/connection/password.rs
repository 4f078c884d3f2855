//! The source of the password: a file, the environment, a command or a prompt. It is never the command line,
//! which other users can read. This module knows no server.

use std::fs::{File, Metadata};
use std::io::{IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use zeroize::Zeroizing;

use crate::auth::password_prompt::PasswordPrompt;
use crate::auth::scram::PASSWORD_BYTES_MAX;
use crate::base::explanation::Explanation;
use crate::base::text::{Escaped, plain};
use crate::client::error::Failure;
use crate::client::files::local::shown;
use crate::client::interrupt::Interrupt;
use crate::client::syntax::advice;

/// The maximum output of a password command. Password managers print notes after the password.
const PASSWORD_OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Where the password comes from.
#[derive(Clone)]
pub enum PasswordSource<'a> {
    /// A file that other users cannot read.
    File(&'a Path),
    /// The variable `$BERTH_PASSWORD`.
    Environment(Zeroizing<String>),
    /// The first line that this `/bin/sh` command prints.
    Command(&'a str),
    /// The user at the terminal.
    Prompt,
}

impl<'a> PasswordSource<'a> {
    /// Returns the maximum number of passwords. Only a prompt can give more than one.
    pub fn tries(&self) -> u32 {
        if matches!(self, Self::Prompt) { PROMPTS_MAX } else { 1 }
    }

    /// Chooses the source: `file` or `command` from the command line, else `$BERTH_PASSWORD`, else the command of the
    /// named host, else a prompt.
    pub fn choose(file: Option<&'a Path>, command: Option<&'a str>, command_of_host: Option<&'a str>) -> Self {
        match (file, command, std::env::var("BERTH_PASSWORD"), command_of_host) {
            (Some(path), ..) => Self::File(path),
            (_, Some(command), ..) => Self::Command(command),
            (_, _, Ok(password), _) => Self::Environment(Zeroizing::new(password)),
            (.., Some(command)) => Self::Command(command),
            _ => Self::Prompt,
        }
    }
}

/// Returns the password for `user`. A prompt shows `remark` first.
pub fn ask(
    source: PasswordSource,
    user: &str,
    remark: &str,
    interrupt: &Interrupt,
) -> Result<Zeroizing<String>, Failure> {
    match source {
        PasswordSource::File(path) => from_file(path),
        PasswordSource::Environment(password) => check(password, "$BERTH_PASSWORD"),
        PasswordSource::Command(command) => from_command(command, interrupt),
        PasswordSource::Prompt => from_prompt(user, remark, interrupt),
    }
}

/// The number of prompts that ssh and the server also allow.
const PROMPTS_MAX: u32 = 3;

fn from_prompt(user: &str, remark: &str, interrupt: &Interrupt) -> Result<Zeroizing<String>, Failure> {
    let hidden = PasswordPrompt::open().map_err(|_| {
        Failure::Usage(Explanation::new(
            "there is no terminal to ask for the password",
            "use --password-file, --password-command or BERTH_PASSWORD",
        ))
    })?;
    let prompt = format!("{remark}password for {}: ", Escaped(user.as_bytes()));
    let line = hidden.read_line(&prompt, &mut || interrupt.is_set());
    let line = line.map_err(|error| {
        Failure::Local(format!("cannot read the password from the terminal: {}", plain(&error)).into())
    })?;
    check(line.ok_or(Failure::Interrupted)?, "the typed password")
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let failure = |error: std::io::Error| {
        Failure::Usage(format!("cannot read the password file {}: {}", shown(path), plain(&error)).into())
    };
    let file = File::open(path).map_err(failure)?;
    let metadata = file.metadata().map_err(failure)?;
    if metadata.mode() & 0o077 != 0 && !is_mounted_secret(&metadata) {
        let name = advice::local_operand(path).unwrap_or_else(|| "FILE".into());
        return Err(Failure::Usage(Explanation::new(
            format!("others can read the password file {}", shown(path)),
            format!("run: chmod 600 {name}, or use --password-command"),
        )));
    }
    let mut text = Zeroizing::new(String::with_capacity(PASSWORD_BYTES_MAX + 5));
    file.take(PASSWORD_BYTES_MAX as u64 + 5).read_to_string(&mut text).map_err(failure)?;
    let line = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    check(Zeroizing::new(line.to_string()), &format!("the password file {}", shown(path)))
}

/// Returns whether the file is a secret that a container mounted: owned by root and not writable. Its reader
/// cannot change the mode.
fn is_mounted_secret(metadata: &Metadata) -> bool {
    let written_by = if rustix::process::geteuid().is_root() { 0o222 } else { 0o022 };
    metadata.uid() == 0 && metadata.mode() & written_by == 0
}

/// Runs the command. Its messages for the user go to standard error. The command itself is never shown, because
/// a user may write a password into it, which must not reach a log.
fn from_command(command: &str, interrupt: &Interrupt) -> Result<Zeroizing<String>, Failure> {
    // Standard input may hold a script or content, which the command must not read.
    let stdin = if std::io::stdin().is_terminal() { Stdio::inherit() } else { Stdio::null() };
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).env_remove("BERTH_PASSWORD").stdin(stdin).stdout(Stdio::piped());
    let failure =
        |error: std::io::Error| Failure::Local(format!("the password command cannot be run: {}", plain(&error)).into());
    let mut child = shell.spawn().map_err(failure)?;
    let output = output_of(&mut child);
    if output.is_err() {
        // The command may print for ever.
        let _ = child.kill();
    }
    let status = child.wait().map_err(failure)?;
    if interrupt.is_set() {
        return Err(Failure::Interrupted);
    }
    let output = output?;
    if !status.success() {
        let how = match (status.code(), status.signal()) {
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (code, _) => format!("exited with {}", code.unwrap_or_default()),
        };
        return Err(Failure::Usage(Explanation::new(
            format!("the password command {how}"),
            "run it by hand to see why",
        )));
    }
    let line = output.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = str::from_utf8(line).map_err(|_| Failure::Usage("the password command printed no text".into()))?;
    check(Zeroizing::new(line.to_string()), "the output of the password command")
}

/// Reads all output, so that a command that prints several lines is not killed by a closed pipe.
fn output_of(child: &mut Child) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // The buffer must never be reallocated, because that leaves copies of the password in memory.
    let mut output = Zeroizing::new(Vec::with_capacity(PASSWORD_OUTPUT_BYTES_MAX + 1));
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(PASSWORD_OUTPUT_BYTES_MAX as u64 + 1).read_to_end(&mut output);
        read.map_err(|error| {
            Failure::Local(format!("cannot read the output of the password command: {}", plain(&error)).into())
        })?;
    }
    match output.len() {
        0..=PASSWORD_OUTPUT_BYTES_MAX => Ok(output),
        _ => Err(Failure::Usage(Explanation::new(
            "the password command prints too much",
            "only its first line is the password",
        ))),
    }
}

fn check(password: Zeroizing<String>, source: &str) -> Result<Zeroizing<String>, Failure> {
    match password.len() {
        0 => Err(Failure::Usage(format!("{source} is empty").into())),
        1..=PASSWORD_BYTES_MAX => Ok(password),
        _ => Err(Failure::Usage(format!("{source} is longer than {PASSWORD_BYTES_MAX} bytes").into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_password_command_gives_its_first_line_or_an_error() {
        let ask = |command: &str| from_command(command, &Interrupt::default());
        let password = |command| ask(command).map(|password| password.to_string());
        assert_eq!(password("printf '%s\\r\\nuser: ann\\n' ' se cret '").as_deref(), Ok(" se cret "));
        assert_eq!(password("cat; echo x").as_deref(), Ok("x"), "it cannot read what is not for it");
        for (command, why) in [
            ("echo secret; exit 3", "exited with 3"),
            ("echo secret; kill -9 $$", "signal 9"),
            ("no-such-program 2>/dev/null", "exited with 127"),
            ("true", "is empty"),
            ("echo; echo secret", "is empty"),
            ("printf '\\377'", "no text"),
            ("exec yes secret", "too much"),
        ] {
            let problem = ask(command).expect_err(command).to_string();
            assert!(problem.contains(why) && !problem.contains("secret"), "{command}: {problem}");
        }
    }

    #[test]
    fn a_password_file_is_read_without_its_line_end_and_only_if_it_is_private() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let path = directory.path().join("password");
        std::fs::write(&path, "  se cret \r\n").expect("write");
        let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        set_mode(0o600);
        assert_eq!(from_file(&path).expect("read").as_str(), "  se cret ");
        set_mode(0o640);
        assert!(matches!(from_file(&path), Err(Failure::Usage(_))));
        set_mode(0o600);
        std::fs::write(&path, "\u{feff}secret\n").expect("write");
        assert_eq!(from_file(&path).expect("read").as_str(), "secret");
        set_mode(0o444);
        let is_of_root = std::fs::metadata(&path).expect("there").uid() == 0;
        assert_eq!(from_file(&path).is_ok(), is_of_root, "a mounted secret is accepted");
        set_mode(0o600);
        std::fs::write(&path, "\n").expect("write");
        assert!(from_file(&path).is_err());
        std::fs::write(&path, "x".repeat(3000)).expect("write");
        assert!(from_file(&path).is_err());
    }
}
