//! Calendar time in UTC, from and to nanoseconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// Returns the date and time in UTC, `unix_ns` nanoseconds after 1970 (negative: before it).
pub fn utc(unix_ns: i64) -> DateTime {
    Offset::UTC.to_datetime(timestamp(unix_ns))
}

/// Like [`utc`], in seconds. Saturates in the years 1677 and 2262.
pub fn utc_of_seconds(unix_s: i64) -> DateTime {
    Offset::UTC.to_datetime(timestamp_of_seconds(unix_s))
}

/// Returns the instant `unix_ns` nanoseconds after 1970. With `{:.3}` it is written as
/// `2026-11-22T18:54:57.123Z`.
pub fn timestamp(unix_ns: i64) -> Timestamp {
    Timestamp::from_nanosecond(unix_ns.into()).unwrap_or_default()
}

/// Like [`timestamp`], in seconds. Saturates in the years 1677 and 2262.
pub fn timestamp_of_seconds(unix_s: i64) -> Timestamp {
    timestamp(unix_s.saturating_mul(1_000_000_000))
}

/// Formats the date of a file as `ls -l` does: `Nov 22 18:54`, or `Nov 22  2019` for a time that is older
/// than half a year or in the future. `local` is the same instant in the time zone of the reader.
pub fn ls_date(unix_ns: i64, now_ns: i64, local: DateTime) -> String {
    let month = MONTHS[usize::from(local.month().unsigned_abs()) % MONTHS.len()];
    let day = local.day();
    if (-AHEAD_NS..HALF_YEAR_NS).contains(&now_ns.saturating_sub(unix_ns)) {
        format!("{month} {day:>2} {:02}:{:02}", local.hour(), local.minute())
    } else {
        format!("{month} {day:>2}  {:04}", local.year())
    }
}

/// Returns nanoseconds since 1970 of a time in UTC; `None` outside of the years 1677 to 2262.
pub fn unix_ns_of_utc(time: DateTime) -> Option<i64> {
    i64::try_from(TimeZone::UTC.to_timestamp(time).ok()?.as_nanosecond()).ok()
}

/// Returns nanoseconds since 1970, negative before it, saturating in the years 1677 and 2262.
pub fn unix_ns(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// Like [`unix_ns`], in whole seconds.
pub fn unix_s(time: SystemTime) -> i64 {
    unix_ns(time) / 1_000_000_000
}

/// The names by month number. There is no month 0.
const MONTHS: [&str; 13] = ["", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// The clock of the reader may be slightly behind that of the file system.
const AHEAD_NS: i64 = 60 * 1_000_000_000;
/// Half a mean calendar year, as in `ls`.
const HALF_YEAR_NS: i64 = 31_556_952 / 2 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_dates_lead_back_to_their_instants() {
        for ns in [0, -1, 951_827_696_789_000_000, 4_102_444_799_999_999_999, i64::MIN, i64::MAX] {
            assert_eq!(unix_ns_of_utc(utc(ns)), Some(ns), "{ns}");
        }
        assert_eq!(unix_ns_of_utc(DateTime::constant(1677, 1, 1, 0, 0, 0, 0)), None);
        assert_eq!(unix_ns_of_utc(DateTime::constant(2263, 1, 1, 0, 0, 0, 0)), None);
        assert_eq!((utc(i64::MIN).year(), utc(i64::MAX).year()), (1677, 2262));
    }

    #[test]
    fn ls_shows_the_year_of_times_that_are_old_or_in_the_future() {
        const NOW: i64 = 1_763_838_000 * 1_000_000_000; // 2025-11-22 19:00 UTC
        let shown = |unix_ns| ls_date(unix_ns, NOW, utc(unix_ns));
        assert_eq!(shown(NOW), "Nov 22 19:00");
        assert_eq!(shown(NOW - HALF_YEAR_NS + 1), "May 24 04:05");
        assert_eq!(shown(NOW - HALF_YEAR_NS), "May 24  2025");
        assert_eq!(shown(NOW + AHEAD_NS), "Nov 22 19:01");
        assert_eq!(shown(NOW + AHEAD_NS + 1), "Nov 22  2025");
        assert_eq!(shown(0), "Jan  1  1970");
        assert_eq!(ls_date(i64::MAX, i64::MIN, utc(i64::MAX)), "Apr 11  2262");
        assert_eq!(ls_date(i64::MIN, i64::MAX, utc(i64::MIN)), "Sep 21  1677");
        assert_eq!((shown(i64::MIN), shown(i64::MAX)), ("Sep 21  1677".into(), "Apr 11  2262".into()));
    }

    #[test]
    fn log_times_have_milliseconds_that_are_cut_and_not_rounded() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789_999_999, "2000-02-29T12:34:56.789Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(format!("{:.3}", timestamp(ns)), text);
        }
    }
}
