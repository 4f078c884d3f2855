//! Commands that messages advise. The user can copy them: a name is quoted in a way that the prompt, scripts and
//! `sh` read as the same name.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::base::text::is_unprintable;
use crate::base::virtual_path::VirtualPath;
use crate::client::syntax::lexer::is_plain;

/// Returns `command` with the remote `path`, or `command` alone if the path cannot be typed.
pub fn remote(command: &str, path: &VirtualPath) -> String {
    with_name(command, path.as_bytes())
}

/// Returns the local command `command` with `path`. The prompt and scripts need a `!` before it; the shell from which
/// `berth` was started for one command does not.
pub fn local(is_one_shot: bool, command: &str, path: &Path) -> String {
    let bang = if is_one_shot { "" } else { "!" };
    format!("{bang}{}", with_name(command, &local_name(path)))
}

/// Returns the local `path` as an operand: a name that begins with a dash or a tilde gets a `./`. Returns
/// `None` if it cannot be typed.
pub fn local_operand(path: &Path) -> Option<String> {
    quoted(&local_name(path))
}

fn local_name(path: &Path) -> Vec<u8> {
    let name = path.as_os_str().as_bytes();
    let needs_directory = name.starts_with(b"-") || name.starts_with(b"~");
    if needs_directory { [b"./", name].concat() } else { name.to_vec() }
}

fn with_name(command: &str, name: &[u8]) -> String {
    match quoted(name) {
        Some(name) => format!("{command} {name}"),
        None => command.into(),
    }
}

/// Returns `name` in single quotes if it needs any; `None` if it contains what cannot be typed.
pub fn quoted(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok().filter(|name| !name.contains(is_unprintable))?;
    let is_safe = !name.is_empty() && name.chars().all(is_plain) && !name.starts_with(['-', '~']);
    Some(if is_safe { name.into() } else { format!("'{}'", name.replace('\'', r"'\''")) })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::client::syntax::lexer::split;

    #[test]
    fn a_quoted_name_is_the_same_at_the_prompt_and_in_sh() {
        for name in
            ["a", "/a b", "it's", "*", "a;b", "$x", "`id`", "\\", "\"", "#x", "!x", "a|b", "~", "", "grüße", "(x)"]
        {
            let word = quoted(name.as_bytes()).expect("printable");
            let commands = split(format!("mkdir {word}").as_bytes()).expect("a good line");
            assert_eq!((commands.len(), commands[0].len(), commands[0][1].as_str()), (1, 2, name), "{word}");
            let sh = Command::new("/bin/sh").args(["-c", &format!("printf %s {word}")]).output().expect("sh");
            assert_eq!(String::from_utf8_lossy(&sh.stdout), name, "{word}");
        }
        for name in [&b"a\nb"[..], b"\x1b[2J", b"\xff", "\u{202e}".as_bytes()] {
            assert_eq!(quoted(name), None);
        }
        assert_eq!(with_name("mkdir", b"/a\n"), "mkdir");
        assert_eq!(local_operand(Path::new("-x y")).as_deref(), Some("'./-x y'"));
        assert_eq!(local_operand(Path::new("~")).as_deref(), Some("./~"));
    }
}
