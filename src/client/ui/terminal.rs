//! What the terminal can do for this program. It writes to none.

/// Whether the terminal understands escapes.
pub fn draws() -> bool {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    !["", "dumb"].iter().any(|term| variable("TERM") == *term) && variable("CI").is_empty()
}

/// Whether this program was not sent to the background. A terminal that controls no jobs sends nobody there.
pub fn is_in_foreground() -> bool {
    let group = rustix::termios::tcgetpgrp(std::io::stderr());
    group.map_or(true, |group| group == rustix::process::getpgrp())
}

/// Whether it has colours that the user wants.
pub fn has_colors() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && draws()
}
