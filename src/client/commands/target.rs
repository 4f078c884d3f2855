//! The last operand of `get` and `put`: the target, or another source.

use crate::base::explanation::Explanation;
use crate::client::error::Failure;
use crate::client::syntax::advice::quoted;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::lexer::{Word, is_plain};

/// Returns whether `--` stands before the last of `words`, which makes that word the target and not another
/// source.
pub(super) fn has_explicit_target(words: &[Word]) -> bool {
    matches!(words, [_, .., mark, _] if mark.is_bare(b"--"))
}

/// Returns the failure of a command whose last operand is the target but looks like another source. This happens
/// when a shell expands a pattern into names.
pub(super) fn ambiguous_target(command: &str, arguments: &Arguments, problem: &str, is_one_shot: bool) -> Failure {
    // Options may follow the target.
    let last = arguments.operands.last().copied();
    let sources = arguments.words.iter().filter(|word| !last.is_some_and(|target| std::ptr::eq(*word, target)));
    let sources: Option<Vec<String>> = sources.map(|word| written(word, is_one_shot)).collect();
    let target = last.and_then(|target| written(target, is_one_shot));
    let text = match sources.zip(target) {
        Some((sources, target)) if arguments.words.len() <= NAMES_SHOWN_MAX => {
            let sources = sources.join(" ");
            format!(
                "write '{command} {sources} {target} .' to transfer all of them, or '{command} {sources} -- {target}' to give the \
                 copy that name"
            )
        }
        _ => format!("write '{command} ... .' to transfer all of them"),
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

/// A message repeats the words only up to this number.
const NAMES_SHOWN_MAX: usize = 4;
