//! Counts events in logs, including lines that stand for several.

use super::Place;

/// Counts the events whose log lines contain `mark`. A line with `repeated=N` counts as N.
pub(crate) fn events(log: &str, mark: &str) -> usize {
    let lines = log.lines().filter(|line| line.contains(mark));
    let count = |line: &str| match line.rsplit_once(" repeated=") {
        Some((_, count)) => count.parse().expect("a number"),
        None => 1,
    };
    lines.map(count).sum()
}

impl Place {
    /// Checks by the times in the log that at most 10 of the guesses that one address `sent` were checked in each second.
    #[track_caller]
    pub(crate) fn check_guesses(&self, sent: usize) {
        let log = self.log("access.log");
        // Seconds of the day.
        let logged_at = |line: &str| -> f64 {
            let time = line.split_once('T').and_then(|(_, rest)| rest.split_once('Z')).expect("a time").0;
            time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().expect("a number"))
        };
        let times: Vec<f64> = log.lines().filter(|line| line.contains("verb=login")).map(logged_at).collect();
        let seconds = (times[times.len() - 1] - times[0]).rem_euclid(86_400.0);
        // A line that stands for many says for how many.
        let stands_for = |line: &str| {
            line.split_once("repeated=").map_or(1, |(_, count)| {
                count.split_whitespace().next().and_then(|count| count.parse().ok()).expect("a number")
            })
        };
        let checked: usize = log.lines().filter(|line| line.contains("result=LoginFailed")).map(stands_for).sum();
        assert!(checked >= 1 && checked as f64 <= 1.0 + 10.0 * seconds, "{checked} checked in {seconds} s");
        assert!(checked * 2 < sent, "{checked} checked of {sent}");
    }
}
