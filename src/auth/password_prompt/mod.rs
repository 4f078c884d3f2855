//! Asking for a password at the terminal, for both programs: nothing is shown of what is typed,
//! and the terminal is as before whatever happens.

mod suspension;

pub use suspension::Suspension;

use crate::base::limits::PASSWORD_BYTES_MAX;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use zeroize::Zeroizing;

/// The program's terminal; it does not show what is typed until this is dropped.
pub struct HiddenInput {
    terminal: File,
    /// Reads what is typed and never waits: a program that is continued in the foreground must turn the echo
    /// off before it reads.
    keys: File,
    before: Termios,
    suspension: Suspension,
}

impl HiddenInput {
    /// Scheduler the echo of the terminal off; an error if there is no terminal.
    pub fn open() -> io::Result<Self> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        let keys = OpenOptions::new().read(true).custom_flags(nonblocking).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let hidden = Self { terminal, keys, before, suspension: Suspension::begin()? };
        hidden.hide()?;
        Ok(hidden)
    }

    fn hide(&self) -> io::Result<()> {
        let mut hidden = self.before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        Ok(set_modes(&self.terminal, &hidden)?)
    }

    fn show(&self) {
        let _ = set_modes(&self.terminal, &self.before);
    }

    /// Asks only now that nothing is shown, so that nothing typed at once is overlooked. Asks again
    /// when the program was stopped and is continued. `None` once `is_stopped`, which is asked several times
    /// a second.
    pub fn read_line(
        &self,
        prompt: &str,
        is_stopped: &mut dyn FnMut() -> bool,
    ) -> io::Result<Option<Zeroizing<String>>> {
        let (mut terminal, mut keys) = (&self.terminal, &self.keys);
        terminal.write_all(prompt.as_bytes())?;
        // The terminal hands a line over in one piece.
        let mut line = Zeroizing::new(vec![0; PASSWORD_BYTES_MAX + 2]);
        while !is_stopped() {
            let timeout = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
            let is_ready = matches!(poll(&mut [PollFd::new(keys, PollFlags::IN)], Some(&timeout)), Ok(1..));
            if self.suspension.obey(|| self.show())? {
                self.hide()?;
                terminal.write_all(format!("\n{prompt}").as_bytes())?;
                continue;
            }
            if !is_ready {
                continue;
            }
            let count = match keys.read(&mut line) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    continue;
                }
                count => count?,
            };
            let text = String::from_utf8_lossy(&line[..count]);
            return Ok(Some(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_string())));
        }
        let _ = terminal.write_all(b"\n");
        Ok(None)
    }
}

/// Tried again if a signal ends it: one stops a program in the background that changes the terminal.
fn set_modes(terminal: &File, modes: &Termios) -> rustix::io::Result<()> {
    loop {
        match tcsetattr(terminal, OptionalActions::Now, modes) {
            Err(Errno::INTR) => {}
            set => return set,
        }
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        self.show();
    }
}
