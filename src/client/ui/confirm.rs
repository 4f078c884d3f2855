//! Questions on the terminal.

use std::io::{self, IsTerminal};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::auth::password_prompt::Suspension;
use crate::base::text::plain;
use crate::client::error::Failure;
use crate::client::interrupt::Interrupt;
use crate::client::ui::output::Output;
use crate::client::ui::stopwatch;

/// The user's answer to a question about one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Do it.
    Yes,
    /// Skip it.
    No,
    /// Do it, and everything else without a question.
    All,
    /// Skip it, and everything else without a question.
    None,
    /// Skip it and end the command.
    Quit,
}

/// Asks a yes-or-no question on the terminal.
pub fn confirm(output: &mut Output, interrupt: &Interrupt, question: &str) -> Result<bool, Failure> {
    let answer = ask_until_valid(
        output,
        interrupt,
        &format!("{question}{}[y/N] ", space_after(question)),
        "yes or no",
        |text| match text {
            "y" | "yes" => Some(true),
            "" | "n" | "no" => Some(false),
            _ => None,
        },
    )?;
    Ok(answer.unwrap_or(false))
}

/// Asks about one of many files. Ctrl-D counts as quit.
pub fn choose(output: &mut Output, interrupt: &Interrupt, question: &str) -> Result<Choice, Failure> {
    let question = format!("{question}{}[y]es [n]o [a]ll n[o]ne [q]uit: ", space_after(question));
    let answer = ask_until_valid(output, interrupt, &question, "y, n, a, o or q", |text| match text {
        "y" | "yes" => Some(Choice::Yes),
        "" | "n" | "no" => Some(Choice::No),
        "a" | "all" => Some(Choice::All),
        "o" | "none" => Some(Choice::None),
        "q" | "quit" => Some(Choice::Quit),
        _ => None,
    })?;
    Ok(answer.unwrap_or(Choice::Quit))
}

/// Returns the space between a question and its answers, unless the answers stand on a line of their own.
fn space_after(question: &str) -> &'static str {
    if question.ends_with('\n') { "" } else { " " }
}

/// Asks until `read` understands the answer. `None` means Ctrl-D.
fn ask_until_valid<T>(
    output: &mut Output,
    interrupt: &Interrupt,
    question: &str,
    answers: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let mut typed = answer(output, interrupt, question)?;
    while let Some(text) = typed {
        if let Some(clear) = read(&text) {
            return Ok(Some(clear));
        }
        typed = answer(output, interrupt, &format!("please answer {answers}: "))?;
    }
    Ok(None)
}

/// Asks a question on the terminal and returns the typed answer in lower case; `None` if it ends with Ctrl-D.
fn answer(output: &mut Output, interrupt: &Interrupt, question: &str) -> Result<Option<String>, Failure> {
    Ok(line(output, interrupt, question)?.map(|line| line.trim().to_lowercase()))
}

/// Shows `question` and returns the typed line; `None` if it ends with Ctrl-D. The question is shown again
/// after the program was stopped and continued. Later output begins on a new line.
pub fn line(output: &mut Output, interrupt: &Interrupt, question: &str) -> Result<Option<String>, Failure> {
    stopwatch::paused(|| read_line(output, interrupt, question))
}

fn read_line(output: &mut Output, interrupt: &Interrupt, question: &str) -> Result<Option<String>, Failure> {
    let failure = |error: io::Error| Failure::Local(format!("cannot read from the terminal: {}", plain(&error)).into());
    let suspension = Suspension::begin().map_err(failure)?;
    output.ask(question);
    let stdin = io::stdin();
    while !interrupt.is_set() {
        let timeout = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout));
        if suspension.obey(|| {}).map_err(failure)? {
            output.ask(format_args!("\n{question}"));
        } else if matches!(ready, Ok(1..)) {
            let mut answer = String::new();
            // Input that is not UTF-8 is no valid answer, so the question is repeated.
            let is_read = stdin.read_line(&mut answer).is_ok();
            if is_read && !answer.ends_with('\n') {
                output.ask("\n");
                return Ok(None);
            }
            return Ok(Some(if is_read { answer } else { "?".into() }));
        }
    }
    output.ask("\n");
    Err(Failure::Interrupted)
}

/// Returns whether the program can ask: standard input and the questions' output are terminals.
pub fn terminal_can_answer() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
