//! Times in the format of `ls` and `stat`, in the user's time zone, which `TZ` or the system sets. An unknown
//! time zone counts as UTC, as in other programs.

use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::base::calendar::{ls_date, timestamp};

/// Formats `Nov 22 18:54`, or `Nov 22  2019` for a time that is older than half a year or in the future.
pub fn short(time_ns: i64, now_ns: i64) -> String {
    short_in(time_ns, now_ns, TimeZone::system())
}

/// Formats `2026-11-22 18:54:57.123 +0100`.
pub fn long(time_ns: i64) -> String {
    long_in(time_ns, TimeZone::system())
}

fn short_in(time_ns: i64, now_ns: i64, zone: TimeZone) -> String {
    ls_date(time_ns, now_ns, timestamp(time_ns).to_zoned_datetime(zone).datetime())
}

fn long_in(time_ns: i64, zone: TimeZone) -> String {
    let time = timestamp(time_ns);
    strtime::format("%Y-%m-%d %H:%M:%S.%3f %z", &time.to_zoned_datetime(zone)).unwrap_or_else(|_| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_838_000 * 1_000_000_000; // 2025-11-22 19:00 UTC

    #[test]
    fn times_are_shown_in_the_time_zone_with_its_daylight_saving() {
        for (zone, short, long) in [
            ("UTC0", "Nov 22 19:00", "2025-11-22 19:00:00.000 +0000"),
            ("CST-8", "Nov 23 03:00", "2025-11-23 03:00:00.000 +0800"),
            ("NST3:30NDT,M3.2.0,M11.1.0", "Nov 22 15:30", "2025-11-22 15:30:00.000 -0330"),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "Nov 22 20:00", "2025-11-22 20:00:00.000 +0100"),
        ] {
            let zone = || TimeZone::posix(zone).expect("a zone");
            assert_eq!((short_in(NOW, NOW, zone()), long_in(NOW, zone())), (short.into(), long.into()));
        }
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        assert_eq!(long_in(NOW - 120 * 86_400 * 1_000_000_000, berlin), "2025-07-25 21:00:00.000 +0200");
    }
}
