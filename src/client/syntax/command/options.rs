//! The options of a command, as its row of the table describes them.

use std::borrow::Cow;

/// An option of a command.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandOption {
    /// `-l` or `--delete`.
    pub name: &'static str,
    /// Its value, if it has one.
    pub value: Option<OptionValue>,
    /// What it does.
    pub help: &'static str,
    /// How it is read.
    pub role: OptionRole,
}

/// The value of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionValue {
    /// A pattern for names.
    Pattern,
}

impl OptionValue {
    /// Returns what help calls the value.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Pattern => "GLOB",
        }
    }

    /// Returns what a message calls the value.
    pub fn described(self) -> &'static str {
        match self {
            Self::Pattern => "a pattern",
        }
    }
}

/// How an option is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionRole {
    /// An option.
    Option,
    /// An option that swaps the local and the remote operands.
    SwapOperands,
    /// An operand with a meaning of its own.
    Operand,
    /// An option that users type by habit and that changes nothing. Help does not show it.
    Accepted,
}

impl CommandOption {
    /// Returns the option and its value as help shows them: `--exclude GLOB`.
    pub fn shown(&self) -> Cow<'static, str> {
        self.value.map_or(self.name.into(), |value| format!("{} {}", self.name, value.shown()).into())
    }

    /// Returns whether help and completion show it as an option.
    pub fn is_offered(&self) -> bool {
        !matches!(self.role, OptionRole::Operand | OptionRole::Accepted)
    }
}

pub(super) const fn flag(name: &'static str, help: &'static str) -> CommandOption {
    CommandOption { name, value: None, help, role: OptionRole::Option }
}

pub(super) const fn with_pattern(name: &'static str, help: &'static str) -> CommandOption {
    CommandOption { value: Some(OptionValue::Pattern), ..flag(name, help) }
}

pub(super) const fn swap(name: &'static str, help: &'static str) -> CommandOption {
    CommandOption { role: OptionRole::SwapOperands, ..flag(name, help) }
}

pub(super) const fn operand(name: &'static str, help: &'static str) -> CommandOption {
    CommandOption { role: OptionRole::Operand, ..flag(name, help) }
}

pub(super) const fn accepted(name: &'static str) -> CommandOption {
    CommandOption { role: OptionRole::Accepted, ..flag(name, "") }
}
