//! Ctrl-C as a question that waiting code asks. This module knows nothing of what is running.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGXFSZ};

use crate::client::outcome::EXIT_INTERRUPTED;

/// Whether Ctrl-C was pressed and nobody has reacted yet. Clones share one flag.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT sets the flag instead of ending the program. Where the flag is set
    /// still, because whatever runs did not come to ask, it ends the program as before. A limit on
    /// the size of files becomes an error of the one write, as a full disk is.
    pub fn listen(&self) -> io::Result<()> {
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        let exit_code = i32::from(EXIT_INTERRUPTED);
        signal_hook::flag::register_conditional_shutdown(SIGINT, exit_code, Arc::clone(&self.0))?;
        signal_hook::flag::register(SIGINT, Arc::clone(&self.0)).map(|_| ())
    }

    /// Whether somebody wants to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the flag, as Ctrl-C does.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Forgets the request to stop, because it was obeyed.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
