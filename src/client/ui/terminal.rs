//! What the environment tells of the terminal. It writes to none.

/// Whether the terminal understands escapes.
pub fn draws() -> bool {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    !["", "dumb"].iter().any(|term| variable("TERM") == *term) && variable("CI").is_empty()
}

/// Whether it has colours that the user wants.
pub fn has_colors() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && draws()
}
