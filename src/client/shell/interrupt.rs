//! Ctrl-C as a question that waiting code asks. This module knows nothing of what is running.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGXFSZ};

use crate::client::error::EXIT_INTERRUPTED;

/// Asked after each piece of work that takes long; true ends it.
pub type Stopped<'a> = &'a mut dyn FnMut() -> bool;

/// The same of work that is measured in bytes: told how many are done.
pub type Watch<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Whether Ctrl-C was pressed and nobody has reacted yet. Clones share one flag.
#[derive(Clone, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    /// Work that is done beside other work is stopped by itself, too.
    stop: Arc<AtomicBool>,
    /// What listens to the signals.
    listeners: Arc<Mutex<Vec<SigId>>>,
}

impl Interrupt {
    /// From now on SIGINT sets the flag instead of ending the program. Where the flag is set
    /// still, because whatever runs did not come to ask, it ends the program as before. A limit on
    /// the size of files becomes an error of the one write, as a full disk is.
    pub fn listen(&self) -> io::Result<()> {
        let too_large = signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        let exit_code = i32::from(EXIT_INTERRUPTED);
        let shutdown = signal_hook::flag::register_conditional_shutdown(SIGINT, exit_code, Arc::clone(&self.flag))?;
        let notice = signal_hook::flag::register(SIGINT, Arc::clone(&self.flag))?;
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).extend([too_large, shutdown, notice]);
        Ok(())
    }

    /// Lets `work` run while Ctrl-C is meant for another program and means nothing to this one.
    pub fn unheard<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
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

    /// For work beside this: Ctrl-C is meant for both, [`Interrupt::stop`] for that alone.
    pub fn beside(&self) -> Self {
        Self { stop: Arc::default(), ..self.clone() }
    }

    /// Stops whoever asks this and its clones, for good.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether somebody wants to stop.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed)
    }

    /// Sets the flag, as Ctrl-C does.
    pub fn set(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Forgets the request to stop, because it was obeyed.
    pub fn clear(&self) {
        self.flag.store(false, Ordering::Relaxed);
    }
}
