//! The Ctrl-C flag that waiting code checks. This module does not know what is running.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGXFSZ};

use crate::client::error::EXIT_INTERRUPTED;

/// A function that long work calls after each piece. If it returns true, the work stops.
pub type StopCheck<'a> = &'a mut dyn FnMut() -> bool;

/// A function that long work calls after each piece with the number of bytes done. If it returns true, the work stops.
pub type OnProgress<'a> = &'a mut dyn FnMut(u64) -> bool;

/// A flag that Ctrl-C sets until the running work has stopped. Clones share one flag.
#[derive(Clone, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    /// Stops work on another thread alone, without Ctrl-C.
    stop: Arc<AtomicBool>,
    /// The registered signal handlers.
    listeners: Arc<Mutex<Vec<SigId>>>,
}

impl Interrupt {
    /// Makes SIGINT set the flag from now on instead of ending the program. If the flag is still set at the
    /// next SIGINT, because the running code did not check it, the program ends. SIGXFSZ is caught, so a file
    /// size limit becomes an error of one write, like a full disk.
    pub fn listen(&self) -> io::Result<()> {
        let too_large = signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        let exit_code = i32::from(EXIT_INTERRUPTED);
        let shutdown = signal_hook::flag::register_conditional_shutdown(SIGINT, exit_code, Arc::clone(&self.flag))?;
        let notice = signal_hook::flag::register(SIGINT, Arc::clone(&self.flag))?;
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).extend([too_large, shutdown, notice]);
        Ok(())
    }

    /// Runs `work` while Ctrl-C is meant for another program, so this program ignores it.
    pub fn ignoring_ctrl_c<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let listeners = std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        let was_listening = !listeners.is_empty();
        for listener in listeners {
            signal_hook::low_level::unregister(listener);
        }
        let result = work();
        if was_listening {
            self.listen()?;
        }
        result
    }

    /// Returns an interrupt for work on another thread. Ctrl-C stops both, but [`Interrupt::stop`] only that
    /// work.
    pub fn for_thread(&self) -> Self {
        Self { stop: Arc::default(), ..self.clone() }
    }

    /// Stops all work that checks this interrupt or its clones, permanently.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Returns whether the work must stop.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed)
    }

    /// Sets the flag, as Ctrl-C does.
    pub fn set(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Clears the flag after the work has stopped.
    pub fn clear(&self) {
        self.flag.store(false, Ordering::Relaxed);
    }
}

/// The longest single wait, so that Ctrl-C is noticed even where a signal does not end the wait.
pub const POLL_MAX: Duration = Duration::from_millis(200);
