//! The wall clock of the store. Because it may jump, it is used only for times that must survive a restart
//! or are compared with file times.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::base::calendar::unix_ns;

/// A clock in nanoseconds since the epoch that knows how long it has run without a jump.
#[derive(Clone)]
pub struct WallClock {
    now_ns: Rc<dyn Fn() -> i64>,
    uptime: Rc<dyn Fn() -> Duration>,
    steady: Rc<Cell<SteadyRun>>,
}

/// The time since the last observed jump of the wall clock.
#[derive(Clone, Copy)]
struct SteadyRun {
    /// The wall clock's time at an uptime of zero. A jump changes it.
    boot_ns: i64,
    /// The uptime at the last jump.
    since: Duration,
}

impl WallClock {
    /// Makes a clock that reads `now_ns`. Jumps are detected by comparison with the machine's uptime.
    pub fn new(now_ns: impl Fn() -> i64 + 'static) -> Self {
        Self::with_uptime(now_ns, || {
            let time = clock_gettime(ClockId::Boottime);
            Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
        })
    }

    /// Makes a clock that reads `now_ns`. Jumps are detected by comparison with `uptime`, which never jumps.
    pub fn with_uptime(now_ns: impl Fn() -> i64 + 'static, uptime: impl Fn() -> Duration + 'static) -> Self {
        let since = uptime();
        let steady = SteadyRun { boot_ns: boot_ns(now_ns(), since), since };
        Self { now_ns: Rc::new(now_ns), uptime: Rc::new(uptime), steady: Rc::new(Cell::new(steady)) }
    }

    /// Returns the time in nanoseconds since the epoch.
    pub fn now_ns(&self) -> i64 {
        (self.now_ns)()
    }

    /// Returns whether it has run without a jump for at least `time`. Only calls of this function detect
    /// jumps.
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
    /// Makes the system's clock.
    fn default() -> Self {
        Self::new(|| unix_ns(SystemTime::now()))
    }
}

fn boot_ns(wall_ns: i64, uptime: Duration) -> i64 {
    wall_ns.saturating_sub(i64::try_from(uptime.as_nanos()).unwrap_or(i64::MAX))
}

/// A larger change between two calls is a jump. Time servers adjust a running clock by less.
const JUMP_NS: u64 = 60 * 1_000_000_000;
