//! Questions on the terminal whose answer is yes or no.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::interrupt::Interrupt;
use crate::client::outcome::Failure;
use crate::client::output::Output;

/// Asks a question on the terminal whose answer is yes or no.
pub fn confirm(output: &mut Output, interrupt: &Interrupt, question: &str) -> Result<bool, Failure> {
    output.ask(format_args!("{question} [y/N] "));
    let stdin = io::stdin();
    while !interrupt.is_set() {
        let timeout = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout));
        if matches!(ready, Ok(1..)) {
            let mut answer = String::new();
            let read = stdin.read_line(&mut answer);
            return Ok(read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"));
        }
    }
    output.ask("\n");
    Err(Failure::Interrupted)
}
