//! The capabilities of the terminal. This module writes nothing.

/// Returns whether the terminal understands escape sequences.
pub fn supports_escape_sequences() -> bool {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    !["", "dumb"].iter().any(|term| variable("TERM") == *term) && variable("CI").is_empty()
}

/// Returns whether this program runs in the foreground. Without job control, every program does.
pub fn is_in_foreground() -> bool {
    let group = rustix::termios::tcgetpgrp(std::io::stderr());
    group.map_or(true, |group| group == rustix::process::getpgrp())
}

/// Returns whether the terminal has colours and the user wants them.
pub fn has_colors() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && supports_escape_sequences()
}
