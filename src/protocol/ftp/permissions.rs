//! Permission bits for `SITE CHMOD`: octal, or in the symbolic form of `chmod` (POSIX). Only the lower
//! nine bits ever change.

use crate::base::attributes::UMASK;

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionChange {
    clauses: Vec<Clause>,
    /// Whether setuid, setgid or sticky bits were requested.
    pub names_special_bits: bool,
}

/// One step of a change: `operator` (`+`, `-` or `=`) applies `value` to the bits in the mask `classes`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    classes: u32,
    operator: u8,
    value: ModeBits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ModeBits {
    /// These bits. `executes_if_any` is `X`: also the execute bits, for a directory or a file that has one.
    Bits { bits: u32, executes_if_any: bool },
    /// The bits of another class, given as a shift: user 6, group 3, others 0.
    CopyOf(u32),
}

impl PermissionChange {
    /// Parses `644`, `02775` or `u=rw,g-w,o=`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.iter().all(u8::is_ascii_digit) { Self::parse_octal(text) } else { Self::parse_letters(text) }
    }

    fn parse_octal(digits: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(digits).ok()?;
        let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| mode <= 0o7777)?;
        let value = ModeBits::Bits { bits: mode & ALL, executes_if_any: false };
        let clauses = vec![Clause { classes: ALL, operator: b'=', value }];
        Some(Self { clauses, names_special_bits: mode > ALL })
    }

    fn parse_letters(text: &[u8]) -> Option<Self> {
        let mut permissions = Self { clauses: Vec::new(), names_special_bits: false };
        for part in text.split(|&byte| byte == b',') {
            permissions.parse_part(part)?;
        }
        Some(permissions)
    }

    /// Parses `[ugoa]…` and one or more of `+rwx`, `-w`, `=u`.
    fn parse_part(&mut self, part: &[u8]) -> Option<()> {
        let operator_at = part.iter().position(|byte| OPERATORS.contains(byte))?;
        let (letters, mut rest) = part.split_at(operator_at);
        let mut classes = 0;
        for letter in letters {
            classes |= class(*letter)?;
        }
        while let Some((&operator, actions)) = rest.split_first() {
            let end = actions.iter().position(|byte| OPERATORS.contains(byte)).unwrap_or(actions.len());
            let value = self.parse_actions(&actions[..end])?;
            // Without a class, `chmod` ignores the bits of the file mode creation mask.
            let is_everybody = classes == 0;
            let value = match value {
                ModeBits::Bits { bits, executes_if_any } if is_everybody => {
                    ModeBits::Bits { bits: bits & !UMASK, executes_if_any }
                }
                value => value,
            };
            self.clauses.push(Clause { classes: if is_everybody { ALL } else { classes }, operator, value });
            rest = &actions[end..];
        }
        Some(())
    }

    fn parse_actions(&mut self, actions: &[u8]) -> Option<ModeBits> {
        match actions {
            b"u" => return Some(ModeBits::CopyOf(6)),
            b"g" => return Some(ModeBits::CopyOf(3)),
            b"o" => return Some(ModeBits::CopyOf(0)),
            _ => {}
        }
        let (mut bits, mut executes_if_any) = (0, false);
        for action in actions {
            match action {
                b'r' => bits |= 0o444,
                b'w' => bits |= 0o222,
                b'x' => bits |= 0o111,
                b'X' => executes_if_any = true,
                b's' | b't' => self.names_special_bits = true,
                _ => return None,
            }
        }
        Some(ModeBits::Bits { bits, executes_if_any })
    }

    /// Returns `mode` with the change applied.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        self.clauses.iter().fold(mode & ALL, |mode, clause| clause.apply(mode, is_directory))
    }
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let bits = match self.value {
            ModeBits::Bits { bits, executes_if_any } if executes_if_any && (is_directory || mode & 0o111 != 0) => {
                bits | 0o111
            }
            ModeBits::Bits { bits, .. } => bits,
            ModeBits::CopyOf(shift) => (mode >> shift & 7) * 0o111,
        };
        match self.operator {
            b'+' => mode | bits & self.classes,
            b'-' => mode & !(bits & self.classes),
            _ => mode & !self.classes | bits & self.classes,
        }
    }
}

fn class(letter: u8) -> Option<u32> {
    match letter {
        b'u' => Some(0o700),
        b'g' => Some(0o070),
        b'o' => Some(0o007),
        b'a' => Some(ALL),
        _ => None,
    }
}

const OPERATORS: &[u8] = b"+-=";
/// Read, write and execute of user, group and others.
const ALL: u32 = 0o777;

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, mode: u32, is_directory: bool) -> Option<u32> {
        PermissionChange::parse(text.as_bytes()).map(|permissions| permissions.apply(mode, is_directory))
    }

    #[test]
    fn octal_numbers_set_the_lower_nine_bits() {
        for (text, bits) in
            [("644", 0o644), ("0755", 0o755), ("00644", 0o644), ("2775", 0o775), ("1777", 0o777), ("0", 0)]
        {
            assert_eq!(applied(text, 0o111, false), Some(bits), "{text}");
        }
        assert!(PermissionChange::parse(b"4755").is_some_and(|permissions| permissions.names_special_bits));
        assert!(PermissionChange::parse(b"0755").is_some_and(|permissions| !permissions.names_special_bits));
    }

    #[test]
    fn letters_change_bits_as_chmod_does() {
        for (text, mode, is_directory, bits) in [
            ("u+x", 0o644, false, 0o744),
            ("g-w,o=r", 0o666, false, 0o644),
            ("a+rX", 0o600, false, 0o644),
            ("a+rX", 0o700, false, 0o755),
            ("a+rX", 0o600, true, 0o755),
            ("+w", 0o444, false, 0o644),
            ("+x", 0o644, false, 0o755),
            ("=rw", 0o777, false, 0o644),
            ("go=", 0o777, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("u=rwx,go=rx", 0, true, 0o755),
            ("u+x-w", 0o600, false, 0o500),
            ("g+s,o+t,u+s", 0o755, true, 0o755),
        ] {
            assert_eq!(applied(text, mode, is_directory), Some(bits), "{text}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "888", "10000", "99999999999", "u", "x+r", "u+q", "u+x,", ",", "-1", "644x", "u+rwxu"] {
            assert_eq!(PermissionChange::parse(text.as_bytes()), None, "{text}");
        }
    }
}
