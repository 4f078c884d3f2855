//! The last operand of `get` and `put`: the target, or another source.

use crate::base::explanation::Explanation;
use crate::client::error::Failure;
use crate::client::shell::advice::quoted;
use crate::client::shell::lexer::{Word, is_plain};

/// Returns whether `--` stands before the last of `words`, which makes that word the target and not another
/// source.
pub(super) fn has_explicit_target(words: &[Word]) -> bool {
    matches!(words, [_, .., mark, _] if mark.is_bare(b"--"))
}

/// Returns the failure of a command whose last word is the target but looks like another source. This happens
/// when a shell expands a pattern into names.
pub(super) fn ambiguous_target(command: &str, words: &[Word], problem: &str, is_one_shot: bool) -> Failure {
    let written: Option<Vec<String>> = words.iter().map(|word| written(word, is_one_shot)).collect();
    let text = match written.as_deref().and_then(<[String]>::split_last) {
        Some((target, sources)) if words.len() <= NAMES_SHOWN_MAX => {
            let sources = sources.join(" ");
            format!(
                "write '{command} {sources} {target} .' for all of them, '{command} {sources} -- {target}' for that name"
            )
        }
        _ => format!("write '{command} ... .' for all of them"),
    };
    Failure::Usage(Explanation::new(problem, text))
}

/// Returns the word as the user can type it again, or `None` if it cannot be typed.
fn written(word: &Word, is_one_shot: bool) -> Option<String> {
    let for_sh = quoted(&word.text)?;
    Some(match is_one_shot {
        true if word.is_option() && word.as_str().chars().all(is_plain) => word.as_str().into(),
        true => for_sh,
        false => word.as_typed(),
    })
}

/// A message repeats the names only up to this number.
const NAMES_SHOWN_MAX: usize = 4;
