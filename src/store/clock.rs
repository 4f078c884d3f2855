//! The wall clock of the store. It may jump, so it measures only what must outlive the server or is
//! compared with the times of files.

use crate::base::text::unix_ns;
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// A clock that shows nanoseconds since the epoch, and knows how long it has run without a jump.
#[derive(Clone)]
pub struct WallClock {
    tell: Rc<dyn Fn() -> i64>,
    uptime: Rc<dyn Fn() -> Duration>,
    steady: Rc<Cell<SteadyRun>>,
}

/// The time since the last jump of the wall clock, as far as it was seen.
#[derive(Clone, Copy)]
struct SteadyRun {
    /// The wall clock's time at an uptime of zero. It changes if the wall clock jumps.
    boot_ns: i64,
    /// The uptime at which the run began.
    since: Duration,
}

impl WallClock {
    /// A clock that shows what `tell` returns. Jumps are seen by comparison with the machine's uptime.
    pub fn new(tell: impl Fn() -> i64 + 'static) -> Self {
        Self::beside(tell, || {
            let time = clock_gettime(ClockId::Boottime);
            Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
        })
    }

    /// A clock that shows what `tell` returns. Jumps are seen by comparison with `uptime`, which never jumps.
    pub fn beside(tell: impl Fn() -> i64 + 'static, uptime: impl Fn() -> Duration + 'static) -> Self {
        let since = uptime();
        let steady = SteadyRun { boot_ns: boot_ns(tell(), since), since };
        Self { tell: Rc::new(tell), uptime: Rc::new(uptime), steady: Rc::new(Cell::new(steady)) }
    }

    /// The time now, in nanoseconds since the epoch.
    pub fn now_ns(&self) -> i64 {
        (self.tell)()
    }

    /// Whether it has run without a jump for at least `time`. Only calls of this function see jumps.
    pub fn has_run_steadily_for(&self, time: Duration) -> bool {
        let (now, steady) = ((self.uptime)(), self.steady.get());
        let boot_ns = boot_ns(self.now_ns(), now);
        let has_jumped = boot_ns.abs_diff(steady.boot_ns) > JUMP_NS;
        let since = if has_jumped { now } else { steady.since };
        self.steady.set(SteadyRun { boot_ns, since });
        now.saturating_sub(since) >= time
    }
}

impl Default for WallClock {
    /// The system's.
    fn default() -> Self {
        Self::new(|| unix_ns(SystemTime::now()))
    }
}

fn boot_ns(wall_ns: i64, uptime: Duration) -> i64 {
    wall_ns.saturating_sub(i64::try_from(uptime.as_nanos()).unwrap_or(i64::MAX))
}

/// A larger change between two looks is a jump. Time servers adjust a running clock by less.
const JUMP_NS: u64 = 60 * 1_000_000_000;
