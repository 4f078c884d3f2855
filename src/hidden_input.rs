//! Asking for a password at the terminal, for both programs: nothing is shown of what is typed,
//! and the terminal is as before whatever happens.

use crate::limits::PASSWORD_BYTES_MAX;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use zeroize::Zeroizing;

/// The program's terminal; it does not show what is typed until this is dropped.
pub struct HiddenInput {
    terminal: File,
    before: Termios,
}

impl HiddenInput {
    /// Turns the echo of the terminal off; an error if there is no terminal.
    pub fn open() -> io::Result<Self> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
        Ok(Self { terminal, before })
    }

    /// Asks only now that nothing is shown, so that whoever types at once is not overlooked.
    /// `None` once `is_stopped`, which is asked several times a second.
    pub fn read_line(
        &self,
        prompt: &str,
        is_stopped: &mut dyn FnMut() -> bool,
    ) -> io::Result<Option<Zeroizing<String>>> {
        let mut terminal = &self.terminal;
        terminal.write_all(prompt.as_bytes())?;
        // The terminal hands a line over in one piece.
        let mut line = Zeroizing::new(vec![0; PASSWORD_BYTES_MAX + 2]);
        while !is_stopped() {
            let timeout = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
            if !matches!(poll(&mut [PollFd::new(terminal, PollFlags::IN)], Some(&timeout)), Ok(1..)) {
                continue;
            }
            let count = terminal.read(&mut line)?;
            let text = String::from_utf8_lossy(&line[..count]);
            return Ok(Some(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_string())));
        }
        let _ = terminal.write_all(b"\n");
        Ok(None)
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}
