//! Compares modification times of files whose content may be the same. File systems store times in different
//! units, and FAT stores them without a time zone.

/// What two times say about files of the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeMatch {
    /// The times are equal, as far as both file systems store them.
    Same,
    /// The times are within the two-second unit that one of the file systems may use.
    Near,
    /// The times differ by a possible time zone or daylight saving shift of FAT times.
    Shifted,
    /// The content differs, or was written again.
    Different,
}

/// Compares two modification times in nanoseconds since the epoch.
pub fn compare_times(a_ns: i64, b_ns: i64) -> TimeMatch {
    let distance_ns = a_ns.abs_diff(b_ns);
    let is_kept_in = |unit_ns: i64| a_ns % unit_ns == 0 || b_ns % unit_ns == 0;
    let is_same_in = |unit_ns: i64| is_kept_in(unit_ns) && a_ns.div_euclid(unit_ns) == b_ns.div_euclid(unit_ns);
    if distance_ns == 0 || FINE_UNITS_NS.into_iter().any(is_same_in) {
        return TimeMatch::Same;
    }
    // Some programs round to the nearest unit or up, so the difference may have either sign.
    let is_fat = is_kept_in(FAT_UNIT_NS.cast_signed());
    if is_same_in(SECOND_NS.cast_signed()) || is_fat && distance_ns < FAT_UNIT_NS {
        return TimeMatch::Near;
    }
    let nearest_ns = distance_ns.saturating_add(ZONE_UNIT_NS / 2) / ZONE_UNIT_NS * ZONE_UNIT_NS;
    let is_shift = (ZONE_UNIT_NS..=ZONES_MAX_NS).contains(&nearest_ns);
    match is_fat && is_shift && distance_ns.abs_diff(nearest_ns) < FAT_UNIT_NS {
        true => TimeMatch::Shifted,
        false => TimeMatch::Different,
    }
}

/// Units shorter than a second: NTFS and SMB, UDF, JavaScript, exFAT.
const FINE_UNITS_NS: [i64; 4] = [100, 1_000, 1_000_000, 10_000_000];
const SECOND_NS: u64 = 1_000_000_000;
/// The unit of FAT times.
const FAT_UNIT_NS: u64 = 2 * SECOND_NS;
/// Time zones differ by multiples of this.
const ZONE_UNIT_NS: u64 = 15 * 60 * SECOND_NS;
/// The difference between the two time zones that are farthest apart.
const ZONES_MAX_NS: u64 = 26 * 3600 * SECOND_NS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_compared_with_the_precision_of_both_sides() {
        use TimeMatch::{Different, Near, Same, Shifted};
        const HOUR_NS: i64 = 3_600_000_000_000;
        for (a, b, expected) in [
            (1_500_000_000, 1_500_000_000, Same),
            (1_500_000_001, 1_500_000_002, Different),
            (1_123_456_700, 1_123_456_789, Same),
            (1_123_456_700, 1_123_456_800, Different),
            (1_123_456_000, 1_123_456_789, Same),
            (1_123_000_000, 1_123_456_789, Same),
            (1_120_000_000, 1_129_999_999, Same),
            (1_120_000_000, 1_131_000_000, Different),
            (1_000_000_000, 1_999_999_999, Near),
            (1_000_000_000, 2_000_000_000, Near),
            (2_000_000_000, 3_999_999_999, Near),
            (4_000_000_000, 3_000_000_001, Near),
            (3_000_000_000, 5_000_000_000, Different),
            (2_000_000_000, 4_000_000_001, Different),
            (-1, -1_000_000_000, Near),
            (-1, 0, Near),
            (-1, 1, Different),
            (2_000_000_000 + HOUR_NS, 3_500_000_001, Shifted),
            (2_000_000_000, 3_500_000_001 + 11 * HOUR_NS / 2, Shifted),
            (2_000_000_000, 3_500_000_001 + 27 * HOUR_NS, Different),
            (2_000_000_000, 6_500_000_001 + HOUR_NS, Different),
            (3_000_000_001, 3_000_000_002 + HOUR_NS, Different),
            (i64::MIN, i64::MAX, Different),
        ] {
            assert_eq!((compare_times(a, b), compare_times(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
