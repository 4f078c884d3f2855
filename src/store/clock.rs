//! The time of day as the store sees it. It may jump; only what must outlive the server or is
//! compared with the times of files is measured by it.

use crate::text::unix_ns;
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// Tells nanoseconds since the epoch, and whether they can be relied on.
#[derive(Clone)]
pub struct WallClock {
    tell: Rc<dyn Fn() -> i64>,
    uptime: Rc<dyn Fn() -> Duration>,
    course: Rc<Cell<Course>>,
}

/// How the wall clock has run beside one that never jumps.
#[derive(Clone, Copy)]
struct Course {
    /// What the wall clock showed when the other one was at zero, by the last look.
    zero_ns: i64,
    /// When, by the other one, it was first seen to run as it does.
    since: Duration,
}

impl WallClock {
    /// A clock that tells what `tell` does. It runs beside the machine's time since its start.
    pub fn new(tell: impl Fn() -> i64 + 'static) -> Self {
        Self::beside(tell, || {
            let time = clock_gettime(ClockId::Boottime);
            Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
        })
    }

    /// A clock that tells what `tell` does, beside `uptime`, which never jumps.
    pub fn beside(tell: impl Fn() -> i64 + 'static, uptime: impl Fn() -> Duration + 'static) -> Self {
        let since = uptime();
        let course = Course { zero_ns: zero_ns(tell(), since), since };
        Self { tell: Rc::new(tell), uptime: Rc::new(uptime), course: Rc::new(Cell::new(course)) }
    }

    /// What it shows now.
    pub fn now_ns(&self) -> i64 {
        (self.tell)()
    }

    /// Whether it has run without a jump for `time` at least, as far as anybody has looked.
    pub fn has_run_steadily_for(&self, time: Duration) -> bool {
        let (now, course) = ((self.uptime)(), self.course.get());
        let zero_ns = zero_ns(self.now_ns(), now);
        let has_jumped = zero_ns.abs_diff(course.zero_ns) > JUMP_NS;
        let since = if has_jumped { now } else { course.since };
        self.course.set(Course { zero_ns, since });
        now.saturating_sub(since) >= time
    }
}

impl Default for WallClock {
    /// The system's.
    fn default() -> Self {
        Self::new(|| unix_ns(SystemTime::now()))
    }
}

fn zero_ns(wall_ns: i64, uptime: Duration) -> i64 {
    wall_ns.saturating_sub(i64::try_from(uptime.as_nanos()).unwrap_or(i64::MAX))
}

/// More than a clock is ever adjusted by without being set.
const JUMP_NS: u64 = 60 * 1_000_000_000;
