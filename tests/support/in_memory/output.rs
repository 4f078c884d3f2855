//! The output of a client, kept in memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

/// A writer whose content can be looked at.
#[derive(Clone, Default)]
pub(crate) struct Shared(Rc<RefCell<VecDeque<u8>>>);

impl Shared {
    /// Everything that was printed.
    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.borrow().iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
