//! Ctrl-Z and the like while a program asks at the terminal: the terminal is put right before the
//! program stops or ends, and the question is shown again when it is continued. It knows no question.

use signal_hook::consts::{SIGCONT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::{flag, low_level};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Notices the signals that stop or end the program, for as long as somebody asks.
pub struct Suspension {
    signals: &'static Signals,
}

/// Signal handlers stay once they are set: without one the library would ignore the signal.
struct Signals {
    /// Nobody asks, so each signal does what it does by default.
    is_default: Arc<AtomicBool>,
    /// Those that came while somebody asked.
    came: [(i32, Arc<AtomicBool>); 3],
    continued: Arc<AtomicBool>,
}

static SIGNALS: OnceLock<Signals> = OnceLock::new();

impl Suspension {
    /// From now on the program stops and ends only in [`Suspension::obey`].
    pub fn begin() -> io::Result<Self> {
        let signals = match SIGNALS.get() {
            Some(signals) => signals,
            None => {
                let signals = Signals::listen()?;
                SIGNALS.get_or_init(|| signals)
            }
        };
        // What came before was obeyed at once.
        signals.came.iter().for_each(|(_, came)| came.store(false, Ordering::Relaxed));
        signals.continued.store(false, Ordering::Relaxed);
        signals.is_default.store(false, Ordering::Relaxed);
        Ok(Self { signals })
    }

    /// Stops or ends the program if it was told to, after `restore` has put the terminal right.
    /// Returns whether the program was stopped and has been continued, however it was stopped.
    pub fn obey(&self, restore: impl FnOnce()) -> io::Result<bool> {
        let came = self.signals.came.iter().find(|(_, came)| came.swap(false, Ordering::Relaxed));
        if let Some((signal, _)) = came {
            restore();
            low_level::emulate_default_handler(*signal)?;
        }
        Ok(self.signals.continued.swap(false, Ordering::Relaxed) || came.is_some())
    }
}

impl Drop for Suspension {
    fn drop(&mut self) {
        self.signals.is_default.store(true, Ordering::Relaxed);
        // One that came last of all is not lost.
        for (signal, came) in &self.signals.came {
            if came.swap(false, Ordering::Relaxed) {
                let _ = low_level::emulate_default_handler(*signal);
            }
        }
    }
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let is_default = Arc::new(AtomicBool::new(true));
        let came = [SIGTSTP, SIGQUIT, SIGTERM].map(|signal| (signal, Arc::new(AtomicBool::new(false))));
        for (signal, came) in &came {
            flag::register_conditional_default(*signal, Arc::clone(&is_default))?;
            flag::register(*signal, Arc::clone(came))?;
        }
        let continued = Arc::new(AtomicBool::new(false));
        flag::register(SIGCONT, Arc::clone(&continued))?;
        Ok(Self { is_default, came, continued })
    }
}
