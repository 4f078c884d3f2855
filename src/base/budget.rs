//! The budget of one turn of a connection, and what each kind of work costs.

use crate::base::buffers::PIECE_BYTES;

/// The bytes that one turn may move and hash: one piece. With SHA-256, the slower algorithm, at 1.7 GB/s this takes
/// 0.15 ms, so eight busy transfers delay a small command by little more than 1 ms.
pub const TURN_BUDGET: u64 = PIECE_BYTES as u64;
/// The bytes that one turn may send while no other connection is busy. Sending a file range costs the loop a tenth of
/// hashing it.
pub const FLUSH_BUDGET: usize = 1024 * 1024;
/// The bytes that one turn may send at any number of busy transfers. Less would cost mostly system calls and
/// wakeups. It also keeps transfers even: a socket takes large pieces only once its windows have grown,
/// so the transfer that began first would get more of the rate than the others.
pub const FLUSH_BUDGET_MIN: usize = 160 * 1024;
/// The least cost of a request: its system calls take about as long as moving this many bytes.
pub const REQUEST_COST: u64 = 8 * 1024;
/// Cost of a component of a path. The kernel looks each one up, and again at each parent when it checks
/// Landlock rules. A path of the greatest length has two thousand components and takes a whole turn.
pub const PATH_COMPONENT_COST: u64 = 128;
/// Cost of making or finding a directory besides its path: a journalling file system takes as long as
/// hashing this many bytes.
pub const DIRECTORY_COST: u64 = 32 * 1024;
/// Cost of reading, stating and sorting one directory entry.
pub const ENTRY_COST: u64 = 2048;

/// The remaining budget of a turn. A byte that is moved or hashed costs one unit.
#[derive(Debug, Clone, Copy)]
pub struct Budget(u64);

impl Budget {
    /// Makes a budget of `units`.
    pub fn new(units: u64) -> Self {
        Self(units)
    }

    /// Subtracts `units`, down to 0.
    pub fn spend(&mut self, units: u64) {
        self.0 = self.0.saturating_sub(units);
    }

    /// Returns the remaining units.
    pub fn left(&self) -> u64 {
        self.0
    }

    /// Returns whether nothing is left.
    pub fn is_spent(&self) -> bool {
        self.0 == 0
    }
}
