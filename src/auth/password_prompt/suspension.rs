//! Handles Ctrl-Z and similar signals during a prompt: the terminal is restored before the program
//! stops or ends, and the caller learns when the program is continued, so that it can prompt again.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGCONT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::{flag, low_level};

/// Records the signals that stop or end the program, for the time of a prompt.
pub struct Suspension {
    signals: &'static Signals,
}

/// The signal handlers. signal-hook cannot restore the default action of a signal, so they stay registered
/// after a prompt.
struct Signals {
    /// True while there is no prompt: each signal has its default action.
    use_default_action: Arc<AtomicBool>,
    /// Signals received during a prompt.
    pending: [(i32, Arc<AtomicBool>); 3],
    continued: Arc<AtomicBool>,
}

static SIGNALS: OnceLock<Signals> = OnceLock::new();

impl Suspension {
    /// Delays the signals: from now on they stop or end the program only in [`Suspension::obey`].
    pub fn begin() -> io::Result<Self> {
        let signals = match SIGNALS.get() {
            Some(signals) => signals,
            None => {
                let signals = Signals::listen()?;
                SIGNALS.get_or_init(|| signals)
            }
        };
        // Earlier signals took effect at once.
        signals.pending.iter().for_each(|(_, is_pending)| is_pending.store(false, Ordering::Relaxed));
        signals.continued.store(false, Ordering::Relaxed);
        signals.use_default_action.store(false, Ordering::Relaxed);
        Ok(Self { signals })
    }

    /// Stops or ends the program if such a signal is pending, after `restore` has restored the terminal.
    /// Returns whether the program was stopped by any signal and has been continued.
    pub fn obey(&self, restore: impl FnOnce()) -> io::Result<bool> {
        let pending = self.signals.pending.iter().find(|(_, is_pending)| is_pending.swap(false, Ordering::Relaxed));
        if let Some((signal, _)) = pending {
            restore();
            low_level::emulate_default_handler(*signal)?;
        }
        Ok(self.signals.continued.swap(false, Ordering::Relaxed) || pending.is_some())
    }
}

impl Drop for Suspension {
    fn drop(&mut self) {
        self.signals.use_default_action.store(true, Ordering::Relaxed);
        // A signal that arrived after the last call of `obey` is not lost.
        for (signal, is_pending) in &self.signals.pending {
            if is_pending.swap(false, Ordering::Relaxed) {
                let _ = low_level::emulate_default_handler(*signal);
            }
        }
    }
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let use_default_action = Arc::new(AtomicBool::new(true));
        let pending = [SIGTSTP, SIGQUIT, SIGTERM].map(|signal| (signal, Arc::new(AtomicBool::new(false))));
        for (signal, is_pending) in &pending {
            flag::register_conditional_default(*signal, Arc::clone(&use_default_action))?;
            flag::register(*signal, Arc::clone(is_pending))?;
        }
        let continued = Arc::new(AtomicBool::new(false));
        flag::register(SIGCONT, Arc::clone(&continued))?;
        Ok(Self { use_default_action, pending, continued })
    }
}
