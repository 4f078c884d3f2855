//! Formats the histogram of turn durations.

use crate::admin::table::{Column, Table};
use crate::wire::control::TurnTimes;

/// Returns the number of turns, and within which times all, 99 % and half of them ended.
pub(super) fn turn_summary(turns: &[TurnTimes]) -> String {
    let total: u64 = turns.iter().map(|turns| turns.count).sum();
    let within = |part: u64| {
        let mut sum = 0;
        let found = turns.iter().find(|turns| {
            sum += turns.count;
            u128::from(sum) * 100 >= u128::from(total) * u128::from(part)
        });
        found.map_or_else(String::new, bound)
    };
    match total {
        0 => "turns 0".into(),
        _ => format!("turns {total}  all {}  99% {}  half {}", within(100), within(99), within(50)),
    }
}

/// Returns the histogram, without the empty rows at its ends.
pub(super) fn turn_lines(turns: &[TurnTimes], columns: Option<usize>) -> Vec<String> {
    let first = turns.iter().position(|turns| turns.count > 0);
    let last = turns.iter().rposition(|turns| turns.count > 0);
    let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
    let shown = &turns[first..=last];
    let most = shown.iter().map(|turns| turns.count).max().unwrap_or(1).max(1);
    let mut table = Table::new(TURN_COLUMNS);
    for turns in shown {
        let length = (u128::from(turns.count) * BAR_WIDTH).div_ceil(u128::from(most));
        let bar = "#".repeat(usize::try_from(length).unwrap_or_default());
        table.push(vec![bound(turns), turns.count.to_string(), bar]);
    }
    table.lines(columns)
}

fn bound(turns: &TurnTimes) -> String {
    match turns.below_us {
        Some(us @ ..1000) => format!("<{us}us"),
        Some(us) => format!("<{}ms", us / 1000),
        None => "more".into(),
    }
}

const BAR_WIDTH: u128 = 20;

const TURN_COLUMNS: &[Column] = &[Column::right("TURNS", 0), Column::right("COUNT", 0), Column::left("", 0)];
