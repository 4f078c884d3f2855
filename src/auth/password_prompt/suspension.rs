//! Handles Ctrl-Z and similar signals during a prompt: the terminal is restored before the program
//! stops or ends, and the prompt is repeated when it is continued. It knows no prompt.

use signal_hook::consts::{SIGCONT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::{flag, low_level};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Records the signals that stop or end the program, for the time of a prompt.
pub struct Suspension {
    signals: &'static Signals,
}

/// Signal handlers stay once they are set: without one the library would ignore the signal.
struct Signals {
    /// Without a prompt, each signal has its default effect.
    is_default: Arc<AtomicBool>,
    /// Signals received during a prompt.
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
        // Earlier signals took effect at once.
        signals.came.iter().for_each(|(_, came)| came.store(false, Ordering::Relaxed));
        signals.continued.store(false, Ordering::Relaxed);
        signals.is_default.store(false, Ordering::Relaxed);
        Ok(Self { signals })
    }

    /// Stops or ends the program if a signal asked for it, after `restore` has restored the terminal.
    /// Returns whether the program was stopped, by any signal, and has been continued.
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
        // A signal that came at the very end is not lost.
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
