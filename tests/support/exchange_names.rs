//! Exchanges two names without a pause while a test uses them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags};

/// Runs `act` while a thread exchanges `one` and `other` without a pause.
pub fn while_flipping(one: &Path, other: &Path, act: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("flipped");
            }
        });
        // Whatever goes wrong, the other thread must end.
        let result = catch_unwind(AssertUnwindSafe(act));
        is_over.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| resume_unwind(panic));
    });
}
