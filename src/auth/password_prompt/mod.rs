//! Prompts for a password at the terminal, for both programs. Input is not echoed, and the terminal is
//! restored in every case.

mod suspension;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::auth::scram::PASSWORD_BYTES_MAX;
pub use suspension::Suspension;

/// A prompt at the program's terminal, which has no echo until this is dropped.
pub struct PasswordPrompt {
    terminal: File,
    /// The same terminal, to read from without blocking.
    keys: File,
    before: Termios,
    suspension: Suspension,
}

impl PasswordPrompt {
    /// Turns the echo of the terminal off. Fails if there is no terminal.
    pub fn open() -> io::Result<Self> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
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

    /// Prompts and reads a line. The echo is off already, so no early input is shown. Prompts again when the
    /// program was stopped and continued. Returns `None` once `is_stopped`, which is called several times a
    /// second, returns true.
    pub fn read_line(
        &self,
        prompt: &str,
        is_stopped: &mut dyn FnMut() -> bool,
    ) -> io::Result<Option<Zeroizing<String>>> {
        let (mut terminal, mut keys) = (&self.terminal, &self.keys);
        terminal.write_all(prompt.as_bytes())?;
        // The terminal delivers a line in one piece.
        let mut line = Zeroizing::new(vec![0; PASSWORD_BYTES_MAX + 2]);
        while !is_stopped() {
            let timeout = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
            let is_ready = matches!(poll(&mut [PollFd::new(keys, PollFlags::IN)], Some(&timeout)), Ok(1..));
            // Handled before reading: after the program is continued, the echo must be off first.
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

/// Sets the modes of the terminal. Tries again after a signal, because SIGTTOU stops a background program that
/// changes them.
fn set_modes(terminal: &File, modes: &Termios) -> rustix::io::Result<()> {
    loop {
        match tcsetattr(terminal, OptionalActions::Now, modes) {
            Err(Errno::INTR) => {}
            set => return set,
        }
    }
}

impl Drop for PasswordPrompt {
    fn drop(&mut self) {
        self.show();
    }
}
