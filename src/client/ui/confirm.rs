//! Questions on the terminal.

use std::io::{self, IsTerminal};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::auth::password_prompt::Suspension;
use crate::client::error::Failure;
use crate::client::shell::interrupt::Interrupt;
use crate::client::ui::output::Output;

/// Asks a question on the terminal whose answer is yes or no.
pub fn confirm(output: &mut Output, interrupt: &Interrupt, question: &str) -> Result<bool, Failure> {
    let answer = answer(output, interrupt, &format!("{question} [y/N] "))?;
    Ok(matches!(answer.as_str(), "y" | "yes"))
}

/// Asks a question on the terminal and returns what is typed, in small letters. Ctrl-D is an empty answer.
fn answer(output: &mut Output, interrupt: &Interrupt, question: &str) -> Result<String, Failure> {
    let line = line(output, interrupt, question)?;
    if line.is_none() {
        output.ask("\n");
    }
    Ok(line.unwrap_or_default().trim().to_lowercase())
}

/// Shows `question` and returns the line that is typed; `None` for Ctrl-D. It is shown again when the program
/// was stopped and is continued.
pub fn line(output: &mut Output, interrupt: &Interrupt, question: &str) -> Result<Option<String>, Failure> {
    let failure = |error: io::Error| Failure::Local(format!("the terminal: {error}"));
    let suspension = Suspension::begin().map_err(failure)?;
    output.ask(question);
    let stdin = io::stdin();
    while !interrupt.is_set() {
        let timeout = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout));
        if suspension.obey(|| {}).map_err(failure)? {
            output.ask(format_args!("\n{question}"));
        } else if matches!(ready, Ok(1..)) {
            let mut line = String::new();
            let is_end = stdin.read_line(&mut line).unwrap_or(0) == 0;
            return Ok((!is_end).then_some(line));
        }
    }
    output.ask("\n");
    Err(Failure::Interrupted)
}

/// Whether a question can be asked: both the answers and the questions have a terminal.
pub fn terminal_can_answer() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
